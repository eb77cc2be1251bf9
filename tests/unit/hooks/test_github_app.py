"""A connection that is a GitHub App: signatures, tokens, their cache, and refusals in words."""

from __future__ import annotations

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from airflow.sdk import BaseHook, Connection
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks import github_app, github_app_tokens
from airflow_provider_agents.hooks.github import AgentsGitHubHook, credential

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKEN = "ghs_123_" + "canary." * 60
MINT = "POST /api/v3/app/installations/7/access_tokens"
FIND = "GET /api/v3/repos/acme/shop/installation"
INSTALLATION = "GET /api/v3/app/installations/7"
ISSUE = "GET /api/v3/repos/acme/shop/issues/3"
CONTENTS = {"contents": "read", "metadata": "read"}


@pytest.fixture(scope="module")
def private_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@pytest.fixture(scope="module")
def public_key(private_key: str) -> str:
    key = serialization.load_pem_private_key(private_key.encode(), None).public_key()
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


@pytest.fixture(autouse=True)
def empty_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_app_tokens, "_tokens", {})


@pytest.fixture
def connect(stub, private_key: str, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make every connection an App's, with more in its extra."""

    def connected(**extra: Any) -> None:
        values = {"app_id": 12, "installation_id": 7, "private_key": private_key} | extra
        values = {key: value for key, value in values.items() if value is not None}
        found = Connection(conn_id="gh", conn_type="github", host=stub.url, extra=json.dumps(values))

        async def async_found(conn_id: str) -> Connection:
            return found

        monkeypatch.setattr(BaseHook, "get_connection", staticmethod(lambda conn_id: found))
        monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(async_found))

    connected()
    return connected


def minted(seconds: float = 3600, token: str = TOKEN, **headers: str) -> Any:
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    return 201, {"token": token, "expires_at": expires.strftime("%Y-%m-%dT%H:%M:%SZ")}, headers


def claims(stub, public_key: str, index: int = 0) -> dict[str, Any]:
    sent = stub.asked[index].headers["Authorization"].removeprefix("Bearer ")
    return jwt.decode(sent, public_key, algorithms=["RS256"], options={"verify_iat": False})


def test_what_a_connection_says(private_key: str, tmp_path: Path) -> None:
    path = tmp_path / "app.pem"
    path.write_text(private_key)
    for given in ({"key_path": str(path)}, {"private_key": private_key.replace("\n", "\\n")}):
        extra = json.dumps({"app_id": "Iv23x", "installation_id": "7", **given})
        found = credential(Connection(conn_id="gh", conn_type="github", extra=extra))
        assert found.app is not None
        assert (found.app.app_id, found.app.installation_id, found.token) == ("Iv23x", 7, "")
        assert found.app.private_key == private_key
        assert "PRIVATE KEY" not in repr(found)


def test_a_password_goes_before_an_app(private_key: str) -> None:
    extra = json.dumps({"app_id": 1, "private_key": private_key})
    found = credential(Connection(conn_id="gh", conn_type="github", password="ghp_x", extra=extra))
    assert (found.app, found.token) == (None, "ghp_x")


async def test_a_session_works_with_a_token_of_the_app(connect, stub, public_key: str) -> None:
    stub.on(MINT, minted())
    stub.on(ISSUE, {"number": 3, "state": "open"})
    async with AgentsGitHubHook("gh").client() as client:
        assert (await client.issue("acme/shop", 3)).number == 3
        await client.issue("acme/shop", 3)
    assert [asked.headers["Authorization"] for asked in stub.asked[1:]] == [f"Bearer {TOKEN}"] * 2
    assert stub.asked[0].body == {"permissions": dict(github_app.OPERATOR_PERMISSIONS)}
    now = datetime.now(UTC).timestamp()
    found = claims(stub, public_key)
    assert found["iss"] == "12"
    assert now - 90 < found["iat"] < now - 30
    assert now + 400 < found["exp"] < now + 600


