"""What a sync remembers: a cache that forgets nothing it still needs, and backs off."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.sync_state import (
    LONGEST_BACKOFF,
    KnownTicket,
    Running,
    SyncState,
    in_line,
    to_recheck,
)
from airflow_provider_agents.domain.tickets import TicketEntry

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def entry(name: str, *, minutes: int = 0, updated: int = 0, **more: Any) -> TicketEntry:
    values: dict[str, Any] = {
        "id": name,
        "key": f"acme/shop#{name}",
        "title": name,
        "url": "",
        "created_at": NOW + timedelta(minutes=minutes),
        "updated_at": NOW + timedelta(minutes=updated),
        "actionable": True,
        "repository": "acme/shop",
    }
    return TicketEntry(**values | more)


def listed(
    state: SyncState, *entries: TicketEntry, complete: bool = False
) -> tuple[SyncState, tuple[str, ...]]:
    return state.with_listing(entries, {"at": 1}, everything=complete, complete=complete, now=NOW)


def test_new_and_changed_tickets_are_named_in_the_lines_order() -> None:
    state, changed = listed(
        SyncState(),
        entry("late", minutes=2),
        entry("early", minutes=1),
        entry("urgent", minutes=3, priority=9),
    )
    assert changed == ("urgent", "early", "late")
    assert [ticket.id for ticket in in_line(state.tickets.values())] == ["urgent", "early", "late"]
    again, changed = listed(state, entry("early", minutes=1), entry("late", minutes=2, updated=5))
    assert changed == ("late",)
    assert set(again.tickets) == {"urgent", "early", "late"}


def test_what_is_not_actionable_any_more_is_forgotten_and_what_a_full_listing_lacks_is_read_again() -> None:
    state, _ = listed(SyncState(), entry("a"), entry("b"), entry("c"))
    state, changed = listed(state, entry("a", updated=1, actionable=False))
    assert (set(state.tickets), changed) == ({"b", "c"}, ())
    state, _ = listed(state, entry("c"), complete=True)
    assert {id_: ticket.standing for id_, ticket in state.tickets.items()} == {"b": "recheck", "c": "unread"}
    assert state.listed_at == NOW


def test_a_full_listing_with_a_broken_repository_is_not_repeated_each_time() -> None:
    state, _ = SyncState().with_listing([entry("a")], {"at": 1}, everything=True, complete=False, now=NOW)
    assert not state.is_due_for_all(NOW + timedelta(minutes=1))


def test_a_changed_ticket_keeps_its_place_and_what_it_was_told() -> None:
    state, _ = listed(SyncState(), entry("a"))
    known = dataclasses.replace(
        state.tickets["a"], since=NOW - timedelta(hours=1), told="Place 3", standing="waiting"
    )
    state, changed = listed(state.with_ticket(known), entry("a", updated=9))
    assert changed == ("a",)
    assert state.tickets["a"].since == NOW - timedelta(hours=1)
    assert (state.tickets["a"].told, state.tickets["a"].standing) == ("Place 3", "waiting")
    assert state.without(["a", "unknown"]).tickets == {}


tickets = st.builds(
    KnownTicket,
    id=st.text(min_size=1, max_size=8),
    key=st.text(max_size=20),
    repository=st.just("acme/shop"),
    priority=st.integers(-1000, 1000),
    since=st.datetimes(timezones=st.just(UTC)),
    updated_at=st.datetimes(timezones=st.just(UTC)),
    standing=st.sampled_from(["unread", "waiting", "recheck"]),
    why=st.text(max_size=20),
    told=st.text(max_size=20),
    looked_at=st.none() | st.datetimes(timezones=st.just(UTC)),
)


@given(st.lists(tickets, max_size=10), st.none() | st.just({"acme/shop": "2026"}), st.integers(0, 9))
def test_it_reads_back_as_it_was_written(found: list[KnownTicket], cursor: Any, failures: int) -> None:
    state = SyncState(
        cursor=cursor,
        running=(Running(ticket="I_1", run_id="r"),),
        tickets={ticket.id: ticket for ticket in found},
        listed_at=NOW,
        failures=failures,
        fault="x",
    )
    assert SyncState.from_text(state.to_text()) == state


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "{",
        "[]",
        "null",
        '{"version": 0}',
        '{"version":1}',
        SyncState().to_text().replace("[]", '[["x"]]'),
    ],
)
def test_what_it_cannot_read_is_an_empty_state(text: str | None) -> None:
    assert SyncState.from_text(text) == SyncState()


def test_the_fifth_failure_in_a_row_backs_off_longer_and_longer_up_to_an_hour() -> None:
    state, pauses = SyncState(), []
    for _ in range(14):
        state = state.with_failure("GitHub is away", NOW, every=60)
        pauses.append((state.retry_at - NOW).total_seconds() if state.retry_at else 0)
    assert pauses[:8] == [0, 0, 0, 0, 120, 240, 480, 960]
    assert pauses[-1] == LONGEST_BACKOFF.total_seconds()
    state, _ = listed(state)
    assert (state.failures, state.fault, state.retry_at) == (0, "", None)


def test_a_rate_limit_is_waited_for_from_the_first_failure_on() -> None:
    until = NOW + timedelta(minutes=17)
    assert SyncState().with_failure("limit", NOW, every=60, retry_at=until).retry_at == until


def test_everything_is_listed_at_first_and_once_a_day() -> None:
    state, _ = listed(SyncState(), complete=True)
    assert SyncState().is_due_for_all(NOW)
    assert not state.is_due_for_all(NOW + timedelta(hours=23))
    assert state.is_due_for_all(NOW + timedelta(hours=24))


def test_those_looked_at_longest_ago_are_looked_at_first() -> None:
    made = [
        KnownTicket(
            id=name,
            key=name,
            repository="",
            priority=0,
            since=NOW,
            updated_at=NOW,
            standing=standing,
            looked_at=at,
        )
        for name, standing, at in (
            ("new", "recheck", NOW),
            ("old", "recheck", NOW - timedelta(hours=1)),
            ("never", "recheck", None),
            ("room", "waiting", None),
        )
    ]  # type: ignore[misc]
    assert to_recheck(made, 2) == ["never", "old"]
