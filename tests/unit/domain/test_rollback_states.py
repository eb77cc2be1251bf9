"""The state machine of a rollback: its table, its ends, and that nothing is merged unless all invariants hold."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.pr_rule import Health
from airflow_provider_agents.domain.rollback import (
    ENDS,
    TRANSITIONS,
    Event,
    Rollback,
    State,
    Transition,
    step,
)
from airflow_provider_agents.domain.rollback_definition import Timings
from airflow_provider_agents.domain.rollback_facts import Candidate, Facts, PullFacts
from airflow_provider_agents.domain.rollback_invariants import INVARIANTS, broken

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
TIMINGS = Timings()
GOOD = Candidate(revision="a" * 40, proven=True, evidence="its checks passed", commits=1)
PULL = PullFacts(
    url="https://github.test/acme/shop/pull/7",
    state="OPEN",
    ours=True,
    fresh=True,
    checks="passed",
    mergeable="MERGEABLE",
    verdict="merge",
    message="It passed everything.",
)
FACTS = Facts(
    environment_allowed=True,
    health="Degraded",
    readings=3,
    same_deployment=True,
    short=True,
    candidate=GOOD,
    other="",
    pull=PULL,
)
DOCS = Path(__file__).resolve().parents[3] / "docs" / "rollback.md"


def rollback(state: State, *, age: float = 0, **values: Any) -> Rollback:
    facts: dict[str, Any] = {
        "name": "shop",
        "application": "shop-staging",
        "repository": "acme/shop",
        "revision": "b" * 40,
        "state": state,
        "entered_at": NOW - timedelta(seconds=age),
        "degraded_since": NOW - timedelta(seconds=40),
    }
    return Rollback(**facts | values)


def facts(**values: Any) -> Facts:
    pull = {key.removeprefix("pull_"): values.pop(key) for key in list(values) if key.startswith("pull_")}
    if pull:
        values["pull"] = dataclasses.replace(PULL, **pull)
    return dataclasses.replace(FACTS, **values)


def after(
    state: State, *, age: float = 0, episode: dict[str, Any] | None = None, **values: Any
) -> Transition:
    return step(rollback(state, age=age, **(episode or {})), facts(**values), TIMINGS, NOW)


EACH: list[tuple[State, Event, dict[str, Any]]] = [
    ("idle", "degraded", {}),
    ("idle", "not_allowed", {"environment_allowed": False}),
    ("degradation_detected", "candidate_found", {}),
    ("degradation_detected", "resolved", {"health": "Healthy"}),
    ("degradation_detected", "no_candidate", {"fault": "None is good."}),
    ("degradation_detected", "candidate_timeout", {"candidate": None, "age": 120}),
    ("candidate_resolved", "opened", {}),
    ("candidate_resolved", "resolved", {"same_deployment": False}),
    ("candidate_resolved", "not_opened", {"pull": None, "other": "https://github.test/acme/shop/pull/1"}),
    ("pr_created", "checks_passed", {}),
    ("pr_created", "checks_failed", {"pull_checks": "failed"}),
    ("pr_created", "checks_timeout", {"pull_checks": "pending", "age": 300}),
    ("pr_created", "changed", {"pull_ours": False}),
    ("pr_created", "resolved", {"health": "Healthy"}),
    ("pr_created", "merged", {"pull_state": "MERGED"}),
    ("awaiting_merge_approval", "merged", {"pull_state": "MERGED"}),
    ("awaiting_merge_approval", "withdrawn", {"pull_state": "CLOSED"}),
    ("awaiting_merge_approval", "approval_timeout", {"age": 3600}),
    ("awaiting_merge_approval", "resolved", {"health": "Healthy"}),
    ("rollback_merged", "restored", {"health": "Healthy", "same_deployment": False}),
    ("rollback_merged", "not_restored", {"same_deployment": False, "age": 600}),
]


def test_there_are_21_transitions_and_each_is_tried() -> None:
    assert len(TRANSITIONS) == 21
    assert {(state, event) for state, event, _ in EACH} == set(TRANSITIONS)
    assert {state for state, _ in TRANSITIONS} | {to for to, _ in TRANSITIONS.values()} == set(
        get_args(State)
    )


@pytest.mark.parametrize(("state", "event", "values"), EACH, ids=lambda v: v if isinstance(v, str) else "")
def test_each_transition(state: State, event: Event, values: dict[str, Any]) -> None:
    found = after(state, **values)
    assert (found.event, (found.state, found.act)) == (event, TRANSITIONS[state, event])
    assert found.message


def test_the_docs_have_the_same_table() -> None:
    rows = re.findall(r"^\| \d+ \| `(\w+)` \| `(\w+)` \| `(\w+)` \|", DOCS.read_text(), re.MULTILINE)
    assert rows == [(state, event, to) for (state, event), (to, _) in TRANSITIONS.items()]
    for name in INVARIANTS:
        assert f"| {name} |" in DOCS.read_text()


@pytest.mark.parametrize(
    ("state", "values"),
    [
        ("idle", {"readings": 2}),
        ("idle", {"health": "Progressing"}),
        ("idle", {"short": None}),
        ("degradation_detected", {"candidate": None}),
        ("degradation_detected", {"candidate": dataclasses.replace(GOOD, proven=False)}),
        ("candidate_resolved", {"pull": None}),
        ("pr_created", {"pull_checks": "pending"}),
        ("pr_created", {"pull": None}),
        ("pr_created", {"health": "Unknown", "pull_checks": "pending"}),
        ("awaiting_merge_approval", {"pull": None}),
        ("rollback_merged", {"health": "Healthy"}),
        ("rollback_merged", {"health": "Unknown", "same_deployment": False}),
    ],
)
def test_what_is_not_known_is_waited_for(state: State, values: dict[str, Any]) -> None:
    assert (after(state, **values).state, after(state, **values).event) == (state, "")


BREAKS: dict[str, dict[str, Any]] = {
    "I1": {"environment_allowed": False},
    "I2": {"health": "Progressing"},
    "I3": {"short": False},
    "I4": {"readings": 2},
    "I5": {"candidate": dataclasses.replace(GOOD, proven=False)},
    "I6": {"pull_checks": "pending"},
    "I7": {"other": None},
    "I8": {"pull_mergeable": "CONFLICTING"},
}


@pytest.mark.parametrize("name", sorted(BREAKS))
def test_each_invariant_alone_keeps_it_from_being_merged(name: str) -> None:
    assert after("awaiting_merge_approval").act == "merge"
    values = BREAKS[name]
    assert [one[:2] for one in broken(facts(**values), TIMINGS)] == [name]
    found = after("awaiting_merge_approval", **values)
    assert found.act not in ("merge", "enqueue")


@pytest.mark.parametrize(
    "values",
    [
        {"short": None},
        {"other": "https://x"},
        {"pull_fresh": False},
        {"pull_verdict": "wait"},
        {"pull": None},
    ],
)
def test_what_is_not_known_breaks_an_invariant(values: dict[str, Any]) -> None:
    assert broken(facts(**values), TIMINGS)


def test_a_person_has_to_say_yes_to_this_head() -> None:
    assert after("awaiting_merge_approval", approval_needed=True).act == "ask_person"
    assert after("awaiting_merge_approval", approval_needed=True, approved=True).act == "merge"
    declined = after("awaiting_merge_approval", episode={"declined_by": "mona"})
    assert (declined.state, declined.message) == ("abort", "mona said no.")


def test_with_a_merge_queue_it_is_queued() -> None:
    assert after("awaiting_merge_approval", pull_verdict="enqueue").act == "enqueue"


def test_what_is_queued_stays_there_while_all_invariants_hold() -> None:
    queued = {"pull_queued": True, "pull_verdict": "wait"}
    assert after("awaiting_merge_approval", **queued).act == ""
    for name in ("I2", "I3", "I4", "I5", "I7"):
        found = after("awaiting_merge_approval", **queued, **BREAKS[name])
        assert (found.act, found.state) == ("dequeue", "awaiting_merge_approval")
        assert name in found.message
    withdrawn = after("awaiting_merge_approval", pull_queued=True, pull_verdict="withdraw")
    assert withdrawn.act == "dequeue"


PULLS = st.none() | st.builds(
    PullFacts,
    url=st.just(PULL.url),
    state=st.sampled_from(["OPEN", "CLOSED", "MERGED"]),
    ours=st.booleans(),
    fresh=st.booleans(),
    checks=st.sampled_from(["pending", "passed", "failed"]),
    mergeable=st.sampled_from(["MERGEABLE", "CONFLICTING", "UNKNOWN"]),
    verdict=st.sampled_from(["merge", "enqueue", "wait", "stop", "fix", "escalate"]),
    message=st.just("So it is."),
    queued=st.booleans(),
)
ANY = st.builds(
    Facts,
    environment_allowed=st.booleans(),
    health=st.sampled_from(get_args(Health)),
    readings=st.integers(0, 5),
    same_deployment=st.booleans(),
    short=st.sampled_from([True, False, None]),
    candidate=st.none() | st.builds(dataclasses.replace, st.just(GOOD), proven=st.booleans()),
    fault=st.sampled_from(["", "It cannot be done."]),
    unread=st.sampled_from(["", "GitHub is away."]),
    other=st.sampled_from(["", "https://github.test/acme/shop/pull/1", None]),
    pull=PULLS,
    approval_needed=st.booleans(),
    approved=st.booleans(),
)
LIKELY = st.builds(
    dataclasses.replace,
    st.just(FACTS),
    health=st.sampled_from(["Degraded", "Degraded", "Degraded", "Progressing", "Unknown"]),
    readings=st.sampled_from([2, 3, 4]),
    short=st.sampled_from([True, True, False]),
    other=st.sampled_from(["", "", None]),
    pull=PULLS,
    approval_needed=st.booleans(),
    approved=st.booleans(),
)


@given(st.sampled_from(get_args(State)), ANY | LIKELY, st.floats(0, 4000))
def test_nothing_is_merged_unless_all_invariants_hold(state: State, drawn: Facts, age: float) -> None:
    found = step(rollback(state, age=age), drawn, TIMINGS, NOW)
    if found.act not in ("merge", "enqueue"):
        return
    assert state == "awaiting_merge_approval"
    assert drawn.environment_allowed
    assert (drawn.health, drawn.same_deployment, drawn.short) == ("Degraded", True, True)
    assert drawn.readings >= 3
    assert drawn.candidate is not None
    assert drawn.candidate.proven
    assert drawn.other == ""
    pull = drawn.pull
    assert pull is not None
    assert (pull.state, pull.ours, pull.fresh) == ("OPEN", True, True)
    assert (pull.checks, pull.mergeable) == ("passed", "MERGEABLE")
    assert drawn.approved or not drawn.approval_needed


@given(st.lists(st.tuples(ANY | LIKELY, st.floats(1, 200)), min_size=60, max_size=60))
def test_every_way_ends_and_a_person_is_told_where_it_was_for_nothing(
    looks: list[tuple[Facts, float]],
) -> None:
    episode, now = rollback("degradation_detected"), NOW
    before = episode.state
    for drawn, seconds in looks:
        found = step(episode, drawn, TIMINGS, now)
        before, episode = episode.state, episode.after(found, now)
        if found.event:
            assert TRANSITIONS[before, found.event] == (found.state, found.act)
        if episode.ended:
            break
        now += timedelta(seconds=seconds + 120)
        # What is decided does not depend on the process that decides.
        episode = Rollback.from_dict(episode.to_dict())
    assert episode.ended
    if episode.state == "abort":
        assert TRANSITIONS[before, episode.event][1] == "call_person"
    if episode.state == "idle":
        assert episode.event == "resolved"


@pytest.mark.parametrize("state", [state for state in get_args(State) if state not in ENDS])
@given(drawn=ANY)
def test_no_state_outlives_its_time(state: State, drawn: Facts) -> None:
    most = {
        "degradation_detected": TIMINGS.candidate,
        "candidate_resolved": TIMINGS.candidate,
        "pr_created": TIMINGS.checks,
        "awaiting_merge_approval": TIMINGS.approval,
        "rollback_merged": TIMINGS.recovery,
    }
    assert step(rollback(state, age=most[state]), drawn, TIMINGS, NOW).state != state


def test_readings_are_counted_in_a_row_and_not_twice_at_once() -> None:
    one = rollback("idle")
    for seconds in (0, 1, 10, 20):
        one = one.counted("Degraded", 10, NOW + timedelta(seconds=seconds))
    assert one.readings == 3
    assert one.counted("Unknown", 10, NOW + timedelta(seconds=30)).readings == 3
    assert one.counted("Progressing", 10, NOW + timedelta(seconds=30)).readings == 0


def test_an_episode_survives_json() -> None:
    one = rollback("pr_created", candidate=GOOD, number=7, first_seen=NOW, synced_at=NOW, read_at=NOW)
    assert Rollback.from_dict(one.to_dict()) == one
