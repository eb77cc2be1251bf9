"""The installation's template of the agents' pods: ``<[agents] config_path>/pod_template.yaml``.

Read when a pod is made, by the worker: a change holds from the next pod on. Nothing of the Kubernetes client
is imported with this module.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.domain.pod_fields import BASE_CONTAINER, GATEWAY_CONTAINER
from airflow_provider_agents.domain.pod_template import template_faults
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from kubernetes.client import models as k8s

TEMPLATE_FILE = "pod_template.yaml"
LONGEST = 256 * 1024
"""Bytes that a template may have: more than an object of Kubernetes."""

_KINDS = ("Pod", "PodTemplate")
_LIST = re.compile(r"list\[(.+)\]")
_MAPPING = re.compile(r"dict[\[(]str, (.+)[\])]")
_PRIMITIVES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
}


@dataclass(frozen=True, slots=True)
class PodTemplate:
    """A template that was read and checked.

    :param pod: the Pod for ``KubernetesPodOperator``'s ``pod_template_dict``.
    :param gateway: what it says about the gateway's container; empty: nothing.
    """

    pod: dict[str, Any]
    gateway: dict[str, Any]

    def complete(self, pod: k8s.V1Pod) -> k8s.V1Pod:
        """Add to a finished pod of a step what the template gives the gateway, and return it."""
        from kubernetes.client import ApiClient

        if self.gateway:
            extra = ApiClient()._ApiClient__deserialize(self.gateway, "V1Container")
            gateway = next(each for each in pod.spec.init_containers if each.name == GATEWAY_CONTAINER)
            # Before the step's own: where a name comes twice, the last one counts.
            gateway.env = [*(extra.env or []), *(gateway.env or [])]
            gateway.env_from = extra.env_from
            gateway.volume_mounts = [*(gateway.volume_mounts or []), *(extra.volume_mounts or [])]
        return pod


def installed_template() -> PodTemplate | None:
    """Return the installation's template; ``None`` if it has none.

    :raises InvalidInputError: with every fault of the file, by its field.
    """
    folder = settings.config_folder()
    if folder is None or not (folder / TEMPLATE_FILE).is_file():
        return None
    return read_template(folder / TEMPLATE_FILE)


@contextmanager
def template_for(operator: KubernetesPodOperator) -> Iterator[PodTemplate | None]:
    """Let ``operator`` build its pod with the installation's template, unless it was given one of its own.

    For the length of the block only: the operator's own arguments are template fields, which Airflow renders.

    :raises InvalidInputError: with every fault of the file, by its field.
    """
    given = operator.pod_template_file or operator.pod_template_dict or operator.full_pod_spec
    template = None if given else installed_template()
    if template is None:
        yield None
        return
    operator.pod_template_dict = template.pod
    try:
        yield template
    finally:
        operator.pod_template_dict = None


def read_template(file: Path) -> PodTemplate:
    """Read and check a template.

    :raises InvalidInputError: with every fault of the file, by its field.
    """
    pod = _pod_of(_parse(file), file)
    faults = _type_faults(pod, "V1Pod", "") or template_faults(pod)
    if faults:
        raise InvalidInputError([f"{file}: {fault}" for fault in faults])
    (gateway,) = pod["spec"].pop("initContainers", None) or [{}]
    return PodTemplate(pod, gateway)


def _parse(file: Path) -> Any:
    import yaml

    try:
        if file.stat().st_size > LONGEST:
            raise InvalidInputError([f"{file}: larger than {LONGEST:,} bytes"])
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError([f"{file}: cannot be read: {error}"]) from error
    except yaml.YAMLError as error:
        raise InvalidInputError([f"{file}: is not YAML: {error}"]) from error


def _pod_of(value: Any, file: Path) -> dict[str, Any]:
    """Return the Pod, or the Pod in the PodTemplate."""
    kind = value.get("kind") if isinstance(value, dict) else None
    if kind not in _KINDS or value.get("apiVersion") != "v1":
        raise InvalidInputError(
            [f"{file}: one object is needed, `apiVersion: v1` and `kind: {_KINDS[0]}` or `{_KINDS[1]}`"]
        )
    pod = value if kind == "Pod" else value.get("template") or {}
    if not isinstance(pod, dict):
        raise InvalidInputError([f"{file}: template: a mapping is needed"])
    spec = pod.get("spec") or {}
    if isinstance(spec, dict):
        # A pod without containers is none to the client.
        spec = {**spec, "containers": spec.get("containers") or [{"name": BASE_CONTAINER}]}
    return {"apiVersion": "v1", "kind": "Pod", **pod, "spec": spec}


def _type_faults(value: Any, kind: str, place: str) -> list[str]:
    """Return what the API server would not understand: the client drops a field that it does not know.

    :param kind: a type as the Kubernetes client names it.
    """
    if value is None or kind in ("object", "datetime"):
        return []
    here = place or "the pod"
    if kind in _PRIMITIVES:
        wanted = _PRIMITIVES[kind]
        if isinstance(value, wanted) and (kind == "bool" or not isinstance(value, bool)):
            return []
        hint = "; put it into quotes" if kind == "str" and isinstance(value, (bool, int, float)) else ""
        return [f"{here}: {value!r} is no {kind}{hint}"]
    if found := _LIST.fullmatch(kind):
        if not isinstance(value, list):
            return [f"{here}: a list is needed"]
        inner = [_type_faults(entry, found[1], f"{place}[{index}]") for index, entry in enumerate(value)]
        return [fault for faults in inner for fault in faults]
    if not isinstance(value, dict):
        return [f"{here}: a mapping is needed"]
    if found := _MAPPING.fullmatch(kind):
        inner = [_type_faults(entry, found[1], f"{place}[{name}]") for name, entry in value.items()]
        return [fault for faults in inner for fault in faults]
    return _model_faults(value, kind, place)


def _model_faults(value: dict[str, Any], kind: str, place: str) -> list[str]:
    from kubernetes.client import ApiClient, models

    model = getattr(models, kind)
    types = {wire: model.openapi_types[name] for name, wire in model.attribute_map.items()}
    faults = []
    for name, entry in value.items():
        where = f"{place}.{name}" if place else str(name)
        if name not in types:
            faults.append(f"{where}: there is no such field")
        else:
            faults += _type_faults(entry, types[name], where)
    if not faults:
        try:
            ApiClient()._ApiClient__deserialize(value, kind)
        except ValueError as error:  # a field that has to be there, or a value that is none of a few
            faults.append(f"{place or 'the pod'}: {error}")
    return faults
