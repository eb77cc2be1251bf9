"""Runs one step of an agent in a pod: the base of all step operators.

Retries are for infrastructure only, and a retry never pays twice: what a step finished is stored before
its pod goes, and a pod that outlived its worker is found again and harvested. A *clear* runs the step
again; the generation below tells the two apart.
"""

from __future__ import annotations

import dataclasses
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.sdk.definitions.retry_policy import ExceptionRetryPolicy, RetryAction, RetryRule
from kubernetes.client.exceptions import ApiException

from agent_runner.contract import (
    RESULT_MARKER,
    AgentSettings,
    GatewayConfig,
    Limits,
    Step,
    StepSpec,
)
from airflow_provider_agents import settings
from airflow_provider_agents.domain.coding_task import Bounds, CodingTask, parse_request
from airflow_provider_agents.domain.outbound import outbound_title
from airflow_provider_agents.domain.pod_status import GATEWAY_CONTAINER, base_ended, base_started, is_terminal
from airflow_provider_agents.exceptions import InvalidInputError, StepInfrastructureError
from airflow_provider_agents.links import POD_URL_KEY, AgentPodLink
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.pod_parts import (
    GRACE_SECONDS,
    LABEL_PREFIX,
    SPEC_ANNOTATION,
    START_SECONDS,
    PodParts,
)
from airflow_provider_agents.operators.step_outcome import StepOutcome, read_outcome
from airflow_provider_agents.operators.task_state import generation, recall, remember
from airflow_provider_agents.prompts import render
from airflow_provider_agents.triggers.agent_pod import AgentPodTrigger, new_lines, seconds_since

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context
    from airflow.sdk.bases.operatorlink import BaseOperatorLink
    from kubernetes.client import models as k8s

    from airflow_provider_agents.hooks.github import AgentsGitHubHook

DEFAULT_IMAGE = "airflow-agents/agent:latest"

STEP_RETRIES = 2
STEP_RETRY_POLICY = ExceptionRetryPolicy(
    rules=[
        RetryRule(
            exception="airflow_provider_agents.exceptions.StepFailedError",
            action=RetryAction.FAIL,
            reason="the agent or its input: repeating the step costs money and changes nothing",
        ),
        RetryRule(
            exception="airflow_provider_agents.exceptions.InvalidInputError",
            action=RetryAction.FAIL,
            reason="the input is wrong",
        ),
        RetryRule(
            exception="airflow_provider_agents.exceptions.ForgeAccessError",
            action=RetryAction.FAIL,
            reason="a permission or a name is wrong",
        ),
    ]
)
"""Drives Airflow's retries from the step's own failure: only what may succeed unchanged is retried."""

_LOG_TAIL_LINES = 200
"""Of the runtime's 16 KiB chunks, not of ours: enough for the whole result line."""
_MAX_REDEFERRALS = 3