async def test_the_hook_narrows_to_its_repository(connect, stub) -> None:
    stub.on(MINT, minted())
    stub.on(ISSUE, {"number": 3, "state": "open"})
    async with AgentsGitHubHook("gh", repository="acme/shop").client() as client:
        await client.issue("acme/shop", 3)
    assert stub.asked[0].body["repositories"] == ["shop"]


async def test_permissions_of_the_connection_are_asked_for(connect, stub) -> None:
    connect(token_permissions=CONTENTS)
    stub.on(MINT, minted())
    stub.on(ISSUE, {"number": 3, "state": "open"})
    async with AgentsGitHubHook("gh").client() as client:
        await client.issue("acme/shop", 3)
    assert stub.asked[0].body["permissions"] == CONTENTS


async def test_the_installation_is_found_by_the_repository(connect, stub) -> None:
    connect(installation_id=None)
    stub.on(FIND, {"id": 7})
    stub.on(MINT, minted())
    token = await AgentsGitHubHook("gh").amint(["acme/shop", "acme/lib"], CONTENTS)
    assert token.token == TOKEN
    assert stub.asked[1].body == {"repositories": ["lib", "shop"], "permissions": CONTENTS}


async def test_an_only_installation_is_found_without_a_repository(connect, stub) -> None:
    connect(installation_id=None)
    stub.on("GET /api/v3/app/installations", [{"id": 7}])
    stub.on(MINT, minted())
    assert (await AgentsGitHubHook("gh").amint([], CONTENTS)).token == TOKEN
    stub.on("GET /api/v3/app/installations", [{"id": 7}, {"id": 8}])
    with pytest.raises(ForgeAccessError, match=r"has 2 installations\. Put .* installation_id"):
        await AgentsGitHubHook("gh").amint([], CONTENTS)


async def test_one_token_is_good_for_several_repositories_of_one_owner(connect, stub) -> None:
    connect(installation_id=None)
    stub.on(FIND, {"id": 7})
    stub.on(MINT, minted())
    stub.on(ISSUE, {"number": 3, "state": "open"})
    names = ("acme/bakery", "Acme/kiosk", "acme/shop")
    async with AgentsGitHubHook("gh", repository="acme/shop", repositories=names).client() as client:
        await client.issue("acme/shop", 3)
    made = next(asked for asked in stub.asked if f"{asked.method} {asked.path}" == MINT)
    assert made.body["repositories"] == ["bakery", "kiosk", "shop"]
    assert stub.times(MINT) == 1


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["acme/shop", "umbrella/lab"], "for one owner, not for acme, umbrella"),
        ([f"acme/shop{i}" for i in range(501)], "at most 500, not 501"),
        (["shop"], "must be owner/name"),
    ],
)
async def test_what_no_token_can_be_good_for_is_refused(connect, stub, names, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        async with AgentsGitHubHook("gh", repositories=names).client():
            pass
    assert stub.asked == []


async def test_tokens_are_kept_until_five_minutes_before_they_expire(connect, stub) -> None:
    stub.on(ISSUE, {"number": 3, "state": "open"})
    stub.on(MINT, minted(320, "first"), minted(3600, "second"))
    async with AgentsGitHubHook("gh").client() as client:
        await client.issue("acme/shop", 3)
        await client.issue("acme/shop", 3)
        assert stub.times(MINT) == 1
        for key, token in github_app_tokens._tokens.items():
            github_app_tokens._tokens[key] = github_app.InstallationToken(
                token=token.token,
                minted_at=token.minted_at,
                expires_at=token.expires_at - timedelta(seconds=30),
            )
        await client.issue("acme/shop", 3)
    assert stub.asked[-1].headers["Authorization"] == "Bearer second"
    assert len(github_app_tokens._tokens) == 1


async def test_a_step_token_is_nobody_elses(connect, stub) -> None:
    stub.on(MINT, minted(token="one"), minted(token="two"))
    hook = AgentsGitHubHook("gh")
    assert (await hook.amint(["acme/shop"], CONTENTS)).token == "one"
    assert (await hook.amint(["acme/shop"], CONTENTS)).token == "two"


async def test_those_who_ask_at_once_share_one_token(connect, stub) -> None:
    stub.on(MINT, minted())
    stub.on(ISSUE, {"number": 3, "state": "open"})

    async def ask() -> None:
        async with AgentsGitHubHook("gh").client() as client:
            await client.issue("acme/shop", 3)

    await asyncio.gather(*(ask() for _ in range(5)))
    assert stub.times(MINT) == 1


async def test_a_token_that_github_refuses_is_not_used_again(connect, stub) -> None:
    stub.on(MINT, minted(token="one"), minted(token="two"))
    stub.on(ISSUE, (401, {"message": "Bad credentials"}), {"number": 3, "state": "open"})
    async with AgentsGitHubHook("gh").client() as client:
        with pytest.raises(ForgeAccessError):
            await client.issue("acme/shop", 3)
        await client.issue("acme/shop", 3)
    assert stub.asked[-1].headers["Authorization"] == "Bearer two"


@pytest.mark.parametrize("ahead", [timedelta(minutes=-20), timedelta(hours=1)])
async def test_a_wrong_clock_is_made_up_for(connect, stub, public_key: str, ahead: timedelta) -> None:
    theirs = datetime.now(UTC) + ahead
    refused = (401, {"message": "'Issued at' claim ('iat') must be …"}, {"Date": format_datetime(theirs)})
    expires = (theirs + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    good = (201, {"token": TOKEN, "expires_at": expires}, {"Date": format_datetime(theirs)})
    stub.on(MINT, refused, good)
    token = await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)
    sent = stub.asked[1].headers["Authorization"].removeprefix("Bearer ")
    found = jwt.decode(sent, public_key, ["RS256"], options={"verify_iat": False, "verify_exp": False})
    assert abs(found["iat"] + 60 - theirs.timestamp()) < 20
    left = token.expires_at - datetime.now(UTC)
    assert timedelta(minutes=58) < left < timedelta(minutes=62)


async def test_a_refused_signature_is_not_sent_again_where_the_clock_is_right(connect, stub) -> None:
    stub.on(MINT, (401, {"message": "A JSON web token could not be decoded"}))
    with pytest.raises(ForgeAccessError, match=r"app_id \(12\) and private key in its extra belong together"):
        await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)
    assert stub.times(MINT) == 1


