"""Histories of an Airflow: runs come, work, end, crash, are killed, cleared and deleted, and the books are lost."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from airflow_provider_agents.domain import capacity_ledger
from airflow_provider_agents.domain.capacity_ledger import LEDGER_VARIABLE, Entry, Ledger
from airflow_provider_agents.operators.capacity_records import CapacityRecords
from tests.unit.operators.capacity_world import TASKS, World

if TYPE_CHECKING:
    from collections.abc import Iterator

CAP, CAP_OF_REPOSITORY = 3, 2
REPOSITORIES = ("acme/shop", "acme/lib", "acme/web")


class Histories(RuleBasedStateMachine):
    """What may happen, in any order; after each step no cap is passed, and in the end everybody had a turn."""

    names = Bundle("names")

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setenv("AIRFLOW__AGENTS__MAX_RUNS", str(CAP))
        self.patch.setenv("AIRFLOW__AGENTS__MAX_RUNS_PER_REPOSITORY", str(CAP_OF_REPOSITORY))
        self.world = World(self.patch)
        self.count = 0

    def teardown(self) -> None:
        try:
            self.everybody_gets_a_turn()
        finally:
            self.patch.undo()

    def states(self, name: str) -> dict[str, str | None]:
        return self.world.runs.get(name, {})

    def waits(self, name: str) -> bool:
        return self.states(name).get("admit") == "deferred"

    def works(self, name: str) -> bool:
        states = self.states(name)
        return (
            states.get("admit") == "success"
            and states["open_pull_request"] != "success"
            and states["finish"] is None
        )

    @rule(target=names, repository=st.sampled_from(REPOSITORIES), priority=st.integers(0, 2))
    def start(self, repository: str, priority: int) -> str:
        self.count += 1
        name = f"r{self.count:03}"
        self.world.clock.pass_minutes(1)
        self.world.start(name, repository=repository, priority=priority)
        self.world.admit(name)
        return name

    @rule(name=names)
    def called(self, name: str) -> None:
        """The trigger calls a run, rightly or not."""
        if self.waits(name):
            self.world.admit(name)

    @rule(name=names)
    def opens_its_pull_request(self, name: str) -> None:
        if self.works(name):
            self.world.open_pull_request(name)

    @rule(name=names, state=st.sampled_from(["success", "failed"]))
    def ends(self, name: str, state: str) -> None:
        if self.works(name) or self.states(name).get("open_pull_request") == "success":
            self.world.end(name, state)

    @rule(name=names)
    def is_killed_while_it_waits(self, name: str) -> None:
        if self.waits(name):
            self.world.runs[name] |= {"admit": "failed", "finish": "failed"}

    @rule(name=names)
    def is_deleted(self, name: str) -> None:
        self.world.runs.pop(name, None)

    @rule(name=names)
    def is_cleared(self, name: str) -> None:
        """A person clears a run that ended, all of it; its admission comes next."""
        if self.states(name).get("finish"):
            self.world.runs[name] = {**dict.fromkeys(TASKS), "accept": "success"}
            self.world.admit(name)

    @rule(name=names, after=st.booleans())
    def its_worker_dies(self, name: str, after: bool) -> None:
        """At the write of its books, or between that and its end; Airflow tries again."""
        if not self.waits(name):
            return
        with self.world.dying_at_the_write(after=after):
            self.world.admit(name)
        self.world.runs[name]["admit"] = "up_for_retry"
        self.world.admit(name)

    @rule(name=names)
    def airflow_does_not_answer(self, name: str) -> None:
        if self.waits(name):
            self.world.down = True
            with pytest.raises((AirflowRuntimeError, ConnectionError)):
                self.world.admit(name)
            self.world.down = False
            self.world.runs[name]["admit"] = "up_for_retry"
            self.world.admit(name)

    @precondition(lambda self: self.count > 3)
    @rule(text=st.sampled_from([None, "", "{}", '{"version": 2}']))
    def the_books_are_lost(self, text: str | None) -> None:
        if text is None:
            self.world.variables.pop(LEDGER_VARIABLE, None)
        else:
            self.world.variables[LEDGER_VARIABLE] = text

    @invariant()
    def no_cap_is_passed(self) -> None:
        working = [name for name in self.world.runs if self.works(name)]
        assert len(working) <= CAP
        of = [self.repository(name) for name in working]
        assert all(of.count(name) <= CAP_OF_REPOSITORY for name in REPOSITORIES)

    def repository(self, name: str) -> str:
        accepted: dict[str, Any] = self.world.xcoms[name, "accept", "return_value"]
        return str(accepted["request"]["repository"])

    def everybody_gets_a_turn(self) -> None:
        """From here on nothing goes wrong: runs end, and those that wait are called in any order."""
        for _ in range(2 * self.count + 2):
            for name in list(self.world.runs):
                if self.works(name):
                    self.world.end(name, "success")
            for name in list(self.world.runs):
                if self.waits(name):
                    self.world.admit(name)
            self.no_cap_is_passed()
        assert not [name for name in self.world.runs if self.waits(name) or self.works(name)]


@contextmanager
def quiet() -> Iterator[None]:
    import structlog

    with structlog.testing.capture_logs():
        yield


def play(histories: int) -> None:
    with quiet():
        run_state_machine_as_test(  # type: ignore[no-untyped-call]
            Histories,
            settings=settings(
                max_examples=histories,
                stateful_step_count=30,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )


def test_histories() -> None:
    play(100)


@pytest.mark.parametrize(
    "mutant",
    [
        "places are not counted",
        "an ended run keeps its place",
        "a killed run stays in the line",
        "no books are mended",
    ],
)
def test_the_histories_find_a_fault(mutant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test above can fail."""
    if mutant == "places are not counted":
        monkeypatch.setattr(Ledger, "places", lambda self: [])
    elif mutant == "an ended run keeps its place":
        monkeypatch.setattr(capacity_ledger, "_OVER", frozenset({"removed"}))
    elif mutant == "a killed run stays in the line":
        moved = Entry.moved
        monkeypatch.setattr(Entry, "moved", lambda self, *rest: moved(self, *rest) or self)
    else:
        monkeypatch.setattr(CapacityRecords, "rebuild", lambda *_: Ledger())
    with pytest.raises(AssertionError):
        play(100)
