"""Reads what a step's pod left: logs, and the pod itself at its end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from kubernetes.client.exceptions import ApiException

from agent_runner.contract import RESULT_MARKER, failure
from airflow_provider_agents.domain.pod_status import (
    BASE_CONTAINER,
    GATEWAY_CONTAINER,
    base_ended,
    base_started,
    is_terminal,
)
from airflow_provider_agents.exceptions import StepError
from airflow_provider_agents.triggers.agent_pod import new_lines, seconds_since

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

_LOG_TAIL_LINES = 200
"""Of the runtime's 16 KiB chunks, not of ours: enough for the whole result line."""
_CALL_SECONDS = 60


class PodReader:
    """Reads pods of one cluster, in a worker.

    :param client: of the cluster.
    :param get_pod: returns a pod by name and namespace, as it is now.
    :param log: where the pod's lines go.
    """

    def __init__(self, client: CoreV1Api, get_pod: Callable[[str, str], k8s.V1Pod], log: Any) -> None:
        self._client = client
        self._get_pod = get_pod
        self._log = log

    def settle(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        """Return the pod at its end, so that both containers' messages are there.

        A pod that still runs is stopped in place, by a deadline of one second: deleting it would lose
        what it has to say. One that never started is left as it is.
        """
        name, namespace = pod.metadata.name, pod.metadata.namespace
        if not base_started(pod.to_dict()):
            return pod
        if not base_ended(pod.to_dict()):
            self._log.info("Stopping pod %s.", name)
            self._client.patch_namespaced_pod(name, namespace, {"spec": {"activeDeadlineSeconds": 1}})
        give_up = time.monotonic() + (pod.spec.termination_grace_period_seconds or 30) + 30
        while not is_terminal(pod.to_dict()) and time.monotonic() < give_up:
            time.sleep(1)
            pod = self._get_pod(name, namespace)
        return pod

    def wait_until_gone(self, pods: Sequence[k8s.V1Pod]) -> None:
        """Wait for pods that are being deleted: their agents may still be at work.

        :raises StepInfrastructureError: one is still there after its grace and some more.
        """
        for pod in pods:
            name, namespace = pod.metadata.name, pod.metadata.namespace
            self._log.info("Waiting until pod %s of an earlier try has ended.", name)
            give_up = time.monotonic() + (pod.metadata.deletion_grace_period_seconds or 30) + 60
            while not self.is_gone(name, namespace):
                if time.monotonic() >= give_up:
                    text = f"Pod {namespace}/{name} of an earlier try was deleted, and has not ended."
                    raise StepError.of(failure("not_ended", text))
                time.sleep(2)

    def is_gone(self, name: str, namespace: str) -> bool:
        """Say whether a pod is not there, or has ended."""
        try:
            return is_terminal(self._get_pod(name, namespace).to_dict())
        except ApiException as error:
            if error.status != 404:
                raise
            return True

    def result_lines(self, pod: k8s.V1Pod) -> list[str]:
        """Return the lines of the agent's container that may hold the whole result."""
        return [line for line in self.read_log(pod, tail_lines=_LOG_TAIL_LINES) if RESULT_MARKER in line]

    def show_new_lines(self, pod: k8s.V1Pod, last: str | None) -> str | None:
        """Log the lines newer than the time stamp ``last``; return the stamp of the last one."""
        if base_started(pod.to_dict()):
            lines = self.read_log(pod, timestamps=True, since_seconds=seconds_since(last))
            for stamp, line in new_lines(lines, last):
                last = stamp
                if RESULT_MARKER not in line:
                    self._log.info("%s", line)
        return last

    def show_gateway_log(self, pod: k8s.V1Pod) -> None:
        """Log why the agent's container did not start, while there still is a pod to ask."""
        for line in self.read_log(pod, container=GATEWAY_CONTAINER, tail_lines=20):
            self._log.warning("gateway: %s", line)

    def read_log(self, pod: k8s.V1Pod, *, container: str = BASE_CONTAINER, **options: Any) -> list[str]:
        """Return lines of a container's log; none where it cannot be read, which is logged."""
        try:
            answer = self._client.read_namespaced_pod_log(
                name=pod.metadata.name,
                namespace=pod.metadata.namespace,
                container=container,
                _preload_content=False,
                _request_timeout=_CALL_SECONDS,
                **{name: value for name, value in options.items() if value is not None},
            )
        except ApiException as error:
            self._log.warning("The log of pod %s cannot be read: %s", pod.metadata.name, error.reason)
            return []
        # Not splitlines(): that also splits at characters which programs print inside of a line.
        return str(answer.data.decode(errors="replace")).split("\n")
