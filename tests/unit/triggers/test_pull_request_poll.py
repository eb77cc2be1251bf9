"""One poll for many waits, through Airflow's own manager of shared streams, in faked time."""

from __future__ import annotations

import asyncio
import random
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger
from airflow_provider_agents.triggers.pull_request_poll import PullRequestPoll
from airflow_provider_agents.triggers.pull_request_watch import wake
from tests.unit.triggers.pull_request_world import (
    FAILED,
    GREEN,
    MERGED,
    RUNNING,
    START,
    Forge,
    Triggerer,
    time,
    trigger,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(start=0, end=10_000_000)]


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    forge = Forge()
    forge.install(monkeypatch)
    monkeypatch.setattr(random, "uniform", lambda low, high: high if low else 0.0)
    return forge


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []

    class Log:
        def info(self, message: str, *values: object) -> None:
            lines.append(message % values)

        warning = info
        exception = info

    monkeypatch.setattr(PullRequestTrigger, "log", Log())
    return lines


def all_have(forge: Forge, numbers: Iterable[int], *states: tuple[float, Any]) -> None:
    for number in numbers:
        forge.has(*states, number=number)


async def test_many_waits_share_requests(forge: Forge) -> None:
    all_have(forge, range(250), (0, RUNNING), (100, FAILED))
    triggerer = Triggerer()
    ended = await asyncio.gather(*(triggerer.start(trigger(number)) for number in range(250)))
    assert {(at, event["status"]) for at, event in ended} == {(120.0, "decided")} | {
        (121.0, "decided")
    }  # the 201st and later ones are read a second later
    assert sorted(len(refs) for at, refs in forge.snapshot_calls if at == 5) == [5] * 40
    # Pulses of 100, at 5 (and 6, for the 50 that were left), 30, 60, 90, 120 (and 121).
    assert [len(ids) for at, ids in forge.pulse_calls if at == 30] == [100, 100, 50]
    assert len(forge.pulse_calls) == 3 * 5 + 2
    assert len(forge.snapshot_calls) == 2 * 50
    assert forge.sessions == [()]
    assert forge.open == 0


async def test_waits_for_the_same_pull_request_share_a_reading(forge: Forge) -> None:
    forge.has((0, RUNNING), (100, GREEN))
    triggerer = Triggerer()
    ended = await asyncio.gather(*(triggerer.start(trigger()) for _ in range(5)))
    assert [event["decision"]["verdict"] for _, event in ended] == ["merge"] * 5
    assert forge.snapshot_calls == [(5, (("acme/shop", 7),)), (120, (("acme/shop", 7),))]


async def test_connections_are_polled_apart(forge: Forge) -> None:
    triggerer = Triggerer()
    await asyncio.gather(*(triggerer.start(trigger(github_conn_id=name)) for name in ("a", "b")))
    assert len(forge.sessions) == 2


async def test_sensors_and_gates_share_a_poll(forge: Forge) -> None:
    all_have(forge, (1, 2), (0, RUNNING), (100, MERGED))
    triggerer = Triggerer()
    ended = await asyncio.gather(
        triggerer.start(trigger(1)), triggerer.start(trigger(2, until="merged", poll_interval=60.0))
    )
    assert [event["status"] for _, event in ended] == ["decided", "met"]
    assert len(forge.sessions) == 1


async def test_a_late_joiner_gets_a_reading_of_its_own(forge: Forge) -> None:
    forge.has((0, RUNNING), (1_000, GREEN))
    triggerer = Triggerer()
    first = triggerer.start(trigger())
    await asyncio.sleep(42)
    late = triggerer.start(trigger(until="checks_passed"))
    await asyncio.sleep(10)
    assert forge.read_at() == [5, 47]
    assert {(await first)[0], (await late)[0]} == {1_020}


async def test_no_late_joiner_fires_within_its_first_seconds(forge: Forge) -> None:
    forge.has((0, RUNNING), (30, FAILED))
    triggerer = Triggerer()
    first = triggerer.start(trigger())
    await asyncio.sleep(29)
    late = triggerer.start(trigger())
    assert (await first)[0] == 30
    assert (await late)[0] == 34


