"""The steps that run an agent: ``plan``, ``implement``, ``fix`` and ``review``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.agent_runs import AgentRuns
from agent_runner.agents.base import AgentReport, AgentTask
from agent_runner.attachments import save_images
from agent_runner.checkout import Checkout, discard_changes
from agent_runner.console import say
from agent_runner.contract import READING_STEPS
from agent_runner.failure import StepCancelled, StepFailed, failed
from agent_runner.files import write_fresh
from agent_runner.instructions import files_at, files_in, instructions_for
from agent_runner.lfs import FILTER
from agent_runner.publish import publish
from agent_runner.question import cleaned, question_in
from agent_runner.work_so_far import publish_work_so_far

if TYPE_CHECKING:
    from agent_runner.contract import Outcome, StepSpec
    from agent_runner.draft import Draft
    from agent_runner.environment import Environment
    from agent_runner.gateway_address import GatewayAddress
    from agent_runner.git import Git
    from agent_runner.process import Supervision

_CLOSING_SECONDS = 30.0
_LEAST_CLOSING_SECONDS = 5.0


def run_agent_step(
    spec: StepSpec,
    environment: Environment,
    supervision: Supervision,
    gateway: GatewayAddress,
    git: Git,
    checkout: Checkout,
    draft: Draft,
) -> Outcome:
    """Run the agent in the checkout and, unless it only reads, publish what it did.

    What an agent did that came to no good end is published too, marked as unfinished: the next attempt, or a
    person, can go on from there.

    :param draft: filled in with all that is learned, also when the step fails.
    :raises StepFailed: the agent failed, gave no result, or its work cannot be published.
    """
    images = save_images(spec.images, environment.workspace, gateway, supervision.deadline, supervision.stop)
    task = AgentTask(
        prompt=spec.prompt + images.note,
        instructions=instructions_for(
            spec, _repository_files(git, spec, checkout), cut_off=(git.directory / "shallow").exists()
        ),
        checkout=checkout.path,
        read_only=spec.step in READING_STEPS,
        settings=spec.agent,
        output_schema=spec.output_schema,
        images=images.folder,
    )
    deadline = supervision.deadline.earlier(closing_seconds(spec.limits.seconds))
    write_fresh(environment.git_config, git_config(environment, lfs=checkout.lfs))
    runs = AgentRuns(spec, environment, supervision, gateway, git, draft)
    try:
        report = runs.run(task, deadline)
        if report.failure is not None:
            raise StepFailed(report.failure)
    except Exception:
        if runs.started and spec.step not in READING_STEPS:
            publish_work_so_far(git, spec, checkout, draft, supervision)
        raise
    if spec.step in READING_STEPS:
        discard_changes_of_reading(git, checkout, spec)
        if spec.step == "plan" or not report.summary.strip():  # a review in words alone is one too
            _require_output(spec, report)
        return "succeeded"
    if spec.output_schema is not None and report.output is None:
        say("the agent gave no structured output; its work is kept")
    try:
        outcome = publish(git, spec, checkout, draft)
    except StepCancelled:
        publish_work_so_far(git, spec, checkout, draft, supervision)
        raise
    if outcome == "no_changes":
        _require_reason(spec, report)
    return outcome


def closing_seconds(limit: float) -> float:
    """Return how much of a step's seconds is kept for what follows the agent: committing and pushing."""
    return min(_CLOSING_SECONDS, max(_LEAST_CLOSING_SECONDS, 0.1 * limit), 0.5 * limit)


def git_config(environment: Environment, *, lfs: bool = False) -> str:
    """Return the global git configuration for programs of the step.

    :param lfs: the checkout has files in Git LFS, which git has to know.
    """
    text = (
        f"[user]\n\tname = {_quoted(environment.git_name)}\n\temail = {_quoted(environment.git_email)}\n"
        f"[safe]\n\tdirectory = {_quoted(str(environment.checkout))}\n"
        "[advice]\n\tdetachedHead = false\n"
    )
    if lfs:
        settings = "".join(f"\t{name} = {_quoted(value)}\n" for name, value in FILTER.items())
        text += f'[filter "lfs"]\n{settings}'
    return text


def discard_changes_of_reading(git: Git, checkout: Checkout, spec: StepSpec) -> None:
    """Leave the checkout as the agent found it that was to read only; nothing of it is committed."""
    git.restore_config(spec.work_branch)
    git.run("checkout", "--quiet", "--force", "--no-track", "-B", spec.work_branch, checkout.start_sha)
    discard_changes(git, checkout)


def _repository_files(git: Git, spec: StepSpec, checkout: Checkout) -> dict[str, str]:
    """Return the repository's advice to agents. A review's comes from the base branch: what is under review
    does not tell its reviewer how to judge it.
    """
    if spec.step == "review":
        return files_at(git, checkout.base_sha)
    return files_in(checkout.path)


def _require_reason(spec: StepSpec, report: AgentReport) -> None:
    """Raise where it is known why the agent changed nothing."""
    question = cleaned(report.question) or (spec.step == "implement" and question_in(report.summary))
    if question:
        raise failed("agent_question", f"The agent changed nothing and asks: {question}")
    if report.denied_tools:
        raise _denied(report)


def _require_output(spec: StepSpec, report: AgentReport) -> None:
    """Raise where the structured output that was asked for is missing."""
    if spec.output_schema is None or report.output is not None:
        return
    if report.denied_tools:
        raise _denied(report)
    raise failed(
        "no_structured_output", "The agent ended without the structured output that the step asks for."
    )


def _denied(report: AgentReport) -> StepFailed:
    return failed(
        "permission_denied",
        f"The agent got nothing done and was refused these tools: {', '.join(report.denied_tools)}.",
    )


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")
    return f'"{escaped}"'
