"""Webhooks as GitHub and Linear publish them, and as the stand-in GitHub sends them, at the real endpoints."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fetched import fetched, give_up
from jsonschema import Draft7Validator

from airflow_provider_agents.domain.webhook_events import (
    GITHUB_EVENTS,
    LINEAR_TYPES,
    names_of_github,
)
from airflow_provider_agents.domain.webhook_signature import is_of_now, is_signed, linear_digest
from demo.github.server import StandInGitHub
from tests.contract.webhook_world import GITHUB_SECRET, WebhookWorld, signed, webhook_world

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
MANIFEST = Path(__file__).with_name("webhook_schemas") / "package.json"
CACHE = ROOT / ".cache" / "webhook-schemas"
MODULES = CACHE / "node_modules"
INSTALL_SECONDS = 100
NODE_SECONDS = 30
REPOSITORY = "acme/calc"
NEWER = {"sub_issues"}
"""Events of GitHub that its published schemas do not have yet; https://docs.github.com/webhooks has them."""
MORE = "pull_request: Additional properties are not allowed ('merged' was unexpected)"
"""The stand-in's one addition: GitHub leaves ``merged`` out of the pull request of reviews and remarks."""
ACTED = {
    "check_run",
    "check_suite",
    "issue_comment",
    "ping",
    "pull_request",
    "pull_request_review",
    "pull_request_review_comment",
    "push",
    "status",
}
"""Events of what :func:`acts` does."""
EXAMPLES = sorted(GITHUB_EVENTS - NEWER)


