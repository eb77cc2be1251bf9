"""Settings that do not go together are named, both of them, with where they come from."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain.agent_combinations import combination_faults
from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
from airflow_provider_agents.domain.repository_settings import PlatformSettings, Repositories

ORIGINS = {"context_window": "repositories.yaml:3", "agent": "run"}


def found(program: str = "claude", model: str | None = "opus", **values: Any) -> list[str]:
    request = CodingTaskRequest(repository="acme/shop", prompt="p", **values)
    return combination_faults(request, ORIGINS, program=program, model=model)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        (
            {"agent": "codex", "context_window": "1m"},
            "context_window: 1m (repositories.yaml:3) is of Claude Code only; agent: codex (run)",
        ),
        ({"agent": "codex", "thinking": "off"}, "thinking: off (default) is of Claude Code only; agent: codex (run)"),
        ({"agent": "command", "effort": "low"}, "effort: low (default) is nothing that a command takes; agent: command (run)"),
        (
            {"context_window": "1m", "fix_model": "claude-haiku-4-5"},
            "context_window: 1m (repositories.yaml:3) does not go with fix_model: claude-haiku-4-5 (default), which has no such variant",
        ),
        (
            {"context_window": "200k", "plan_model": "opus[1m]"},
            "context_window: 200k (repositories.yaml:3) contradicts plan_model: opus[1m] (default)",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(values: dict[str, Any], fault: str) -> None:
    assert found(**values) == [fault]


def test_a_window_needs_a_model() -> None:
    assert [fault.split(" needs ")[1].split(",")[0] for fault in found(model=None, context_window="1m")] == [
        "plan_model", "implement_model", "fix_model",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "model",
    [
        "claude-opus-4-1-20250805",
        "claude-opus-4-20250514",
        "claude-opus-4-5",
        "claude-3-5-sonnet-latest",
        "haiku",
    ],
)
def test_models_without_a_long_window(model: str) -> None:
    assert found(model=model, context_window="1m")


@pytest.mark.parametrize(
    "model", ["opus", "sonnet", "claude-opus-5-5", "claude-sonnet-4-5", "claude-opus-4-6", "own-model"]
)
def test_models_with_a_long_window_or_of_others(model: str) -> None:
    assert found(model=model, context_window="1m") == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"context_window": "200k", "thinking": "8000", "effort": "max"},
        {"agent": "codex", "effort": "max"},
        {"agent": "own", "thinking": "on", "context_window": "1m", "effort": "low"},
        {"review": "on_open", "review_agent": "codex", "thinking": "on", "context_window": "200k"},
        {"review_agent": "command", "review_effort": "low"},
        {"review": "on_open", "review_agent": "command", "effort": "low"},
    ],
)
def test_what_goes_together(values: dict[str, Any]) -> None:
    assert found(**values) == []


def test_the_reviewer_has_a_program_of_its_own() -> None:
    assert found(review="on_open", review_agent="command", review_effort="low") == [
        "review_effort: low (default) is nothing that a command takes; review_agent: command (default)"
    ]


@pytest.mark.parametrize(
    ("agent", "refused"),
    [("claude", []), ("codex", []), ("command", ["mcp_servers", "skills"]), ("own", [])],
)
def test_what_programs_take_of_the_platform(agent: str, refused: list[str]) -> None:
    request = CodingTaskRequest(repository="acme/shop", prompt="p", agent=agent)
    platform = PlatformSettings(skills=("a",), mcp_servers=("docs",))
    faults = combination_faults(request, ORIGINS, program="claude", platform=platform)
    assert [fault.split(":")[0] for fault in faults] == refused
    assert all(f"is nothing for agent: {agent} (run)" in fault for fault in faults)


@pytest.mark.parametrize(
    ("steps", "refused"), [(["review"], True), (["plan", "review"], True), (["plan"], False)]
)
def test_a_tool_is_refused_for_the_program_of_its_steps(steps: list[str], refused: bool) -> None:
    request = CodingTaskRequest(
        repository="acme/shop", prompt="p", agent="codex", review="on_open", review_agent="command"
    )
    declared = Repositories.model_validate({"mcp_servers": {"docs": {"url": "https://d", "steps": steps}}})
    platform = PlatformSettings(mcp_servers=("docs",))
    faults = combination_faults(request, ORIGINS, program="claude", platform=platform, declared=declared)
    assert len(faults) == refused
    if refused:
        assert "mcp_servers: docs (default) is nothing for review_agent: command" in faults[0]
