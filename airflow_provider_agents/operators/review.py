"""The review step: an agent that only reads judges one head of a pull request."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from airflow.sdk.exceptions import AirflowSkipException

from airflow_provider_agents import prompts
from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.links import PULL_REQUEST_URL_KEY, PullRequestLink
from airflow_provider_agents.operators.agent_step import AgentStepOperator
from airflow_provider_agents.operators.landing_keys import FEEDBACK_KEY, REVIEW_KEY
from airflow_provider_agents.operators.pulled import values_of
from airflow_provider_agents.operators.review_look import reviewer_connection
from airflow_provider_agents.operators.skipping import skip
from airflow_provider_agents.operators.task_state import generation, recall, remember

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from airflow.sdk import Context

    from agent_runner.contract import AgentSettings, Budget, Step, StepSpec
    from airflow_provider_agents.domain.review import ReviewOutput
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.operators.post_review import Posted
    from airflow_provider_agents.operators.review_material import ReviewMaterial
    from airflow_provider_agents.operators.step_outcome import StepOutcome

T = TypeVar("T")


class AgentReviewOperator(AgentStepOperator):
    """Let an agent read one head of a pull request and judge it; nothing is changed.

    The verdict is XCom ``review``: ``head_sha``, ``verdict``, ``summary``, ``findings``, ``fingerprints``,
    and where it was posted ``url``, ``event`` and ``reviewer``. Where it asks for changes, XCom ``feedback``
    is what an :class:`~.steps.AgentFixOperator` takes. It is bound to its head: if the pull request moves on
    meanwhile, nothing is posted, and the task ends without a verdict, skipped or with ``fix_task`` skipped.

    The agent has a session and a checkout of its own, never those of the agent that wrote the code: a claim
    of the run is not mounted, so that nothing but its commits can speak for it.

    :param pull_request: ``number`` and ``url``; without ``coding_task`` also ``repository``,
        ``base_branch`` and ``head_sha``, as :class:`~.review_look.LookAtPullRequestOperator` returns them.
        (templated)
    :param decision: of the landing gate before: the review runs where its verdict is ``review``, on its
        ``head_sha``. None: on the ``head_sha`` of ``pull_request``, or where that has none on the present
        head. (templated)
    :param fix_task: id of the task right after this one that answers objections; skipped where there are
        none.
    :param may_fix: whether a fix may follow at once; else the objection waits for the next gate. (templated)
    :param earlier_reviews: task ids of the reviews of earlier rounds.
    :param fixes: task ids of the fix steps that answered those.
    :param review_conn_id: Airflow connection of type ``github`` of the identity that reviews; none: that of
        ``github_conn_id``, which then only comments on what it wrote itself. (templated)
    :param review_prompt: what to look at, beside the step's own instructions. (templated)
    :param review_budget_usd: most that one review may spend of what the run has left, in USD; none: what the
        request says.
    :param post: whether the review is posted.
    """

    step: ClassVar[Step] = "review"
    output_schema: ClassVar[dict[str, Any] | None] = prompts.REVIEW_SCHEMA
    template_fields: Sequence[str] = (
        *AgentStepOperator.template_fields,
        "pull_request",
        "decision",
        "may_fix",
        "review_conn_id",
        "review_prompt",
    )
    operator_extra_links = (*AgentStepOperator.operator_extra_links, PullRequestLink())

    def __init__(
        self,
        *,
        pull_request: Any,
        decision: Any = None,
        fix_task: str | None = None,
        may_fix: Any = True,
        earlier_reviews: Sequence[str] = (),
        fixes: Sequence[str] = (),
        review_conn_id: str | None = None,
        review_prompt: str | None = None,
        review_budget_usd: float | None = None,
        post: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.pull_request = pull_request
        self.decision = decision
        self.fix_task = fix_task
        self.may_fix = may_fix
        self.earlier_reviews = list(earlier_reviews)
        self.fixes = list(fixes)
        self.review_conn_id = review_conn_id
        self.review_prompt = review_prompt
        self.review_budget_usd = review_budget_usd
        self.post = post
        self._material: ReviewMaterial | None = None

    # What the step is

    def resolve_task(self, context: Context) -> CodingTask:
        if self.coding_task:
            return super().resolve_task(context)
        given = self.pull_request.get("request")
        request, faults = parse_request(
            given if isinstance(given, Mapping) else self._values_given(), Bounds()
        )
        if request is None:
            raise InvalidInputError([f"{self.task_id}: {fault}" for fault in faults])
        ti = context["ti"]
        return CodingTask.accept(request, run_key=f"{ti.dag_id}/{ti.run_id}", base_sha="", ticket=None)

    def _values_given(self) -> dict[str, Any]:
        return {
            "repository": self.pull_request.get("repository") or self.repository,
            "prompt": f"Review pull request #{self._number}.",
            "base_branch": self.pull_request.get("base_branch") or self.base_branch,
            "work_branch": f"pull/{self._number}/head",
            "agent": self.agent,
            "budget_usd": self.budget_usd,
            "budget_tokens": self.budget_tokens,
            "read_repositories": self.read_repositories,
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
        asked = super().step_settings(
            task, model=request.review_model, turns=request.review_turns, effort=request.review_effort
        )
        program = self.agent or request.review_agent
        if program is None or program == asked.program:
            return asked
        # The installation's model is one of its own program, and so are the settings that only one program takes.
        return dataclasses.replace(
            asked,
            program=program,
            model=self.model or request.review_model,
            context_window=None,
            thinking=None,
        )

    def build_prompt(self, task: CodingTask, context: Context) -> str:
        return self._material_of(task, context).prompt

    def build_spec(self, task: CodingTask, context: Context) -> StepSpec:
        spec = super().build_spec(task, context)
        return dataclasses.replace(
            spec,
            expected_head=self._material_of(task, context).head_sha,
            # The head of a fork is on no branch of the repository.
            pull_request=None if self.coding_task else self._number,
        )

    def _head(self, spec: StepSpec) -> str | None:
        """The head is settled before the pod: the runner finds out whether the branch still is there."""
        return spec.expected_head

    def _remaining_budget(self, task: CodingTask, context: Context) -> Budget:
        budget = super()._remaining_budget(task, context)
        most = self.review_budget_usd or task.request.review_budget_usd
        if most is None:
            return budget
        usd = most if budget.usd is None else min(budget.usd, most)
        return dataclasses.replace(budget, usd=usd)

    # Its life

    def execute(self, context: Context) -> Any:
        if url := self.pull_request.get("url"):
            context["ti"].xcom_push(key=PULL_REQUEST_URL_KEY, value=url)
        if isinstance(self.decision, Mapping) and self.decision.get("verdict") != "review":
            raise AirflowSkipException("No review is asked for.")
        return super().execute(context)

    def _publish(self, outcome: StepOutcome, context: Context, memory: str | None = None) -> dict[str, Any]:
        from airflow_provider_agents.domain.review import read_review

        fault = outcome.fault()
        if fault is not None and fault.code == "head_moved":
            self._void(fault.message, context)
        values = super()._publish(outcome, context, memory)
        self._conclude(read_review(outcome.result.output, outcome.result.summary), context)
        return values

    def _conclude(self, review: ReviewOutput, context: Context) -> None:
        """Post the review, and leave it to the tasks after this one."""
        from airflow_provider_agents.domain.review_text import review_feedback

        task = self._task or self.resolve_task(context)
        head_sha = self._material_of(task, context).head_sha
        value: dict[str, Any] = {"head_sha": head_sha, **review.to_dict()}
        for finding in review.findings:
            where = f"{finding.path}:{finding.line}" if finding.line else finding.path or "-"
            self.log.info("%s %s: %s", finding.severity, where, finding.title)
        if self.post:
            posted = self._post(task, head_sha, review, context)
            if posted is None:
                self._void("The pull request moved on while the agent read it.", context)
            else:
                self.log.info("Posted as %s by %s: %s", posted.event, posted.reviewer, posted.url)
                value |= dataclasses.asdict(posted)
        context["ti"].xcom_push(key=REVIEW_KEY, value=value)
        objects = review.verdict == "request_changes"
        if objects:
            context["ti"].xcom_push(key=FEEDBACK_KEY, value=review_feedback(review))
        self.log.info("%s: %s", review.verdict, review.summary)
        if not (objects and self.may_fix):
            self._skip_fix(context)

    def _post(self, task: CodingTask, head_sha: str, review: ReviewOutput, context: Context) -> Posted | None:
        from airflow_provider_agents.domain.review import findings_of
        from airflow_provider_agents.operators.post_review import post_review

        earlier = findings_of(values_of(context, self.earlier_reviews, REVIEW_KEY).values())
        repository, number = task.request.repository, self._number
        # Whoever opened the pull request, the connection that pushes wrote the code.
        wrote_code = bool(self.coding_task) and self._review_connection == self.github_conn_id
        return self._ask_as_reviewer(
            repository,
            lambda client: post_review(
                client, repository, number, head_sha, review, earlier=earlier, wrote_code=wrote_code
            ),
        )

    def _void(self, why: str, context: Context) -> None:
        """End without a verdict: what was read is not what would be merged."""
        self.log.warning("The review is void. %s", why)
        self._skip_fix(context)
        raise AirflowSkipException(f"The review is void. {why}")

    def _skip_fix(self, context: Context) -> None:
        """End as a success with the fix skipped, if there is one."""
        if self.fix_task is not None:
            skip(self, context, [self.fix_task])

    # Reading

    def _material_of(self, task: CodingTask, context: Context) -> ReviewMaterial:
        """Return what the agent is told: settled at the first try, for this go at the task."""
        from airflow_provider_agents.operators.review_material import (
            ReviewMaterial,
            material_of,
            read_pull_request,
        )

        if self._material is not None:
            return self._material
        key = f"review_material_{generation(self, context)}"
        stored = recall(context, key)
        if isinstance(stored, Mapping):
            self._material = ReviewMaterial.from_dict(stored)
            return self._material
        request, number = task.request, self._number
        snapshot, body = self._ask_as_reviewer(
            request.repository, lambda client: read_pull_request(client, request.repository, number)
        )
        if (wanted := self._wanted_head()) is not None and snapshot.head_sha != wanted:
            self._void(f"The pull request is at {snapshot.head_sha}, {wanted} was to be read.", context)
        self._material = material_of(
            task,
            snapshot,
            body,
            context,
            remark=(request.prompt or "") if self.coding_task else "",
            review_prompt=self.review_prompt or request.review_prompt or "",
            earlier_reviews=self.earlier_reviews,
            fixes=self.fixes,
        )
        remember(context, key, self._material.to_dict())
        return self._material

    @property
    def _workspace(self) -> None:
        """None: what the authors' agent left in the run's claim does not reach its reviewer."""
        return None

    def _wanted_head(self) -> str | None:
        if isinstance(self.decision, Mapping):
            return self.decision.get("head_sha")
        return None if self.coding_task else self.pull_request.get("head_sha")

    @property
    def _number(self) -> int:
        return int(self.pull_request["number"])

    @property
    def _review_connection(self) -> str:
        return reviewer_connection(self.review_conn_id, self.github_conn_id)

    def _ask_as_reviewer(
        self, repository: str, question: Callable[[GitHubClient], Coroutine[Any, Any, T]]
    ) -> T:
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        return AgentsGitHubHook(self._review_connection, repository=repository).run(question)
