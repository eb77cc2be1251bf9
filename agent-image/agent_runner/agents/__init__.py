"""The agent programs that a step can run, each in a module of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.agents.claude import Claude

if TYPE_CHECKING:
    from agent_runner.agents.base import AgentProgram
    from agent_runner.environment import Environment


def program_for(name: str, environment: Environment) -> AgentProgram:
    """Return the program that ``AgentSettings.program`` names; raise :class:`KeyError` for another."""
    programs: dict[str, type[AgentProgram]] = {"claude": Claude}
    return programs[name](environment)
