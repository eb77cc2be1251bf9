"""The environment and command line of a container, and folders in place of its mount paths."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Any

from airflow_provider_agents.local import downward, names
from airflow_provider_agents.local.api_errors import Json

Find = Callable[[str, str], Json | None]
"""Returns an object of the pod's namespace by resource and name."""

# What may stand directly before and after a whole path: nothing that could continue a path component.
# The slashes of "file://" are the exception before, a full stop that ends a sentence the one after.
_BEFORE = r"(?:(?<![\w.\-/~+%})\]*?])|(?<=\bfile://))"
_AFTER = r"(?![\w\-+@%~${(*?\[]|\.[\w.\-/])"


class ConfigurationError(Exception):
    """A container cannot be created because something that its environment refers to is missing."""


class PathTranslator:
    """Puts folders of this machine in place of the mount paths of a container.

    Only whole path components are replaced, the longest mount path first, and nothing twice.

    :param folders: path in this machine by path in the container (absolute).
    """

    def __init__(self, folders: Mapping[str, str]) -> None:
        cleaned = {path.rstrip("/"): folder for path, folder in folders.items() if path.rstrip("/")}
        self._folders = cleaned
        longest_first = sorted(cleaned, key=len, reverse=True)
        joined = "|".join(re.escape(path) for path in longest_first)
        self._pattern = re.compile(f"{_BEFORE}(?:{joined}){_AFTER}") if cleaned else None

    def __call__(self, text: str) -> str:
        """Return ``text`` with the mount paths in it replaced."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: self._folders[found[0]], text)


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` by the variable; ``$$`` is one dollar sign, an unknown name stays as it is."""

    def replace(found: re.Match[str]) -> str:
        if found[0] == "$$":
            return "$"
        return variables.get(found[1], found[0])

    return re.sub(r"\$\$|\$\(([^()]*)\)", replace, text)


def container_environment(
    pod: Json, container: Json, find: Find, translate: Callable[[str], str]
) -> tuple[dict[str, str], dict[str, str]]:
    """Build the environment of a container from its ``envFrom`` and ``env``.

    Values that come from secrets, config maps and fields stay as they are: ``translate`` is applied to
    values written in the specification only.

    :return: the environment as the specification means it, for :func:`expand`; and as the process gets it.
    :raises ConfigurationError: if a secret, a config map or a key of one is missing and not optional.
    """
    meant: dict[str, str] = {}
    given: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for name, value in _all_keys(pod, source, find):
            meant[name] = given[name] = value
    for entry in container.get("env") or []:
        name = entry["name"]
        if entry.get("valueFrom"):
            found = _value_from(pod, container, entry["valueFrom"], find)
            if found is not None:
                meant[name] = given[name] = found
        else:
            meant[name] = expand(entry.get("value") or "", meant)
            given[name] = translate(meant[name])
    return meant, given


def command_line(
    container: Json,
    entrypoint: tuple[str, ...],
    variables: Mapping[str, str],
    translate: Callable[[str], str],
) -> list[str]:
    """Return the command line of a container, as Kubernetes combines ``command``, ``args`` and the image's.

    :param variables: the environment as the specification means it.
    """
    own = [translate(expand(part, variables)) for part in container.get("command") or []]
    arguments = [translate(expand(part, variables)) for part in container.get("args") or []]
    return [*(own or entrypoint), *arguments]


def decoded(item: Json) -> dict[str, bytes]:
    """Return the data of a secret or config map as bytes."""
    if item["kind"] == "Secret":
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    data = {key: value.encode() for key, value in (item.get("data") or {}).items()}
    return data | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}


def _all_keys(pod: Json, source: Json, find: Find) -> list[tuple[str, str]]:
    for field, resource, kind in (
        ("secretRef", "secrets", "secret"),
        ("configMapRef", "configmaps", "configmap"),
    ):
        if reference := source.get(field):
            item = find(resource, reference["name"])
            if item is None and not reference.get("optional"):
                raise ConfigurationError(f'{kind} "{reference["name"]}" not found')
            prefix = source.get("prefix") or ""
            pairs = (
                [(prefix + key, data.decode("utf-8", "replace")) for key, data in decoded(item).items()]
                if item
                else []
            )
            return [(name, value) for name, value in pairs if not names.environment_name(name)]
    return []


def _value_from(pod: Json, container: Json, source: Json, find: Find) -> str | None:
    if reference := source.get("fieldRef"):
        return downward.field_value(pod, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return downward.resource_value(_named(pod, reference.get("containerName"), container), reference)
    if reference := source.get("secretKeyRef"):
        return _key(pod, reference, find("secrets", reference["name"]), "secret", "Secret")
    reference = source["configMapKeyRef"]
    return _key(pod, reference, find("configmaps", reference["name"]), "configmap", "ConfigMap")


def _named(pod: Json, name: str | None, default: Json) -> Json:
    spec: dict[str, Any] = pod["spec"]
    everyone = [*spec["containers"], *(spec.get("initContainers") or [])]
    return next((other for other in everyone if other["name"] == name), default)


def _key(pod: Json, reference: Json, item: Json | None, kind: str, title: str) -> str | None:
    if item is None:
        if reference.get("optional"):
            return None
        raise ConfigurationError(f'{kind} "{reference["name"]}" not found')
    data = decoded(item)
    if reference["key"] not in data:
        if reference.get("optional"):
            return None
        place = f"{pod['metadata']['namespace']}/{reference['name']}"
        raise ConfigurationError(f"couldn't find key {reference['key']} in {title} {place}")
    return data[reference["key"]].decode("utf-8", "replace")
