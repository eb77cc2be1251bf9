"""Requests of people who hold no secret, or hold back what they send. None of them wakes or starts anything.

After each a genuine delivery is taken, so that a refusal of everything would not pass.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import hmac
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from airflow.models import Connection
from sqlalchemy import text

from airflow_provider_agents.plugins import webhook_endpoints, webhook_store
from airflow_provider_agents.plugins.webhook_limits import MOST_AT_ONCE, Turnstile
from tests.contract.webhook_world import (
    GITHUB_SECRET,
    LINEAR_SECRET,
    VARIABLE,
    WebhookWorld,
    github,
    linear,
    signed,
    webhook_world,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ISSUE = {"action": "labeled", "issue": {"number": 7}, "repository": {"id": 1, "full_name": "acme/shop"}}
BODY = json.dumps(ISSUE).encode()
PULL = {"action": "synchronize", "pull_request": {"number": 7}, "repository": {"full_name": "acme/shop"}}
LIMIT = webhook_endpoints.MOST_BYTES
SIGNATURE = "X-Hub-Signature-256"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookWorld]:
    with webhook_world(tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def quiet(world: WebhookWorld) -> Iterator[WebhookWorld]:
    """A world in which nothing at all is written, and which takes what is genuine afterwards."""
    yield world
    assert world.variables() == {}
    assert asyncio.run(world.deliver("issues", ISSUE)).result == "woken"


def without(headers: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in names}


def sha1() -> str:
    return "sha1=" + hmac.new(GITHUB_SECRET.encode(), BODY, hashlib.sha1).hexdigest()


SIGNATURES: dict[str, dict[str, str]] = {
    "none": {},
    "empty": {SIGNATURE: ""},
    "SHA-1 alone": {"X-Hub-Signature": sha1()},
    "SHA-1 in the place of SHA-256": {SIGNATURE: sha1()},
    "short": {SIGNATURE: f"sha256={signed(BODY)[:-1]}"},
    "long": {SIGNATURE: f"sha256={signed(BODY)}0"},
    "no prefix": {SIGNATURE: signed(BODY)},
    "other algorithm": {SIGNATURE: f"sha512={signed(BODY)}"},
    "capitals": {SIGNATURE: f"sha256={signed(BODY).upper()}"},
    "other secret": {SIGNATURE: f"sha256={signed(BODY, 'another secret of enough characters')}"},
    "empty secret": {SIGNATURE: f"sha256={signed(BODY, '')}"},
    "secret of the other service": {SIGNATURE: f"sha256={signed(BODY, LINEAR_SECRET)}"},
    "other body": {SIGNATURE: f"sha256={signed(BODY + b' ')}"},
    "no ASCII": {SIGNATURE: "sha256=" + "é" * 64},
    "of the header of the other service": {"Linear-Signature": signed(BODY)},
}


@pytest.mark.parametrize("headers", SIGNATURES.values(), ids=SIGNATURES)
async def test_what_is_not_signed_is_refused(quiet: WebhookWorld, headers: dict[str, str]) -> None:
    answer = await quiet.post({**without(github(BODY), SIGNATURE), **headers}, BODY)
    assert answer.status == 401
    assert GITHUB_SECRET not in answer.body.decode()
    assert signed(BODY) not in answer.body.decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Linear-Signature": ""}, 401),
        ({"Linear-Signature": "sha256=" + signed(BODY, LINEAR_SECRET)}, 401),
        ({"Linear-Signature": signed(BODY, GITHUB_SECRET)}, 401),
        ({"Linear-Signature": signed(BODY, LINEAR_SECRET)[:-2]}, 401),
        ({"Linear-Delivery": ""}, 400),
        ({"Content-Type": "text/plain"}, 415),
    ],
)
async def test_what_is_not_signed_for_linear_is_refused(
    quiet: WebhookWorld, headers: dict[str, str], status: int
) -> None:
    assert (await quiet.post({**linear(BODY), **headers}, BODY, to="linear")).status == status


@pytest.mark.parametrize("to", ["github", "linear"])
async def test_without_a_secret_it_refuses_to_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    body = json.dumps({**ISSUE, "type": "Issue", "webhookTimestamp": time.time() * 1000}).encode()
    headers = github(body, secret="") if to == "github" else linear(body, secret="")
    with webhook_world(tmp_path, monkeypatch, github="", linear="") as world:
        answer = await world.post(headers, body, to=to)
        assert answer.status == 503
        assert f"{to}_webhook_conn_id" in answer.json["detail"]
        assert world.variables() == {}


@pytest.mark.parametrize("password", [" ", "short", "long enough but " + "short"])
async def test_an_empty_or_short_secret_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, password: str
) -> None:
    with webhook_world(tmp_path, monkeypatch, github=password) as world:
        for secret in ("", *password.split()):
            answer = await world.post(github(BODY, secret=secret), BODY)
            assert answer.status == 503
            assert "'github_webhook'" not in answer.body.decode()
        assert world.variables() == {}
    assert "'github_webhook'" in caplog.text


async def test_control_a_connection_that_is_missing_is_no_secret(
    world: WebhookWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_GITHUB_WEBHOOK")
    assert (await world.post(github(BODY), BODY)).status == 503
    assert "there is no connection 'github_webhook'" in caplog.text


async def test_a_captured_delivery_has_no_effect_whatever_its_headers_say(world: WebhookWorld) -> None:
    headers = github(BODY)
    assert (await world.post(headers, BODY)).result == "woken"
    before = world.variables()
    replays = [
        headers,
        {**headers, "X-GitHub-Delivery": "another"},
        {**headers, "X-GitHub-Delivery": "another", "X-GitHub-Event": "push"},
        {**headers, "X-GitHub-Event": "pull_request"},
    ]
    for replay in replays:
        answer = await world.post(replay, BODY)
        # A branch is not among the issue's facts: as a push it names nothing.
        assert (answer.status, answer.result) in ((200, "seen"), (202, "ignored"))
    assert world.variables() == before


async def test_a_captured_delivery_has_no_effect_on_another_server(
    world: WebhookWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    headers = github(BODY)
    assert (await world.post(headers, BODY)).result == "woken"
    with webhook_world(tmp_path, monkeypatch) as other:
        assert (await other.post(headers, BODY)).result == "seen"


async def test_many_at_the_same_moment_wake_once(world: WebhookWorld) -> None:
    headers = github(BODY)
    answers = await asyncio.gather(*(world.post(headers, BODY) for _ in range(20)))
    assert sorted(answer.result or "" for answer in answers) == ["seen"] * 19 + ["woken"]


@pytest.mark.parametrize("age", [61.0, 3600.0, -61.0])
async def test_an_old_delivery_of_linear_is_refused(world: WebhookWorld, age: float) -> None:
    issue = {"type": "Issue", "data": {"team": {"key": "ENG"}}}
    assert (await world.deliver_linear(issue, age=age)).status == 401
    assert world.variables() == {}
    assert (await world.deliver_linear(issue, age=50)).result == "woken"


@pytest.mark.parametrize("moment", [None, "now", True, 10**400, [0]])
async def test_a_delivery_of_linear_without_a_moment_is_refused(world: WebhookWorld, moment: Any) -> None:
    body = json.dumps({"type": "Issue", "webhookTimestamp": moment}).encode()
    headers = {**linear(body), "Linear-Timestamp": str(int(time.time() * 1000))}
    assert (await world.post(headers, body, to="linear")).status == 401
    assert world.variables() == {}


async def test_what_comes_out_of_order_wakes_and_no_more(world: WebhookWorld) -> None:
    closed, opened = ({**PULL, "action": action} for action in ("closed", "opened"))
    for payload in (closed, opened):
        assert (await world.deliver("pull_request", payload)).result == "woken"
    assert list(world.marks()) == ["acme/shop#7"]


async def test_what_github_allows_at_most_is_refused_unread(quiet: WebhookWorld) -> None:
    size = 25 * 1024 * 1024
    headers = [*github(b"").items(), ("Content-Length", str(size))]
    answer = await quiet.send(quiet.head(headers), *[b"x" * 65_536] * (size // 65_536))
    # Who goes on sending may find the connection closed before it reads the answer.
    assert answer.status in (413, 0)
    answer = await quiet.send(quiet.head(headers))
    assert (answer.status, answer.headers["connection"]) == (413, "close")


@pytest.mark.parametrize("length", ["9" * 13, str(LIMIT + 1)])
async def test_a_length_beyond_the_limit_is_refused_before_a_byte_of_it(
    quiet: WebhookWorld, length: str
) -> None:
    assert (await quiet.send(quiet.head([*github(b"").items(), ("Content-Length", length)]))).status == 413


async def test_chunks_without_a_length_are_counted(quiet: WebhookWorld) -> None:
    head = quiet.head([*github(b"").items(), ("Transfer-Encoding", "chunked")])
    chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
    answer = await quiet.send(head, *[chunk] * (LIMIT // 65_536), b"1\r\nx\r\n")
    assert answer.status == 413


async def test_control_a_body_of_just_the_limit_is_taken_in_chunks_too(world: WebhookWorld) -> None:
    body = BODY + b" " * (LIMIT - len(BODY))
    head = world.head([*github(body).items(), ("Transfer-Encoding", "chunked")])
    chunks = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:7], body[7:])]
    assert (await world.send(head, *chunks, b"0\r\n\r\n")).result == "woken"
    assert (await world.post(github(body + b" "), body + b" ")).status == 413


async def test_a_body_that_never_ends_is_given_up(
    quiet: WebhookWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_endpoints, "BODY_SECONDS", 0.4)
    head = quiet.head([*github(BODY).items(), ("Content-Length", str(len(BODY)))])
    answer = await quiet.send(head, *[bytes([byte]) for byte in BODY[:-1]], pause=0.05)
    assert answer.status == 408
    assert 0.3 < answer.seconds < 3


async def test_slow_bodies_hold_up_nobody_longer_than_themselves(
    quiet: WebhookWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhook_endpoints, "BODY_SECONDS", 1.0)
    head = quiet.head([*github(BODY).items(), ("Content-Length", str(len(BODY)))])
    slow = [asyncio.create_task(quiet.send(head)) for _ in range(MOST_AT_ONCE)]
    await asyncio.sleep(0.3)
    answer = await quiet.post(github(BODY), BODY)
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert {each.status for each in await asyncio.gather(*slow)} == {408}


async def test_a_broken_connection_wakes_nothing(quiet: WebhookWorld) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", quiet.port)
    writer.write(quiet.head([*github(BODY).items(), ("Content-Length", str(len(BODY)))]) + BODY[:-1])
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def test_a_flood_is_held_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Turnstile.__init__.__kwdefaults__
    monkeypatch.setitem(limits, "per_second", 0.0)
    monkeypatch.setitem(limits, "burst", 20)
    with webhook_world(tmp_path, monkeypatch) as world:
        headers = without(github(BODY), SIGNATURE)
        answers = [await world.post(headers, BODY) for _ in range(40)]
        assert [answer.status for answer in answers] == [401] * 20 + [429] * 20
        assert (await world.post(github(BODY), BODY)).status == 429
        assert world.variables() == {}
    assert len([each for each in caplog.records if each.name == webhook_endpoints.__name__]) == 2


BODIES = {
    "no JSON": b"payload=%7B%7D",
    "empty": b"",
    "array": b"[]",
    "text": b'"x"',
    "null": b"null",
    "deep array": b"[" * 200_000,
    "deep object": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "NUL": b'{"a": 1}\0',
    "no UTF-8": b'{"a": "\xff"}',
    "UTF-16": json.dumps(ISSUE).encode("utf-16"),
    "number of 5,000 digits": b'{"a": ' + b"9" * 5_000 + b"}",
    "cut": BODY[:-1],
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
async def test_a_signed_body_that_is_no_object_is_refused(quiet: WebhookWorld, body: bytes) -> None:
    assert (await quiet.post(github(body), body)).status == 400


@pytest.mark.parametrize(
    "payload",
    [
        {},
        {"repository": "acme/shop"},
        {"repository": {"full_name": "acme/shop\0"}},
        {"repository": {"full_name": "acme/shop", "x": 1} | {"full_name": "x" * 500_000}},
        {"repository": {"full_name": {"a": []}}},
    ],
)
async def test_a_signed_object_that_names_nothing_is_ignored(quiet: WebhookWorld, payload: Any) -> None:
    answer = await quiet.deliver("issues", payload)
    assert (answer.status, answer.result) == (202, "ignored")


@pytest.mark.parametrize("event", ["star", "workflow_run", "security_advisory", "unheard_of"])
async def test_control_an_unknown_event_is_ignored(quiet: WebhookWorld, event: str) -> None:
    answer = await quiet.deliver(event, ISSUE)
    assert (answer.status, answer.result) == (202, "ignored")


async def test_control_a_ping_is_answered(quiet: WebhookWorld) -> None:
    answer = await quiet.deliver("ping", {"zen": "Z", "hook_id": 1, "repository": ISSUE["repository"]})
    assert (answer.status, answer.result) == (200, "pong")


HEADERS: dict[str, tuple[dict[str, str], int]] = {
    "form": ({"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "no content type": ({"Content-Type": ""}, 415),
    "nearly JSON": ({"Content-Type": "application/jsonx"}, 415),
    "compressed": ({"Content-Encoding": "gzip"}, 415),
    "no delivery": ({"X-GitHub-Delivery": ""}, 400),
    "delivery with a path": ({"X-GitHub-Delivery": "../x"}, 400),
    "long delivery": ({"X-GitHub-Delivery": "a" * 101}, 400),
    "no event": ({"X-GitHub-Event": ""}, 400),
    "odd event": ({"X-GitHub-Event": "Issues;"}, 400),
}


@pytest.mark.parametrize(("headers", "status"), HEADERS.values(), ids=HEADERS)
async def test_unusable_headers_are_refused(
    quiet: WebhookWorld, headers: dict[str, str], status: int
) -> None:
    assert (await quiet.post({**github(BODY), **headers}, BODY)).status == status


async def test_a_compressed_body_is_not_unpacked(quiet: WebhookWorld) -> None:
    body = gzip.compress(BODY)
    assert (await quiet.post({**github(body), "Content-Encoding": "gzip"}, body)).status == 415


@pytest.mark.parametrize("name", [SIGNATURE, "X-GitHub-Delivery", "X-GitHub-Event", "Content-Type"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_header_that_is_there_twice_is_refused(quiet: WebhookWorld, name: str, first: bool) -> None:
    genuine = list(github(BODY).items())
    double = [(name.lower(), "push" if "Event" in name else "x")]
    answer = await quiet.post(double + genuine if first else genuine + double, BODY)
    assert answer.status == 400
    assert name in answer.json["detail"]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods_are_refused(quiet: WebhookWorld, method: str) -> None:
    answer = await quiet.send(quiet.head([("Content-Length", "0")], method=method))
    assert answer.status == 405


async def test_a_database_that_is_locked_is_told_and_the_delivery_counts_when_it_comes_again(
    world: WebhookWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook_endpoints, "ANSWER_SECONDS", 0.5)
    monkeypatch.setattr(webhook_store, "TRY_SECONDS", 0.0)
    headers = github(BODY)
    with world.engine.connect() as locked:
        locked.execute(text("BEGIN IMMEDIATE"))
        answer = await world.post(headers, BODY)
        locked.rollback()
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert answer.seconds < 2
    assert "sqlite" not in answer.body.decode().lower()
    monkeypatch.setattr(webhook_endpoints, "ANSWER_SECONDS", 4.0)
    # The first try may still have been taken after its answer: then this one is seen, and no mark is lost.
    assert (await world.post(headers, BODY)).result in ("woken", "seen")
    assert list(world.marks()) == ["tickets:github/acme/shop"]


async def test_a_database_that_fails_tells_strangers_nothing(
    world: WebhookWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> bool:
        raise RuntimeError("postgresql://airflow:hunter2@db/airflow is away")

    monkeypatch.setattr(webhook_store, "wake", fail)
    answer = await world.post(github(BODY), BODY)
    assert answer.status == 503
    assert b"hunter2" not in answer.body
    assert "postgresql" in caplog.text


async def test_calls_that_hang_end_in_refusals_and_not_in_a_heap(
    world: WebhookWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    free, begun = threading.Event(), []

    def hang(*_: Any) -> bool:
        begun.append(1)
        free.wait(20)
        return True

    monkeypatch.setattr(webhook_store, "wake", hang)
    monkeypatch.setattr(webhook_endpoints, "ANSWER_SECONDS", 0.3)
    try:
        for _ in range(3):
            answers = await asyncio.gather(*(world.deliver("issues", ISSUE | {"n": n}) for n in range(30)))
            assert {answer.status for answer in answers} == {503}
        # Those that wait in line when they are given up never begin.
        assert len(begun) == 4
    finally:
        free.set()


async def test_strangers_cannot_fill_the_log_or_reach_the_secrets_backend(
    world: WebhookWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    reads = []
    real = Connection.get_connection_from_secrets

    def read(conn_id: str, *rest: Any) -> Connection:
        reads.append(conn_id)
        return real(conn_id, *rest)

    monkeypatch.setattr(Connection, "get_connection_from_secrets", read)
    with caplog.at_level(logging.INFO):
        for _ in range(50):
            await world.post({**github(BODY), SIGNATURE: "sha256=" + "0" * 64}, BODY)
    lines = [each for each in caplog.records if each.name == webhook_endpoints.__name__]
    assert len(lines) == 1
    assert reads == ["github_webhook"]


async def test_control_old_and_new_secret_fit_while_one_replaces_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = ["old-" + GITHUB_SECRET, "new-" + GITHUB_SECRET]
    with webhook_world(tmp_path, monkeypatch, github=" \n".join(secrets)) as world:
        for number, secret in enumerate(secrets):
            body = json.dumps(ISSUE | {"n": number}).encode()
            assert (await world.post(github(body, secret=secret), body)).result == "woken"
        both = json.dumps(ISSUE | {"n": 3}).encode()
        assert (await world.post(github(both, secret=" \n".join(secrets)), both)).status == 401


async def test_control_a_variable_that_somebody_broke_is_begun_anew(world: WebhookWorld) -> None:
    with world.engine.begin() as connection:
        for key in (VARIABLE, f"{VARIABLE}_seen"):
            connection.execute(
                text("INSERT INTO variable (key, val, is_encrypted) VALUES (:key, '[1', 0)"), {"key": key}
            )
    assert (await world.deliver("issues", ISSUE)).result == "woken"
    assert list(world.marks()) == ["tickets:github/acme/shop"]
