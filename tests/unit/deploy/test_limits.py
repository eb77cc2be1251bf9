"""Quota and limits of ``deploy/`` against the pods that the operators make."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import GitHub
from manifests import BASE, COMPONENTS, DEPLOY, Json, base, objects, one
from test_pod_parts import build

from airflow_provider_agents.domain.quantity import size
from airflow_provider_agents.get_provider_info import get_provider_info
from airflow_provider_agents.local.pod_security import violations

PARALLEL_STEPS = 20
"""As limits.yaml says."""


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    return GitHub().install(monkeypatch)


def amount(quantity: str) -> float:
    """Return a quantity of CPU or memory as a number."""
    if quantity.endswith("m"):
        return float(quantity[:-1]) / 1000
    return float(quantity) if quantity.replace(".", "").isdigit() else float(size(quantity))


def containers(pod: Json) -> list[Json]:
    return [*pod["spec"]["initContainers"], *pod["spec"]["containers"]]


def option(name: str) -> str:
    info: Any = get_provider_info()["config"]["agents"]["options"][name]["default"]
    return str(info)


def container_limits() -> Json:
    found: list[Json] = one(base(), "LimitRange", "agents")["spec"]["limits"]
    return next(each for each in found if each["type"] == "Container")


def asked(pod: Json, kind: str, resource: str) -> float:
    """Return what a pod asks for in all, with the defaults of the limit range.

    A native sidecar counts like a container.
    """
    default = container_limits()["default" if kind == "limits" else "defaultRequest"][resource]
    return sum(amount(each["resources"].get(kind, {}).get(resource, default)) for each in containers(pod))


@pytest.mark.parametrize("request_values", [{}, {"cpu": "8", "memory": "16Gi"}])
def test_every_container_is_inside_of_the_limit_range(request_values: Json) -> None:
    _, pod = build(request=request_values)
    most = container_limits()["max"]
    for each in containers(pod):
        for resource in ("cpu", "memory"):
            assert amount(each["resources"]["limits"][resource]) <= amount(most[resource])
            assert amount(each["resources"]["requests"][resource]) <= amount(
                each["resources"]["limits"][resource]
            )


def test_a_step_may_be_raised_to_the_memory_ceiling() -> None:
    assert amount(option("memory_ceiling")) <= amount(container_limits()["max"]["memory"])


def test_defaults_of_the_limit_range_fit_into_it() -> None:
    limits = container_limits()
    for resource, value in limits["default"].items():
        assert amount(limits["defaultRequest"][resource]) <= amount(value) <= amount(limits["max"][resource])


def test_the_quota_has_room_for_the_steps_that_it_is_for() -> None:
    _, pod = build()
    hard = one(base(), "ResourceQuota", "agents")["spec"]["hard"]
    for name, value in hard.items():
        kind, _, resource = name.partition(".")
        if resource in ("cpu", "memory"):
            assert PARALLEL_STEPS * asked(pod, kind, resource) <= amount(value), name
    assert int(hard["pods"]) >= PARALLEL_STEPS
    assert int(hard["pods"]) <= int(hard["persistentvolumeclaims"])
    assert int(hard["persistentvolumeclaims"]) * amount(option("workspace_size")) <= amount(
        hard["requests.storage"]
    )


def test_every_resource_of_the_quota_is_asked_for_by_every_container() -> None:
    """A pod of which one container does not say would be refused."""
    _, pod = build()
    hard = one(base(), "ResourceQuota", "agents")["spec"]["hard"]
    for name in hard:
        kind, _, resource = name.partition(".")
        if resource in ("cpu", "memory"):
            assert all(resource in each["resources"][kind] for each in containers(pod)), name


def test_claims_fit_into_the_limit_range() -> None:
    limits = one(base(), "LimitRange", "agents")["spec"]["limits"]
    most = next(each for each in limits if each["type"] == "PersistentVolumeClaim")["max"]["storage"]
    (cache,) = objects(COMPONENTS / "cache/claim.yaml")
    assert amount(cache["spec"]["resources"]["requests"]["storage"]) <= amount(most)
    assert amount(option("workspace_size")) <= amount(most)
    storage = one(base(), "ResourceQuota", "agents")["spec"]["hard"]["requests.storage"]
    assert amount(cache["spec"]["resources"]["requests"]["storage"]) < amount(storage)


def test_the_pod_is_let_into_the_namespace() -> None:
    namespace = one(base(), "Namespace", option("namespace"))
    labels = namespace["metadata"]["labels"]
    assert {labels[f"pod-security.kubernetes.io/{mode}"] for mode in ("enforce", "warn", "audit")} == {
        "restricted"
    }
    assert labels["pod-security.kubernetes.io/enforce-version"].startswith("v1.")
    _, pod = build()
    assert pod["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert violations(pod["spec"]) == []
    account = one(base(), "ServiceAccount", pod["spec"]["serviceAccountName"])
    assert account["automountServiceAccountToken"] is False


def test_the_network_policy_is_for_the_pods_of_steps() -> None:
    _, pod = build()
    policy = one(base(), "NetworkPolicy", "agents")
    (term,) = policy["spec"]["podSelector"]["matchExpressions"]
    assert term == {"key": "agents.airflow/step", "operator": "Exists"}
    assert term["key"] in pod["metadata"]["labels"]


def test_every_file_is_used() -> None:
    """A manifest that no kustomization names would be taken for applied."""
    for folder in (BASE, *sorted(COMPONENTS.iterdir()), *sorted((DEPLOY / "overlays").iterdir())):
        listed = (folder / "kustomization.yaml").read_text()
        for file in folder.glob("*.yaml"):
            assert file.name == "kustomization.yaml" or f"- {file.name}\n" in listed, file
