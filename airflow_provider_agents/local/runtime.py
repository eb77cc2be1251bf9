"""The runtime as a whole: its parts, put together."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from aiohttp import web

from airflow_provider_agents.local.access import TokenCheck, kept_token
from airflow_provider_agents.local.admission import Admission
from airflow_provider_agents.local.claim_faults import ClaimFaultRoutes
from airflow_provider_agents.local.claims import Claims
from airflow_provider_agents.local.cluster_routes import ClusterRoutes
from airflow_provider_agents.local.events import EventRecorder
from airflow_provider_agents.local.faults import FaultRoutes
from airflow_provider_agents.local.images import Image, ImageTable
from airflow_provider_agents.local.kubeconfig import KUBECONFIG_FILE, make_kubeconfig
from airflow_provider_agents.local.log_routes import LogRoutes
from airflow_provider_agents.local.objects import ObjectStore, write_atomically
from airflow_provider_agents.local.outage import Outage
from airflow_provider_agents.local.pods import Pods
from airflow_provider_agents.local.resource_routes import ResourceRoutes
from airflow_provider_agents.local.sandbox import BubblewrapSandbox, NoSandbox, Sandbox
from airflow_provider_agents.local.server import make_application
from airflow_provider_agents.local.services import Services, Timing
from airflow_provider_agents.local.storage_classes import StorageClassRoutes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_agents.local.api_errors import Json

log = logging.getLogger(__name__)

_SHUTDOWN_TIMEOUT = 2.0


class AlreadyRunningError(RuntimeError):
    """Another runtime uses the same data folder."""


class LocalKubernetes:
    """A Kubernetes API on a loopback port that runs pods as processes of this machine.

    Every request has to bring the token, which a start with the same data does not change.

    :param data_dir: where objects, volumes, logs and the token are kept; made if absent, readable by this
        user only.
    :param images: for each image name what stands for it: an :class:`~.images.Image`, or a command line.
    :param port: 0 takes a free one.
    :param sandbox: ``none`` or ``bubblewrap``.
    :param pod_security: ``restricted`` or ``none``.
    :param readable: folders that containers under bubblewrap may read besides the system's and the images'.
    :param hidden: folders that containers under bubblewrap may not see, besides the data and the home folder.
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
        hidden: Sequence[Path] = (),
        timing: Timing | None = None,
    ) -> None:
        self._folder = Path(data_dir).absolute()
        self._images = ImageTable(images or {})
        self._port = port
        self._sandbox = sandbox
        self._readable = readable
        self._hidden = hidden
        self._timing = timing or Timing()
        self._admission = Admission(pod_security)
        self._pod_security = pod_security
        self._lock: TextIO | None = None
        self._runner: web.AppRunner | None = None
        self._pods: Pods | None = None
        self._url = ""
        self._token = ""

    @property
    def url(self) -> str:
        """Address of the API, such as ``http://127.0.0.1:34567``, once started."""
        return self._url

    @property
    def token(self) -> str:
        """What requests have to bring as ``Authorization: Bearer …``, once started."""
        return self._token

    @property
    def kubeconfig_file(self) -> Path:
        """The kubeconfig in the data folder, for this user only; written at each start."""
        return self._folder / KUBECONFIG_FILE

    def kubeconfig(self, namespace: str = "default") -> Json:
        """Return address and token as a kubeconfig, once started.

        :param namespace: of the requests that name none.
        """
        return make_kubeconfig(self._url, self._token, namespace)

    async def start(self) -> None:
        """Take over the data folder, end what an earlier server left, and listen.

        :raises AlreadyRunningError: if another runtime uses the data folder.
        :raises SandboxUnavailableError: if the sandbox does not work on this machine.
        :raises ValueError: if containers may read a folder that contains one that they may not see.
        :raises OSError: if the port is taken, or the data folder cannot be used.
        """
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = _lock(self._folder)
        try:
            services = self._make_services()
            services.store.load()
            self._pods = Pods(services)
            self._token = kept_token(self._folder)
            application = make_application(TokenCheck(self._token).middleware)
            # The one for logs comes first: its path would fit the subresources of the other.
            LogRoutes(self._pods).add_to(application.router)
            outage = Outage()
            application.middlewares.append(outage.middleware)
            FaultRoutes(self._pods, services.scheduling, outage).add_to(application.router)
            ClaimFaultRoutes(services.claims, services.store).add_to(application.router)
            StorageClassRoutes().add_to(application.router)
            ClusterRoutes(self._pod_security).add_to(application.router)
            ResourceRoutes(services, self._pods, self._admission).add_to(application.router)
            self._runner = web.AppRunner(
                application, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_TIMEOUT
            )
            await self._runner.setup()
            site = web.TCPSite(self._runner, "127.0.0.1", self._port)
            await site.start()
            host, port = self._runner.addresses[0][:2]
            self._url = f"http://{host}:{port}"
            write_atomically(self.kubeconfig_file, json.dumps(self.kubeconfig(), indent=2) + "\n")
            self._pods.start()
        except BaseException:
            await self.stop()
            raise
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
            hidden = (self._folder, *self._hidden)
            _check_hidden(hidden, readable)
            return BubblewrapSandbox([*hidden, Path.home()], readable)
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


def _check_hidden(hidden: Iterable[Path], readable: Iterable[Path]) -> None:
    for folder in readable:
        for secret in hidden:
            if secret.resolve().is_relative_to(folder.resolve()):
                raise ValueError(
                    f"containers would see {secret}, which is to be hidden, as part of {folder}, which they "
                    "are to read: keep it elsewhere, or give them a smaller folder (for an image's bin "
                    "folder it is the one above)"
                )


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
