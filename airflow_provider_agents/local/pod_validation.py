"""What makes a pod valid, and which parts of a valid pod this runtime cannot run."""

from __future__ import annotations

from typing import Any

from airflow_provider_agents.local import downward, names
from airflow_provider_agents.local.api_errors import Fault, Json
from airflow_provider_agents.local.validation import check_quantity, duplicates
from airflow_provider_agents.local.volumes import SOURCES, is_inside

_VALUE_SOURCES = ("fieldRef", "resourceFieldRef", "secretKeyRef", "configMapKeyRef")
_PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
_ACTIONS = ("exec", "httpGet", "tcpSocket")
_UNSUPPORTED = "the local pod runtime does not support this; run the pod on a cluster, or leave it out"


def validate_pod(pod: Json) -> list[Fault]:
    """Check the specification of a pod (after defaults)."""
    spec = pod.get("spec") or {}
    faults = _validate_spec(spec)
    containers, early = spec.get("containers") or [], spec.get("initContainers") or []
    if not containers:
        faults.append(Fault("spec.containers", "Required", "a pod has at least one container"))
    volumes = {volume.get("name") for volume in spec.get("volumes") or []}
    for field, entries in (("spec.initContainers", early), ("spec.containers", containers)):
        for index, container in enumerate(entries):
            faults += _validate_container(f"{field}[{index}]", container, volumes)
    faults += duplicates("spec.containers[{}].name", [entry.get("name") for entry in containers])
    everyone = [entry.get("name") for entry in [*containers, *early]]
    if len(set(everyone[: len(containers)])) == len(containers):
        for fault in duplicates("{}", everyone):
            index = int(fault.field) - len(containers)
            faults.append(Fault(f"spec.initContainers[{index}].name", "Duplicate", "", fault.value))
    for index, volume in enumerate(spec.get("volumes") or []):
        faults += _validate_volume(f"spec.volumes[{index}]", volume)
    faults += duplicates(
        "spec.volumes[{}].name", [volume.get("name") for volume in spec.get("volumes") or []]
    )
    return faults


def validate_update(old: Json, new: Json) -> list[Fault]:
    """Check a change of a pod's specification: only ``activeDeadlineSeconds`` may be set or shortened."""
    before, after = dict(old["spec"]), dict(new["spec"])
    was, now = before.pop("activeDeadlineSeconds", None), after.pop("activeDeadlineSeconds", None)
    if before != after:
        detail = "pod updates may not change fields other than `spec.activeDeadlineSeconds`"
        return [Fault("spec", "Forbidden", detail)]
    field = "spec.activeDeadlineSeconds"
    if now is None and was is not None:
        return [Fault(field, "Invalid", "must not update from a positive integer to nil value", was)]
    if now is not None and was is not None and now > was:
        return [Fault(field, "Invalid", "must be less than or equal to previous value", now)]
    return _check_deadline(now)


def _check_deadline(value: Any) -> list[Fault]:
    if value is None or (isinstance(value, int) and 1 <= value <= 2**31 - 1):
        return []
    return [Fault("spec.activeDeadlineSeconds", "Invalid", "must be between 1 and 2147483647", value)]


def _validate_spec(spec: Json) -> list[Fault]:
    faults = _check_deadline(spec.get("activeDeadlineSeconds"))
    if spec.get("restartPolicy") != "Never":
        detail = "the local pod runtime supports the restart policy Never only"
        faults.append(Fault("spec.restartPolicy", "NotSupported", detail, spec.get("restartPolicy")))
    grace = spec.get("terminationGracePeriodSeconds")
    if not isinstance(grace, int) or grace < 0:
        detail = "must be greater than or equal to 0"
        faults.append(Fault("spec.terminationGracePeriodSeconds", "Invalid", detail, grace))
    if spec.get("ephemeralContainers"):
        faults.append(Fault("spec.ephemeralContainers", "Forbidden", _UNSUPPORTED))
    return faults


