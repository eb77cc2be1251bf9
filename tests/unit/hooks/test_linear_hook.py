from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError, InvalidInputError
from airflow_provider_agents.hooks import linear_transport
from airflow_provider_agents.hooks.linear import API_URL, AgentsLinearHook, LinearCredential, credential
from airflow_provider_agents.hooks.linear_transport import MOST_BYTES, open_linear

KEY = "lin_api_canary_0123456789"


def connection(**values: Any) -> Connection:
    return Connection(conn_id="lin", conn_type="linear", **values)


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        (None, None, API_URL),
        ("  ", None, API_URL),
        ("api.linear.app", None, API_URL),
        ("https://api.linear.app/graphql/", None, API_URL),
        ("https://proxy.test:8443/linear", None, "https://proxy.test:8443/linear"),
        ("https://proxy.test", 8443, "https://proxy.test:8443/graphql"),
        ("http://127.0.0.1:7/graphql", None, "http://127.0.0.1:7/graphql"),
        ("http://[::1]:7", None, "http://[::1]:7/graphql"),
    ],
)
def test_the_host_is_the_apis_address(host: str | None, port: int | None, url: str) -> None:
    assert credential(connection(password=KEY, host=host, port=port)).url == url


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "'lin' has no key; put a personal API key"),
        ({"password": "  "}, "has no key"),
        ({"password": "Bearer "}, "has no key"),
        ({"password": "two words"}, "neither an API key nor a token"),
        ({"password": "key\r\nX-Evil: 1"}, "neither an API key nor a token"),
        ({"password": KEY, "host": "ftp://x"}, "it is not an https address"),
        ({"password": KEY, "host": "http://linear.test"}, "in the clear: use https"),
        ({"password": KEY, "host": "https://x:port"}, "its port is not a number"),
        ({"password": KEY, "host": "https://me:pw@x"}, "more than scheme, host, port and path"),
        ({"password": KEY, "host": "https://x/graphql?a=b"}, "more than scheme, host, port and path"),
        ({"password": KEY, "host": "https:///graphql"}, "it is not an https address"),
    ],
)
def test_a_connection_that_cannot_work_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as raised:
        credential(connection(**values))
    assert words in str(raised.value)
    assert KEY not in str(raised.value)


@pytest.mark.parametrize(
    ("password", "header"),
    [(KEY, KEY), ("lin_oauth_1", "Bearer lin_oauth_1"), ("Bearer lin_oauth_1\n", "Bearer lin_oauth_1")],
)
def test_a_key_goes_as_it_is_and_a_token_as_a_bearer(password: str, header: str) -> None:
    found = credential(connection(password=password))
    assert found.authorization == header
    assert found.secret not in repr(found)


def test_a_missing_connection_says_how_to_make_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(conn_id: str) -> Connection:
        raise AirflowNotFoundException(conn_id)

    async def async_absent(conn_id: str) -> Connection:
        raise AirflowNotFoundException(conn_id)

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(absent))
    monkeypatch.setattr(BaseHook, "aget_connection", staticmethod(async_absent))
    words = "airflow connections add linear_default --conn-type linear"
    with pytest.raises(InvalidInputError, match=words):
        AgentsLinearHook().get_conn()
    with pytest.raises(InvalidInputError, match=words):
        asyncio.run(AgentsLinearHook().aget_conn())


class Stub:
    """Answers every request alike, and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: list[web.Request] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request)
        if isinstance(self.answer, web.Response):
            return self.answer
        return web.json_response(self.answer)


async def ask(stub: Stub, *, mutate: bool = False, secret: str = KEY) -> Any:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.handle)
    async with TestServer(app) as server:
        found = LinearCredential(url=str(server.make_url("/graphql")), secret=secret)
        async with open_linear(found, timeout_seconds=5) as transport:
            assert KEY not in repr(transport)
            send = transport.mutate if mutate else transport.query
            return await send("query { viewer { id } }", {}, "say who we are")


@pytest.fixture(autouse=True)
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linear_transport, "READ_RETRY_DELAYS", (0.0, 0.0))


async def test_the_key_goes_into_the_header() -> None:
    stub = Stub({"data": {"viewer": {"id": "me"}}})
    answer = await ask(stub)
    assert answer.data == {"viewer": {"id": "me"}}
    assert answer.at.tzinfo is not None
    assert stub.asked[0].headers["Authorization"] == KEY
    assert stub.asked[0].headers["User-Agent"].startswith("airflow-provider-agents/")


async def test_a_redirect_is_not_followed() -> None:
    stub = Stub(web.Response(status=307, headers={"Location": "/elsewhere"}))
    with pytest.raises(ForgeUnavailableError, match="HTTP 307"):
        await ask(stub, mutate=True)
    assert [request.path for request in stub.asked] == ["/graphql"]


@pytest.mark.parametrize("body", ["", "<html>", "[]", "7", '{"data": null}', '{"data": []}', "[" * 100_000])
async def test_what_is_no_answer_is_a_fault(body: str) -> None:
    with pytest.raises(ForgeUnavailableError, match="Linear could not say who we are"):
        await ask(Stub(web.Response(text=body)), mutate=True)


async def test_an_endless_answer_is_not_taken_into_memory() -> None:
    with pytest.raises(ForgeUnavailableError, match="the answer is longer than"):
        await ask(Stub(web.Response(body=b" " * (MOST_BYTES + 1))), mutate=True)


async def test_the_key_is_kept_out_of_what_is_raised() -> None:
    stub = Stub(web.Response(status=401, text=f"bad key {KEY}"))
    with pytest.raises(ForgeAccessError) as raised:
        await ask(stub)
    assert "bad key ***" in str(raised.value)
    assert KEY not in str(raised.value)
    assert len(stub.asked) == 1


async def test_data_with_errors_is_an_answer_to_a_query_and_none_to_a_mutation() -> None:
    answer = {"data": {"viewer": None}, "errors": [{"message": "boom"}, "odd"]}
    found = await ask(Stub(answer))
    assert [error["message"] for error in found.errors] == ["boom"]
    with pytest.raises(ForgeUnavailableError, match="boom"):
        await ask(Stub(answer), mutate=True)


async def test_the_button_says_who_we_are(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = {"id": "1", "name": "Agent", "app": True, "organization": {"name": "Acme"}}
    assert await button(Stub({"data": {"viewer": viewer}}), monkeypatch) == (
        True,
        "app 'Agent' of the workspace 'Acme'",
    )
    works, said = await button(Stub({"data": {"viewer": {}}}), monkeypatch)
    assert (works, "did not say who we are" in said) == (False, True)
    works, said = await button(Stub(web.Response(status=401)), monkeypatch)
    assert (works, "Check that the API key" in said) == (False, True)


async def button(stub: Stub, monkeypatch: pytest.MonkeyPatch) -> tuple[bool, str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.handle)
    async with TestServer(app) as server:
        found = connection(password=KEY, host=str(server.make_url("/graphql")))
        monkeypatch.setattr(BaseHook, "get_connection", staticmethod(lambda conn_id: found))
        # As in the API server: in a thread of its own.
        return await asyncio.to_thread(AgentsLinearHook().test_connection)
