"""An agent that wants another repository to install what it left: the folders of the cache claim in real pods."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from attack_world import TOTALS, create, ended
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from agent_runner.contract import GatewayConfig, StepSpec
from airflow_provider_agents.domain.cache import cache_place
from airflow_provider_agents.local import sandbox
from airflow_provider_agents.local.images import Image
from airflow_provider_agents.local.runtime import LocalKubernetes
from airflow_provider_agents.local.services import Timing
from airflow_provider_agents.operators.pod_parts import PodParts

FORGE = "https://github.com"
QUICK = Timing(retry=0.05, least_sidecar_grace=1.0, shutdown_grace=1.0)
SECONDS = 60.0
ATTACK = r"""
try() { (umask 0; mkdir -p "$1" 2>/dev/null; echo hostile > "$1/planted") 2>/dev/null && echo "WROTE $1"; }
for up in "" /.. /../.. /../../.. /../../../.. /../../../../..; do
    for below in "" /packages /packages/github.com/acme/site /mirrors/github.com/acme/shop /site /acme/site; do
        try "$AGENT_CACHE_DIR$up$below/from-shop"
        try "$AGENT_MIRROR_DIR$up$below/from-shop"
    done
done
for target in ../site ../../../github.com/acme/site / ../../../../mirrors; do
    ln -sfn "$target" "$AGENT_CACHE_DIR/link" && try "$AGENT_CACHE_DIR/link/from-shop"
done
rm -f "$AGENT_CACHE_DIR/link"
mount -o remount,rw "$AGENT_MIRROR_DIR" 2>/dev/null && try "$AGENT_MIRROR_DIR/from-shop"
exit 0
"""


def usable() -> bool:
    try:
        sandbox.BubblewrapSandbox([], [])
    except sandbox.SandboxUnavailableError:
        return False
    return True


def pod(name: str, repository: str, script: str, **spec: Any) -> dict[str, Any]:
    """Return the pod of a step whose containers are replaced by shells; what they mount is the step's."""
    parts = PodParts(
        spec=StepSpec(
            **{"step": "implement", **spec},
            repository=repository,
            base_branch="main",
            work_branch="agent/t-1",
            prompt="x",
        ),
        gateway=GatewayConfig(repository=repository, work_branch="agent/t-1", forge_url=FORGE),
        image="agent:1",
        cpu="1",
        memory="1Gi",
        service_account="agent-runner",
        labels={},
        credentials=k8s.V1Volume(name="credentials", empty_dir=k8s.V1EmptyDirVolumeSource()),
        cache=cache_place("agents-cache", FORGE, repository),
    )
    base = k8s.V1Container(name="base", command=["sh", "-c", script], args=[])
    made = parts.add_to(
        k8s.V1Pod(
            metadata=k8s.V1ObjectMeta(name=name),
            spec=k8s.V1PodSpec(containers=[base], restart_policy="Never"),
        )
    )
    made.spec.init_containers = []
    container = made.spec.containers[0]
    container.args = None
    body: dict[str, Any] = ApiClient().sanitize_for_serialization(made)
    return body


@pytest.mark.skipif(not usable(), reason="bubblewrap does not work here")
def test_write_what_another_repository_installs() -> None:
    if Path(sys.prefix).is_relative_to("/tmp"):
        pytest.skip("the interpreter lies below /tmp, where the pod has a volume of its own")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        logs, planted = asyncio.run(attack(Path(folder).resolve()))
    TOTALS["worlds"] += 1
    # The control: it could write where it may.
    assert "WROTE /agent/cache/from-shop" in logs["shop"]
    own = "packages/github.com/acme/shop/"
    assert planted
    assert [path for path in planted if own not in path] == []
    assert "hostile" not in logs["site"]
    assert "looked" in logs["site"]


async def attack(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Run the attacker in one repository's pod, then look around in another's."""
    image, data = folder / "image", folder / "data"
    image.mkdir()
    runtime = LocalKubernetes(
        data,
        {"agent:1": Image(path=(image,))},
        sandbox="bubblewrap",
        readable=(Path(sys.base_prefix), Path(sys.prefix)),
        timing=QUICK,
    )
    async with (
        runtime,
        aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=SECONDS),
            headers={"Authorization": f"Bearer {runtime.token}"},
        ) as session,
    ):
        url = f"{runtime.url}/api/v1/namespaces/test"
        claim = {
            "metadata": {"name": "agents-cache"},
            "spec": {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "1Gi"}},
            },
        }
        await create(session, f"{url}/persistentvolumeclaims", claim)
        logs = {}
        for name, script in (
            ("shop", ATTACK),
            ("site", 'grep -r . "$AGENT_CACHE_DIR" "$AGENT_MIRROR_DIR"; echo looked; exit 0'),
        ):
            await create(session, f"{url}/pods", pod(name, f"acme/{name}", script))
            await ended(session, f"{url}/pods/{name}")
            async with session.get(f"{url}/pods/{name}/log", params={"container": "base"}) as answer:
                logs[name] = await answer.text()
        # Before the runtime goes, and the volume of the pods with it.
        claims = [path for path in data.rglob("packages") if path.is_dir()]
        planted = [str(path) for path in data.rglob("from-shop/planted")]
        assert claims
    return logs, planted


@pytest.mark.parametrize("other", ["acme/site", "acme/shop2", "acme/sho", "acme2/shop", "acme/shop.git"])
def test_folders_of_two_repositories_are_apart(other: str) -> None:
    """None is inside the other's, and none is mounted as a whole."""
    mounted = []
    for repository in ("acme/shop", other):
        (base,) = pod("p", repository, "true")["spec"]["containers"]
        mounts = {mount["mountPath"]: mount for mount in base["volumeMounts"] if mount["name"] == "cache"}
        assert set(mounts) == {"/agent/cache", "/agent/mirror"}
        assert mounts["/agent/mirror"]["readOnly"] is True
        mounted.append({mount["subPath"].rstrip("/") + "/" for mount in mounts.values()})
    for one in mounted[0]:
        for two in mounted[1]:
            assert not one.startswith(two)
            assert not two.startswith(one)


def test_beside_the_head_of_a_pull_request_no_packages_are_shared() -> None:
    """A stranger's pull request must not talk its reviewer into planting what later runs install."""
    (base,) = pod("p", "acme/shop", "true", step="review", pull_request=7, expected_head="a" * 40)["spec"][
        "containers"
    ]
    assert [m["mountPath"] for m in base["volumeMounts"] if m["name"] == "cache"] == ["/agent/mirror"]
    assert "AGENT_CACHE_DIR" not in {variable["name"] for variable in base["env"]}
