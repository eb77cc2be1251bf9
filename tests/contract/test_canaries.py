"""A real step with canaries for all its credentials: none of them is anywhere that the agent or a person sees.

The operator, its trigger, the pod runtime, the gateway, the runner and git are the real ones; the forge and
the model are stand-ins, which see to it that the canaries were used at all.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pod_world import NAMESPACE, World

from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.tool_servers import McpServer
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.local.images import Image
from airflow_provider_agents.local.runtime import LocalKubernetes
from airflow_provider_agents.operators.credential_check import CredentialCheck
from airflow_provider_agents.operators.steps import AgentImplementOperator
from airflow_provider_agents.operators.verdict_cache import VerdictCache
from airflow_provider_agents.triggers import agent_pod
from demo.github.app_tokens import AppRegistration
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = "acme/calc"
FORGE = "ghp_canary_forge_8c1f"
ANTHROPIC = "sk-ant-canary-anthropic-77aa"
OPENAI = "sk-canary-openai-19de"
MCP = "mcp_canary_docs_42c7"
SPY = Path(__file__).with_name("canary_spy.py")
SECONDS = 30.0


class Model:
    """Both model APIs, which keep the credentials that came."""

    def __init__(self) -> None:
        self.keys: set[str] = set()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        for name in ("x-api-key", "Authorization"):
            if value := request.headers.get(name):
                self.keys.add(value.removeprefix("Bearer "))
        usage = {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}
        return web.json_response({"id": "m", "model": "claude-sonnet-4-5", "content": [], "usage": usage})


class SpiedWorld(World):
    """A world whose agent is the spy, with the stand-ins beside it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        program = self.folder / "agent-runner"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m agent_runner "$@"\n')
        self.reports = self.folder
        spy = self.folder / "spy"
        report = shlex.join([sys.executable, str(SPY), str(self.reports / "report.json")])
        spy.write_text(f"#!/bin/sh\nexec {report}\n")
        spy.chmod(0o755)
        self.runtime = LocalKubernetes(folder / "data", {"agent:1": Image(path=(self.folder,))})
        self.github = StandInGitHub(folder / "github", mergeability_delay=0)
        self.model = Model()
        self.seed = folder / "seed"
        self.seed.mkdir()
        (self.seed / "calc.py").write_text("def add(a, b):\n    return a + b\n")
        self.pod_states: list[Any] = []
        self.secrets_meanwhile: list[dict[str, Any]] = []
        self.logs: dict[str, str] = {}
        self.rendered: dict[str, Any] = {}

    def start(self) -> None:
        super().start()

        async def rest() -> None:
            await self.model.start()
            await self.github.start()
            self.github.add_token("agent", FORGE)
            await self.github.seed_repository(REPOSITORY, self.seed, permissions={"agent": "write"})

        asyncio.run_coroutine_threadsafe(rest(), self._loop).result(SECONDS)

    def stop(self) -> None:
        async def rest() -> None:
            await self.github.stop()
            await self.model.stop()

        asyncio.run_coroutine_threadsafe(rest(), self._loop).result(SECONDS)
        super().stop()

    def operator(self, **arguments: Any) -> Any:
        given: dict[str, Any] = {
            "repository": REPOSITORY,
            "prompt": "Look around",
            "agent": "command",
            "image": "agent:1",
            "namespace": NAMESPACE,
            "kubernetes_conn_id": "kubernetes_canaries",
            "poll_interval": 0.2,
            "termination_grace_period": 5,
            "on_finish_action": "keep_pod",
        } | arguments
        given["env_vars"] = {"AGENT_COMMAND": "spy"} | given.get("env_vars", {})
        operator = AgentImplementOperator(task_id="implement", **given)
        self.rendered = {field: getattr(operator, field) for field in operator.template_fields}
        return operator

    async def watch(self, _: World) -> None:
        """Let the spy finish once it has reported and ``self.until`` holds; keep what the pod looked like."""
        async with asyncio.timeout(SECONDS):
            while not (self.reports / "report.json").exists():
                self.pod_states.append(await self.pods())
                if any(pod["status"].get("phase") in ("Succeeded", "Failed") for pod in self.pod_states[-1]):
                    return
                await asyncio.sleep(0.1)
            found = await self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets")
            self.secrets_meanwhile = found["items"]
            while not self.until():
                await asyncio.sleep(0.1)
        (self.reports / "go").touch()

    def until(self) -> bool:
        return True

    def everything(self) -> dict[str, str]:
        """Return all that an agent, a person or another pod may see, by where it is seen."""
        report = json.loads((self.reports / "report.json").read_text())
        asyncio.run(self._read_pods())
        return {
            "the pod": json.dumps(self.pod_states),
            "the agent's environment": json.dumps(report["environment"]),
            "the agent's files": json.dumps(report["files"]),
            "the processes": json.dumps(report["processes"]),
            "the gateway's answers": json.dumps(report["answers"]),
            "the log of base": self.logs["base"],
            "the log of gateway": self.logs["gateway"],
            "the XComs": json.dumps(self.ti.pushed),
            "the task's state": json.dumps(self.store),
            "the events": json.dumps(self.events),
            "the rendered fields": repr(self.rendered),
        }

    async def _read_pods(self) -> None:
        import aiohttp

        self.pod_states.append(await self.pods())
        (pod,) = self.pod_states[-1]
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{pod['metadata']['name']}/log"
        limit = aiohttp.ClientTimeout(total=SECONDS)
        async with aiohttp.ClientSession(timeout=limit, headers=self.headers) as session:
            for container in ("base", "gateway"):
                async with session.get(self.runtime.url + path, params={"container": container}) as answer:
                    self.logs[container] = await answer.text()

    def secrets(self) -> dict[str, dict[str, Any]]:
        """Return the secrets of the namespace by name."""
        found = asyncio.run(self.call("GET", f"/api/v1/namespaces/{NAMESPACE}/secrets"))["items"]
        return {secret["metadata"]["name"]: secret for secret in found}

    def installation_secret(self, **values: str) -> None:
        body = {
            "metadata": {"name": "agent-secrets"},
            "stringData": {key.replace("_", "-"): value for key, value in values.items()},
        }
        asyncio.run(self.call("POST", f"/api/v1/namespaces/{NAMESPACE}/secrets", body))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SpiedWorld]:
    made = SpiedWorld(tmp_path)
    monkeypatch.setattr(agent_pod, "QUIET_SECONDS", 0.2)
    monkeypatch.setenv("NO_PROXY", "*")
    made.start()
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_CANARIES", made.connection)
    connection = {"conn_type": "github", "host": made.github.url, "password": FORGE}
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(connection))
    for option in ("ANTHROPIC_URL", "OPENAI_URL"):
        monkeypatch.setenv(f"AIRFLOW__AGENTS__{option}", made.model.url)
    yield made
    made.stop()