@pytest.mark.parametrize(
    ("route", "reply", "words"),
    [
        (FIND, (404, {"message": "Not Found"}), r"\(app_id 12\) is not installed on acme/shop.*Install it"),
        (FIND, (404, {"message": "Integration not found"}), "knows no App with app_id 12.*Correct app_id"),
        (MINT, (404, {"message": "Not Found"}), "knows no installation 7 .*Correct installation_id"),
        (MINT, (403, {"message": "This installation has been suspended"}), "is suspended.*unsuspend"),
        (MINT, (400, {"message": "odd"}), "unexpected answer HTTP 400"),
    ],
)
async def test_refusals_name_fault_and_remedy(connect, stub, route: str, reply: Any, words: str) -> None:
    connect(installation_id=None)
    stub.on(FIND, {"id": 7})
    stub.on(route, reply)
    with pytest.raises(Exception, match=words):
        await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)


async def test_a_permission_that_was_not_granted_is_named(connect, stub) -> None:
    stub.on(MINT, (422, {"message": "The permissions requested are not granted to this installation."}))
    granted = {"metadata": "read", "contents": "read", "issues": "write"}
    stub.on(INSTALLATION, {"permissions": granted, "html_url": "https://github.com/settings/installations/7"})
    wanted = {"metadata": "read", "contents": "write", "pull_requests": "write", "issues": "read"}
    with pytest.raises(ForgeAccessError) as caught:
        await AgentsGitHubHook("gh").amint(["acme/shop"], wanted)
    assert "lacks the permission contents: write, pull_requests: write." in str(caught.value)
    assert "settings/installations/7" in str(caught.value)


