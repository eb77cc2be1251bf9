"""The runtime as a whole: its parts, put together."""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from aiohttp import web

from airflow_provider_agents.local.admission import Admission
from airflow_provider_agents.local.claim_faults import ClaimFaultRoutes
from airflow_provider_agents.local.claims import Claims
from airflow_provider_agents.local.events import EventRecorder
from airflow_provider_agents.local.faults import FaultRoutes
from airflow_provider_agents.local.images import Image, ImageTable
from airflow_provider_agents.local.log_routes import LogRoutes
from airflow_provider_agents.local.objects import ObjectStore
from airflow_provider_agents.local.outage import Outage
from airflow_provider_agents.local.pods import Pods
from airflow_provider_agents.local.resource_routes import ResourceRoutes
from airflow_provider_agents.local.sandbox import BubblewrapSandbox, NoSandbox, Sandbox
from airflow_provider_agents.local.server import make_application
from airflow_provider_agents.local.services import Services, Timing
from airflow_provider_agents.local.storage_classes import StorageClassRoutes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

log = logging.getLogger(__name__)

_SHUTDOWN_TIMEOUT = 2.0


class AlreadyRunningError(RuntimeError):
    """Another runtime uses the same data folder."""


class LocalKubernetes:
    """A Kubernetes API on a loopback port that runs pods as processes of this machine.

    :param data_dir: where objects, volumes and logs are kept; made if absent, readable by this user only.
    :param images: for each image name what stands for it: an :class:`~.images.Image`, or a command line.
    :param port: 0 takes a free one.
    :param sandbox: ``none`` or ``bubblewrap``.
    :param pod_security: ``restricted`` or ``none``.
    :param readable: folders that containers under bubblewrap may read besides the system's and the images'.
    :param timing: pauses of the runtime.
    """

    def __init__(
        self,
        data_dir: Path | str,
        images: Mapping[str, Image | str] | None = None,
        *,
        port: int = 0,
        sandbox: str = "none",
        pod_security: str = "restricted",
        readable: Sequence[Path] = (),
        timing: Timing | None = None,
    ) -> None:
        self._folder = Path(data_dir).absolute()
        self._images = ImageTable(images or {})
        self._port = port
        self._sandbox = sandbox
        self._readable = readable
        self._timing = timing or Timing()
        self._admission = Admission(pod_security)
        self._lock: TextIO | None = None
        self._runner: web.AppRunner | None = None
        self._pods: Pods | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """Address of the API, such as ``http://127.0.0.1:34567``, once started."""
        return self._url

    async def start(self) -> None:
        """Take over the data folder, end what an earlier server left, and listen.

        :raises AlreadyRunningError: if another runtime uses the data folder.
        :raises SandboxUnavailableError: if the sandbox does not work on this machine.
        :raises OSError: if the port is taken.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self._folder)
        try:
            services = self._make_services()
            services.store.load()
            self._pods = Pods(services)
            application = make_application()
            # The one for logs comes first: its path would fit the subresources of the other.
            LogRoutes(self._pods).add_to(application.router)
            outage = Outage()
            # Within the one that answers with Status objects, before all others.
            application.middlewares.insert(1, outage.middleware)
            FaultRoutes(self._pods, services.scheduling, outage).add_to(application.router)
            ClaimFaultRoutes(services.claims, services.store).add_to(application.router)
            StorageClassRoutes().add_to(application.router)
            ResourceRoutes(services, self._pods, self._admission).add_to(application.router)
            self._runner = web.AppRunner(
                application, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_TIMEOUT
            )
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", self._port)
            await site.start()
            self._pods.start()
        except BaseException:
            await self.stop()
            raise
        host, port = self._runner.addresses[0][:2]
        self._url = f"http://{host}:{port}"
        log.info("Serving pods on %s, data in %s, sandbox %s", self._url, self._folder, self._sandbox)

    async def stop(self) -> None:
        """End all pods and stop listening. The objects stay in the data folder."""
        if self._pods is not None:
            await self._pods.stop()
            self._pods = None
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def __aenter__(self) -> LocalKubernetes:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _make_services(self) -> Services:
        folder = self._folder / "pods"
        folder.mkdir(exist_ok=True)
        store = ObjectStore(self._folder / "objects")
        events = EventRecorder(store)
        claims = Claims(self._folder / "claims", store, events)
        return Services(folder, store, events, self._images, self._make_sandbox(), claims, self._timing)

    def _make_sandbox(self) -> Sandbox:
        if self._sandbox == "none":
            return NoSandbox()
        if self._sandbox == "bubblewrap":
            readable = {*self._readable, *_image_folders(self._images)}
            return BubblewrapSandbox([self._folder, Path.home()], readable)
        raise ValueError(f"sandbox {self._sandbox!r}: choose none or bubblewrap")


def _image_folders(images: ImageTable) -> set[Path]:
    """Return what containers must be able to read of the images: their programs, and Pythons with libraries."""
    folders = set()
    for folder in images.folders():
        folders.add(folder.parent if folder.name == "bin" else folder)
        for program in folder.glob("python*"):
            real = program.resolve()
            if real.parent.name == "bin":
                folders.add(real.parent.parent)
    return {folder for folder in folders if folder not in (Path("/"), Path("/usr"), Path("/usr/local"))}


def _lock(folder: Path) -> TextIO:
    file = (folder / "lock").open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise AlreadyRunningError(
            f"another local runtime (pid {holder}) uses {folder}: stop it, or give another --data"
        ) from error
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file
