"""Which parts of the agents' pods an installation may decide, and which are the steps' own.

The template says *where* pods run: runtime class, nodes, spreading, priority, image pull secrets; and gives
the containers the variables and files that a network needs (a proxy, a private certificate authority). What
makes the pod safe (users, capabilities, volumes of the host, tokens) is the step's, and a template that
names it is refused, so that nobody believes in a setting that does nothing or weakens the sandbox unseen.
"""

from __future__ import annotations

from posixpath import normpath
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pod_fields import BASE_CONTAINER, GATEWAY_CONTAINER

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

OWN_PREFIX = "agents.airflow/"

_POD = frozenset(
    {
        "affinity", "containers", "dnsConfig", "dnsPolicy", "hostAliases", "hostUsers", "imagePullSecrets",
        "initContainers", "nodeSelector", "preemptionPolicy", "priorityClassName", "restartPolicy",
        "runtimeClassName", "schedulerName", "tolerations", "topologySpreadConstraints", "volumes",
    }
)  # fmt: skip
_BASE = frozenset({"name", "env", "envFrom", "imagePullPolicy", "volumeMounts"})
_GATEWAY = frozenset({"name", "env", "envFrom", "volumeMounts"})
_VOLUMES = ("configMap", "emptyDir", "persistentVolumeClaim")
_OWN_FOLDERS = ("/agent", "/tmp", "/dev", "/proc", "/sys")
_OWN_VARIABLES = ("HOME", "TMPDIR")

_NO_TOKEN = "agents get no token of a service account"
_NODE = "agents share nothing with the node that they run on"
_SAFE = "the step sets it, as Pod Security `restricted` asks"
_LIMITS = "the step sets it, so that the limits of runner, pod and task stay nested"
_SIZE = "cpu and memory are the request's; limit the rest with a LimitRange"
_NAMES = "the step names its pods"
_NO_CREDENTIAL = "the agent's container holds no credential; put it into `[agents] secret`, for the gateway"

_WHY: dict[str, str] = {
    "activeDeadlineSeconds": _LIMITS,
    "terminationGracePeriodSeconds": _LIMITS,
    "automountServiceAccountToken": _NO_TOKEN,
    "serviceAccountName": "set `[agents] service_account`",
    "serviceAccount": "set `[agents] service_account`",
    "hostNetwork": _NODE,
    "hostPID": _NODE,
    "hostIPC": _NODE,
    "securityContext": _SAFE,
    "shareProcessNamespace": "the agent must not see the gateway's processes",
    "ephemeralContainers": "a pod cannot be made with them",
    "resources": _SIZE,
    "image": "set `[agents] image`",
    "command": "the step sets it",
    "args": "the step sets it",
    "name": _NAMES,
    "generateName": _NAMES,
    "namespace": "set `[agents] namespace`",
}

_VOLUME_WHY: dict[str, str] = {
    "hostPath": _NODE,
    "secret": _NO_CREDENTIAL,
    "projected": f"{_NO_TOKEN}, and no credential",
    "csi": _NO_CREDENTIAL,
}


def template_faults(pod: Mapping[str, Any]) -> list[str]:
    """Return why a pod cannot be the template of the agents' pods, one text for each field; empty: it can.

    :param pod: a Pod as Kubernetes writes it, of which the types of fields are checked already.
    """
    metadata, spec = pod.get("metadata") or {}, pod.get("spec") or {}
    return [
        *_others(pod, {"apiVersion", "kind", "metadata", "spec"}, "Pod"),
        *_others(metadata, {"labels", "annotations"}, "metadata"),
        *_own_names(metadata),
        *_others(spec, _POD, "spec"),
        *_switches(spec),
        *_container_faults(spec.get("containers") or [], "spec.containers", BASE_CONTAINER, _BASE),
        *_container_faults(
            spec.get("initContainers") or [], "spec.initContainers", GATEWAY_CONTAINER, _GATEWAY
        ),
        *_volume_faults(spec.get("volumes") or []),
        *_mixed_faults(spec),
    ]


def _others(given: Mapping[str, Any], allowed: Iterable[str], place: str) -> list[str]:
    return [
        f"{place}.{name}: {_WHY.get(name, 'it is not a field that a template of agents may set')}"
        for name, value in given.items()
        if name not in allowed and value is not None
    ]


def _own_names(metadata: Mapping[str, Any]) -> list[str]:
    return [
        f"metadata.{kind}[{name}]: {why}"
        for kind in ("labels", "annotations")
        for name in metadata.get(kind) or {}
        if (why := _own_name(name))
    ]


