"""An App of the stand-in: what its tokens may do, and the project's hook with it."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from airflow.sdk import BaseHook, Connection
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks import github_app_tokens
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from demo.github.__main__ import parse_arguments
from demo.github.app_tokens import AppRegistration

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.github.server import StandInGitHub

REPOSITORY = "acme/calc"
MINT = "/api/v3/app/installations/5/access_tokens"
READ = {"contents": "read", "metadata": "read"}
WRITE = {"contents": "write", "metadata": "read"}


@pytest.fixture(scope="module")
def keys() -> tuple[str, str]:
    """Private and public key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


@pytest.fixture
async def app(seeded: StandInGitHub, folder, keys: tuple[str, str]) -> AppRegistration:
    registration = AppRegistration(
        app_id="12", public_key=keys[1], installation_id=5, repositories=[REPOSITORY, "acme/lib"]
    )
    seeded.add_app(registration)
    await seeded.seed_repository("acme/lib", folder)
    await seeded.seed_repository("acme/other", folder)
    return registration


@pytest.fixture
def signed(client_of: Any, keys: tuple[str, str]) -> Callable[..., Any]:
    """Return a client that speaks for the App."""

    def client(*, key: str = keys[0], before: float = 60, lasting: float = 540, app_id: str = "12") -> Any:
        now = int(time.time())
        claims = {"iat": now - before, "exp": now + lasting, "iss": app_id}
        return client_of(jwt.encode(claims, key, algorithm="RS256"))

    return client


async def token(signed: Any, **body: Any) -> str:
    answer = await signed().call("POST", MINT, json=body)
    assert answer.status == 201, answer.text
    return str(answer.body["token"])


@pytest.fixture
def hook(seeded: StandInGitHub, keys: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Return the project's hook with a connection of the App."""

    def made(**arguments: Any) -> AgentsGitHubHook:
        extra = {"app_id": 12, "installation_id": 5, "private_key": keys[0]} | arguments.pop("extra", {})
        found = Connection(conn_id="gh", conn_type="github", host=seeded.url, extra=json.dumps(extra))

        async def async_found(conn_id: str) -> Connection:
            return found

        monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(async_found))
        monkeypatch.setattr(github_app_tokens, "_tokens", {})
        monkeypatch.setenv("NO_PROXY", "*")
        return AgentsGitHubHook("gh", **arguments)

    return made


async def test_a_token_is_made_as_github_makes_it(app, signed) -> None:
    answer = await signed().call("POST", MINT, json={"repositories": ["calc"], "permissions": READ})
    assert answer.status == 201
    assert set(answer.body) == {"token", "expires_at", "permissions", "repository_selection", "repositories"}
    assert answer.body["permissions"] == READ
    assert [repository["full_name"] for repository in answer.body["repositories"]] == [REPOSITORY]
    assert len(answer.body["token"]) > 200
    found = await signed().call("GET", f"/api/v3/repos/{REPOSITORY}/installation")
    assert (found.body["id"], found.body["permissions"]["contents"]) == (5, "write")
    assert (await signed().call("GET", "/api/v3/app/installations")).body == [found.body]
    assert (await signed().call("GET", "/api/v3/repos/acme/other/installation")).status == 404


@pytest.mark.parametrize(
    ("claims", "status", "words"),
    [
        ({"before": -120}, 401, "'Issued at' claim"),
        ({"lasting": 700}, 401, "too far in the future"),
        ({"lasting": -20}, 401, "'Expiration time' claim"),
        ({"app_id": "13"}, 404, "Integration not found"),
    ],
)
async def test_a_signature_that_github_refuses(app, signed, claims: Any, status: int, words: str) -> None:
    answer = await signed(**claims).call("POST", MINT)
    assert answer.status == status
    assert words in answer.body["message"]


async def test_another_key_signs_for_nobody(app, signed, client_of, agent) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    answer = await signed(key=other).call("POST", MINT)
    assert (answer.status, answer.body["message"]) == (401, "A JSON web token could not be decoded")
    assert (await agent.call("POST", MINT)).status == 401
    assert (await client_of(None).call("POST", MINT)).status == 401


async def test_more_than_the_installation_has_is_refused(app, signed) -> None:
    answer = await signed().call("POST", MINT, json={"permissions": {"workflows": "write"}})
    assert (answer.status, answer.body["message"][:37]) == (422, "The permissions requested are not gra")
    answer = await signed().call("POST", MINT, json={"repositories": ["other"]})
    assert answer.status == 422
    assert (await signed().call("POST", MINT.replace("5", "6"))).status == 404


