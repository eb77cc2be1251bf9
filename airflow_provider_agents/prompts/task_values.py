"""What every prompt knows of its task."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.untrusted import fence, one_line

if TYPE_CHECKING:
    from agent_runner.contract import AgentSettings
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.prompt_variables import PromptStep

_TITLE_BYTES = 1_000
_NO_KEY = re.compile(r"[^A-Za-z0-9#/._-]")


TASK_VARIABLES = frozenset(
    [
        "step",
        "task_id",
        "title",
        "ticket_key",
        "issue_number",
        "prompt",
        "repository",
        "repository_name",
        "branch",
        "base_branch",
        "auto_merge",
        "draft",
        "plan_approval",
        "test_command",
        "agent",
        "model",
        "max_turns",
        "read_repositories",
        "protected_paths",
        "labels",
    ]
)
"""What :func:`task_values` returns."""


def task_values(task: CodingTask, step: PromptStep, agent: AgentSettings) -> dict[str, Any]:
    """Return the variables that all steps have, but for the text of the ticket.

    :param agent: of this step.
    """
    request, ticket = task.request, task.ticket
    author = f"title, written by {ticket.author or 'unknown'}" if ticket else "title"
    key = ""
    if ticket is not None:
        key = ticket.key or (f"{request.repository}#{ticket.number}" if ticket.number is not None else "")
    return {
        "step": step,
        "task_id": task.name,
        "title": fence(one_line(task.title), author, most_bytes=_TITLE_BYTES),
        "ticket_key": _NO_KEY.sub("", key)[:200],
        "issue_number": ticket.number if ticket else None,
        "prompt": request.prompt or "",
        "repository": request.repository,
        "repository_name": request.repository.partition("/")[2],
        "branch": task.work_branch,
        "base_branch": request.base_branch,
        "auto_merge": request.policy.auto_merge,
        "draft": request.draft,
        "plan_approval": request.plan_approval,
        "test_command": request.test_command or "",
        "agent": agent.program,
        "model": agent.model or "",
        "max_turns": agent.max_turns,
        "read_repositories": request.read_repositories or (),
        "protected_paths": task.platform.protected_paths,
        "labels": task.platform.labels,
    }
