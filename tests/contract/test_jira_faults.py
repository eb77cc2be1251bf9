"""What the Jira source makes of answers that are none, late, endless or not Jira's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from jira_fixtures import DEFINITION, fetched, opened, reading_of, served

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.tickets import Claim
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks import jira_client
from airflow_provider_agents.hooks.jira_tickets import JiraTickets

pytest.importorskip("atlassian", reason="needs the extra `jira`")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from jira_world import JiraWorld


@pytest.fixture(params=["cloud", "data center"])
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JiraWorld]:
    async with served(monkeypatch, cloud=request.param == "cloud") as world:
        yield world


@pytest.mark.parametrize(
    ("status", "headers", "kind", "says"),
    [
        (401, {}, ForgeAccessError, "login and token"),
        (403, {"X-Authentication-Denied-Reason": "CAPTCHA_CHALLENGE"}, ForgeAccessError, "CAPTCHA_CHALLENGE"),
        (404, {}, ForgeAccessError, "may not see it"),
        (410, {}, ForgeAccessError, "HTTP 410"),
        (302, {"Location": "https://sso.example/login"}, ForgeAccessError, "sends to another address"),
        (429, {"Retry-After": "7"}, ForgeRateLimitedError, "Next attempt"),
        (503, {"Retry-After": "7"}, ForgeRateLimitedError, "Next attempt"),
        (500, {}, ForgeUnavailableError, "HTTP 500"),
        (400, {}, ForgeError, "'no'"),
    ],
)
async def test_answers_that_are_no_success(
    world: JiraWorld, status: int, headers: dict[str, str], kind: type[ForgeError], says: str
) -> None:
    async with opened(world) as source:
        world.fail("POST", "search", status=status, headers=headers, times=9)
        with pytest.raises(kind, match=says) as caught:
            await source.fetch(None)
    assert type(caught.value) is kind or isinstance(caught.value, kind)
    assert world.token not in str(caught.value)
    assert world.requests("POST .*search") == (3 if status == 500 else 1)
    if isinstance(caught.value, ForgeRateLimitedError):
        assert caught.value.retry_at is not None
        assert 4 < (caught.value.retry_at - datetime.now(UTC)).total_seconds() <= 7


async def test_a_read_outlives_a_fault_and_a_write_is_sent_once(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    world.fail("POST", "search", status=502)
    world.fail("POST", "search", drop=True)
    async with opened(world) as source:
        assert len((await source.fetch(None)).entries) == 1
        reading = await reading_of(source, issue.id)
        world.fail("POST", "comment$", status=502, times=1)
        with pytest.raises(ForgeUnavailableError):
            await source.write_status(reading, Claim(), "Working.")
    assert world.requests("POST .*comment$") == 1


async def test_a_jira_that_forgot_us_is_no_empty_jira(world: JiraWorld) -> None:
    """With an expired token Jira answers as to nobody: with status 200 and an empty list."""
    world.issue(labels=("agent",))
    async with opened(world) as source:
        world.anonymous = True
        with pytest.raises(ForgeAccessError, match="does not accept the login"):
            await source.fetch(None)
    with pytest.raises(ForgeAccessError):
        await fetched(world, None)


async def test_a_wrong_token_is_told_when_the_source_is_opened(world: JiraWorld) -> None:
    world.logged_in = False
    with pytest.raises(ForgeAccessError, match="HTTP 401"):
        await fetched(world, None)


@pytest.mark.parametrize(
    "body", ["<html>Log in</html>", '"text"', "[1]", "{}", '{"issues": 3}', '{"issues": [{}]}']
)
async def test_answers_that_are_not_jiras(world: JiraWorld, body: str) -> None:
    async with opened(world) as source:
        world.fail("POST", "search", status=200, body=body, times=9)
        with pytest.raises(ForgeError):
            await source.fetch(None)


async def test_no_call_without_an_end(world: JiraWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jira_client, "PACKET_SECONDS", 1)
    monkeypatch.setattr(jira_client, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(jira_client, "READ_RETRY_DELAYS", ())
    async with opened(world) as source:
        world.fail("POST", "search", hang=1.5)
        with pytest.raises(ForgeUnavailableError, match="search"):
            await source.fetch(None)
        world.fail("POST", "search", slow_bytes=200)
        with pytest.raises(ForgeError, match=r"longer than 0\.5 s"):
            await source.fetch(None)


async def test_an_endless_answer_is_cut(world: JiraWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jira_client, "MOST_BYTES", 100_000)
    async with opened(world) as source:
        world.fail("POST", "search", status=200, body=" " * 200_000)
        with pytest.raises(ForgeError, match="longer than 100,000 bytes"):
            await source.fetch(None)


async def test_nothing_there(world: JiraWorld) -> None:
    world.url = "http://127.0.0.1:9"
    with pytest.raises(ForgeUnavailableError, match="say what it is"):
        await fetched(world, None)


async def test_another_program_at_the_address(world: JiraWorld) -> None:
    world.fail("GET", "serverInfo", status=200, body="<html>welcome</html>")
    with pytest.raises(ForgeAccessError, match="no JSON"):
        await fetched(world, None)


async def test_a_closed_source_says_so(world: JiraWorld) -> None:
    async with opened(world) as source:
        pass
    with pytest.raises(RuntimeError, match="not open"):
        await source.fetch(None)


async def test_the_connection_is_airflows(world: JiraWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"conn_type": "jira", "host": world.url, "login": world.login, "password": world.token}
    monkeypatch.setenv("AIRFLOW_CONN_MY_JIRA", json.dumps(values))
    world.issue(labels=("agent",))
    source = JiraTickets(SourceDefinition.model_validate(DEFINITION), connection="my_jira")
    async with source.open():
        assert source.host == world.url.removeprefix("http://")
        assert len((await source.fetch(None)).entries) == 1
    missing = JiraTickets(SourceDefinition.model_validate(DEFINITION), connection="no_such")
    with pytest.raises(InvalidInputError, match="there is no Airflow connection 'no_such'"):
        async with missing.open():
            pass


def test_the_host_before_the_source_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"conn_type": "jira", "host": "https://acme.atlassian.net", "password": "t"}
    monkeypatch.setenv("AIRFLOW_CONN_MY_JIRA", json.dumps(values))
    definition = SourceDefinition.model_validate(DEFINITION)
    assert JiraTickets(definition, connection="my_jira").host == "acme.atlassian.net"
    with pytest.raises(InvalidInputError, match="'no_such'"):
        _ = JiraTickets(definition, connection="no_such").host


async def test_without_the_extra(world: JiraWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "atlassian", None)
    with pytest.raises(InvalidInputError, match=r"airflow-provider-agents\[jira\]"):
        await fetched(world, None)
