"""One container of a pod: from its image to its end, with restarts if it is a sidecar."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import dataclasses
import enum
import json
import signal
import uuid
from typing import TYPE_CHECKING

from airflow_provider_agents.local import clock, probes, process
from airflow_provider_agents.local.environment import ConfigurationError
from airflow_provider_agents.local.grace import GracePeriod
from airflow_provider_agents.local.launcher import Launcher, PodView
from airflow_provider_agents.local.logs import LogFile
from airflow_provider_agents.local.objects import write_atomically
from airflow_provider_agents.local.process import ContainerProcess, Launch, StartError
from airflow_provider_agents.local.processes import Identity
from airflow_provider_agents.local.termination import termination_message
from airflow_provider_agents.local.volumes import VolumeNotReadyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.images import Image

PROCESS_FILE = "process.json"
"""File in the folder of a running container that tells a later server which processes are its own."""

START_ERROR = 128
"""Exit code of a container whose program could not be started."""

STABLE = 600.0
"""Seconds after which a container that ran so long counts as new when it is restarted."""


class Role(enum.Enum):
    """What a container is in its pod."""

    INIT = "init"
    SIDECAR = "sidecar"
    """An init container that is restarted always: it runs beside the others until they have ended."""
    BASE = "base"


class Container:
    """One container of a pod."""

    def __init__(self, view: PodView, spec: Json, role: Role) -> None:
        self.name: str = spec["name"]
        self.role = role
        self.started = asyncio.Event()
        """Set while the container runs and its startup probe, if any, has passed."""
        self.log: LogFile | None = None
        self.previous_log: LogFile | None = None
        self.task: asyncio.Task[None] | None = None
        self._view = view
        self._spec = spec
        self._folder = view.folder / "containers" / self.name
        self._message_file = self._folder / "termination-log"
        first = bool(view.read()["spec"].get("initContainers"))
        reason = "PodInitializing" if first else "ContainerCreating"
        self._state: Json = {"waiting": {"reason": reason}}
        self._last_state: Json = {}
        self._restarts = 0
        self._ready = False
        self._container_id = ""
        self._process: ContainerProcess | None = None
        self._launcher = Launcher(view, spec, self._folder / "work", self._message_file)
        self._stopping = False
        self._out_of_memory = False

    # What others see

    @property
    def exit_code(self) -> int | None:
        """Exit code of the last run; ``None`` if the container runs, or never ran."""
        terminated = self._state.get("terminated")
        return None if terminated is None else int(terminated["exitCode"])

    @property
    def ran(self) -> bool:
        """Whether the container was started at least once."""
        return "waiting" not in self._state

    @property
    def pid(self) -> int | None:
        """Pid of the container's first process while it runs."""
        return self._process.main if self._process else None

    def status(self) -> Json:
        """Return the container's entry in the status of the pod."""
        image = self._spec["image"]
        done = self.role is Role.INIT and self.exit_code == 0
        return {
            "name": self.name,
            "state": copy.deepcopy(self._state),
            "lastState": copy.deepcopy(self._last_state),
            "ready": done or self._ready,
            "started": self.started.is_set(),
            "restartCount": self._restarts,
            "image": image,
            "imageID": f"local://{image}" if self._container_id else "",
            **({"containerID": self._container_id} if self._container_id else {}),
        }

    def raise_fault(self) -> None:
        """Raise what kept this runtime, not the container's program, from running the container."""
        if self.task is not None and self.task.done() and not self.task.cancelled():
            self.task.result()

    # Commands

    def start(self) -> None:
        """Start the container; :attr:`task` is done when it has ended for good."""
        self.task = asyncio.create_task(self._run(), name=f"container {self.name}")

    async def stop(self, grace: GracePeriod) -> None:
        """End the container: SIGTERM, and SIGKILL when the grace period is over. It is not restarted."""
        self._stopping = True
        if self.task is None:
            return
        if self._process is None:
            self.task.cancel()
            await asyncio.wait({self.task})
            if self._process is None:
                return
        if not self.task.done():
            self._event("Killing", f"Stopping container {self.name}")
            await self._terminate(self._process, grace, self.task)
        await asyncio.wait({self.task})

    async def kill(self, *, out_of_memory: bool = False) -> bool:
        """Kill the container's processes, as a crash or the kernel would.

        :return: whether the container was running.
        """
        if self._process is None:
            return False
        self._out_of_memory = out_of_memory
        await self._process.kill()
        return True

    def forget_previous(self) -> None:
        """Drop what is known of earlier runs, as the kubelet does when the pod has ended."""
        self._last_state = {}
        if self.previous_log is not None:
            self.previous_log.path.unlink(missing_ok=True)
            self.previous_log = None

    # The run

    async def _run(self) -> None:
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            began = loop.time()
            await self._run_once()
            if self.role is not Role.SIDECAR or self._stopping:
                return
            self._event("BackOff", f"Back-off restarting failed container {self.name}", warning=True)
            failures = 0 if loop.time() - began > STABLE else failures
            await asyncio.sleep(self._view.services.timing.restart_pause(failures))
            failures += 1
            self._restarts += 1
            self._last_state = self._state

    async def _run_once(self) -> None:
        image = await self._pull()
        self._out_of_memory = False
        try:
            launch = await self._configure(image)
            log_file = self._new_log()
            container_process = await self._spawn(launch, log_file)
        except StartError as error:
            message = f"failed to start container: {error}: unknown"
            self._event("Failed", f"Error: {message}", warning=True)
            self._end(START_ERROR, "StartError", "1970-01-01T00:00:00Z", message)
            return
        self._process = container_process
        began = clock.now()
        self._event("Started", f"Started container {self.name}")
        self._set({"running": {"startedAt": began}})
        watcher = asyncio.create_task(self._watch(image, container_process))
        try:
            code = await container_process.wait()
        finally:
            watcher.cancel()
            await asyncio.gather(watcher, return_exceptions=True)
            log_file.close()
            self._process = None
        (self._folder / PROCESS_FILE).unlink(missing_ok=True)
        reason = "OOMKilled" if self._out_of_memory else "Completed" if code == 0 else "Error"
        self._end(code, reason, began, termination_message(self._spec, code, self._message_file, log_file))

    async def _pull(self) -> Image:
        name = self._spec["image"]
        if image := self._view.services.images.find(name):
            self._event("Pulled", f'Container image "{name}" already present on machine')
            return image
        problem = (
            f'failed to pull and unpack image "{name}": failed to resolve reference "{name}": {name}: not found: '
            f"nothing on this machine stands for it: start the local runtime with --image '{name}=COMMAND'"
        )
        self._event("Pulling", f'Pulling image "{name}"')
        self._event("Failed", f'Failed to pull image "{name}": {problem}', warning=True)
        self._event("Failed", "Error: ErrImagePull", warning=True)
        self._set({"waiting": {"reason": "ErrImagePull", "message": problem}})
        await asyncio.sleep(self._view.services.timing.image_back_off)
        self._event("BackOff", f'Back-off pulling image "{name}"')
        self._event("Failed", "Error: ImagePullBackOff", warning=True)
        message = f'Back-off pulling image "{name}": ErrImagePull: {problem}'
        self._set({"waiting": {"reason": "ImagePullBackOff", "message": message}})
        # The table of images does not change while the runtime runs: only the end of the pod ends this.
        never: asyncio.Future[Image] = asyncio.get_running_loop().create_future()
        return await never

    async def _configure(self, image: Image) -> Launch:
        self._folder.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                self._message_file.write_bytes(b"")
                return self._launcher.program(image)
            except (ConfigurationError, VolumeNotReadyError) as error:
                self._event("Failed", f"Error: {error}", warning=True)
                self._set({"waiting": {"reason": "CreateContainerConfigError", "message": str(error)}})
                await asyncio.sleep(self._view.services.timing.retry)

    def _new_log(self) -> LogFile:
        if self.previous_log is not None:
            self.previous_log.path.unlink(missing_ok=True)
        self.previous_log = self.log
        self.log = LogFile(log_path(self._view.folder, self.name, self._restarts))
        self.log.open()
        return self.log

    async def _spawn(self, launch: Launch, log_file: LogFile) -> ContainerProcess:
        marker = f"{self._view.read()['metadata']['uid']}/{self.name}"
        self._event("Created", f"Created container: {self.name}")
        spawning = asyncio.create_task(ContainerProcess.start(launch, log_file, marker))
        try:
            started = await asyncio.shield(spawning)
        except asyncio.CancelledError:
            with contextlib.suppress(StartError):
                started = await spawning
                await started.kill()
                await started.wait()
            log_file.close()
            raise
        except StartError:
            log_file.close()
            raise
        self._container_id = f"local://{uuid.uuid4().hex}"
        write_atomically(self._folder / PROCESS_FILE, json.dumps(dataclasses.asdict(started.identity)))
        return started

    # Probes

    async def _watch(self, image: Image, container_process: ContainerProcess) -> None:
        if probe := self._spec.get("startupProbe"):
            async for healthy in self._observe("Startup", probe, image):
                if healthy:
                    break
                await self._restart(container_process, "startup")
        self.started.set()
        self._ready = self.role is not Role.INIT and not self._spec.get("readinessProbe")
        self._view.changed()
        async with asyncio.TaskGroup() as group:
            if probe := self._spec.get("readinessProbe"):
                group.create_task(self._watch_readiness(probe, image))
            if probe := self._spec.get("livenessProbe"):
                group.create_task(self._watch_liveness(probe, image, container_process))

    async def _watch_readiness(self, probe: Json, image: Image) -> None:
        async for healthy in self._observe("Readiness", probe, image):
            if healthy is not self._ready:
                self._ready = healthy
                self._view.changed()

    async def _watch_liveness(self, probe: Json, image: Image, container_process: ContainerProcess) -> None:
        async for healthy in self._observe("Liveness", probe, image):
            if not healthy:
                await self._restart(container_process, "liveness")

    def _observe(self, title: str, probe: Json, image: Image) -> AsyncIterator[bool]:
        async def run_command(command: list[str], seconds: float) -> tuple[int, str]:
            marker = f"{self._view.read()['metadata']['uid']}/{self.name}"
            return await process.run(self._launcher.command(image, command), marker, seconds)

        def failed(problem: str) -> None:
            self._event("Unhealthy", f"{title} probe failed: {problem}", warning=True)

        return probes.observe(probe, lambda: probes.check(probe, self._spec, run_command), failed)

    async def _restart(self, container_process: ContainerProcess, kind: str) -> None:
        self._event("Killing", f"Container {self.name} failed {kind} probe, will be restarted")
        seconds = float(self._view.read()["spec"].get("terminationGracePeriodSeconds", 30))
        assert self.task is not None
        await self._terminate(container_process, GracePeriod(seconds), self.task)

    # State

    async def _terminate(
        self, container_process: ContainerProcess, grace: GracePeriod, ended: asyncio.Task[None]
    ) -> None:
        """Send SIGTERM, and SIGKILL if ``ended`` is not done when the grace period is over."""
        if grace.remaining > 0:
            container_process.signal(signal.SIGTERM)
        if not await grace.wait_for(ended):
            await container_process.kill()

    def _set(self, state: Json) -> None:
        self._state = state
        self._view.changed()

    def _end(self, code: int, reason: str, began: str, message: str) -> None:
        self.started.clear()
        self._ready = False
        terminated: Json = {
            "exitCode": code,
            "reason": reason,
            "startedAt": began,
            "finishedAt": clock.now(),
            "containerID": self._container_id,
        }
        if message:
            terminated["message"] = message
        self._set({"terminated": terminated})

    def _event(self, reason: str, message: str, *, warning: bool = False) -> None:
        field = "containers" if self.role is Role.BASE else "initContainers"
        place = f"spec.{field}{{{self.name}}}"
        self._view.services.events.record(
            self._view.read(), reason, message, warning=warning, container=place
        )


def log_path(folder: Path, container: str, restarts: int) -> Path:
    """Return where the log of a run of a container is.

    :param folder: the folder of the pod.
    """
    return folder / "logs" / container / f"{restarts}.log"


def read_identity(folder: Path) -> Identity | None:
    """Return the processes that a container left according to its folder; ``None`` if there is no record."""
    try:
        return Identity(**json.loads((folder / PROCESS_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
