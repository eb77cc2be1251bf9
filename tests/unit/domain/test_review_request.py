"""Whether a pull request is reviewed: decided without a model."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fakes import HEAD, NEXT_HEAD, NOW, snapshot

from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.domain.pull_request import Comment
from airflow_provider_agents.domain.review_request import ReviewRequest, parse_review_request, why_not


def request(**values: Any) -> ReviewRequest:
    found, faults = parse_review_request({"repository": "acme/shop", "pull_request_number": 7} | values)
    assert found is not None, faults
    return found


def asks(**values: Any) -> Comment:
    facts: dict[str, Any] = {"author": "mona", "body": "/review please", "can_write": True, "node_id": "C_1"}
    return Comment(**facts | {"created_at": NOW} | values)


def test_faults_name_their_field() -> None:
    _, faults = parse_review_request({"repository": "a/b", "pull_request_number": 0, "mode": "x", "odd": 1})
    assert {fault.partition(":")[0] for fault in faults} == {"pull_request_number", "mode", "odd"}


def test_the_step_takes_what_was_asked() -> None:
    values = request(agent="codex", model="m", turns=4, prompt="Look", budget_usd=2).step_values("main")
    found, faults = parse_request(values, Bounds())
    assert faults == []
    assert found is not None
    assert (found.review_agent, found.review_model, found.review_turns) == ("codex", "m", 4)
    assert (found.review_prompt, found.budget_usd, found.work_branch) == ("Look", 2, "pull/7/head")


@pytest.mark.parametrize("event", [None, "pull_request.synchronize"])
def test_off_is_off(event: str | None) -> None:
    assert why_not(request(mode="off", event=event), snapshot(comments=(asks(),)), {}) is not None


@pytest.mark.parametrize("state", ["MERGED", "CLOSED"])
def test_only_open_pull_requests(state: Any) -> None:
    assert state.lower() in (why_not(request(mode="post"), snapshot(state=state), {}) or "")


@pytest.mark.parametrize("mode", ["on_request", "hold", "post"])
def test_by_hand_it_is_reviewed_also_as_a_draft(mode: str) -> None:
    assert why_not(request(mode=mode), snapshot(draft=True), {}) is None


def test_a_head_is_reviewed_once() -> None:
    assert "reviewed once" in (why_not(request(mode="post"), snapshot(), {HEAD: NOW}) or "")
    assert why_not(request(mode="post"), snapshot(), {NEXT_HEAD: NOW}) is None


@pytest.mark.parametrize(
    ("comments", "reviewed"),
    [
        ((), {}),
        ((asks(can_write=False),), {}),
        ((asks(body="please /review"),), {}),
        ((asks(own=True),), {}),
        ((asks(body="/merge"),), {}),
        ((asks(),), {NEXT_HEAD: NOW + timedelta(minutes=1)}),
        ((asks(created_at=None),), {NEXT_HEAD: NOW}),
    ],
)
def test_on_request_needs_a_fresh_command_of_a_writer(comments: Any, reviewed: Any) -> None:
    asked = request(mode="on_request", event="issue_comment.created")
    assert why_not(asked, snapshot(comments=comments), reviewed) is not None


def test_a_command_after_the_last_review_asks_again() -> None:
    asked = request(mode="on_request", event="issue_comment.created")
    pull = snapshot(comments=(asks(),), draft=True)
    assert why_not(asked, pull, {NEXT_HEAD: NOW - timedelta(minutes=1)}) is None


def test_an_event_does_not_review_a_draft_unless_asked() -> None:
    event = request(mode="post", event="pull_request.opened")
    assert "draft" in (why_not(event, snapshot(draft=True), {}) or "")
    assert why_not(event, snapshot(draft=True, comments=(asks(),)), {}) is None
    assert why_not(event, snapshot(), {}) is None
