"""A small world for the intake: a ticket with people around it, an Airflow, and syncs and runs that interleave.

Syncs and runs are generators: between two of their steps anything may happen, and each step may fail before or
after its effect. Whether an ask counts is judged by :func:`counts`, written apart from the code under test.
"""

from __future__ import annotations

import dataclasses
import inspect
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain import intake
from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing
from airflow_provider_agents.domain.intake import RunFacts, Terms, Trigger, WriteClaim
from airflow_provider_agents.domain.source_definition import AskRules
from airflow_provider_agents.domain.tickets import (
    Ask,
    Claim,
    Edit,
    TicketEntry,
    TicketReading,
    content_digest,
    run_id_of,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

START = datetime(2026, 1, 5, 9, tzinfo=UTC)
TERMS = Terms(kind="github", ask=AskRules(), authority=AuthorityRules())
PEOPLE = ("mona", "bob", "eve")
"""A writer; somebody whose right comes and goes; a stranger."""

Fault = Literal["none", "before", "after", "crash"]


@dataclass
class Run:
    run_id: str
    asks: tuple[str, ...]
    digest: str
    state: Literal["active", "ended"] = "active"
    outcome: Literal["", "worked", "stopped", "killed"] = ""
    at_work: bool = False
    process: Generator[str, Fault, None] | None = None


class FailedError(Exception):
    """A call failed; whether it had its effect is not known to the caller."""


@dataclass
class World:
    """The ticket, its people, Airflow, and what was ever done."""

    seconds: int = 0
    title: str = "Add a discount"
    is_open: bool = True
    labels: set[str] = field(default_factory=set)
    asks: list[Ask] = field(default_factory=list)
    edits: list[Edit] = field(default_factory=list)
    claim: str | None = None
    writers: set[str] = field(default_factory=lambda: {"mona", "bob"})
    runs: dict[str, Run] = field(default_factory=dict)
    syncs: list[Generator[str, Fault, None]] = field(default_factory=list)
    created: list[Run] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    cleaned: bool = False
    older_may_count_again: bool = False
    """Whether an ask may have come to count after a younger one."""

    # What people do

    def now(self) -> datetime:
        return START + timedelta(seconds=self.seconds)

    def person(self, act: str, who: str) -> None:
        """Somebody does something, whatever may come of it."""
        self.older_may_count_again |= act in ("unlabel", "hold", "close", "rights")
        if act == "label" and "agent" not in self.labels:
            self.labels.add("agent")
            self._ask("label", who, label="agent")
        elif act == "unlabel":
            self.labels.discard("agent")
        elif act == "command":
            self._ask("command", who)
        elif act == "hold":
            self.labels ^= {"agent-ignore"}
        elif act == "edit":
            self.title = f"Text {len(self.edits)}"
            self.edits.append(Edit(by=who, at=self.now()))
        elif act == "close":
            self.is_open = not self.is_open
        elif act == "rights":
            self.writers ^= {"bob"}
        elif act == "delete_comment" and not self.cleaned:
            # Both memories lost is what no system survives; the documentation says so.
            self.claim = None
        elif act == "kill":
            for run in self.runs.values():
                if run.state == "active":
                    run.state, run.outcome, run.at_work, run.process = (
                        "ended",
                        run.outcome or "killed",
                        False,
                        None,
                    )
                    break
        elif act == "clean":
            self._clean()

    def _ask(self, kind: Any, who: str, label: str = "") -> None:
        self.asks.append(Ask(key=f"E{len(self.asks)}", kind=kind, by=who, at=self.now(), label=label))

    def _clean(self) -> None:
        """Airflow forgets old runs: those that ended, and whose claim had time to say so."""
        settled = all(run.state == "ended" or run.at_work for run in self.runs.values())
        if self.syncs or not settled or self.claim is None:
            return
        said = {run.run_id for run in Claim.from_text(self.claim).runs if run.state != "claimed"}
        gone = [run_id for run_id, run in self.runs.items() if run.state == "ended" and run_id in said]
        for run_id in gone:
            del self.runs[run_id]
            self.cleaned = True

    # What a source and Airflow answer

    def read(self) -> TicketReading:
        entry = TicketEntry(
            id="I_7",
            key="acme/shop#7",
            title=self.title,
            url="",
            created_at=START,
            updated_at=self.now(),
            actionable=self.is_open,
            labels=tuple(sorted(self.labels)),
        )
        return TicketReading(
            entry=entry,
            edits=tuple(self.edits),
            asks=tuple(self.asks),
            claim=Claim.from_text(self.claim) if self.claim is not None else None,
        )

    def standings(self, people: tuple[str, ...]) -> dict[str, Standing]:
        return {
            login: Standing(login=login, permission="write" if login in self.writers else None)
            for login in people
        }

    def facts(self, run_id: str) -> RunFacts:
        run = self.runs.get(run_id)
        if run is None:
            return RunFacts(known=False)
        return RunFacts(known=True, active=run.state == "active", asks=run.asks)

    def _call(self, fault: Fault, effect: Any) -> None:
        if fault == "before":
            raise FailedError
        effect()
        if fault == "after":
            raise FailedError

    def write(self, claim: Claim, fault: Fault) -> None:
        def effect() -> None:
            self.claim = claim.to_text()

        self._call(fault, effect)

    def trigger(self, step: Trigger, fault: Fault) -> None:
        def effect() -> None:
            if step.run_id not in self.runs:
                run = Run(step.run_id, step.asks, step.digest)
                run.process = run_process(self, run)
                self.runs[step.run_id] = run
                self.created.append(run)
                check_created(self, run)

        self._call(fault, effect)

    # Time

    def step(self, process: Generator[str, Fault, None], fault: Fault) -> bool:
        """Go on with a process by one step; return whether it has ended."""
        if fault == "crash":
            process.close()
            return True
        try:
            if inspect.getgeneratorstate(process) == inspect.GEN_CREATED:
                next(process)
            else:
                process.send(fault)
        except (StopIteration, FailedError):
            return True
        return False

    def finish(self, process: Generator[str, Fault, None]) -> None:
        while not self.step(process, "none"):
            pass

    def finish_run(self, index: int) -> None:
        """Let one run go on to its end; where another is at work, to its beginning."""
        alive = [run for run in self.runs.values() if run.state == "active"]
        if alive:
            run = alive[index % len(alive)]
            for _ in range(6):
                if run.state == "active" and run.process is not None and self.step(run.process, "none"):
                    break

    def step_sync(self, index: int, fault: Fault) -> None:
        if self.syncs:
            process = self.syncs[index % len(self.syncs)]
            if self.step(process, fault):
                self.syncs.remove(process)

    def step_run(self, index: int, fault: Fault) -> None:
        alive = [run for run in self.runs.values() if run.state == "active"]
        if not alive:
            return
        run = alive[index % len(alive)]
        assert run.process is not None
        if self.step(run.process, fault) and run.state == "active":
            # The worker died, or a call failed: Airflow tries the task again.
            run.at_work = False
            run.process = run_process(self, run)

    def come_to_rest(self) -> None:
        """Let everything go on without faults until nothing changes any more."""
        for _ in range(3 * len(self.asks) + 4):
            while self.syncs:
                self.step_sync(0, "none")
            while any(run.state == "active" for run in self.runs.values()):
                self.step_run(0, "none")
            self.syncs.append(sync_process(self))


def sync_process(world: World) -> Generator[str, Fault, None]:
    """One look of one sync at the ticket, as the operator does it."""
    reading = world.read()
    yield "read"
    standings = world.standings(intake.people_needed(reading))
    yield "people"
    runs = {run_id: world.facts(run_id) for run_id in intake.runs_needed(reading, TERMS)}
    yield "runs"
    decision = intake.decide(reading, standings, TERMS, runs, now=world.now())
    check_decision(world, decision, reading, standings, runs)
    for step in intake.next_steps(decision):
        if isinstance(step, WriteClaim):
            fault = yield "write"
            world.write(step.claim, fault)
        else:
            # A task of its own, which Airflow tries again, whatever has happened meanwhile.
            fault = yield "trigger"
            try:
                world.trigger(step, fault)
            except FailedError:
                fault = yield "trigger again"
                world.trigger(step, fault)


def run_process(world: World, run: Run) -> Generator[str, Fault, None]:
    """A run of the ticket: it verifies, says that it began, works, says that it ended."""
    reading = world.read()
    standings = world.standings(intake.people_needed(reading, run.asks))
    check = intake.verify_start(
        reading, standings, TERMS, run_id=run.run_id, asks=run.asks, digest=run.digest
    )
    begun = any(
        each.run_id == run.run_id and each.state != "claimed" for each in (reading.claim or Claim()).runs
    )
    check_begin(check.verdict, begun, run, reading, standings)
    fault = yield "mark"
    if check.verdict == "go":
        world.write(intake.mark_run(reading.claim, run.run_id, run.asks, "started"), fault)
        run.at_work, run.outcome = True, "worked"
        if not world.older_may_count_again:
            assert not any(other.at_work for other in world.runs.values() if other is not run), "two at work"
        fault = yield "work"
    elif not run.outcome:
        run.outcome = "stopped"
    reading = world.read()
    fault = yield "end"
    world.write(intake.mark_run(reading.claim, run.run_id, run.asks, "ended"), fault)
    run.at_work, run.state = False, "ended"


def counts(ask: Ask, reading: TicketReading, standings: Mapping[str, Standing]) -> bool:
    """Say whether an ask is one: the words of the documentation, as plainly as can be."""
    writers = {login for login, standing in standings.items() if standing.permission == "write"}
    if not reading.entry.actionable or "agent-ignore" in reading.entry.labels:
        return False
    if ask.kind == "label" and "agent" not in reading.entry.labels:
        return False
    changed = any(edit.at >= ask.at and edit.by not in writers for edit in reading.edits)
    return ask.by in writers and not changed


# What must always hold


def check_created(world: World, run: Run) -> None:
    ids = [each.run_id for each in world.created]
    assert len(ids) == len(set(ids)), f"{run.run_id} was started twice"
    assert run.run_id == run_id_of("github", "I_7", run.asks[0]), "a run has the id of its oldest ask"
    answered = [key for each in world.created for key in each.asks]
    if not world.older_may_count_again:
        assert len(answered) == len(set(answered)), "an ask is answered by two runs"


def check_decision(
    world: World,
    decision: intake.Intake,
    reading: TicketReading,
    standings: Mapping[str, Standing],
    runs: Mapping[str, RunFacts],
) -> None:
    by_key = {ask.key: ask for ask in reading.asks}
    refused = set(decision.claim.refused) - set(reading.claim.refused if reading.claim else ())
    for key in refused:
        assert not counts(by_key[key], reading, standings), f"{key} counts, and was refused"
    world.refused |= refused
    if decision.run is None:
        return
    for key in decision.run.asks:
        assert counts(by_key[key], reading, standings), f"{key} does not count, and gets a run"
    assert not any(facts.active for facts in runs.values()), "a run of the ticket is at work"
    known = {key for facts in runs.values() for key in facts.asks or ()}
    assert not known & set(decision.run.asks), "asks that a run answered get another one"


def check_begin(
    verdict: str, begun: bool, run: Run, reading: TicketReading, standings: Mapping[str, Standing]
) -> None:
    counting = [ask for ask in reading.asks if ask.key in run.asks and counts(ask, reading, standings)]
    if not begun:
        assert (verdict == "go") == bool(counting), f"{verdict}, and these count: {counting}"
    if verdict == "go":
        text_moved = content_digest(reading.entry.title, reading.body) != run.digest
        first = min(ask.at for ask in reading.asks if ask.key in run.asks)
        strangers = [edit for edit in reading.edits if edit.at >= first and not _writes(edit.by, standings)]
        assert not (begun and text_moved and strangers), "a text of a stranger was begun with"


def check_rest(world: World) -> None:
    """Say whether all that counts was answered, once the faults have stopped."""
    reading = world.read()
    standings = world.standings(PEOPLE)
    answered = [key for run in world.created for key in run.asks]
    for ask in reading.asks:
        if counts(ask, reading, standings) and ask.key not in world.refused:
            assert ask.key in answered, f"{ask.key} counts, and has no run"
    assert len(world.created) <= len(world.asks), "more runs than asks"
    claim = reading.claim or Claim()
    assert all(run.state == "ended" for run in claim.runs if run.run_id in world.runs), "a claim is behind"
    ids = [run.run_id for run in claim.runs]
    assert len(ids) == len(set(ids))
    before = dataclasses.replace(claim)
    world.syncs.append(sync_process(world))
    world.come_to_rest()
    assert (world.read().claim or Claim()) == before, "it does not come to rest"


def _writes(login: str, standings: Mapping[str, Standing]) -> bool:
    return login in standings and standings[login].permission == "write"