async def test_who_leaves_is_not_asked_for_any_more(forge: Forge) -> None:
    all_have(forge, (1, 2), (0, RUNNING))
    triggerer = Triggerer()
    first, second = triggerer.start(trigger(1)), triggerer.start(trigger(2))
    await asyncio.sleep(40)
    first.cancel()
    await asyncio.sleep(60)
    assert forge.pulsed_at(1) == [5, 30]
    assert forge.pulsed_at(2) == [5, 30, 60, 90]
    second.cancel()
    await asyncio.sleep(1)
    assert forge.open == 0
    before = forge.requests
    await asyncio.sleep(1_000)
    assert forge.requests == before


async def test_the_last_one_out_and_the_next_one_in(forge: Forge) -> None:
    forge.has((0, RUNNING))
    triggerer = Triggerer()
    first = triggerer.start(trigger())
    await asyncio.sleep(40)
    first.cancel()
    forge.has((0, FAILED))
    assert (await triggerer.start(trigger()))[1]["decision"]["verdict"] == "fix"
    assert forge.open == 0


async def test_who_joins_a_poll_that_nobody_has_stopped_yet_is_served(forge: Forge) -> None:
    triggerer = Triggerer()
    first = trigger()
    key = first.shared_stream_key()
    # Airflow ends a stream some time after its last member got its event.
    triggerer.manager.subscribe(trigger_id=99, trigger=first, key=key)
    await triggerer.start(first)
    await triggerer.start(trigger(github_conn_id="other"))
    assert (await asyncio.wait_for(triggerer.start(trigger()), 60))[1]["status"] == "decided"
    await triggerer.manager.unsubscribe(99, key)


async def test_a_failing_pull_request_harms_nobody_else(forge: Forge) -> None:
    all_have(forge, range(12), (0, RUNNING), (100, GREEN))
    forge.has((0, ForgeAccessError("no such pull request")), number=5)
    triggerer = Triggerer()
    ended = await asyncio.gather(*(triggerer.start(trigger(number)) for number in range(12)))
    assert [event["status"] for _, event in ended] == ["decided"] * 5 + ["error"] + ["decided"] * 6
    assert {at for at, event in ended if event["status"] == "decided"} == {120}


async def test_a_poisoned_pull_request_harms_nobody_else(forge: Forge) -> None:
    all_have(forge, range(12), (0, RUNNING), (100, GREEN))
    forge.poisons["acme/shop", 5] = ForgeUnavailableError("502 for so much")
    triggerer = Triggerer()
    started = [triggerer.start(trigger(number, tolerated_failures=8)) for number in range(12)]
    ended = await asyncio.gather(*started)
    assert ended[5][1]["kind"] == "ForgeUnavailableError"
    others = ended[:5] + ended[6:]
    assert {event["status"] for _, event in others} == {"decided"}
    assert max(at for at, _ in others) == 120


async def test_a_fault_of_ours_in_one_pull_request_harms_nobody_else(forge: Forge) -> None:
    all_have(forge, range(3), (0, GREEN))
    forge.poisons["acme/shop", 1] = KeyError("nodes")
    triggerer = Triggerer()
    started = [triggerer.start(trigger(number, tolerated_failures=5)) for number in range(3)]
    ended = await asyncio.gather(*started)
    assert [event["status"] for _, event in ended] == ["decided", "error", "decided"]


async def test_an_outage_is_not_asked_about_by_everybody(forge: Forge, said: list[str]) -> None:
    all_have(forge, range(500), (0, RUNNING), (1_000, GREEN))
    forge.outages = [(100, 400, ForgeUnavailableError("503"))]
    triggerer = Triggerer()
    ended = asyncio.gather(*(triggerer.start(trigger(number)) for number in range(500)))
    await asyncio.sleep(100)
    before = forge.requests
    await asyncio.sleep(299)
    # A handful of calls, until three failed, at 120, 150, 210 and 330.
    assert forge.requests - before <= 5 * 4
    assert {event["status"] for _, event in await ended} == {"decided"}
    assert said.count("Reading acme/shop#499 works again.") == 1


