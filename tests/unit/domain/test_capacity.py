"""Who starts and who waits: caps, priorities, off-peak times, money."""

from __future__ import annotations

import dataclasses
import heapq
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.capacity import (
    Admission,
    Caps,
    DayUse,
    Limits,
    Place,
    Use,
    Waiting,
    admit,
    next_day,
    order,
)

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)  # a Monday


def waits(key: str, repository: str = "acme/shop", *, age: int = 0, **values: Any) -> Waiting:
    return Waiting(key=key, repository=repository, since=NOW - timedelta(minutes=age), **values)


def works(key: str, repository: str = "acme/shop", source: str = "") -> Place:
    return Place(key=key, repository=repository, source=source, since=NOW)


def caps(**limits: Any) -> Caps:
    return Caps(all=Limits(**limits), each_repository=Limits())


def started(admission: Admission) -> list[str]:
    return [each.key for each in admission.starts]


def test_priority_then_age_then_key() -> None:
    line = [waits("c", age=1), waits("b", age=1), waits("a"), waits("d", priority=1), waits("e", priority=-1)]
    assert [each.key for each in order(line)] == ["d", "b", "c", "a", "e"]


def test_people_reorder_the_line_by_key_and_by_name() -> None:
    line = [waits("a", age=2, priority=5), waits("b", age=1, names=("run_b", "acme/shop#2")), waits("c")]
    assert [each.key for each in order(line, {"acme/shop#2": 9, "c": 7})] == ["b", "c", "a"]
    assert [each.key for each in order(line, {"a": -1})] == ["b", "c", "a"]


def test_the_rest_waits_and_is_told_where_it_is() -> None:
    found = admit([waits(str(n), age=9 - n) for n in range(5)], [works("w")], DayUse(), caps(runs=3), NOW)
    assert started(found) == ["0", "1"]
    assert {key: (position.number, position.of) for key, position in found.positions.items()} == {
        "2": (1, 3),
        "3": (2, 3),
        "4": (3, 3),
    }
    assert found.positions["2"].why == "this installation has 3 of 3 runs at work"


def test_a_full_repository_does_not_hold_up_the_others() -> None:
    line = [waits("a", age=3), waits("b", "Acme/Shop", age=2), waits("c", "acme/lib", age=1)]
    found = admit(line, [works("w", "ACME/shop")], DayUse(), Caps(), NOW)
    assert started(found) == ["a", "c"]
    assert found.positions["b"].why == "Acme/Shop has 2 of 2 runs at work"


def test_a_repository_has_limits_of_its_own() -> None:
    limits = Caps(repositories={"acme/shop": Limits(runs=None), "acme/lib": Limits(runs=0)})
    line = [waits(str(n)) for n in range(4)] + [waits("z", "acme/lib")]
    found = admit(line, [], DayUse(), limits, NOW)
    assert started(found) == ["0", "1", "2", "3"]
    assert "its limit is 0" in found.positions["z"].why


def test_a_source_has_limits_of_its_own() -> None:
    limits = dataclasses.replace(caps(runs=9), sources={"eng": Limits(runs=1)})
    line = [
        waits("a", source="eng", age=3),
        waits("b", source="eng", age=2),
        waits("c", source="web"),
        waits("d"),
    ]
    found = admit(line, [], DayUse(), limits, NOW)
    assert started(found) == ["a", "c", "d"]
    assert found.positions["b"].why == "source eng has 1 of 1 runs at work"


def test_runs_of_a_day() -> None:
    found = admit([waits("a"), waits("b")], [], DayUse(all=Use(runs=3)), caps(runs_per_day=4), NOW)
    assert started(found) == ["a"]
    assert found.positions["b"].until == datetime(2026, 1, 6, tzinfo=UTC)
    assert "4 runs of today" in found.positions["b"].why


def test_money_of_a_day_is_reserved_by_those_that_start() -> None:
    line = [waits("a", usd=20, age=3), waits("b", usd=20, age=2), waits("c", usd=5, age=1)]
    found = admit(line, [], DayUse(all=Use(usd=70.0)), caps(usd_per_day=100), NOW)
    assert started(found) == ["a", "c"]
    assert found.positions["b"].why == (
        "this installation has 90.00 of its 100.00 USD of today (UTC) spent or reserved; this needs 20.00"
    )


def test_money_fits_to_the_cent() -> None:
    line = [waits(str(n), usd=0.1) for n in range(10)]
    found = admit(line, [], DayUse(), caps(usd_per_day=1.0), NOW)
    assert len(found.starts) == 10