async def test_a_repository_that_is_not_of_the_installation_is_named(connect, stub) -> None:
    stub.on(MINT, (422, {"message": "There is at least one repository that is not accessible."}))
    stub.on(INSTALLATION, {"permissions": CONTENTS})
    with pytest.raises(ForgeAccessError, match=r"for acme/shop, acme/lib: HTTP 422.*installed on these"):
        await AgentsGitHubHook("gh").amint(["acme/shop", "acme/lib"], CONTENTS)


async def test_less_than_the_connection_allows_is_refused_here(connect, stub) -> None:
    connect(token_permissions={"contents": "read"})
    with pytest.raises(
        InvalidInputError, match="token_permissions of its extra lacks contents: write; add it"
    ):
        await AgentsGitHubHook("gh").amint(["acme/shop"], {"contents": "write", "metadata": "read"})
    assert stub.asked == []


async def test_a_key_that_is_none_is_not_quoted(connect, stub) -> None:
    connect(private_key="-----BEGIN canary-----")
    with pytest.raises(InvalidInputError, match="no RSA key in PEM form") as caught:
        await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)
    assert "canary" not in str(caught.value)
    assert caught.value.__suppress_context__


async def test_an_outage_is_waited_out(connect, stub) -> None:
    stub.on(MINT, (502, {}), minted())
    assert (await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)).token == TOKEN
    stub.on(MINT, (502, {}))
    with pytest.raises(ForgeUnavailableError):
        await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)


async def test_a_rate_limit_keeps_its_time(connect, stub) -> None:
    stub.on(MINT, (403, {"message": "API rate limit exceeded"}, {"Retry-After": "60"}))
    with pytest.raises(ForgeRateLimitedError) as caught:
        await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)
    assert caught.value.retry_at is not None


@pytest.mark.parametrize(
    "answer", [{"expires_at": "2026-01-01T00:00:00Z"}, {"token": "t"}, [], {"token": "t", "expires_at": "x"}]
)
async def test_half_an_answer_is_no_token(connect, stub, answer: Any) -> None:
    stub.on(MINT, (201, answer))
    with pytest.raises(ForgeUnavailableError):
        await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)


async def test_no_token_is_in_a_message_or_a_log(connect, stub, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stub.on(MINT, minted())
    stub.on(ISSUE, (418, {"message": f"you sent {TOKEN}"}))
    with pytest.raises(Exception, match="you sent") as caught:
        async with AgentsGitHubHook("gh").client() as client:
            await client.issue("acme/shop", 3)
    assert TOKEN not in str(caught.value)
    assert TOKEN not in caplog.text
    assert TOKEN not in repr(github_app_tokens._tokens)


async def test_a_connection_with_a_token_mints_none(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Connection(conn_id="gh", conn_type="github", password="ghp_x")

    async def async_found(conn_id: str) -> Connection:
        return found

    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(async_found))
    with pytest.raises(InvalidInputError, match="no GitHub App"):
        await AgentsGitHubHook("gh").amint(["acme/shop"], CONTENTS)


def test_minting_in_a_worker_masks_the_token(connect, stub, monkeypatch: pytest.MonkeyPatch) -> None:
    masked: list[object] = []
    made = github_app.InstallationToken(token="t", minted_at=datetime.now(UTC), expires_at=datetime.now(UTC))

    async def new_token(*args: object, **kwargs: object) -> github_app.InstallationToken:
        return made

    monkeypatch.setattr(github_app_tokens, "new_token", new_token)
    monkeypatch.setattr("airflow.sdk.log.mask_secret", masked.append)
    assert AgentsGitHubHook("gh").mint(["acme/shop"], CONTENTS) is made
    assert masked == ["t"]


async def test_minting_refuses_inside_an_event_loop(connect) -> None:
    with pytest.raises(RuntimeError, match="amint"):
        AgentsGitHubHook("gh").mint(["acme/shop"], CONTENTS)


@pytest.mark.parametrize("name", ["shop", "acme/shop/x", "acme/sh op", ""])
async def test_a_repository_that_is_no_name(connect, name: str) -> None:
    with pytest.raises(InvalidInputError, match="must be owner/name"):
        await AgentsGitHubHook("gh").amint([name], CONTENTS)
