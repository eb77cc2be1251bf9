"""From the specification of a container to the process that is started for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.local.environment import Find, command_line, container_environment
from airflow_provider_agents.local.sandbox import Bind, Identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.images import Image
    from airflow_provider_agents.local.process import Launch
    from airflow_provider_agents.local.services import Services
    from airflow_provider_agents.local.volumes import PodVolumes

TERMINATION_LOG = "/dev/termination-log"


@dataclass(frozen=True, slots=True)
class PodView:
    """What a container knows of its pod.

    :param read: returns the pod as it is now.
    :param find: returns an object of the pod's namespace.
    :param changed: is called whenever the status of the container changed.
    """

    services: Services
    folder: Path
    volumes: PodVolumes
    read: Callable[[], Json]
    find: Find
    changed: Callable[[], None]


class Launcher:
    """Builds the processes of one container: its program, and commands beside it such as probes.

    :param scratch: the container's own folder, its working directory if it names none.
    :param message_file: stands for the container's ``terminationMessagePath``.
    """

    def __init__(self, view: PodView, spec: Json, scratch: Path, message_file: Path) -> None:
        self._view = view
        self._spec = spec
        self._scratch = scratch
        self._message_file = message_file

    def program(self, image: Image) -> Launch:
        """Return how to start the container's own program.

        :raises ConfigurationError: if something that the environment refers to is missing.
        :raises VolumeNotReadyError: if a mount is not there.
        :raises StartError: if the program does not exist.
        """
        return self._launch(image, None)

    def command(self, image: Image, command: list[str]) -> Launch:
        """Return how to start another command as the container would; raises as :meth:`program` does."""
        return self._launch(image, command)

    def _launch(self, image: Image, other: list[str] | None) -> Launch:
        pod, sandbox = self._view.read(), self._view.services.sandbox
        meant, _ = container_environment(pod, self._spec, self._view.find, str)
        binds = self._binds(meant)
        translate = sandbox.translator(binds)
        _, given = container_environment(pod, self._spec, self._view.find, translate)
        given["PATH"] = image.search_path(given.get("PATH"))
        given.setdefault("HOSTNAME", _hostname(pod))
        given.setdefault("LANG", "C.UTF-8")
        if other is None:
            command = command_line(self._spec, image.entrypoint, meant, translate)
        else:
            command = [translate(part) for part in other]
        self._scratch.mkdir(parents=True, exist_ok=True)
        directory = self._spec.get("workingDir") or None
        return sandbox.launch(command, given, directory, self._scratch, binds, self._identity(pod))

    def _binds(self, variables: dict[str, str]) -> list[Bind]:
        binds = [
            Bind(self._view.volumes.source(mount, variables), mount["mountPath"], bool(mount.get("readOnly")))
            for mount in self._spec.get("volumeMounts") or []
        ]
        path = self._spec.get("terminationMessagePath") or TERMINATION_LOG
        return [*binds, Bind(self._message_file, path)]

    def _identity(self, pod: Json) -> Identity:
        pod_context = pod["spec"].get("securityContext") or {}
        context = pod_context | (self._spec.get("securityContext") or {})
        return Identity(
            hostname=_hostname(pod),
            user=int(context.get("runAsUser") or 0),
            group=int(context.get("runAsGroup") or 0),
            read_only_root=bool(context.get("readOnlyRootFilesystem")),
        )


def _hostname(pod: Json) -> str:
    name: str = pod["spec"].get("hostname") or pod["metadata"]["name"]
    return name[:63].rstrip("-.")
