"""Label and field selectors of list and watch requests."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.local import names
from airflow_provider_agents.local.api_errors import Json, bad_request

if TYPE_CHECKING:
    from collections.abc import Mapping

_SET = re.compile(r"(?P<key>\S+)\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(r"(?P<key>[^\s=!]+)\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s=!]*)")
_EXISTENCE = re.compile(r"(?P<negated>!?)\s*(?P<key>[^\s=!]+)")

_FIELDS = {
    "pods": {
        "metadata.name", "metadata.namespace", "spec.nodeName", "spec.restartPolicy",
        "spec.serviceAccountName", "status.phase", "status.podIP",
    },
    "events": {
        "metadata.name", "metadata.namespace", "involvedObject.kind", "involvedObject.namespace",
        "involvedObject.name", "involvedObject.uid", "involvedObject.apiVersion",
        "involvedObject.resourceVersion", "involvedObject.fieldPath", "reason", "reportingComponent", "type",
    },
}  # fmt: skip
_COMMON_FIELDS = {"metadata.name", "metadata.namespace"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on the labels of an object.

    :param operator: ``in``, ``notin``, ``exists`` or ``absent``.
    :param values: the values of ``in`` and ``notin``; equality has one.
    """

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Say whether ``labels`` meet this condition. ``notin`` is met by an object without the label."""
        match self.operator:
            case "in":
                return self.key in labels and labels[self.key] in self.values
            case "notin":
                return labels.get(self.key) not in self.values
            case "exists":
                return self.key in labels
            case _:
                return self.key not in labels


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Parse a label selector. The empty selector has no conditions.

    :raises ApiError: 400, if a condition cannot be understood.
    """
    return tuple(_requirement(part.strip()) for part in _split(text)) if text.strip() else ()


def _split(text: str) -> list[str]:
    parts, depth, current = [], 0, ""
    for character in text:
        if character == "," and depth == 0:
            parts.append(current)
            current = ""
            continue
        depth += {"(": 1, ")": -1}.get(character, 0)
        current += character
    return [*parts, current]


def _requirement(text: str) -> Requirement:
    if found := _SET.fullmatch(text):
        values = frozenset(value.strip() for value in found["values"].split(","))
        requirement = Requirement(found["key"], found["operator"], values)
    elif found := _EQUALITY.fullmatch(text):
        operator = "notin" if found["operator"] == "!=" else "in"
        requirement = Requirement(found["key"], operator, frozenset({found["value"]}))
    elif found := _EXISTENCE.fullmatch(text):
        requirement = Requirement(found["key"], "absent" if found["negated"] else "exists")
    else:
        raise bad_request(f"unable to parse requirement: {text!r} is not a label selector")
    fault = names.qualified_name(requirement.key)
    fault = fault or next(filter(None, map(names.label_value, sorted(requirement.values))), None)
    if fault:
        raise bad_request(f"unable to parse requirement: {text!r}: {fault}")
    return requirement


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on a field: equal to ``value``, or not."""

    path: str
    value: str
    equal: bool

    def matches(self, item: Json) -> bool:
        """Say whether ``item`` meets this condition. An absent field equals the empty text."""
        found: Any = item
        for part in self.path.split("."):
            found = found.get(part) if isinstance(found, dict) else None
        return (("" if found is None else str(found)) == self.value) is self.equal


def parse_fields(text: str, resource: str) -> tuple[FieldRequirement, ...]:
    """Parse a field selector for ``resource`` (plural name). The empty selector has no conditions.

    :raises ApiError: 400, if a condition cannot be understood or the field is not served.
    """
    requirements = []
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        found = re.fullmatch(r"([^=!]+)(==|=|!=)([^=!]*)", part)
        if not found:
            raise bad_request(f"invalid selector: {part!r} is not of the form field=value")
        path, operator, value = (piece.strip() for piece in found.groups())
        if path not in _FIELDS.get(resource, _COMMON_FIELDS):
            raise bad_request(f"field label not supported: {path}")
        requirements.append(FieldRequirement(path, value, operator != "!="))
    return tuple(requirements)


@dataclass(frozen=True, slots=True)
class Selector:
    """The conditions of one request: every one of them must hold."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[FieldRequirement, ...] = ()

    @classmethod
    def parse(cls, resource: str, label_selector: str, field_selector: str) -> Selector:
        """Parse both selectors of a request.

        :raises ApiError: 400, if one cannot be understood.
        """
        return cls(parse_labels(label_selector), parse_fields(field_selector, resource))

    def matches(self, item: Json) -> bool:
        """Say whether ``item`` is selected."""
        labels = item["metadata"].get("labels") or {}
        return all(part.matches(labels) for part in self.labels) and all(
            part.matches(item) for part in self.fields
        )
