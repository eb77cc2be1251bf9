"""What the runner needs to know about an agent program, so that another one is one more module."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_runner.contract import AgentSettings, Failure, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent_runner.environment import Environment
    from agent_runner.process import Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTask:
    """What the agent is to do."""

    prompt: str
    instructions: str
    """Added to the program's own system prompt."""
    checkout: Path
    read_only: bool
    """The agent gets no tools that edit files."""
    settings: AgentSettings
    output_schema: Mapping[str, Any] | None = None
    session_id: str | None = None
    """Session to go on with, where its transcript is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How to start the program for a task."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: bytes
    session_id: str
    resumed: bool
    """True where an earlier session goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentReport:
    """What one run of the program came to."""

    failure: Failure | None = None
    summary: str = ""
    session_id: str | None = None
    output: dict[str, Any] | None = None
    """Structured output; ``None`` where none was asked for or the agent did not comply."""
    denied_tools: tuple[str, ...] = ()
    """Tools that the agent was refused."""
    cost_usd: float = 0.0
    """Of this run alone, also where it went on with an earlier session."""
    tokens: Tokens = field(default_factory=Tokens)
    turns: int = 0
    model: str | None = None
    version: str | None = None


class AgentTranscript(ABC):
    """Follows one run of the program by what it writes."""

    @property
    @abstractmethod
    def busy(self) -> bool:
        """True while one of the agent's tools runs, which may rightly be silent for long."""

    @abstractmethod
    def read(self, line: bytes) -> Iterable[str]:
        """Take in one line of standard output; return what a person should see of it. Never raises."""

    @abstractmethod
    def report(self, ended: Ended, errors: str) -> AgentReport:
        """Sum up the run.

        :param ended: how the process ended, by itself (the caller judges those that it stopped).
        :param errors: last part of standard error.
        """


class AgentProgram(ABC):
    """An agent program without a terminal."""

    title: str
    """Name for people."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    @abstractmethod
    def prepare(self, task: AgentTask, gateway_url: str) -> Invocation:
        """Write the files that the program needs and return how to start it.

        :raises StepFailed: the program is not in the image, or cannot do the task.
        """

    @abstractmethod
    def transcript(self, invocation: Invocation) -> AgentTranscript:
        """Return the reader of a run."""
