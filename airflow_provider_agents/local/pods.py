"""All pods of the runtime: starting, deleting, finding their logs, and what a killed server left."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_agents.local.api_errors import ApiError, Json, bad_request
from airflow_provider_agents.local.container import log_path
from airflow_provider_agents.local.garbage import collect_garbage
from airflow_provider_agents.local.logs import LogFile
from airflow_provider_agents.local.pod import PodLifecycle, Stop
from airflow_provider_agents.local.recovery import recover
from airflow_provider_agents.local.volumes import remove_tree

if TYPE_CHECKING:
    from airflow_provider_agents.local.objects import Change
    from airflow_provider_agents.local.services import Services


class Pods:
    """Runs the pods of the store."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lifecycles: dict[str, PodLifecycle] = {}
        self._removals: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Clean up what an earlier server left, take its pods over, and follow the store from now on."""
        store = self._services.store
        for pod in recover(self._services):
            self._begin(pod)
        store.subscribe(self._on_change)
        self._services.claims.recover()
        collect_garbage(store, self._services.claims)

    async def stop(self) -> None:
        """End all pods, with the runtime's own short grace, as a node that shuts down does."""
        longest = self._services.timing.shutdown_grace
        message = "Pod was terminated in response to imminent node shutdown."
        while active := list(self._lifecycles.values()):
            for lifecycle in active:
                grace = min(longest, lifecycle.own_grace)
                lifecycle.stop(Stop(grace, "Terminated", message, disruption=True))
            await asyncio.gather(*(lifecycle.wait() for lifecycle in active))
        await asyncio.gather(*self._removals)
        await self._services.claims.settle()

    def delete(self, namespace: str, name: str, grace: float | None) -> Json:
        """Delete a pod: at once if it has ended or ``grace`` is 0, else when its containers have ended.

        :param grace: seconds; ``None`` is the pod's own ``terminationGracePeriodSeconds``.
        :return: the pod as it is now, or as it was last.
        :raises ApiError: 404, if there is none.
        """
        store = self._services.store
        pod = store.get("pods", namespace, name)
        own = float(pod["spec"].get("terminationGracePeriodSeconds", 30))
        seconds = own if grace is None else max(0.0, grace)
        lifecycle = self._lifecycles.get(pod["metadata"]["uid"])
        if lifecycle is not None:
            lifecycle.stop(Stop(seconds))
        if lifecycle is None or seconds == 0:
            return self._remove(pod) or pod

        def mark(item: Json) -> None:
            metadata = item["metadata"]
            known = metadata.get("deletionTimestamp")
            until = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
            if known is None or until < known:
                metadata["deletionTimestamp"] = until
                metadata["deletionGracePeriodSeconds"] = int(seconds)

        return store.update("pods", namespace, name, mark) or pod

    def lifecycle(self, namespace: str, name: str) -> PodLifecycle:
        """Return a pod that has not ended.

        :raises ApiError: 404, if there is no such pod; 409, if it has ended.
        """
        pod = self._services.store.get("pods", namespace, name)
        if (lifecycle := self._lifecycles.get(pod["metadata"]["uid"])) is None:
            raise ApiError(409, "Conflict", f'pod "{name}" has ended already')
        return lifecycle

    def processes(self) -> list[Json]:
        """Return the containers that run, each with the pid of its first process."""
        return [
            {
                "namespace": lifecycle.namespace,
                "pod": lifecycle.name,
                "container": container.name,
                "pid": container.pid,
            }
            for lifecycle in self._lifecycles.values()
            for container in lifecycle.containers.values()
            if container.pid is not None
        ]

    def log(self, namespace: str, name: str, container: str | None, *, previous: bool) -> LogFile:
        """Return the log of a container.

        :param container: may be left out if the pod has one only.
        :param previous: the log of the run before the last restart.
        :raises ApiError: 404 without such a pod; 400 without such a container, or before it was started.
        """
        pod = self._services.store.get("pods", namespace, name)
        container = _choose_container(pod, container)
        lifecycle = self._lifecycles.get(pod["metadata"]["uid"])
        if lifecycle is not None:
            running = lifecycle.containers[container]
            found = running.previous_log if previous else running.log
        else:
            status = _container_status(pod, container)
            path = log_path(self._services.pod_folder(pod), container, status.get("restartCount", 0))
            found = LogFile(path) if path.exists() and not previous else None
            if found is not None:
                found.closed = True
        if found is not None:
            return found
        if previous:
            raise bad_request(f'previous terminated container "{container}" in pod "{name}" not found')
        waiting = _container_status(pod, container).get("state", {}).get("waiting") or {}
        reason = waiting.get("reason", "ContainerCreating")
        detail = {
            "ErrImagePull": "image can't be pulled",
            "ImagePullBackOff": "trying and failing to pull image",
        }
        raise bad_request(
            f'container "{container}" in pod "{name}" is waiting to start: {detail.get(reason, reason)}'
        )

    # Following the store

    def _on_change(self, change: Change) -> None:
        metadata = change.item["metadata"]
        if change.resource == "pods":
            if change.type == "ADDED":
                self._begin(change.item)
            elif change.type == "MODIFIED" and (lifecycle := self._lifecycles.get(metadata["uid"])):
                self._tell(lifecycle, change)
            self._services.claims.pod_changed(change)
        elif change.resource in ("secrets", "configmaps"):
            for lifecycle in self._lifecycles.values():
                if lifecycle.namespace == metadata["namespace"]:
                    lifecycle.refresh_volumes()
        if change.type == "DELETED" or metadata.get("ownerReferences"):
            # Not within this change: what it leads to is a change of its own.
            asyncio.get_running_loop().call_soon(collect_garbage, self._services.store, self._services.claims)

    def _tell(self, lifecycle: PodLifecycle, change: Change) -> None:
        """Pass on what a request changed; the lifecycle itself changes the status only."""
        before = change.previous or {}
        parts = ("labels", "annotations")
        same = all(before["metadata"].get(part) == change.item["metadata"].get(part) for part in parts)
        deadline = [(each.get("spec") or {}).get("activeDeadlineSeconds") for each in (before, change.item)]
        if not same or deadline[0] != deadline[1]:
            lifecycle.pod_changed(change.item)

    def _begin(self, pod: Json) -> None:
        lifecycle = PodLifecycle(self._services, pod, self._on_end)
        self._lifecycles[lifecycle.uid] = lifecycle
        lifecycle.start()

    def _on_end(self, lifecycle: PodLifecycle) -> None:
        del self._lifecycles[lifecycle.uid]
        pod = self._services.store.find("pods", lifecycle.namespace, lifecycle.name, lifecycle.uid)
        if pod is None:
            self._remove_folder(lifecycle.uid)
        elif pod["metadata"].get("deletionTimestamp"):
            self._remove(pod)

    def _remove(self, pod: Json) -> Json | None:
        metadata = pod["metadata"]
        removed = self._services.store.remove(
            "pods", metadata["namespace"], metadata["name"], metadata["uid"]
        )
        if metadata["uid"] not in self._lifecycles:
            self._remove_folder(metadata["uid"])
        return removed

    def _remove_folder(self, uid: str) -> None:
        removal = asyncio.create_task(asyncio.to_thread(remove_tree, self._services.folder / uid))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)


def _choose_container(pod: Json, container: str | None) -> str:
    names = [entry["name"] for entry in pod["spec"]["containers"]]
    early = [entry["name"] for entry in pod["spec"].get("initContainers") or []]
    name = pod["metadata"]["name"]
    if container:
        if container not in [*names, *early]:
            raise bad_request(f"container {container} is not valid for pod {name}")
        return container
    if len(names) == 1 and not early:
        return str(names[0])
    choice = f"choose one of: [{' '.join(names)}]"
    if early:
        choice += f" or one of the init containers: [{' '.join(early)}]"
    raise bad_request(f"a container name must be specified for pod {name}, {choice}")


def _container_status(pod: Json, container: str) -> Json:
    status = pod["status"]
    entries = [*(status.get("containerStatuses") or []), *(status.get("initContainerStatuses") or [])]
    return next((entry for entry in entries if entry["name"] == container), {})
