"""The steps that run an agent: ``plan``, ``implement`` and ``fix``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from agent_runner.agents import program_for
from agent_runner.agents.base import AgentProgram, AgentReport, AgentTask, Invocation
from agent_runner.agents.claude_verdict import SESSION_LOST
from agent_runner.checkout import Checkout, discard_changes
from agent_runner.console import say
from agent_runner.failure import StepCancelled, StepFailed, failed
from agent_runner.files import write_fresh
from agent_runner.instructions import instructions_for
from agent_runner.process import Ended, LineSplitter, Supervision, Tail, run_process
from agent_runner.publish import publish

if TYPE_CHECKING:
    from agent_runner.contract import Failure, Outcome, StepSpec
    from agent_runner.deadline import Deadline
    from agent_runner.draft import Draft
    from agent_runner.environment import Environment
    from agent_runner.gateway_address import GatewayAddress
    from agent_runner.git import Git

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""Longest event line that is read; of a longer one (an image in a tool's result) nothing is."""
_MAX_ERROR_BYTES = 8 * 1024
_MAX_RUNS = 4
_CLOSING_SECONDS = 30.0
_CONTINUE = "The connection to the model was interrupted. Go on where you were."


def run_agent_step(
    spec: StepSpec,
    environment: Environment,
    supervision: Supervision,
    gateway: GatewayAddress,
    git: Git,
    checkout: Checkout,
    draft: Draft,
) -> Outcome:
    """Run the agent in the checkout and, unless it only plans, publish what it did.

    :param draft: filled in with all that is learned, also when the step fails.
    :raises StepFailed: the agent failed, gave no result, or its work cannot be published.
    """
    task = AgentTask(
        prompt=spec.prompt,
        instructions=instructions_for(spec, checkout.path),
        checkout=checkout.path,
        read_only=spec.step == "plan",
        settings=spec.agent,
        output_schema=spec.output_schema,
    )
    # What follows the agent needs time too: committing and pushing.
    closing = min(_CLOSING_SECONDS, 0.1 * spec.limits.seconds)
    deadline = supervision.deadline.earlier(closing)
    write_fresh(environment.git_config, git_config(environment))
    report = _Runs(environment, supervision, gateway, git, spec).run(task, deadline, draft)
    if report.failure is not None:
        raise StepFailed(report.failure)
    if spec.step == "plan":
        discard_changes_of_plan(git, checkout, spec)
        _require_output(spec, report)
        return "succeeded"
    if spec.output_schema is not None and report.output is None:
        say("the agent gave no structured output; its work is kept")
    outcome = publish(git, spec, checkout, draft)
    if outcome == "no_changes" and report.denied_tools:
        raise _denied(report)
    return outcome


def git_config(environment: Environment) -> str:
    """Return the global git configuration for programs of the step."""
    return (
        f"[user]\n\tname = {_quoted(environment.git_name)}\n\temail = {_quoted(environment.git_email)}\n"
        f"[safe]\n\tdirectory = {_quoted(str(environment.checkout))}\n"
        "[advice]\n\tdetachedHead = false\n"
    )


def discard_changes_of_plan(git: Git, checkout: Checkout, spec: StepSpec) -> None:
    """Leave the checkout as the planning agent found it; nothing of a plan is committed."""
    git.restore_config(spec.work_branch)
    git.run("checkout", "--quiet", "--force", "--no-track", "-B", spec.work_branch, checkout.start_sha)
    discard_changes(git, checkout)


