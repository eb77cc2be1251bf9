"""The check of the pods' credentials before any pod starts."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from kubernetes.client.exceptions import ApiException

from airflow_provider_agents.domain.tool_servers import McpServer
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks import github_transport
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_app import InstallationToken
from airflow_provider_agents.operators import kubernetes_objects
from airflow_provider_agents.operators.credential_check import CredentialCheck
from airflow_provider_agents.operators.verdict_cache import VerdictCache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORGE = "ghp_canary_of_the_pods"
KEY = "sk-ant-canary"


@dataclass
class Hosts:
    """A GitHub and both model APIs, on one loopback port, and a cluster with one secret."""

    url: str = ""
    asked: list[tuple[str, str]] = field(default_factory=list)
    repositories: dict[str, Any] = field(
        default_factory=lambda: {"acme/shop": {"permissions": {"push": True}}}
    )
    forge_status: int = 200
    model_status: int = 200
    secret: dict[str, str] | Exception = field(
        default_factory=lambda: {"github-token": FORGE, "anthropic-api-key": KEY}
    )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        sent = request.headers.get("Authorization") or request.headers.get("x-api-key") or ""
        self.asked.append((request.path, sent.removeprefix("Bearer ")))
        if request.path == "/v1/models":
            return web.json_response({"error": {"message": "words"}}, status=self.model_status)
        found = self.repositories.get(request.path.removeprefix("/api/v3/repos/"))
        status = self.forge_status if found is not None else 404
        return web.json_response(found, status=status)

    def read_namespaced_secret(self, name: str, namespace: str, _request_timeout: float) -> Any:
        assert (name, namespace) == ("agent-secrets", "agent-system")
        if isinstance(self.secret, Exception):
            raise self.secret
        return SimpleNamespace(
            data={key: base64.b64encode(value.encode()).decode() for key, value in self.secret.items()}
        )


@pytest.fixture
def connections() -> dict[str, dict[str, Any]]:
    return {
        "gh": {"password": "ghp_of_airflow"},
        "anthropic_default": {"password": KEY},
        "openai_default": {"password": "sk-openai-canary"},
    }


@pytest.fixture
def hosts(connections: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosts]:
    """In a thread of their own: the check runs an event loop of its own."""
    made = Hosts()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> web.AppRunner:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", made.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    for option in ("ANTHROPIC_URL", "OPENAI_URL"):
        monkeypatch.setenv(f"AIRFLOW__AGENTS__{option}", made.url)
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))
    monkeypatch.setattr(kubernetes_objects, "cluster_client", lambda conn_id: made)

    def get(conn_id: str) -> Connection:
        if conn_id not in connections:
            raise AirflowNotFoundException(conn_id)
        return Connection(conn_id=conn_id, conn_type="github", host=made.url, **connections[conn_id])

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(get))
    yield made
    asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(10)
    loop.close()


@pytest.fixture
def cache(tmp_path: Path) -> VerdictCache:
    return VerdictCache(tmp_path / "agents" / "accepted")


@pytest.fixture
def check(hosts: Hosts, cache: VerdictCache) -> Any:
    def run(**values: Any) -> None:
        known: dict[str, Any] = {"repository": "acme/shop", "program": "claude", "github_conn_id": "gh"}
        CredentialCheck(cache=cache, **known | values).run()

    return run


def faults(check: Any, **values: Any) -> list[str]:
    with pytest.raises(InvalidInputError) as caught:
        check(**values)
    text = str(caught.value)
    assert "canary" not in text
    return caught.value.faults


def test_good_credentials_are_asked_for_once(check, hosts: Hosts) -> None:
    check()
    assert sorted(hosts.asked) == [("/api/v3/repos/acme/shop", FORGE), ("/v1/models", KEY)]
    check()
    assert len(hosts.asked) == 2
    assert isinstance(hosts.secret, dict)
    hosts.secret["anthropic-api-key"] = "sk-ant-other"
    check()
    assert hosts.asked[2:] == [("/v1/models", "sk-ant-other")]


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_model_key_names_its_place(check, hosts: Hosts, status: int) -> None:
    hosts.model_status = status
    (fault,) = faults(check)
    assert f"{hosts.url} refuses the model's credential, anthropic-api-key" in fault
    assert "of secret agent-secrets in namespace agent-system: HTTP" in fault
    hosts.model_status = 200
    check()


@pytest.mark.parametrize("status", [404, 429, 500, 529])
def test_an_api_that_does_not_say_is_only_warned_of(
    check, hosts: Hosts, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    hosts.model_status = status
    check()
    assert f"is not known: HTTP {status}" in caplog.text
    check()
    assert [path for path, _ in hosts.asked].count("/v1/models") == 2


def test_a_missing_secret_says_how_to_create_it(check, hosts: Hosts) -> None:
    hosts.secret = ApiException(status=404)
    (fault,) = faults(check)
    assert "there is no secret 'agent-secrets' in namespace 'agent-system'" in fault
    assert "github-token and anthropic-api-key" in fault
    assert "kubectl create secret generic agent-secrets --namespace agent-system --from-literal=" in fault
    (fault,) = faults(check, program="codex")
    assert "github-token and openai-api-key" in fault


@pytest.mark.parametrize(
    ("secret", "program", "words"),
    [
        ({"github-token": FORGE}, "claude", "lacks anthropic-api-key or anthropic-oauth-token, which claude"),
        ({"github-token": FORGE, "anthropic-api-key": " "}, "claude", "lacks anthropic-api-key"),
        ({"github-token": FORGE, "anthropic-api-key": KEY}, "codex", "lacks openai-api-key, which codex"),
        ({"anthropic-api-key": KEY}, "claude", "lacks github-token, with which the pods fetch and push"),
    ],
)
def test_a_missing_key_is_named(check, hosts: Hosts, secret: Any, program: str, words: str) -> None:
    hosts.secret = secret
    (fault,) = faults(check, program=program)
    assert words in fault
    # The command must not drop the keys that are there.
    assert all(f"--from-literal={key}=" in fault for key in secret)


def test_a_program_that_is_not_known_needs_no_model_key(check, hosts: Hosts) -> None:
    hosts.secret = {"github-token": FORGE}
    check(program="own")
    assert hosts.asked == [("/api/v3/repos/acme/shop", FORGE)]


def test_a_token_of_a_subscription_will_do(check, hosts: Hosts) -> None:
    hosts.secret = {"github-token": FORGE, "anthropic-oauth-token": "sk-ant-oat01"}
    check()
    assert ("/v1/models", "sk-ant-oat01") in hosts.asked


@pytest.mark.parametrize(
    "error", [ApiException(status=403, reason="Forbidden"), OSError("connection refused")]
)
def test_a_secret_that_cannot_be_read_is_not_checked(
    check, hosts: Hosts, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    hosts.secret = error
    check()
    assert "Secret agent-system/agent-secrets is not checked" in caplog.text
    assert hosts.asked == []


def test_without_a_cluster_nothing_is_checked(check, hosts: Hosts, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(conn_id: str) -> Any:
        raise InvalidInputError(["no cluster"])

    monkeypatch.setattr(kubernetes_objects, "cluster_client", none)
    check()
    assert hosts.asked == []


def test_a_forge_token_that_cannot_push_or_read(check, hosts: Hosts) -> None:
    hosts.repositories["acme/shop"]["permissions"]["push"] = False
    (fault,) = faults(check, read_repositories=["acme/shop2"])[:1]
    assert (
        "github-token of secret agent-secrets in namespace agent-system may read acme/shop but not" in fault
    )
    del hosts.repositories["acme/shop"]
    (fault,) = faults(check)
    assert "refused to read repository acme/shop: HTTP 404" in fault


def test_all_that_is_wrong_is_named_at_once(check, hosts: Hosts) -> None:
    hosts.model_status = 401
    hosts.repositories.clear()
    assert len(faults(check, read_repositories=["acme/lib"])) == 3


def test_a_forge_that_is_away_is_only_warned_of(
    check, hosts: Hosts, caplog: pytest.LogCaptureFixture
) -> None:
    hosts.forge_status = 502
    check()
    assert "Whether key github-token of secret" in caplog.text


def test_airflows_own_token_is_not_asked_for_again(check, hosts: Hosts) -> None:
    hosts.secret = {"github-token": "ghp_of_airflow", "anthropic-api-key": KEY}
    check()
    assert [path for path, _ in hosts.asked] == ["/v1/models"]


def test_credentials_of_connections(
    check, hosts: Hosts, connections: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CREDENTIALS", "connections")
    hosts.secret = AssertionError("must not be read")  # type: ignore[assignment]
    check()
    check(program="codex")
    assert hosts.asked == [("/v1/models", KEY), ("/v1/models", "sk-openai-canary")]
    del connections["openai_default"]
    (fault,) = faults(check, program="codex")
    assert "'openai_default' ([agents] openai_conn_id) does not exist" in fault


@pytest.fixture
def app(connections: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """An App, and what tokens of it were asked for; an exception in the list is raised."""
    connections["gh"] = {"extra": json.dumps({"app_id": 1, "private_key": "k"})}
    asked: list[Any] = []

    def mint(hook: AgentsGitHubHook, repositories: Any, permissions: Any) -> InstallationToken:
        if asked and isinstance(asked[0], Exception):
            raise asked[0]
        asked.append((tuple(repositories), dict(permissions)))
        now = datetime.now(UTC)
        return InstallationToken(token="ghs_canary", minted_at=now, expires_at=now + timedelta(hours=1))

    monkeypatch.setattr(AgentsGitHubHook, "mint", mint)
    return asked


def test_an_app_is_asked_for_the_token_of_a_writing_step(check, hosts: Hosts, app: list[Any]) -> None:
    hosts.secret = {"anthropic-api-key": KEY}
    check(read_repositories=["acme/lib", "other/lib"])
    check(read_repositories=["acme/lib", "other/lib"])
    assert app == [(("acme/shop", "acme/lib"), {"contents": "write", "metadata": "read"})]
    assert hosts.asked == [("/v1/models", KEY)]


def test_what_an_app_lacks_is_named(check, hosts: Hosts, app: list[Any]) -> None:
    app.append(ForgeAccessError("lacks the permission contents: write"))
    assert faults(check) == ["lacks the permission contents: write"]
    hosts.secret = ApiException(status=403)
    assert faults(check) == ["lacks the permission contents: write"]
    app[0] = InvalidInputError(["the key is none"])
    assert faults(check) == ["the key is none"]


def test_an_app_that_cannot_be_asked_now_is_only_warned_of(
    check, hosts: Hosts, app: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    app.append(ForgeUnavailableError("HTTP 502"))
    check()
    assert "Whether the App's tokens will do is not known: HTTP 502" in caplog.text


def test_the_secret_of_an_app_needs_no_forge_token(check, hosts: Hosts, app: list[Any]) -> None:
    hosts.secret = ApiException(status=404)
    (fault,) = faults(check)
    assert "github-token" not in fault


# MCP servers

DOCS = {"docs": McpServer(url="https://d/mcp", connection="docs_mcp")}


def test_the_connection_of_an_mcp_server_is_looked_for(check: Any, connections: dict[str, Any]) -> None:
    (fault,) = faults(check, mcp_servers=DOCS)
    assert "connection 'docs_mcp' of the MCP server docs does not exist" in fault
    connections["docs_mcp"] = {"password": "mcp_canary"}
    check(mcp_servers=DOCS)


def test_the_key_of_an_mcp_server_is_looked_for(check: Any, hosts: Hosts) -> None:
    servers = {"docs": McpServer(url="https://d/mcp", secret=True)}
    (fault,) = faults(check, mcp_servers=servers)
    assert "lacks mcp-docs, the credential of an MCP server. Create it: kubectl create secret" in fault
    assert isinstance(hosts.secret, dict)
    hosts.secret["mcp-docs"] = "mcp_canary"
    check(mcp_servers=servers)
    hosts.secret = ApiException(status=403, reason="Forbidden")
    check(mcp_servers=servers)  # it cannot be seen from here
