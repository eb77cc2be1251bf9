"""Keeps the cache claim below its sizes: a pod with the whole claim, and nothing else, sweeps it."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.sdk.exceptions import AirflowSkipException
from kubernetes.client import models as k8s
from kubernetes.client.exceptions import ApiException

from agent_runner import contract
from airflow_provider_agents import settings
from airflow_provider_agents.domain import quantity
from airflow_provider_agents.domain.cache import CACHE_VOLUME
from airflow_provider_agents.domain.image_preset import PLACEHOLDER
from airflow_provider_agents.domain.pod_fields import BASE_CONTAINER, base_started, termination_message
from airflow_provider_agents.domain.workspace import LABEL_INSTALLATION
from airflow_provider_agents.exceptions import InvalidInputError, StepInfrastructureError
from airflow_provider_agents.operators.pod_parts import START_SECONDS, container_security, pod_security
from airflow_provider_agents.operators.step_secrets import KIND_LABEL
from airflow_provider_agents.operators.sweep import given_number, is_dry_run
from airflow_provider_agents.operators.workspace_claim import find_claim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

KIND = "cache-sweep"

SWEEP_SECONDS = 1800
"""What a sweep may take once its container runs."""
MOST_FAULTS = 50

_CACHE, _TMP, _TERMINATION_LOG = "/agent/cache", "/tmp", "/dev/termination-log"
_A_FAULT = ("image", "config", "auth")
"""Categories of a pod that never starts which do not pass by waiting for the claim."""


class SweepCacheOperator(KubernetesPodOperator):
    """Evict what nobody uses any more from the cache claim, and report what it holds.

    Runs ``agent-runner sweep-cache`` in a pod that mounts the whole claim, has no credential and no gateway,
    and takes the locks of the running steps. Deferrable. Skipped, with the reason, where there is no cache
    claim, or where the pod cannot have it in time, as with a ``ReadWriteOnce`` claim that steps use on another
    node: the next run tries again.

    :param report_only: a dry run: say what would go, and remove nothing. (templated: a text that reads ``true``)
    :param max_size: of everything, e.g. ``50Gi``; empty: ``[agents] cache_max_size``. (templated)
    :param repository_max_size: of the package caches of a repository; empty: ``[agents]
        cache_repository_max_size``. (templated)
    :param unused_days: what no step has used for so long goes; empty: ``[agents] cache_unused_days``. (templated)
    :param claim: name of the cache claim; empty: ``[agents] cache_claim``.
    :return: ``{"dry_run", "bytes_before", "bytes_after", "freed", "entries", "faults"}``, as
        ``agent-runner sweep-cache`` reports it.
    :raises InvalidInputError: a size or a number is none.
    :raises StepInfrastructureError: the pod ended without a report, or could not start for a fault of its own.
    """

    template_fields: Sequence[str] = (
        *KubernetesPodOperator.template_fields,
        "report_only",
        "max_size",
        "repository_max_size",
        "unused_days",
    )
    ui_color = "#eeeeee"

    def __init__(
        self,
        *,
        report_only: bool | str = False,
        max_size: str | None = None,
        repository_max_size: str | None = None,
        unused_days: float | str | None = None,
        claim: str | None = None,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("name", "agent-cache-sweep")
        kwargs.setdefault("namespace", settings.text("namespace", "agent-system"))
        kwargs.setdefault("kubernetes_conn_id", settings.text("kubernetes_conn_id", "kubernetes_default"))
        kwargs.setdefault("deferrable", True)
        kwargs.setdefault("startup_timeout_seconds", START_SECONDS)
        kwargs.setdefault("log_events_on_startup", False)
        kwargs.setdefault("logging_interval", 5)
        kwargs.setdefault("on_finish_action", "delete_pod")
        kwargs.setdefault("retries", 1)
        kwargs.setdefault("retry_delay", timedelta(seconds=60))
        kwargs.setdefault("execution_timeout", timedelta(seconds=2 * START_SECONDS + SWEEP_SECONDS))
        super().__init__(**kwargs)
        self.report_only = report_only
        self.max_size = max_size
        self.repository_max_size = repository_max_size
        self.unused_days = unused_days
        self.claim = claim

    def execute(self, context: Context) -> Any:
        claim = self._claim()
        if not claim:
            raise AirflowSkipException("There is no cache: [agents] cache_claim is empty.")
        namespace = str(self.namespace)
        found = find_claim(self.client, namespace, claim)
        if found is None or found.metadata.deletion_timestamp:
            raise AirflowSkipException(
                f"There is no claim {claim} ([agents] cache_claim) in namespace {namespace}, or it is being "
                "deleted. Make it, or empty the option."
            )
        self.arguments = self._arguments()
        return super().execute(context)

    def build_pod_request_obj(self, context: Context | None = None, *, dry_run: bool = False) -> k8s.V1Pod:
        """Return the pod: that of the installation's template, with the claim and without anything else."""
        from airflow_provider_agents.operators.pod_template import template_for

        with template_for(self):
            pod = super().build_pod_request_obj(context, dry_run=dry_run)
        return self._complete(pod)

    def defer(self, *, trigger: Any, **kwargs: Any) -> None:  # type: ignore[override]
        """Defer to our trigger in place of the stock one."""
        from airflow_provider_agents.triggers.agent_pod import AgentPodTrigger

        if type(trigger) is not KubernetesPodTrigger:
            raise TypeError(f"Expected KubernetesPodTrigger to replace, not {type(trigger).__name__}")
        super().defer(trigger=AgentPodTrigger(**trigger.serialize()[1]), **kwargs)

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Take over from the trigger: read the report, delete the pod."""
        from airflow_provider_agents.operators.pod_reader import PodReader

        name, namespace = event["name"], event["namespace"]
        try:
            pod = self.hook.get_pod(name, namespace)
        except ApiException as error:
            if error.status != 404:
                raise
            raise StepInfrastructureError(
                f"Pod {namespace}/{name} was deleted before its report was read."
            ) from None
        self.pod = pod
        reader = PodReader(self.client, self.hook.get_pod, self.log)
        pod = reader.settle(pod)
        reader.show_new_lines(pod, event.get("last_log_time"))
        message = termination_message(pod.to_dict(), BASE_CONTAINER)
        if not self.process_pod_deletion(pod, reraise=False):
            self.patch_already_checked(pod, reraise=False)
        report = _read(message)
        if report is None:
            raise self._failed(pod, event)
        return self._publish(report, context)

    def await_pod_completion(self, pod: k8s.V1Pod) -> None:  # type: ignore[override]
        raise InvalidInputError(["deferrable: the sweep of the cache is deferrable only"])

    def _claim(self) -> str:
        return self.claim or settings.text("cache_claim")

    def _arguments(self) -> list[str]:
        sizes = {
            "cache_max_size": str(self.max_size or settings.text("cache_max_size", "50Gi")),
            "cache_repository_max_size": str(
                self.repository_max_size or settings.text("cache_repository_max_size", "10Gi")
            ),
        }
        if faults := [
            f"{name}: {text!r} is not a size like 50Gi" for name, text in sizes.items() if not _is_size(text)
        ]:
            raise InvalidInputError(faults)
        days = given_number("unused_days", self.unused_days)
        if days is None:
            days = settings.number("cache_unused_days", 30)
        total, repository = sizes.values()
        arguments = [
            "sweep-cache", "--max-total", total, "--max-repository", repository, "--unused-days", f"{days:g}"
        ]  # fmt: skip
        return [*arguments, "--dry-run"] if is_dry_run(self.report_only) else arguments

    def _complete(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        installation = make_safe_label_value(settings.text("installation", "default"))
        pod.metadata.labels = {
            **(pod.metadata.labels or {}),
            LABEL_INSTALLATION: installation,
            KIND_LABEL: KIND,
        }
        body: k8s.V1PodSpec = pod.spec
        body.restart_policy = "Never"
        body.service_account_name = settings.text("service_account", "agent-runner")
        body.automount_service_account_token = False
        body.enable_service_links = False
        body.active_deadline_seconds = START_SECONDS + SWEEP_SECONDS
        body.security_context = pod_security()
        source = k8s.V1PersistentVolumeClaimVolumeSource(claim_name=self._claim())
        body.volumes = [
            *(body.volumes or []),
            k8s.V1Volume(name=CACHE_VOLUME, persistent_volume_claim=source),
            k8s.V1Volume(name="tmp", empty_dir=k8s.V1EmptyDirVolumeSource()),
        ]
        base = next(each for each in body.containers if each.name == BASE_CONTAINER)
        image = self.image or settings.text("image", "airflow-agents/agent:latest")
        base.image = image.replace(PLACEHOLDER, "base")
        base.command = ["agent-runner"]
        base.args = self.arguments
        base.security_context = container_security()
        base.termination_message_path = _TERMINATION_LOG
        base.resources = k8s.V1ResourceRequirements(
            requests={"cpu": "100m", "memory": "128Mi"}, limits={"cpu": "1", "memory": "512Mi"}
        )
        values = {
            contract.ENV_CACHE_ROOT: _CACHE,
            contract.ENV_TERMINATION_LOG: _TERMINATION_LOG,
            "HOME": _TMP,
            "TMPDIR": _TMP,
        }
        base.env = [
            *(base.env or []),
            *(k8s.V1EnvVar(name=name, value=text) for name, text in values.items()),
        ]
        base.volume_mounts = [
            *(base.volume_mounts or []),
            k8s.V1VolumeMount(name=CACHE_VOLUME, mount_path=_CACHE),
            k8s.V1VolumeMount(name="tmp", mount_path=_TMP),
        ]
        return pod

    def _failed(self, pod: k8s.V1Pod, event: Mapping[str, Any]) -> Exception:
        """Return the exception for a pod without a report: a skip where it only could not have the claim."""
        from airflow_provider_agents.domain.pod_status import end_failure
        from airflow_provider_agents.triggers.agent_pod import event_failure

        found = event_failure(dict(event))
        waits = not base_started(pod.to_dict()) and event["status"] == "timeout"
        if waits and (found is None or found.category not in _A_FAULT):
            return AirflowSkipException(
                f"The pod did not start in time; the claim may be in use on another node: {event['message']}"
            )
        found = found or end_failure(pod.to_dict())
        return StepInfrastructureError.of(found)

    def _publish(self, report: Mapping[str, Any], context: Context) -> dict[str, Any]:
        dry_run = is_dry_run(self.report_only)
        result = {"dry_run": dry_run, **{key: report[key] for key in _KEYS}}
        verb = "would be freed" if dry_run else "freed"
        for entry in report["entries"]:
            self.log.info("%s", json.dumps(entry, ensure_ascii=False))
        for fault in report["faults"][:MOST_FAULTS]:
            self.log.warning("%s", fault)
        self.log.info(
            "cache: %d bytes before, %d %s, %d after", report["bytes_before"], report["freed"], verb,
            report["bytes_after"],
        )  # fmt: skip
        context["ti"].xcom_push(key="return_value", value=result)
        return result


_NUMBERS = ("bytes_before", "bytes_after", "freed")
_LISTS = ("entries", "faults")
_KEYS = (*_NUMBERS, *_LISTS)


def _read(message: str | None) -> dict[str, Any] | None:
    """Read the report in a termination message; ``None`` where it is none."""
    try:
        report = json.loads(message or "")
    except ValueError:
        return None
    if not isinstance(report, dict) or report.get("version") != 1:
        return None
    numbers = all(type(report.get(key)) is int and report[key] >= 0 for key in _NUMBERS)
    lists = all(isinstance(report.get(key), list) for key in _LISTS)
    return report if numbers and lists else None


def _is_size(text: str) -> bool:
    try:
        return quantity.size(text) > 0
    except ValueError:
        return False