def test_a_budget_over_the_day_waits_for_a_person() -> None:
    found = admit([waits("a", usd=30)], [], DayUse(), caps(usd_per_day=20), NOW)
    assert found.positions["a"].until is None
    assert "lower the one or raise the other" in found.positions["a"].why


def test_a_pause_is_told_before_all_else() -> None:
    limits = dataclasses.replace(caps(runs=0), repositories={"acme/shop": Limits(paused=True)})
    found = admit([waits("a")], [], DayUse(), limits, NOW)
    assert found.positions["a"].until is None
    limits = dataclasses.replace(limits, all=Limits(runs=1))
    assert admit([waits("a")], [], DayUse(), limits, NOW).positions["a"].why == "acme/shop is paused"


def test_off_peak_times_of_repository_and_source() -> None:
    windows = ("Mon-Fri 08:00-14:00 America/New_York",)  # 13:00 to 19:00 UTC
    limits = dataclasses.replace(
        caps(),
        repositories={"acme/shop": Limits(off_peak=windows)},
        sources={"eng": Limits(off_peak=windows)},
    )
    line = [waits("a"), waits("b", "acme/lib", source="eng"), waits("c", "acme/lib")]
    assert started(admit(line, [], DayUse(), limits, NOW)) == ["a", "b", "c"]
    later = admit(line, [], DayUse(), limits, NOW + timedelta(hours=2))
    assert started(later) == ["c"]
    assert later.positions["a"].until == datetime(2026, 1, 5, 19, 0, tzinfo=UTC)
    assert later.positions["a"].why == "acme/shop starts nothing before 2026-01-05 19:00 UTC"


def test_limits_tighten_each_other() -> None:
    one = Limits(runs=3, usd_per_day=5.0, off_peak=("Sat 00:00-12:00",))
    other = Limits(runs=4, runs_per_day=2, paused=True, off_peak=("Sun 00:00-12:00", "Sat 00:00-12:00"))
    assert one.tightened(other) == Limits(
        runs=3, runs_per_day=2, usd_per_day=5.0, paused=True, off_peak=("Sat 00:00-12:00", "Sun 00:00-12:00")
    )


def test_the_day_ends_at_midnight_utc() -> None:
    east = datetime.fromisoformat("2026-01-05T01:30:00+02:00")
    assert next_day(east) == datetime(2026, 1, 5, tzinfo=UTC)


LIMITS = st.builds(
    Limits,
    runs=st.none() | st.integers(0, 4),
    runs_per_day=st.none() | st.integers(0, 6),
    usd_per_day=st.none() | st.floats(0, 60),
    paused=st.sampled_from([False, False, False, True]),
    off_peak=st.sampled_from([(), (), ("Mon 11:00-13:00",), ("Tue 11:00-13:00",)]),
)
REPOSITORIES = st.sampled_from(["a/x", "a/y", "A/X", "b/z"])
SOURCES = st.sampled_from(["", "eng", "web"])
CAPS = st.builds(
    Caps,
    all=LIMITS,
    each_repository=LIMITS,
    repositories=st.dictionaries(st.sampled_from(["a/x", "b/z"]), LIMITS),
    sources=st.dictionaries(st.sampled_from(["eng", "web"]), LIMITS),
)
PLACES = st.lists(st.tuples(REPOSITORIES, SOURCES), max_size=5)
LINES = st.lists(
    st.tuples(REPOSITORIES, SOURCES, st.integers(-1, 1), st.integers(0, 30), st.floats(0, 40)), max_size=14
)


def _sums(everybody: list[Any]) -> dict[tuple[str, str], int]:
    sums: dict[tuple[str, str], int] = {}
    for each in everybody:
        scopes = [("all", ""), ("repository", each.repository.lower())]
        scopes += [("source", each.source)] if each.source else []
        for scope in scopes:
            sums[scope] = sums.get(scope, 0) + 1
    return sums


def _limits(caps: Caps, scope: tuple[str, str]) -> Limits:
    kind, name = scope
    if kind == "all":
        return caps.all
    return caps.of_repository(name) if kind == "repository" else caps.sources.get(name, Limits())


