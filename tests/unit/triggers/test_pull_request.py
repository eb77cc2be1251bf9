"""The wait for a pull request, in faked time: its clock and the loop's clock are one."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.serialization.serialized_objects import BaseSerialization

from airflow_provider_agents.domain.landing import LandingPolicy
from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.triggers import pull_request as module
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger, error_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

START = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = "a" * 40

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(start=0, end=10_000_000)]


def now() -> datetime:
    return START + timedelta(seconds=asyncio.get_running_loop().time())


def check(name: str = "tests", state: str = "passed") -> Check:
    return Check(name=name, state=state, kind="check_run")  # type: ignore[arg-type]


def snapshot(**values: Any) -> PullRequestSnapshot:
    facts: dict[str, Any] = {
        "repository": "acme/shop",
        "number": 7,
        "node_id": "PR_1",
        "url": "https://github.com/acme/shop/pull/7",
        "title": "t",
        "state": "OPEN",
        "head_sha": HEAD,
        "head_branch": "agents/7",
        "base_branch": "main",
        "read_at": now(),
        "mergeable": "MERGEABLE",
        "merge_state": "CLEAN",
        "checks": (check(),),
    }
    return PullRequestSnapshot(**facts | values)


RUNNING = {"checks": (check(state="pending"),)}
GREEN: dict[str, Any] = {}

Reading = dict[str, Any] | Exception | str


class Forge:
    """Stands in for GitHub: one entry a reading, the last one repeated."""

    def __init__(self) -> None:
        self.readings: list[Reading] = [GREEN]
        self.asked_at: list[float] = []
        self.opened = 0
        self.open = 0

    async def snapshot(self, repository: str, number: int) -> PullRequestSnapshot:
        assert (repository, number) == ("acme/shop", 7)
        self.asked_at.append(asyncio.get_running_loop().time())
        reading = self.readings.pop(0) if len(self.readings) > 1 else self.readings[0]
        if reading == "hang":
            await asyncio.sleep(1_000_000)
        if isinstance(reading, Exception):
            raise reading
        return snapshot(**reading)  # type: ignore[arg-type]


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    forge = Forge()

    @asynccontextmanager
    async def client(hook: AgentsGitHubHook) -> AsyncIterator[Forge]:
        forge.opened += 1
        forge.open += 1
        try:
            yield forge
        finally:
            forge.open -= 1

    monkeypatch.setattr(AgentsGitHubHook, "client", client)
    monkeypatch.setattr(module, "_now", now)
    monkeypatch.setattr(module.random, "uniform", lambda low, high: high)
    return forge


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the trigger logs."""
    lines: list[str] = []

    class Log:
        def info(self, message: str, *values: object) -> None:
            lines.append(message % values)

        warning = info

    monkeypatch.setattr(PullRequestTrigger, "log", Log())
    return lines


def trigger(**values: Any) -> PullRequestTrigger:
    arguments: dict[str, Any] = {"repository": "acme/shop", "number": 7, "poll_interval": 30.0}
    if "until" not in values:
        arguments["policy"] = LandingPolicy().to_dict()
    return PullRequestTrigger(**arguments | values)


async def events_of(trigger: PullRequestTrigger) -> list[tuple[float, dict[str, Any]]]:
    """Run a trigger to its end; return its events with their times."""
    loop = asyncio.get_running_loop()
    return [(loop.time(), event.payload) async for event in trigger.run()]


async def event_of(trigger: PullRequestTrigger) -> dict[str, Any]:
    ((_, event),) = await events_of(trigger)
    return event


async def test_a_decision_is_one_event_and_not_before_five_seconds(forge: Forge) -> None:
    ((at, event),) = await events_of(trigger())
    assert at >= 5
    assert event["status"] == "decided"
    assert event["decision"]["verdict"] == "merge"
    assert event["head_sha"] == HEAD
    assert event["head_first_seen"] == (START + timedelta(seconds=5)).isoformat()
    assert forge.open == 0
    json.dumps(event)


@pytest.mark.parametrize("case", ["past deadline", "no connection", "merged"])
async def test_nothing_fires_in_the_first_five_seconds(forge: Forge, monkeypatch, case: str) -> None:
    if case == "no connection":
        forge.readings = [InvalidInputError(["no connection"])]
    if case == "merged":
        forge.readings = [{"state": "MERGED"}]
    else:
        forge.readings.insert(0, RUNNING)
    deadline = (START - timedelta(days=1)).isoformat() if case == "past deadline" else None
    ((at, _),) = await events_of(trigger(deadline=deadline))
    assert at >= 5


