"""The installation's pod template: read, checked, and in the pod that a step asks for."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from fake_kubernetes import to_json
from fakes import GitHub, Store, TaskInstance, context
from hypothesis import given
from hypothesis import strategies as st
from test_pod_parts import build, container, environment

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.local.pod_security import violations
from airflow_provider_agents.operators.pod_template import (
    LONGEST,
    TEMPLATE_FILE,
    installed_template,
    read_template,
)
from airflow_provider_agents.operators.steps import AgentPlanOperator, AgentTestOperator

SAMPLES = Path(__file__).resolve().parents[3] / "deploy" / "pod-templates"

PLACEMENT: dict[str, Any] = {
    "runtimeClassName": "gvisor",
    "nodeSelector": {"pool": "agents"},
    "tolerations": [{"key": "agents", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 60}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [
                    {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["fast"]}]}
                ]
            }
        }
    },
    "topologySpreadConstraints": [
        {"maxSkew": 1, "topologyKey": "kubernetes.io/hostname", "whenUnsatisfiable": "ScheduleAnyway"}
    ],
    "imagePullSecrets": [{"name": "registry"}, {"name": "mirror"}],
    "priorityClassName": "agents",
    "schedulerName": "volcano",
    "dnsPolicy": "None",
    "dnsConfig": {"nameservers": ["192.0.2.53"], "options": [{"name": "ndots", "value": "1"}]},
    "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["forge.example.com"]}],
    "hostUsers": False,
}
"""Every field about where and how pods are placed."""


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    return GitHub().install(monkeypatch)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    return tmp_path / TEMPLATE_FILE


def write(file: Path, spec: dict[str, Any], kind: str = "Pod", **metadata: Any) -> None:
    pod: dict[str, Any] = {"metadata": metadata, "spec": spec}
    if kind == "Pod":
        value = {"apiVersion": "v1", "kind": "Pod", **pod}
    else:
        value = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "agents"}, "template": pod}
    file.write_text(yaml.safe_dump(value))


def faults(file: Path) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        read_template(file)
    assert all(fault.startswith(f"{file}: ") for fault in caught.value.faults)
    return [fault.removeprefix(f"{file}: ") for fault in caught.value.faults]


@pytest.mark.parametrize("kind", ["Pod", "PodTemplate"])
@pytest.mark.parametrize("step", [AgentPlanOperator, AgentTestOperator])
def test_what_the_template_says_about_the_place_is_in_the_pod(config: Path, kind: str, step: Any) -> None:
    write(config, PLACEMENT, kind, labels={"team": "a"}, annotations={"example.com/note": "{{ 7*7 }}"})
    _, plain = build(step)
    _, pod = build(step)
    for field, value in PLACEMENT.items():
        assert pod["spec"][field] == value, field
    assert pod["metadata"]["labels"]["team"] == "a"
    # Nothing of the file is a template of Airflow's.
    assert pod["metadata"]["annotations"]["example.com/note"] == "{{ 7*7 }}"
    assert plain["spec"]["securityContext"] == pod["spec"]["securityContext"]


def test_without_a_file_the_pod_is_the_steps_alone(config: Path) -> None:
    assert installed_template() is None
    _, pod = build()
    assert not [field for field in PLACEMENT if pod["spec"].get(field)]


def test_without_a_folder_there_is_no_template() -> None:
    assert installed_template() is None


def test_security_and_identity_stay_the_steps(config: Path) -> None:
    _, without = build()
    write(config, PLACEMENT | {"containers": [{"name": "base", "env": [{"name": "X", "value": "1"}]}]})
    _, pod = build()
    assert violations(pod["spec"]) == []
    assert pod["spec"]["automountServiceAccountToken"] is False
    for field in (
        "serviceAccountName",
        "securityContext",
        "activeDeadlineSeconds",
        "restartPolicy",
        "volumes",
    ):
        assert pod["spec"][field] == without["spec"][field], field
    assert container(pod, "gateway") == container(without, "gateway")
    base = container(pod, "base")
    assert base["env"].pop(0) == {"name": "X", "value": "1"}
    assert base == container(without, "base")


def test_variables_and_files_reach_the_container_that_they_are_for(config: Path) -> None:
    mount = {"name": "ca", "mountPath": "/etc/agents", "readOnly": True}
    write(
        config,
        {
            "volumes": [{"name": "ca", "configMap": {"name": "agents-ca"}}],
            "initContainers": [
                {
                    "name": "gateway",
                    "env": [{"name": "HTTPS_PROXY", "value": "http://proxy:3128"}],
                    "envFrom": [{"configMapRef": {"name": "proxy"}}],
                    "volumeMounts": [mount],
                }
            ],
            "containers": [
                {"name": "base", "env": [{"name": "NO_COLOR", "value": "1"}], "volumeMounts": [mount]}
            ],
        },
    )
    _, pod = build()
    assert environment(pod, "gateway")["HTTPS_PROXY"] == "http://proxy:3128"
    assert container(pod, "gateway")["envFrom"] == [{"configMapRef": {"name": "proxy"}}]
    assert "HTTPS_PROXY" not in environment(pod, "base")
    assert environment(pod, "base")["NO_COLOR"] == "1"
    for name in ("base", "gateway"):
        assert mount in container(pod, name)["volumeMounts"]
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["gateway"]


def test_a_template_serves_for_more_than_one_pod(config: Path) -> None:
    write(config, {"initContainers": [{"name": "gateway", "env": [{"name": "A", "value": "1"}]}]})
    operator, first = build()
    second = to_json(operator.build_pod_request_obj(context(TaskInstance("step"), Store())))
    for pod in (first, second):
        assert [entry["name"] for entry in container(pod, "gateway")["env"]].count("A") == 1


def test_what_the_operator_was_given_is_used_in_place_of_the_file(config: Path) -> None:
    write(config, {"nodeSelector": {"pool": "installation"}})
    given = {
        "apiVersion": "v1",
        "kind": "Pod",
        "spec": {"containers": [{"name": "base"}], "nodeSelector": {"pool": "operator"}},
    }
    operator, pod = build(pod_template_dict=given)
    assert pod["spec"]["nodeSelector"] == {"pool": "operator"}
    assert operator.pod_template_dict == given


def test_arguments_of_the_operator_win_over_the_file(config: Path) -> None:
    write(config, {"priorityClassName": "agents", "nodeSelector": {"pool": "agents"}})
    _, pod = build(priority_class_name="urgent", node_selector={"disk": "fast"})
    assert pod["spec"]["priorityClassName"] == "urgent"
    assert pod["spec"]["nodeSelector"]["disk"] == "fast"


@pytest.mark.parametrize("name", ["tmp", "spec", "gateway-url", "credentials"])
def test_a_volume_with_a_name_of_the_steps_is_refused(config: Path, name: str) -> None:
    write(config, {"volumes": [{"name": name, "emptyDir": {}}]})
    with pytest.raises(InvalidInputError, match=f"volumes: the step has a volume '{name}'"):
        build()


def test_a_dangerous_template_stops_the_step_before_a_pod(config: Path) -> None:
    write(
        config,
        {
            "hostNetwork": True,
            "automountServiceAccountToken": True,
            "containers": [{"name": "base", "securityContext": {"privileged": True}}],
            "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
        },
    )
    with pytest.raises(InvalidInputError) as caught:
        build()
    told = str(caught.value)
    for field in ("hostNetwork", "automountServiceAccountToken", "containers[0].securityContext", "hostPath"):
        assert f"{field}: " in told


@pytest.mark.parametrize(
    ("spec", "fault"),
    [
        ({"nodeSelectors": {}}, "spec.nodeSelectors: there is no such field"),
        ({"tolerations": [{"opertor": "Exists"}]}, "spec.tolerations[0].opertor: there is no such field"),
        ({"tolerations": {"operator": "Exists"}}, "spec.tolerations: a list is needed"),
        ({"nodeSelector": {"gpu": True}}, "spec.nodeSelector[gpu]: True is no str; put it into quotes"),
        ({"nodeSelector": ["a"]}, "spec.nodeSelector: a mapping is needed"),
        (
            {"containers": [{"name": "base", "env": [{"value": "x"}]}]},
            "spec.containers[0].env[0]: Invalid value for `name`, must not be `None`",
        ),
        ({"hostUsers": "no"}, "spec.hostUsers: 'no' is no bool"),
        (
            {"tolerations": [{"tolerationSeconds": True}]},
            "spec.tolerations[0].tolerationSeconds: True is no int",
        ),
        (
            {"containers": [{"name": "base", "env": [{"name": "N", "value": 1}]}]},
            "spec.containers[0].env[0].value: 1 is no str; put it into quotes",
        ),
    ],
)
def test_a_field_that_kubernetes_does_not_know_is_named(config: Path, spec: Any, fault: str) -> None:
    write(config, spec)
    assert faults(config) == [fault]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "one object is needed"),
        ("- a\n", "one object is needed"),
        ("kind: Pod\n", "one object is needed"),
        ("apiVersion: v1\nkind: Deployment\n", "one object is needed"),
        ("apiVersion: v1\nkind: PodTemplate\ntemplate: x\n", "template: a mapping is needed"),
        ("apiVersion: v1\nkind: Pod\nspec: 7\n", "spec: a mapping is needed"),
        ("a: [", "is not YAML"),
        ("apiVersion: v1\nkind: Pod\n---\napiVersion: v1\nkind: Pod\n", "is not YAML"),
        ("a: !!python/object/apply:os.system [x]\n", "is not YAML"),
        ("#" * (LONGEST + 1), "larger than"),
    ],
)
def test_a_file_that_is_no_pod_is_refused(config: Path, text: str, fault: str) -> None:
    config.write_text(text)
    (found,) = faults(config)
    assert found.startswith(fault)


def test_a_file_that_is_no_text_is_refused(config: Path) -> None:
    config.write_bytes(b"\xff\xfe")
    (found,) = faults(config)
    assert found.startswith("cannot be read: ")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["spec", "metadata", "containers", "volumes", "name", "env", "x"]),
                inner,
                max_size=3,
            )
        ),
        max_leaves=12,
    )
)
def test_whatever_the_file_holds_it_is_read_or_refused(tmp_path_factory: Any, value: Any) -> None:
    file = tmp_path_factory.mktemp("template") / TEMPLATE_FILE
    body = value if isinstance(value, dict) else {"spec": value}
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Pod", **body}))
    with contextlib.suppress(InvalidInputError):
        template = read_template(file)
        assert template.pod["spec"]["containers"]


@pytest.mark.parametrize("sample", sorted(SAMPLES.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_samples_in_deploy_are_templates(config: Path, sample: Path) -> None:
    config.write_text(sample.read_text())
    wanted = yaml.safe_load(sample.read_text())["spec"]
    _, pod = build()
    for field, value in wanted.items():
        if field not in ("containers", "initContainers", "volumes"):
            assert pod["spec"][field] == value
    for each in [*wanted.get("containers", ()), *wanted.get("initContainers", ())]:
        for entry in each["env"]:
            assert entry in container(pod, each["name"])["env"]
    assert violations(pod["spec"]) == []