async def test_who_joins_in_an_outage_is_told_of_it(forge: Forge, said: list[str]) -> None:
    all_have(forge, (1, 2), (0, RUNNING), (1_000, GREEN))
    forge.outages = [(100, 600, ForgeUnavailableError("503"))]
    triggerer = Triggerer()
    first = triggerer.start(trigger(1))
    await asyncio.sleep(350)
    before = forge.requests
    late = triggerer.start(trigger(2))
    await asyncio.sleep(6)
    assert said[-1] == "Could not read acme/shop#2 (failure 1 in a row, 60 are tolerated): 503"
    assert forge.requests == before
    assert {event["status"] for _, event in await asyncio.gather(first, late)} == {"decided"}


async def test_a_broken_connection_is_told_to_each_and_mended_for_the_next(forge: Forge) -> None:
    forge.connection = InvalidInputError(["there is no connection 'gh'"])
    triggerer = Triggerer()
    broken = [triggerer.start(trigger(number)) for number in range(3)]
    await asyncio.sleep(2)
    later = triggerer.start(trigger(9))
    ended = await asyncio.gather(*broken)
    assert [(at, event["kind"]) for at, event in ended] == [(5, "InvalidInputError")] * 3
    forge.connection = None
    assert (await later)[1]["status"] == "decided"


async def test_a_connection_that_breaks_on_the_way_is_told(forge: Forge) -> None:
    forge.has((0, RUNNING))
    triggerer = Triggerer()
    waiting = triggerer.start(trigger())
    await asyncio.sleep(40)
    forge.outages = [(40, 200, ForgeAccessError("401"))]
    forge.connection = InvalidInputError(["connection 'gh' has no token"])
    at, event = await waiting
    assert (at, event["kind"]) == (90, "InvalidInputError")


async def test_airflow_without_an_answer_is_waited_out(forge: Forge) -> None:
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse

    forge.connection = AirflowRuntimeError(ErrorResponse(error=ErrorType.API_SERVER_ERROR))
    waiting = Triggerer().start(trigger())
    await asyncio.sleep(60)
    forge.connection = None
    assert (await waiting)[1]["status"] == "decided"


async def test_a_rate_limit_stops_the_connection_until_it_ends(forge: Forge, said: list[str]) -> None:
    all_have(forge, range(300), (0, RUNNING), (500, GREEN))
    limit = ForgeRateLimitedError("used up", retry_at=START + timedelta(seconds=1_000))
    forge.outages = [(100, 1_000, limit)]
    triggerer = Triggerer()
    ended = asyncio.gather(*(triggerer.start(trigger(n, tolerated_failures=0)) for n in range(300)))
    await asyncio.sleep(120)
    before = forge.requests
    await asyncio.sleep(875)
    # All of those calls were made at the same moment.
    assert forge.requests - before <= 3
    assert said.count("Waiting: used up") == 300
    assert {event["status"] for _, event in await ended} == {"decided"}
    assert 1_000 <= time() <= 1_005


async def test_repeated_limits_without_a_time_are_backed_off_from(forge: Forge) -> None:
    forge.has((0, RUNNING), (1_500, GREEN))
    forge.outages = [(0, 1_000, ForgeRateLimitedError("slow down"))]
    await Triggerer().start(trigger())
    asked = [at for at, _ in forge.pulse_calls if at < 1_000]
    assert asked == [5, 35, 95, 215, 455, 755]


async def test_a_low_limit_slows_the_poll_so_that_it_lasts(forge: Forge, said: list[str]) -> None:
    all_have(forge, range(500), (0, RUNNING))
    triggerer = Triggerer()
    started = [triggerer.start(trigger(number)) for number in range(500)]
    await asyncio.sleep(65)
    said.clear()
    forge.has_left(350)
    before = forge.points
    await asyncio.sleep(3_590)
    # 100 of 350 points are above the reserve; a round costs five.
    assert 80 <= forge.points - before <= 105
    assert len([line for line in said if "rate limit is low" in line]) == 500
    for each in started:
        each.cancel()
    await asyncio.gather(*started, return_exceptions=True)


async def test_a_low_limit_still_reads_what_changed(forge: Forge) -> None:
    all_have(forge, range(100), (0, RUNNING))
    forge.has((0, RUNNING), (200, GREEN), number=3)
    triggerer = Triggerer()
    started = [triggerer.start(trigger(number)) for number in range(100)]
    await asyncio.sleep(65)
    forge.has_left(400)
    at, event = await started[3]
    assert event["decision"]["verdict"] == "merge"
    assert at <= 300
    for each in started:
        each.cancel()
    await asyncio.gather(*started, return_exceptions=True)


