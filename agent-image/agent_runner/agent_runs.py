"""The runs of an agent program that make up one step: as a rule one.

The program is started again, with the session it had, where that helps: the gateway moved to another address,
the agent gave no sign of life, or it repeats itself and has to be told.
"""

from __future__ import annotations

import dataclasses
import errno
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from agent_runner.agents import program_for
from agent_runner.agents.base import AgentProgram, AgentReport, AgentTask, AgentTranscript, Invocation
from agent_runner.console import one_line, say
from agent_runner.contract import failure
from agent_runner.failure import StepCancelled, failed
from agent_runner.process import Ended, LineSplitter, Supervision, Tail, run_process
from agent_runner.repetition import Repeated, Repetition
from agent_runner.sessions import Sessions

if TYPE_CHECKING:
    from agent_runner.contract import Failure, StepSpec
    from agent_runner.deadline import Deadline
    from agent_runner.draft import Draft
    from agent_runner.environment import Environment
    from agent_runner.gateway_address import GatewayAddress
    from agent_runner.git import Git

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Longest event line that is read; of a longer one (an image in a tool's result) nothing is."""
LINGER_SECONDS = 10.0
"""How long a program may stay after it has said how it ended."""
_MAX_ERROR_BYTES = 8 * 1024
_MAX_RUNS = 6

_CONTINUE = "The connection to the model was interrupted. Go on where you were."
_STALLED = (
    "There was no sign of life from you for {seconds:.0f} seconds, so your program was stopped and started "
    "again; a command that was running then has been ended. Go on where you were. If a command may take long "
    "or wait for input, run it in another way."
)
_REPEATED = (
    "You called the tool {tool} {times} times in a row with the same input, and it gave the same output each "
    "time:\n\n    {call}\n\nDoing it once more will change nothing. Try another way, or end and say what is "
    "missing."
)

Continuation = Literal["stalled", "repeated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """How one run ended, and whether and how the session may go on after it."""

    report: AgentReport
    resumed: bool
    continuation: Continuation | None = None


class AgentRuns:
    """Runs the program until it has come to an end of its own, or the step has to end."""

    def __init__(
        self,
        spec: StepSpec,
        environment: Environment,
        supervision: Supervision,
        gateway: GatewayAddress,
        git: Git,
        draft: Draft,
    ) -> None:
        self._program: AgentProgram = program_for(spec.agent.program, environment)
        self._sessions = Sessions(environment.home, spec.agent.program)
        self._repetition = Repetition()
        self._spec = spec
        self._environment = environment
        self._supervision = supervision
        self._gateway = gateway
        self._git = git
        self._draft = draft
        self._stalled = False
        self.started = False
        """True once the program has run: the checkout may hold work of the agent."""

    def run(self, task: AgentTask, deadline: Deadline) -> AgentReport:
        """Do the task and return the report of the last run, which may be a failure.

        :param task: with the whole prompt; where the conversation goes on, what is new is said instead.
        :param deadline: when the agent has to stop.
        :raises StepCancelled: a stop was asked for.
        :raises StepFailed: the program cannot be started.
        """
        report = AgentReport()
        following: AgentTask | None = self._first(task)
        for _ in range(_MAX_RUNS):
            if following is None:
                break
            address = self._gateway.refresh()
            run = self._once(following, deadline)
            report = run.report
            following = None if deadline.passed() else self._following(task, run, address)
        return report

    def _first(self, task: AgentTask) -> AgentTask:
        """Return the task for the conversation's session, where the workspace has one."""
        kept = self._sessions.find(self._spec.session_key)
        if kept is None or not self._program.has_session(kept):
            return task
        return dataclasses.replace(task, session_id=kept, prompt=self._spec.resume_prompt or task.prompt)

    def _following(self, task: AgentTask, run: _Run, address: str) -> AgentTask | None:
        """Return what to run next, or ``None`` where the step ends with this run.

        :param address: of the gateway when the run began.
        """
        why = run.report.failure
        if why is None:
            return None
        words = ""
        if why.code == "session_lost" and run.resumed:
            say("the earlier session cannot be resumed; starting a new one")
        elif run.continuation == "stalled" and not self._stalled:
            self._stalled = True
            say(f"{why.message} Starting it again, once.")
            words = _STALLED.format(seconds=self._spec.limits.stall_seconds)
        elif run.continuation == "repeated" and (advice := self._repetition.advice):
            self._repetition.remarked()
            say(f"{why.message} Telling it so, once.")
            repeated = advice[1]
            words = _REPEATED.format(
                tool=one_line(repeated.tool, 100), times=repeated.times, call=one_line(repeated.call, 300)
            )
        elif why.category == "network" and self._gateway.refresh() != address:
            say("the gateway moved to another address; going on with the session there")
            words = _CONTINUE
        else:
            return None
        self._git.restore_config(self._spec.work_branch)
        session_id = run.report.session_id
        if not words or session_id is None or not self._program.has_session(session_id):
            return self._with_turns_left(task)
        return self._with_turns_left(dataclasses.replace(task, session_id=session_id, prompt=words))

    def _with_turns_left(self, task: AgentTask) -> AgentTask:
        if task.settings.max_turns is None:
            return task
        left = max(1, task.settings.max_turns - self._draft.turns)
        return dataclasses.replace(task, settings=dataclasses.replace(task.settings, max_turns=left))

    def _once(self, task: AgentTask, deadline: Deadline) -> _Run:
        invocation = self._program.prepare(task, self._gateway.current)
        transcript = self._program.transcript(invocation)
        transcript.tool_observer = self._repetition.observe
        watch = _Watch(transcript, self._repetition)
        errors = Tail(_MAX_ERROR_BYTES)
        if not self.started:
            self._draft.resumed = invocation.resumed
        elif not invocation.resumed:
            self._draft.resumed = False
        self._keep(invocation.session_id)
        ended = self._start(invocation, transcript, errors, deadline, watch)
        report = transcript.report(ended, errors.text())
        self._keep(report.session_id)
        self._draft.add(report)
        if ended.cause == "stopped" and self._supervision.stop.received is not None:
            raise StepCancelled(self._supervision.stop.received)
        if ended.cause == "exit" or watch.finished or (transcript.finished and report.failure is None):
            return _Run(report=report, resumed=invocation.resumed)
        why, continuation = self._stopped(ended, transcript)
        report = dataclasses.replace(report, failure=why)
        return _Run(report=report, resumed=invocation.resumed, continuation=continuation)

    def _start(
        self,
        invocation: Invocation,
        transcript: AgentTranscript,
        errors: Tail,
        deadline: Deadline,
        watch: _Watch,
    ) -> Ended:
        """Run the program and show what it does."""
        lines = LineSplitter(MAX_EVENT_BYTES)
        error_lines = LineSplitter(_MAX_ERROR_BYTES)
        # Paths as a person knows them: where the checkout lies tells nobody anything.
        here = f"{self._environment.checkout}/"

        def show(line: bytes) -> None:
            for text in transcript.read(line):
                say(text.replace(here, ""))
            self._keep(transcript.session_id)

        started_before = self.started

        def on_output(chunk: bytes) -> None:
            nonlocal started_before
            if not started_before:
                started_before = True
                self._draft.start_up.reached("agent")
                say(self._draft.start_up.line())
            for line in lines.feed(chunk):
                show(line)

        def on_error(chunk: bytes) -> None:
            errors.feed(chunk)
            for line in error_lines.feed(chunk):
                say(f"agent stderr: {line.decode(errors='replace')}")

        self.started = True
        try:
            ended = run_process(
                invocation.argv,
                cwd=self._environment.checkout,
                env=invocation.env,
                supervision=self._supervision,
                on_output=on_output,
                on_error=on_error,
                stdin=invocation.stdin,
                deadline=deadline,
                idle_seconds=lambda: self._quiet_seconds(transcript),
                halt=watch.due,
                # Interrupted at work, a program sums up what it cost; what has ended has done so already.
                interrupt=lambda: not transcript.finished,
            )
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise failed(
                "agent_missing", f"{self._program.title} could not be started: {error.strerror or error}."
            ) from error
        for line in lines.flush():
            show(line)
        return ended

    def _quiet_seconds(self, transcript: AgentTranscript) -> float:
        return float(self._spec.limits.stall_seconds * (2 if transcript.busy else 1))

    def _keep(self, session_id: str | None) -> None:
        """Note the session, for the result and for later steps."""
        if session_id is None or session_id == self._draft.session_id:
            return
        self._draft.session_id = session_id
        key = self._spec.session_key
        if key is not None:
            self._draft.session_key = key if self._sessions.keep(key, session_id) else None

    def _stopped(self, ended: Ended, transcript: AgentTranscript) -> tuple[Failure, Continuation | None]:
        """Return the failure for a program that the runner stopped."""
        title = self._program.title
        advice = self._repetition.advice
        if ended.cause == "deadline":
            limit = self._spec.limits.seconds
            return failure("step_timeout", f"{title} was stopped: the step may take {limit} s."), None
        if transcript.over_limit is not None:
            return transcript.over_limit, None
        if ended.cause == "halted" and advice is not None:
            kind, repeated = advice
            return failure("agent_stuck", _repetition_words(title, repeated)), (
                "repeated" if kind == "remark" else None
            )
        seconds = self._quiet_seconds(transcript)
        message = f"{title} was stopped: it gave no sign of life for {seconds:.0f} s."
        return failure("agent_stalled", message), "stalled"


class _Watch:
    """Says, while a program runs, when what it wrote is a reason to stop it."""

    def __init__(self, transcript: AgentTranscript, repetition: Repetition) -> None:
        self._transcript = transcript
        self._repetition = repetition
        self._finished_at: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the program had said how it ended when this was looked at last."""
        return self._finished_at is not None

    def due(self) -> bool:
        if not self._transcript.finished:
            self._finished_at = None
        elif self._finished_at is None:
            self._finished_at = time.monotonic()
        elif time.monotonic() - self._finished_at > LINGER_SECONDS:
            say("the agent has ended and its program stays; stopping it")
            return True
        return self._transcript.over_limit is not None or self._repetition.advice is not None


def _repetition_words(title: str, repeated: Repeated) -> str:
    return (
        f"{title} was stopped: it called {one_line(repeated.tool, 100)} {repeated.times} times in a row with the"
        f" same input and the same output: {one_line(repeated.call, 300)}"
    )
