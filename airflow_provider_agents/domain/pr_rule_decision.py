"""What a model answers about a pull request, and what becomes of the answer: the record that is kept."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from agent_runner.contract import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.pr_rule import Action

WaitFor = Literal["anything", "checks", "review", "push", "labels", "deployment"]
"""Change that an answer ``wait`` waits for; a change of another kind alone is no reason to ask again."""

Fault = Literal[
    "", "refused", "truncated", "malformed", "timeout", "rate_limited", "overloaded", "unavailable", "denied"
]
"""Why there is no answer. ``denied``: the credential or the request itself is wrong, a person must act."""

Decider = Literal["model", "person"]

Outcome = Literal["", "done", "dry_run", "waiting", "guarded", "failed", "superseded"]
"""``guarded``: a guard changed the action. ``superseded``: the pull request or the rule changed before the act."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleAnswer:
    """What the model said, checked against the rule's schema."""

    action: Action
    reason: str
    """For people; a model wrote it, perhaps after what outsiders wrote."""
    confidence: float
    """0 to 1."""
    wait_for: WaitFor = "anything"
    until: datetime | None = None
    """Of ``wait``: when to ask again although nothing changed."""
    comment: str = ""
    """Text of the action ``comment``."""
    labels: tuple[str, ...] = ()
    """Of the action ``label``; only those that the rule allows."""
    reviewers: tuple[str, ...] = ()
    """Of the action ``request_review``; only those that the rule allows."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            **dataclasses.asdict(self),
            "until": self.until.isoformat() if self.until else None,
            "labels": list(self.labels),
            "reviewers": list(self.reviewers),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RuleAnswer:
        """Read what :meth:`to_dict` wrote."""
        until = values.get("until")
        return cls(
            **{
                **values,
                "until": datetime.fromisoformat(until) if until else None,
                "labels": tuple(values.get("labels", ())),
                "reviewers": tuple(values.get("reviewers", ())),
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCall:
    """One question to a model, what came of it, and what it cost."""

    answer: RuleAnswer | None
    fault: Fault = ""
    detail: str = ""
    """Of a fault: one sentence for people, without credentials."""
    model: str = ""
    tokens: Tokens = field(default_factory=Tokens)
    usd: float = 0.0
    priced: bool = True
    """Whether the model's price is known; else it is the dearest one's."""
    seconds: float = 0.0
    request_id: str = ""
    retry_after: float | None = None
    """Seconds, where the API named them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRequestDecision:
    """What a rule decided about one pull request, why, and what came of it: one entry of the audit."""

    rule: str
    version: str
    """Of the rule, see :attr:`~.pr_rule.PullRequestRule.version`."""
    repository: str
    number: int
    url: str
    head_sha: str
    context_hash: str
    decided_at: datetime
    by: Decider = "model"
    person: str = ""
    """Who, where a person decided."""
    answer: RuleAnswer | None
    """``None``: there is none, see :attr:`fault`."""
    fault: Fault = ""
    detail: str = ""
    model: str = ""
    tokens: Tokens = field(default_factory=Tokens)
    usd: float = 0.0
    seconds: float = 0.0
    request_id: str = ""
    failures: int = 0
    """Questions in a row that brought no answer for this head, this one included."""
    asked: bool = True
    """Whether the model was asked for it now; else the answer is one that still stands."""
    action: Action = "wait"
    """What was done in the end, after the guards."""
    guard: str = ""
    """Name of the guard that changed the action."""
    message: str = ""
    """One sentence for people about what was done, or why not."""
    outcome: Outcome = ""
    acted_at: datetime | None = None
    retry_at: datetime | None = None
    """When there is a reason to look again although nothing changed at GitHub."""

    @property
    def key(self) -> str:
        """Return ``owner/name#7``, as :attr:`~.open_pull_request.OpenPullRequest.key`."""
        return f"{self.repository.casefold()}#{self.number}"

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        return {
            **{item.name: getattr(self, item.name) for item in dataclasses.fields(self)},
            "decided_at": self.decided_at.isoformat(),
            "acted_at": self.acted_at.isoformat() if self.acted_at else None,
            "retry_at": self.retry_at.isoformat() if self.retry_at else None,
            "answer": self.answer.to_dict() if self.answer else None,
            "tokens": dataclasses.asdict(self.tokens),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PullRequestDecision:
        """Read what :meth:`to_dict` wrote."""
        moments = {
            name: datetime.fromisoformat(values[name]) if values.get(name) else None
            for name in ("acted_at", "retry_at")
        }
        return cls(
            **{
                **values,
                **moments,
                "decided_at": datetime.fromisoformat(values["decided_at"]),
                "answer": RuleAnswer.from_dict(values["answer"]) if values.get("answer") else None,
                "tokens": Tokens(**values.get("tokens", {})),
            }
        )