async def test_full_speed_comes_back_at_half_of_the_limit(forge: Forge, said: list[str]) -> None:
    forge.has((0, RUNNING))
    waiting = Triggerer().start(trigger())
    await asyncio.sleep(65)
    forge.has_left(900)
    await asyncio.sleep(60)
    forge.has_left(2_400)  # over a fifth again, but not yet half
    await asyncio.sleep(120)
    assert not any("recovered" in line for line in said)
    forge.has_left(2_600)
    await asyncio.sleep(60)
    assert said[-1] == "Waiting: GitHub's rate limit has recovered"
    before = len(forge.pulse_calls)
    await asyncio.sleep(300)
    assert len(forge.pulse_calls) - before == 10
    waiting.cancel()


async def test_a_limit_that_was_reset_is_believed_no_more(forge: Forge) -> None:
    all_have(forge, range(200), (0, RUNNING), (400, GREEN))
    triggerer = Triggerer()
    started = [triggerer.start(trigger(number)) for number in range(200)]
    await asyncio.sleep(65)
    forge.has_left(10, reset_in=235)
    await asyncio.sleep(30)
    forge.rate_limit = None
    ended = await asyncio.gather(*started)
    assert {event["status"] for _, event in ended} == {"decided"}
    assert max(at for at, _ in ended) <= 421


async def test_an_app_reads_each_owner_with_its_own_token(forge: Forge) -> None:
    forge.app = True
    triggerer = Triggerer()
    repositories = ["acme/shop", "acme/cart", "other/site"]
    await asyncio.gather(*(triggerer.start(trigger(repository=name)) for name in repositories))
    assert sorted(forge.sessions) == [("acme/cart", "acme/shop"), ("other/site",)]
    assert forge.open == 0


async def test_an_app_that_misses_one_repository_reads_the_others(forge: Forge) -> None:
    forge.app = True
    forge.out_of_reach = {"acme/gone"}
    for name in ("acme/shop", "acme/cart", "acme/gone"):
        forge.has((0, RUNNING), (200, GREEN), repository=name)
    triggerer = Triggerer()
    names = ("acme/shop", "acme/gone", "acme/cart")
    ended = await asyncio.gather(*(triggerer.start(trigger(repository=name)) for name in names))
    assert [event["status"] for _, event in ended] == ["decided", "error", "decided"]
    assert {at for at, event in ended if event["status"] == "decided"} == {210}
    # After one round each by itself, those within reach share a session again.
    assert forge.sessions.count(("acme/cart", "acme/shop")) == 1


async def test_a_repository_that_joins_gets_a_token_that_is_good_for_it(forge: Forge) -> None:
    forge.app = True
    forge.has((0, RUNNING), (200, GREEN), repository="acme/shop")
    triggerer = Triggerer()
    first = triggerer.start(trigger(repository="acme/shop"))
    await asyncio.sleep(50)
    await triggerer.start(trigger(repository="acme/cart"))
    await first
    assert forge.sessions == [("acme/shop",), ("acme/cart", "acme/shop")]


async def test_waking_looks_at_once(forge: Forge) -> None:
    all_have(forge, (1, 2), (0, {"draft": True}), (300, GREEN))
    forge.has((0, {"draft": True}), (300, GREEN), repository="acme/cart", number=1)
    triggerer = Triggerer()
    first, second = triggerer.start(trigger(1)), triggerer.start(trigger(2))
    third = triggerer.start(trigger(1, repository="acme/cart"))
    await asyncio.sleep(302)
    wake("Acme/Shop", 1)
    assert (await first)[0] == 302
    assert not second.done()
    wake("acme/shop")
    assert (await second)[0] == 303  # not twice in a second
    assert not third.done()
    assert (await third)[0] == 360


async def test_waking_reads_what_no_pulse_shows(forge: Forge) -> None:
    forge.unseen["acme/shop", 7] = [(0, {"labels": ("do-not-merge",)}), (100, {"labels": ()})]
    waiting = Triggerer().start(trigger())
    await asyncio.sleep(101)
    wake("acme/shop", 7)
    assert (await waiting)[0] == 101


