"""One decision of a rule as it is kept for people who ask later: small, without control characters, in one form."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pr_rule_turn import CARRIED_OUT
from airflow_provider_agents.domain.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision

ASSET_PREFIX = "agents_decisions__"
"""Of the name of the asset whose events are the decisions of one rule."""
FORMAT = 1
MOST_BYTES = 4096
"""Of a record as JSON, the way that a database keeps it: with escapes for all that is not ASCII."""
MOST_EVENTS = 100
"""Of one run. Airflow stores the events of a task within the one request that ends it, which has 5 seconds: a thousand
take several, a hundred a tenth of one."""

_MOST_CHARACTERS = (500, 250, 120, 60, 30, 12)
"""Of each text for people; the first that makes the record small enough."""
_MOST_NAMES = 10
"""Labels, reviewers; a third of them where the record is cut the most."""


def decisions_asset_name(rule: str) -> str:
    """Return the name of the asset whose events are a rule's decisions."""
    return ASSET_PREFIX + rule


def is_worth_keeping(decision: PullRequestDecision) -> bool:
    """Return whether a decision tells something new.

    An earlier answer that a guard still holds back tells nothing: it was recorded when it was given, and is again
    once it is carried out or fails.
    """
    return (
        decision.asked
        or decision.by == "person"
        or decision.outcome in CARRIED_OUT
        or decision.outcome == "failed"
        or (decision.outcome == "guarded" and decision.acted_at is not None)
    )


def event_extras(decisions: Iterable[PullRequestDecision]) -> list[dict[str, Any]]:
    """Return the extras of the events of one run: one for each decision worth keeping.

    Of more than :data:`MOST_EVENTS`, several share an event, as the list ``decisions``.
    """
    records = [audit_record(each) for each in decisions if is_worth_keeping(each)]
    if len(records) <= MOST_EVENTS:
        return records
    size = -(-len(records) // MOST_EVENTS)
    return [
        {"format": FORMAT, "decisions": records[start : start + size]}
        for start in range(0, len(records), size)
    ]


def records_of(extra: Any) -> list[dict[str, Any]]:
    """Return the records of an event, the last one first; none where somebody else made the event."""
    if not isinstance(extra, dict) or extra.get("format") != FORMAT:
        return []
    several = extra.get("decisions", [extra])
    return [each for each in reversed(several) if isinstance(each, dict) and each.get("rule")]


def audit_record(decision: PullRequestDecision) -> dict[str, Any]:
    """Return a decision as the extra of an asset event: at most :data:`MOST_BYTES` as JSON.

    Texts are on one line, without what is invisible, and cut; the text of a comment is left out, as it stands at
    GitHub. No key is one that Airflow takes for that of a secret and masks: hence ``usage``, not ``tokens``.
    """
    record: dict[str, Any] = {}
    for most in _MOST_CHARACTERS:
        record = _record(decision, most)
        if len(json.dumps(record, sort_keys=True)) <= MOST_BYTES:
            break
    return record


def _record(decision: PullRequestDecision, most: int) -> dict[str, Any]:
    answer, tokens = decision.answer, decision.tokens
    names = _MOST_NAMES if most > _MOST_CHARACTERS[-1] else _MOST_NAMES // 3
    record: dict[str, Any] = {
        "format": FORMAT,
        "rule": decision.rule,
        "version": decision.version,
        "repository": decision.repository,
        "number": decision.number,
        "url": _plain(decision.url, 250),
        "head_sha": decision.head_sha,
        "context_hash": decision.context_hash,
        "decided_at": decision.decided_at.isoformat(),
        "acted_at": _moment(decision.acted_at),
        "by": decision.by,
        "person": one_line(decision.person, min(most, 100)),
        "asked": decision.asked,
        "model": _plain(decision.model, 100),
        "usage": {
            "input": tokens.input,
            "output": tokens.output,
            "cache_read": tokens.cache_read,
            "cache_write": tokens.cache_write,
        },
        "usd": round(decision.usd, 6),
        "seconds": round(decision.seconds, 1),
        "request_id": _plain(decision.request_id, 80),
        "answer": None,
        "action": decision.action,
        "guard": decision.guard,
        "outcome": decision.outcome,
        "message": one_line(decision.message, most),
        "retry_at": _moment(decision.retry_at),
        "fault": decision.fault,
        "detail": one_line(decision.detail, most),
    }
    if answer is not None:
        record["answer"] = {
            "action": answer.action,
            "reason": one_line(answer.reason, most),
            "confidence": answer.confidence,
            "wait_for": answer.wait_for if answer.action == "wait" else "",
            "until": _moment(answer.until),
            "labels": [one_line(label, min(most, 50)) for label in answer.labels[:names]],
            "reviewers": [one_line(name, min(most, 100)) for name in answer.reviewers[:names]],
        }
    return record


def _plain(text: str, most: int) -> str:
    """Return what machines name each other by, of which nothing but ASCII is expected."""
    return text.encode("ascii", "replace").decode()[:most]


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
