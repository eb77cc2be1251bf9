from __future__ import annotations

import hashlib
import hmac
import json

import pytest
from aiohttp import web

from demo.github.app_tokens import AppRegistration
from demo.github.webhooks import signature_of

REPOSITORY = "acme/calc"
SECRET = "correct horse"


class Receiver:
    """An HTTP server that keeps what it gets."""

    def __init__(self):
        self.got = []
        self.status = 204
        self.url = ""

    async def receive(self, request):
        body = await request.read()
        expected = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert request.headers["X-Hub-Signature-256"] == expected
        self.got.append((request.headers["X-GitHub-Event"], json.loads(body), request.headers))
        return web.Response(status=self.status)

    def events(self):
        return [event for event, _, _ in self.got]


@pytest.fixture
async def receiver():
    made = Receiver()
    application = web.Application()
    application.router.add_post("/hook", made.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    yield made
    await runner.cleanup()


@pytest.fixture
def register(seeded, receiver, agent):
    async def add(**values):
        body = {"url": receiver.url, "secret": SECRET, **values}
        answer = await agent.call("POST", "/_demo/webhooks", json=body)
        assert answer.status == 201, answer.text
        await seeded.webhooks.settled()
        receiver.got.clear()
        return answer.body["id"]

    return add


def test_signature_of_githubs_documented_example():
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert signature_of("It's a Secret to Everybody", b"Hello, World!") == expected


async def test_each_kind_of_event_arrives_signed(seeded, pull, receiver, register, head):
    await register()
    await seeded.act("alice", "comment", REPOSITORY, number=pull, body="/retry")
    await seeded.act("alice", "push_commit", REPOSITORY, number=pull, files={"x.py": "1\n"})
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="ci", conclusion="success")
    await seeded.act("alice", "status", REPOSITORY, number=pull, context="legacy")
    remark = [{"path": "calc.py", "line": 2, "body": "Why?"}]
    await seeded.act(
        "alice", "review", REPOSITORY, number=pull, event="REQUEST_CHANGES", body="No", comments=remark
    )
    await seeded.act("alice", "merge", REPOSITORY, number=pull)
    await seeded.webhooks.settled()
    by_event = {}
    for event, payload, headers in receiver.got:
        by_event.setdefault(event, []).append(payload)
        assert payload["repository"]["full_name"] == REPOSITORY
        assert payload["sender"]["login"]
        assert headers["X-GitHub-Delivery"]
    assert set(by_event) == {
        "issue_comment", "issues", "push", "pull_request", "check_run", "check_suite", "status",
        "pull_request_review", "pull_request_review_comment",
    }  # fmt: skip
    pull_id = seeded.forge.store.repositories[REPOSITORY].pulls[pull].id
    assert [p["action"] for p in by_event["pull_request"]] == ["synchronize", "closed"]
    assert by_event["pull_request"][0]["pull_request"]["node_id"] == pull_id
    assert by_event["pull_request"][0]["after"] == head(pull)
    assert by_event["pull_request"][1]["pull_request"]["merged"] is True
    assert by_event["issue_comment"][0]["comment"]["body"] == "/retry"
    assert by_event["check_run"][0]["check_run"]["pull_requests"][0]["number"] == pull
    assert by_event["pull_request_review"][0]["review"]["state"] == "changes_requested"
    assert by_event["pull_request_review_comment"][0]["comment"]["line"] == 2
    assert by_event["push"][0]["ref"] == "refs/heads/agents/1"


async def test_merge_queue_and_auto_merge(seeded, pull, receiver, register):
    rules = {"main": {"required_checks": ["test"], "merge_queue": True}}
    await seeded.act("acme", "configure", REPOSITORY, rules=rules)
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    await register(events=["pull_request", "merge_group"])
    await seeded.act("agent", "enqueue", REPOSITORY, number=pull)
    await seeded.checks_settled()
    await seeded.webhooks.settled()
    assert [(event, p["action"]) for event, p, _ in receiver.got] == [
        ("pull_request", "enqueued"),
        ("merge_group", "checks_requested"),
    ]
    group = receiver.got[-1][1]["merge_group"]
    assert group["head_ref"].startswith("refs/heads/gh-readonly-queue/main/pr-")
    assert group["base_ref"] == "refs/heads/main"
    await seeded.act(
        "alice", "check_run", REPOSITORY, sha=group["head_sha"], name="test", conclusion="failure"
    )
    await seeded.checks_settled()
    await seeded.webhooks.settled()
    left, destroyed = receiver.got[2:]
    assert (left[1]["action"], left[1]["reason"]) == ("dequeued", "CI_FAILURE")
    assert (destroyed[1]["action"], destroyed[1]["reason"]) == ("destroyed", "dequeued")


async def test_only_wanted_events_of_the_named_repository(seeded, pull, receiver, register, folder):
    await register(events=["issue_comment"], repository=REPOSITORY)
    await seeded.seed_repository("acme/other", folder, permissions={"alice": "write"})
    other = seeded.create_issue("acme/other", "Elsewhere")
    await seeded.act("alice", "comment", "acme/other", number=other.number, body="Not for you")
    await seeded.act("alice", "close", REPOSITORY, number=pull)
    await seeded.act("alice", "comment", REPOSITORY, number=pull, body="For you")
    await seeded.webhooks.settled()
    assert [p["comment"]["body"] for _, p, _ in receiver.got] == ["For you"]


