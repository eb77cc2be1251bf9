"""A runtime in this process, and a client that speaks plain JSON with it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from airflow_provider_agents.local.runtime import LocalKubernetes
from airflow_provider_agents.local.services import Timing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

Json = dict[str, Any]

QUICK = Timing(
    first_restart=0.05,
    next_restart=0.1,
    image_back_off=0.05,
    retry=0.05,
    least_sidecar_grace=1.0,
    shutdown_grace=1.0,
)


class Api:
    """Client of one runtime; every request has a limit of 20 s."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self.session = session

    async def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        **query: Any,
    ) -> tuple[int, Any]:
        url = f"{self.url}{path}" if path.startswith("/") else f"{self.url}/api/v1/namespaces/test/{path}"
        parameters = {key: str(value) for key, value in query.items()}
        headers = {"Content-Type": content_type}
        async with self.session.request(
            method, url, json=body, params=parameters, headers=headers
        ) as response:
            if response.content_type == "application/json" and "watch" not in query:
                return response.status, await response.json()
            return response.status, await response.text()

    async def ok(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        status, answer = await self.call(method, path, body, **query)
        assert status in (200, 201), (status, answer)
        return answer

    async def pod(self, name: str = "pod") -> Json:
        return await self.ok("GET", f"pods/{name}")

    async def phase(self, wanted: str, name: str = "pod") -> Json:
        return await self.until(lambda pod: pod["status"]["phase"] == wanted, name)

    async def until(self, condition: Callable[[Json], Any], name: str = "pod", seconds: float = 15) -> Json:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pod = await self.pod(name)
            if condition(pod):
                return pod
            await asyncio.sleep(0.02)
        raise AssertionError(f"not within {seconds} s: {pod['status']}")

    async def gone(self, path: str = "pods/pod", seconds: float = 15) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if (await self.call("GET", path))[0] == 404:
                return
            await asyncio.sleep(0.02)
        raise AssertionError(f"{path} is still there")

    async def log(self, container: str = "base", name: str = "pod", **query: Any) -> str:
        return str(await self.ok("GET", f"pods/{name}/log", container=container, **query))

    async def events(self, reason: str) -> list[Json]:
        listed = await self.ok("GET", "events", fieldSelector=f"reason={reason}")
        return list(listed["items"])


class Pods:
    """Makes specifications of pods whose containers run shell scripts."""

    @staticmethod
    def shell(script: str, name: str = "base", **more: Any) -> Json:
        return {"name": name, "image": "shell", "command": ["sh", "-c", script], **more}

    @staticmethod
    def pod(*containers: Json, name: str = "pod", init: tuple[Json, ...] = (), **spec: Any) -> Json:
        defaults: Json = {"restartPolicy": "Never", "containers": list(containers)}
        if init:
            defaults["initContainers"] = list(init)
        return {"metadata": {"name": name}, "spec": defaults | spec}

    @classmethod
    def sidecar(cls, script: str, name: str = "side", **more: Any) -> Json:
        return cls.shell(script, name, restartPolicy="Always", **more)

    @staticmethod
    def started_by(file: str, **more: Any) -> Json:
        return {"exec": {"command": ["test", "-f", file]}, "periodSeconds": 1, "failureThreshold": 20, **more}


@pytest.fixture
def make() -> type[Pods]:
    return Pods


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[LocalKubernetes], Api]]:
    """Makes clients that bring the token of their runtime."""
    limit = aiohttp.ClientTimeout(total=20)
    async with contextlib.AsyncExitStack() as sessions:

        def make(runtime: LocalKubernetes) -> Api:
            headers = {"Authorization": f"Bearer {runtime.token}"}
            session = aiohttp.ClientSession(timeout=limit, headers=headers)
            sessions.push_async_callback(session.close)
            return Api(runtime.url, session)

        yield make


@pytest.fixture
async def api(tmp_path: Path, connect: Callable[[LocalKubernetes], Api]) -> AsyncIterator[Api]:
    images = {"shell": "sh -c 'echo entrypoint'"}
    async with LocalKubernetes(tmp_path / "data", images, pod_security="none", timing=QUICK) as runtime:
        yield connect(runtime)


@pytest.fixture
def quick() -> Timing:
    return QUICK


def container(pod: Json, name: str = "base") -> Json:
    """Return the status of a container."""
    status = pod["status"]
    entries = [*status.get("containerStatuses", []), *status.get("initContainerStatuses", [])]
    return next(entry for entry in entries if entry["name"] == name)


@pytest.fixture
def status_of() -> Callable[..., Json]:
    return container
