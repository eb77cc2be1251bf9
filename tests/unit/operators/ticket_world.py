"""A source of tickets and an Airflow in memory, for the ticket sync."""

from __future__ import annotations

import dataclasses
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing
from airflow_provider_agents.domain.capacity_ledger import Ledger
from airflow_provider_agents.domain.config_files import DefinitionFile
from airflow_provider_agents.domain.intake import RunFacts
from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.tickets import Ask, Claim, TicketComment, TicketEntry, TicketReading
from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks.ticket_source import Listing
from airflow_provider_agents.operators import ticket_line, ticket_look
from airflow_provider_agents.operators.capacity_records import CapacityReading
from airflow_provider_agents.operators.ticket_sync import LookForTicketsOperator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence
    from pathlib import Path

    import pytest

    from airflow_provider_agents.domain.tickets import SourceKind, Stage
    from airflow_provider_agents.exceptions import ForgeError

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
WRITER = "mona"


class Source:
    """Tickets of one repository each, with everything that was done to them."""

    kind: SourceKind = "github"
    host = ""

    def __init__(self) -> None:
        self.tickets: dict[str, TicketReading] = {}
        self.statuses: dict[str, str] = {}
        self.writes: list[str] = []
        self.reads: list[str] = []
        self.fetches: list[Any] = []
        self.fault: ForgeError | None = None
        """Raised by every call."""
        self.refuses: dict[str, ForgeError] = {}
        """By ticket: raised where its comment is written."""
        self.people = {WRITER: Standing(login=WRITER, permission="write"), "eve": Standing(login="eve")}
        self._clock = 0

    def add(self, number: int, *, by: str = WRITER, repository: str = "acme/shop", **entry: Any) -> str:
        """Open a ticket that somebody labels; return its id."""
        at = START + timedelta(minutes=number)
        id_ = str(entry.get("id", f"I_{number}"))
        values: dict[str, Any] = {
            "id": id_,
            "key": f"{repository}#{number}",
            "title": f"Ticket {number}",
            "url": f"https://github.com/{repository}/issues/{number}",
            "created_at": at,
            "updated_at": at,
            "actionable": True,
            "repository": repository,
            "labels": ("agent",),
        }
        ask = Ask(key=f"LE_{number}", kind="label", by=by, at=at, label="agent")
        self.tickets[id_] = TicketReading(entry=TicketEntry(**values | entry), author="mona", asks=(ask,))
        return id_

    def change(self, id_: str, *, entry: Mapping[str, Any] | None = None, **reading: Any) -> None:
        """Change a ticket, which moves the time of its last update."""
        self._clock += 1
        before = self.tickets[id_]
        updated = {"updated_at": before.entry.updated_at + timedelta(seconds=self._clock)}
        self.tickets[id_] = dataclasses.replace(
            before, entry=dataclasses.replace(before.entry, **updated | dict(entry or {})), **reading
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Source]:
        yield self

    async def fetch(self, cursor: Mapping[str, Any] | None) -> Listing:
        if self.fault:
            raise self.fault
        self.fetches.append(cursor)
        entries = [reading.entry for reading in self.tickets.values()]
        seen = (cursor or {}).get("seen", {})
        changed = [e for e in entries if seen.get(e.id) != e.updated_at.isoformat()]
        if cursor is None:
            changed = [entry for entry in changed if entry.actionable]
        return Listing(
            entries=tuple(changed),
            cursor={"seen": {entry.id: entry.updated_at.isoformat() for entry in entries}},
            complete=cursor is None,
        )

    async def read(self, ids: Sequence[str]) -> dict[str, TicketReading | ForgeError]:
        self.reads += ids
        by_key = {reading.entry.key: reading for reading in self.tickets.values()}
        gone = ForgeAccessError("there is no such ticket")
        return {id_: self.tickets.get(id_) or by_key.get(id_, gone) for id_ in ids}

    async def standing(self, person: str, repository: str) -> Standing:
        return self.people[person]

    async def write_status(self, ticket: TicketReading, claim: Claim, text: str) -> str:
        id_ = ticket.entry.id
        if id_ in self.refuses:
            raise self.refuses[id_]
        self.writes.append(id_)
        self.statuses[id_] = text
        self.change(id_, claim=claim)
        return "https://github.com/comment"

    async def move(self, ticket: TicketReading, stage: Stage) -> None:
        self.writes.append(f"{ticket.entry.id} to {stage}")

    async def close(self, ticket: TicketReading) -> None:
        self.writes.append(f"close {ticket.entry.id}")