async def test_a_first_look_can_be_put_off(forge: Forge) -> None:
    put_off = trigger(first_look_seconds=60.0)
    ((at, event),) = await events_of(PullRequestTrigger(**put_off.serialize()[1]))
    assert event["status"] == "decided"
    assert forge.asked_at[0] == at == 60


async def test_it_polls_until_there_is_something_to_do(forge: Forge) -> None:
    forge.readings = [RUNNING, RUNNING, {"checks": (check(state="failed"),)}]
    event = await event_of(trigger())
    assert event["decision"]["verdict"] == "fix"
    assert forge.asked_at == [5, 38, 71]
    assert forge.opened == 1


async def test_what_is_waited_for_is_logged_when_it_changes(forge: Forge, said: list[str]) -> None:
    both = {"checks": (check("tests", "pending"), check("style", "pending"))}
    forge.readings = [both, both, both, RUNNING, RUNNING, GREEN]
    await event_of(trigger())
    assert said == ["Waiting: Running checks: style, tests.", "Waiting: Running checks: tests."]


async def test_the_deadline_ends_the_wait_and_is_not_slept_over(forge: Forge) -> None:
    forge.readings = [RUNNING]
    ((at, event),) = await events_of(trigger(deadline=(START + timedelta(seconds=50)).isoformat()))
    assert event == {"status": "deadline", "message": "Running checks: tests."}
    assert at == 50
    assert forge.asked_at == [5, 38, 50]
    assert forge.open == 0


async def test_a_passed_deadline_still_looks_once(forge: Forge) -> None:
    forge.readings = [{"state": "MERGED"}]
    event = await event_of(trigger(deadline=(START - timedelta(days=1)).isoformat()))
    assert event["decision"]["verdict"] == "done"


async def test_failed_readings_back_off_to_five_minutes_and_are_tolerated(forge: Forge, said) -> None:
    forge.readings = [ForgeUnavailableError("502")] * 8 + [GREEN]
    event = await event_of(trigger())
    assert event["status"] == "decided"
    gaps = [later - earlier for earlier, later in zip(forge.asked_at, forge.asked_at[1:], strict=False)]
    assert gaps == [30, 60, 120, 240, 300, 300, 300, 300]
    assert forge.opened == 9
    assert said == [
        "Could not read acme/shop#7 (failure 1 in a row, 60 are tolerated): 502",
        "Reading acme/shop#7 works again.",
    ]


async def test_failures_in_a_row_are_counted_anew_after_a_success(forge: Forge) -> None:
    forge.readings = ([ForgeUnavailableError("502")] * 2 + [RUNNING]) * 3 + [GREEN]
    assert (await event_of(trigger(tolerated_failures=2)))["status"] == "decided"


async def test_one_failure_too_many_is_an_error_event(forge: Forge) -> None:
    forge.readings = [ForgeUnavailableError("502 bad gateway")]
    event = await event_of(trigger())
    assert event["status"] == "error"
    assert event["kind"] == "ForgeUnavailableError"
    assert "502 bad gateway" in event["message"]
    assert len(forge.asked_at) == 61
    assert forge.open == 0


async def test_a_refusal_is_tolerated_three_times(forge: Forge) -> None:
    forge.readings = [ForgeAccessError("404")] * 3 + [GREEN]
    assert (await event_of(trigger()))["status"] == "decided"
    forge.readings = [ForgeAccessError("404")]
    forge.asked_at.clear()
    event = await event_of(trigger())
    assert (event["status"], event["kind"]) == ("error", "ForgeAccessError")
    assert len(forge.asked_at) == 4


async def test_a_rate_limit_is_waited_out(forge: Forge) -> None:
    forge.readings = [ForgeRateLimitedError("limit", retry_at=START + timedelta(seconds=1000)), GREEN]
    await event_of(trigger())
    assert forge.asked_at[0] == 5
    assert 1000 <= forge.asked_at[1] <= 1005


async def test_a_rate_limit_does_not_outlast_the_deadline(forge: Forge) -> None:
    forge.readings = [ForgeRateLimitedError("limit", retry_at=START + timedelta(seconds=1000))]
    ((at, event),) = await events_of(trigger(deadline=(START + timedelta(seconds=100)).isoformat()))
    assert (at, event["status"]) == (100, "deadline")
    assert "limit" in event["message"]


async def test_a_reading_that_hangs_is_a_failed_reading(forge: Forge) -> None:
    forge.readings = ["hang", GREEN]
    ((at, event),) = await events_of(trigger())
    assert event["status"] == "decided"
    assert at == 5 + 180 + 30