class AgentStepOperator(KubernetesPodOperator):
    """Run one agent step in a pod and return its result.

    Deferrable by default: no worker slot is held while the agent works. Every argument of
    ``KubernetesPodOperator`` can be given and wins over what the step would choose.

    :param coding_task: a task that ``accept`` made (its XCom); it supplies the arguments below. (templated)
    :param repository: ``owner/name``. (templated)
    :param prompt: what to do. Trusted text: that of outsiders belongs in a ticket. (templated)
    :param base_branch: branch that the work starts from. (templated)
    :param work_branch: branch that the step reads and pushes; empty: ``ai/task-<digest of the run>``. (templated)
    :param model: model name; empty: ``[agents] model``, else the agent program's default. (templated)
    :param effort: how much the model thinks: ``low`` … ``max``.
    :param max_turns: most model turns.
    :param step_timeout: how long the step may take, from the start of its container; 30 minutes if not given.
    :param cpu: CPU limit of the agent's container; half of it is requested.
    :param memory: memory limit of the agent's container; half of it is requested.
    :param secret: Kubernetes secret with the keys ``github-token`` and ``anthropic-api-key``; only the
        gateway container mounts it.
    :param github_conn_id: Airflow connection of type ``github``.
    :return: the step's result as a dictionary (:class:`~agent_runner.contract.StepResult`, with the
        gateway's ``ledger``).
    :raises StepFailedError: the agent or its input failed; not retried.
    :raises StepInfrastructureError: pod, node or network failed; retried.
    """

    step: ClassVar[Step]
    must_push: ClassVar[bool] = False
    output_schema: ClassVar[dict[str, Any] | None] = None
    no_changes_fails: ClassVar[bool] = False

    template_fields: Sequence[str] = (
        *KubernetesPodOperator.template_fields,
        "coding_task",
        "repository",
        "prompt",
        "base_branch",
        "work_branch",
        "model",
        "github_conn_id",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **KubernetesPodOperator.template_fields_renderers,
        "coding_task": "json",
        "prompt": "md",
    }
    operator_extra_links: Sequence[BaseOperatorLink] = (AgentPodLink(),)
    ui_color = "#e6e0f8"

    def __init__(
        self,
        *,
        coding_task: Any = None,
        repository: str | None = None,
        prompt: str | None = None,
        base_branch: str = "main",
        work_branch: str | None = None,
        model: str | None = None,
        effort: str | None = None,
        max_turns: int | None = None,
        step_timeout: timedelta | None = None,
        cpu: str | None = None,
        memory: str | None = None,
        secret: str | None = None,
        github_conn_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        if "base_container_name" in kwargs:
            raise TypeError("base_container_name: the agent's container is always named base")
        kwargs.setdefault("name", f"agent-{self.step}")
        kwargs.setdefault("namespace", settings.text("namespace", "agent-system"))
        kwargs.setdefault("kubernetes_conn_id", settings.text("kubernetes_conn_id", "kubernetes_default"))
        kwargs.setdefault("deferrable", True)
        kwargs.setdefault("startup_timeout_seconds", START_SECONDS)
        kwargs.setdefault("log_pod_spec_on_failure", False)  # would put the whole prompt into the log
        kwargs.setdefault("log_events_on_startup", False)  # reads every event of the namespace at each poll
        kwargs.setdefault("logging_interval", 2)
        kwargs.setdefault("retries", STEP_RETRIES)
        kwargs.setdefault("retry_delay", timedelta(seconds=15))
        kwargs.setdefault("retry_policy", STEP_RETRY_POLICY)
        # A backstop beyond the pod's own deadline. The longest step_timeout that a run may ask for is a day.
        longest = step_timeout or timedelta(days=1)
        margin = timedelta(seconds=2 * START_SECONDS + 5 * GRACE_SECONDS)
        kwargs.setdefault("execution_timeout", longest + margin)
        super().__init__(**kwargs)
        self.coding_task = coding_task
        self.repository = repository
        self.prompt = prompt
        self.base_branch = base_branch
        self.work_branch = work_branch
        self.model = model
        self.effort = effort
        self.max_turns = max_turns
        self.step_timeout = step_timeout
        self.cpu = cpu
        self.memory = memory
        self.secret = secret
        self.github_conn_id = github_conn_id or settings.text("github_conn_id", "github_default")
        self._task: CodingTask | None = None
        self._spec: StepSpec | None = None
        self._values: dict[str, Any] | None = None

    # What a step decides

    def build_prompt(self, task: CodingTask, context: Context) -> str:
        """Return the first message to the agent."""
        raise NotImplementedError

    def step_settings(self, task: CodingTask) -> AgentSettings:
        """Return program, model and turns of this step."""
        return AgentSettings(
            model=self.model or settings.text("model") or None,
            effort=self.effort or task.request.effort,
            max_turns=self.max_turns,
        )

    def build_spec(self, task: CodingTask, context: Context) -> StepSpec:
        """Return the specification of the step, without the head that it will find."""
        request = task.request
        agent = self.step_settings(task)
        timeout = self.step_timeout or timedelta(minutes=request.step_timeout)
        return StepSpec(
            step=self.step,
            repository=request.repository,
            base_branch=request.base_branch,
            work_branch=task.work_branch,
            prompt=self.build_prompt(task, context),
            instructions=render(
                "instructions",
                step=self.step,
                repository=request.repository,
                base_branch=request.base_branch,
                work_branch=task.work_branch,
                max_turns=agent.max_turns,
                minutes=max(1, int(timeout.total_seconds() // 60)),
            ),
            agent=agent,
            limits=Limits(seconds=max(1, int(timeout.total_seconds()))),
            test_command=request.test_command,
            output_schema=self.output_schema,
            commit_message=outbound_title(task.title, task.name) if self.must_push else None,
        )

    def resolve_task(self, context: Context) -> CodingTask:
        """Return the task that this step works on: the accepted one, or one made of the arguments."""
        if self.coding_task:
            return CodingTask.model_validate(self.coding_task)
        values = {
            "repository": self.repository,
            "prompt": self.prompt or ("Run the tests." if self.step == "test" else None),
            "base_branch": self.base_branch,
            "work_branch": self.work_branch,
        }
        request, faults = parse_request(values, Bounds())
        if request is None:
            raise InvalidInputError([f"{self.task_id}: {fault}" for fault in faults])
        ti = context["ti"]
        return CodingTask.accept(request, run_key=f"{ti.dag_id}/{ti.run_id}", base_sha="", ticket=None)

    # The pod

    def execute(self, context: Context) -> Any:
        """Run the step, or return what an earlier try of it finished."""
        with leaving_reason(context):
            return self._execute(context)

    def _execute(self, context: Context) -> Any:
        self._task = self.resolve_task(context)
        spec = self.build_spec(self._task, context)
        if (stored := self._stored(spec, context)) is not None:
            self.log.info("An earlier try finished this step; its stored result is used.")
            return self._publish(stored, context)
        # What comes onto the branch after this is a person's: the gateway will not let it be overwritten.
        head = self._head(spec)
        self.log.info(
            "Work branch %s of %s is at %s.", spec.work_branch, spec.repository, head or "no commit yet"
        )
        self._spec = dataclasses.replace(spec, expected_head=head)
        super().execute(context)
        return self._values

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> k8s.V1Pod:
        """Return the pod: what ``KubernetesPodOperator`` builds, completed by the step's parts."""
        pod = super().build_pod_request_obj(context, dry_run=dry_run)
        if context is None or self._task is None or self._spec is None:
            return pod
        request = self._task.request
        parts = PodParts(
            spec=self._spec,
            gateway=GatewayConfig(
                repository=self._spec.repository,
                work_branch=self._spec.work_branch,
                expected_head=self._spec.expected_head,
                forge_url=self._github().get_conn().urls.git_url,
                push=self.must_push,
                anthropic_url=settings.text("anthropic_url", "https://api.anthropic.com").rstrip("/"),
                secret_name=self.secret or settings.text("secret", "agent-secrets"),
            ),
            image=self.image or request.image or settings.text("image", DEFAULT_IMAGE),
            cpu=self.cpu or request.cpu,
            memory=self.memory or request.memory,
            service_account=settings.text("service_account", "agent-runner"),
            labels=self._labels(self._task, self._spec, context),
        )
        return parts.add_to(pod)

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """Return the pod of this step and generation, whatever became of it; create it if there is none."""
        labels = pod_request_obj.metadata.labels
        identity = ("dag_id", "run_id", "task_id", "map_index", _label("generation"), _label("spec"))
        selector = ",".join(f"{key}={labels[key]}" for key in identity if key in labels)
        found = self.client.list_namespaced_pod(
            namespace=pod_request_obj.metadata.namespace,
            label_selector=f"{selector},{self.POD_CHECKED_KEY}!=True",
        ).items
        if alive := [pod for pod in found if not pod.metadata.deletion_timestamp]:
            pod = min(alive, key=lambda candidate: candidate.metadata.creation_timestamp)
            self.log.info(
                "Pod %s of an earlier try is there (%s); it is used.", pod.metadata.name, pod.status.phase
            )
            return pod
        self.pod_manager.create_pod(pod=pod_request_obj)
        self.log.info("Created pod %s.", pod_request_obj.metadata.name)
        return pod_request_obj

    def invoke_defer_method(self, last_log_time: Any = None, context: Context | None = None) -> None:
        """Defer, with the link to the pod in place while the task waits."""
        if context is not None and self.pod is not None:
            template = settings.text("pod_url_template")
            url = template.replace("{namespace}", self.pod.metadata.namespace).replace(
                "{name}", self.pod.metadata.name
            )
            context["ti"].xcom_push(key=POD_URL_KEY, value=url)
        super().invoke_defer_method(last_log_time=last_log_time, context=context)

    def defer(self, *, trigger: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Defer to our trigger in place of the stock one."""
        if type(trigger) is not KubernetesPodTrigger:
            raise TypeError(f"Expected KubernetesPodTrigger to replace, not {type(trigger).__name__}")
        super().defer(trigger=AgentPodTrigger(**trigger.serialize()[1]), **kwargs)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Take over from the trigger: stop what still runs, read the result, delete the pod."""
        with leaving_reason(context):
            return self._harvest(event, context)

    def _harvest(self, event: dict[str, Any], context: Context) -> Any:
        try:
            pod = self.hook.get_pod(event["name"], event["namespace"])
        except ApiException as error:
            if error.status != 404:
                raise
            name = f"{event['namespace']}/{event['name']}"
            raise StepInfrastructureError(f"Pod {name} was deleted before its result was read.") from None
        self.pod = pod
        if event["status"] == "error" and not base_ended(pod.to_dict()):
            self._defer_again(event, context)
        pod = self._settle(pod)
        self._write_log(pod, event.get("last_log_time"))
        self.cleanup(pod=pod, remote_pod=pod, context=context)
        return self._values

    def await_pod_completion(self, pod: k8s.V1Pod) -> None:  # type: ignore[override]
        """Wait in the worker (``deferrable=False``), logging as the trigger does."""
        last: str | None = None
        while True:
            remote = self.hook.get_pod(pod.metadata.name, pod.metadata.namespace)
            last = self._write_log(remote, last)
            if is_terminal(remote.to_dict()):
                return
            time.sleep(self.poll_interval)

    def cleanup(
        self,
        pod: k8s.V1Pod,
        remote_pod: k8s.V1Pod,
        xcom_result: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        """Read the result, store it, delete the pod, then publish: raise what the result is, if an error."""
        if self._killed or not remote_pod or context is None:
            return
        # The stock synchronous path hands over the pod as it was when it was found, and comes here with a
        # pod that still runs when the task's time is over.
        remote_pod = self.hook.get_pod(remote_pod.metadata.name, remote_pod.metadata.namespace)
        if not self.deferrable:
            remote_pod = self._settle(remote_pod)
        spec = StepSpec.from_json(remote_pod.metadata.annotations[SPEC_ANNOTATION])
        outcome = read_outcome(
            remote_pod.to_dict(),
            self._result_lines(remote_pod),
            spec,
            forge_head=(lambda: self._head(spec)) if self.must_push else None,
        )
        if outcome.finished:
            self._store(outcome, spec, context)
        if not base_started(remote_pod.to_dict()):
            self._show_gateway_log(remote_pod)
        if not self.process_pod_deletion(remote_pod, reraise=False):
            self.patch_already_checked(remote_pod, reraise=False)
        self._publish(outcome, context)

    # What outlives a try

    def _stored(self, spec: StepSpec, context: Context) -> StepOutcome | None:
        record = recall(context, self._state_key(context))
        if isinstance(record, dict) and record.get("spec") == spec.fingerprint():
            return StepOutcome.from_dict(record["outcome"])
        return None

    def _store(self, outcome: StepOutcome, spec: StepSpec, context: Context) -> None:
        record = {"spec": spec.fingerprint(), "outcome": outcome.to_dict()}
        remember(context, self._state_key(context), record)

    def _state_key(self, context: Context) -> str:
        return f"step_{generation(self, context)}"

    def _publish(self, outcome: StepOutcome, context: Context) -> dict[str, Any]:
        """Push the outcome as XCom ``return_value``; raise the error that it is, if any."""
        self._values = outcome.to_dict()
        context["ti"].xcom_push(key="return_value", value=self._values)
        self.log.info("%s", outcome.summary(self.step))
        if error := outcome.error(no_changes_fails=self.no_changes_fails):
            raise error
        return self._values

    # Helpers

    def _labels(self, task: CodingTask, spec: StepSpec, context: Context) -> dict[str, str]:
        values = {
            "installation": settings.text("installation", "default"),
            "run": context["ti"].run_id,
            "ticket": str(task.ticket.number) if task.ticket else task.name,
            "step": self.step,
            "generation": str(generation(self, context)),
            "spec": spec.fingerprint()[:16],
        }
        return {_label(name): make_safe_label_value(value) for name, value in values.items()}

    def _head(self, spec: StepSpec) -> str | None:
        return self._github().run(lambda client: client.branch_head(spec.repository, spec.work_branch))

    def _github(self) -> AgentsGitHubHook:
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        return AgentsGitHubHook(self.github_conn_id)

    def _defer_again(self, event: dict[str, Any], context: Context) -> None:
        """Go back to waiting: the trigger gave up, the pod did not. Bounded."""
        count = int(event.get("_redefer_count", 0))
        if count < _MAX_REDEFERRALS:
            self.log.warning("The trigger lost the pod (%s); waiting on.", event["message"])
            self.trigger_kwargs = {**(self.trigger_kwargs or {}), "_redefer_count": count + 1}
            self.invoke_defer_method(last_log_time=event.get("last_log_time"), context=context)

    def _settle(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        """Return the pod at its end, so that both containers' messages are there.

        A pod that still runs is stopped in place, by a deadline of one second: deleting it would lose
        what it has to say. One that never started is left as it is.
        """
        name, namespace = pod.metadata.name, pod.metadata.namespace
        if not base_started(pod.to_dict()):
            return pod
        if not base_ended(pod.to_dict()):
            self.log.info("Stopping pod %s.", name)
            self.client.patch_namespaced_pod(name, namespace, {"spec": {"activeDeadlineSeconds": 1}})
        give_up = time.monotonic() + (pod.spec.termination_grace_period_seconds or 30) + 30
        while not is_terminal(pod.to_dict()) and time.monotonic() < give_up:
            time.sleep(1)
            pod = self.hook.get_pod(name, namespace)
        return pod

    def _result_lines(self, pod: k8s.V1Pod) -> list[str]:
        return [line for line in self._read_log(pod, tail_lines=_LOG_TAIL_LINES) if RESULT_MARKER in line]

    def _write_log(self, pod: k8s.V1Pod, last: str | None) -> str | None:
        """Write the lines newer than the time stamp ``last``; return the stamp of the last one written."""
        if self.get_logs and base_started(pod.to_dict()):
            lines = self._read_log(pod, timestamps=True, since_seconds=seconds_since(last))
            for stamp, line in new_lines(lines, last):
                last = stamp
                if RESULT_MARKER not in line:
                    self.log.info("%s", line)
        return last

    def _show_gateway_log(self, pod: k8s.V1Pod) -> None:
        """Show why the agent's container did not start, while there still is a pod to ask."""
        for line in self._read_log(pod, container=GATEWAY_CONTAINER, tail_lines=20):
            self.log.warning("gateway: %s", line)

    def _read_log(self, pod: k8s.V1Pod, **options: Any) -> list[str]:
        try:
            answer = self.client.read_namespaced_pod_log(
                name=pod.metadata.name,
                namespace=pod.metadata.namespace,
                _preload_content=False,
                _request_timeout=60,
                **{
                    "container": self.base_container_name,
                    **{name: value for name, value in options.items() if value is not None},
                },
            )
        except ApiException as error:
            self.log.warning("The log of pod %s cannot be read: %s", pod.metadata.name, error.reason)
            return []
        # Not splitlines(): that also splits at characters which programs print inside of a line.
        return str(answer.data.decode(errors="replace")).split("\n")


def _label(name: str) -> str:
    return f"{LABEL_PREFIX}{name}"
