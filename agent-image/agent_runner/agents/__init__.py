"""The agent programs that a step can run, each in a module of its own.

An image adds another one by installing a package with an entry point of the group
:data:`ENTRY_POINT_GROUP`; see ``docs/agent-programs.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.agents.base import AgentProgram
from agent_runner.agents.claude import Claude
from agent_runner.agents.codex import Codex
from agent_runner.agents.command import Command
from agent_runner.failure import failed

if TYPE_CHECKING:
    from agent_runner.environment import Environment

ENTRY_POINT_GROUP = "agent_runner.programs"
"""Name of an entry point: the program's name in ``AgentSettings.program``; its object: an ``AgentProgram``."""

BUILT_IN: dict[str, type[AgentProgram]] = {"claude": Claude, "codex": Codex, "command": Command}


def program_for(name: str, environment: Environment) -> AgentProgram:
    """Return the program that ``AgentSettings.program`` names. A built-in one cannot be replaced.

    :raises StepFailed: there is none of that name, or the package that brings it cannot be used.
    """
    if name in BUILT_IN:
        return BUILT_IN[name](environment)
    # Takes as long to import as all of the runner.
    from importlib.metadata import entry_points

    added = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if name not in added:
        known = ", ".join(sorted({*BUILT_IN, *added}))
        raise failed("agent_unknown", f"This image has no agent program {name!r}; it has {known}.")
    try:
        program = added[name].load()
    except Exception as error:
        raise failed(
            "agent_incompatible",
            f"The agent program {name!r} cannot be loaded from {added[name].value}: "
            f"{type(error).__name__}: {error}",
            "Correct the package that the image installs for it.",
        ) from error
    if not (isinstance(program, type) and issubclass(program, AgentProgram)):
        raise failed(
            "agent_incompatible",
            f"The agent program {name!r} is {added[name].value}, which is no subclass of AgentProgram.",
            "Correct the package that the image installs for it.",
        )
    return program(environment)
