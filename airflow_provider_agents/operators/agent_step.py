"""Runs one step of an agent in a pod: the base of all step operators.

Retries are for infrastructure only, and a retry never pays twice: what a step finished is stored before
its pod goes, and a pod that outlived its worker is found again and harvested. A *clear* runs the step
again; the generation below tells the two apart.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from kubernetes.client.exceptions import ApiException

from agent_runner.contract import AgentSettings, Budget, Limits, Step, StepSpec, failure
from airflow_provider_agents import settings
from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.outbound import outbound_title
from airflow_provider_agents.domain.pod_status import base_ended, base_started, is_terminal, never_ran
from airflow_provider_agents.domain.workspace import Workspace
from airflow_provider_agents.exceptions import InvalidInputError, StepError
from airflow_provider_agents.links import POD_URL_KEY, AgentPodLink
from airflow_provider_agents.operators import kept_pods
from airflow_provider_agents.operators.agent_settings import agent_settings, mcp_servers_of
from airflow_provider_agents.operators.cache_claim import usable_cache
from airflow_provider_agents.operators.earlier_steps import EarlierSteps
from airflow_provider_agents.operators.failure_reason import leaving_reason
from airflow_provider_agents.operators.gateway_settings import gateway_config
from airflow_provider_agents.operators.pod_parts import (
    SPEC_ANNOTATION,
    PodParts,
    memory_of,
    pod_labels,
)
from airflow_provider_agents.operators.pod_reader import PodReader
from airflow_provider_agents.operators.pod_start import earlier_pods, make_way
from airflow_provider_agents.operators.restarts import Restarts
from airflow_provider_agents.operators.step_books import StepBooks
from airflow_provider_agents.operators.step_defaults import fill_in
from airflow_provider_agents.operators.step_outcome import StepOutcome, read_outcome
from airflow_provider_agents.operators.stored_outcome import StoredOutcome
from airflow_provider_agents.operators.task_state import generation
from airflow_provider_agents.operators.ticket_images import image_access, image_names
from airflow_provider_agents.prompts import render
from airflow_provider_agents.triggers.agent_pod import AgentPodTrigger, event_failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context
    from airflow.sdk.bases.operatorlink import BaseOperatorLink
    from kubernetes.client import models as k8s

    from agent_runner.contract import Failure, StepResult
    from airflow_provider_agents.hooks.github import AgentsGitHubHook
    from airflow_provider_agents.operators.step_credentials import StepCredentials

DEFAULT_IMAGE = "airflow-agents/agent:latest"

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
    :param agent: agent program: ``claude``, ``codex``, or one that the image adds; empty: ``[agents] agent``.
    :param budget_usd: most that the step may spend on model calls, over all its tries, in USD; empty: no
        limit. A ``coding_task`` brings its own, for all steps of the run together.
    :param budget_tokens: the same in tokens; empty: no limit.
    :param read_repositories: further repositories, as ``owner/name``, that the agent may fetch.
    :param workspace: what a :class:`~.workspace.PrepareWorkspaceOperator` returned: the claim that keeps
        checkout, session and ledgers; none: they end with the pod. (templated)
    :param earlier_steps: task ids of the agent steps before this one: it goes on with their session.
    :param run_steps: task ids of all agent steps of the run, which share its budget.
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
    uses_model: ClassVar[bool] = True

    template_fields: Sequence[str] = (
        *KubernetesPodOperator.template_fields,
        "coding_task",
        "repository",
        "prompt",
        "base_branch",
        "work_branch",
        "model",
        "github_conn_id",
        "workspace",
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
        agent: str | None = None,
        budget_usd: float | None = None,
        budget_tokens: int | None = None,
        read_repositories: Sequence[str] = (),
        workspace: Any = None,
        earlier_steps: Sequence[str] = (),
        run_steps: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        if "base_container_name" in kwargs:
            raise TypeError("base_container_name: the agent's container is always named base")
        fill_in(kwargs, self.step, step_timeout)
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
        self.agent = agent
        self.budget_usd = budget_usd
        self.budget_tokens = budget_tokens
        self.read_repositories = list(read_repositories)
        self.workspace = workspace
        self.earlier_steps = list(earlier_steps)
        self.run_steps = list(run_steps)
        self._task: CodingTask | None = None
        self._spec: StepSpec | None = None
        self._books: StepBooks | None = None
        self._credentials: StepCredentials | None = None
        self._budget = Budget()
        self._values: dict[str, Any] | None = None
        self._seen: Failure | None = None

    # What a step decides

    def build_prompt(self, task: CodingTask, context: Context) -> str:
        """Return the first message to an agent that knows nothing of the task yet."""
        raise NotImplementedError

    def build_resume_prompt(self, task: CodingTask, context: Context) -> str:
        """Return what is said instead to an agent whose session goes on: only what is new."""
        return ""

    def step_settings(
        self,
        task: CodingTask,
        *,
        model: str | None = None,
        turns: int | None = None,
        effort: str | None = None,
    ) -> AgentSettings:
        """Return program, model, effort and turns of this step.

        :param model: that the run asks for at this step.
        :param turns: that the run allows this step.
        :param effort: that the run asks for at this step; ``None``: that of all steps.
        """
        return agent_settings(
            task,
            self.step,
            model=self.model or model,
            effort=self.effort or effort,
            turns=self.max_turns or turns,
        )

    def must_have_changed(self, result: StepResult) -> bool:
        """Say whether a step that changed nothing has failed."""
        return False

    def earlier(self, context: Context) -> EarlierSteps:
        """Return what the run's earlier agent steps left."""
        return EarlierSteps(context, self.earlier_steps)

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
            resume_prompt=self.build_resume_prompt(task, context),
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
            limits=Limits(
                seconds=max(1, int(timeout.total_seconds())),
                stall_seconds=max(1, int(request.stall_timeout * 60)),
            ),
            session_key=self.earlier(context).session_key(self) if self.uses_model else None,
            test_command=request.test_command,
            output_schema=self.output_schema,
            run_setup=request.run_setup,
            submodules=request.submodules,
            lfs=request.lfs,
            commit_message=outbound_title(task.title, task.name) if self.must_push else None,
            images=image_names(task, self.step),
        )

    def resolve_task(self, context: Context) -> CodingTask:
        """Return the task that this step works on: the accepted one, or one made of the arguments."""
        if self.coding_task:
            task = CodingTask.model_validate(self.coding_task)
            return task if self.agent is None else task.with_request(agent=self.agent)
        values = {
            "repository": self.repository,
            "prompt": self.prompt or ("Run the tests." if self.step == "test" else None),
            "base_branch": self.base_branch,
            "work_branch": self.work_branch,
            "agent": self.agent,
            "budget_usd": self.budget_usd,
            "budget_tokens": self.budget_tokens,
            "read_repositories": self.read_repositories,
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
        self._books = self._open_books(context)
        spec = self.build_spec(self._task, context)
        if (stored := StoredOutcome(self, context).get(spec)) is not None:
            self.log.info("An earlier try finished this step; its stored result is used.")
            return self._publish(stored, context)
        self._budget = self._remaining_budget(self._task, context)
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
        from airflow_provider_agents.operators.pod_template import template_for

        with template_for(self) as template:
            pod = super().build_pod_request_obj(context, dry_run=dry_run)
        if context is None or self._task is None or self._spec is None:
            return pod
        request = self._task.request
        credentials = self._credentials_of(pod)
        urls = self._github().get_conn().urls
        forge_url = urls.git_url
        restarts = Restarts(self, context)
        parts = PodParts(
            spec=self._spec,
            gateway=gateway_config(
                self._spec,
                budget=self._budget,
                forge_url=forge_url,
                push=self.must_push,
                read_repositories=request.read_repositories or (),
                secret_name=credentials.installation_secret or credentials.secret_name or "-",
                protected_paths=self._task.platform.protected_paths,
                images=image_access(self._task, self.step, urls),
                mcp_servers=credentials.mcp_servers,
            ),
            credentials=credentials.volume(),
            claim=workspace.claim if (workspace := self._workspace) else None,
            cache=usable_cache(self.client, pod.metadata.namespace, forge_url, request.repository)
            if restarts.uses_cache
            else None,
            image=self.image or self._task.image(settings.text("image", DEFAULT_IMAGE)),
            cpu=self.cpu or request.cpu,
            memory=restarts.memory(self.memory or request.memory),
            service_account=settings.text("service_account", "agent-runner"),
            labels=pod_labels(
                self._spec,
                run=context["ti"].run_id,
                ticket=str(self._task.ticket.number) if self._task.ticket else self._task.name,
                generation=generation(self, context),
            ),
        )
        parts.add_to(pod)
        return template.complete(pod) if template is not None else pod

    def get_or_create_pod(self, pod_request_obj: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """Return the pod of this step and generation, whatever became of it; create it if there is none."""
        pod, dying = earlier_pods(self.client, pod_request_obj, read_label=self.POD_CHECKED_KEY)
        if pod is not None:
            self._credentials = self._credentials_of(pod).of_pod(pod.metadata.name)
            self.log.info(
                "Pod %s of an earlier try is there (%s); it is used.", pod.metadata.name, pod.status.phase
            )
            return pod
        make_way(self.client, self._reader, self._workspace, dying)
        if self._task is not None and self._spec is not None and self.uses_model:
            self._open_books(context).reserve_for(
                pod_request_obj.metadata.name,
                self._task.name,
                self._spec,
                self._budget,
                ledgers_kept=self._workspace is not None,
            )
        return self._create(pod_request_obj, context)

    def find_pod(self, namespace: str, context: Context, *, exclude_checked: bool = True) -> k8s.V1Pod | None:
        """Return the step's own pod. The stock search also finds one that another generation left unread."""
        return self.hook.get_pod(self.pod.metadata.name, namespace) if self.pod else None

    def _create(self, pod: k8s.V1Pod, context: Context) -> k8s.V1Pod:
        """Create the secret that the pod owns, if any, and the pod."""
        credentials = self._credentials_of(pod).create_secret(self.client, pod.metadata.labels)
        self._credentials = credentials
        self.pod = pod  # for a kill that comes as soon as the pod is there
        try:
            self.pod_manager.create_pod(pod=pod)
        except Exception:
            if self._reader.is_gone(pod.metadata.name, pod.metadata.namespace):
                credentials.delete_secret(self.client)
                self._open_books(context).drop(pod.metadata.name)
            raise
        credentials.adopt(self.client)
        self.log.info("Created pod %s.", pod.metadata.name)
        return pod

    def _credentials_of(self, pod: k8s.V1Pod) -> StepCredentials:
        from airflow_provider_agents.operators.step_credentials import resolve

        if self._task is None:
            raise RuntimeError("the task is not known")
        request = self._task.request
        return resolve(
            self.step,
            request.repository,
            pod_name=pod.metadata.name,
            namespace=pod.metadata.namespace,
            program=self.step_settings(self._task).program,
            read_repositories=request.read_repositories or (),
            github_conn_id=self.github_conn_id,
            kubernetes_conn_id=self.kubernetes_conn_id,
            secret=self.secret or settings.text("secret", "agent-secrets"),
            mcp_servers=mcp_servers_of(self._task, self.step),
        )

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
        renewal = self._credentials.renewal if self._credentials is not None else None
        super().defer(
            trigger=AgentPodTrigger(
                **trigger.serialize()[1], renewal=renewal.to_dict() if renewal is not None else None
            ),
            **kwargs,
        )

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> Any:
        """Take over from the trigger: stop what still runs, read the result, delete the pod."""
        with leaving_reason(context):
            return self._harvest(event, context)

    def _harvest(self, event: dict[str, Any], context: Context) -> Any:
        name, namespace = event["name"], event["namespace"]
        try:
            pod = self.hook.get_pod(name, namespace)
        except ApiException as error:
            if error.status != 404:
                raise
            gone = failure("pod_gone", f"Pod {namespace}/{name} was deleted before its result was read.")
            raise self._error(event_failure(event) or gone, None, context) from None
        self.pod = pod
        self._seen = event_failure(event)
        if event["status"] == "error" and not base_ended(pod.to_dict()):
            self._task = self.resolve_task(context)
            self._credentials = self._credentials_of(pod).of_pod(pod.metadata.name)
            self._defer_again(event, context)
        pod = self._reader.settle(pod)
        if self.get_logs:
            self._reader.show_new_lines(pod, event.get("last_log_time"))
        self.cleanup(pod=pod, remote_pod=pod, context=context)
        return self._values

    def await_pod_completion(self, pod: k8s.V1Pod) -> None:  # type: ignore[override]
        """Wait in the worker (``deferrable=False``), logging as the trigger does."""
        from airflow_provider_agents.triggers.credential_renewal import CredentialRenewal

        last: str | None = None
        renewal = self._credentials.renewal if self._credentials is not None else None
        renewing = CredentialRenewal(renewal.to_dict()) if renewal is not None else None
        while True:
            remote = self.hook.get_pod(pod.metadata.name, pod.metadata.namespace)
            if self.get_logs:
                last = self._reader.show_new_lines(remote, last)
            if is_terminal(remote.to_dict()):
                return
            if renewing is not None:
                asyncio.run(renewing.tick())
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
            remote_pod = self._reader.settle(remote_pod)
        spec = StepSpec.from_json(remote_pod.metadata.annotations[SPEC_ANNOTATION])
        outcome = read_outcome(
            remote_pod.to_dict(),
            self._reader.result_lines(remote_pod),
            spec,
            forge_head=(lambda: self._head(spec)) if self.must_push else None,
            seen=self._seen,
        )
        if never_ran(remote_pod.to_dict()):
            self._open_books(context).drop(remote_pod.metadata.name)
        else:
            self._open_books(context).settle(remote_pod.metadata.name, outcome.ledger)
        if outcome.finished:
            StoredOutcome(self, context).put(outcome, spec)
        if not base_started(remote_pod.to_dict()):
            self._reader.show_gateway_log(remote_pod)
        deleted = self.process_pod_deletion(remote_pod, reraise=False)
        if not deleted and is_terminal(remote_pod.to_dict()):  # one that lives has to be found again
            self.patch_already_checked(remote_pod, reraise=False)
            kept_pods.drop_credentials(self.client, remote_pod)
        self._publish(outcome, context, memory=memory_of(remote_pod))

    def process_pod_deletion(self, pod: k8s.V1Pod, *, reraise: bool = True) -> bool:
        """Delete the pod, or keep it as ``on_finish_action`` says; return whether it was deleted.

        Only a pod that has ended is ever kept: another one might start, or go on, when the step is over.
        """
        if pod is not None and not is_terminal(pod.to_dict()):
            try:
                self.pod_manager.delete_pod(pod)
            except Exception:
                if reraise:
                    raise
                self.log.warning("Pod %s cannot be deleted.", pod.metadata.name, exc_info=True)
                return False
            return True
        return bool(super().process_pod_deletion(pod, reraise=reraise))

    # How it ends

    def _publish(self, outcome: StepOutcome, context: Context, memory: str | None = None) -> dict[str, Any]:
        """Push the outcome as XCom ``return_value``; raise the error that it is, if any."""
        self._values = outcome.to_dict()
        context["ti"].xcom_push(key="return_value", value=self._values)
        self.log.info("%s", outcome.summary(self.step))
        if fault := outcome.fault(no_changes_fails=self.must_have_changed(outcome.result)):
            raise self._error(fault, outcome.result, context, memory)
        return self._values

    def _error(
        self, fault: Failure, result: StepResult | None, context: Context, memory: str | None = None
    ) -> StepError:
        """Return the exception that the task ends with; what is said last in its log."""
        return StepError.of(Restarts(self, context).judge(fault, memory or "8Gi"), result)

    # Helpers

    def _head(self, spec: StepSpec) -> str | None:
        return self._github().run(lambda client: client.branch_head(spec.repository, spec.work_branch))

    def _github(self) -> AgentsGitHubHook:
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        repository = self._task.request.repository if self._task else None
        return AgentsGitHubHook(self.github_conn_id, repository=repository)

    def _defer_again(self, event: dict[str, Any], context: Context) -> None:
        """Go back to waiting: the trigger gave up, the pod did not. Bounded."""
        count = int(event.get("_redefer_count", 0))
        if count < _MAX_REDEFERRALS:
            self.log.warning("The trigger lost the pod (%s); waiting on.", event["message"])
            self.trigger_kwargs = {**(self.trigger_kwargs or {}), "_redefer_count": count + 1}
            self.invoke_defer_method(last_log_time=event.get("last_log_time"), context=context)

    @property
    def _reader(self) -> PodReader:
        return PodReader(self.client, self.hook.get_pod, self.log)

    @property
    def _workspace(self) -> Workspace | None:
        """The run's claim, where it has one."""
        return Workspace.from_dict(self.workspace) if isinstance(self.workspace, Mapping) else None

    def _open_books(self, context: Context) -> StepBooks:
        if self._books is None:
            self._books = StepBooks(context, self.run_steps)
        return self._books

    def _remaining_budget(self, task: CodingTask, context: Context) -> Budget:
        """Return what the next pod may spend. Tests have no model; a step on its own has the limits it is given."""
        if not self.uses_model:
            return Budget(usd=0.0, tokens=0)
        limit = task.request.budget_usd
        if limit is None and self.coding_task:
            limit = settings.amount("budget_usd", 20.0) or None
        return self._open_books(context).budget(limit, task.request.budget_tokens)
