"""An agent that looks around in its container: a real pod with the real gateway and runner in it."""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import shlex
import sys
import tempfile
from pathlib import Path
from typing import Any

import aiohttp
import gateway_world
import pytest
from attack_world import REPOSITORY, TOTALS, create, ended
from gateway_world import BRANCH
from kubernetes.client import ApiClient
from kubernetes.client import models as k8s

from agent_runner.contract import AgentSettings, GatewayConfig, Limits, StepSpec
from airflow_provider_agents.local import sandbox
from airflow_provider_agents.local.images import Image
from airflow_provider_agents.local.runtime import LocalKubernetes
from airflow_provider_agents.local.services import Timing
from airflow_provider_agents.operators.pod_parts import PodParts

QUICK = Timing(retry=0.05, least_sidecar_grace=1.0, shutdown_grace=1.0)
SECONDS = 60.0
ANTHROPIC = "sk-ant-canary-in-a-pod-5b3e"
LOOKED_AT = ("/agent", "/dev", "/etc", "/home", "/mnt", "/root", "/run", "/tmp", "/var")
NOT_OURS = (
    "/agent/gateway-url/url", "/agent/gateway-url", "/agent/ledger", "/agent/scratch", "/agent/secrets",
    "/agent/spec/spec.json", "/agent", "/usr/local/bin", "/etc", "/",
)  # fmt: skip


def usable() -> bool:
    try:
        sandbox.BubblewrapSandbox([], [])
    except sandbox.SandboxUnavailableError:
        return False
    return True


needs_bubblewrap = pytest.mark.skipif(not usable(), reason="bubblewrap does not work here")


@needs_bubblewrap
def test_look_for_credentials_in_the_container() -> None:
    """Environments and open files of every process, and every file that can be read."""
    found = explored("bubblewrap")
    canaries = [line for line in found if line.startswith("canary ")]
    TOTALS["worlds"] += 1
    TOTALS["canaries"] += len(canaries)
    assert canaries == []


@needs_bubblewrap
def test_write_what_is_the_gateways() -> None:
    """Its address, its ledger, its termination message, its secrets, and the step's specification."""
    assert [line for line in explored("bubblewrap") if line.startswith("written ")] == []


@needs_bubblewrap
def test_reach_the_gateways_process() -> None:
    assert [line for line in explored("bubblewrap") if line.startswith("process ")] == []


@needs_bubblewrap
def test_ask_the_local_cluster_for_its_secrets() -> None:
    """With no token, and with those that can be found. The sandbox shares the machine's network."""
    assert [line for line in explored("bubblewrap") if line.startswith("cluster ")] == []


def test_control_without_a_sandbox_all_of_it_is_found() -> None:
    kinds = {line.split()[0] for line in explored("none")}
    assert kinds == {"canary", "written", "process", "cluster"}


AGENT_IMAGE = Path(__file__).parents[2] / "agent-image"
"""Where the runner is imported from: the checkout may lie in a folder that the sandbox does not show."""


@functools.cache
def explored(kind: str) -> tuple[str, ...]:
    """Run the explorer in a pod under a sandbox of this kind; return what it found."""
    if kind == "bubblewrap" and Path(sys.prefix).is_relative_to("/tmp"):
        pytest.skip("the interpreter lies below /tmp, where the pod has a volume of its own")
    # The image, likewise, not below /tmp.
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        log = asyncio.run(_explore(Path(folder).resolve(), kind))
    if "EXPLORED" not in log or "publish: pushed" not in log:
        raise RuntimeError(log)
    lines = [line.partition("FOUND ")[2] for line in log.splitlines() if "FOUND " in line]
    return tuple(dict.fromkeys(lines))


async def _explore(folder: Path, kind: str) -> str:
    world_folder = folder / "world"
    world_folder.mkdir()
    image, data = folder / "image", folder / "data"
    image.mkdir()
    async with gateway_world.open_world(world_folder) as world:
        runtime = LocalKubernetes(
            data,
            {"agent:1": Image(path=(image,))},
            sandbox=kind,
            readable=(Path(sys.base_prefix), Path(sys.prefix), AGENT_IMAGE),
            timing=QUICK,
        )
        _install(image)
        limit = aiohttp.ClientTimeout(total=SECONDS)
        async with runtime, aiohttp.ClientSession(timeout=limit) as session:
            session.headers["Authorization"] = f"Bearer {runtime.token}"
            forge_token = world.forge.token
            encoded = base64.b64encode(f"x-access-token:{forge_token}".encode()).decode()
            (image / "settings.json").write_text(
                json.dumps(
                    {
                        "backwards": [
                            text[::-1] for text in (forge_token, encoded, ANTHROPIC, runtime.token)
                        ],
                        # Without a sandbox, only what is the runtime's own: this is a person's machine.
                        "places": [*(LOOKED_AT if kind == "bubblewrap" else ()), str(data)],
                        "not_ours": [*(NOT_OURS if kind == "bubblewrap" else ()), str(data)],
                        "cluster": runtime.url,
                    }
                )
            )
            url = f"{runtime.url}/api/v1/namespaces/test"
            await create(
                session,
                f"{url}/secrets",
                {
                    "metadata": {"name": "agent-secrets"},
                    "stringData": {"github-token": forge_token, "anthropic-api-key": ANTHROPIC},
                },
            )
            await create(session, f"{url}/pods", _pod(world, image))
            await ended(session, f"{url}/pods/explorer")
            async with session.get(f"{url}/pods/explorer/log", params={"container": "base"}) as answer:
                return await answer.text()


def _install(image: Path) -> None:
    """Put the runner and the attacker into the image."""
    python = shlex.quote(sys.executable)
    (image / "agent-runner").write_text(f'#!/bin/sh\nexec {python} -m agent_runner "$@"\n')
    (image / "explorer.py").write_text(Path(__file__).with_name("explorer.py").read_text())
    # A file, because the runtime puts its own folders in the place of mount paths in a variable.
    (image / "explore").write_text(
        f"#!/bin/sh\n{python} {image}/explorer.py {image}/settings.json; echo 1 > seen\n"
    )
    for name in ("agent-runner", "explore"):
        (image / name).chmod(0o755)


def _pod(world: gateway_world.World, image: Path) -> dict[str, Any]:
    spec = StepSpec(
        step="implement",
        repository=REPOSITORY,
        base_branch="main",
        work_branch=BRANCH,
        prompt="Look around.",
        agent=AgentSettings(program="command"),
        limits=Limits(seconds=40),
        commit_message="Look around",
    )
    secret = k8s.V1SecretVolumeSource(secret_name="agent-secrets")
    parts = PodParts(
        spec=spec,
        gateway=GatewayConfig(repository=REPOSITORY, work_branch=BRANCH, forge_url=world.forge.url),
        image="agent:1",
        cpu="1",
        memory="1Gi",
        service_account="agent-runner",
        labels={},
        credentials=k8s.V1Volume(name="credentials", secret=secret),
    )
    base = k8s.V1Container(
        name="base",
        env=[
            k8s.V1EnvVar(name="AGENT_COMMAND", value=f"{image}/explore"),
            k8s.V1EnvVar(name="PYTHONDONTWRITEBYTECODE", value="1"),
        ],
    )
    pod = k8s.V1Pod(
        metadata=k8s.V1ObjectMeta(name="explorer"),
        spec=k8s.V1PodSpec(containers=[base], restart_policy="Never"),
    )
    body: dict[str, Any] = ApiClient().sanitize_for_serialization(parts.add_to(pod))
    return body