class World:
    """One or more sources, Airflow's Variables and its runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.variables: dict[str, str] = {}
        self.runs: dict[str, RunFacts] = {}
        self.ledger = Ledger()
        self.sources: dict[str, Source] = {}
        self.definitions: dict[str, SourceDefinition] = {}
        self.options = {"max_runs": "5", "max_runs_per_repository": "2"}
        self.now = START + timedelta(hours=5)
        self.pushed: dict[str, Any] = {}
        self.rules = AuthorityRules()
        """Of all repositories."""
        self.hindrance = ""
        """Why Airflow is to start nothing."""
        self._patch(monkeypatch)

    def source(self, name: str = "shop", **definition: Any) -> Source:
        """Add a source."""
        values = {"source": "github", "repositories": ["acme/shop"]} | definition
        self.definitions[name] = SourceDefinition.model_validate(values)
        self.sources[name] = Source()
        return self.sources[name]

    def look(self, name: str = "shop", *, start: bool = True) -> list[str]:
        """Look once; return the ids of the runs that are to start.

        :param start: whether Airflow triggers them, as the task after ``look`` does.
        """
        self.now += timedelta(minutes=1)
        context: Any = {"ti": SimpleNamespace(xcom_push=self._push)}
        arguments = LookForTicketsOperator(task_id="look", source=name).execute(context)
        if start:
            for each in arguments:
                conf = each["conf"]
                self.runs.setdefault(
                    each["trigger_run_id"],
                    RunFacts(known=True, active=True, asks=tuple(conf["ticket_asks"]), started_at=self.now),
                )
        self.arguments = arguments
        return [each["trigger_run_id"] for each in arguments]

    def end_runs(self) -> None:
        """Let all runs end."""
        self.runs = {run_id: dataclasses.replace(facts, active=False) for run_id, facts in self.runs.items()}

    def _push(self, key: str, value: Any) -> None:
        self.pushed[key] = value

    def _patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        world = self

        class Variable:
            @staticmethod
            def get(key: str, default: Any = None) -> Any:
                return world.variables.get(key, default)

            @staticmethod
            def set(key: str, value: str, description: str | None = None) -> None:
                world.variables[key] = value

        class Runs:
            def __init__(self, ti: Any, dag_id: str) -> None:
                pass

            def hindrance(self) -> str:
                return world.hindrance

            def over(self, run_ids: Any) -> list[str]:
                facts = self.facts(list(run_ids))
                return [run_id for run_id, each in facts.items() if not each.active]

            def facts(self, run_ids: Any) -> dict[str, RunFacts]:
                return {run_id: world.runs.get(run_id, RunFacts(known=False)) for run_id in run_ids}

        class Clock(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return world.now

        def caps(repositories: Any) -> Any:
            from airflow_provider_agents.domain.capacity import Caps, Limits

            sources = {
                name: Limits(
                    runs=each.limits.active, runs_per_day=each.limits.runs_per_day, off_peak=each.off_peak
                )
                for name, each in world.definitions.items()
            }
            return Caps(
                all=Limits(runs=int(world.options["max_runs"])),
                each_repository=Limits(runs=int(world.options["max_runs_per_repository"])),
                sources=sources,
            )

        def files() -> list[DefinitionFile]:
            return [
                DefinitionFile(name=name, path=_path(name), definition=definition)
                for name, definition in world.definitions.items()
            ]

        monkeypatch.setattr(ticket_look, "Variable", Variable)
        monkeypatch.setattr(ticket_line, "Variable", Variable)
        monkeypatch.setattr(ticket_look, "TicketRuns", Runs)
        monkeypatch.setattr(ticket_look, "datetime", Clock)
        monkeypatch.setattr(ticket_line, "installed_caps", caps)
        monkeypatch.setattr(
            ticket_line,
            "read_capacity",
            lambda ti, now, money: CapacityReading(ledger=world.ledger, priorities={}),
        )
        monkeypatch.setattr(ticket_line, "definition_files", files)
        monkeypatch.setattr(ticket_look, "authority_of", lambda repository: world.rules)
        monkeypatch.setattr(ticket_look, "load_definition", lambda name: world.definitions[name])
        monkeypatch.setattr(
            ticket_look,
            "source_for",
            lambda definition, authority: next(
                world.sources[name] for name, each in world.definitions.items() if each is definition
            ),
        )


def _path(name: str) -> Path:
    from pathlib import Path

    return Path("tickets") / f"{name}.yaml"


def comment(key: str, author: str, body: str, minutes: int) -> TicketComment:
    """Return a comment."""
    return TicketComment(key=key, author=author, body=body, at=START + timedelta(minutes=minutes))
