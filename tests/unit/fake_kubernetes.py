"""A Kubernetes of a few dictionaries: the API client and the hook that the pod operator uses."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from kubernetes.client import ApiClient, V1Pod
from kubernetes.client.exceptions import ApiException

from agent_runner.contract import RESULT_MARKER, Ledger, StepResult, TerminationMessage

if TYPE_CHECKING:
    from collections.abc import Callable

_API = ApiClient()


def to_json(pod: V1Pod) -> dict[str, Any]:
    """Return a pod as it is sent."""
    return _API.sanitize_for_serialization(pod)  # type: ignore[no-any-return]


def from_json(pod: dict[str, Any]) -> V1Pod:
    """Return a pod as the client reads it."""
    return _API._ApiClient__deserialize(pod, "V1Pod")


class Kubernetes:
    """Both ``operator.hook`` and ``operator.client``. Keeps what was done to it in :attr:`journal`."""

    def __init__(self, journal: list[str] | None = None) -> None:
        self.journal = journal if journal is not None else []
        self.pods: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[str]] = {}
        self.log_reads: list[dict[str, Any]] = []
        self.on_patch: Callable[[str, dict[str, Any]], None] = lambda name, body: None
        self.fail: dict[str, int] = {}
        self.is_in_cluster = False
        self.api_client = _API

    # Of the client

    def create_namespaced_pod(self, body: dict[str, Any], namespace: str, **options: Any) -> V1Pod:
        self._call("create", body["metadata"]["name"])
        body = json.loads(json.dumps(body))
        body["metadata"]["creationTimestamp"] = datetime.now(tz=UTC).isoformat()
        body["status"] = {"phase": "Pending"}
        self.pods[body["metadata"]["name"]] = body
        return from_json(body)

    def list_namespaced_pod(self, namespace: str, label_selector: str) -> Any:
        found = [
            pod for pod in self.pods.values() if _matches(pod["metadata"].get("labels", {}), label_selector)
        ]
        return SimpleNamespace(items=[from_json(pod) for pod in found])

    def read_namespaced_pod(self, name: str, namespace: str) -> V1Pod:
        if "get" in self.fail:
            raise ApiException(status=self.fail["get"])
        if name not in self.pods:
            raise ApiException(status=404)
        return from_json(self.pods[name])

    def delete_namespaced_pod(self, name: str, namespace: str, **options: Any) -> None:
        self._call("delete", name)
        self.pods.pop(name, None)

    def patch_namespaced_pod(self, name: str, namespace: str, body: dict[str, Any]) -> None:
        self._call("patch", f"{name} {json.dumps(body)}")
        self.pods[name]["metadata"]["labels"].update(body.get("metadata", {}).get("labels", {}))
        self.on_patch(name, body)

    def read_namespaced_pod_log(self, name: str, namespace: str, **options: Any) -> Any:
        self.log_reads.append(options)
        if "log" in self.fail:
            raise ApiException(status=self.fail["log"], reason="Bad Request")
        lines = self.logs.get(name, [])
        if not options.get("timestamps"):
            lines = [line.partition(" ")[2] for line in lines]
        return SimpleNamespace(data="".join(f"{line}\n" for line in lines).encode())

    # Of the hook

    @property
    def core_v1_client(self) -> Kubernetes:
        return self

    def get_pod(self, name: str, namespace: str) -> V1Pod:
        return self.read_namespaced_pod(name, namespace)

    def get_namespace(self) -> None:
        return None

    # Of a test

    @property
    def only(self) -> str:
        """The name of the one pod."""
        (name,) = self.pods
        return name

    def set_status(self, name: str, phase: str, base: Any = None, gateway: Any = None, **status: Any) -> None:
        """Put a pod into a state, given as the API writes it."""
        self.pods[name]["status"] = {"phase": phase, **status}
        for kind, container, state in (
            ("containerStatuses", "base", base),
            ("initContainerStatuses", "gateway", gateway),
        ):
            if state is not None:
                self.pods[name]["status"][kind] = [
                    {
                        "name": container,
                        "image": "i",
                        "imageID": "",
                        "ready": False,
                        "restartCount": 0,
                        "state": state,
                    }
                ]

    def run(self, name: str) -> None:
        """Let the containers of a pod run."""
        running = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
        self.set_status(name, "Running", running, running)

    def finish(
        self,
        name: str,
        result: StepResult | str | None,
        ledger: Ledger | None = None,
        phase: str = "Succeeded",
    ) -> None:
        """Let a pod end with a result, its marked log line and a ledger."""
        message = result
        if isinstance(result, StepResult):
            message = TerminationMessage.of(result).to_json()
            line = f"2026-01-01T00:00:09.000000000Z {RESULT_MARKER}{result.to_json()}"
            self.logs.setdefault(name, []).append(line)
        self.set_status(
            name,
            phase,
            {
                "terminated": {
                    "exitCode": 0 if phase == "Succeeded" else 1,
                    "reason": "Done",
                    "message": message,
                }
            },
            {"terminated": {"exitCode": 0, "message": ledger.to_json() if ledger else None}},
        )

    def _call(self, verb: str, what: str) -> None:
        self.journal.append(f"{verb} {what}")
        if verb in self.fail:
            raise ApiException(status=self.fail[verb])


def _matches(labels: dict[str, str], selector: str) -> bool:
    for term in selector.split(","):
        if term.startswith("!"):
            if term[1:] in labels:
                return False
        elif "!=" in term:
            key, _, value = term.partition("!=")
            if labels.get(key) == value:
                return False
        else:
            key, _, value = term.partition("=")
            if labels.get(key) != value:
                return False
    return True
