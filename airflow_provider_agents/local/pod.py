"""The life of one pod, from its creation to a phase that it never leaves."""

from __future__ import annotations

import asyncio
import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.local import clock
from airflow_provider_agents.local.container import Container, Role
from airflow_provider_agents.local.grace import GracePeriod
from airflow_provider_agents.local.launcher import PodView
from airflow_provider_agents.local.pod_status import LOOPBACK, NODE, set_condition, set_readiness
from airflow_provider_agents.local.termination import cut_messages
from airflow_provider_agents.local.volumes import PodVolumes, VolumeNotReadyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.services import Services

log = logging.getLogger(__name__)

_LONGEST_RETRY = 2.0


@dataclass(frozen=True, slots=True)
class Stop:
    """Why and how a pod is ended before its containers have.

    :param grace: seconds between SIGTERM and SIGKILL.
    :param reason: for the status of a pod that fails for it; ``None`` for a deletion, which is no failure.
    :param disruption: whether the node does it for its own sake; the pod then gets the condition for that.
    """

    grace: float
    reason: str | None = None
    message: str = ""
    disruption: bool = False


class PodLifecycle:
    """Runs one pod.

    :param pod: as it was created; the store holds its present state.
    :param on_end: is called when the pod has ended and its volumes are gone.
    """

    def __init__(self, services: Services, pod: Json, on_end: Callable[[PodLifecycle], None]) -> None:
        metadata = pod["metadata"]
        self.uid: str = metadata["uid"]
        self.namespace: str = metadata["namespace"]
        self.name: str = metadata["name"]
        self.containers: dict[str, Container] = {}
        self._services = services
        self._latest = pod
        self._on_end = on_end
        folder = services.pod_folder(pod)
        self._volumes = PodVolumes(folder / "volumes", self._read, self._find, services.claims.folder)
        view = PodView(services, folder, self._volumes, self._read, self._find, self._publish)
        spec = pod["spec"]
        for entry in spec.get("initContainers") or []:
            role = Role.SIDECAR if entry.get("restartPolicy") == "Always" else Role.INIT
            self.containers[entry["name"]] = Container(view, entry, role)
        for entry in spec["containers"]:
            self.containers[entry["name"]] = Container(view, entry, Role.BASE)
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._stop: Stop | None = None
        self._grace: GracePeriod | None = None
        self._deadline_changed = asyncio.Event()
        self._began: float | None = None
        self._initialized = False
        self._mounted = False
        self._ended = False

    def start(self) -> None:
        """Start the pod."""
        self._task = asyncio.create_task(self._run(), name=f"pod {self.namespace}/{self.name}")

    def stop(self, stop: Stop) -> None:
        """End the pod. A second call may shorten the grace period; the first reason stays."""
        if self._stop is None:
            self._stop = stop
            self._stopping.set()
            if stop.reason:
                self._event(stop.reason, stop.message, warning=stop.disruption)
        if self._grace is not None:
            self._grace.shorten(stop.grace)
        elif stop.grace < self._stop.grace:
            self._stop = Stop(stop.grace, self._stop.reason, self._stop.message, self._stop.disruption)

    async def wait(self) -> None:
        """Wait until the pod has ended."""
        if self._task is not None:
            await asyncio.wait({self._task})

    def pod_changed(self, pod: Json) -> None:
        """Take in a change of the pod by a request."""
        self._latest = pod
        self._deadline_changed.set()
        self.refresh_volumes()

    def refresh_volumes(self) -> None:
        """Write what changed in secrets, config maps, labels and annotations into the volumes."""
        if self._mounted:
            try:
                self._volumes.refresh()
            except OSError:
                log.exception("The volumes of pod %s/%s cannot be updated", self.namespace, self.name)

    # The way up

    async def _run(self) -> None:
        problem = ""
        work = asyncio.create_task(self._work())
        stopping = asyncio.create_task(self._stopping.wait())
        deadline = asyncio.create_task(self._watch_deadline())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            work.cancel()
            (unworkable,) = await asyncio.gather(work, return_exceptions=True)
            (unstoppable,) = await asyncio.gather(self._stop_containers(), return_exceptions=True)
            for fault in (unworkable, unstoppable):
                if isinstance(fault, Exception):
                    log.error("Pod %s/%s cannot be run", self.namespace, self.name, exc_info=fault)
                    problem = f"the local runtime failed: {type(fault).__name__}: {fault}"
        finally:
            stopping.cancel()
            deadline.cancel()
            await asyncio.gather(stopping, deadline, return_exceptions=True)
        self._finish(problem)
        await asyncio.to_thread(self._volumes.remove)
        self._on_end(self)

    async def _work(self) -> None:
        """Run the containers; returns when all base containers, or a failed init container, have ended."""
        await self._schedule()
        await self._mount()
        for container in self._of(Role.INIT, Role.SIDECAR):
            container.start()
            if not await self._until_started(container):
                return
        self._initialized = True
        base = self._of(Role.BASE)
        for container in base:
            container.start()
        await asyncio.wait([each.task for each in base if each.task])
        for container in base:
            container.raise_fault()

    async def _until_started(self, container: Container) -> bool:
        """Wait until a sidecar is started, or a plain init container has ended.

        :return: whether the next container may start.
        """
        assert container.task is not None
        started = asyncio.create_task(container.started.wait())
        ends = {container.task, started} if container.role is Role.SIDECAR else {container.task}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            started.cancel()
        container.raise_fault()
        return container.role is Role.SIDECAR or container.exit_code == 0

    async def _schedule(self) -> None:
        """Wait until the claims of the pod exist and the node takes pods, then take this one."""
        spec = self._latest["spec"]
        names = [
            volume["persistentVolumeClaim"]["claimName"]
            for volume in spec.get("volumes") or []
            if volume.get("persistentVolumeClaim")
        ]
        while message := self._scheduling_fault(names):
            self._event("FailedScheduling", message, warning=True)
            self._update_status(functools.partial(_set_unschedulable, message))
            await asyncio.sleep(self._services.timing.retry)
        self._began = asyncio.get_running_loop().time()

        def take(pod: Json) -> None:
            pod["spec"]["nodeName"] = NODE
            status = pod["status"]
            address = {"hostIP": LOOPBACK, "hostIPs": [{"ip": LOOPBACK}]}
            status.update(address, podIP=LOOPBACK, podIPs=[{"ip": LOOPBACK}], startTime=clock.now())
            set_condition(status, "PodScheduled", True)
            self._compose(status)

        self._change(take)
        self._deadline_changed.set()
        self._event("Scheduled", f"Successfully assigned {self.namespace}/{self.name} to {NODE}")

    def _scheduling_fault(self, claims: list[str]) -> str:
        """Say why the pod cannot be scheduled now, as the scheduler words it; empty: it can."""
        obstacle = self._services.claims.obstacle(self.namespace, claims)
        return obstacle or self._services.scheduling.refusal

    async def _mount(self) -> None:
        pause = self._services.timing.retry
        while True:
            try:
                self._volumes.set_up()
            except VolumeNotReadyError as error:
                self._event("FailedMount", str(error), warning=True)
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_RETRY)
            else:
                self._mounted = True
                return

    async def _watch_deadline(self) -> None:
        """Stop the pod when its ``activeDeadlineSeconds``, which may be patched, are over."""
        loop = asyncio.get_running_loop()
        while True:
            self._deadline_changed.clear()
            seconds = self._latest["spec"].get("activeDeadlineSeconds")
            remaining = None
            if seconds is not None and self._began is not None:
                remaining = max(0.0, self._began + seconds - loop.time())
            try:
                async with asyncio.timeout(remaining):
                    await self._deadline_changed.wait()
            except TimeoutError:
                message = "Pod was active on the node longer than the specified deadline"
                self.stop(Stop(self.own_grace, "DeadlineExceeded", message))
                return

    # The way down

    @property
    def own_grace(self) -> float:
        """The pod's ``terminationGracePeriodSeconds``."""
        return float(self._latest["spec"].get("terminationGracePeriodSeconds", 30))

    async def _stop_containers(self) -> None:
        """End the base containers, and after them the sidecars, the last one first; one grace covers all."""
        self._grace = GracePeriod(self._stop.grace if self._stop else self.own_grace)
        first = [*self._of(Role.BASE), *self._of(Role.INIT)]
        await asyncio.gather(*(container.stop(self._grace) for container in first))
        for container in reversed(self._of(Role.SIDECAR)):
            immediately = self._stop is not None and self._stop.grace == 0
            least = 0.0 if immediately else self._services.timing.least_sidecar_grace
            if self._grace.remaining < least:
                await container.stop(GracePeriod(least))
            else:
                await container.stop(self._grace)

    def _finish(self, problem: str) -> None:
        base = self._of(Role.BASE)
        succeeded = all(container.exit_code == 0 for container in base)
        reason = "LocalRuntimeError" if problem else self._stop.reason if self._stop else None
        message = problem or (self._stop.message if self._stop else "")
        for container in self._of(Role.SIDECAR):
            container.forget_previous()
        self._ended = True

        def end(status: Json) -> None:
            status["phase"] = "Failed" if reason or not succeeded else "Succeeded"
            if reason:
                status["reason"], status["message"] = reason, message
            if self._stop and self._stop.disruption:
                set_condition(status, "DisruptionTarget", True, "TerminationByKubelet", message)
            self._compose(status)

        self._update_status(end)

    # State

    def _of(self, *roles: Role) -> list[Container]:
        return [container for container in self.containers.values() if container.role in roles]

    def _read(self) -> Json:
        return self._latest

    def _find(self, resource: str, name: str) -> Json | None:
        return self._services.store.find(resource, self.namespace, name)

    def _publish(self) -> None:
        if not self._ended:
            self._update_status(self._compose)

    def _compose(self, status: Json) -> None:
        """Write the states of the containers, and what follows from them, into the status."""
        if status["phase"] == "Pending" and any(container.ran for container in self._of(Role.BASE)):
            status["phase"] = "Running"
        base = [container.status() for container in self._of(Role.BASE)]
        early = [container.status() for container in self._of(Role.INIT, Role.SIDECAR)]
        cut_messages([*base, *early])
        status["containerStatuses"] = base
        if early:
            status["initContainerStatuses"] = early
        set_readiness(status, initialized=self._initialized or not early)

    def _update_status(self, change: Callable[[Json], None]) -> None:
        self._change(lambda pod: change(pod["status"]))

    def _change(self, change: Callable[[Json], None]) -> None:
        changed = self._services.store.update("pods", self.namespace, self.name, change, self.uid)
        if changed is not None:
            self._latest = changed

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        self._services.events.record(self._latest, reason, message, warning=warning)


def _set_unschedulable(message: str, status: Json) -> None:
    set_condition(status, "PodScheduled", False, "Unschedulable", message)
