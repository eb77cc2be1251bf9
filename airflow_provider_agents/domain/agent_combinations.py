"""Settings that an agent program does not take, or a model does not have: refused before anything is paid."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
    from airflow_provider_agents.domain.repository_settings import PlatformSettings, Repositories

CLAUDE = "claude"
COMMAND = "command"
BUILT_IN = frozenset({CLAUDE, "codex", COMMAND})
"""Programs whose settings are known here; an image may add others."""

_WITHOUT_1M = re.compile(r"haiku|claude-3|opus-4-(?:0|1|5)(?!\d)|opus-4-2\d{7}")
"""Names of models that Claude Code knows without a context window of 1m."""
_LONG_SUFFIX = "[1m]"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Use:
    step: str
    program: str
    model: str | None
    model_key: str
    effort_key: str
    own_program: bool = False
    """It is another program than the one that implements."""


def combination_faults(
    request: CodingTaskRequest,
    origins: Mapping[str, str],
    *,
    program: str,
    model: str | None = None,
    platform: PlatformSettings | None = None,
    declared: Repositories | None = None,
) -> list[str]:
    """Return what does not go together, each naming both settings and where they come from.

    :param origins: where each setting comes from.
    :param program: of the installation, for a request that names none.
    :param model: of the installation, for steps that name none.
    :param platform: MCP servers and skills of the agent.
    :param declared: what they are, and of which steps; one that it does not have is of all steps.
    """
    faults: dict[str, None] = {}
    for use in _uses(request, program, model):
        if platform is not None and use.program == COMMAND:
            faults.update(dict.fromkeys(_tool_faults(use, platform, declared, origins)))
        faults.update(dict.fromkeys(_faults(request, use, origins)))
    return list(faults)


def _tool_faults(
    use: _Use, platform: PlatformSettings, declared: Repositories | None, origins: Mapping[str, str]
) -> Iterator[str]:
    """Yield the MCP servers and skills of a step whose program takes none."""
    program_key = "review_agent" if use.own_program else "agent"
    for key in ("mcp_servers", "skills"):
        known = getattr(declared, key) if declared is not None else {}
        names = [
            name for name in getattr(platform, key) if name not in known or use.step in known[name].steps
        ]
        if names:
            yield (
                f"{key}: {', '.join(names)} ({origins.get(key, 'default')}) is nothing for "
                f"{program_key}: {use.program} ({origins.get(program_key, 'default')})"
            )


def _uses(request: CodingTaskRequest, program: str, model: str | None) -> Iterator[_Use]:
    main = request.agent or program
    for step in ("plan", "implement", "fix"):
        yield _Use(
            step=step,
            program=main,
            model=getattr(request, f"{step}_model") or model,
            model_key=f"{step}_model",
            effort_key=f"{step}_effort",
        )
    if request.review != "off":
        reviewer = request.review_agent or main
        # The installation's model is one of its own program.
        inherited = model if reviewer == main else None
        yield _Use(
            step="review",
            program=reviewer,
            model=request.review_model or inherited,
            model_key="review_model",
            effort_key="review_effort",
            own_program=reviewer != main,
        )


def _faults(request: CodingTaskRequest, use: _Use, origins: Mapping[str, str]) -> Iterator[str]:
    def said(key: str, value: object) -> str:
        return f"{key}: {value} ({origins.get(key, 'default')})"

    program_key = "review_agent" if use.own_program else "agent"
    runs = f"{program_key}: {use.program} ({origins.get(program_key, 'default')})"
    # Of another program than the one that implements, they are no matter: it is not given them.
    window = None if use.own_program else request.context_window
    thinking = None if use.own_program else request.thinking
    step_effort = getattr(request, use.effort_key)
    effort = step_effort or (None if use.own_program else request.effort)
    if use.program in BUILT_IN and use.program != CLAUDE:
        if window:
            yield f"{said('context_window', window)} is of Claude Code only; {runs}"
        if thinking:
            yield f"{said('thinking', thinking)} is of Claude Code only; {runs}"
    if use.program == COMMAND and effort:
        yield f"{said(use.effort_key if step_effort else 'effort', effort)} is nothing that a command takes; {runs}"
    if use.program != CLAUDE:
        return
    if use.model is None:
        if window == "1m":
            yield f"{said('context_window', window)} needs {use.model_key}, whose variant it is; none is named"
        return
    model = said(use.model_key, use.model)
    name = use.model.lower()
    if window == "200k" and name.endswith(_LONG_SUFFIX):
        yield f"{said('context_window', window)} contradicts {model}"
    if (window == "1m" or name.endswith(_LONG_SUFFIX)) and _WITHOUT_1M.search(name):
        yield f"{said('context_window', '1m')} does not go with {model}, which has no such variant"
