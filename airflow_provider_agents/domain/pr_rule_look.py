"""What the look of a run found out, for the task that ends the run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.pr_rule_state import Seen

if TYPE_CHECKING:
    from collections.abc import Mapping

ErrorType = Literal["github", "ai", "kubernetes", "argocd"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question that the model is asked in this run."""

    usd: float
    """What was set aside for it."""
    context_hash: str
    parts: Mapping[str, str]
    """Hash of each part of the facts that it is asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookFault:
    """Something that could not be read."""

    type: ErrorType
    text: str
    """One sentence for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look of a rule at its repositories."""

    rule: str
    version: str
    run_id: str
    at: datetime
    repositories: int = 0
    unlisted: tuple[str, ...] = ()
    """Repositories whose pull requests could not be listed, and owners whose repositories could not, in small
    letters."""
    list_again: bool = False
    """Whether some of these may soon be listed; else somebody lacks a right, or a name is wrong."""
    listed: int = 0
    """Open pull requests."""
    matched: tuple[str, ...] = ()
    """Keys of those that the rule is for."""
    with_people: tuple[str, ...] = ()
    """Keys of those among them that were put before a person."""
    seen: Mapping[str, Seen] = field(default_factory=dict)
    """What is remembered from now on of those that were read in full, by key."""
    asked: Mapping[str, Question] = field(default_factory=dict)
    standing: tuple[str, ...] = ()
    """Keys of those whose earlier answer is to be carried out."""
    left: int = 0
    """Pull requests that had to wait for the next run."""
    unpaid: int = 0
    """Those that wait for the next day's budget."""
    not_before: datetime | None = None
    """Moment before which the next run would be refused: the end of a rate limit."""
    poll_seconds: float | None = None
    """How soon to look again where an answer waits for what no listing shows, the health of an application."""
    faults: tuple[LookFault, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)},
            "at": self.at.isoformat(),
            "not_before": self.not_before.isoformat() if self.not_before else None,
            "unlisted": list(self.unlisted),
            "matched": list(self.matched),
            "with_people": list(self.with_people),
            "seen": {key: seen.to_dict() for key, seen in self.seen.items()},
            "asked": {key: dataclasses.asdict(question) for key, question in self.asked.items()},
            "standing": list(self.standing),
            "faults": [dataclasses.asdict(fault) for fault in self.faults],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Look:
        """Read what :meth:`to_dict` wrote."""
        until = values["not_before"]
        return cls(
            **{
                **values,
                "at": datetime.fromisoformat(values["at"]),
                "not_before": datetime.fromisoformat(until) if until else None,
                "unlisted": tuple(values["unlisted"]),
                "matched": tuple(values["matched"]),
                "with_people": tuple(values["with_people"]),
                "seen": {key: Seen.from_dict(each) for key, each in values["seen"].items()},
                "asked": {key: Question(**each) for key, each in values["asked"].items()},
                "standing": tuple(values["standing"]),
                "faults": tuple(LookFault(**each) for each in values["faults"]),
            }
        )
