"""What the runner needs to know about an agent program, so that another one is one more module.

A transcript tells the runner, while the program runs:

- :attr:`AgentTranscript.session_id`, as soon as it is known: the runner keeps it, so that the session can go
  on even if the pod dies in the next moment;
- each tool call that ended, through :meth:`AgentTranscript.observe_tool`: the runner notices an agent that
  repeats itself;
- :attr:`AgentTranscript.over_limit`, where the program itself cannot hold a limit of the task.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from agent_runner.contract import AgentSettings, Failure, Tokens

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from agent_runner.environment import Environment
    from agent_runner.process import Ended


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentTask:
    """What the agent is to do in one run of its program."""

    prompt: str
    """What it is told now: the whole task, or only what is new where a session goes on."""
    instructions: str
    """Added to the program's own system prompt."""
    checkout: Path
    read_only: bool
    """The agent gets no tools that edit files."""
    settings: AgentSettings
    """``max_turns`` is what is left of the step's turns."""
    output_schema: Mapping[str, Any] | None = None
    images: Path | None = None
    """Folder beside the checkout with the ticket's images, which the agent may read."""
    session_id: str | None = None
    """The program's own id of the session to go on with, for which :meth:`AgentProgram.has_session` is true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """How to start the program for a task."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    stdin: bytes
    session_id: str | None = None
    """``None``: the program chooses it, and only its transcript tells."""
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
    question: str = ""
    """What the agent tried to ask a person by a tool of its program."""
    cost_usd: float = 0.0
    """Of this run alone, also where it went on with an earlier session."""
    tokens: Tokens = field(default_factory=Tokens)
    """Of this run alone."""
    turns: int = 0
    """Of this run alone."""
    model: str | None = None
    version: str | None = None


class ToolObserver(Protocol):
    """Who wants to know of tool calls: see :meth:`AgentTranscript.observe_tool`."""

    def __call__(self, name: str, given: object, output: object, *, lane: str) -> None: ...


class AgentTranscript(ABC):
    """Follows one run of the program by what it writes."""

    tool_observer: ToolObserver | None = None
    """Set by the runner before the first line is read."""

    @property
    @abstractmethod
    def session_id(self) -> str | None:
        """The program's own id of its session, as soon as it is known."""

    @property
    @abstractmethod
    def busy(self) -> bool:
        """True while one of the agent's tools runs, which may rightly be silent for long."""

    @property
    def finished(self) -> bool:
        """True once the program has said how it ended, and only its exit is awaited.

        It is not waited for long; the report then counts although the program had to be stopped.
        """
        return False

    @property
    def over_limit(self) -> Failure | None:
        """The failure of a limit that is passed and that the program does not hold by itself.

        Looked at while the program runs; it is then stopped and the step ends with this failure.
        """
        return None

    @abstractmethod
    def read(self, line: bytes) -> Iterable[str]:
        """Take in one line of standard output; return what a person should see of it. Never raises."""

    @abstractmethod
    def report(self, ended: Ended, errors: str) -> AgentReport:
        """Sum up the run.

        :param ended: how the process ended, by itself (the caller judges those that it stopped).
        :param errors: last part of standard error.
        """

    def observe_tool(self, name: str, given: object, output: object, *, lane: str = "") -> None:
        """Tell the runner of a tool call that ended; to be called by :meth:`read`.

        :param name: of the tool.
        :param given: its input, as JSON has it, without what the model words anew each time.
        :param output: what it gave, as JSON has it.
        :param lane: names the subagent that made the call; empty for the agent itself.
        """
        if self.tool_observer is not None:
            self.tool_observer(name, given, output, lane=lane)


class AgentProgram(ABC):
    """An agent program without a terminal."""

    title: str
    """Name for people."""

    def __init__(self, environment: Environment) -> None:
        self.environment = environment

    @abstractmethod
    def has_session(self, session_id: str) -> bool:
        """Say whether a session can go on; ``session_id`` may be anything, as it was kept by a file that the
        agent can write.
        """

    @abstractmethod
    def prepare(self, task: AgentTask, gateway_url: str) -> Invocation:
        """Write the files that the program needs and return how to start it.

        :raises StepFailed: the program is not in the image, or cannot do the task.
        """

    @abstractmethod
    def transcript(self, invocation: Invocation) -> AgentTranscript:
        """Return the reader of a run."""
