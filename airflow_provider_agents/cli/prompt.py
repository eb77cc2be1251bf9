"""``airflow agents prompt``: shows what an agent would be told, before anything is paid for."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.cli.command import FailedError, UsageError, command
from airflow_provider_agents.cli.output import clean, say, show

if TYPE_CHECKING:
    from argparse import Namespace

    from agent_runner.contract import AgentSettings
    from airflow_provider_agents.cli.agent_runs import AgentRuns, Run
    from airflow_provider_agents.cli.api_client import AirflowApi
    from airflow_provider_agents.domain.authority_rules import AuthorityRules
    from airflow_provider_agents.domain.coding_task import CodingTask, Ticket
    from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
    from airflow_provider_agents.domain.prompt_variables import PromptStep
    from airflow_provider_agents.domain.repository_settings import PlatformSettings
    from airflow_provider_agents.domain.run_settings import RunSettings
    from airflow_provider_agents.prompts.templates import StepTemplate

_SAMPLE_ISSUE = 7
_ACCEPT = "accept"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A task, and what is known beside it."""

    task: CodingTask
    values: dict[str, Any] = field(default_factory=dict)
    """Variables beside those of :func:`~airflow_provider_agents.prompts.task_values.task_values`."""
    sampled: frozenset[str] = frozenset()
    """Variables whose values are samples."""


@command
def prompt(args: Namespace, api: AirflowApi) -> int:
    """Show the prompt of a step; faults of a template end it with the code for wrong usage."""
    from airflow_provider_agents.exceptions import AgentsError, InvalidInputError

    if bool(args.run) == bool(args.repository):
        raise UsageError("name either --repository or --run")
    if args.run and (args.issue is not None or args.prompt):
        raise UsageError("--run has its own ticket: leave --issue and --prompt out")
    try:
        case = _of_run(api, args) if args.run else _of_repository(args)
        template = _template(args, case.task)
        if faults := template.faults():
            raise InvalidInputError(faults)
        document = _document(args, case, template)
    except InvalidInputError as error:
        raise UsageError(
            "\n".join(["the prompt has faults:", *(f"  {fault}" for fault in error.faults)])
        ) from None
    except AgentsError as error:
        raise FailedError(str(error)) from None
    show(document, clean(document["prompt"]), args.output)
    if args.output == "table":
        for line in _summary(document):
            say(line)
    return 0


def _document(args: Namespace, case: Case, template: StepTemplate) -> dict[str, Any]:
    from airflow_provider_agents.domain.prompt_fit import PARTS, estimated_tokens, window_bytes
    from airflow_provider_agents.domain.prompt_variables import filled
    from airflow_provider_agents.prompts.step_prompts import step_prompt
    from airflow_provider_agents.prompts.task_values import task_values

    step: PromptStep = args.step
    task = case.task
    values = task_values(task, step, _agent(task, step)) | case.values
    found = step_prompt(task, step, {**values, "history": "", "resumed": True}, template=template)
    if not args.resumed:
        shared = "" if step == "review" else found.text  # a review has no session that could go on
        found = step_prompt(task, step, values, resume_prompt=shared, template=template)
    values = filled(values)
    used = template.used()
    return {
        "step": step,
        "repository": task.request.repository,
        "template": template.name,
        "prompt": found.text,
        "bytes": len(found.text.encode()),
        "tokens": estimated_tokens(found.text),
        "most_bytes": window_bytes(task.request.context_window),
        "left_out": list(found.left_out),
        "variables": {name: _kind(name, values, case.sampled) for name in sorted(used)},
        "unused": sorted(name for name in (*PARTS, "failure") if values[name] and name not in used),
    }


def _kind(name: str, values: dict[str, Any], sampled: frozenset[str]) -> str:
    if name in sampled:
        return "sample"
    return "real" if values[name] or values[name] is False else "empty"


def _summary(document: dict[str, Any]) -> list[str]:
    variables: dict[str, str] = document["variables"]
    lines = [
        "",
        f"Template: {document['template']}",
        f"Size: {document['bytes']:,} bytes, about {document['tokens']:,} tokens",
    ]
    for kind, heading in (("real", "Variables"), ("sample", "Variables with samples"), ("empty", "Empty")):
        if names := [name for name, each in variables.items() if each == kind]:
            lines.append(f"{heading}: {', '.join(names)}")
    if document["unused"]:
        lines.append(f"Not in the prompt: {', '.join(document['unused'])}")
    return lines + [f"Cut: {line}" for line in document["left_out"]]


