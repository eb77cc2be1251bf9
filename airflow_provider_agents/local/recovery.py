"""What a server that was killed left behind: processes are ended, their pods are marked as lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_agents.local import clock, processes
from airflow_provider_agents.local.container import read_identity
from airflow_provider_agents.local.pod_status import has_ended, set_readiness
from airflow_provider_agents.local.volumes import remove_tree

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.services import Services

log = logging.getLogger(__name__)

_EXIT_CODE = 137
_MESSAGE = "The container could not be located when the pod was terminated"


def recover(services: Services) -> list[Json]:
    """End left processes, and bring the stored pods in line with that.

    A pod of which a container had been started is Failed, for its processes are gone. One that was being
    deleted is removed.

    :return: the pods that were still waiting to start, which may simply be started.
    """
    waiting, known = [], set()
    for pod in list(services.store.items("pods")):
        metadata, folder = pod["metadata"], services.pod_folder(pod)
        known.add(metadata["uid"])
        _kill_left(folder)
        if metadata.get("deletionTimestamp"):
            services.store.remove("pods", metadata["namespace"], metadata["name"])
            remove_tree(folder)
        elif has_ended(pod):
            remove_tree(folder / "volumes")
        elif _never_started(pod):
            remove_tree(folder)
            waiting.append(pod)
        else:
            place = f"{metadata['namespace']}/{metadata['name']}"
            log.warning("Pod %s lost its processes with an earlier server", place)
            remove_tree(folder / "volumes")
            services.store.update("pods", metadata["namespace"], metadata["name"], _mark_lost)
    for folder in list(services.folder.iterdir()):
        if folder.name not in known:
            _kill_left(folder)
            remove_tree(folder)
    return waiting


def _kill_left(folder: Path) -> None:
    for container in folder.glob("containers/*"):
        identity = read_identity(container)
        # Without a record the marker alone tells: the server may have died before it wrote one.
        marker = f"{folder.name}/{container.name}"
        processes.kill_all(identity or processes.Identity(marker, None, 0.0))


def _never_started(pod: Json) -> bool:
    status = pod["status"]
    entries = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    return all("waiting" in entry["state"] and not entry["restartCount"] for entry in entries)


def _mark_lost(pod: Json) -> None:
    status = pod["status"]
    status["phase"] = "Failed"
    status["reason"] = "ContainerStatusUnknown"
    status["message"] = "The local runtime was killed while the pod was running; its processes were ended"
    for entry in [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]:
        if "running" in entry["state"]:
            terminated = {
                "exitCode": _EXIT_CODE,
                "reason": "ContainerStatusUnknown",
                "message": _MESSAGE,
                "startedAt": entry["state"]["running"]["startedAt"],
                "finishedAt": clock.now(),
                "containerID": entry.get("containerID", ""),
            }
            entry.update(state={"terminated": terminated}, ready=False, started=False)
    set_readiness(status, initialized=True)