def places(canaries: list[str], seen: dict[str, str]) -> list[str]:
    """Return where a canary is, as it is or in the forms in which it is sent."""
    forms = set()
    for canary in canaries:
        basic = f"x-access-token:{canary}"
        forms |= {canary, json.dumps(canary)[1:-1]}
        forms |= {base64.b64encode(text.encode()).decode().rstrip("=") for text in (canary, basic)}
    return [where for where, text in seen.items() if any(form in text for form in forms)]


def assert_pushed(world: SpiedWorld) -> None:
    pushes = [entry for entry in world.github.mutations if entry["kind"] == "push"]
    assert pushes, world.logs


def test_with_the_secret_of_the_installation(world: SpiedWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.installation_secret(github_token=FORGE, anthropic_api_key=ANTHROPIC, openai_api_key=OPENAI)
    world.run(world.watch)
    seen = world.everything() | {"the log of the task": caplog.text}
    assert "The spy has reported." in seen["the log of base"]
    assert world.model.keys == {ANTHROPIC, OPENAI}
    assert_pushed(world)
    assert places([FORGE, ANTHROPIC, OPENAI, world.runtime.token], seen) == []


def test_with_connections(
    world: SpiedWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AIRFLOW__AGENTS__CREDENTIALS", "connections")
    for name, key in (("ANTHROPIC", ANTHROPIC), ("OPENAI", OPENAI)):
        value = json.dumps({"conn_type": "generic", "password": key})
        monkeypatch.setenv(f"AIRFLOW_CONN_{name}_DEFAULT", value)
    world.run(world.watch)
    seen = world.everything() | {"the log of the task": caplog.text}
    assert world.model.keys == {ANTHROPIC, OPENAI}
    assert_pushed(world)
    assert places([FORGE, ANTHROPIC, OPENAI], seen) == []
    (pod,) = world.pod_states[-1]
    (secret,) = world.secrets_meanwhile
    assert secret["metadata"]["name"] == f"{pod['metadata']['name']}-credentials"
    assert [owner["uid"] for owner in secret["metadata"]["ownerReferences"]] == [pod["metadata"]["uid"]]
    assert world.secrets() == {}, "the pod is kept, its credentials are not"


@pytest.mark.parametrize("source", ["connection", "secret"])
def test_the_credential_of_an_mcp_server(
    world: SpiedWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    caplog.set_level(logging.DEBUG)
    values = {"github_token": FORGE, "anthropic_api_key": ANTHROPIC, "openai_api_key": OPENAI}
    world.installation_secret(**values, **({"mcp_docs": MCP} if source == "secret" else {}))
    connection = {"conn_type": "generic", "password": MCP}
    monkeypatch.setenv("AIRFLOW_CONN_DOCS_MCP", json.dumps(connection))
    place: dict[str, Any] = {"connection": "docs_mcp"} if source == "connection" else {"secret": True}
    request, faults = parse_request(
        {"repository": REPOSITORY, "prompt": "Look around", "agent": "command"}, Bounds()
    )
    assert request is not None, faults
    task = CodingTask.accept(request, run_key="canaries/run", base_sha="", ticket=None).model_copy(
        update={
            "mcp_servers": {"docs": McpServer(url=f"{world.model.url}/docs", tools=("look_up",), **place)}
        }
    )
    value = world.run(world.watch, coding_task=task.model_dump(mode="json"))
    seen = world.everything() | {"the log of the task": caplog.text}
    assert world.model.keys == {ANTHROPIC, OPENAI, MCP}, "the gateway sent it"
    assert places([FORGE, ANTHROPIC, OPENAI, MCP], seen) == []
    (pod,) = world.pod_states[-1]
    own = f"{pod['metadata']['name']}-credentials"
    made = {each["metadata"]["name"]: sorted(each["data"]) for each in world.secrets_meanwhile}
    assert made.get(own) == (["mcp-docs"] if source == "connection" else None)
    assert value["ledger"]["mcp"] == [{"server": "docs", "calls": 1, "failed": 0, "refused": 0}]


def test_with_an_app_whose_token_expires_meanwhile(
    world: SpiedWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    app = AppRegistration(app_id="12", public_key=public.decode(), token_seconds=8)
    world.github.add_app(app)
    connection = {
        "conn_type": "github",
        "host": world.github.url,
        "extra": {"app_id": 12, "private_key": private},
    }
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(connection))
    world.installation_secret(anthropic_api_key=ANTHROPIC, openai_api_key=OPENAI)
    tokens: list[str] = []

    def renewed() -> bool:
        """Say whether the first token has expired, and another has taken its place in the pod."""
        known = world.github.forge.store.tokens
        tokens.extend(token for token in list(known) if token.startswith("ghs_") and token not in tokens)
        return "Renewed the forge token" in caplog.text and tokens[0] not in known

    world.until = renewed  # type: ignore[method-assign]
    world.run(world.watch)
    seen = world.everything() | {"the log of the task": caplog.text}
    assert "Renewed the forge token of pod" in caplog.text
    assert_pushed(world)
    (pod,) = world.pod_states[-1]
    assert "agents.airflow/renewed" in pod["metadata"]["annotations"]
    assert len(tokens) >= 2
    lines = [line for line in private.splitlines() if "-" not in line]
    assert places([*tokens, ANTHROPIC, OPENAI, lines[0], lines[3]], seen) == []


def test_the_check_before_any_pod(
    world: SpiedWorld, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("AIRFLOW__AGENTS__NAMESPACE", NAMESPACE)
    monkeypatch.setenv("AIRFLOW__AGENTS__KUBERNETES_CONN_ID", "kubernetes_canaries")
    connection = {"conn_type": "github", "host": world.github.url, "password": "of-airflow-itself"}
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(connection))
    cache = VerdictCache(tmp_path / "verdicts" / "accepted")

    def check(program: str = "claude") -> None:
        CredentialCheck(
            repository=REPOSITORY, program=program, github_conn_id="github_default", cache=cache
        ).run()

    with pytest.raises(InvalidInputError, match="no secret 'agent-secrets' in namespace 'agents'"):
        check()
    world.installation_secret(github_token=FORGE, anthropic_api_key=ANTHROPIC)
    check()
    assert world.model.keys == {ANTHROPIC}
    with pytest.raises(InvalidInputError, match="lacks openai-api-key, which codex needs") as caught:
        check("codex")
    world.github.forge.store.repositories[REPOSITORY].permissions["agent"] = "read"
    cache = VerdictCache(tmp_path / "verdicts" / "other")
    with pytest.raises(InvalidInputError, match="may read acme/calc but not push to it"):
        check()
    seen = {"the log": caplog.text, "the fault": str(caught.value)}
    seen |= {str(path): path.name + repr(path.read_bytes()) for path in tmp_path.glob("verdicts/*/*")}
    assert len(seen) > 3
    assert places([FORGE, ANTHROPIC], seen) == []


def test_a_planted_canary_is_found(world: SpiedWorld, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world.installation_secret(github_token=FORGE, anthropic_api_key=ANTHROPIC, openai_api_key=OPENAI)
    basic = base64.b64encode(f"x-access-token:{FORGE}".encode()).decode()
    world.run(world.watch, prompt=f"Look around with {ANTHROPIC}", env_vars={"LEAK": basic})
    seen = world.everything() | {"the log of the task": caplog.text}
    assert {"the pod", "the agent's environment"} <= set(places([FORGE], seen))
    assert {"the pod", "the agent's files", "the rendered fields"} <= set(places([ANTHROPIC], seen))
