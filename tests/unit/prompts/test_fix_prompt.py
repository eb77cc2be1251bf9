"""What a fix round asks back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakes import coding_task

from airflow_provider_agents.operators.steps import AgentFixOperator
from airflow_provider_agents.prompts import FIX_SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if schema.get("type") == "object":
            yield schema
        for value in schema.values():
            yield from objects(value)


def test_every_object_of_the_answer_is_strict() -> None:
    found = list(objects(FIX_SCHEMA))
    assert len(found) == 2
    for schema in found:
        assert schema["additionalProperties"] is False
        assert set(schema["required"]) == set(schema["properties"])


def test_threads_are_to_be_answered_by_their_labels() -> None:
    prompt = AgentFixOperator(task_id="fix", feedback="Mend it").build_prompt(coding_task(), {})
    assert "`thread_replies`" in prompt.partition("## What to do")[2]


def test_commits_of_others_are_not_rewritten_by_a_rebase() -> None:
    feedback = {"reason": "r", "text": "t", "conflict": True}
    prompt = AgentFixOperator(task_id="fix", feedback=feedback).build_prompt(coding_task(), {})
    assert "or merge `origin/main` into it where others pushed to it" in prompt
