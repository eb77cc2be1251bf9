"""The record of landing decisions: what was decided about which head, by which rule, on what, and what was done.

Bounded: decisions to wait that repeat collapse into one entry, and the oldest entries go when the record
outgrows its size.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.untrusted import clip

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.domain.landing import Decision

MOST_BYTES = 48_000
"""Of the whole record as JSON: Airflow advises at most 64 KB a value."""
MOST_EVIDENCE_BYTES = 600
MOST_ACTION_BYTES = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionEntry:
    """One decision, or several alike in a row."""

    head_sha: str
    verdict: str
    reason: str
    rule: str
    evidence: str
    """What the decision rests on, one sentence."""
    action: str = ""
    """What was done, or that it is being done; empty where nothing is."""
    at: datetime
    """When it was first decided, timezone-aware."""
    last_at: datetime
    count: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return the entry as JSON-ready values."""
        values = dataclasses.asdict(self)
        return {**values, "at": self.at.isoformat(), "last_at": self.last_at.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DecisionEntry:
        """Read what :meth:`to_dict` wrote."""
        moments = {name: datetime.fromisoformat(values[name]) for name in ("at", "last_at")}
        return cls(**{**values, **moments})


def entry_of(decision: Decision, *, head_sha: str, at: datetime, action: str = "") -> DecisionEntry:
    """Return the entry of one decision.

    :param action: what is done about it, e.g. ``merge called``.
    """
    return DecisionEntry(
        head_sha=head_sha,
        verdict=decision.verdict,
        reason=decision.reason,
        rule=decision.rule,
        evidence=clip(decision.message, MOST_EVIDENCE_BYTES),
        action=clip(action, MOST_ACTION_BYTES),
        at=at,
        last_at=at,
    )


def appended(
    entries: Sequence[DecisionEntry], entry: DecisionEntry, *, most_bytes: int = MOST_BYTES
) -> tuple[DecisionEntry, ...]:
    """Return the record with one more entry.

    A ``wait`` for the same reason at the same head as the last entry counts it up, and takes the newest
    evidence. Anything else is an entry of its own, be it ever so alike: it was done twice.

    :param most_bytes: of the record as JSON; the oldest entries go first, never the new one.
    """
    kept = list(entries)
    last = kept[-1] if kept else None
    if last is not None and entry.verdict == "wait" and not entry.action and _same(last, entry):
        kept[-1] = dataclasses.replace(
            last, last_at=entry.last_at, count=last.count + entry.count, evidence=entry.evidence
        )
    else:
        kept.append(entry)
    sizes = [len(json.dumps(each.to_dict())) + 2 for each in kept]
    first = 0
    while sum(sizes[first:]) > most_bytes and first < len(kept) - 1:
        first += 1
    return tuple(kept[first:])


def _same(one: DecisionEntry, other: DecisionEntry) -> bool:
    return not one.action and all(
        getattr(one, name) == getattr(other, name) for name in ("head_sha", "verdict", "reason", "rule")
    )
