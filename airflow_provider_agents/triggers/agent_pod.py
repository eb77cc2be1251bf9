"""Waits for the pod of an agent step, in the triggerer."""

from __future__ import annotations

import asyncio
import math
import re
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.triggers.pod import KubernetesPodTrigger
from airflow.triggers.base import TriggerEvent

from agent_runner.contract import RESULT_MARKER
from airflow_provider_agents.domain.pod_status import base_started, is_terminal, start_fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

QUIET_SECONDS = 5.0
"""No event earlier than this: Airflow 3.3 fails a task whose trigger fires before the scheduler has seen
the deferral (apache/airflow #67287, #71580)."""


_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")

CALL_SECONDS = 60.0
"""Bound of one call to Kubernetes, its client's own retries included."""

CLOCK_SKEW_SECONDS = 10
"""How far the clocks of a node and of Airflow may be apart without a log line being lost."""


class AgentPodTrigger(KubernetesPodTrigger):
    """Watch the pod of one agent step until it has ended, and log what its agent does meanwhile.

    Differs from its base in that it waits for the end of the *pod*, so that the messages of both
    containers are there; sees faults of init containers and of the container configuration; writes every
    log line exactly once; drops the line that holds the step's result; stays quiet at first.

    Yields one event: ``{"status": "success" | "failed" | "timeout" | "error", "name", "namespace",
    "message", "last_log_time"}``. ``success`` says that the pod ended as ``Succeeded``, not what its
    agent achieved.

    :param failed_polls: consecutive failed reads of the pod that are tolerated.
    """

    def __init__(self, *, failed_polls: int = 60, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.failed_polls = failed_polls
        self._last_log_stamp: str | None = kwargs.get("last_log_time")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments; the base's arguments and our own."""
        arguments = {**super().serialize()[1], "failed_polls": self.failed_polls}
        return "airflow_provider_agents.triggers.agent_pod.AgentPodTrigger", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield exactly one event."""
        clock = asyncio.get_running_loop().time
        quiet_until = clock() + QUIET_SECONDS
        try:
            status, message = await self._watch()
        except Exception as error:
            self.log.exception("Watching pod %s failed", self.pod_name)
            status, message = "error", f"{type(error).__name__}: {error}"
        await asyncio.sleep(quiet_until - clock())
        # Only now: a kill during the sleep above must still delete the pod.
        self._fired_event = True
        yield TriggerEvent(  # type: ignore[no-untyped-call]
            {
                **self.trigger_kwargs,
                "status": status,
                "message": message,
                "name": self.pod_name,
                "namespace": self.pod_namespace,
                "last_log_time": self._last_log_stamp,
            }
        )

    async def _watch(self) -> tuple[str, str]:
        execution_deadline = self.trigger_kwargs.get("_execution_deadline", math.inf)
        start_deadline = self.trigger_start_time.timestamp() + self.startup_timeout
        failures = 0
        said_waiting = False
        while True:
            try:
                pod = await self._read_pod()
                failures = 0
            except Exception as error:
                if getattr(error, "status", None) == 404:
                    return "error", f"Pod {self.pod_namespace}/{self.pod_name} does not exist any more."
                failures += 1
                if failures > self.failed_polls:
                    raise
                self.log.warning("Reading pod %s failed (%d in a row): %s", self.pod_name, failures, error)
                pod = None
            now = time.time()
            if pod is not None:
                started = base_started(pod)
                if started and self.get_logs:
                    await self._log_new_lines()
                if is_terminal(pod):
                    phase = pod["status"]["phase"]
                    return ("success" if phase == "Succeeded" else "failed"), f"Pod ended as {phase}."
                if not started:
                    if fault := start_fault(pod):
                        return "timeout", fault.message
                    if now > start_deadline:
                        return "timeout", f"Pod did not start within {self.startup_timeout} s."
                    if not said_waiting:
                        self.log.info("Waiting for pod %s to start.", self.pod_name)
                        said_waiting = True
            if now >= execution_deadline:
                return "timeout", "The task's execution_timeout is reached."
            await asyncio.sleep(self.poll_interval)

    async def _read_pod(self) -> Mapping[str, Any]:
        async with asyncio.timeout(CALL_SECONDS):
            pod = await self.hook.get_pod(name=self.pod_name, namespace=self.pod_namespace)
        return pod.to_dict()  # type: ignore[no-any-return]

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
