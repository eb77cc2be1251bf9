"""docs/people.md says what the code does."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_agents.domain import (
    comment_parts,
    decision_record,
    escalation,
    plan_question,
    plan_reply,
)
from airflow_provider_agents.operators.decision_log import DECISIONS_KEY
from airflow_provider_agents.triggers.ticket_comments import SLOWEST_FACTOR

PAGE = (Path(__file__).parents[3] / "docs" / "people.md").read_text()


@pytest.mark.parametrize(
    "option",
    [
        plan_question.APPROVE,
        plan_question.REPLAN,
        plan_question.REJECT,
        escalation.ANOTHER_ROUND,
        escalation.MERGE,
        escalation.CLOSE,
        escalation.LEAVE,
    ],
)
def test_every_option_is_explained(option: str) -> None:
    assert f"*{option}*" in PAGE


def test_numbers_are_those_of_the_code() -> None:
    assert f"at most {comment_parts.MOST_CHARACTERS:,}" in PAGE
    assert f"beyond {decision_record.MOST_BYTES // 1000} KB" in PAGE
    assert f"key `{DECISIONS_KEY}`" in PAGE
    assert (plan_reply.SETTLE_SECONDS, SLOWEST_FACTOR) == (60, 5)
