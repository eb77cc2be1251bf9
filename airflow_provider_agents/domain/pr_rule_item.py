"""One pull request on its way through a run of a rule: what was read of it, and what stands about it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision, RuleAnswer

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleItem:
    """What the look hands to the decision and to the act."""

    rule: str
    version: str
    entry: OpenPullRequest
    """As listed; its head is the one that the facts are about."""
    facts: Mapping[str, Any]
    """What the model may be shown, see :mod:`.pr_rule_facts`."""
    context_hash: str
    parts: Mapping[str, str]
    """Hash of each part of the facts."""
    head_first_seen: datetime
    standing: RuleAnswer | None = None
    """An earlier answer that still stands and is not carried out; the model is not asked again."""
    answered_at: datetime | None = None
    """Of :attr:`standing`."""
    failures: int = 0
    """Questions in a row that brought no answer for this head, before this one."""
    most_usd: float = 0.0
    """What was set aside for the question."""

    @property
    def key(self) -> str:
        """Return ``owner/name#7``, as :attr:`~.open_pull_request.OpenPullRequest.key`."""
        return self.entry.key

    def standing_decision(self) -> PullRequestDecision:
        """Return the earlier answer, which stands, as what the act carries out; nobody was asked for it now.

        :raises ValueError: there is none.
        """
        if self.standing is None or self.answered_at is None:
            raise ValueError(f"no answer stands for {self.key}")
        return PullRequestDecision(
            rule=self.rule,
            version=self.version,
            repository=self.entry.repository,
            number=self.entry.number,
            url=self.entry.url,
            head_sha=self.entry.head_sha,
            context_hash=self.context_hash,
            decided_at=self.answered_at,
            answer=self.standing,
            asked=False,
            action=self.standing.action,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)},
            "entry": self.entry.to_dict(),
            "facts": dict(self.facts),
            "parts": dict(self.parts),
            "head_first_seen": self.head_first_seen.isoformat(),
            "standing": self.standing.to_dict() if self.standing else None,
            "answered_at": self.answered_at.isoformat() if self.answered_at else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RuleItem:
        """Read what :meth:`to_dict` wrote."""
        answered = values.get("answered_at")
        return cls(
            **{
                **values,
                "entry": OpenPullRequest.from_dict(values["entry"]),
                "head_first_seen": datetime.fromisoformat(values["head_first_seen"]),
                "standing": RuleAnswer.from_dict(values["standing"]) if values.get("standing") else None,
                "answered_at": datetime.fromisoformat(answered) if answered else None,
            }
        )