def _fetch() -> None:
    npm = shutil.which("npm")
    if npm is None:
        give_up("npm is not installed: it fetches what GitHub and Linear publish about their webhooks.")
    shutil.rmtree(MODULES, ignore_errors=True)
    shutil.copy(MANIFEST, CACHE / "package.json")
    command = [str(npm), "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(command, cwd=CACHE, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        said, failed = done.stderr, done.returncode
    except subprocess.TimeoutExpired:
        said, failed = f"no answer within {INSTALL_SECONDS} s", 1
    if failed:
        give_up(f"npm could not fetch what is published about webhooks: {said[-500:]}")


@pytest.fixture(scope="session")
def modules() -> Path:
    """Return the folder of the published packages."""
    fetched(CACHE, MANIFEST, _fetch)
    return MODULES


@pytest.fixture(scope="session")
def examples(modules: Path) -> dict[str, list[Any]]:
    """Return GitHub's published examples by event."""
    read = json.loads((modules / "@octokit/webhooks-examples/api.github.com/index.json").read_text())
    return {each["name"]: each["examples"] for each in read}


@pytest.fixture(scope="session")
def schemas(modules: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((modules / "@octokit/webhooks-schemas/schema.json").read_text())
    return read["definitions"]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WebhookWorld]:
    with webhook_world(tmp_path, monkeypatch) as made:
        yield made


def test_every_event_that_wakes_is_one_of_githubs(schemas: dict[str, Any]) -> None:
    published = {name.split("$")[0].removesuffix("_event") for name in schemas if "$" in name}
    assert published >= GITHUB_EVENTS - NEWER


@pytest.mark.parametrize("event", EXAMPLES)
async def test_githubs_own_examples_wake(
    world: WebhookWorld, examples: dict[str, list[Any]], event: str
) -> None:
    woken: set[str] = set()
    for payload in examples[event]:
        answer = await world.deliver(event, payload)
        names = names_of_github(event, payload)
        assert answer.result == ("woken" if names else "ignored"), payload
        repository = payload["repository"]["full_name"].lower()
        assert not names or repository in names[0]
        woken.update(names)
    assert set(world.marks()) == woken
    assert woken


def test_of_the_examples_pull_requests_are_named_by_number(examples: dict[str, list[Any]]) -> None:
    for event in ("pull_request", "pull_request_review", "pull_request_review_comment"):
        for payload in examples[event]:
            expected = f"{payload['repository']['full_name'].lower()}#{payload['pull_request']['number']}"
            assert names_of_github(event, payload) == (expected,)
    numbers = [
        [each["number"] for each in payload["check_run"]["pull_requests"]]
        for payload in examples["check_run"]
    ]
    assert any(numbers)
    for payload, listed in zip(examples["check_run"], numbers, strict=True):
        repository = payload["repository"]["full_name"].lower()
        assert names_of_github("check_run", payload) == (
            tuple(f"{repository}#{number}" for number in listed) or (repository,)
        )


async def test_other_events_of_the_examples_are_ignored(
    world: WebhookWorld, examples: dict[str, list[Any]]
) -> None:
    for event in sorted(set(examples) - GITHUB_EVENTS - {"ping"}):
        answer = await world.deliver(event, examples[event][0])
        assert (answer.status, answer.result) == (202, "ignored")
    assert (await world.deliver("ping", examples["ping"][0])).result == "pong"
    assert world.variables() == {}


@pytest.fixture
async def forge(tmp_path: Path) -> Any:
    folder = tmp_path / "seed"
    folder.mkdir()
    (folder / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    forge = StandInGitHub(tmp_path / "data", mergeability_delay=0, check_timeout=10)
    forge.add_token("agent", "token")
    async with forge:
        await forge.seed_repository(REPOSITORY, folder, permissions={"agent": "write", "alice": "write"})
        forge.create_issue(REPOSITORY, "add() subtracts", "It should add.", labels=["bug"])
        yield forge


async def acts(forge: StandInGitHub) -> int:
    """Do a bit of everything; return the number of the pull request."""
    await forge.act("alice", "comment", REPOSITORY, number=1, body="/agent")
    await forge.act("agent", "push_commit", REPOSITORY, branch="agents/1", files={"a": "1"}, message="Add")
    made = await forge.act("agent", "open_pull", REPOSITORY, head="agents/1", title="Fix", body="Closes #1")
    number = int(made["number"])
    await forge.act("alice", "comment", REPOSITORY, number=number, body="/retry")
    await forge.act("alice", "check_run", REPOSITORY, number=number, name="ci", conclusion="success")
    await forge.act("alice", "status", REPOSITORY, number=number, context="legacy")
    remarks = [{"path": "a", "line": 1, "body": "Why?"}]
    await forge.act(
        "alice", "review", REPOSITORY, number=number, event="REQUEST_CHANGES", body="No", comments=remarks
    )
    await forge.act("alice", "merge", REPOSITORY, number=number)
    return number


async def test_what_the_stand_in_github_sends_wakes_whom_it_concerns(
    world: WebhookWorld, forge: StandInGitHub
) -> None:
    forge.webhooks.add({"url": f"{world.url}/agents/webhooks/github", "secret": GITHUB_SECRET})
    number = await acts(forge)
    await forge.webhooks.settled()
    assert {delivery.status_code for delivery in forge.webhooks.deliveries} <= {200, 202}
    assert set(world.marks()) == {
        f"tickets:github/{REPOSITORY}",
        f"{REPOSITORY}#{number}",
        REPOSITORY,
    }


async def test_lost_doubled_and_late_deliveries_of_the_stand_in(
    world: WebhookWorld, forge: StandInGitHub
) -> None:
    values = {"url": f"{world.url}/agents/webhooks/github", "secret": GITHUB_SECRET, "reorder": 4}
    hook = forge.webhooks.add(values)
    forge.webhooks.change(hook.id, {"lose_next": 1})
    await acts(forge)
    forge.webhooks.flush(hook.id)
    await forge.webhooks.settled()
    before = world.variables()
    lost, *sent = [each for each in forge.webhooks.deliveries if each.event != "ping"]
    assert lost.status == "lost"
    assert len(sent) > 8
    for each in sent:
        forge.webhooks.redeliver(each.id)
    await forge.webhooks.settled()
    assert world.variables() == before
    forge.webhooks.redeliver(lost.id)
    await forge.webhooks.settled()
    assert world.variables() != before


async def test_without_the_secret_the_stand_in_reaches_nothing(
    world: WebhookWorld, forge: StandInGitHub
) -> None:
    for secret in ("", "another secret of enough characters"):
        forge.webhooks.add({"url": f"{world.url}/agents/webhooks/github", "secret": secret})
    await acts(forge)
    await forge.webhooks.settled()
    assert {delivery.status_code for delivery in forge.webhooks.deliveries} == {401}
    assert world.variables() == {}


async def test_the_stand_ins_payloads_have_nothing_that_githubs_have_not(
    forge: StandInGitHub, schemas: dict[str, Any]
) -> None:
    """They are parts: what the schemas require may be absent, but what is there has the published form."""
    sent: list[tuple[str, dict[str, Any]]] = []

    async def keep(url: str, headers: Any, body: bytes) -> int:
        sent.append((headers["X-GitHub-Event"], json.loads(body)))
        return 200

    forge.webhooks._send = keep
    forge.webhooks.add({"url": "http://127.0.0.1:9/hook"})
    await acts(forge)
    await forge.webhooks.settled()
    assert {event for event, _ in sent} >= ACTED
    for event, payload in sent:
        action = payload.get("action", "event")
        name = next(each for each in (f"{event}${action}", f"{event}_event") if each in schemas)
        validator = Draft7Validator({"$ref": f"#/definitions/{name}", "definitions": schemas})
        faults = [
            f"{name} {'/'.join(map(str, each.absolute_path))}: {each.message[:200]}"
            for each in validator.iter_errors(payload)
            if each.validator not in ("required", "oneOf", "anyOf", "allOf")
        ]
        assert [fault for fault in faults if not fault.endswith(MORE)] == []


@pytest.mark.parametrize(
    ("kind", "data", "marked"),
    [
        (
            "Issue",
            {"id": "i", "identifier": "ENG-1", "team": {"id": "t", "key": "ENG"}},
            "tickets:linear/eng",
        ),
        ("Comment", {"id": "c", "body": "/agent", "issue": {"team": {"key": "ENG"}}}, "tickets:linear/eng"),
        ("IssueLabel", {"id": "l", "name": "agent", "teamId": "t"}, "tickets:linear"),
    ],
)
async def test_linears_events_wake(world: WebhookWorld, kind: str, data: dict[str, Any], marked: str) -> None:
    payload = {"action": "update", "type": kind, "data": data, "organizationId": "o", "webhookId": "w"}
    answer = await world.deliver_linear(payload)
    assert (answer.status, answer.result) == (200, "woken")
    assert list(world.marks()) == [marked]


async def test_linear_is_answered_200_where_there_is_nothing_to_do(world: WebhookWorld) -> None:
    answer = await world.deliver_linear({"action": "create", "type": "Project", "data": {}})
    assert (answer.status, answer.result) == (200, "ignored")
    assert world.variables() == {}


def test_linears_types_are_published_with_the_fields_that_are_read(modules: Path) -> None:
    (types,) = (modules / "@linear/sdk/dist").glob("index-*.d.mts")
    text = types.read_text()
    assert set(re.findall(r'^  type: "(\w+)";$', text, re.MULTILINE)) >= LINEAR_TYPES

    def fields(name: str) -> dict[str, str]:
        (found,) = re.findall(rf"^type {name} = \{{\n(.*?)^\}};$", text, re.MULTILINE | re.DOTALL)
        return dict(re.findall(r"^  (\w+)\??: (.*);$", found, re.MULTILINE))

    assert fields("EntityWebhookPayload")["webhookTimestamp"] == 'Scalars["Float"]'
    assert fields("IssueWebhookPayload")["team"] == "Maybe<TeamChildWebhookPayload>"
    assert fields("CommentWebhookPayload")["issue"] == "Maybe<IssueChildWebhookPayload>"
    assert fields("CommentWebhookPayload")["issueId"] == 'Maybe<Scalars["String"]>'
    assert fields("IssueChildWebhookPayload")["team"] == "TeamChildWebhookPayload"
    assert fields("TeamChildWebhookPayload")["key"] == 'Scalars["String"]'


VERIFY = """
import { LinearWebhookClient } from "@linear/sdk/webhooks";
let text = "";
for await (const chunk of process.stdin) text += chunk;
console.log(JSON.stringify(JSON.parse(text).map(([secret, body, signature]) => {
  try { return new LinearWebhookClient(secret).verify(Buffer.from(body), signature); } catch { return false; }
})));
"""


def test_linears_own_client_takes_and_refuses_the_same(modules: Path) -> None:
    now, secret, other = time.time(), "s" * 32, "o" * 32

    def body(moment: Any) -> str:
        return json.dumps({"type": "Issue", "data": {"title": "é ✓"}, "webhookTimestamp": moment})

    cases: list[tuple[str, str, str]] = []
    for moment in (
        now * 1000,
        int(now * 1000),
        (now - 50) * 1000,
        (now - 90) * 1000,
        (now + 90) * 1000,
        "now",
        None,
    ):
        text = body(moment)
        genuine = signed(text.encode(), secret)
        cases += [(secret, text, genuine), (other, text, genuine), (secret, text + " ", genuine)]
        cases += [(secret, text, genuine[:-1]), (secret, text, f"sha256={genuine}"), (secret, text, "")]
    node = shutil.which("node")
    if node is None:
        give_up("node is not installed: Linear's own client needs it.")
    done = subprocess.run(
        [str(node), "--input-type=module", "--eval", VERIFY],
        cwd=CACHE,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=NODE_SECONDS,
    )
    assert done.returncode == 0, done.stderr

    def ours(key: str, text: str, signature: str) -> bool:
        digest = linear_digest(signature)
        return (
            digest is not None
            and is_signed(text.encode(), digest, [key])
            and is_of_now(json.loads(text), now)
        )

    theirs = json.loads(done.stdout)
    assert [ours(*case) for case in cases] == theirs
    assert theirs.count(True) == 3