async def test_the_next_ones_are_lost_and_can_be_had_again(seeded, receiver, register, agent):
    hook = await register()
    await agent.call("PATCH", f"/_demo/webhooks/{hook}", json={"lose_next": 1})
    for body in ("first", "second"):
        await seeded.act("alice", "comment", REPOSITORY, number=1, body=body)
    await seeded.webhooks.settled()
    assert [p["comment"]["body"] for _, p, _ in receiver.got] == ["second"]
    log = (await agent.call("GET", "/_demo/deliveries")).body
    lost = next(line for line in log if line["status"] == "lost")
    assert (lost["event"], lost["status_code"], lost["payload"]["comment"]["body"]) == (
        "issue_comment", None, "first",
    )  # fmt: skip
    again = await agent.call("POST", f"/_demo/deliveries/{lost['id']}/redeliver")
    assert (again.status, again.body["redelivery"]) == (202, True)
    await seeded.webhooks.settled()
    assert receiver.got[-1][1]["comment"]["body"] == "first"
    assert receiver.got[-1][2]["X-GitHub-Delivery"] == lost["guid"]
    assert (await agent.call("POST", "/_demo/deliveries/999/redeliver")).status == 404


async def test_a_rate_of_loss(seeded, receiver, register):
    await register(loss=0.5)
    for number in range(40):
        await seeded.act("alice", "comment", REPOSITORY, number=1, body=str(number))
    await seeded.webhooks.settled()
    assert 8 < len(receiver.got) < 32


async def test_out_of_order(seeded, receiver, register, agent):
    hook = await register(reorder=3)
    for number in range(4):
        await seeded.act("alice", "comment", REPOSITORY, number=1, body=str(number))
    await seeded.webhooks.settled()
    assert [p["comment"]["body"] for _, p, _ in receiver.got] == ["2", "1", "0"]
    assert (await agent.call("POST", f"/_demo/webhooks/{hook}/flush")).status == 204
    await seeded.webhooks.settled()
    assert receiver.got[-1][1]["comment"]["body"] == "3"


async def test_late_by_the_stand_ins_clock(seeded, receiver, register, agent):
    seeded.forge.clock.stop()
    hook = await register()
    await agent.call("PATCH", f"/_demo/webhooks/{hook}", json={"delay_seconds": 90})
    await seeded.act("alice", "comment", REPOSITORY, number=1, body="late")
    assert (receiver.got, seeded.webhooks.deliveries[-1].status) == ([], "waiting")
    seeded.forge.clock.advance(90)
    await seeded.webhooks.settled()
    assert receiver.events() == ["issue_comment"]


async def test_a_refusal_and_an_absent_receiver_are_logged_and_not_tried_again(
    seeded, receiver, register, agent
):
    hook = await register()
    receiver.status = 500
    await seeded.act("alice", "comment", REPOSITORY, number=1, body="x")
    await seeded.webhooks.settled()
    assert len(receiver.got) == 1
    assert (seeded.webhooks.deliveries[-1].status, seeded.webhooks.deliveries[-1].status_code) == (
        "refused", 500,
    )  # fmt: skip
    await agent.call("PATCH", f"/_demo/webhooks/{hook}", json={"url": "http://127.0.0.1:1/none"})
    await seeded.act("alice", "comment", REPOSITORY, number=1, body="y")
    await seeded.webhooks.settled()
    assert seeded.webhooks.deliveries[-1].status.startswith("failed to connect")
    assert (await agent.call("DELETE", f"/_demo/webhooks/{hook}")).status == 204
    assert (await agent.call("GET", "/_demo/webhooks")).body == []


async def test_payloads_name_the_installation_of_the_app(seeded, receiver, register):
    seeded.add_app(AppRegistration(app_id="1", public_key="", installation_id=77))
    await register()
    await seeded.act("alice", "comment", REPOSITORY, number=1, body="x")
    await seeded.webhooks.settled()
    assert receiver.got[0][1]["installation"] == {"id": 77}


async def test_the_secret_is_not_shown(register, agent):
    await register()
    assert SECRET not in (await agent.call("GET", "/_demo/webhooks")).text


@pytest.mark.parametrize(
    "values",
    [
        {"url": "http://example.com/hook"},
        {"url": "file:///etc/passwd"},
        {"url": "http://127.0.0.1:1/", "events": ["party"]},
        {"url": "http://127.0.0.1:1/", "loss": 2},
        {"url": "http://127.0.0.1:1/", "reorder": 0},
        {"url": "http://127.0.0.1:1/", "id": 5},
        {},
    ],
)
async def test_wrong_hooks_are_refused(seeded, agent, values):
    assert (await agent.call("POST", "/_demo/webhooks", json=values)).status == 422
    assert (await agent.call("GET", "/_demo/webhooks")).body == []
