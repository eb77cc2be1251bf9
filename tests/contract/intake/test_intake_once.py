"""One run an ask, always: concurrent syncs, lost calls, crashes, people who change their minds, lost memories."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from intake_world import PEOPLE, World, check_rest, sync_process

from airflow_provider_agents.domain import intake, intake_asks
from airflow_provider_agents.domain.intake import StartCheck
from airflow_provider_agents.domain.tickets import Claim

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

HISTORIES = 700

ACTS = (
    *("label", "command") * 3, *("unlabel", "edit", "rights") * 2,
    "hold", "close", "delete_comment", "kill", "clean", "clean",
)  # fmt: skip
FAULTS = ("none", "none", "none", "none", "before", "after", "crash")
STRETCHES = (
    *("look",) * 2, *("sync",) * 6, *("run",) * 5, "whole_look", "whole_look", "whole_run", *("person",) * 4
)  # fmt: skip

Event = tuple[str, str, str, Any, int]


def histories_of(acts: Sequence[str], *, most: int = 80) -> st.SearchStrategy[list[Event]]:
    event = st.tuples(
        st.sampled_from(STRETCHES),
        st.sampled_from(acts),
        st.sampled_from((*PEOPLE, "mona")),
        st.sampled_from(FAULTS),
        st.integers(0, 3),
    )
    return st.lists(event, min_size=30, max_size=most)


histories = histories_of(ACTS)


def play(history: list[Event]) -> World:
    """Let a history happen; every moment is checked, and the rest in the end."""
    world = World()
    for kind, act, who, fault, number in history:
        if kind == "person":
            # In the same second, too.
            world.seconds += number
            world.person(act, who)
        elif kind == "look":
            # A schedule, a webhook, a webhook once more, another definition: all of them are looks.
            world.syncs.append(sync_process(world))
        elif kind == "whole_look":
            world.finish(sync_process(world))
        elif kind == "whole_run":
            world.finish_run(number)
        elif kind == "sync":
            world.step_sync(number, fault)
        else:
            world.step_run(number, fault)
    world.come_to_rest()
    check_rest(world)
    return world


@settings(
    max_examples=HISTORIES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(histories)
def test_one_run_an_ask(history: list[Event]) -> None:
    play(history)


def _counterexample(acts: Sequence[str]) -> list[Any] | None:
    def fails(history: list[Any]) -> bool:
        try:
            play(history)
        except AssertionError:
            return True
        return False

    try:
        return find(
            histories_of(acts, most=60),
            fails,
            settings=settings(
                max_examples=2_000,
                deadline=None,
                database=None,
                derandomize=True,
                phases=[Phase.generate],
                suppress_health_check=list(HealthCheck),
            ),
        )
    except NoSuchExample:
        return None


def _always_go(*args: Any, **kwargs: Any) -> StartCheck:
    return StartCheck(verdict="go")


def _trusting(reading: Any, terms: Any, runs: Any) -> Claim:
    return reading.claim or Claim()


def _without_the_confs(real: Callable[..., Any]) -> Callable[..., Any]:
    def mended(reading: Any, terms: Any, runs: Any) -> Any:
        return real(reading, terms, {k: dataclasses.replace(v, asks=None) for k, v in runs.items()})

    return mended


def _started_again(real: Callable[..., Any]) -> Callable[..., Any]:
    """Take a run that Airflow does not know for one that was never triggered."""

    def mended(reading: Any, terms: Any, runs: Any) -> Any:
        claim = real(reading, terms, runs)
        unknown = tuple(
            dataclasses.replace(run, state="claimed") if not runs[run.run_id].known else run
            for run in claim.runs
        )
        return dataclasses.replace(claim, runs=unknown)

    return mended


def _claimed_is_started(real: Callable[..., Any]) -> Callable[..., Any]:
    def mended(*args: Any) -> Any:
        claim = real(*args)
        return dataclasses.replace(
            claim, runs=tuple(dataclasses.replace(run, state="ended") for run in claim.runs)
        )

    return mended


def _edits_forgotten(real: Callable[..., Any]) -> Callable[..., Any]:
    def judge(ask: Any, reading: Any, *args: Any) -> Any:
        return real(ask, dataclasses.replace(reading, edits=()), *args)

    return judge


def _anybody(*args: Any) -> bool:
    return True


ASKING = ("label", "command")
MUTANTS: dict[str, tuple[Any, str, Callable[[Any], Any], Sequence[str]]] = {
    "what is claimed is believed, whatever Airflow knows": (intake, "_mended", lambda real: _trusting, ACTS),
    "the claim's asks count before those of the run's conf": (
        intake, "_mended", _without_the_confs, ASKING
    ),
    "a run that Airflow forgot is started again": (
        intake, "_mended", _started_again, (*ASKING, "clean", "clean")
    ),
    "the run of a ticket is made of a moment": (
        intake,
        "_run_id",
        lambda real: lambda ask, reading, terms: real(ask, reading, terms) + str(len(reading.asks)),
        ASKING,
    ),
    "edits do not count": (intake, "judge_ask", _edits_forgotten, (*ASKING, "edit")),
    "everybody may start": (intake_asks, "may", lambda real: _anybody, ASKING),
    "labels that were taken off count": (
        intake_asks, "_still_holds", lambda real: _anybody, (*ASKING, "unlabel")
    ),
    "a run does not look whether it may begin": (
        intake, "verify_start", lambda real: _always_go, (*ASKING, "unlabel", "edit")
    ),
    "asks do not wait for the run at work": (
        intake, "_held_back", lambda real: lambda active, label, blocked: real([], label, blocked), ASKING
    ),
    "the newest ask makes the run": (
        intake, "_age", lambda real: lambda ask: (-ask.at.timestamp(), ask.key), ("command",)
    ),
    "what is claimed counts as started": (intake, "_mended", _claimed_is_started, ASKING),
}  # fmt: skip


@pytest.mark.parametrize("fault", MUTANTS)
def test_the_histories_find_a_broken_decision(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, name, mutant, acts = MUTANTS[fault]
    assert hasattr(module, name)
    monkeypatch.setattr(module, name, mutant(getattr(module, name)))
    assert _counterexample(acts) is not None


def test_the_histories_are_rich() -> None:
    """They reach what they are about: the proof would be empty otherwise."""
    seen: dict[str, int] = {}

    @settings(max_examples=300, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    @given(histories)
    def run(history: list[Any]) -> None:
        world = play(history)
        outcomes = {each.outcome for each in world.created}
        for what, there in {
            "worked": "worked" in outcomes,
            "stopped": "stopped" in outcomes,
            "killed": "killed" in outcomes,
            "several runs": len(world.created) > 1,
            "several asks in one": any(len(each.asks) > 1 for each in world.created),
            "refused": bool(world.refused),
            "cleaned": world.cleaned,
        }.items():
            seen[what] = seen.get(what, 0) + there

    run()
    assert all(count >= 5 for count in seen.values()), seen
