"""Which agent program runs a step, and how: what the pod is told of the task's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.contract import AgentSettings, McpServer, Skill
from airflow_provider_agents import settings

if TYPE_CHECKING:
    from airflow_provider_agents.domain.coding_task import CodingTask


def agent_settings(
    task: CodingTask, *, model: str | None, effort: str | None, turns: int | None
) -> AgentSettings:
    """Return the settings of a step's agent.

    :param model: that the step asks for; ``None``: that of the installation.
    :param effort: that the step asks for; ``None``: that of all steps.
    :param turns: that the step may take.
    """
    request = task.request
    return AgentSettings(
        program=request.agent or settings.text("agent", "claude"),
        model=model or settings.text("model") or None,
        effort=effort or request.effort,
        max_turns=turns,
        context_window=request.context_window,
        thinking=request.thinking,
        mcp_servers=tuple(
            McpServer(name=name, command=server.command) for name, server in task.mcp_servers.items()
        ),
        skills=tuple(Skill(name=name, path=skill.path) for name, skill in task.skills.items()),
    )
