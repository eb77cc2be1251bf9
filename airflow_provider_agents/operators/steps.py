"""The step operators: one class a step, each usable alone in any DAG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_agents import prompts
from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.digest import digest
from airflow_provider_agents.domain.ticket_content import ticket_text
from airflow_provider_agents.domain.untrusted import fence, one_line
from airflow_provider_agents.operators.agent_step import AgentStepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from agent_runner.contract import AgentSettings, Step, StepResult
    from airflow_provider_agents.domain.prompt_variables import PromptStep

_PLAN_BYTES = 20_000
_OUTPUT_BYTES = 12_000


class PromptedStepOperator(AgentStepOperator):
    """A step whose prompts are made of a template; see :mod:`airflow_provider_agents.prompts`."""

    step: ClassVar[PromptStep]

    def build_prompt(self, task: CodingTask, context: Context) -> str:
        from airflow_provider_agents.prompts.step_prompts import step_prompt

        values = self._variables(task) | self.prompt_values(task) | {"history": self.history(context)}
        # The two share the specification.
        resume_prompt = self.build_resume_prompt(task, context)
        return step_prompt(task, self.step, values, resume_prompt=resume_prompt).text

    def build_resume_prompt(self, task: CodingTask, context: Context) -> str:
        from airflow_provider_agents.prompts.step_prompts import step_prompt

        values = self._variables(task) | self.prompt_values(task) | {"resumed": True}
        return step_prompt(task, self.step, values).text

    def prompt_values(self, task: CodingTask) -> dict[str, Any]:
        """Return the variables that this step has beside those of its task.

        Their names are those of :data:`~airflow_provider_agents.domain.prompt_variables.VARIABLES`.
        """
        raise NotImplementedError

    def history(self, context: Context) -> str:
        """Return what earlier steps did, for an agent that was not there; empty: it does not need that."""
        return ""

    def _variables(self, task: CodingTask) -> dict[str, Any]:
        from airflow_provider_agents.prompts.task_values import task_values

        values = task_values(task, self.step, self.step_settings(task))
        return values | {"ticket": ticket_text(task.ticket) if task.ticket else ""}


class AgentPlanOperator(PromptedStepOperator):
    """Let an agent read the repository and make a plan; nothing is changed.

    The returned result has the plan in ``output``: ``summary``, ``steps``, ``files``, ``risks``, ``choices``.

    :param feedback: what people said to the plan before, as :class:`~.approve_plan.ApprovePlanOperator`
        leaves it. (templated)
    :param earlier_plan: result of the operator that made that plan. (templated)
    """

    step: ClassVar[PromptStep] = "plan"
    output_schema: ClassVar[dict[str, Any] | None] = prompts.PLAN_SCHEMA
    template_fields: Sequence[str] = (*AgentStepOperator.template_fields, "feedback", "earlier_plan")

    def __init__(self, *, feedback: Any = None, earlier_plan: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.feedback = feedback
        self.earlier_plan = earlier_plan

    def prompt_values(self, task: CodingTask) -> dict[str, Any]:
        return {
            "feedback": _said_to_plan(self.feedback),
            "earlier_plan": _plan_text(self.earlier_plan),
        }

    def step_settings(
        self,
        task: CodingTask,
        *,
        model: str | None = None,
        turns: int | None = None,
        effort: str | None = None,
    ) -> AgentSettings:
        request = task.request
        return super().step_settings(
            task, model=request.plan_model, turns=request.plan_turns, effort=request.plan_effort
        )


class AgentImplementOperator(PromptedStepOperator):
    """Let an agent change the code; its commits are pushed to the work branch.

    The returned result has ``title`` and ``description`` for a pull request in ``output``, and the pushed
    commit in ``head_sha``. An agent that changes nothing is a failure, unless the branch holds work that an
    earlier try left on it.

    :param plan: result of an :class:`AgentPlanOperator`. (templated)
    :param approval: what people said to it, as :class:`~.approve_plan.ApprovePlanOperator` leaves it.
        (templated)
    :param attempt: number of this attempt, counted from 1, where there may be several.
    :param test_result: result of the :class:`AgentTestOperator` that the last attempt failed. (templated)
    """

    step: ClassVar[PromptStep] = "implement"
    must_push: ClassVar[bool] = True
    output_schema: ClassVar[dict[str, Any] | None] = prompts.IMPLEMENT_SCHEMA
    template_fields: Sequence[str] = (*AgentStepOperator.template_fields, "plan", "approval", "test_result")

    def __init__(
        self,
        *,
        plan: Any = None,
        approval: Any = None,
        attempt: int | None = None,
        test_result: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.approval = approval
        self.attempt = attempt
        self.test_result = test_result

    def history(self, context: Context) -> str:
        return digest(self.earlier(context).notes(besides="plan"))

    def must_have_changed(self, result: StepResult) -> bool:
        return bool(self.test_result) or result.head_sha in (None, result.base_sha)

    def step_settings(
        self,
        task: CodingTask,
        *,
        model: str | None = None,
        turns: int | None = None,
        effort: str | None = None,
    ) -> AgentSettings:
        request = task.request
        return super().step_settings(
            task,
            model=request.implement_model,
            turns=request.implement_turns,
            effort=request.implement_effort,
        )

    def prompt_values(self, task: CodingTask) -> dict[str, Any]:
        return {
            "plan": _plan_text(self.plan),
            "decided": _decided(self.approval),
            "attempt": self.attempt,
            "attempts": task.request.max_attempts,
            "failure": _test_failure(self.test_result),
        }


class AgentTestOperator(AgentStepOperator):
    """Run the repository's own test command on the work branch, without a model.

    Failing tests are an answer, not an error: the task is green, and the returned result has
    ``outcome: failed`` and ``test`` with command, exit code and the end of the output.

    :param test_command: shell command; empty: found from the repository's files. (templated)
    :param approval: what people said to the plan, as :class:`~.approve_plan.ApprovePlanOperator` leaves it:
        they may have chosen to run no tests. (templated)
    """

    step: ClassVar[Step] = "test"
    uses_model: ClassVar[bool] = False
    template_fields: Sequence[str] = (*AgentStepOperator.template_fields, "test_command", "approval")

    def __init__(self, *, test_command: str | None = None, approval: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.test_command = test_command
        self.approval = approval

    def build_prompt(self, task: CodingTask, context: Context) -> str:
        return ""

    def execute(self, context: Context) -> Any:
        if self.coding_task and not CodingTask.model_validate(self.coding_task).request.run_tests:
            raise AirflowSkipException("run_tests is off")
        if isinstance(self.approval, Mapping) and self.approval.get("run_tests") is False:
            raise AirflowSkipException("whoever approved the plan chose to run no tests")
        return super().execute(context)

    def resolve_task(self, context: Context) -> CodingTask:
        task = super().resolve_task(context)
        if not self.test_command:
            return task
        return task.with_request(test_command=self.test_command)


class AgentFixOperator(PromptedStepOperator):
    """Give feedback on a pull request to an agent; its commits are pushed to the work branch.

    An agent that changes nothing is not a failure: the gate that follows decides what that means.

    :param plan: result of an :class:`AgentPlanOperator`. (templated)
    :param feedback: what the landing gate found: ``reason`` (a sentence), ``text`` (fenced) and
        ``conflict``. (templated)
    :param review_feedback: the like of a review step, where the gate found nothing. Without both the step
        is skipped. (templated)
    :param round_number: number of this round, counted from 1, where there may be several.
    :param pull_request: ``number`` of the pull request, for a template that names it. (templated)
    """

    step: ClassVar[PromptStep] = "fix"
    must_push: ClassVar[bool] = True
    output_schema: ClassVar[dict[str, Any] | None] = prompts.FIX_SCHEMA
    template_fields: Sequence[str] = (
        *AgentStepOperator.template_fields,
        "plan",
        "feedback",
        "review_feedback",
        "pull_request",
    )

    def __init__(
        self,
        *,
        feedback: Any,
        review_feedback: Any = None,
        plan: Any = None,
        round_number: int | None = None,
        pull_request: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.plan = plan
        self.feedback = feedback
        self.review_feedback = review_feedback
        self.round_number = round_number
        self.pull_request = pull_request

    def execute(self, context: Context) -> Any:
        if not self._given():
            raise AirflowSkipException("there is nothing to answer")
        return super().execute(context)

    def _given(self) -> Any:
        """Return the feedback to answer, or ``None``."""
        return self.feedback or self.review_feedback

    def history(self, context: Context) -> str:
        return digest(self.earlier(context).notes(besides="plan"))

    def prompt_values(self, task: CodingTask) -> dict[str, Any]:
        given = self._given()
        feedback = given if isinstance(given, Mapping) else {"text": str(given)}
        return {
            "pull_request_number": _number_of(self.pull_request),
            # It names checks and people, in words that others chose.
            "reason": fence(str(feedback["reason"]), "why it is not merged")
            if feedback.get("reason")
            else "",
            "feedback": feedback.get("text") or "",
            "conflict": bool(feedback.get("conflict")),
            "round": self.round_number,
            "rounds": task.request.max_rounds,
            "plan": _plan_text(self.plan),
        }

    def step_settings(
        self,
        task: CodingTask,
        *,
        model: str | None = None,
        turns: int | None = None,
        effort: str | None = None,
    ) -> AgentSettings:
        request = task.request
        return super().step_settings(
            task, model=request.fix_model, turns=request.fix_turns, effort=request.fix_effort
        )


def _number_of(pull_request: Any) -> int | None:
    number = pull_request.get("number") if isinstance(pull_request, Mapping) else None
    return int(number) if number is not None else None


def _said_to_plan(approval: Any) -> str:
    """Return what people said to the plan before, fenced; empty where there is nothing."""
    return str(approval.get("feedback") or "") if isinstance(approval, Mapping) else ""


def _decided(approval: Any) -> str:
    """Return what people decided and said when they approved the plan; empty where there is nothing."""
    decisions = approval.get("decisions") if isinstance(approval, Mapping) else None
    # The wording of the choices is the model's.
    lines = fence("\n".join(f"- {line}" for line in decisions), "choices of the plan") if decisions else ""
    return "\n\n".join(text for text in (lines, _said_to_plan(approval)) if text)


def _plan_text(plan: Any) -> str:
    """Return the plan as Markdown. A model wrote it after reading outsiders' text, so it is fenced too."""
    output = plan.get("output") if isinstance(plan, Mapping) else None
    if not isinstance(output, Mapping):
        return ""
    lines = [str(output.get("summary", ""))]
    for heading, key in (("Steps", "steps"), ("Files", "files"), ("Risks", "risks")):
        if items := output.get(key):
            lines += ["", f"{heading}:", *(f"- {item}" for item in items)]
    return fence("\n".join(lines), "plan of an earlier step", most_bytes=_PLAN_BYTES)


def _test_failure(result: Any) -> dict[str, Any] | None:
    test = result.get("test") if isinstance(result, Mapping) else None
    if not isinstance(test, Mapping):
        return None
    output = fence(str(test.get("tail") or ""), "test output", most_bytes=_OUTPUT_BYTES, log=True)
    return {
        # A result claims it, and the repository's code ran in the container that made the result.
        "command": fence(one_line(str(test.get("command") or "")), "test command"),
        "exit_code": test.get("exit_code"),
        "output": output,
    }
