"""Who may use the API: whoever brings the token."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from test_local_restart import server

from airflow_provider_agents.local import access
from airflow_provider_agents.local.runtime import LocalKubernetes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

__all__ = ["server"]

NAMESPACED = "/api/v1/namespaces/test"
REQUESTS = [
    ("GET", "/version"), ("GET", "/healthz"), ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/api"),
    ("GET", "/apis"), ("GET", "/api/v1"), ("GET", "/apis/storage.k8s.io/v1/storageclasses"),
    ("GET", NAMESPACED), ("GET", "/api/v1/pods"), ("GET", f"{NAMESPACED}/secrets"), ("POST", f"{NAMESPACED}/pods"),
    ("DELETE", f"{NAMESPACED}/secrets"), ("GET", f"{NAMESPACED}/pods?watch=1"),
    ("GET", f"{NAMESPACED}/pods/pod/log?follow=true"), ("GET", "/_local/processes"),
    ("POST", "/_local/outage?kind=hang&seconds=60"), ("POST", "/_local/unschedulable?message=x"),
    ("POST", "/_local/pods/test/pod/kill?container=base"), ("GET", "/nothing"), ("PUT", "/version"),
]  # fmt: skip


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[LocalKubernetes]:
    async with LocalKubernetes(tmp_path / "data", {"shell": "sh"}, pod_security="none") as made:
        yield made


@pytest.fixture
async def stranger() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.mark.parametrize(("method", "path"), REQUESTS)
async def test_nothing_is_served_without_the_token(
    runtime: LocalKubernetes, stranger: aiohttp.ClientSession, method: str, path: str
) -> None:
    async with stranger.request(method, runtime.url + path) as answer:
        found = await answer.json()
    assert answer.status == 401
    assert (found["kind"], found["status"], found["reason"], found["code"]) == (
        "Status", "Failure", "Unauthorized", 401,
    )  # fmt: skip
    assert "DIR/kubeconfig" in found["message"]
    assert runtime.token not in json.dumps(found)


async def test_a_refused_request_has_no_effect(
    runtime: LocalKubernetes, stranger: aiohttp.ClientSession, connect: Callable[..., Any]
) -> None:
    api = connect(runtime)
    await api.ok("POST", "secrets", {"metadata": {"name": "kept"}})
    async with stranger.post(f"{runtime.url}/_local/outage?kind=unavailable&seconds=60") as answer:
        assert answer.status == 401
    async with stranger.delete(f"{runtime.url}{NAMESPACED}/secrets/kept") as answer:
        assert answer.status == 401
    assert await api.ok("GET", "secrets/kept")


@pytest.mark.parametrize(
    "form",
    ["Bearer", "Bearer ", "Bearer x", "Bearer {token}x", "Bearer {half}", "Bearer {token} {token}",
     "Basic {token}", "{token}", "Bearer:{token}", "Bearer \u00e9\u20ac"],
)  # fmt: skip
async def test_only_the_token_itself_is_taken(
    runtime: LocalKubernetes, stranger: aiohttp.ClientSession, form: str
) -> None:
    given = form.format(token=runtime.token, half=runtime.token[:20])
    async with stranger.get(f"{runtime.url}/version", headers={"Authorization": given}) as answer:
        assert answer.status == 401


@pytest.mark.parametrize("form", ["Bearer {token}", "bearer {token}", "Bearer  {token}"])
async def test_the_token_is_taken(
    runtime: LocalKubernetes, stranger: aiohttp.ClientSession, form: str
) -> None:
    given = form.format(token=runtime.token)
    async with stranger.get(f"{runtime.url}/version", headers={"Authorization": given}) as answer:
        assert answer.status == 200


async def test_each_data_folder_has_a_token_of_its_own_and_keeps_it(tmp_path: Path) -> None:
    tokens = []
    for folder in ("a", "a", "b"):
        async with LocalKubernetes(tmp_path / folder) as runtime:
            tokens.append(runtime.token)
    assert tokens[0] == tokens[1] != tokens[2]
    assert min(map(len, tokens)) == 43


async def test_the_files_are_for_this_user_only(runtime: LocalKubernetes, tmp_path: Path) -> None:
    token = tmp_path / "data" / "token"
    assert token.read_text().strip() == runtime.token
    assert runtime.kubeconfig_file == tmp_path / "data" / "kubeconfig"
    for file in (token, runtime.kubeconfig_file):
        assert file.stat().st_mode & 0o777 == 0o600
    assert json.loads(runtime.kubeconfig_file.read_text()) == runtime.kubeconfig()
    config = runtime.kubeconfig("agents")
    assert config["clusters"][0]["cluster"] == {"server": runtime.url}
    assert config["users"][0]["user"] == {"token": runtime.token}
    assert config["contexts"][0]["context"]["namespace"] == "agents"


@pytest.mark.parametrize("content", ["", "\n", "short", "x" * 44, "e\u0301" * 43, "a b" * 20])
def test_a_damaged_token_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str) -> None:
    (tmp_path / "token").touch(mode=0o600)
    (tmp_path / "token").write_text(content)
    token = access.kept_token(tmp_path)
    assert len(token) == 43
    assert access.kept_token(tmp_path) == token
    assert "is damaged" in caplog.text
    assert token not in caplog.text


def test_a_token_that_others_could_read_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = access.kept_token(tmp_path)
    (tmp_path / "token").chmod(0o640)
    second = access.kept_token(tmp_path)
    assert second != first
    assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert "could be read by other users" in caplog.text
    assert first not in caplog.text
    assert second not in caplog.text


async def test_neither_logs_nor_containers_have_the_token(
    tmp_path: Path, connect: Callable[..., Any], make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with LocalKubernetes(tmp_path, {"shell": "sh"}, pod_security="none") as runtime:
        api = connect(runtime)
        script = "cat /proc/self/environ /proc/self/cmdline; ls -l /proc/self/fd; env"
        await api.ok("POST", "pods", make.pod(make.shell(script)))
        await api.phase("Succeeded")
        await api.call("POST", "/_local/pods/test/pod/kill", container="base")
        seen = await api.log()
        assert "LOCAL_CONTAINER_ID" in seen
        assert runtime.token not in seen
        assert str(tmp_path / "token") not in seen
        assert runtime.token not in json.dumps(await api.pod())
    assert "Serving pods on" in caplog.text
    assert runtime.token not in caplog.text


async def test_the_program_tells_where_the_token_is_and_not_what_it_is(
    server: Callable[..., Any], connect: Callable[..., Any], tmp_path: Path
) -> None:
    first = server()
    assert await connect(first).ok("GET", "/version")
    assert first.ready == {"url": first.url, "kubeconfig": str(tmp_path / "data" / "kubeconfig")}
    assert first.token not in Path(f"/proc/{first.process.pid}/cmdline").read_text()
    assert first.token not in Path(f"/proc/{first.process.pid}/environ").read_text()
    first.process.send_signal(signal.SIGKILL)
    _, said = first.process.communicate(timeout=20)
    assert first.token not in said.decode()
    second = server()
    assert second.token == first.token
    assert await connect(second).ok("GET", "/version")
