"""The wait for people's answers, in faked time: its clock and the loop's clock are one."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from conversation_world import TicketWorld, detail

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.triggers import ticket_comments as module
from airflow_provider_agents.triggers.ticket_comments import TOLERATED_FAILURES, TicketCommentsTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

START = datetime(2026, 1, 1, tzinfo=UTC)
TI = "00000000-0000-0000-0000-000000000001"
MARKER = "agents:task:plan"

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(start=0, end=10_000_000)]


def now() -> datetime:
    return START + timedelta(seconds=asyncio.get_running_loop().time())


def elapsed() -> float:
    return asyncio.get_running_loop().time()


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> TicketWorld:
    world = TicketWorld(now)

    @asynccontextmanager
    async def client(hook: Any) -> AsyncIterator[Any]:
        yield world

    monkeypatch.setattr(AgentsGitHubHook, "client", client)
    monkeypatch.setattr(module, "_now", now)
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    return world


def trigger(**arguments: Any) -> TicketCommentsTrigger:
    values: dict[str, Any] = {"repository": "acme/shop", "number": 3, "since": START.isoformat()}
    made = TicketCommentsTrigger(**values | arguments)
    # What the triggerer makes of it.
    return TicketCommentsTrigger(**json.loads(json.dumps(made.serialize()[1])))


async def fired(arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    events = [event.payload async for event in trigger(**arguments or {}).run()]
    event: dict[str, Any]
    (event,) = events
    return event


def later(seconds: float, act: Callable[[], Any]) -> None:
    asyncio.get_running_loop().call_later(seconds, act)


async def test_a_comment_of_a_writer_wakes_within_a_poll(world: TicketWorld) -> None:
    later(100, lambda: world.say("mona", "/merge"))
    assert await fired() == {"status": "spoken"}
    assert 100 <= elapsed() <= 165


async def test_known_comments_and_those_of_others_do_not(world: TicketWorld) -> None:
    world.say("mona", "/merge")
    world.say("guest", "/merge")
    world.say("rita", "I am looking at it")
    world.say("agent", "/stop", own=True)
    deadline = (now() + timedelta(minutes=10)).isoformat()
    assert await fired({"answered": ["IC_0"], "deadline": deadline}) == {"status": "deadline"}
    assert elapsed() == pytest.approx(600, abs=1)


async def test_nothing_fires_in_the_first_five_seconds(world: TicketWorld) -> None:
    world.say("mona", "/stop")
    await fired()
    assert elapsed() >= 5


@pytest.mark.parametrize("state", ["CLOSED", "MERGED"])
async def test_the_end_of_the_issue_or_pull_request_wakes(world: TicketWorld, state: str) -> None:
    world.state = state
    assert await fired() == {"status": "closed"}


async def test_another_head_wakes(world: TicketWorld) -> None:
    world.head_sha = "a" * 40
    later(50, lambda: setattr(world, "head_sha", "b" * 40))
    event = await fired({"head_sha": "a" * 40})
    assert event == {"status": "moved", "head_sha": "b" * 40}


async def test_a_long_wait_is_polled_more_slowly(world: TicketWorld) -> None:
    later(24 * 3600, lambda: world.say("mona", "/retry"))
    await fired()
    gaps = [(b - a).total_seconds() for a, b in zip(world.reads, world.reads[1:], strict=False)]
    assert gaps[0] == 60
    assert max(gaps) == 300
    assert gaps == sorted(gaps)
    assert len(gaps) < 500


# A plan


def plan(**values: Any) -> dict[str, Any]:
    return {"marker": MARKER, "shown_at": START.isoformat(), **values}


async def test_a_thumb_on_the_plan_wakes(world: TicketWorld) -> None:
    world.say("agent", f"plan <!-- agents {MARKER} part=1 -->", own=True)
    later(10, lambda: world.thumb("guest"))
    later(200, lambda: world.thumb("rita"))
    assert await fired(plan()) == {"status": "spoken"}
    assert elapsed() >= 200


async def test_a_plan_that_was_made_earlier_and_edited_since_is_found(world: TicketWorld) -> None:
    world.say("agent", f"plan <!-- agents {MARKER} part=1 -->", own=True)
    later(600, lambda: world.thumb("rita"))
    shown = (START + timedelta(minutes=5)).isoformat()
    values = plan(since=shown, shown_at=shown, marked_since=START.isoformat())
    assert await fired(values) == {"status": "spoken"}


async def test_a_thumb_on_an_earlier_plan_does_not(world: TicketWorld) -> None:
    world.say("agent", f"plan <!-- agents {MARKER} part=1 -->", own=True)
    world.thumb("rita")
    deadline = (now() + timedelta(minutes=5)).isoformat()
    values = plan(shown_at=(now() + timedelta(seconds=1)).isoformat(), deadline=deadline)
    assert await fired(values) == {"status": "deadline"}


async def test_a_remark_wakes_when_it_has_settled(world: TicketWorld) -> None:
    later(64, lambda: world.say("mona", "use the cache"))
    assert await fired(plan()) == {"status": "spoken"}
    assert elapsed() >= 124


async def test_the_forges_clock_counts(world: TicketWorld) -> None:
    world.tick(hours=1)
    world.say("mona", "use the cache")
    world.tick(minutes=2)
    await fired(plan())
    assert elapsed() == 5


# Answers in Airflow


def airflow_says(monkeypatch: pytest.MonkeyPatch, *details: Any) -> list[Any]:
    queue, asked = list(details), []

    def get(ti_id: Any) -> Any:
        asked.append(ti_id)
        found = queue.pop(0) if len(queue) > 1 else queue[0]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr("airflow.sdk.execution_time.hitl.get_hitl_detail_content_detail", get)
    return asked


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread: faked time does not wait for one."""

    def sync_to_async(function: Callable[..., Any]) -> Callable[..., Any]:
        async def called(**values: Any) -> Any:
            return function(**values)

        return called

    monkeypatch.setattr("asgiref.sync.sync_to_async", sync_to_async)


