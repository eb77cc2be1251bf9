"""A question to people and their answer, as values: what a task asks on Airflow's page and on the forge."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

FieldKind = Literal["text", "multiline", "boolean", "choice"]
Where = Literal["airflow", "github"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One thing that can be chosen."""

    name: str
    """What the button says."""
    explanation: str = ""
    """What happens then, one sentence."""
    binding: bool = False
    """Whether it consents to what the question says just then, e.g. to a head or a plan: such an answer
    counts only for the very :attr:`Question.facts` that its author was shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InputField:
    """One field of the form beside the options."""

    name: str
    """Key of its value: lower-case letters, digits and ``_``."""
    title: str
    kind: FieldKind = "text"
    description: str = ""
    choices: tuple[str, ...] = ()
    """What can be chosen, for the kind ``choice``."""
    default: str | bool = ""


def facts_code(facts: str) -> str:
    """Return the short code by which people name facts."""
    return hashlib.sha256(facts.encode()).hexdigest()[:6]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Something that a person is to decide.

    :raises ValueError: there is no option, or two of the same name.
    """

    key: str
    """What tells it from other questions of the same task: an answer counts for the question of its key."""
    subject: str
    """One line."""
    body: str = ""
    """Markdown."""
    options: tuple[Option, ...]
    fields: tuple[InputField, ...] = ()
    facts: str = ""
    """What a binding option consents to; empty: :attr:`key`."""

    def __post_init__(self) -> None:
        if not self.options or len(set(self.option_names)) != len(self.options):
            raise ValueError(f"a question needs options of different names, not {list(self.option_names)}")

    @property
    def option_names(self) -> tuple[str, ...]:
        return tuple(option.name for option in self.options)

    @property
    def code(self) -> str:
        """Return the short code of what a binding option consents to."""
        return facts_code(self.facts or self.key)

    def binds(self, option: str) -> bool:
        """Say whether an option of this name is binding."""
        return any(each.name == option and each.binding for each in self.options)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a person chose."""

    key: str
    """Key of the question."""
    option: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    by: str
    """Who answered: a user of Airflow, or a login of the forge."""
    at: datetime
    """Timezone-aware."""
    where: Where = "airflow"

    def text(self, name: str) -> str:
        """Return what was written into a field, stripped; empty where nothing was."""
        value = self.fields.get(name)
        return value.strip() if isinstance(value, str) else ""

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-ready values."""
        return {
            "key": self.key,
            "option": self.option,
            "fields": dict(self.fields),
            "by": self.by,
            "at": self.at.isoformat(),
            "where": self.where,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Answer:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            key=values["key"],
            option=values["option"],
            fields=dict(values.get("fields") or {}),
            by=values["by"],
            at=datetime.fromisoformat(values["at"]),
            where=values.get("where", "airflow"),
        )