def _template(args: Namespace, task: CodingTask) -> StepTemplate:
    from airflow_provider_agents.domain.repository_settings import MAX_PROMPT_CHARACTERS
    from airflow_provider_agents.prompts.step_prompts import template_of
    from airflow_provider_agents.prompts.templates import StepTemplate

    if not args.template:
        return template_of(task, args.step)
    try:
        with Path(args.template).open("rb") as stream:
            text = stream.read(4 * MAX_PROMPT_CHARACTERS + 1).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{args.template}: is not UTF-8, or too long") from None
    except OSError as error:
        raise UsageError(f"{args.template} cannot be read: {error.strerror or error}") from None
    if len(text.strip()) > MAX_PROMPT_CHARACTERS:
        raise UsageError(f"{args.template}: has more than {MAX_PROMPT_CHARACTERS:,} characters")
    return StepTemplate(args.step, text, name=args.template)


def _agent(task: CodingTask, step: PromptStep) -> AgentSettings:
    from airflow_provider_agents.operators.agent_settings import agent_settings
    from airflow_provider_agents.operators.review_material import reviewer_settings

    if step == "review":
        return reviewer_settings(task)
    request = task.request
    return agent_settings(
        task,
        step,
        model=getattr(request, f"{step}_model"),
        effort=getattr(request, f"{step}_effort"),
        turns=getattr(request, f"{step}_turns"),
    )


# A task by the files alone


def _of_repository(args: Namespace) -> Case:
    """Return a task as the installation's files would make it; only an issue needs a connection."""
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
    from airflow_provider_agents.domain.prompt_variables import samples
    from airflow_provider_agents.exceptions import InvalidInputError
    from airflow_provider_agents.prompts.task_values import TASK_VARIABLES

    run_settings, platform, authority = _settings_of(
        args.repository, args.step, overridden=bool(args.template)
    )
    sample = args.issue is None and not args.prompt
    ticket_values = {
        "repository": args.repository,
        "issue_number": _SAMPLE_ISSUE if sample else args.issue,
        "prompt": args.prompt,
    }
    bounds = Bounds(max_attempts=run_settings.max_attempts, max_rounds=run_settings.max_rounds)
    request, faults = parse_request(run_settings.model_dump() | ticket_values, bounds)
    if request is None:
        raise InvalidInputError(faults)
    ticket = _sample_ticket(args.repository) if sample else _issue(request, authority)
    task = CodingTask.accept(request, run_key="preview", base_sha="0" * 40, ticket=ticket)
    task = task.model_copy(update={"platform": platform})
    given = _given(task, args.step)
    sampled = {
        name: value
        for name, value in samples(args.step).items()
        if value and name not in TASK_VARIABLES and name not in given
    }
    of_ticket = {"title", "ticket", "ticket_key", "issue_number"} if sample else set()
    return Case(
        task=task, values=sampled | given, sampled=frozenset({*sampled, *of_ticket, "task_id", "branch"})
    )


def _settings_of(
    repository: str, step: PromptStep, *, overridden: bool
) -> tuple[RunSettings, PlatformSettings, AuthorityRules]:
    """Return the settings of a repository as ``repositories.yaml`` has them.

    :param overridden: the step's own template does not count, and is not read.
    """
    from airflow_provider_agents.domain.config_files import read_prompt, repositories_file
    from airflow_provider_agents.domain.repository_settings import PromptFile
    from airflow_provider_agents.domain.run_settings import RunSettings
    from airflow_provider_agents.domain.settings_layers import effective
    from airflow_provider_agents.exceptions import InvalidInputError

    folder = settings.config_folder()
    installed, faults = repositories_file(folder)
    if installed is None:
        raise InvalidInputError(faults)
    found = effective(installed, repository)
    platform = found.platform
    given = getattr(platform.prompts, step)
    if isinstance(given, PromptFile):
        text, fault = (None, None) if overridden else read_prompt(folder, given)
        if fault:
            raise InvalidInputError([f"prompts.{step}: {fault}"])
        prompts = platform.prompts.model_copy(update={step: text})
        platform = platform.model_copy(update={"prompts": prompts})
    return RunSettings(**found.run), platform, found.authority


