"""Whether a pod can mount the cache claim: where it cannot, the step runs without."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from kubernetes.client import ApiException
from kubernetes.client import models as k8s

from airflow_provider_agents.operators.cache_claim import usable_cache

if TYPE_CHECKING:
    from airflow_provider_agents.domain.cache import CachePlace


def claim(phase: str = "Bound", *modes: str, **metadata: Any) -> k8s.V1PersistentVolumeClaim:
    return k8s.V1PersistentVolumeClaim(
        metadata=k8s.V1ObjectMeta(name="agents-cache", **metadata),
        spec=k8s.V1PersistentVolumeClaimSpec(access_modes=list(modes or ("ReadWriteMany",))),
        status=k8s.V1PersistentVolumeClaimStatus(phase=phase),
    )


def place(answer: k8s.V1PersistentVolumeClaim | Exception) -> CachePlace | None:
    def read(*_: Any, **__: Any) -> k8s.V1PersistentVolumeClaim:
        if isinstance(answer, Exception):
            raise answer
        return answer

    client: Any = SimpleNamespace(read_namespaced_persistent_volume_claim=read)
    return usable_cache(client, "agents", "https://github.com", "Acme/Shop")


@pytest.fixture(autouse=True)
def option(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CACHE_CLAIM", "agents-cache")


@pytest.mark.parametrize("phase", ["Bound", "Pending"])  # it may be bound when the first pod mounts it
def test_the_folders_of_the_repository(phase: str) -> None:
    found = place(claim(phase))
    assert found is not None
    assert found.claim == "agents-cache"
    assert found.mirror == "mirrors/github.com/acme/shop"
    assert found.packages == "packages/github.com/acme/shop"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (ApiException(status=404), "there is no claim agents-cache in namespace agents"),
        (claim(deletion_timestamp="2026-01-01T00:00:00Z"), "it is being deleted"),
        (claim("Lost"), "there is no claim agents-cache"),
        (claim("Bound", "ReadOnlyMany"), "can only be read"),
        (ApiException(status=403), "claim agents-cache cannot be read"),
        (ApiException(status=500), "claim agents-cache cannot be read"),
    ],
)
def test_without_one_the_step_runs_all_the_same(
    answer: k8s.V1PersistentVolumeClaim | Exception, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert place(answer) is None
    assert "The step runs without a cache" in caplog.text
    assert said in caplog.text


def test_no_claim_is_set(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CACHE_CLAIM", "")
    assert place(RuntimeError("nothing is asked")) is None
    assert caplog.text == ""
