"""What was already seen and tried about one pull request: the memory of :func:`.landing.decide`.

Gates write it down where it does not expire, and hand it to the trigger as JSON. Counters are counts of
what is written here, so that no change of the pull request resets them.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.authority_rules import AuthorityRules

if TYPE_CHECKING:
    from collections.abc import Mapping

ReviewVerdict = Literal["approve", "request_changes", "comment"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """A fix round."""

    reason: str
    """Reason of the decision that asked for it."""
    head_sha: str
    """Head that it was given."""
    head_after: str | None = None
    """Head that it pushed; ``None`` where it pushed nothing."""
    fingerprint: str = ""
    """Of the failure that it was given, see :mod:`.fingerprint`; empty where there is none."""
    answered: tuple[str, ...] = ()
    """Keys of the reviews and threads that it was given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerun:
    """A request to run failed checks again."""

    head_sha: str
    at: datetime
    checks: tuple[str, ...]
    """Names of the checks."""
    evidence: str
    """Why they may be flaky, one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Enqueued:
    """An entry that we made in the merge queue, an auto-merge that we asked for, or that we took one back."""

    head_sha: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReview:
    """A finished review by the review agent."""

    head_sha: str
    verdict: ReviewVerdict
    summary: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingHistory:
    """All that was already seen and tried. Moments are timezone-aware."""

    heads_first_seen: Mapping[str, datetime] = field(default_factory=dict)
    """When we first saw each head."""
    rounds: tuple[Round, ...] = ()
    """Every fix round so far, oldest first."""
    granted_rounds: int = 0
    """Rounds that people added to the policy's."""
    reruns: tuple[Rerun, ...] = ()
    enqueued: tuple[Enqueued, ...] = ()
    auto_merge_asked: tuple[Enqueued, ...] = ()
    withdrawn: tuple[Enqueued, ...] = ()
    """Of both: what we took back, because something came up."""
    updated_heads: tuple[str, ...] = ()
    """Heads whose branch we brought up to date with its base."""
    reviews: tuple[AgentReview, ...] = ()
    risks: Mapping[str, int] = field(default_factory=dict)
    """Risk score of heads for which it was computed."""
    broken_base: Mapping[str, str] = field(default_factory=dict)
    """Heads that failed only where the base branch failed too, each with the base branch's tip at that time."""
    commands: frozenset[str] = frozenset()
    """Node ids of comments whose commands were carried out."""
    approved_heads: frozenset[str] = frozenset()
    """Heads that a person told us to merge: consent to what only people can settle, not to failing checks."""
    overridden: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Heads that a person who saw these failing checks told us to merge in spite of them, with their names."""
    review_asked: frozenset[str] = frozenset()
    """Heads that a person told the review agent to read."""
    since: datetime | None = None
    """When the run began: what was commanded before was meant for an earlier one."""
    ours: frozenset[str] = frozenset()
    """Logins, besides the reading credential's, that our steps write with, e.g. the review agent's."""
    authority: AuthorityRules = field(default_factory=AuthorityRules)
    """Whose commands count in this run."""

    @property
    def answered(self) -> frozenset[str]:
        """Keys of all reviews and threads that some round was given."""
        return frozenset(key for each in self.rounds for key in each.answered)

    def rounds_for(self, reason: str) -> int:
        """Return how many rounds were spent on ``reason``."""
        return sum(each.reason == reason for each in self.rounds)

    def first_seen(self, head_sha: str, now: datetime) -> datetime:
        """Return when ``head_sha`` was first seen: ``now`` for a head that is new."""
        return self.heads_first_seen.get(head_sha, now)

    def review_of(self, head_sha: str) -> AgentReview | None:
        """Return the last agent review of exactly this head."""
        return next((r for r in reversed(self.reviews) if r.head_sha == head_sha), None)

    def to_dict(self) -> dict[str, Any]:
        """Return the history as JSON-ready values."""
        return {
            "heads_first_seen": {sha: at.isoformat() for sha, at in self.heads_first_seen.items()},
            "rounds": [{**dataclasses.asdict(r), "answered": list(r.answered)} for r in self.rounds],
            "granted_rounds": self.granted_rounds,
            "reruns": [
                {
                    "head_sha": r.head_sha,
                    "at": r.at.isoformat(),
                    "checks": list(r.checks),
                    "evidence": r.evidence,
                }
                for r in self.reruns
            ],
            "enqueued": [_entry(e) for e in self.enqueued],
            "auto_merge_asked": [_entry(e) for e in self.auto_merge_asked],
            "withdrawn": [_entry(e) for e in self.withdrawn],
            "updated_heads": list(self.updated_heads),
            "reviews": [dataclasses.asdict(r) for r in self.reviews],
            "risks": dict(self.risks),
            "broken_base": dict(self.broken_base),
            "commands": sorted(self.commands),
            "approved_heads": sorted(self.approved_heads),
            "overridden": {sha: list(names) for sha, names in self.overridden.items()},
            "review_asked": sorted(self.review_asked),
            "since": self.since.isoformat() if self.since else None,
            "ours": sorted(self.ours),
            "authority": self.authority.model_dump(mode="json", exclude_defaults=True),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LandingHistory:
        """Read what :meth:`to_dict` wrote; parts that are absent are empty."""
        return cls(
            heads_first_seen={
                sha: datetime.fromisoformat(at) for sha, at in (values.get("heads_first_seen") or {}).items()
            },
            rounds=tuple(
                Round(**{**r, "answered": tuple(r.get("answered", ()))}) for r in values.get("rounds", ())
            ),
            granted_rounds=int(values.get("granted_rounds", 0)),
            reruns=tuple(
                Rerun(
                    head_sha=r["head_sha"],
                    at=datetime.fromisoformat(r["at"]),
                    checks=tuple(r["checks"]),
                    evidence=r["evidence"],
                )
                for r in values.get("reruns", ())
            ),
            enqueued=tuple(_read_entry(e) for e in values.get("enqueued", ())),
            auto_merge_asked=tuple(_read_entry(e) for e in values.get("auto_merge_asked", ())),
            withdrawn=tuple(_read_entry(e) for e in values.get("withdrawn", ())),
            updated_heads=tuple(values.get("updated_heads", ())),
            reviews=tuple(AgentReview(**r) for r in values.get("reviews", ())),
            risks={sha: int(score) for sha, score in (values.get("risks") or {}).items()},
            broken_base=dict(values.get("broken_base") or {}),
            commands=frozenset(values.get("commands", ())),
            approved_heads=frozenset(values.get("approved_heads", ())),
            overridden={sha: tuple(names) for sha, names in (values.get("overridden") or {}).items()},
            review_asked=frozenset(values.get("review_asked", ())),
            since=datetime.fromisoformat(values["since"]) if values.get("since") else None,
            ours=frozenset(values.get("ours", ())),
            authority=AuthorityRules.model_validate(values.get("authority") or {}),
        )


def _entry(entry: Enqueued) -> dict[str, str]:
    return {"head_sha": entry.head_sha, "at": entry.at.isoformat()}


def _read_entry(values: Mapping[str, str]) -> Enqueued:
    return Enqueued(head_sha=values["head_sha"], at=datetime.fromisoformat(values["at"]))