class _Runs:
    """Runs the program until it has come to an end of its own: as a rule once."""

    def __init__(
        self,
        environment: Environment,
        supervision: Supervision,
        gateway: GatewayAddress,
        git: Git,
        spec: StepSpec,
    ) -> None:
        self._program: AgentProgram = program_for(spec.agent.program, environment)
        self._environment = environment
        self._supervision = supervision
        self._gateway = gateway
        self._git = git
        self._spec = spec

    def run(self, task: AgentTask, deadline: Deadline, draft: Draft) -> AgentReport:
        """Run it; again with a new session where the old one is lost, and where the gateway moved."""
        report = AgentReport()
        for _ in range(_MAX_RUNS):
            address = self._gateway.refresh()
            invocation = self._program.prepare(task, address)
            report = self._once(invocation, deadline, draft)
            if report.failure is None:
                break
            if report.failure.code == SESSION_LOST and invocation.resumed:
                say("the earlier session cannot be resumed; starting a new one")
                task = dataclasses.replace(task, session_id=None)
            elif report.failure.category == "network" and self._gateway.refresh() != address:
                say("the gateway moved to another address; going on with the session there")
                self._git.restore_config(self._spec.work_branch)
                task = dataclasses.replace(task, session_id=report.session_id, prompt=_CONTINUE)
            else:
                break
        return report

    def _once(self, invocation: Invocation, deadline: Deadline, draft: Draft) -> AgentReport:
        transcript = self._program.transcript(invocation)
        lines = LineSplitter(MAX_EVENT_BYTES)
        errors = Tail(_MAX_ERROR_BYTES)
        error_lines = LineSplitter(_MAX_ERROR_BYTES)

        # Paths as a person knows them: where the checkout lies tells nobody anything.
        here = f"{self._environment.checkout}/"

        def show(line: bytes) -> None:
            for text in transcript.read(line):
                say(text.replace(here, ""))

        def on_output(chunk: bytes) -> None:
            for line in lines.feed(chunk):
                show(line)

        def on_error(chunk: bytes) -> None:
            errors.feed(chunk)
            for line in error_lines.feed(chunk):
                say(f"agent stderr: {line.decode(errors='replace')}")

        def idle_seconds() -> float:
            return self._environment.idle_seconds * (2 if transcript.busy else 1)

        draft.session_id = invocation.session_id
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
                idle_seconds=idle_seconds,
            )
        except OSError as error:
            raise failed(
                "image",
                "agent_missing",
                f"{self._program.title} could not be started: {error.strerror or error}.",
                "Use an image made from agent-image/Dockerfile.",
            ) from error
        for line in lines.flush():
            show(line)
        report = transcript.report(ended, errors.text())
        draft.add(report)
        stopped = self._stopped(ended, idle_seconds())
        return report if stopped is None else dataclasses.replace(report, failure=stopped)

    def _stopped(self, ended: Ended, idle_seconds: float) -> Failure | None:
        """Return the failure for a program that the runner stopped."""
        title = self._program.title
        match ended.cause:
            case "stopped" if self._supervision.stop.received is not None:
                raise StepCancelled(self._supervision.stop.received)
            case "deadline":
                return failed(
                    "timeout",
                    "step_timeout",
                    f"{title} was stopped: the step may take {self._spec.limits.seconds} s.",
                    "Give the step more time (limits.seconds), or make the task smaller.",
                ).failure
            case "idle":
                return failed(
                    "timeout",
                    "agent_stalled",
                    f"{title} was stopped: it gave no sign of life for {idle_seconds:.0f} s.",
                    "Run the step again.",
                    retryable=True,
                ).failure
            case _:
                return None


def _require_output(spec: StepSpec, report: AgentReport) -> None:
    """Raise where the structured output that was asked for is missing."""
    if spec.output_schema is None or report.output is not None:
        return
    if report.denied_tools:
        raise _denied(report)
    raise failed(
        "agent",
        "no_structured_output",
        "The agent ended without the structured output that the step asks for.",
        "Run the step again, or make its schema simpler.",
    )


def _denied(report: AgentReport) -> StepFailed:
    return failed(
        "agent",
        "permission_denied",
        f"The agent got nothing done and was refused these tools: {', '.join(report.denied_tools)}.",
        "Allow the tools, or word the task so that they are not needed.",
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
