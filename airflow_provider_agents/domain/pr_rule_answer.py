"""The form of a model's answer to a rule, and the check of what comes back."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

from airflow_provider_agents.domain.pr_rule_decision import RuleAnswer, WaitFor
from airflow_provider_agents.domain.untrusted import clean, clip, one_line

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule import PullRequestRule

MAX_REASON = 500
"""Characters."""
MAX_COMMENT_BYTES = 4_000
SOONEST = timedelta(minutes=5)
LATEST = timedelta(hours=24)
"""Bounds of the moment that an answer ``wait`` waits for: it neither makes a run of every look, nor sleeps for days."""

_WAIT_FOR: tuple[WaitFor, ...] = get_args(WaitFor)


def answer_schema(rule: PullRequestRule) -> dict[str, Any]:
    """Return the JSON Schema of an answer: the rule's actions, labels and reviewers, and no others.

    It has only what structured outputs of models hold an answer to: types, enumerations, required fields.
    """
    fields: dict[str, Any] = {
        "reason": _text("Why, in one or two sentences for people; the facts that decide."),
        "action": {"type": "string", "enum": sorted(rule.allowed), "description": "What is to be done."},
        "confidence": {"type": "number", "description": "How sure you are, from 0 to 1."},
        "wait_for": {
            "type": "string",
            "enum": list(_WAIT_FOR),
            "description": "Of `wait`: the only kind of change after which to ask again; else `anything`.",
        },
        "until": _text(
            "Of `wait`: moment in ISO 8601 at which to ask again although nothing changed; else empty."
        ),
    }
    if "comment" in rule.allowed:
        fields["comment"] = _text("Of `comment`: the text, in Markdown; else empty.")
    for action, name, words in (
        ("label", "labels", rule.labels),
        ("request_review", "reviewers", rule.reviewers),
    ):
        if action in rule.allowed:
            fields[name] = {
                "type": "array",
                "items": {"type": "string", "enum": sorted(set(words))},
                "description": f"Of `{action}`: which; else empty.",
            }
    return {
        "type": "object",
        "properties": fields,
        "required": list(fields),
        "additionalProperties": False,
    }


def parse_answer(values: Any, rule: PullRequestRule, now: datetime) -> RuleAnswer:
    """Return a model's answer, checked; what does not belong to its action is left out.

    :param values: what the model gave, e.g. read from JSON.
    :param now: timezone-aware; ``until`` is bounded to :data:`SOONEST` … :data:`LATEST` from it.
    :raises ValueError: it is no answer to this rule; the message names the field.
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"the answer is no object, but {_shown(values)}")
    fields = answer_schema(rule)["properties"]
    if unknown := sorted(str(name) for name in set(values) - set(fields)):
        raise ValueError(f"the answer has fields that are not asked for: {_shown(unknown)}")
    if missing := [name for name in fields if name not in values]:
        raise ValueError(f"the answer lacks {', '.join(missing)}")
    action = _one_of(values, "action", fields["action"]["enum"])
    reason = one_line(_string(values, "reason"), MAX_REASON)
    if not reason:
        raise ValueError("reason is empty")
    wait_for = _one_of(values, "wait_for", _WAIT_FOR)
    until = _string(values, "until").strip()
    comment = clip(clean(_string(values, "comment")), MAX_COMMENT_BYTES) if action == "comment" else ""
    labels = _several(values, "labels", rule.labels) if action == "label" else ()
    reviewers = _several(values, "reviewers", rule.reviewers) if action == "request_review" else ()
    for name, given in (("comment", comment), ("label", labels), ("request_review", reviewers)):
        if action == name and not given:
            raise ValueError(f"the action is {name}, but there is nothing to do it with")
    return RuleAnswer(
        action=action,
        reason=reason,
        confidence=_confidence(values["confidence"]),
        wait_for=wait_for if action == "wait" else "anything",
        until=_until(until, now) if action == "wait" and until else None,
        comment=comment,
        labels=labels,
        reviewers=reviewers,
    )


def _text(description: str) -> dict[str, str]:
    return {"type": "string", "description": description}


def _string(values: Mapping[str, Any], name: str) -> str:
    value = values[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text, but {_shown(value)}")
    return value


def _one_of(values: Mapping[str, Any], name: str, words: Any) -> Any:
    """Return a word as it stands in ``words``: nothing that only looks like one of them is."""
    value = _string(values, name)
    if value not in words:
        raise ValueError(f"{name} is {_shown(value)}, not one of {', '.join(words)}")
    return value


def _several(values: Mapping[str, Any], name: str, words: tuple[str, ...]) -> tuple[str, ...]:
    given = values[name]
    if not isinstance(given, list | tuple):
        raise ValueError(f"{name} is no list, but {_shown(given)}")
    if wrong := [each for each in given if each not in words]:
        raise ValueError(f"{name} has {_shown(wrong)}, which the rule does not allow")
    return tuple(dict.fromkeys(given))


def _confidence(value: Any) -> float:
    # Not cut to its bounds: what says 95 may mean 0.95, or anything.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ValueError(f"confidence is {_shown(value)}, not a number from 0 to 1")
    return float(value)


def _until(text: str, now: datetime) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"until is {_shown(text)}, no moment in ISO 8601") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max(moment, now + SOONEST), now + LATEST)


def _shown(value: Any) -> str:
    return one_line(repr(value), 100)