async def test_a_token_reaches_its_repositories_alone(app, signed, client_of) -> None:
    client = client_of(await token(signed, repositories=["calc"], permissions=READ))
    assert (await client.repo("GET")).status == 200
    for other in ("acme/lib", "acme/other"):
        assert (await client.call("GET", f"/api/v3/repos/{other}")).status == 404
        answer = await client.graphql(
            'query Q {{ repository(owner: "acme", name: "{}") {{ id }} }}'.format(other.partition("/")[2])
        )
        assert answer["data"]["repository"] is None
        git = await client.call("GET", f"/{other}.git/info/refs?service=git-upload-pack")
        assert git.status in (401, 404)


async def test_a_token_does_what_it_was_given_alone(app, signed, client_of) -> None:
    reader = client_of(await token(signed, permissions={"contents": "read", "issues": "write"}))
    assert (await reader.repo("GET", "/contents/calc.py")).status == 200
    assert (await reader.repo("POST", "/issues/1/comments", json={"body": "hello"})).status == 201
    for method, path in (
        ("GET", "/pulls"),
        ("GET", "/commits/main/check-runs"),
        ("DELETE", "/git/refs/heads/main"),
    ):
        answer = await reader.repo(method, path)
        assert (answer.status, answer.body["message"]) == (403, "Resource not accessible by integration")


async def test_a_push_needs_contents_write(app, signed, git, remote, tmp_path) -> None:
    work = tmp_path / "work"
    read, write = [await token(signed, repositories=["calc"], permissions=p) for p in (READ, WRITE)]
    code, out = await git("clone", "-q", remote(read), str(work))
    assert code == 0, out
    (work / "new.py").write_text("x = 1\n")
    await git("add", "-A", cwd=work)
    await git("commit", "-q", "-m", "New", cwd=work)
    code, out = await git("push", "-q", remote(read), "HEAD:refs/heads/agents/1", cwd=work)
    assert code != 0
    assert "403" in out
    code, out = await git("push", "-q", remote(write), "HEAD:refs/heads/agents/1", cwd=work)
    assert code == 0, out


async def test_a_token_expires(app, signed, client_of) -> None:
    app.token_seconds = 0.3
    client = client_of(await token(signed))
    assert (await client.repo("GET")).status == 200
    await asyncio.sleep(0.35)
    answer = await client.repo("GET")
    assert (answer.status, answer.body["message"]) == (401, "Bad credentials")


async def test_another_users_request_on_the_same_connection_has_its_own_rights(
    app, signed, client_of, agent
) -> None:
    client = client_of(await token(signed, repositories=["lib"]))
    assert (await client.repo("GET")).status == 404
    assert (await agent.repo("GET")).status == 200


async def test_the_hook_works_as_the_app(app, hook) -> None:
    async with hook().client() as client:
        assert (await client.repository(REPOSITORY)).default_branch == "main"
        assert (await client.issue(REPOSITORY, 1)).title == "add() subtracts"
        assert (await client.comment(REPOSITORY, 1, "hello")).created
    async with hook(repository="acme/lib", extra={"installation_id": None}).client() as client:
        assert await client.branch_head("acme/lib", "main")
        with pytest.raises(ForgeAccessError):
            await client.branch_head(REPOSITORY, "main")


async def test_the_hook_goes_on_when_a_token_expires_in_an_open_session(
    app, hook, seeded, monkeypatch
) -> None:
    app.token_seconds = 1.0
    async with hook().client() as client:
        await client.issue(REPOSITORY, 1)
        await asyncio.sleep(1.05)
        await client.issue(REPOSITORY, 1)


async def test_what_the_hook_says_of_refusals(app, hook) -> None:
    with pytest.raises(ForgeAccessError, match="lacks the permission workflows: write"):
        await hook().amint([REPOSITORY], {"workflows": "write"})
    with pytest.raises(ForgeAccessError, match="not installed on acme/other"):
        await hook(extra={"installation_id": None}).amint(["acme/other"], READ)
    with pytest.raises(ForgeAccessError, match="knows no installation 6"):
        await hook(extra={"installation_id": 6}).amint([REPOSITORY], READ)
    with pytest.raises(ForgeAccessError, match="knows no App with app_id 13"):
        await hook(extra={"app_id": 13}).amint([REPOSITORY], READ)
    with pytest.raises(ForgeAccessError, match="for acme/other: HTTP 422"):
        await hook().amint(["acme/other"], READ)


def test_an_app_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--data", "d", "--ready-file", "r"]
    given = parse_arguments([*base, "--app-id", "12", "--app-key", "k.pem", "--app-token-seconds", "20"])
    assert (given.app_id, given.app_key.name, given.app_token_seconds) == ("12", "k.pem", 20.0)
    with pytest.raises(SystemExit):
        parse_arguments([*base, "--app-id", "12"])
    assert "--app-id and --app-key go together" in capsys.readouterr().err
