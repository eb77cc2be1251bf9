"""Waits for the pod of an agent step, in the triggerer."""

from __future__ import annotations

import asyncio
import math
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.exceptions import KubernetesApiPermissionError
from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.triggers.base import TriggerEvent

from agent_runner.contract import FAILURES, RESULT_MARKER, failure
from airflow_provider_agents.domain.kubernetes_errors import api_failure
from airflow_provider_agents.domain.pod_events import PodEvent, read_events
from airflow_provider_agents.domain.pod_fields import BASE_CONTAINER, Pod
from airflow_provider_agents.domain.pod_start import start_fault, start_timeout, with_events
from airflow_provider_agents.domain.pod_status import (
    base_started,
    disruption,
    end_failure,
    gateway_lost,
    is_terminal,
    overdue,
    termination_message,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from agent_runner.contract import Failure
    from airflow_provider_agents.triggers.credential_renewal import CredentialRenewal

QUIET_SECONDS = 5.0
"""No event earlier than this: Airflow 3.3 fails a task whose trigger fires before the scheduler has seen
the deferral (apache/airflow #67287, #71580)."""

FAILED_SECONDS = 300.0
"""How long the Kubernetes API may be away before the trigger gives up: an upgrade of a control plane."""

REFUSED_SECONDS = 30.0
"""How long it may refuse the triggerer's identity: rights that are being changed, a token that is renewed."""

EVENTS_AFTER_SECONDS = 15.0
"""A pod that has not started by then is looked at more closely: its Kubernetes events are read."""
EVENTS_EVERY_SECONDS = 10.0

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")

CALL_SECONDS = 60.0
"""Bound of one call to Kubernetes, its client's own retries included."""

CLOCK_SKEW_SECONDS = 10
"""How far the clocks of a node and of Airflow may be apart without a log line being lost."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What the wait ended with."""

    status: str
    message: str
    failure: Failure | None = None

    @classmethod
    def of(cls, status: str, found: Failure) -> _Verdict:
        return cls(status, found.message, found)


class AgentPodTrigger(KubernetesPodTrigger):
    """Watch the pod of one agent step until it has ended, and log what its agent does meanwhile.

    Differs from its base in that it waits for the end of the *pod*, so that the messages of both
    containers are there; sees faults of init containers, of the container configuration and of mounts;
    survives an API server that is away; renews a credential that expires; writes every log line exactly
    once; drops the line that holds the step's result; stays quiet at first.

    Yields one event: ``{"status": "success" | "failed" | "timeout" | "error", "name", "namespace",
    "message", "code", "category", "remedy", "last_log_time"}``. ``success`` says that the pod ended as
    ``Succeeded``, not what its agent achieved. ``timeout`` says that it did not start or that the task's time
    is over, ``error`` that the trigger cannot go on. ``code``, ``category`` and ``remedy`` are those of the
    failure where it is known here, else ``None``: see :func:`event_failure`.

    :param failed_seconds: how long reading the pod may fail before the trigger gives up.
    :param renewal: how a credential of the pod is renewed, as
        :class:`~airflow_provider_agents.triggers.credential_renewal.CredentialRenewal` takes it; ``None``:
        nothing expires.
    """

    def __init__(
        self, *, failed_seconds: float = FAILED_SECONDS, renewal: dict[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.failed_seconds = failed_seconds
        self.renewal = renewal
        self._last_log_stamp: str | None = kwargs.get("last_log_time")
        self._events: tuple[PodEvent, ...] = ()
        self._events_read: float | None = -math.inf  # None: this identity may not read them
        self._failing_since: float | None = None
        self._last: Pod | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the base's arguments and our own."""
        arguments = {
            **super().serialize()[1],
            "failed_seconds": self.failed_seconds,
            "renewal": self.renewal,
        }
        return "airflow_provider_agents.triggers.agent_pod.AgentPodTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield exactly one event."""
        clock = asyncio.get_running_loop().time
        quiet_until = clock() + QUIET_SECONDS
        try:
            verdict = await self._watch()
        except Exception as error:
            self.log.exception("Watching pod %s failed", self.pod_name)
            verdict = _Verdict("error", f"{type(error).__name__}: {error}")
        await asyncio.sleep(quiet_until - clock())
        # Only now: a kill during the sleep above must still delete the pod.
        self._fired_event = True
        found = verdict.failure
        yield TriggerEvent(  # type: ignore[no-untyped-call]
            {
                **self.trigger_kwargs,
                "status": verdict.status,
                "message": verdict.message,
                "code": found.code if found else None,
                "category": found.category if found else None,
                "remedy": found.remedy if found else None,
                "name": self.pod_name,
                "namespace": self.pod_namespace,
                "last_log_time": self._last_log_stamp,
            }
        )

    async def _watch(self) -> _Verdict:
        execution_deadline = self.trigger_kwargs.get("_execution_deadline", math.inf)
        renewal = self._make_renewal()
        said_waiting = False
        while True:
            try:
                pod = self._last = await self._read_pod()
                self._failing_since = None
            except Exception as error:
                if verdict := self._after_failed_read(error):
                    return verdict
                pod = None
            if pod is not None:
                if verdict := await self._judge(pod):
                    return verdict
                if not said_waiting and not base_started(pod):
                    self.log.info("Waiting for pod %s to start.", self.pod_name)
                    said_waiting = True
            if time.time() >= execution_deadline:
                return _Verdict.of("timeout", _out_of_time())
            if renewal is not None:
                await self._renew(renewal)
            await asyncio.sleep(self.poll_interval)

    async def _judge(self, pod: Pod) -> _Verdict | None:
        """Say how the wait ends with this state of the pod; ``None``: it goes on."""
        started = base_started(pod)
        if started and self.get_logs:
            await self._log_new_lines()
        if is_terminal(pod):
            return _ended(pod)
        if started:
            lost = gateway_lost(pod) or overdue(pod, datetime.now(tz=UTC))
            return _Verdict.of("failed", lost) if lost else None
        late = time.time() > self.trigger_start_time.timestamp() + self.startup_timeout
        await self._read_events(pod)
        if fault := start_fault(pod, self._events):
            await self._read_events(pod, now=True)
            return _Verdict.of("timeout", with_events(fault, self._events))
        if late:
            await self._read_events(pod, now=True)
            fault = start_timeout(pod, self._events, self.startup_timeout)
            return _Verdict.of("timeout", with_events(fault, self._events))
        return None

    async def _read_pod(self) -> Pod:
        async with asyncio.timeout(CALL_SECONDS):
            pod = await self.hook.get_pod(name=self.pod_name, namespace=self.pod_namespace)
        return pod.to_dict()  # type: ignore[no-any-return]

    def _after_failed_read(self, error: Exception) -> _Verdict | None:
        """Say how the wait ends after reading the pod failed; ``None``: it is tried again."""
        place = f"{self.pod_namespace}/{self.pod_name}"
        status = 403 if isinstance(error, KubernetesApiPermissionError) else getattr(error, "status", None)
        if status == 404:
            # A pod that is preempted or drained is gone soon after it was marked.
            why = self._last and disruption(self._last)
            return _Verdict.of("error", why or failure("pod_gone", f"Pod {place} does not exist any more."))
        now = asyncio.get_running_loop().time()
        if self._failing_since is None:
            self._failing_since = now
        seconds = now - self._failing_since
        why = api_failure(f"reading pod {place}", status, getattr(error, "body", None) or _words(error))
        if seconds >= (REFUSED_SECONDS if why.code == "kubernetes_refused" else self.failed_seconds):
            return _Verdict.of("error", why)
        self.log.warning("Reading pod %s fails since %.0f s: %s", self.pod_name, seconds, why.message)
        return None

    async def _read_events(self, pod: Pod, *, now: bool = False) -> None:
        """Read the events of a pod that is slow to start. They explain; nothing depends on them.

        :param now: at once, though the pod is young or its events were read a moment ago.
        """
        moment = asyncio.get_running_loop().time()
        young = time.time() < self.trigger_start_time.timestamp() + EVENTS_AFTER_SECONDS
        if self._events_read is None or moment == self._events_read:
            return
        if not now and (young or moment < self._events_read + EVENTS_EVERY_SECONDS):
            return
        self._events_read = moment
        try:
            async with asyncio.timeout(CALL_SECONDS):
                found = await self.hook.get_pod_events(name=self.pod_name, namespace=self.pod_namespace)
            uid = (pod.get("metadata") or {}).get("uid")
            self._events = read_events([item.to_dict() for item in found.items], uid)
        except Exception as error:
            if isinstance(error, KubernetesApiPermissionError) or getattr(error, "status", None) in (
                401,
                403,
            ):
                self._events_read = None
                self.log.info("The events of pod %s may not be read; going on without.", self.pod_name)
            else:
                self.log.debug("Reading the events of pod %s failed: %s", self.pod_name, error)

    def _make_renewal(self) -> CredentialRenewal | None:
        if self.renewal is None:
            return None
        from airflow_provider_agents.triggers.credential_renewal import CredentialRenewal

        try:
            return CredentialRenewal(self.renewal, self.hook)
        except Exception:
            self.log.exception("The credential of pod %s will not be renewed", self.pod_name)
            return None

    async def _renew(self, renewal: CredentialRenewal) -> None:
        """Let a credential be renewed that is about to expire. The wait never fails for it."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                await renewal.tick()
        except Exception as error:
            self.log.warning("Renewing the credential of pod %s failed: %s", self.pod_name, _words(error))

    async def _log_new_lines(self) -> None:
        """Log the lines that came since the last call. A failed read loses nothing: the next one has them."""
        try:
            async with asyncio.timeout(CALL_SECONDS):
                lines = await self.hook.read_logs(
                    name=self.pod_name,
                    namespace=self.pod_namespace,
                    container_name=self.base_container_name,
                    since_seconds=seconds_since(self._last_log_stamp),
                )
        except Exception as error:
            self.log.debug("Reading the log of pod %s failed: %s", self.pod_name, error)
            return
        for stamp, line in new_lines(lines, self._last_log_stamp):
            self._last_log_stamp = stamp
            if RESULT_MARKER not in line:
                self.log.info("%s", line)


def event_failure(event: Mapping[str, Any]) -> Failure | None:
    """Return the failure that an event of the trigger carries; ``None`` where it carries none."""
    code = event.get("code")
    if code not in FAILURES:
        return None
    return failure(code, str(event.get("message") or ""), remedy=event.get("remedy"))


def _ended(pod: Pod) -> _Verdict:
    phase = pod["status"]["phase"]
    message = f"Pod ended as {phase}."
    if phase == "Succeeded":
        return _Verdict("success", message)
    # What the runner itself said is read by the operator, and is more than the pod's status knows.
    known = None if termination_message(pod, BASE_CONTAINER) else end_failure(pod)
    return _Verdict("failed", known.message if known else message, known)


def _out_of_time() -> Failure:
    return failure(
        "pod_deadline",
        "The task's execution_timeout is reached.",
        remedy="Raise step_timeout and execution_timeout, or make the task smaller.",
    )


def _words(error: BaseException) -> str:
    """Return an error as text; some, such as a timeout, have none."""
    return f"{type(error).__name__}: {error}".rstrip(": ")


def new_lines(lines: list[str], last: str | None) -> list[tuple[str, str]]:
    """Split time-stamped log lines into stamp and text, leaving out those not newer than ``last``.

    Stamps are RFC 3339 with nanoseconds, by one node's clock.
    """
    found = []
    for raw in lines:
        stamp, _, text = raw.rstrip("\n").partition(" ")
        if not _STAMP.fullmatch(stamp):
            continue
        if last is None or _comparable(stamp) > _comparable(last):
            found.append((stamp, text))
    return found


def seconds_since(stamp: str | None) -> int | None:
    """Return whole seconds from an RFC 3339 stamp to now, and some more: the log API takes no exact time."""
    if stamp is None:
        return None
    then, _ = _comparable(stamp)
    return max(1, math.ceil((datetime.now(tz=UTC) - then).total_seconds()) + CLOCK_SKEW_SECONDS)


def _comparable(stamp: str) -> tuple[datetime, str]:
    """Return the second of a stamp, and its fraction with nine digits, which no datetime holds."""
    found = _STAMP.fullmatch(stamp)
    if found is None:
        raise ValueError(f"not a time stamp of a log line: {stamp!r}")
    # A node that does not keep UTC writes its offset.
    return datetime.fromisoformat(found[1] + (found[3] or "Z")), f"{found[2] or '':0<9}"