async def test_an_unusable_connection_is_an_error_at_once(forge: Forge) -> None:
    forge.readings = [InvalidInputError(["there is no connection 'gh'"])]
    event = await event_of(trigger())
    assert event == {
        "status": "error",
        "kind": "InvalidInputError",
        "message": "there is no connection 'gh'",
    }


async def test_a_new_head_gets_the_grace_for_its_first_check(forge: Forge) -> None:
    none = {"checks": ()}
    forge.readings = [none] * 3 + [none | {"head_sha": "b" * 40}]
    first_seen = {HEAD: START.isoformat()}
    ((at, event),) = await events_of(trigger(history={"head_first_seen": first_seen}))
    assert event["decision"]["verdict"] == "escalate"
    assert event["head_sha"] == "b" * 40
    assert event["head_first_seen"] == (START + timedelta(seconds=forge.asked_at[3])).isoformat()
    assert at >= forge.asked_at[3] + 120


async def test_the_history_decides_with(forge: Forge) -> None:
    forge.readings = [{"checks": (check(state="failed"),)}]
    history = {"rounds_used": 1, "fixed_heads": [HEAD]}
    assert (await event_of(trigger(history=history)))["decision"]["reason"] == "no_progress"
    history = {"rounds_used": 5, "fixed_heads": []}
    assert (await event_of(trigger(history=history)))["decision"]["reason"] == "rounds_exhausted"


@pytest.mark.parametrize(
    ("until", "readings", "status", "after"),
    [
        ("merged", [GREEN, {"state": "MERGED", "merge_commit_sha": "c" * 40}], "met", 2),
        ("merged", [GREEN, {"state": "CLOSED"}], "impossible", 2),
        ("green", [RUNNING, {"mergeable": "UNKNOWN"}, GREEN], "met", 3),
        ("checks_passed", [{"missing": ("checks: 502",)}, GREEN], "met", 2),
    ],
)
async def test_conditions(forge: Forge, until, readings, status, after) -> None:
    forge.readings = readings
    event = await event_of(trigger(until=until))
    assert event["status"] == status
    assert event["head_sha"] == HEAD
    assert set(event) == {"status", "message", "state", "head_sha", "url", "merge_commit_sha"}
    assert len(forge.asked_at) == after


async def test_cancelling_closes_the_session(forge: Forge) -> None:
    forge.readings = [RUNNING]
    task = asyncio.create_task(event_of(trigger()))
    await asyncio.sleep(60)
    assert forge.open == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert forge.open == 0


async def test_many_waits_run_beside_each_other(forge: Forge) -> None:
    forge.readings = [RUNNING] * 100 + [GREEN]
    events = await asyncio.gather(*(event_of(trigger()) for _ in range(50)))
    assert {event["status"] for event in events} == {"decided"}
    assert asyncio.get_running_loop().time() < 120


async def test_a_long_message_stays_a_small_event(forge: Forge) -> None:
    forge.readings = [{"checks": tuple(check(f"check {i}" * 20, "failed") for i in range(150))}]
    assert len(json.dumps(await event_of(trigger()))) < 2_000


async def test_serialize_round_trip(forge: Forge) -> None:
    first = trigger(
        github_conn_id="gh",
        deadline=START.isoformat(),
        history={"rounds_used": 2, "fixed_heads": [HEAD], "head_first_seen": {HEAD: START.isoformat()}},
        tolerated_failures=9,
    )
    path, arguments = first.serialize()
    assert path == "airflow_provider_agents.triggers.pull_request.PullRequestTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    assert BaseSerialization.deserialize(BaseSerialization.serialize(arguments)) == arguments
    assert PullRequestTrigger(**arguments).serialize() == (path, arguments)
    assert trigger(until="merged").serialize()[1]["policy"] is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"policy": None}, "either policy or until"),
        ({"until": "merged", "policy": {}}, "either policy or until"),
        ({"until": "soon"}, "until must be one of"),
        ({"deadline": "2026-01-01T00:00:00"}, "time zone"),
        ({"history": {"head_first_seen": {HEAD: "2026-01-01T00:00:00"}}}, "time zone"),
    ],
)
async def test_bad_arguments(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        trigger(**values)


@pytest.mark.parametrize(
    "make",
    [
        lambda: ForgeAccessError("m"),
        lambda: ForgeUnavailableError("m"),
        lambda: ForgeRateLimitedError("m"),
        lambda: ForgeError("m"),
        lambda: InvalidInputError(["m"]),
    ],
)
async def test_error_of(make: Callable[[], Exception]) -> None:
    error = make()
    again = error_of({"status": "error", "kind": type(error).__name__, "message": "m"})
    assert type(again) is type(error)
    assert str(again) == str(error)
