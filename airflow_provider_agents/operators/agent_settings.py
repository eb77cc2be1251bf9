"""Which agent program runs a step, and how: what the pod is told of the task's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.contract import AgentSettings
from airflow_provider_agents import settings

if TYPE_CHECKING:
    from agent_runner.contract import Step
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.tool_servers import McpServer


def agent_settings(
    task: CodingTask, step: Step, *, model: str | None, effort: str | None, turns: int | None
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
        mcp_servers=tuple(mcp_servers_of(task, step)),
        skills=tuple(
            skill.to_contract(name) for name, skill in sorted(task.skills.items()) if step in skill.steps
        ),
    )


def mcp_servers_of(task: CodingTask, step: Step) -> dict[str, McpServer]:
    """Return the MCP servers of a step by their names, in a fixed order."""
    return {name: server for name, server in sorted(task.mcp_servers.items()) if step in server.steps}
