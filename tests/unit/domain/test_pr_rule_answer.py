"""The form of an answer, and what is refused."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import anthropic
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pr_rule_prompt_cases import NOW, rule

from airflow_provider_agents.domain.pr_rule_answer import (
    LATEST,
    MAX_COMMENT_BYTES,
    MAX_REASON,
    SOONEST,
    answer_schema,
    parse_answer,
)
from airflow_provider_agents.domain.pr_rule_decision import RuleAnswer

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule import PullRequestRule

ALL = rule(
    actions=["merge", "wait", "escalate", "close", "comment", "label", "request_review", "update_branch"],
    labels=["ready", "stale"],
    reviewers=["mona", "acme/platform"],
)
SHORT = {"reason": "CI is green.", "action": "merge", "confidence": 0.9, "wait_for": "anything", "until": ""}
LONG = {**SHORT, "comment": "", "labels": [], "reviewers": []}


def parsed(of: PullRequestRule | None = None, **changes: Any) -> RuleAnswer:
    return parse_answer({**(LONG if of is ALL else SHORT), **changes}, of or rule(), NOW)


@pytest.mark.parametrize("of", [rule(), ALL, rule(actions=["close"]), rule(actions=["comment", "escalate"])])
def test_the_schema_is_one_that_structured_outputs_hold_to(of: PullRequestRule) -> None:
    schema = answer_schema(of)
    text = json.dumps(schema)
    sent = anthropic.transform_schema(json.loads(text))
    # What the API does not hold an answer to, the SDK writes into the descriptions.
    for name, field in schema["properties"].items():
        assert sent["properties"][name].get("description") == field.get("description")
    assert sent["required"] == schema["required"] == list(schema["properties"])
    assert sent["additionalProperties"] is schema["additionalProperties"] is False
    assert schema["properties"]["action"]["enum"] == sorted({*of.actions, "wait"})


def test_the_reason_is_thought_of_before_the_action() -> None:
    assert list(answer_schema(ALL)["properties"])[:2] == ["reason", "action"]


def test_fields_of_actions_that_the_rule_does_not_allow_are_not_asked_for() -> None:
    assert set(answer_schema(rule())["properties"]) == set(SHORT)
    assert set(answer_schema(ALL)["properties"]) == set(LONG)
    assert answer_schema(ALL)["properties"]["labels"]["items"]["enum"] == ["ready", "stale"]
    assert answer_schema(ALL)["properties"]["reviewers"]["items"]["enum"] == ["acme/platform", "mona"]


def test_an_answer() -> None:
    assert parsed() == RuleAnswer(action="merge", reason="CI is green.", confidence=0.9)


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        (
            {"action": "wait", "wait_for": "checks"},
            RuleAnswer(action="wait", reason="CI is green.", confidence=0.9, wait_for="checks"),
        ),
        (
            {"action": "comment", "comment": " Please rebase. ", "labels": ["ready"]},
            RuleAnswer(action="comment", reason="CI is green.", confidence=0.9, comment="Please rebase."),
        ),
        (
            {"action": "label", "labels": ["stale", "ready", "stale"], "comment": "x"},
            RuleAnswer(action="label", reason="CI is green.", confidence=0.9, labels=("stale", "ready")),
        ),
        (
            {"action": "request_review", "reviewers": ["acme/platform"]},
            RuleAnswer(
                action="request_review", reason="CI is green.", confidence=0.9, reviewers=("acme/platform",)
            ),
        ),
        (
            {"wait_for": "checks", "until": "2026-03-02T18:00:00Z", "comment": "x", "labels": ["ready"]},
            RuleAnswer(action="merge", reason="CI is green.", confidence=0.9),
        ),
    ],
)
def test_what_belongs_to_the_action_is_kept(changes: dict[str, Any], answer: RuleAnswer) -> None:
    assert parsed(ALL, **changes) == answer


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"action": "approve"}, "action is 'approve', not one of close, escalate, merge, wait"),
        ({"action": "label"}, "action is 'label', not one of"),
        ({"action": "MERGE"}, "action is 'MERGE'"),
        ({"action": " merge"}, "action is"),
        ({"action": "m\u0435rge"}, "action is"),
        ({"action": "merge\u200b"}, "action is"),
        ({"action": ["merge"]}, "action is no text"),
        ({"action": None}, "action is no text"),
        ({"reason": " \u200b\n"}, "reason is empty"),
        ({"reason": {"text": "x"}}, "reason is no text"),
        ({"confidence": 95}, "confidence is 95"),
        ({"confidence": -0.1}, "confidence is -0.1"),
        ({"confidence": float("nan")}, "confidence is nan"),
        ({"confidence": "0.9"}, "confidence is '0.9'"),
        ({"confidence": True}, "confidence is True"),
        ({"wait_for": "godot"}, "wait_for is 'godot'"),
        ({"action": "wait", "until": "tomorrow"}, "until is 'tomorrow', no moment"),
        ({"until": 7}, "until is no text"),
        ({"and_then": "merge"}, "not asked for: ['and_then']"),
    ],
)
def test_what_is_no_answer(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parsed(**changes)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"action": "comment", "comment": "\u200b"}, "the action is comment, but there is nothing"),
        ({"action": "label"}, "the action is label, but"),
        (
            {"action": "label", "labels": ["ready", "approved"]},
            "labels has ['approved'], which the rule does not",
        ),
        ({"action": "label", "labels": "ready"}, "labels is no list"),
        ({"action": "label", "labels": [["ready"]]}, "labels has"),
        ({"action": "request_review", "reviewers": ["mallory"]}, "reviewers has ['mallory']"),
        ({"action": "request_review", "reviewers": []}, "the action is request_review, but"),
    ],
)
def test_what_an_action_lacks(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=re.escape(words)):
        parsed(ALL, **changes)


@pytest.mark.parametrize("values", [None, [], "merge", 7, {}, {"action": "merge"}, [SHORT]])
def test_what_is_no_object_or_lacks_fields(values: Any) -> None:
    with pytest.raises(ValueError, match=r"is no object|lacks reason"):
        parse_answer(values, rule(), NOW)


@pytest.mark.parametrize(
    ("until", "moment"),
    [
        ("", None),
        ("2026-03-02T18:00:00Z", datetime(2026, 3, 2, 18, tzinfo=UTC)),
        ("2026-03-02T18:00:00+02:00", datetime(2026, 3, 2, 16, tzinfo=UTC)),
        ("2026-03-02T18:00:00", datetime(2026, 3, 2, 18, tzinfo=UTC)),
        ("2026-03-03", datetime(2026, 3, 3, tzinfo=UTC)),
        ("2026-03-01T00:00:00Z", NOW + SOONEST),
        ("2026-03-02T12:00:01Z", NOW + SOONEST),
        ("2031-01-01T00:00:00Z", NOW + LATEST),
        ("0001-01-01T00:00:00+14:00", NOW + SOONEST),
        ("9999-12-31T23:59:59-14:00", NOW + LATEST),
    ],
)
def test_until_is_bounded(until: str, moment: datetime | None) -> None:
    assert parsed(action="wait", until=until).until == moment


def test_lengths_are_bounded() -> None:
    answer = parsed(ALL, action="comment", reason="x\n" * 5_000, comment="y" * 50_000)
    assert len(answer.reason) == MAX_REASON
    assert "\n" not in answer.reason
    assert len(answer.comment.encode()) < MAX_COMMENT_BYTES + 60


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries(dict.fromkeys(LONG, JSON)) | JSON, st.data())
def test_whatever_comes_back_is_an_answer_to_the_rule_or_a_fault(values: Any, data: st.DataObject) -> None:
    if isinstance(values, dict) and set(values) == set(LONG):
        values = {
            **LONG,
            **{name: values[name] for name in data.draw(st.sets(st.sampled_from(sorted(LONG))))},
        }
    try:
        answer = parse_answer(values, ALL, NOW)
    except ValueError:
        return
    assert answer.action in ALL.allowed
    assert 0 <= answer.confidence <= 1
    assert set(answer.labels) <= set(ALL.labels)
    assert set(answer.reviewers) <= set(ALL.reviewers)
    assert 0 < len(answer.reason) <= MAX_REASON
    assert answer.until is None or timedelta(0) < answer.until - NOW <= LATEST
    assert RuleAnswer.from_dict(json.loads(json.dumps(answer.to_dict()))) == answer
