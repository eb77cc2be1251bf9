"""One look of a ticket sync: who starts, who waits and is told so, who is refused; and what a crash leaves."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from ticket_world import START, World, comment

from airflow_provider_agents.domain.authority_rules import AuthorityRules, Who
from airflow_provider_agents.domain.capacity_ledger import Entry, Ledger
from airflow_provider_agents.domain.sync_state import SyncState
from airflow_provider_agents.domain.tickets import Ask
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.operators import ticket_look

if TYPE_CHECKING:
    from ticket_world import Source


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def state(world: World, name: str = "shop") -> SyncState:
    return SyncState.from_text(world.variables[f"agents_tickets__{name}"])


def again(source: Source, id_: str, key: str = "again", by: str = "mona") -> None:
    """Let somebody ask once more."""
    before = source.tickets[id_]
    latest = max(ask.at for ask in before.asks)
    ask = Ask(key=key, kind="command", by=by, at=latest + timedelta(minutes=1))
    source.change(id_, asks=(*before.asks, ask))


def test_a_ticket_is_claimed_and_its_run_gets_what_it_needs(world: World) -> None:
    source = world.source(task={"max_rounds": 2})
    id_ = source.add(7, priority=5)
    (run_id,) = world.look()
    assert world.arguments == [
        {
            "trigger_run_id": run_id,
            "conf": {
                "max_rounds": 2,
                "repository": "acme/shop",
                "ticket_source": "shop",
                "ticket_id": "I_7",
                "ticket_key": "acme/shop#7",
                "ticket_digest": source.tickets[id_].digest,
                "ticket_asks": ["LE_7"],
                "priority": 5,
            },
        }
    ]
    claim = source.tickets[id_].claim
    assert claim is not None
    assert [(run.run_id, run.state, run.asks) for run in claim.runs] == [(run_id, "claimed", ("LE_7",))]
    assert run_id in source.statuses[id_]


def test_the_second_look_starts_nothing_and_confirms_the_first(world: World) -> None:
    source = world.source()
    id_ = source.add(7)
    world.look()
    assert world.look() == []
    claim = source.tickets[id_].claim
    assert claim is not None
    assert claim.runs[0].state == "started"
    writes = len(source.writes)
    reads = len(source.reads)
    for _ in range(5):
        assert world.look() == []
    # Our own edit is one more change to read; then there is silence.
    assert len(source.writes) == writes
    assert len(source.reads) <= reads + 1
    assert source.fetches[0] is None
    assert all(source.fetches[1:])


def test_a_crash_between_claim_and_trigger_is_made_good_with_the_same_run(world: World) -> None:
    source = world.source()
    source.add(7)
    (first,) = world.look(start=False)
    (second,) = world.look()
    assert second == first
    assert world.look() == []


def test_a_cleaned_airflow_starts_nothing_again(world: World) -> None:
    source = world.source()
    source.add(7)
    world.look()
    world.look()
    world.runs.clear()
    world.variables.clear()
    assert world.look() == []
    assert world.look() == []


def test_asking_again_starts_another_run_once_the_first_has_ended(world: World) -> None:
    source = world.source()
    id_ = source.add(7)
    (first,) = world.look()
    again(source, id_)
    assert world.look() == []
    assert "end of the run" in state(world).tickets[id_].why
    world.end_runs()
    (second,) = world.look()
    assert second != first
    world.end_runs()
    assert world.look() == []


def test_a_stranger_is_told_once_and_starts_nothing(world: World) -> None:
    source = world.source()
    id_ = source.add(7, by="eve")
    for _ in range(4):
        assert world.look() == []
    assert source.writes == [id_]
    assert "eve" in source.statuses[id_]
    assert "may not start" in source.statuses[id_]


def test_the_rules_of_the_repository_count_where_the_source_has_none(world: World) -> None:
    source = world.source()
    source.add(1)
    world.rules = AuthorityRules(start=Who(users=("somebody-else",)))
    assert world.look() == []
    source = world.source("own", authority={"start": {"users": ["mona"]}})
    source.add(2)
    assert len(world.look("own")) == 1


def test_over_the_cap_they_wait_in_line_are_told_their_place_and_none_is_lost(world: World) -> None:
    source = world.source()
    ids = [source.add(number) for number in range(1, 7)]
    started = world.look()
    assert len(started) == 2
    assert "waiting" in source.statuses[ids[2]]
    assert "Place 1 in the line" in source.statuses[ids[2]]
    assert "Place 4 in the line" in source.statuses[ids[5]]
    assert [each["ticket"] for each in world.pushed["line"]] == [f"acme/shop#{n}" for n in (3, 4, 5, 6)]
    writes = len(source.writes)
    assert world.look() == []
    told_again = [each for each in source.writes[writes:] if each in ids[2:]]
    assert told_again == []
    world.end_runs()
    assert len(world.look()) == 2
    world.end_runs()
    assert len(world.look()) == 2
    assert len(world.runs) == 6


def test_priority_goes_first_then_age(world: World) -> None:
    source = world.source()
    source.add(1)
    source.add(2)
    source.add(3, priority=9)
    world.look()
    assert sorted(each["conf"]["ticket_id"] for each in world.arguments) == ["I_1", "I_3"]


def test_runs_of_others_take_the_places_too(world: World) -> None:
    source = world.source()
    source.add(1)
    world.options["max_runs"] = "1"
    entry = Entry(
        dag_id="coding_task",
        run_id="manual",
        repository="acme/other",
        since=START,
        phase="working",
        admitted_at=START,
    )
    world.ledger = Ledger().with_entry(entry)
    assert world.look() == []
    world.ledger = Ledger()
    assert len(world.look()) == 1


def test_what_another_source_just_started_takes_a_place_before_the_books_know_it(world: World) -> None:
    shop, api = world.source("shop"), world.source("api", repositories=["acme/api"])
    world.options["max_runs"] = "1"
    shop.add(1)
    api.add(1, repository="acme/api", id="I_9")
    assert len(world.look("shop")) == 1
    assert world.look("api") == []
    world.end_runs()
    assert len(world.look("api")) == 1


def test_a_more_urgent_ticket_of_another_source_goes_first_while_that_source_is_alive(world: World) -> None:
    shop, api = world.source("shop"), world.source("api", repositories=["acme/api"])
    world.options["max_runs"] = "0"
    api.add(1, repository="acme/api", id="I_9", priority=9)
    world.look("api")
    shop.add(1)
    world.options["max_runs"] = "1"
    assert world.look("shop") == []
    world.now += timedelta(hours=1)
    assert len(world.look("shop")) == 1


def test_two_definitions_of_one_ticket_start_one_run(world: World) -> None:
    shop = world.source("shop")
    world.source("same", every=61)
    world.sources["same"] = shop
    shop.add(1)
    first = world.look("shop", start=False)
    assert world.look("same") == first
    assert world.look("shop") == []


def test_the_label_taken_off_a_waiting_ticket_takes_it_out_of_the_line(world: World) -> None:
    source = world.source()
    world.options["max_runs"] = "0"
    id_ = source.add(1)
    world.look()
    source.change(id_, entry={"actionable": False, "labels": ()})
    world.options["max_runs"] = "5"
    assert world.look() == []
    assert state(world).tickets == {}


def test_a_ticket_without_a_repository_waits_and_says_why(world: World) -> None:
    source = world.source()
    id_ = source.add(1, repository="")
    assert world.look() == []
    assert world.look() == []
    assert "works_in" in source.statuses[id_]
    assert source.writes.count(id_) == 1


def test_a_locked_ticket_is_not_started_and_takes_no_other_along(world: World) -> None:
    source = world.source()
    locked, other = source.add(1), source.add(2)
    source.refuses[locked] = ForgeAccessError("the conversation is locked")
    assert [each["conf"]["ticket_id"] for each in (world.look(), world.arguments)[1]] == [other]
    assert state(world).tickets[locked].why == "the conversation is locked"
    del source.refuses[locked]
    assert len(world.look()) == 1


def test_five_failures_in_a_row_back_off_and_one_success_ends_it(world: World) -> None:
    source = world.source()
    source.add(1)
    source.fault = ForgeUnavailableError("GitHub is away")
    for _ in range(4):
        with pytest.raises(ForgeUnavailableError):
            world.look()
    # Red, and not tried again: the retry would be skipped, which is green.
    with pytest.raises(AirflowFailException, match="GitHub is away"):
        world.look()
    with pytest.raises(
        AirflowSkipException, match="5 looks in a row failed, the last one with: GitHub is away"
    ):
        world.look()
    assert state(world).failures == 5
    source.fault = None
    world.now += timedelta(minutes=10)
    assert len(world.look()) == 1
    assert state(world).failures == 0


def test_a_rate_limit_is_waited_for(world: World) -> None:
    source = world.source()
    source.fault = ForgeRateLimitedError("limit", world.now + timedelta(minutes=30))
    with pytest.raises(AirflowFailException, match="limit"):
        world.look()
    with pytest.raises(AirflowSkipException):
        world.look()


def test_a_source_that_is_off_says_so(world: World) -> None:
    world.source(enabled=False)
    with pytest.raises(AirflowSkipException, match="enabled: false"):
        world.look()


def test_a_damaged_memory_costs_a_full_listing_and_nothing_else(world: World) -> None:
    source = world.source()
    source.add(1)
    world.look()
    world.look()
    world.variables["agents_tickets__shop"] = "{"
    assert world.look() == []
    assert source.fetches[-1] is None


def test_of_thousands_only_those_whose_turn_it_is_are_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = world.source()
    for number in range(1, 3_001):
        source.add(number)
    assert len(world.look()) == 2
    assert len(source.reads) == ticket_look.MOST_CHANGED
    assert len(state(world).tickets) == 3_000
    standings = [ticket.standing for ticket in state(world).tickets.values()]
    assert (standings.count("waiting"), standings.count("recheck")) == (98, 2)
    source.reads.clear()
    world.look()
    # The two that started, those that were told of their place, and some more of the unread.
    assert len(set(source.reads)) <= 2 + ticket_look.MOST_WORDS + ticket_look.MOST_UNREAD


def test_those_at_the_head_that_turn_out_not_to_start_make_room_for_the_next(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_look, "MOST_CHANGED", 1)
    source = world.source()
    source.people["mallory"] = source.people["eve"]
    for number in (1, 2, 3):
        source.add(number, by="eve")
    last = source.add(4)
    assert len(world.look()) == 1
    assert world.arguments[0]["conf"]["ticket_id"] == last


def test_three_hundred_tickets_into_ten_places_keep_their_order_and_none_is_lost(world: World) -> None:
    source = world.source()
    world.options |= {"max_runs": "10", "max_runs_per_repository": "10"}
    for number in range(1, 301):
        source.add(number)
    order: list[Any] = []
    for _ in range(100):
        world.look()
        order += [each["conf"]["ticket_id"] for each in world.arguments]
        assert sum(facts.active for facts in world.runs.values()) <= 10
        world.end_runs()
        if len(order) == 300:
            break
    assert order == [f"I_{number}" for number in range(1, 301)]


def test_a_run_that_is_never_triggered_is_not_forgotten_however_often_that_fails(world: World) -> None:
    source = world.source()
    source.add(1)
    run_ids = [world.look(start=False) for _ in range(6)]
    assert len(run_ids[0]) == 1
    assert run_ids == [run_ids[0]] * 6
    assert source.writes == ["I_1"]
    assert world.look() == run_ids[0]
    assert world.look() == []
    assert state(world).tickets == {}


def test_one_that_cannot_be_claimed_does_not_keep_its_place_empty(world: World) -> None:
    world.options["max_runs"] = "1"
    source = world.source()
    for number in (1, 2, 3):
        source.add(number)
        source.refuses[f"I_{number}"] = ForgeAccessError("the conversation is locked")
    source.add(4)
    world.look()
    assert [each["conf"]["ticket_id"] for each in world.arguments] == ["I_4"]
    world.end_runs()
    source.add(5)
    world.look()
    assert [each["conf"]["ticket_id"] for each in world.arguments] == ["I_5"]


def test_places_that_this_look_gave_out_are_not_given_twice(world: World) -> None:
    world.options |= {"max_runs": "2", "max_runs_per_repository": "5"}
    source = world.source()
    source.add(1)
    source.refuses[source.add(2)] = ForgeAccessError("the conversation is locked")
    for number in (3, 4, 5):
        source.add(number)
    world.look()
    assert [each["conf"]["ticket_id"] for each in world.arguments] == ["I_1", "I_3"]


def test_while_airflow_cannot_run_them_nothing_is_claimed(world: World) -> None:
    world.hindrance = "DAG coding_task is paused"
    source = world.source()
    source.add(1)
    assert world.look() == []
    assert source.writes == []
    world.hindrance = ""
    assert len(world.look()) == 1


def test_a_place_in_the_line_is_told_again_after_a_while_and_not_at_each_look(world: World) -> None:
    world.options["max_runs"] = "1"
    source = world.source()
    for number in range(1, 6):
        source.add(number)
    world.look()
    assert "Place 4 in the line" in source.statuses["I_5"]
    source.writes.clear()
    for _ in range(3):
        world.end_runs()
        world.look()
    assert source.writes.count("I_5") == 0
    world.now += ticket_look.RETOLD_AFTER
    world.look()
    world.look()
    assert source.writes.count("I_5") == 1
    assert "Place 1 in the line" in source.statuses["I_5"]


def test_old_answered_tickets_that_the_daily_listing_brings_back_hold_up_no_new_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ticket_look, "MOST_CHANGED", 3)
    monkeypatch.setattr(ticket_look, "MOST_UNREAD", 3)
    world.options |= {"max_runs": "1", "max_runs_per_repository": "1"}
    source = world.source()
    source.people["mallory"] = source.people["eve"]
    for number in range(1, 41):
        source.add(number, by="eve")
    for _ in range(20):
        world.look()
    assert state(world).tickets == {}
    world.now += timedelta(hours=25)
    new = source.add(60, created_at=world.now, updated_at=world.now)
    world.look()
    assert source.fetches[-1] is None
    assert [each["conf"]["ticket_id"] for each in world.arguments] == [new]
    for _ in range(14):
        world.look()
    assert state(world).tickets == {}


def test_a_crowd_is_asked_about_in_portions(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ticket_look, "MOST_PEOPLE", 2)
    source = world.source()
    source.people |= {f"p{number}": source.people["eve"] for number in range(1, 6)}
    for number in range(1, 6):
        source.add(number, by=f"p{number}")
    for _ in range(4):
        assert world.look() == []
    assert sorted(set(source.writes)) == [f"I_{number}" for number in range(1, 6)]
    assert state(world).tickets == {}


def test_a_dependency_that_only_the_text_names_holds_until_that_ticket_is_done(world: World) -> None:
    source = world.source()
    id_ = source.add(1)
    other = source.add(9, actionable=False)
    source.change(id_, body="depends on #9")
    assert world.look() == []
    assert "It depends on acme/shop#9" in source.statuses[id_]
    source.change(other, state="done")
    assert len(world.look()) == 1


def test_what_somebody_with_authority_says_in_a_comment_holds_too(world: World) -> None:
    source = world.source()
    source.add(9, actionable=False)
    said, unheard = source.add(1), source.add(2)
    source.change(said, comments=(comment("c1", "mona", "blocked by #9", 5),))
    source.change(unheard, comments=(comment("c2", "eve", "blocked by #9", 5),))
    world.look()
    assert [each["conf"]["ticket_id"] for each in world.arguments] == [unheard]


def test_what_was_claimed_is_started_though_the_rest_of_the_look_fails(world: World) -> None:
    world.options["max_runs"] = "1"
    source = world.source()
    source.add(1)
    second = source.add(2)
    source.refuses[second] = ForgeRateLimitedError("limit", world.now + timedelta(minutes=30))
    assert len(world.look()) == 1
    del source.refuses[second]
    world.end_runs()
    world.look()
    assert [each["conf"]["ticket_id"] for each in world.arguments] == [second]


def test_a_run_that_somebody_ended_is_spoken_for_once(world: World) -> None:
    source = world.source()
    id_ = source.add(1)
    world.look()
    world.look()
    assert "takes it on" in source.statuses[id_]
    world.now += timedelta(minutes=20)
    world.end_runs()
    world.look()
    assert "has ended" in source.statuses[id_]
    assert source.writes[-1] == f"{id_} to stopped"
    claim = source.tickets[id_].claim
    assert claim is not None
    assert claim.runs[-1].state == "ended"
    writes = list(source.writes)
    for _ in range(3):
        world.look()
    assert source.writes == writes
    assert state(world).running == ()


def test_what_a_run_told_of_its_end_is_left_alone(world: World) -> None:
    source = world.source()
    id_ = source.add(1)
    (run_id,) = world.look()
    world.look()
    claim = source.tickets[id_].claim
    assert claim is not None
    source.change(id_, claim=claim.with_state(run_id, "ended"))
    source.statuses[id_] = "Merged."
    world.now += timedelta(minutes=20)
    world.end_runs()
    world.look()
    assert source.statuses[id_] == "Merged."
    assert state(world).running == ()


def test_the_end_of_a_run_does_not_hide_the_next_one(world: World) -> None:
    source = world.source()
    id_ = source.add(1)
    world.look()
    world.look()
    world.now += timedelta(minutes=20)
    world.end_runs()
    again(source, id_)
    assert len(world.look()) == 1
    assert "takes it on" in source.statuses[id_]


def test_a_ticket_that_is_gone_is_not_told_for_ever(world: World) -> None:
    source = world.source()
    id_ = source.add(1)
    world.look()
    world.look()
    world.now += timedelta(minutes=20)
    world.end_runs()

    async def read(ids: Any) -> Any:
        return dict.fromkeys(ids, ForgeAccessError("there is no such issue"))

    source.read = read  # type: ignore[method-assign]
    world.look()
    assert id_ not in {run.ticket for run in state(world).running}