@given(LINES, PLACES, CAPS)
def test_no_cap_is_passed_nothing_is_lost_and_no_place_stays_empty(
    line: list[tuple[str, str, int, int, float]], taken: list[tuple[str, str]], limits: Caps
) -> None:
    waiting = [
        waits(str(n), repository, source=source, priority=priority, age=age, usd=usd)
        for n, (repository, source, priority, age, usd) in enumerate(line)
    ]
    places = [works(f"w{n}", repository, source) for n, (repository, source) in enumerate(taken)]
    found = admit(waiting, places, DayUse(), limits, NOW)
    starts = list(found.starts)
    # Nothing is lost, and the order is that of the line.
    assert sorted([each.key for each in starts] + list(found.positions)) == sorted(
        each.key for each in waiting
    )
    keys = [each.key for each in order(waiting)]
    assert [each.key for each in starts] == [key for key in keys if key in {s.key for s in starts}]
    left = [key for key in keys if key in found.positions]
    assert [found.positions[key].number for key in left] == list(range(1, len(left) + 1))
    assert all(found.positions[key].of == len(left) and found.positions[key].why for key in left)
    # No cap is passed by what starts now.
    before, after, new = _sums(places), _sums([*places, *starts]), _sums(starts)
    for scope in new:
        limit = _limits(limits, scope)
        assert not limit.paused
        assert limit.off_peak != ("Mon 11:00-13:00",)
        assert limit.runs is None or after[scope] <= limit.runs
        assert limit.runs_per_day is None or new[scope] <= limit.runs_per_day
        mine = [each for each in starts if scope in _sums([each])]
        assert limit.usd_per_day is None or sum(each.usd for each in mine) <= limit.usd_per_day + 1e-3
    assert before.keys() <= after.keys()
    # Whoever waits could not have started beside them.
    day = DayUse()
    for each in starts:
        day = day.plus(each.repository, each.source, runs=1, usd=each.usd)
    full = [*places, *(works(each.key, each.repository, each.source) for each in starts)]
    for each in waiting:
        if each.key in found.positions:
            assert not admit([each], full, day, limits, NOW).starts


@given(st.lists(st.tuples(REPOSITORIES, st.integers(0, 5)), min_size=1, max_size=25), st.integers(1, 3))
def test_nobody_of_equal_priority_is_overtaken_within_a_repository_and_all_get_their_turn(
    line: list[tuple[str, int]], most: int
) -> None:
    waiting = {str(n): waits(str(n), name, age=age) for n, (name, age) in enumerate(line)}
    limits = Caps(all=Limits(runs=2), each_repository=Limits(runs=most))
    began: list[Waiting] = []
    working: list[Place] = []
    for _ in range(len(line) + 1):
        found = admit(waiting.values(), working, DayUse(), limits, NOW)
        for each in found.starts:
            began.append(waiting.pop(each.key))
            working.append(works(each.key, each.repository))
        working = working[1:]
    assert not waiting
    for name in {each.repository.lower() for each in began}:
        mine = [each for each in began if each.repository.lower() == name]
        assert mine == order(mine)


def test_300_tickets_into_a_cap_of_10() -> None:
    """A simulated day: tickets come one a minute, runs take 20 to 70 minutes."""
    limits = Caps(all=Limits(runs=10), each_repository=Limits(runs=4))
    waiting: dict[str, Waiting] = {}
    working: dict[str, Place] = {}
    ends: list[tuple[datetime, str]] = []
    began: list[Waiting] = []
    longest = 0
    comes = [
        Waiting(
            key=f"{n:03}",
            repository=f"acme/r{n * 7 % 5}",
            since=NOW + timedelta(minutes=n),
            priority=100 if n % 50 == 49 else 0,
        )
        for n in range(300)
    ]
    now, left = NOW, list(comes)
    while left or waiting or working:
        moments = [left[0].since] if left else []
        moments += [ends[0][0]] if ends else []
        now = max(now, min(moments))
        while left and left[0].since <= now:
            ticket = left.pop(0)
            waiting[ticket.key] = ticket
        while ends and ends[0][0] <= now:
            del working[heapq.heappop(ends)[1]]
        line = order(waiting.values())
        found = admit(waiting.values(), working.values(), DayUse(), limits, now)
        for each in found.starts:
            began.append(waiting.pop(each.key))
            working[each.key] = Place(key=each.key, repository=each.repository, since=now)
            heapq.heappush(ends, (now + timedelta(minutes=20 + int(each.key) * 13 % 50), each.key))
        longest = max(longest, len(waiting))
        # Positions are those of the line, without those that started.
        remaining = [each.key for each in line if each.key in waiting]
        assert [found.positions[key].number for key in remaining] == list(range(1, len(remaining) + 1))
        assert len(working) <= 10
        of_repositories = [place.repository for place in working.values()]
        assert all(of_repositories.count(name) <= 4 for name in of_repositories)
        if waiting and len(working) < 10:
            assert all(of_repositories.count(each.repository) == 4 for each in waiting.values())
    assert sorted(each.key for each in began) == [each.key for each in comes]
    assert longest > 50
    for name in {each.repository for each in began}:
        equals = [each.key for each in began if each.repository == name and not each.priority]
        assert equals == sorted(equals)
    urgent = [began.index(each) for each in began if each.priority]
    assert max(urgent) - 250 < 50