def _validate_container(field: str, container: Json, volumes: set[Any]) -> list[Fault]:
    faults = []
    name = container.get("name")
    if not name:
        faults.append(Fault(f"{field}.name", "Required", "a container has a name"))
    elif problem := names.dns_label(name):
        faults.append(Fault(f"{field}.name", "Invalid", problem, name))
    if not container.get("image"):
        faults.append(Fault(f"{field}.image", "Required", "a container has an image"))
    policy, early = container.get("restartPolicy"), field.startswith("spec.initContainers")
    if policy is not None and not (early and policy == "Always"):
        detail = "only an init container may have a restart policy, and it is Always"
        faults.append(Fault(f"{field}.restartPolicy", "NotSupported", detail, policy))
    if container.get("lifecycle"):
        faults.append(Fault(f"{field}.lifecycle", "Forbidden", _UNSUPPORTED))
    for index, mount in enumerate(container.get("volumeMounts") or []):
        faults += _validate_mount(f"{field}.volumeMounts[{index}]", mount, volumes)
    faults += duplicates(
        f"{field}.volumeMounts[{{}}].mountPath",
        [mount.get("mountPath") for mount in container.get("volumeMounts") or []],
    )
    for index, entry in enumerate(container.get("env") or []):
        faults += _validate_variable(f"{field}.env[{index}]", entry)
    for probe in _PROBES:
        faults += _validate_probe(f"{field}.{probe}", probe, container, early)
    for kind in ("limits", "requests"):
        for resource, value in ((container.get("resources") or {}).get(kind) or {}).items():
            faults += check_quantity(f"{field}.resources.{kind}[{resource}]", value)
    return faults


def _validate_mount(field: str, mount: Json, volumes: set[Any]) -> list[Fault]:
    faults = []
    path = mount.get("mountPath")
    if not path:
        faults.append(Fault(f"{field}.mountPath", "Required", "a mount has a path"))
    elif ":" in path:
        faults.append(Fault(f"{field}.mountPath", "Invalid", "must not contain ':'", path))
    elif not path.startswith("/") or not path.strip("/"):
        faults.append(
            Fault(f"{field}.mountPath", "Invalid", "must be an absolute path other than the root", path)
        )
    if mount.get("name") not in volumes:
        faults.append(Fault(f"{field}.name", "NotFound", "", mount.get("name")))
    if mount.get("subPath") and not is_inside(mount["subPath"]):
        detail = "must be a relative path that does not lead out of the volume"
        faults.append(Fault(f"{field}.subPath", "Invalid", detail, mount["subPath"]))
    return faults


def _validate_variable(field: str, entry: Json) -> list[Fault]:
    name = entry.get("name")
    if not name:
        return [Fault(f"{field}.name", "Required", "a variable has a name")]
    faults = []
    if problem := names.environment_name(name):
        faults.append(Fault(f"{field}.name", "Invalid", problem, name))
    source = {key: value for key, value in (entry.get("valueFrom") or {}).items() if value is not None}
    if not source:
        return faults
    if entry.get("value"):
        faults.append(Fault(f"{field}.valueFrom", "Invalid", "may not be given beside a value"))
    if len(source) != 1 or next(iter(source)) not in _VALUE_SOURCES:
        detail = f"must be exactly one of {', '.join(_VALUE_SOURCES)}"
        return [*faults, Fault(f"{field}.valueFrom", "Invalid", detail)]
    if reference := source.get("fieldRef"):
        path = reference.get("fieldPath", "")
        if not downward.is_field(path) or path in ("metadata.labels", "metadata.annotations"):
            detail = "no field that a variable can be made from"
            faults.append(Fault(f"{field}.valueFrom.fieldRef.fieldPath", "Invalid", detail, path))
    for kind in ("secretKeyRef", "configMapKeyRef"):
        if reference := source.get(kind):
            faults += [
                Fault(f"{field}.valueFrom.{kind}.{part}", "Required", "must not be empty")
                for part in ("name", "key")
                if not reference.get(part)
            ]
    return faults


