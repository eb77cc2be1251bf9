"""One look of a ticket sync: list, read whose turn it may be, decide, claim.

It carries out the steps of :mod:`airflow_provider_agents.domain.intake` for many tickets at a time. Airflow's
own records are asked between the conversations with the source, never inside them: its synchronous calls must
not be made in an event loop.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from airflow_provider_agents.domain.authority import may, named_teams
from airflow_provider_agents.domain.authority_rules import AuthorityRules, Who
from airflow_provider_agents.domain.capacity_wait import in_words
from airflow_provider_agents.domain.intake import (
    Terms,
    WriteClaim,
    decide,
    mark_run,
    next_steps,
    people_needed,
    runs_needed,
)
from airflow_provider_agents.domain.sync_state import (
    FAILURES_BEFORE_BACKOFF,
    STARTING_FOR,
    Running,
    Starting,
    SyncState,
    in_line,
    to_recheck,
    to_retell,
    unread,
)
from airflow_provider_agents.domain.ticket_comment import begun_comment, refusal_comment, waiting_comment
from airflow_provider_agents.domain.tickets import Claim
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
)
from airflow_provider_agents.operators.effective_settings import authority_of
from airflow_provider_agents.operators.ticket_dependencies import TicketDependencies
from airflow_provider_agents.operators.ticket_line import SHOWN_IN_LINE, VARIABLE_PREFIX, TicketLine
from airflow_provider_agents.operators.ticket_runs import ASKS_KEY, TicketRuns, run_url
from airflow_provider_agents.operators.ticket_sources import load_definition, source_for
from airflow_provider_agents.operators.ticket_sync import LINE_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.authority_rules import Standing
    from airflow_provider_agents.domain.capacity import Position
    from airflow_provider_agents.domain.intake import Intake, RunFacts
    from airflow_provider_agents.domain.tickets import TicketReading
    from airflow_provider_agents.hooks.ticket_source import TicketSource
    from airflow_provider_agents.operators.ticket_sync import LookForTicketsOperator

MOST_CHANGED = 100
"""New and changed tickets that one look reads; the others stand in the line unread, and are read in their turn."""
MOST_RECHECKED = 20
MOST_UNREAD = 20
"""Of those that stand in the line unread, however full the line is: most of them may not want a run at all."""
MOST_RETOLD = 10
RETOLD_AFTER = timedelta(minutes=15)
"""Between two words about a place in the line: each is a change of the ticket, which is listed and read again."""
MOST_STARTED = 50
MOST_PEOPLE = 300
"""Who are asked about in one conversation; the tickets of the others are looked at again."""
MOST_ROUNDS = 5
"""How often a look goes on reading, where those at the head of the line turn out not to start."""
MOST_WORDS = 20
"""Comments about waiting that one look writes; claims and refusals are always written."""
MOST_OF_A_FAULT = 300
"""Characters of an error that are kept for a ticket."""
LISTING_SECONDS = 900.0
SESSION_SECONDS = 300.0


@dataclass(slots=True)
class _Decided:
    """What this look found out about a ticket."""

    reading: TicketReading
    intake: Intake


@dataclass(slots=True)
class _Found:
    """What one conversation with the source brought."""

    readings: dict[str, TicketReading] = field(default_factory=dict)
    standings: dict[tuple[str, str], Standing] = field(default_factory=dict)
    """By person and repository."""
    faults: dict[str, ForgeError] = field(default_factory=dict)


class TicketLook:
    """One look at one source."""

    def __init__(self, operator: LookForTicketsOperator, context: Context) -> None:
        self.operator = operator
        self.context = context
        self.log = operator.log
        self.name = operator.source
        self.now = datetime.now(UTC)
        self.definition = load_definition(self.name)
        self.source: TicketSource = source_for(self.definition, self._teams())
        self._terms: dict[str, Terms] = {}
        self.runs = TicketRuns(context["ti"], operator.dag_id_to_start)
        self.decided: dict[str, _Decided] = {}
        self.changed: frozenset[str] = frozenset()
        """Ids of tickets that are new, or changed since the last look."""
        self._dependencies = TicketDependencies(self._others_read)
        self.state = SyncState()
        self.begun: list[_Decided] = []
        """Whose claim stands on the ticket: their runs are to be triggered."""
        self.ended: list[Running] = []
        """Runs that are over since the last look."""
        self.refused: set[str] = set()
        """Ids of tickets that would not take a claim."""
        self._line = TicketLine(
            context["ti"], self.name, self.definition, self.runs, operator.dag_id_to_start, self.now
        )

    def run(self) -> list[dict[str, Any]]:
        """Look, and return the arguments of the runs that start now."""
        if not self.definition.enabled:
            raise AirflowSkipException(f"tickets/{self.name}.yaml says `enabled: false`")
        self.state = SyncState.from_text(Variable.get(self.variable, None))
        if self.state.retry_at and self.now < self.state.retry_at:
            raise AirflowSkipException(
                f"{self.state.failures} looks in a row failed, the last one with: {self.state.fault} "
                f"The next one is at {self.state.retry_at:%Y-%m-%d %H:%M:%S} UTC."
            )
        positions: dict[str, Position] = {}
        try:
            changed = self._list()
            positions = self._start(changed)
            asyncio.run(self._speak(positions))
        except (ForgeError, TimeoutError) as error:
            if not self.begun:
                self._failed(error)
                raise
            self.log.warning("What was claimed is started; the rest is left to the next look: %s", error)
        self._save()
        self._show(positions)
        return [self._arguments(each) for each in self.begun]

    @property
    def variable(self) -> str:
        """Return the name of the Variable with this sync's memory."""
        return VARIABLE_PREFIX + self.name

    def _list(self) -> list[str]:
        """Bring the list up to date; return the ids to read first."""
        cursor = None if self.state.is_due_for_all(self.now) else self.state.cursor

        async def fetch() -> Any:
            async with asyncio.timeout(LISTING_SECONDS), self.source.open() as source:
                return await source.fetch(cursor)

        listing = asyncio.run(fetch())
        for fault in listing.faults:
            self.log.warning("Not everything could be listed: %s", fault)
        self.state, changed = self.state.with_listing(
            listing.entries,
            listing.cursor,
            everything=cursor is None,
            complete=listing.complete and not listing.faults,
            now=self.now,
        )
        self.log.info(
            "%d tickets listed, %d of them new or changed; %d are known to wait.",
            len(listing.entries),
            len(changed),
            len(self.state.tickets),
        )
        self.changed = frozenset(changed)
        self.ended = self._ended()
        known = self.state.tickets.values()
        further = (
            *(run.ticket for run in self.ended),
            *to_recheck(known, MOST_RECHECKED),
            *unread(known, MOST_UNREAD),
            *to_retell(known, self.now - RETOLD_AFTER, MOST_RETOLD),
        )
        return list(dict.fromkeys((*changed[:MOST_CHANGED], *further)))

    def _start(self, first: Sequence[str]) -> dict[str, Position]:
        """Read, decide and claim, until nobody else may start now.

        One that turns out not to start, or cannot be claimed, gives way to the next in the line.

        :return: the places of those that wait, by ticket id.
        """
        wanted = list(first)
        hindrance = self.runs.hindrance()
        if hindrance:
            self.log.error("Nothing is started: %s", hindrance)
        for _ in range(MOST_ROUNDS):
            self._read_and_decide(wanted)
            positions, starts = self._line.places(self.state, self._starting())
            starts = starts[: MOST_STARTED - len(self.begun)]
            wanted = [id_ for id_ in starts if id_ not in self.decided]
            ready = [id_ for id_ in starts if id_ in self.decided and not hindrance]
            asyncio.run(self._claim(ready))
            if not wanted and not self.refused.intersection(ready):
                break
        return positions

    def _read_and_decide(self, ids: Sequence[str]) -> None:
        if not ids:
            return
        found = asyncio.run(self._read(ids))
        for id_, fault in found.faults.items():
            self.log.warning("Ticket %s could not be read: %s", self._key(id_), fault)
            self._note(id_, standing="recheck", why=str(fault)[:MOST_OF_A_FAULT])
            if isinstance(fault, ForgeAccessError):
                # There is nobody left to tell.
                self.state = self.state.with_running(
                    (), [run.run_id for run in self.ended if run.ticket == id_]
                )
        needed = [
            run
            for reading in found.readings.values()
            for run in runs_needed(reading, self._terms_of(reading))
        ]
        facts = self.runs.facts(needed)
        readings = list(found.readings.values())
        for reading in readings:
            rules = self._terms_of(reading).authority
            own = self._standings(reading, found)
            self._dependencies.add([reading], [name for name in own if may(own[name], "start", rules)])
        decided = {reading.entry.id: self._decided(reading, found, facts) for reading in readings}
        starting = [each.reading for each in decided.values() if each.intake.starts]
        blocked = self._dependencies.blocked(starting, self.changed)
        for id_, each in decided.items():
            if why := blocked.get(id_):
                each = self._decided(each.reading, found, facts, why)
            self.decided[id_] = each
            self._file(id_, each.intake)

    def _teams(self) -> AuthorityRules:
        """Return rules that name every team that the rules of the source's repositories name."""
        teams = {team for name in self.definition.repositories for team in named_teams(authority_of(name))}
        named = Who(teams=tuple(sorted(teams)))
        return AuthorityRules(start=named, approve=named, steer=named, merge=named, context=named)

    def _terms_of(self, reading: TicketReading) -> Terms:
        """Return what a ticket is judged by: the rules of the source, else those of its repository."""
        repository = reading.entry.repository
        if repository not in self._terms:
            rules = authority_of(repository) if repository else None
            # A source knows its host once it was open.
            self._terms[repository] = Terms.of(self.definition, self.source.host, rules)
        return self._terms[repository]

    def _standings(self, reading: TicketReading, found: _Found) -> dict[str, Standing]:
        """Return what people are to a ticket's repository, as far as it was asked."""
        return {
            person: standing
            for (person, repository), standing in found.standings.items()
            if repository == reading.entry.repository
        }

    def _decided(
        self, reading: TicketReading, found: _Found, facts: Mapping[str, RunFacts], blocked: str = ""
    ) -> _Decided:
        standings = self._standings(reading, found)
        terms = self._terms_of(reading)
        own = {run_id: facts[run_id] for run_id in runs_needed(reading, terms)}
        intake = decide(reading, standings, terms, own, now=self.now, blocked=blocked)
        return _Decided(reading=reading, intake=intake)

    def _others_read(
        self, keys: Sequence[str]
    ) -> tuple[Mapping[str, TicketReading], Mapping[str, ForgeError]]:
        found = asyncio.run(self._read(keys, people=False))
        return found.readings, found.faults

    async def _read(self, ids: Sequence[str], *, people: bool = True) -> _Found:
        found = _Found()
        async with asyncio.timeout(SESSION_SECONDS), self.source.open() as source:
            for id_, reading in (await source.read(ids)).items():
                if isinstance(reading, ForgeError):
                    if isinstance(reading, ForgeRateLimitedError):
                        raise reading
                    found.faults[id_] = reading
                else:
                    found.readings[id_] = reading
            wanted = {
                (person, reading.entry.repository): None
                for reading in found.readings.values()
                for person in (people_needed(reading) if people else ())
            }
            if len(wanted) > MOST_PEOPLE:
                self.log.warning("%d people are to be asked about; %d are now.", len(wanted), MOST_PEOPLE)
            for person, repository in list(wanted)[:MOST_PEOPLE]:
                try:
                    found.standings[person, repository] = await source.standing(person, repository)
                except ForgeRateLimitedError:
                    raise
                except ForgeError as error:
                    self.log.warning("What %s may do is not known: %s", person, error)
        return found

    def _file(self, id_: str, intake: Intake) -> None:
        """Keep in the memory what is still to be done about a ticket."""
        if intake.starts:
            known = self.state.tickets.get(id_)
            if known is not None and not known.repository:
                self._note(id_, standing="recheck", why="No rule of `works_in` names a repository for it.")
                return
            self._note(id_, standing="waiting", why="", since=intake.asked_at)
        elif intake.verdict == "refuse" or (intake.verdict == "wait" and intake.reason != "held"):
            self._note(id_, standing="recheck", why=intake.why)
        elif intake.verdict in ("nothing", "confirm", "wait"):
            self.state = self.state.without([id_])

    def _note(self, id_: str, **changes: Any) -> None:
        known = self.state.tickets.get(id_)
        if known is not None:
            if changes.get("since", ...) is None:
                del changes["since"]
            self.state = self.state.with_ticket(dataclasses.replace(known, looked_at=self.now, **changes))

    async def _claim(self, ids: Sequence[str]) -> None:
        """Carry out the steps of starts up to their triggers."""
        if not ids:
            return
        async with asyncio.timeout(SESSION_SECONDS), self.source.open() as source:
            for id_ in ids:
                each = self.decided[id_]
                if not await self._is_claimed(source, each):
                    self.refused.add(id_)
                    continue
                self.begun.append(each)
                # Until a look has seen its run: a trigger may fail, or never be reached.
                self._note(id_, standing="recheck", why="Its run is being started.")
        self.state = self.state.with_starts(self._starting(), self.now).with_running(
            Running(ticket=each.reading.entry.id, run_id=each.intake.run.run_id)
            for each in self.begun
            if each.intake.run
        )

    def _starting(self) -> list[Starting]:
        """Return the runs of :attr:`begun`."""
        return [
            Starting(run_id=each.intake.run.run_id, repository=each.reading.entry.repository, at=self.now)
            for each in self.begun
            if each.intake.run
        ]

    async def _is_claimed(self, source: TicketSource, each: _Decided) -> bool:
        """Write the claim, where it does not stand already; say whether the trigger may follow."""
        for step in next_steps(each.intake):
            if isinstance(step, WriteClaim):
                run_id = each.intake.run.run_id if each.intake.run else ""
                text = begun_comment(run_id, run_url(self.operator.dag_id_to_start, run_id))
                if not await self._status(source, each.reading, step.claim, text):
                    return False
        return True

    def _ended(self) -> list[Running]:
        """Return the runs that are over, and that may not have told it: somebody marked them so, or deleted them.

        One whose trigger is still to come is not over.
        """
        young = {each.run_id for each in self.state.starting if self.now - each.at < STARTING_FOR}
        running = [each for each in self.state.running if each.run_id not in young]
        over = set(self.runs.over(each.run_id for each in running))
        return [each for each in running if each.run_id in over][:MOST_RECHECKED]

    async def _speak(self, positions: Mapping[str, Position]) -> None:
        """Write what a run that is over did not tell, refusals, and words about waiting."""
        begun = {each.reading.entry.id for each in self.begun}
        silent = [id_ for id_ in self.decided if id_ not in begun and id_ not in self.refused]
        if not silent:
            return
        async with asyncio.timeout(SESSION_SECONDS), self.source.open() as source:
            for run in self.ended:
                if run.ticket in silent:
                    await self._tell_over(source, run, self.decided[run.ticket].reading)
            for id_ in silent:
                if self.decided[id_].intake.verdict in ("refuse", "confirm"):
                    await self._answer(source, self.decided[id_])
            await self._tell_waiting(source, silent, positions)

    async def _answer(self, source: TicketSource, each: _Decided) -> None:
        claim = each.intake.claim
        if each.intake.verdict == "refuse":
            if await self._status(source, each.reading, claim, refusal_comment([each.intake.why])):
                self.state = self.state.without([each.reading.entry.id])
            return
        known = {run.run_id: run.state for run in (each.reading.claim or claim).runs}
        latest = claim.latest
        # What a run told of itself is not overwritten: only one that could not is spoken for.
        if latest is not None and known.get(latest.run_id, "claimed") == "claimed":
            dag_id = self.operator.dag_id_to_start
            text = begun_comment(latest.run_id, run_url(dag_id, latest.run_id), ended=latest.state == "ended")
            await self._status(source, each.reading, claim, text)

    async def _tell_over(self, source: TicketSource, run: Running, reading: TicketReading) -> None:
        """Say that a run is over, where the ticket does not say so."""
        claimed = next((each for each in (reading.claim or Claim()).runs if each.run_id == run.run_id), None)
        if claimed is not None and claimed.state != "ended":
            claim = mark_run(reading.claim, run.run_id, claimed.asks, "ended")
            text = begun_comment(run.run_id, run_url(self.operator.dag_id_to_start, run.run_id), ended=True)
            if not await self._status(source, reading, claim, text):
                return
            try:
                await source.move(reading, "stopped")
            except ForgeError as error:
                self.log.warning("%s could not be moved: %s", reading.entry.key, error)
        self.state = self.state.with_running((), [run.run_id])

    async def _tell_waiting(
        self, source: TicketSource, ids: Iterable[str], positions: Mapping[str, Position]
    ) -> None:
        words = 0
        for id_ in ids:
            each, known = self.decided[id_], self.state.tickets.get(id_)
            if known is None or words >= MOST_WORDS:
                continue
            position = positions.get(id_) if each.intake.starts else None
            if position is not None:
                why = position.why[:1].upper() + position.why[1:]
                text = waiting_comment(f"{why}.", position=position.number, waits=_about(position))
            elif each.intake.reason == "dependency" or (known.why and each.intake.starts):
                text = waiting_comment(known.why)
            else:
                continue
            young = known.told_at is not None and self.now - known.told_at < RETOLD_AFTER
            if text == known.told or (position is not None and known.told and young):
                continue
            words += 1
            if await self._status(source, each.reading, each.intake.noted, text):
                self._note(id_, told=text, told_at=self.now)

    async def _status(self, source: TicketSource, reading: TicketReading, claim: Claim, text: str) -> bool:
        """Write our comment; say whether it stands. One ticket that refuses it takes no other along."""
        try:
            await source.write_status(reading, claim, text)
        except ForgeRateLimitedError:
            raise
        except ForgeError as error:
            self.log.warning("%s could not be told: %s", reading.entry.key, error)
            self._note(reading.entry.id, standing="recheck", why=str(error)[:MOST_OF_A_FAULT])
            return False
        return True

    def _arguments(self, each: _Decided) -> dict[str, Any]:
        """Return the arguments of the operator that triggers the run."""
        entry, run = each.reading.entry, each.intake.run
        assert run is not None
        conf: dict[str, Any] = {
            **self.definition.task,
            "repository": entry.repository,
            "ticket_source": self.name,
            "ticket_id": entry.id,
            "ticket_key": entry.key,
            "ticket_digest": each.intake.digest,
            ASKS_KEY: list(run.asks),
        }
        if entry.priority:
            conf["priority"] = entry.priority
        return {"trigger_run_id": run.run_id, "conf": conf}

    def _failed(self, error: Exception) -> None:
        """Count the failure; from the fifth in a row on say so, and come back later."""
        retry_at = error.retry_at if isinstance(error, ForgeRateLimitedError) else None
        text = str(error) or type(error).__name__
        self.state = SyncState.from_text(Variable.get(self.variable, None)).with_failure(
            text, self.now, every=self.definition.every, retry_at=retry_at
        )
        self._save()
        if self.state.failures >= FAILURES_BEFORE_BACKOFF and self.state.retry_at:
            self.log.error(
                "Source %s has failed %d times in a row. The next look is at %s.",
                self.name,
                self.state.failures,
                self.state.retry_at.isoformat(),
            )
        if self.state.retry_at:
            # Another try before that time would be skipped, and a source that is away would look well.
            raise AirflowFailException(text) from error

    def _save(self) -> None:
        Variable.set(
            self.variable,
            self.state.to_text(),
            description=f"What the DAG ticket_sync__{self.name} remembers",
        )

    def _show(self, positions: Mapping[str, Position]) -> None:
        for each in self.begun:
            self.log.info("%s starts: %s", each.reading.entry.key, each.intake.why)
        line = sorted(positions.items(), key=lambda item: item[1].number)[:SHOWN_IN_LINE]
        for id_, position in line:
            self.log.info("%s is %s: %s.", self._key(id_), in_words(position), position.why)
        waiting_else = [t for t in in_line(self.state.tickets.values()) if t.standing == "recheck"]
        for ticket in waiting_else[:SHOWN_IN_LINE]:
            self.log.info("%s waits: %s", ticket.key, ticket.why)
        shown = [
            {
                "ticket": self._key(id_),
                "number": p.number,
                "of": p.of,
                "wait_seconds": p.wait_seconds,
                "why": p.why,
            }
            for id_, p in line
        ]
        self.context["ti"].xcom_push(key=LINE_KEY, value=shown)

    def _key(self, id_: str) -> str:
        known = self.state.tickets.get(id_)
        return known.key if known else id_


def _about(position: Position) -> str:
    """Return the estimate in words; empty where there is none."""
    words = in_words(position)
    return words.partition(", ")[2]