def _own_name(name: str) -> str | None:
    if name.startswith(OWN_PREFIX):
        return f"names that begin with {OWN_PREFIX} are the steps'"
    if name.split("/")[0] in ("container.apparmor.security.beta.kubernetes.io", "seccomp.security.alpha.kubernetes.io"):  # fmt: skip
        return _SAFE
    return None


def _switches(spec: Mapping[str, Any]) -> list[str]:
    faults = []
    if spec.get("hostUsers"):
        faults.append(f"spec.hostUsers: only false, a user namespace of its own: {_NODE}")
    if spec.get("restartPolicy") not in (None, "Never"):
        faults.append("spec.restartPolicy: only Never: Airflow repeats a step, which then reads what it did")
    return faults


def _container_faults(
    containers: Sequence[Mapping[str, Any]], place: str, name: str, allowed: Iterable[str]
) -> list[str]:
    faults: list[str] = []
    for index, container in enumerate(containers):
        here = f"{place}[{index}]"
        if container.get("name") != name or index:
            faults.append(f"{here}: only one may be here, and it is named {name}")
            continue
        faults += _others(container, allowed, here)
        faults += _variable_faults(container, here)
        faults += _mount_faults(container.get("volumeMounts") or [], here)
    return faults


def _variable_faults(container: Mapping[str, Any], place: str) -> list[str]:
    faults = []
    for index, entry in enumerate(container.get("env") or []):
        name = str(entry.get("name") or "")
        if name in _OWN_VARIABLES or name.startswith("AGENT_"):
            faults.append(f"{place}.env[{index}]: {name} is the step's")
        if (entry.get("valueFrom") or {}).get("secretKeyRef") is not None:
            faults.append(f"{place}.env[{index}].valueFrom.secretKeyRef: {_NO_CREDENTIAL}")
    for index, entry in enumerate(container.get("envFrom") or []):
        if entry.get("secretRef") is not None:
            faults.append(f"{place}.envFrom[{index}].secretRef: {_NO_CREDENTIAL}")
    return faults


def _mount_faults(mounts: Sequence[Mapping[str, Any]], place: str) -> list[str]:
    faults = []
    for index, mount in enumerate(mounts):
        path = normpath("/" + str(mount.get("mountPath") or "").strip("/"))
        here = f"{place}.volumeMounts[{index}]"
        if path == "/" or any(f"{path}/".startswith(f"{own}/") for own in _OWN_FOLDERS):
            faults.append(
                f"{here}.mountPath: {path} is the step's; choose a folder of its own, such as /etc/agents"
            )
        if mount.get("mountPropagation") not in (None, "None"):
            faults.append(f"{here}.mountPropagation: {_NODE}")
    return faults


def _mixed_faults(spec: Mapping[str, Any]) -> list[str]:
    """Return where a container reaches into what is the step's, or the other container's."""
    volumes = spec.get("volumes") or []
    own = {volume.get("name") for volume in volumes}
    mounted: dict[str, set[str]] = {"containers": set(), "initContainers": set()}
    faults = []
    for kind, names in mounted.items():
        for index, container in enumerate(spec.get(kind) or []):
            for place, mount in enumerate(container.get("volumeMounts") or []):
                name = str(mount.get("name") or "")
                names.add(name)
                if name not in own:
                    faults.append(
                        f"spec.{kind}[{index}].volumeMounts[{place}].name: {name!r} is no volume of the template; "
                        "the step's own, with credentials and other runs' files, are not shared"
                    )
    shared = mounted["containers"] & mounted["initContainers"]
    faults += [
        f"spec.volumes[{index}].emptyDir: the agent would write what the gateway reads; give each a volume of its own"
        for index, volume in enumerate(volumes)
        if volume.get("emptyDir") is not None and volume.get("name") in shared
    ]
    return faults


def _volume_faults(volumes: Sequence[Mapping[str, Any]]) -> list[str]:
    faults = []
    for index, volume in enumerate(volumes):
        here = f"spec.volumes[{index}]"
        for kind in sorted(kind for kind, value in volume.items() if kind != "name" and value is not None):
            if kind not in _VOLUMES:
                why = _VOLUME_WHY.get(kind, f"only {', '.join(_VOLUMES)} may be mounted")
                faults.append(f"{here}.{kind}: {why}")
        claim = volume.get("persistentVolumeClaim")
        if claim is not None and claim.get("readOnly") is not True:
            faults.append(
                f"{here}.persistentVolumeClaim.readOnly: must be true: what one run writes, another must not read"
            )
    return faults