@pytest.mark.usefixtures("inline")
async def test_an_answer_given_before_the_wait_began_is_found(
    world: TicketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    airflow_says(monkeypatch, detail("Approve", feedback="be quick"))
    event = await fired({"ti_id": TI})
    assert event == {
        "status": "answered",
        "chosen_options": ["Approve"],
        "params_input": {"feedback": "be quick"},
        "responded_at": "2026-01-02T12:00:00+00:00",
        "responded_by_user": {"id": "1", "name": "alice"},
    }
    assert elapsed() == 5


@pytest.mark.usefixtures("inline")
async def test_later_answers_resume_the_task_by_themselves(
    world: TicketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = airflow_says(monkeypatch, detail(None))
    later(3600, lambda: world.say("mona", "/stop"))
    assert await fired({"ti_id": TI}) == {"status": "spoken"}
    assert len(asked) == 6


@pytest.mark.usefixtures("inline")
async def test_an_airflow_that_cannot_say_it_now_is_asked_again(
    world: TicketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import ErrorResponse

    airflow_says(monkeypatch, AirflowRuntimeError(ErrorResponse()), detail("Approve"))
    assert (await fired({"ti_id": TI}))["status"] == "answered"


# Faults


async def test_a_forge_that_is_away_is_waited_for(world: TicketWorld) -> None:
    world.faults = [ForgeUnavailableError("502")] * 10
    world.say("mona", "/retry")
    assert await fired() == {"status": "spoken"}
    assert len(world.reads) == 11
    gaps = [(b - a).total_seconds() for a, b in zip(world.reads, world.reads[1:], strict=False)]
    assert gaps[:4] == [60, 120, 240, 300]


async def test_a_rate_limit_is_waited_out(world: TicketWorld) -> None:
    world.faults = [ForgeRateLimitedError("limit", retry_at=START + timedelta(minutes=30))]
    world.say("mona", "/retry")
    await fired()
    assert elapsed() >= 1800
    assert len(world.reads) == 2


@pytest.mark.parametrize("fault", [ForgeUnavailableError("502"), ForgeAccessError("no right")])
async def test_too_many_failures_in_a_row_hand_over_to_the_task(world: TicketWorld, fault: Exception) -> None:
    world.faults = [fault] * 1_000
    event = await fired()
    assert event["status"] == "unreadable"
    assert str(fault) in event["message"]
    assert len(world.reads) == TOLERATED_FAILURES + 1


async def test_a_missing_connection_hands_over_at_once(
    world: TicketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    @asynccontextmanager
    async def client(hook: Any) -> AsyncIterator[Any]:
        raise InvalidInputError(["there is no connection"])
        yield

    monkeypatch.setattr(AgentsGitHubHook, "client", client)
    event = await fired()
    assert event["status"] == "unreadable"
    assert elapsed() == 5


async def test_a_forge_that_never_answers_is_given_up_on(
    world: TicketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(*arguments: Any) -> Any:
        await asyncio.sleep(1_000_000)

    monkeypatch.setattr(world, "query", hang)
    assert (await fired())["status"] == "unreadable"


async def test_a_deadline_ends_a_wait_that_only_fails(world: TicketWorld) -> None:
    world.faults = [ForgeUnavailableError("502")] * 1_000
    deadline = (START + timedelta(minutes=20)).isoformat()
    assert await fired({"deadline": deadline}) == {"status": "deadline"}


async def test_nothing_is_left_running_when_it_is_cancelled(world: TicketWorld) -> None:
    async def wait() -> None:
        async for _ in trigger().run():
            pass

    task = asyncio.ensure_future(wait())
    await asyncio.sleep(100)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize("name", ["since", "shown_at", "deadline"])
async def test_a_moment_needs_a_zone(name: str) -> None:
    with pytest.raises(ValueError, match="time zone"):
        trigger(**{name: "2026-01-01T00:00:00"})


async def test_the_rules_of_the_run_say_whose_command_wakes(world: TicketWorld) -> None:
    rules = {"steer": {"users": ["guest"]}, "merge": {"permission": "admin"}}
    later(100, lambda: world.say("mona", "/merge"))
    later(700, lambda: world.say("rita", "/stop"))
    later(1300, lambda: world.say("guest", "/merge"))
    later(1900, lambda: world.say("guest", "/retry"))
    assert await fired({"authority": rules, "poll_interval": 60.0}) == {"status": "spoken"}
    assert asyncio.get_running_loop().time() >= 1900