def _sample_ticket(repository: str) -> Ticket:
    from airflow_provider_agents.domain.coding_task import Ticket

    return Ticket(
        number=_SAMPLE_ISSUE,
        key=f"{repository}#{_SAMPLE_ISSUE}",
        title="The basket is empty after a reload",
        body="Put something into the basket, reload the page: it is gone.",
        author="mona",
    )


def _issue(request: CodingTaskRequest, authority: AuthorityRules) -> Ticket | None:
    """Return the issue as a run would read it now; ``None``: there is only a prompt."""
    from airflow_provider_agents.operators.ticket_reading import read_ticket

    connection = settings.text("github_conn_id", "github_default")
    read = read_ticket(request, run_id="preview", github_conn_id=connection, authority=authority)
    return read.ticket if read is not None else None


# A task as a run accepted it


def _of_run(api: AirflowApi, args: Namespace) -> Case:
    """Return the task of a run, with what its steps left."""
    from pydantic import ValidationError

    from airflow_provider_agents.cli.agent_runs import AgentRuns
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.prompt_variables import samples

    runs = AgentRuns(api, args.dag)
    run = runs.find(args.run)
    accepted = runs.xcom(run, _ACCEPT)
    if accepted is None:
        raise FailedError(
            f"{run.run_id} has no accepted task: `{_ACCEPT}` has not ended well, or may not be read"
        )
    try:
        task = CodingTask.model_validate(accepted)
    except ValidationError:
        raise FailedError(f"{run.run_id} was accepted by another version; name its --repository") from None
    left = _left_by(runs, run, task, args.step)
    # A review reads the pull request itself; what it would find there now is not asked.
    sampled = samples("review") if args.step == "review" else {}
    sampled = {name: value for name, value in sampled.items() if value and name in _OF_REVIEW}
    values = {**sampled, **_given(task, args.step), **left}
    return Case(task=task, values=values, sampled=frozenset(sampled) - frozenset(left))


def _left_by(runs: AgentRuns, run: Run, task: CodingTask, step: PromptStep) -> dict[str, Any]:
    """Return the variables that the steps of a run left a value for: the last of each kind."""
    from airflow_provider_agents.operators import steps
    from airflow_provider_agents.operators.approve_plan import RESULT_KEY as APPROVAL_KEY
    from airflow_provider_agents.operators.landing_keys import FEEDBACK_KEY

    listed = runs.xcoms(run)

    def last(name: str, key: str = "return_value") -> Any:
        """Return the value of the last task whose id ends so."""
        ids = [task_id for task_id, each in listed if each == key and task_id.rpartition(".")[2] == name]
        return runs.xcom(run, max(ids, key=_order), key) if ids else None

    plan, pull_request = last("plan"), last("open_pull_request")
    operator: steps.PromptedStepOperator
    if step == "plan":
        operator = steps.AgentPlanOperator(
            task_id="step", earlier_plan=plan, feedback=last("approve", APPROVAL_KEY)
        )
    elif step == "implement":
        operator = steps.AgentImplementOperator(
            task_id="step", plan=plan, approval=last("approve", APPROVAL_KEY), test_result=last("test")
        )
    elif step == "fix":
        feedback = last("gate", FEEDBACK_KEY) or {"text": ""}
        operator = steps.AgentFixOperator(
            task_id="step", plan=plan, feedback=feedback, pull_request=pull_request
        )
    else:
        number = pull_request.get("number") if isinstance(pull_request, dict) else None
        return {"pull_request_number": number} if number else {}
    return {name: value for name, value in operator.prompt_values(task).items() if value}


def _order(task_id: str) -> list[int]:
    return [int(number) for number in re.findall(r"[0-9]+", task_id)]


def _given(task: CodingTask, step: PromptStep) -> dict[str, Any]:
    """Return the variables of a task that only its step puts together."""
    from airflow_provider_agents.domain.ticket_content import ticket_text

    values: dict[str, Any] = {"ticket": ticket_text(task.ticket) if task.ticket else ""}
    if step == "implement":
        values["attempts"] = task.request.max_attempts
    elif step == "fix":
        values["rounds"] = task.request.max_rounds
    elif step == "review":
        values["review_prompt"] = task.request.review_prompt or ""
    return values


_OF_REVIEW = frozenset({"pull_request_number", "head_sha", "description", "findings", "answers"})