def _validate_probe(field: str, kind: str, container: Json, early: bool) -> list[Fault]:
    if not (probe := container.get(kind)):
        return []
    if early and container.get("restartPolicy") != "Always":
        return [Fault(field, "Forbidden", "only a sidecar among the init containers may have probes")]
    actions = [action for action in (*_ACTIONS, "grpc") if probe.get(action) is not None]
    if len(actions) != 1:
        return [Fault(field, "Required", "exactly one of exec, httpGet and tcpSocket")]
    faults = []
    if actions == ["grpc"]:
        faults.append(Fault(f"{field}.grpc", "Forbidden", _UNSUPPORTED))
    if actions == ["exec"] and not probe["exec"].get("command"):
        faults.append(Fault(f"{field}.exec.command", "Required", "must not be empty"))
    if actions[0] in ("httpGet", "tcpSocket") and not probe[actions[0]].get("port"):
        faults.append(Fault(f"{field}.{actions[0]}.port", "Required", "a probe has a port"))
    if kind != "readinessProbe" and (probe.get("successThreshold") or 1) != 1:
        faults.append(Fault(f"{field}.successThreshold", "Invalid", "must be 1", probe["successThreshold"]))
    return faults


def _validate_volume(field: str, volume: Json) -> list[Fault]:
    faults = []
    name = volume.get("name")
    if not name:
        faults.append(Fault(f"{field}.name", "Required", "a volume has a name"))
    elif problem := names.dns_label(name):
        faults.append(Fault(f"{field}.name", "Invalid", problem, name))
    kinds = [key for key, value in volume.items() if key != "name" and value is not None]
    if len(kinds) != 1:
        detail = f"exactly one of {', '.join(SOURCES)}" if kinds else "must specify a volume type"
        return [*faults, Fault(field, "Required" if not kinds else "Forbidden", detail)]
    kind = kinds[0]
    if kind not in SOURCES:
        return [*faults, Fault(f"{field}.{kind}", "Forbidden", _UNSUPPORTED)]
    source = volume[kind]
    name_field = {"secret": "secretName", "configMap": "name", "persistentVolumeClaim": "claimName"}.get(kind)
    if name_field and not source.get(name_field):
        faults.append(Fault(f"{field}.{kind}.{name_field}", "Required", "must not be empty"))
    sources = [(f"{field}.{kind}", source)]
    if kind == "projected":
        sources, faults = [], [*faults, *_validate_projected(field, source)]
        for index, entry in enumerate(source.get("sources") or []):
            for part in ("secret", "configMap", "downwardAPI"):
                if entry.get(part) is not None:
                    sources.append((f"{field}.projected.sources[{index}].{part}", entry[part]))
    for place, entry in sources:
        faults += _validate_items(place, entry)
    return faults


def _validate_projected(field: str, source: Json) -> list[Fault]:
    faults = []
    for index, entry in enumerate(source.get("sources") or []):
        place = f"{field}.projected.sources[{index}]"
        for kind, value in entry.items():
            if value is None:
                continue
            if kind not in ("secret", "configMap", "downwardAPI"):
                faults.append(Fault(f"{place}.{kind}", "Forbidden", _UNSUPPORTED))
            elif kind != "downwardAPI" and not value.get("name"):
                faults.append(Fault(f"{place}.{kind}.name", "Required", "must not be empty"))
    return faults


def _validate_items(field: str, source: Json) -> list[Fault]:
    faults = []
    is_downward = field.endswith("downwardAPI")
    for index, item in enumerate(source.get("items") or []):
        place = f"{field}.items[{index}]"
        if not is_inside(item.get("path") or "") or (item.get("path") or "").startswith(".."):
            detail = "must be a relative path that does not lead out of the volume"
            faults.append(Fault(f"{place}.path", "Invalid", detail, item.get("path") or ""))
        if not is_downward:
            if not item.get("key"):
                faults.append(Fault(f"{place}.key", "Required", "must not be empty"))
        elif reference := item.get("fieldRef"):
            if not downward.is_field(reference.get("fieldPath", "")):
                detail = "no field of a pod that a volume can hold"
                path = reference.get("fieldPath", "")
                faults.append(Fault(f"{place}.fieldRef.fieldPath", "Invalid", detail, path))
        elif not (item.get("resourceFieldRef") or {}).get("containerName"):
            faults.append(Fault(f"{place}.resourceFieldRef", "Required", "containerName must not be empty"))
    return faults