async def test_waking_works_from_another_thread(forge: Forge) -> None:
    forge.has((0, {"draft": True}), (100, GREEN))
    waiting = Triggerer().start(trigger())
    await asyncio.sleep(101)
    thread = threading.Thread(target=wake, args=("acme/shop", 7))
    thread.start()
    thread.join()
    assert (await waiting)[0] == 101


async def test_waking_does_not_break_the_quiet_of_the_start(forge: Forge) -> None:
    waiting = Triggerer().start(trigger())
    await asyncio.sleep(1)
    wake("acme/shop", 7)
    assert (await waiting)[0] == 5


async def test_a_triggerer_that_restarts_reads_all_again(forge: Forge) -> None:
    all_have(forge, range(20), (0, RUNNING), (40, GREEN))
    first = Triggerer()
    triggers = [trigger(number) for number in range(20)]
    started = [first.start(each) for each in triggers]
    await asyncio.sleep(35)
    for each in started:
        each.cancel()
    await asyncio.gather(*started, return_exceptions=True)
    await first.manager.stop_all()
    assert forge.open == 0
    second = Triggerer(cohort_grace_period=2.0)
    again = [PullRequestTrigger(**each.serialize()[1]) for each in triggers]
    ended = await asyncio.gather(*(second.start(each) for each in again))
    assert {event["decision"]["verdict"] for _, event in ended} == {"merge"}


async def test_two_triggerers_poll_beside_each_other_and_agree(forge: Forge) -> None:
    forge.has((0, RUNNING), (100, GREEN))
    (_, first), (_, second) = await asyncio.gather(
        Triggerer().start(trigger()), Triggerer().start(PullRequestTrigger(**trigger().serialize()[1]))
    )
    assert first == second


async def test_a_broken_stream_is_an_event_of_each_and_the_next_one_is_whole(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    original = PullRequestPoll.rounds

    async def broken(poll: PullRequestPoll) -> Any:
        await asyncio.sleep(10)
        raise MemoryError("no more")
        yield

    monkeypatch.setattr(PullRequestPoll, "rounds", broken)
    triggerer = Triggerer()
    ended = await asyncio.gather(*(triggerer.start(trigger(number)) for number in range(3)))
    assert {event["kind"] for _, event in ended} == {"ForgeUnavailableError"}
    monkeypatch.setattr(PullRequestPoll, "rounds", original)
    assert (await triggerer.start(trigger()))[1]["status"] == "decided"


async def test_a_fault_in_the_bookkeeping_does_not_end_the_poll(
    forge: Forge, monkeypatch: pytest.MonkeyPatch
) -> None:
    forge.has((0, RUNNING), (100, GREEN))
    waiting = Triggerer().start(trigger())
    await asyncio.sleep(20)
    monkeypatch.setattr(PullRequestPoll, "_places", None)
    forge.app = True
    with monkeypatch.context() as patch:
        patch.setattr(PullRequestPoll, "_want", None)
        await asyncio.sleep(30)
    monkeypatch.undo()
    forge.app = False
    forge.install(monkeypatch)
    assert (await waiting)[1]["status"] == "decided"


async def test_equal_intervals_fall_on_one_grid(forge: Forge) -> None:
    all_have(forge, range(30), (0, RUNNING), (1_000, GREEN))
    triggerer = Triggerer()
    started = []
    for number in range(30):
        started.append(triggerer.start(trigger(number)))
        await asyncio.sleep(1.3)
    await asyncio.sleep(60)
    before = len(forge.pulse_calls)
    await asyncio.sleep(300)
    assert len(forge.pulse_calls) - before == 10
    await asyncio.gather(*started)


async def test_the_most_urgent_are_read_first(forge: Forge) -> None:
    all_have(forge, range(300), (0, RUNNING), (100, {"mergeable": "UNKNOWN"}))
    triggerer = Triggerer()
    started = [triggerer.start(trigger(number)) for number in range(300)]
    await asyncio.sleep(115)
    forge.has((0, GREEN), number=900)
    late = triggerer.start(trigger(900))
    assert (await late)[0] == 120
    assert ("acme/shop", 900) in forge.snapshot_calls[-1][1] or any(
        ("acme/shop", 900) in refs for at, refs in forge.snapshot_calls if at == 120
    )
    for each in started:
        each.cancel()
    await asyncio.gather(*started, return_exceptions=True)
