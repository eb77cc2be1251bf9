"""The pod of a step: what it may, what it mounts, and that it holds no credential."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from fake_kubernetes import Kubernetes, to_json
from fakes import GitHub, Store, TaskInstance, accepted, context
from hypothesis import given
from hypothesis import strategies as st
from kubernetes.client import models as k8s

from agent_runner import contract
from agent_runner.contract import GatewayConfig, StepSpec
from agent_runner.gateway.ready import WAIT_SECONDS
from airflow_provider_agents.domain.quantity import half
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from airflow_provider_agents.operators.retry_policy import STEP_RETRIES
from airflow_provider_agents.operators.steps import AgentImplementOperator, AgentPlanOperator

TOKEN = "canary-token"
SECRET_VOLUME_SOURCES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}  # fmt: skip


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    monkeypatch.setenv("ANTHROPIC_API_KEY", TOKEN)
    return GitHub().install(monkeypatch)


def build(kind: Any = AgentImplementOperator, request: dict[str, Any] | None = None, **arguments: Any) -> Any:
    """Return the operator and the pod that it asks Kubernetes for, as JSON."""
    operator = kind(task_id="step", coding_task=accepted(**(request or {})), **arguments)
    kubernetes = Kubernetes()
    operator.__dict__.update(hook=kubernetes, client=kubernetes)
    ti = TaskInstance("step", retries=STEP_RETRIES)
    run = context(ti, Store())
    operator._task = operator.resolve_task(run)
    operator._spec = operator.build_spec(operator._task, run)
    return operator, to_json(operator.build_pod_request_obj(run))


def container(pod: dict[str, Any], name: str) -> dict[str, Any]:
    every = [*pod["spec"]["containers"], *pod["spec"].get("initContainers", ())]
    (found,) = [c for c in every if c["name"] == name]
    return found


def environment(pod: dict[str, Any], name: str) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in container(pod, name)["env"]}


def mounts(pod: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    return {mount["name"]: mount for mount in container(pod, name)["volumeMounts"]}


@pytest.mark.parametrize("wanted", [True, False])
def test_what_the_checkout_has_is_asked_for(wanted: bool) -> None:
    operator, _ = build(request={"submodules": wanted, "lfs": wanted})
    assert (operator._spec.submodules, operator._spec.lfs) == (wanted, wanted)


def test_the_pod_passes_the_rules_of_restricted_pod_security() -> None:
    _, pod = build()
    body = pod["spec"]
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        assert not body.get(key)
    for volume in body["volumes"]:
        assert set(volume) - {"name"} <= SECRET_VOLUME_SOURCES, volume
    security = body["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == 1000
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not security.get("sysctls")
    for each in [*body["containers"], *body["initContainers"]]:
        own = each["securityContext"]
        assert own["allowPrivilegeEscalation"] is False
        assert own["capabilities"] == {"drop": ["ALL"]}
        assert own["readOnlyRootFilesystem"] is True
        assert not own.get("privileged")
        assert "hostPort" not in json.dumps(each)
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            assert "host" not in json.dumps(each.get(probe, {}))


def test_no_service_account_token_and_no_service_links() -> None:
    _, pod = build(automount_service_account_token=True)
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert pod["spec"]["enableServiceLinks"] is False


def test_no_secret_is_anywhere_in_the_pod() -> None:
    _, pod = build()
    text = json.dumps(pod)
    assert TOKEN not in text
    for name in ("base", "gateway"):
        sources = [entry["valueFrom"] for entry in container(pod, name)["env"] if "valueFrom" in entry]
        assert all(set(source) == {"fieldRef"} for source in sources)
    assert "envFrom" not in text.replace('"envFrom": []', "")


def test_only_the_gateway_mounts_the_credentials() -> None:
    _, pod = build()
    (volume,) = [volume for volume in pod["spec"]["volumes"] if "secret" in json.dumps(volume)]
    (source,) = volume["projected"]["sources"]
    assert source["secret"]["name"] == "agent-secrets"
    assert source["secret"]["optional"] is True
    assert {item["key"] for item in source["secret"]["items"]} == {
        "github-token", "anthropic-api-key", "anthropic-oauth-token"
    }  # fmt: skip
    assert volume["name"] in mounts(pod, "gateway")
    assert mounts(pod, "gateway")[volume["name"]]["readOnly"] is True
    assert set(mounts(pod, "base")) == {"workspace", "home", "tmp", "spec", "gateway-url"}
    assert set(mounts(pod, "gateway")) == {"gateway-url", "ledger", "scratch", volume["name"]}


def test_the_agent_cannot_write_where_the_gateway_is_read_from() -> None:
    _, pod = build()
    assert mounts(pod, "base")["gateway-url"]["readOnly"] is True
    assert mounts(pod, "base")["spec"]["readOnly"] is True
    assert "readOnly" not in mounts(pod, "gateway")["gateway-url"]


def test_every_mount_has_its_volume() -> None:
    _, pod = build()
    volumes = [volume["name"] for volume in pod["spec"]["volumes"]]
    assert len(volumes) == len(set(volumes))
    assert {*mounts(pod, "base"), *mounts(pod, "gateway")} == set(volumes)


def test_both_containers_are_told_where_their_files_are() -> None:
    _, pod = build()
    base, gateway = environment(pod, "base"), environment(pod, "gateway")
    assert base[contract.ENV_GATEWAY_URL_FILE] == gateway[contract.ENV_GATEWAY_URL_FILE]
    for name in (
        contract.ENV_SPEC_FILE,
        contract.ENV_WORKSPACE,
        contract.ENV_HOME,
        contract.ENV_TERMINATION_LOG,
    ):
        assert base[name].startswith("/")
    for name in (contract.ENV_SECRETS_DIR, contract.ENV_LEDGER_DIR, contract.ENV_TERMINATION_LOG):
        assert gateway[name].startswith("/")
    assert contract.ENV_SECRETS_DIR not in base
    assert contract.ENV_LEDGER_DIR not in base
    for name in ("base", "gateway"):
        assert (
            container(pod, name)["terminationMessagePath"]
            == environment(pod, name)[contract.ENV_TERMINATION_LOG]
        )


def test_the_gateway_is_a_native_sidecar_probed_from_inside() -> None:
    _, pod = build()
    gateway = container(pod, "gateway")
    assert gateway["restartPolicy"] == "Always"
    probe = gateway["startupProbe"]
    assert probe["exec"]["command"] == ["agent-runner", "gateway-ready"]
    # The probe waits by itself; the kubelet must not cut it short, nor give up on a gateway that is slow.
    assert probe["timeoutSeconds"] >= 2 * WAIT_SECONDS
    assert probe["failureThreshold"] * (WAIT_SECONDS + probe["periodSeconds"]) >= 60
    assert "httpGet" not in gateway["startupProbe"]
    assert gateway["resources"]["limits"]


@pytest.mark.parametrize(("kind", "push"), [(AgentImplementOperator, True), (AgentPlanOperator, False)])
def test_the_gateway_lets_one_repository_and_one_branch_through(kind: Any, push: bool) -> None:
    operator, pod = build(kind)
    config = GatewayConfig.from_json(environment(pod, "gateway")[contract.ENV_GATEWAY_CONFIG])
    assert config.repository == "acme/shop"
    assert config.work_branch == operator._spec.work_branch
    assert config.push is push


def test_the_annotation_holds_the_specification_verbatim() -> None:
    text = "{{ 7*7 }} {% raw %} {{ ti.run_id }}"
    operator, pod = build(request={"prompt": text})
    sent = pod["metadata"]["annotations"][SPEC_ANNOTATION]
    assert sent == operator._spec.to_json()
    assert text in StepSpec.from_json(sent).prompt
    (volume,) = [volume for volume in pod["spec"]["volumes"] if volume["name"] == "spec"]
    (item,) = volume["downwardAPI"]["items"]
    assert item["fieldRef"]["fieldPath"] == f"metadata.annotations['{SPEC_ANNOTATION}']"
    assert environment(pod, "base")[contract.ENV_SPEC_FILE].endswith(f"/{item['path']}")


def test_the_specification_is_in_no_rendered_field() -> None:
    operator, _ = build()
    for name in operator.template_fields:
        assert 'work_branch":"ai/' not in str(getattr(operator, name)), name
    assert SPEC_ANNOTATION not in str(operator.annotations)


@pytest.mark.parametrize("minutes", [1, 30, 1_440])
@pytest.mark.parametrize("explicit", [False, True])
def test_limits_nest(minutes: int, explicit: bool) -> None:
    if explicit:
        operator, pod = build(step_timeout=timedelta(minutes=minutes))
    else:
        operator, pod = build(request={"step_timeout": minutes})
    runner = operator._spec.limits.seconds
    deadline = pod["spec"]["activeDeadlineSeconds"]
    grace = pod["spec"]["terminationGracePeriodSeconds"]
    assert runner == minutes * 60
    assert operator.startup_timeout_seconds + runner < deadline
    assert deadline + grace < operator.execution_timeout.total_seconds()


def test_labels_name_the_run_and_are_valid() -> None:
    _, pod = build(request={"issue_number": 3})
    labels = pod["metadata"]["labels"]
    assert labels["agents.airflow/step"] == "implement"
    assert labels["agents.airflow/ticket"] == "3"
    assert labels["agents.airflow/run"] == "run_1"
    assert labels["agents.airflow/installation"] == "default"
    assert labels["agents.airflow/generation"] == "0"
    for value in labels.values():
        assert re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?", value), value


def test_what_the_user_sets_wins() -> None:
    security = k8s.V1SecurityContext(run_as_user=2000)
    _, pod = build(
        request={"cpu": "1", "image": "agent:request"},
        name="mine",
        namespace="elsewhere",
        image="agent:mine",
        cmds=["sh"],
        arguments=["-c", "true"],
        container_security_context=security,
        security_context={"runAsUser": 2000},
        container_resources=k8s.V1ResourceRequirements(limits={"cpu": "9"}),
        service_account_name="mine",
        labels={"team": "a"},
        annotations={"note": "b"},
        active_deadline_seconds=99,
        termination_grace_period=7,
        env_vars={"COLOUR": "red"},
        volumes=[k8s.V1Volume(name="mine", empty_dir=k8s.V1EmptyDirVolumeSource())],
        volume_mounts=[k8s.V1VolumeMount(name="mine", mount_path="/mine")],
        node_selector={"disk": "ssd"},
        tolerations=[k8s.V1Toleration(key="agents", operator="Exists")],
    )
    base = container(pod, "base")
    assert pod["metadata"]["name"].startswith("mine-")
    assert pod["metadata"]["namespace"] == "elsewhere"
    assert (base["image"], base["command"], base["args"]) == ("agent:mine", ["sh"], ["-c", "true"])
    assert base["securityContext"] == {"runAsUser": 2000}
    assert pod["spec"]["securityContext"] == {"runAsUser": 2000}
    assert base["resources"] == {"limits": {"cpu": "9"}}
    assert pod["spec"]["serviceAccountName"] == "mine"
    assert pod["metadata"]["labels"]["team"] == "a"
    assert pod["metadata"]["annotations"]["note"] == "b"
    assert pod["spec"]["activeDeadlineSeconds"] == 99
    assert pod["spec"]["terminationGracePeriodSeconds"] == 7
    assert environment(pod, "base")["COLOUR"] == "red"
    assert mounts(pod, "base")["mine"]["mountPath"] == "/mine"
    assert pod["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert pod["spec"]["tolerations"][0]["key"] == "agents"


@pytest.mark.parametrize(
    ("request_", "arguments", "image", "cpu", "memory"),
    [
        ({}, {}, "airflow-agents/agent:latest", "4", "8Gi"),
        ({"image": "a:1", "cpu": "2", "memory": "1Gi"}, {}, "a:1", "2", "1Gi"),
        ({"image": "a:1", "cpu": "2"}, {"image": "b:1", "cpu": "1", "memory": "2Gi"}, "b:1", "1", "2Gi"),
    ],
)
def test_operator_before_request_before_installation(
    request_: dict[str, Any], arguments: dict[str, Any], image: str, cpu: str, memory: str
) -> None:
    _, pod = build(request=request_, **arguments)
    assert container(pod, "base")["image"] == container(pod, "gateway")["image"] == image
    assert container(pod, "base")["resources"]["limits"] == {"cpu": cpu, "memory": memory}
    assert container(pod, "base")["resources"]["requests"] == {"cpu": half(cpu), "memory": half(memory)}


@pytest.mark.parametrize(
    ("request_", "arguments", "image"),
    [
        ({"image_preset": "rust"}, {}, "agent:1-rust"),
        # A task that was accepted without a preset.
        ({}, {}, "agent:1-full"),
        ({"image": "a:1", "image_preset": "rust"}, {}, "a:1"),
        ({"image_preset": "rust"}, {"image": "b:1"}, "b:1"),
    ],
)
def test_the_preset_stands_in_the_image_of_the_installation(
    request_: dict[str, Any], arguments: dict[str, Any], image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", "agent:1-{preset}")
    _, pod = build(request=request_, **arguments)
    assert container(pod, "base")["image"] == container(pod, "gateway")["image"] == image


def test_two_tries_do_not_share_a_name() -> None:
    assert build()[1]["metadata"]["name"] != build()[1]["metadata"]["name"]


@pytest.mark.parametrize(
    ("whole", "expected"),
    [
        ("4", "2000m"),
        ("1", "500m"),
        ("0.5", "250m"),
        ("1.5", "750m"),
        ("500m", "250m"),
        ("3m", "1m"),
        ("1m", "1m"),
        ("8Gi", "4Gi"),
        ("7Gi", "3584Mi"),
        ("1Gi", "512Mi"),
        ("1.5Gi", "768Mi"),
        ("1Ti", "512Gi"),
        ("512Mi", "256Mi"),
        ("1Mi", "512Ki"),
        ("1Ki", "1Ki"),
        ("2G", "1G"),
        ("1G", "500M"),
        ("1M", "500k"),
        ("100k", "50k"),
        ("1k", "1k"),
        ("1000000000", "500000000000m"),
    ],
)
def test_half(whole: str, expected: str) -> None:
    assert half(whole) == expected


def _amount(quantity: str) -> float:
    units = {
        "m": 0.001,
        "": 1,
        "k": 1e3,
        "M": 1e6,
        "G": 1e9,
        "T": 1e12,
        "Ki": 2**10,
        "Mi": 2**20,
        "Gi": 2**30,
        "Ti": 2**40,
    }
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", quantity)
    assert match
    return float(match[1]) * units[match[2]]


@given(st.integers(2, 9_999), st.sampled_from(["m", "", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"]))
def test_half_is_about_half_and_never_more_than_the_whole(number: int, unit: str) -> None:
    whole = f"{number}{unit}"
    assert _amount(whole) * 0.3 <= _amount(half(whole)) <= _amount(whole) * 0.5 + 1e-9


@pytest.mark.parametrize("volume", ["credentials", "ledger", "scratch", "workspace", "tmp"])
def test_containers_of_the_user_mount_no_volume_of_the_step(volume: str) -> None:
    """Else an operator's ``volume_mounts`` or template would hand the gateway's secret to the agent."""
    mount = k8s.V1VolumeMount(name=volume, mount_path="/x")
    with pytest.raises(InvalidInputError, match=f"container base: it mounts '{volume}'"):
        build(volume_mounts=[mount])
    own = k8s.V1Volume(name=volume, empty_dir=k8s.V1EmptyDirVolumeSource())
    with pytest.raises(InvalidInputError, match=f"the step has a volume '{volume}' of its own"):
        build(volumes=[own])
