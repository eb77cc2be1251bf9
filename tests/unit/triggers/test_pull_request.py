"""One wait for a pull request, in faked time: its clock and the loop's clock are one."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.serialization.serialized_objects import BaseSerialization

from airflow_provider_agents.domain.landing_history import LandingHistory, Round
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger, error_of
from tests.unit.triggers import pull_request_world
from tests.unit.triggers.pull_request_world import (
    FAILED,
    GREEN,
    HEAD,
    MERGED,
    RUNNING,
    SHOP,
    START,
    Forge,
    alone,
    check,
    time,
    trigger,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(start=0, end=10_000_000)]

NEXT_HEAD = "b" * 40


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    forge = Forge()
    forge.install(monkeypatch)
    # Looks on full intervals, and no chance in the pauses.
    monkeypatch.setattr(random, "uniform", lambda low, high: high if low else 0.0)
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


async def test_a_decision_is_one_event_and_not_before_five_seconds(forge: Forge) -> None:
    at, event = await alone(trigger())
    assert at == 5
    assert event["status"] == "decided"
    assert event["decision"]["verdict"] == "merge"
    assert event["head_sha"] == HEAD
    assert event["heads_first_seen"] == {HEAD: (START + timedelta(seconds=5)).isoformat()}
    assert forge.open == 0
    json.dumps(event)


@pytest.mark.parametrize("case", ["past deadline", "no connection", "merged"])
async def test_nothing_fires_in_the_first_five_seconds(forge: Forge, case: str) -> None:
    forge.has((0, MERGED if case == "merged" else RUNNING))
    if case == "no connection":
        forge.connection = InvalidInputError(["no connection"])
    deadline = (START - timedelta(days=1)).isoformat() if case == "past deadline" else None
    at, _ = await alone(trigger(deadline=deadline))
    assert at == 5


async def test_a_first_look_can_be_put_off(forge: Forge) -> None:
    put_off = trigger(first_look_seconds=60.0)
    at, event = await alone(PullRequestTrigger(**put_off.serialize()[1]))
    assert event["status"] == "decided"
    assert forge.read_at()[0] == at == 60


async def test_a_pulse_is_followed_by_a_reading_only_where_it_changed(forge: Forge) -> None:
    forge.has((0, RUNNING), (70, FAILED))
    at, event = await alone(trigger())
    assert event["decision"]["verdict"] == "fix"
    assert at == 90
    assert forge.pulsed_at() == [5, 30, 60, 90]
    assert forge.read_at() == [5, 90]
    assert forge.sessions == [()]


async def test_without_a_node_id_a_reading_comes_first(forge: Forge) -> None:
    forge.has((0, RUNNING), (80, FAILED))
    await alone(trigger(node_id=None))
    # Only the second reading has a pulse to compare the later ones with.
    assert forge.pulsed_at() == [30, 60, 90]
    assert forge.read_at() == [5, 30, 90]


async def test_checks_that_run_beside_a_failed_one_are_read_each_time(forge: Forge) -> None:
    both = {"checks": (check("style", "failed"), check("tests", "pending"))}
    forge.has((0, both))
    forge.unseen[SHOP, 7] = [(100, FAILED)]
    at, event = await alone(trigger())
    assert (at, event["decision"]["verdict"]) == (120, "fix")
    assert forge.read_at() == [5, 30, 60, 90, 120]


async def test_checks_that_run_behind_a_green_pulse_are_read_each_time(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.has((0, RUNNING))
    monkeypatch.setattr(pull_request_world, "rollup", lambda snapshot: "SUCCESS")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(alone(trigger()), 100)
    assert forge.read_at() == [5, 30, 60, 90]


async def test_what_no_pulse_shows_is_found_by_a_sweep(forge: Forge) -> None:
    forge.unseen[SHOP, 7] = [(0, {"labels": ("do-not-merge",)}), (100, {"labels": ()})]
    at, _ = await alone(trigger(poll_interval=15.0))
    # 10 minutes after the first reading, with a fifth more for spreading, and at the next look.
    assert at == 780
    assert forge.read_at() == [5, 780]


async def test_it_looks_rarely_while_people_are_awaited(forge: Forge) -> None:
    forge.has((0, {"draft": True}), (1_000, GREEN))
    await alone(trigger())
    assert forge.pulsed_at()[:4] == [5, 120, 240, 360]


@pytest.mark.parametrize(
    ("interval", "looks"), [(10.0, [5, 40, 80]), (60.0, [5, 120, 240]), (300.0, [5, 300, 600])]
)
async def test_patience_ends_at_two_minutes(forge: Forge, interval: float, looks: list[float]) -> None:
    forge.has((0, {"draft": True}), (10_000, GREEN))
    await alone(trigger(poll_interval=interval))
    assert forge.pulsed_at()[:3] == looks


async def test_settling_is_looked_at_when_it_ends(forge: Forge) -> None:
    policy = LandingPolicy(settle_seconds=45).to_dict()
    at, event = await alone(trigger(policy=policy))
    assert event["decision"]["verdict"] == "merge"
    assert at == 5 + 45 + 1


async def test_a_new_head_gets_the_grace_for_its_first_check(forge: Forge) -> None:
    forge.has((0, {"checks": ()}), (95, {"checks": (), "head_sha": NEXT_HEAD}))
    first_seen = {HEAD: START.isoformat()}
    at, event = await alone(trigger(history={"heads_first_seen": first_seen}))
    assert event["decision"]["verdict"] == "escalate"
    assert event["head_sha"] == NEXT_HEAD
    assert event["heads_first_seen"] == {
        HEAD: START.isoformat(),
        NEXT_HEAD: (START + timedelta(seconds=120)).isoformat(),
    }
    assert at == 120 + 120


async def test_what_is_waited_for_is_logged_when_it_changes(forge: Forge, said: list[str]) -> None:
    both = {"checks": (check("tests", "pending"), check("style", "pending"))}
    forge.has((0, both), (50, both), (100, RUNNING), (200, GREEN))
    await alone(trigger())
    assert said == ["Waiting: Running checks: style, tests.", "Waiting: Running checks: tests."]


async def test_the_deadline_ends_the_wait_with_a_last_reading(forge: Forge) -> None:
    forge.has((0, RUNNING))
    at, event = await alone(trigger(deadline=(START + timedelta(seconds=50)).isoformat()))
    assert event == {"status": "deadline", "message": "Running checks: tests."}
    assert at == 50
    assert forge.read_at() == [5, 50]
    assert forge.open == 0


async def test_what_the_last_reading_shows_outweighs_the_deadline(forge: Forge) -> None:
    forge.has((0, RUNNING), (45, FAILED))
    at, event = await alone(trigger(deadline=(START + timedelta(seconds=50)).isoformat()))
    assert (at, event["status"]) == (50, "decided")


async def test_a_passed_deadline_still_looks_once(forge: Forge) -> None:
    forge.has((0, MERGED))
    _, event = await alone(trigger(deadline=(START - timedelta(days=1)).isoformat()))
    assert event["decision"]["verdict"] == "done"


async def test_the_deadline_does_not_wait_for_a_call_that_hangs(forge: Forge) -> None:
    forge.has((0, RUNNING))
    forge.hangs = [(25, 10_000)]
    at, event = await alone(trigger(deadline=(START + timedelta(seconds=50)).isoformat()))
    assert (at, event["status"]) == (80, "deadline")
    assert forge.open == 0


async def test_failed_readings_back_off_to_five_minutes_and_are_tolerated(forge: Forge, said) -> None:
    forge.outages = [(0, 1_000, ForgeUnavailableError("502"))]
    at, event = await alone(trigger())
    assert event["status"] == "decided"
    asked = forge.pulsed_at()
    gaps = [round(later - earlier) for earlier, later in itertools.pairwise(asked)]
    assert gaps[:6] == [30, 60, 120, 240, 300, 300]
    assert at == asked[-1] >= 1_000
    assert len(forge.sessions) == len(asked)  # a renewed token is found
    assert said == [
        "Could not read acme/shop#7 (failure 1 in a row, 60 are tolerated): 502",
        "Reading acme/shop#7 works again.",
    ]


async def test_failures_in_a_row_are_counted_anew_after_an_unchanged_pulse(forge: Forge, said) -> None:
    forge.has((0, RUNNING), (2_000, GREEN))
    forge.outages = [(start, start + 80, ForgeUnavailableError("502")) for start in range(100, 1_500, 400)]
    _, event = await alone(trigger(tolerated_failures=2))
    assert event["status"] == "decided"
    assert said.count("Reading acme/shop#7 works again.") == 4


async def test_one_failure_too_many_is_an_error_event(forge: Forge) -> None:
    forge.outages = [(0, 1_000_000, ForgeUnavailableError("502 bad gateway"))]
    _, event = await alone(trigger())
    assert event["status"] == "error"
    assert event["kind"] == "ForgeUnavailableError"
    assert "502 bad gateway" in event["message"]
    assert len(forge.pulse_calls) == 61
    assert forge.open == 0


async def test_a_refusal_is_tolerated_three_times(forge: Forge) -> None:
    forge.has((0, ForgeAccessError("404")), (150, GREEN))
    assert (await alone(trigger()))[1]["status"] == "decided"
    forge.has((0, ForgeAccessError("404")))
    before = forge.requests
    _, event = await alone(trigger())
    assert (event["status"], event["kind"]) == ("error", "ForgeAccessError")
    assert forge.requests - before == 4


async def test_a_rate_limit_is_waited_out(forge: Forge, said: list[str]) -> None:
    limit = ForgeRateLimitedError("limit", retry_at=START + timedelta(seconds=1000))
    forge.outages = [(0, 1_000, limit)]
    at, event = await alone(trigger(tolerated_failures=0))
    assert event["status"] == "decided"
    assert forge.pulsed_at() == [5, at]
    assert 1000 <= at <= 1005
    assert said[0] == "Waiting: limit"


async def test_a_rate_limit_without_a_time_backs_off(forge: Forge) -> None:
    forge.outages = [(0, 100, ForgeRateLimitedError("limit"))]
    at, _ = await alone(trigger(tolerated_failures=0))
    assert forge.pulsed_at() == [5, 35, 95, 215]
    assert at == 215


async def test_a_rate_limit_does_not_outlast_the_deadline(forge: Forge) -> None:
    limit = ForgeRateLimitedError("limit", retry_at=START + timedelta(seconds=1000))
    forge.outages = [(0, 1_000, limit)]
    at, event = await alone(trigger(deadline=(START + timedelta(seconds=100)).isoformat()))
    assert (at, event["status"]) == (100, "deadline")
    assert "limit" in event["message"]


async def test_a_call_that_hangs_is_a_failed_reading(forge: Forge) -> None:
    forge.hangs = [(0, 10)]
    at, event = await alone(trigger())
    assert event["status"] == "decided"
    assert at == 5 + 90 + 30


@pytest.mark.parametrize("error", [KeyError("nodes"), RecursionError()])
async def test_a_fault_of_ours_is_a_failed_reading(forge: Forge, error: Exception) -> None:
    forge.outages = [(0, 10, error)]
    at, event = await alone(trigger())
    assert (at, event["status"]) == (35, "decided")


async def test_an_unusable_connection_is_an_error_at_once(forge: Forge) -> None:
    forge.connection = InvalidInputError(["there is no connection 'gh'"])
    _, event = await alone(trigger())
    assert event == {
        "status": "error",
        "kind": "InvalidInputError",
        "message": "there is no connection 'gh'",
    }


async def test_the_history_decides_with(forge: Forge) -> None:
    forge.has((0, FAILED))
    tried = Round(reason="checks_failed", head_sha=HEAD)
    history = LandingHistory(rounds=(tried,)).to_dict()
    assert (await alone(trigger(history=history)))[1]["decision"]["reason"] == "no_progress"
    history = LandingHistory(rounds=(Round(reason="conflict", head_sha="c" * 40),) * 5).to_dict()
    assert (await alone(trigger(history=history)))[1]["decision"]["reason"] == "rounds_exhausted"


@pytest.mark.parametrize(
    ("until", "states", "status", "at"),
    [
        ("merged", [(0, GREEN), (40, {"state": "MERGED", "merge_commit_sha": "c" * 40})], "met", 60),
        ("merged", [(0, GREEN), (40, {"state": "CLOSED"})], "impossible", 60),
        ("green", [(0, RUNNING), (40, {"mergeable": "UNKNOWN"}), (70, GREEN)], "met", 90),
        ("checks_passed", [(0, {"missing": ("checks: 502",)}), (0, GREEN)], "met", 5),
    ],
)
async def test_conditions(forge: Forge, until, states, status, at) -> None:
    forge.has(*states)
    ended, event = await alone(trigger(until=until))
    assert (ended, event["status"]) == (at, status)
    assert event["head_sha"] == HEAD
    assert set(event) == {"status", "message", "state", "head_sha", "url", "merge_commit_sha"}


async def test_a_condition_is_read_again_where_a_part_was_missing(forge: Forge) -> None:
    forge.unseen[SHOP, 7] = [(0, {"missing": ("checks: 502",)}), (40, {"missing": ()})]
    at, event = await alone(trigger(until="checks_passed"))
    assert (at, event["status"]) == (60, "met")


async def test_cancelling_closes_the_session(forge: Forge) -> None:
    forge.has((0, RUNNING))
    task = asyncio.create_task(alone(trigger()))
    await asyncio.sleep(60)
    assert forge.open == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert forge.open == 0


async def test_a_long_message_stays_a_small_event(forge: Forge) -> None:
    forge.has((0, {"checks": tuple(check(f"check {i}" * 20, "failed") for i in range(150))}))
    assert len(json.dumps((await alone(trigger()))[1])) < 2_000


async def test_a_wait_that_moves_to_another_triggerer_goes_on(forge: Forge) -> None:
    forge.has((0, RUNNING), (100, FAILED))
    first = trigger(deadline=(START + timedelta(seconds=500)).isoformat())
    task = asyncio.create_task(alone(first))
    await asyncio.sleep(40)
    task.cancel()
    _, event = await alone(PullRequestTrigger(**first.serialize()[1]))
    assert event["decision"]["verdict"] == "fix"
    assert 100 <= time() <= 120


async def test_serialize_round_trip(forge: Forge) -> None:
    first = trigger(
        github_conn_id="gh",
        deadline=START.isoformat(),
        history=LandingHistory(
            rounds=(Round(reason="conflict", head_sha=HEAD, answered=("k",)),), heads_first_seen={HEAD: START}
        ).to_dict(),
        tolerated_failures=9,
    )
    path, arguments = first.serialize()
    assert path == "airflow_provider_agents.triggers.pull_request.PullRequestTrigger"
    assert json.loads(json.dumps(arguments)) == arguments
    assert BaseSerialization.deserialize(BaseSerialization.serialize(arguments)) == arguments
    assert PullRequestTrigger(**arguments).serialize() == (path, arguments)
    assert trigger(until="merged").serialize()[1]["policy"] is None


async def test_it_may_be_put_into_a_queue_of_triggerers() -> None:
    assert PullRequestTrigger.supports_triggerer_queue


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"policy": None}, "either policy or until"),
        ({"until": "merged", "policy": {}}, "either policy or until"),
        ({"until": "soon"}, "until must be one of"),
        ({"deadline": "2026-01-01T00:00:00"}, "time zone"),
        ({"history": {"heads_first_seen": {HEAD: "2026-01-01T00:00:00"}}}, "time zone"),
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
