"""Faults of the network and of GitHub, over real HTTP."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from aiohttp import web

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)

ISSUE = "GET /api/v3/repos/acme/shop/issues/3"
COMMENTS = "POST /api/v3/repos/acme/shop/issues/3/comments"
OPEN = {"number": 3, "state": "open"}


async def drop(request: web.Request) -> web.StreamResponse:
    """Close the connection without an answer."""
    request.transport.close()
    return web.Response()


async def cut_short(request: web.Request) -> web.StreamResponse:
    """Promise more than is sent."""
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"number": 3')
    request.transport.close()
    return response


async def never(request: web.Request) -> web.StreamResponse:
    await asyncio.sleep(60)
    return web.Response()


@pytest.mark.parametrize("fault", [(502, "bad gateway"), (500, {"message": "Server Error"}), drop, cut_short])
async def test_a_read_survives_two_faults(client, stub, fault) -> None:
    stub.on(ISSUE, fault, fault, OPEN)
    assert (await client.issue("acme/shop", 3)).number == 3
    assert stub.times(ISSUE) == 3


@pytest.mark.parametrize("fault", [(502, "bad gateway"), drop, cut_short])
async def test_a_read_gives_up_after_three_attempts(client, stub, fault) -> None:
    stub.on(ISSUE, fault)
    with pytest.raises(ForgeUnavailableError, match="read issue acme/shop#3"):
        await client.issue("acme/shop", 3)
    assert stub.times(ISSUE) == 3


@pytest.mark.parametrize("fault", [(502, "bad gateway"), drop])
async def test_a_write_is_sent_once(client, stub, fault) -> None:
    stub.on(COMMENTS, fault, (201, {"html_url": "u"}))
    with pytest.raises(ForgeUnavailableError):
        await client.comment("acme/shop", 3, "hello")
    assert stub.times(COMMENTS) == 1


async def test_a_lost_answer_to_a_write_says_that_it_may_have_happened(client, stub) -> None:
    stub.on(COMMENTS, drop)
    with pytest.raises(ForgeUnavailableError, match="may have happened"):
        await client.comment("acme/shop", 3, "hello")


async def test_a_silent_server_is_not_waited_for(connect, stub) -> None:
    stub.on(COMMENTS, never)
    started = time.monotonic()
    async with connect(timeout_seconds=0.2) as client:
        with pytest.raises(ForgeUnavailableError, match="TimeoutError"):
            await client.comment("acme/shop", 3, "hello")
    assert time.monotonic() - started < 5


async def test_a_refused_connection_is_unavailable(connect, stub) -> None:
    stub.url = "http://127.0.0.1:9"
    async with connect() as client:
        with pytest.raises(ForgeUnavailableError, match="could not be reached"):
            await client.issue("acme/shop", 3)


async def test_an_endless_answer_is_cut_off(client, stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_agents.hooks.github_transport.MOST_BYTES", 100_000)
    stub.on(ISSUE, {"number": 3, "state": "open", "body": "x" * 200_000})
    with pytest.raises(ForgeUnavailableError, match="longer than 100,000 bytes"):
        await client.issue("acme/shop", 3)


async def test_a_page_of_a_proxy_is_no_answer(client, stub) -> None:
    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(text="<html>Please log in</html>", content_type="text/html")

    stub.on(ISSUE, page)
    with pytest.raises(ForgeUnavailableError, match="not JSON"):
        await client.issue("acme/shop", 3)


@pytest.mark.parametrize("status", [401, 403, 404, 410])
async def test_refusals_name_repository_and_permission(client, stub, status: int) -> None:
    stub.on(COMMENTS, (status, {"message": "Nope"}))
    with pytest.raises(ForgeAccessError, match=r"acme/shop#3.*Nope.*Issues: write") as caught:
        await client.comment("acme/shop", 3, "hello")
    assert not isinstance(caught.value, ForgeUnavailableError)
    assert stub.times(COMMENTS) == 1


async def test_a_refused_read_is_not_repeated(client, stub) -> None:
    stub.on(ISSUE, (403, {"message": "Resource not accessible by personal access token"}))
    with pytest.raises(ForgeAccessError):
        await client.issue("acme/shop", 3)
    assert stub.times(ISSUE) == 1


def budget(**more: str) -> dict[str, str]:
    now = datetime.now(UTC)
    counts = {"Limit": "5000", "Remaining": "4321", "Used": "679", "Resource": "graphql"}
    counts |= {"Reset": str(int((now + timedelta(minutes=20)).timestamp()))}
    return {f"X-RateLimit-{name}": value for name, value in (counts | more).items() if value}


NO_NODE = {"data": {"nodes": [None]}}


async def test_the_budget_of_graphql_is_noted(client, stub) -> None:
    assert client.rate_limit is None
    stub.on("PullRequestPulses", (200, NO_NODE, budget()))
    await client.pulses(["PR_1"])
    found = client.rate_limit
    assert (found.limit, found.remaining, found.used) == (5000, 4321, 679)
    assert abs((found.reset_at - datetime.now(UTC)).total_seconds() - 1200) < 10
    stub.on(ISSUE, (200, {"number": 3, "state": "open"}, budget(Resource="core", Remaining="1")))
    await client.issue("acme/shop", 3)
    assert client.rate_limit is found


async def test_the_reset_is_told_in_our_time(client, stub) -> None:
    ahead = datetime.now(UTC) + timedelta(hours=3)
    headers = budget(Reset=str(int(ahead.timestamp()) + 600)) | {"Date": format_datetime(ahead, usegmt=True)}
    stub.on("PullRequestPulses", (200, NO_NODE, headers))
    await client.pulses(["PR_1"])
    assert abs((client.rate_limit.reset_at - datetime.now(UTC)).total_seconds() - 600) < 10


async def test_the_budget_is_noted_from_a_refusal_too(client, stub) -> None:
    refusal = {"message": "API rate limit exceeded"}
    stub.on("PullRequestPulses", (403, refusal, budget(Remaining="0", Used="")))
    with pytest.raises(ForgeRateLimitedError):
        await client.pulses(["PR_1"])
    assert (client.rate_limit.remaining, client.rate_limit.used) == (0, 5000)


@pytest.mark.parametrize(
    "odd", [{"Limit": ""}, {"Limit": "0"}, {"Remaining": "many"}, {"Reset": "-1"}, {"Resource": ""}]
)
async def test_an_answer_without_a_budget_takes_the_known_one_not_away(client, stub, odd) -> None:
    stub.on(
        "PullRequestPulses",
        (200, NO_NODE, budget(**odd)),
        (200, NO_NODE, budget()),
        (200, NO_NODE, budget(**odd)),
    )
    await client.pulses(["PR_1"])
    assert client.rate_limit is None
    await client.pulses(["PR_1"])
    found = client.rate_limit
    await client.pulses(["PR_1"])
    assert client.rate_limit is found is not None


def in_seconds(error: ForgeRateLimitedError) -> float:
    assert error.retry_at is not None
    return (error.retry_at - datetime.now(UTC)).total_seconds()


@pytest.mark.parametrize(
    ("status", "message", "headers", "least", "most"),
    [
        (403, "You have exceeded a secondary rate limit.", {}, 55, 60),
        (429, "", {}, 55, 60),
        (403, "You have exceeded a secondary rate limit.", {"Retry-After": "17"}, 12, 17),
        (403, "Forbidden", {"Retry-After": "90"}, 85, 90),
        (429, "Slow down", {"Retry-After": "99999999"}, 7000, 7200),
        (429, "Slow down", {"Retry-After": "soon"}, 55, 60),
        (
            403,
            "API rate limit exceeded",
            {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "nonsense"},
            55,
            60,
        ),
    ],
)
async def test_rate_limits(client, stub, status, message, headers, least, most) -> None:
    stub.on(ISSUE, (status, {"message": message}, headers))
    with pytest.raises(ForgeRateLimitedError, match="acme/shop#3") as caught:
        await client.issue("acme/shop", 3)
    assert least <= in_seconds(caught.value) <= most
    assert stub.times(ISSUE) == 1


async def test_the_primary_limit_is_waited_out_by_githubs_clock(client, stub) -> None:
    github_now = datetime(2031, 1, 1, 12, tzinfo=UTC)
    headers = {
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": str(int((github_now + timedelta(minutes=20)).timestamp())),
        "Date": github_now.strftime("%a, %d %b %Y %H:%M:%S GMT"),
    }
    stub.on(ISSUE, (403, {"message": "API rate limit exceeded"}, headers))
    with pytest.raises(ForgeRateLimitedError) as caught:
        await client.issue("acme/shop", 3)
    assert 1190 <= in_seconds(caught.value) <= 1200


async def test_a_used_up_quota_does_not_spoil_a_success(client, stub) -> None:
    stub.on(ISSUE, (200, OPEN, {"X-RateLimit-Remaining": "0"}))
    assert (await client.issue("acme/shop", 3)).state == "OPEN"


async def test_graphql_rate_limit(client, stub) -> None:
    answer = {"data": None, "errors": [{"type": "RATE_LIMITED", "message": "API rate limit exceeded"}]}
    stub.on("Repository", (200, answer, {"Retry-After": "30"}))
    with pytest.raises(ForgeRateLimitedError) as caught:
        await client.repository("acme/shop")
    assert 25 <= in_seconds(caught.value) <= 30


@pytest.mark.parametrize(
    ("errors", "kind", "words"),
    [
        (
            [{"type": "NOT_FOUND", "path": ["repository"], "message": "Could not resolve"}],
            ForgeAccessError,
            "name",
        ),
        ([{"type": "FORBIDDEN", "path": ["repository"], "message": "SAML"}], ForgeAccessError, "SAML"),
        ([], ForgeAccessError, "no such object"),
        ([{"message": "Something went wrong"}], ForgeUnavailableError, "Something went wrong"),
        (
            [{"message": "Field 'x' doesn't exist", "extensions": {"code": "undefinedField"}}],
            ForgeAccessError,
            "supported release",
        ),
    ],
)
@pytest.mark.parametrize("data", [None, {"repository": None}])
async def test_graphql_without_data(client, stub, errors, kind, words, data) -> None:
    stub.on("Repository", {"data": data} | ({"errors": errors} if errors else {}))
    with pytest.raises(kind, match=words) as caught:
        await client.repository("acme/shop")
    assert type(caught.value) is kind


async def test_a_redirect_on_the_same_host_keeps_the_credential(client, stub, token: str) -> None:
    stub.on(ISSUE, (301, None, {"Location": "/api/v3/repositories/9/issues/3"}))
    stub.on("GET /api/v3/repositories/9/issues/3", OPEN)
    assert (await client.issue("acme/shop", 3)).number == 3
    assert stub.asked[1].headers["Authorization"] == f"Bearer {token}"


async def test_a_redirect_to_another_host_is_not_followed(client, stub, other_host) -> None:
    stub.on(ISSUE, (302, None, {"Location": f"{other_host.url}/steal"}))
    with pytest.raises(ForgeAccessError, match="may not get the credential"):
        await client.issue("acme/shop", 3)
    assert other_host.asked == []


async def test_redirects_end(client, stub) -> None:
    stub.on(ISSUE, (302, None, {"Location": ISSUE.removeprefix("GET ")}))
    with pytest.raises(ForgeUnavailableError, match="more than 3 redirects"):
        await client.issue("acme/shop", 3)


async def test_a_redirected_write_is_not_turned_into_a_read(client, stub) -> None:
    stub.on(COMMENTS, (301, None, {"Location": "/api/v3/repositories/9/issues/3/comments"}))
    with pytest.raises(ForgeAccessError, match="renamed"):
        await client.comment("acme/shop", 3, "hello")
    stub.on(COMMENTS, (307, None, {"Location": "/api/v3/repositories/9/issues/3/comments"}))
    stub.on("POST /api/v3/repositories/9/issues/3/comments", (201, {"html_url": "u"}))
    assert (await client.comment("acme/shop", 3, "hello")).url == "u"
    assert stub.asked[-1].body == {"body": "hello"}


LOG = "GET /api/v3/repos/acme/shop/actions/jobs/5/logs"


async def test_the_log_is_fetched_elsewhere_without_the_credential(client, stub, other_host) -> None:
    async def log(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"early\n" * 50_000 + "späte Zeile\n".encode())

    stub.on(LOG, (302, None, {"Location": f"{other_host.url}/blob?sig=1"}))
    other_host.on("GET /blob", log)
    found = await client.check_log("acme/shop", 5)
    assert found is not None
    assert found.tail.endswith("späte Zeile")
    assert "Authorization" in stub.asked[0].headers
    assert "Authorization" not in other_host.asked[0].headers
    assert other_host.asked[0].query == {"sig": "1"}


@pytest.mark.parametrize("status", [403, 404, 410])
async def test_a_log_that_is_gone_is_none(client, stub, status: int) -> None:
    stub.on(LOG, (status, {"message": "gone"}))
    assert await client.check_log("acme/shop", 5) is None


async def test_a_netrc_file_does_not_replace_the_token(client, stub, token, tmp_path, monkeypatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login mona password other\n")
    monkeypatch.setenv("NETRC", str(netrc))
    stub.on(ISSUE, OPEN)
    await client.issue("acme/shop", 3)
    assert stub.asked[0].headers["Authorization"] == f"Bearer {token}"


@pytest.mark.parametrize("form", ["json", "text", "graphql", "drop", "malformed"])
async def test_the_token_is_in_no_exception_and_no_log(client, stub, token, caplog, form) -> None:
    async def malformed(request: web.Request) -> web.StreamResponse:
        request.transport.write(f"HTTP/1.1 {token} {token}\r\n\r\n".encode())
        request.transport.close()
        return web.Response()

    replies = {
        "json": (403, {"message": f"bad token {token}"}),
        "text": (500, f"bad token {token}"),
        "drop": drop,
        "malformed": malformed,
        "graphql": {"data": None, "errors": [{"message": f"bad token {token}"}]},
    }
    stub.on(ISSUE, replies[form])
    stub.on("Repository", replies[form])
    call = client.repository("acme/shop") if form == "graphql" else client.issue("acme/shop", 3)
    with caplog.at_level(logging.DEBUG), pytest.raises(ForgeError) as caught:
        await call
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + caplog.text
    shown += repr(caught.value.__cause__) + repr(client)
    assert "acme/shop" in shown
    assert token not in shown
    assert token not in repr(caught.value.__context__)


async def test_conflicts_carry_githubs_words(client, stub) -> None:
    stub.on(COMMENTS, (422, {"message": "Validation Failed", "errors": [{"message": "body is too long"}]}))
    with pytest.raises(ForgeConflictError, match="Validation Failed; body is too long"):
        await client.comment("acme/shop", 3, "hello")
