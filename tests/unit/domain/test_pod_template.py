"""What the installation's pod template may say, and what it may not."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain.pod_template import template_faults


def pod(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec or {}}


VOLUMES = [{"name": "v", "configMap": {"name": "ca"}}]


def base(**fields: Any) -> dict[str, Any]:
    return pod({"containers": [{"name": "base", **fields}], "volumes": VOLUMES})


def gateway(**fields: Any) -> dict[str, Any]:
    return pod({"initContainers": [{"name": "gateway", **fields}], "volumes": VOLUMES})


def volume(**source: Any) -> dict[str, Any]:
    return pod({"volumes": [{"name": "v", **source}]})


def both(**source: Any) -> dict[str, Any]:
    """Return a template whose two containers mount one volume."""
    mounts = [{"name": "v", "mountPath": "/etc/agents"}]
    containers = {"containers": [{"name": "base", "volumeMounts": mounts}],
                  "initContainers": [{"name": "gateway", "volumeMounts": mounts}]}  # fmt: skip
    return pod({**containers, "volumes": [{"name": "v", **source}]})


ALLOWED = [
    pod(labels={"team": "a"}, annotations={"example.com/note": "x"}),
    pod({"runtimeClassName": "gvisor", "nodeSelector": {"pool": "agents"}}),
    pod({"tolerations": [{"operator": "Exists"}], "affinity": {}, "topologySpreadConstraints": []}),
    pod({"imagePullSecrets": [{"name": "registry"}], "priorityClassName": "agents"}),
    pod({"hostUsers": False, "restartPolicy": "Never", "dnsPolicy": "ClusterFirst", "schedulerName": "mine"}),
    pod({"automountServiceAccountToken": None, "hostNetwork": None}),
    base(imagePullPolicy="Always", env=[{"name": "PIP_INDEX_URL", "value": "https://x.example.com"}]),
    base(volumeMounts=[{"name": "v", "mountPath": "/etc/agents"}]),
    base(envFrom=[{"configMapRef": {"name": "proxy"}}]),
    gateway(env=[{"name": "HTTPS_PROXY", "value": "http://p"}]),
    volume(configMap={"name": "ca"}),
    volume(emptyDir={}),
    both(configMap={"name": "ca"}),
    both(persistentVolumeClaim={"claimName": "models", "readOnly": True}),
    volume(persistentVolumeClaim={"claimName": "models", "readOnly": True}),
    {"apiVersion": "v1", "kind": "Pod"},
]

REFUSED: list[tuple[dict[str, Any], str]] = [
    (pod({"automountServiceAccountToken": True}), "spec.automountServiceAccountToken"),
    (pod({"automountServiceAccountToken": False}), "spec.automountServiceAccountToken"),
    (pod({"serviceAccountName": "admin"}), "spec.serviceAccountName"),
    (pod({"serviceAccount": "admin"}), "spec.serviceAccount"),
    (pod({"hostNetwork": True}), "spec.hostNetwork"),
    (pod({"hostPID": True}), "spec.hostPID"),
    (pod({"hostIPC": True}), "spec.hostIPC"),
    (pod({"hostUsers": True}), "spec.hostUsers"),
    (pod({"shareProcessNamespace": True}), "spec.shareProcessNamespace"),
    (pod({"securityContext": {"runAsUser": 0}}), "spec.securityContext"),
    (pod({"activeDeadlineSeconds": 5}), "spec.activeDeadlineSeconds"),
    (pod({"restartPolicy": "Always"}), "spec.restartPolicy"),
    (pod({"nodeName": "n"}), "spec.nodeName"),
    (pod({"ephemeralContainers": []}), "spec.ephemeralContainers"),
    (pod(name="x"), "metadata.name"),
    (pod(namespace="x"), "metadata.namespace"),
    (pod(finalizers=["x"]), "metadata.finalizers"),
    (pod(labels={"agents.airflow/step": "plan"}), "metadata.labels[agents.airflow/step]"),
    (pod(annotations={"agents.airflow/spec": "{}"}), "metadata.annotations[agents.airflow/spec]"),
    (
        pod(annotations={"container.apparmor.security.beta.kubernetes.io/base": "unconfined"}),
        "metadata.annotations[container.apparmor.security.beta.kubernetes.io/base]",
    ),
    (pod() | {"status": {"phase": "Running"}}, "Pod.status"),
    (base(securityContext={"privileged": True}), "spec.containers[0].securityContext"),
    (base(image="x"), "spec.containers[0].image"),
    (base(command=["sh"]), "spec.containers[0].command"),
    (base(resources={"limits": {"cpu": "1"}}), "spec.containers[0].resources"),
    (base(lifecycle={}), "spec.containers[0].lifecycle"),
    (base(env=[{"name": "AGENT_SPEC_FILE", "value": "x"}]), "spec.containers[0].env[0]"),
    (base(env=[{"name": "HOME", "value": "x"}]), "spec.containers[0].env[0]"),
    (
        base(env=[{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]),
        "spec.containers[0].env[0].valueFrom.secretKeyRef",
    ),
    (base(envFrom=[{"secretRef": {"name": "s"}}]), "spec.containers[0].envFrom[0].secretRef"),
    (base(volumeMounts=[{"name": "v", "mountPath": "/agent/secrets"}]), "spec.containers[0].volumeMounts[0].mountPath"),
    (base(volumeMounts=[{"name": "v", "mountPath": "/agent/../agent"}]), "spec.containers[0].volumeMounts[0].mountPath"),
    (base(volumeMounts=[{"name": "v", "mountPath": "/etc/../agent"}]), "spec.containers[0].volumeMounts[0].mountPath"),
    (base(volumeMounts=[{"name": "v", "mountPath": "//agent//x"}]), "spec.containers[0].volumeMounts[0].mountPath"),
    (base(volumeMounts=[{"name": "v", "mountPath": "/tmp/"}]), "spec.containers[0].volumeMounts[0].mountPath"),
    (base(volumeMounts=[{"name": "v", "mountPath": "/"}]), "spec.containers[0].volumeMounts[0].mountPath"),
    (
        base(volumeMounts=[{"name": "v", "mountPath": "/x", "mountPropagation": "Bidirectional"}]),
        "spec.containers[0].volumeMounts[0].mountPropagation",
    ),
    *(
        (make(volumeMounts=[{"name": name, "mountPath": "/x"}]), f"spec.{place}[0].volumeMounts[0].name")
        for make, place in ((base, "containers"), (gateway, "initContainers"))
        for name in ("credentials", "run", "ledger", "cache", "")
    ),
    (both(emptyDir={}), "spec.volumes[0].emptyDir"),
    (pod({"containers": [{"name": "other"}]}), "spec.containers[0]"),
    (pod({"containers": [{"name": "base"}, {"name": "sidecar"}]}), "spec.containers[1]"),
    (pod({"containers": [{"name": "base"}, {"name": "base"}]}), "spec.containers[1]"),
    (pod({"initContainers": [{"name": "base"}]}), "spec.initContainers[0]"),
    (gateway(securityContext={}), "spec.initContainers[0].securityContext"),
    (gateway(startupProbe={}), "spec.initContainers[0].startupProbe"),
    (gateway(env=[{"name": "AGENT_GATEWAY_CONFIG", "value": "{}"}]), "spec.initContainers[0].env[0]"),
    (volume(hostPath={"path": "/"}), "spec.volumes[0].hostPath"),
    (volume(secret={"secretName": "agent-secrets"}), "spec.volumes[0].secret"),
    (volume(projected={"sources": []}), "spec.volumes[0].projected"),
    (volume(csi={"driver": "x"}), "spec.volumes[0].csi"),
    (volume(nfs={"server": "x"}), "spec.volumes[0].nfs"),
    (volume(persistentVolumeClaim={"claimName": "other-run"}), "spec.volumes[0].persistentVolumeClaim.readOnly"),
]  # fmt: skip


@pytest.mark.parametrize("template", ALLOWED)
def test_where_pods_run_is_the_installations(template: dict[str, Any]) -> None:
    assert template_faults(template) == []


@pytest.mark.parametrize(("template", "field"), REFUSED, ids=[field for _, field in REFUSED])
def test_what_keeps_the_sandbox_is_the_steps(template: dict[str, Any], field: str) -> None:
    (fault,) = template_faults(template)
    assert fault.startswith(f"{field}: ")
    assert len(fault) > len(field) + 10


def test_every_fault_is_told_at_once() -> None:
    template = pod({"hostNetwork": True, "volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, name="x")
    assert [fault.split(":")[0] for fault in template_faults(template)] == [
        "metadata.name",
        "spec.hostNetwork",
        "spec.volumes[0].hostPath",
    ]
