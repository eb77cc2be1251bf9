"""The approval of a plan on the ticket: the operator and the trigger that it waits on, at the stand-in GitHub."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import DownstreamTasksSkipped, TaskDeferred

from airflow_provider_agents.domain.coding_task import CodingTask, Ticket
from airflow_provider_agents.domain.coding_task_request import Bounds, parse_request
from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.hooks import github_conversation
from airflow_provider_agents.operators.approve_plan import RESULT_KEY, ApprovePlanOperator
from airflow_provider_agents.triggers import ticket_comments
from airflow_provider_agents.triggers.ticket_comments import TicketCommentsTrigger
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.github.state import Permission

REPOSITORY = "acme/calc"
SETTLE = 90
"""Seconds after which people have said what they had to say."""
PLAN: dict[str, Any] = {
    "summary": "Empty it first.",
    "steps": ["one", "two"],
    "choices": [
        {
            "key": "db",
            "question": "Which database?",
            "options": [
                {"key": "pg", "label": "PostgreSQL", "recommended": True},
                {"key": "lite", "label": "SQLite"},
            ],
        }
    ],
}


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    """A public repository with the ticket 1; agent, alice and bob may write, reader may read."""
    monkeypatch.setenv("NO_PROXY", "*")
    permissions: dict[str, Permission] = {
        "agent": "write", "alice": "write", "bob": "maintain", "reader": "read"
    }  # fmt: skip
    async with StandInGitHub(None, mergeability_delay=0) as stand_in:
        stand_in.add_token("agent", "token-of-agent")
        await stand_in.seed_synthetic(REPOSITORY, {"calc.py": "x = 1\n"}, permissions=permissions)
        await stand_in.act("acme", "configure", REPOSITORY, private=False)
        stand_in.create_issue(REPOSITORY, "add() subtracts", "It should add.")
        yield stand_in


class TaskInstance:
    """A running task instance, as the operator sees it."""

    def __init__(self, number: int, earlier: Any) -> None:
        self.id = UUID(int=number)
        self.dag_id, self.run_id, self.task_id, self.map_index = "coding_task", "run_1", "approve", -1
        self.try_number, self.max_tries = 1, 3
        self.pushed: dict[str, Any] = {}
        self._earlier = earlier

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def xcom_pull(self, task_ids: str, key: str = "return_value") -> Any:
        return self._earlier

    def get_task_states(
        self, dag_id: str, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, str]]:
        return {run_ids[0]: dict.fromkeys(task_ids, "success")}


class State(dict[str, Any]):
    """A task state store."""

    def set(self, key: str, value: Any, retention: Any = None) -> None:
        self[key] = value


class Approval:
    """The approval task of one round."""

    def __init__(self, server: StandInGitHub, round_number: int = 1, earlier: Any = None) -> None:
        self.server = server
        self.ti = TaskInstance(round_number, earlier)
        self.state = State()
        request, faults = parse_request(
            {"repository": REPOSITORY, "prompt": "Add", "issue_number": 1, "plan_approval": True}, Bounds()
        )
        assert request is not None, faults
        ticket = Ticket(number=1, title="add() subtracts", body="It should add.", author="alice")
        task = CodingTask.accept(request, run_key="coding_task/run_1", base_sha="c" * 40, ticket=ticket)
        with DAG("d"):
            self.operator = ApprovePlanOperator(
                task_id="approve",
                coding_task=task.model_dump(mode="json"),
                plan={"output": PLAN | {"summary": f"Empty it first, way {round_number}."}},
                round_number=round_number,
                earlier_approvals=["earlier"] if earlier else [],
                later_tasks=["later"],
                poll_interval=0.05,
            )
        self.outcome: Any = None

    async def do(self, event: Any = None) -> Any:
        """Run the task in a worker, until it waits or ends; the way in which it did."""
        context: Any = {
            "ti": self.ti,
            "run_id": self.ti.run_id,
            "dag": SimpleNamespace(parent_dag=None),
            "params": {},
            "task_state_store": self.state,
        }
        try:
            work: Any = self.operator.execute if event is None else lambda c: self.operator.resume(c, event)
            self.outcome = await asyncio.to_thread(work, context)
        except (DownstreamTasksSkipped, TaskDeferred, TaskStoppedError) as raised:
            self.outcome = raised
        return self.outcome

    async def wait(self, deadline: float | None = None) -> dict[str, Any]:
        """Wait, as a triggerer does, for the one event of the trigger that the task deferred to.

        :param deadline: in seconds from now.
        """
        assert isinstance(self.outcome, TaskDeferred), self.outcome
        arguments = json.loads(json.dumps(self.outcome.trigger.serialize()[1]))
        if deadline is not None:
            arguments["deadline"] = (datetime.now(UTC) + timedelta(seconds=deadline)).isoformat()
        async with asyncio.timeout(20):
            events = [event async for event in TicketCommentsTrigger(**arguments).run()]
        payload: dict[str, Any]
        (payload,) = (event.payload for event in events)
        return payload

    async def answered(self) -> Any:
        """Wait until somebody answers, and take over from there."""
        self.server.forge.clock.advance(SETTLE)
        return await self.do(await self.wait())

    @property
    def approved(self) -> bool:
        return isinstance(self.outcome, DownstreamTasksSkipped) and self.result["approved"] is True

    @property
    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ti.pushed[RESULT_KEY]
        return found


@pytest.fixture
async def approval(server: StandInGitHub, monkeypatch: pytest.MonkeyPatch) -> Approval:
    """The first round's approval, which has shown its plan and waits."""
    connection = {"conn_type": "github", "host": server.url, "password": "token-of-agent"}
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example")
    monkeypatch.setattr("airflow.sdk.execution_time.hitl.upsert_hitl_detail", lambda **_: None)
    monkeypatch.setattr(github_conversation, "PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(ticket_comments, "QUIET_SECONDS", 0.0)

    async def nobody(ti_id: str) -> None:
        """Nobody answers in Airflow."""

    monkeypatch.setattr(ticket_comments, "given_answer", nobody)
    made = Approval(server)
    await made.do()
    server.forge.clock.advance(5)
    return made


async def do(server: StandInGitHub, who: str, act: str, **values: Any) -> None:
    await server.act(who, act, REPOSITORY, number=1, **values)


def ours(server: StandInGitHub) -> list[str]:
    """Return our comments on the ticket, as they stand."""
    ticket = server.forge.store.repositories[REPOSITORY].issues[1]
    return [comment.body for comment in ticket.comments if comment.author.login == "agent"]


@pytest.mark.parametrize(
    ("act", "values"), [("react", {"by": "agent"}), ("comment", {"body": "/approve\n\nGood."})]
)
async def test_a_writer_approves(
    server: StandInGitHub, approval: Approval, act: str, values: dict[str, Any]
) -> None:
    await do(server, "alice", act, **values)
    await approval.answered()
    assert approval.approved
    assert approval.result["by"] == "alice"
    (body,) = ours(server)
    assert "Approved by alice." in body
    assert "Empty it first" in body


@pytest.mark.parametrize("who", ["reader", "stranger", "ci[bot]", "agent"])
async def test_nobody_else_decides_anything(server: StandInGitHub, approval: Approval, who: str) -> None:
    await do(server, who, "react", by="agent")
    for body in ("/approve", "/stop", "Use the cache."):
        await do(server, who, "comment", body=body)
    server.forge.clock.advance(SETTLE)
    event = await approval.wait(deadline=0.5)
    assert event == {"status": "deadline"}
    assert isinstance(await approval.do(event), TaskDeferred)


async def test_words_put_into_a_writers_mouth_do_not_count(server: StandInGitHub, approval: Approval) -> None:
    await do(server, "alice", "comment", body="Hm.")
    await do(server, "bob", "edit_comment", by="alice", body="/approve")
    server.forge.clock.advance(SETTLE)
    assert await approval.wait(deadline=0.5) == {"status": "deadline"}


async def test_all_replies_reach_the_next_plan_and_later_ones_the_one_after(
    server: StandInGitHub, approval: Approval
) -> None:
    await do(server, "alice", "comment", body="Use the cache.")
    await do(server, "bob", "comment", body="Mind the tests.")
    await approval.answered()
    first = approval.result
    assert (first["approved"], len(first["answered"])) == (False, 2)
    assert "Use the cache." in first["feedback"]
    assert "Mind the tests." in first["feedback"]

    # While the next plan is made.
    await do(server, "alice", "comment", body="And the index.")
    server.forge.clock.advance(SETTLE)
    second = Approval(server, 2, earlier=first)
    await second.do()
    assert second.result["approved"] is False
    assert "And the index." in second.result["feedback"]
    assert "Use the cache." not in second.result["feedback"]
    assert set(first["answered"]) < set(second.result["answered"])

    server.forge.clock.advance(SETTLE)
    third = Approval(server, 3, earlier=second.result)
    assert isinstance(await third.do(), TaskDeferred)
    (body,) = ours(server)  # one comment for all rounds
    assert "way 3" in body


async def test_a_thumb_is_for_the_plan_that_it_was_put_below(
    server: StandInGitHub, approval: Approval
) -> None:
    await do(server, "bob", "react", by="agent")
    await do(server, "alice", "comment", body="No, use the cache.")
    await approval.answered()
    assert approval.result["approved"] is False
    server.forge.clock.advance(SETTLE)
    second = Approval(server, 2, earlier=approval.result)
    await second.do()
    assert await second.wait(deadline=0.5) == {"status": "deadline"}
    server.forge.clock.advance(5)
    # One thumb a person: the old one goes first.
    await do(server, "bob", "react", by="agent", taken_back=True)
    await do(server, "bob", "react", by="agent")
    await second.answered()
    assert second.approved
    assert second.result["by"] == "bob"


async def test_a_writer_ends_the_run(server: StandInGitHub, approval: Approval) -> None:
    await do(server, "alice", "comment", body="/stop")
    await approval.answered()
    assert isinstance(approval.outcome, TaskStoppedError)
    assert "alice ended the run." in ours(server)[0]


async def test_ticked_boxes_are_in_the_result(server: StandInGitHub, approval: Approval) -> None:
    await do(server, "alice", "edit_comment", by="agent", tick="SQLite")
    await do(server, "alice", "react", by="agent")
    await approval.answered()
    assert approval.approved
    assert approval.result["choices"]["db"] == "lite"
    assert approval.result["decisions"] == ["Which database? SQLite"]


async def test_a_closed_ticket_ends_the_run(server: StandInGitHub, approval: Approval) -> None:
    await do(server, "alice", "close")
    event = await approval.wait()
    assert event == {"status": "closed"}
    assert isinstance(await approval.do(event), TaskStoppedError)


async def test_the_wait_outlives_an_absent_github(server: StandInGitHub, approval: Approval) -> None:
    server.faults.add({"match": {"operation": "Conversation"}, "times": 2, "action": {"status": 502}})
    await do(server, "alice", "react", by="agent")
    await approval.answered()
    assert approval.approved
