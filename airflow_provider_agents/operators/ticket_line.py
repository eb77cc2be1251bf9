"""The line that the tickets of a source stand in, with those of other sources and with runs that people started."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable

from airflow_provider_agents import settings
from airflow_provider_agents.domain.capacity import Place, Waiting, admit, with_waits
from airflow_provider_agents.domain.capacity_wait import estimated
from airflow_provider_agents.domain.sync_state import SyncState, in_line
from airflow_provider_agents.operators.capacity_caps import installed_caps, limits_money
from airflow_provider_agents.operators.capacity_records import read_capacity
from airflow_provider_agents.operators.ticket_sources import definition_files

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from airflow_provider_agents.domain.capacity import Position
    from airflow_provider_agents.domain.source_definition import SourceDefinition
    from airflow_provider_agents.domain.sync_state import KnownTicket, Starting
    from airflow_provider_agents.operators.capacity_records import CapacityReading
    from airflow_provider_agents.operators.ticket_runs import TicketRuns

VARIABLE_PREFIX = "agents_tickets__"
"""Airflow Variable with a sync's memory: this and the source's name."""
SHOWN_IN_LINE = 50
"""Tickets of a source that the others, and people who look at its log, are told of."""


class TicketLine:
    """Says who of a source may start now, and where the others are; what it reads is read once.

    :param ti: the running task instance.
    :param name: of the source.
    :param runs: what Airflow knows of runs of ``dag_id``.
    :param dag_id: the DAG that works on tickets.
    :param now: the moment of the look.
    """

    def __init__(
        self,
        ti: Any,
        name: str,
        definition: SourceDefinition,
        runs: TicketRuns,
        dag_id: str,
        now: datetime,
    ) -> None:
        self._ti = ti
        self._name = name
        self._definition = definition
        self._runs = runs
        self._dag_id = dag_id
        self._now = now
        self._capacity: CapacityReading | None = None
        self._others: tuple[list[Waiting], list[tuple[str, Starting]]] | None = None

    def places(self, state: SyncState, starting: Sequence[Starting]) -> tuple[dict[str, Position], list[str]]:
        """Return the places of those that wait, by ticket id, and the ids of those that may start, in order.

        :param state: what the source's sync knows now.
        :param starting: runs that this look has claimed already.
        """
        own = {
            ticket.id: self._waiting(ticket, self._name)
            for ticket in state.tickets.values()
            if ticket.standing != "recheck" and ticket.repository
        }
        if self._others is None:
            self._others = self._elsewhere()
        others, theirs = self._others
        # Two definitions may name the same ticket.
        everybody = [*own.values(), *(each for each in others if each.key not in state.tickets)]
        caps = installed_caps({each.repository for each in everybody})
        if self._capacity is None:
            self._capacity = read_capacity(self._ti, self._now, money=limits_money(caps))
        capacity = self._capacity
        line = [*everybody, *capacity.waiting]
        earlier = [*((self._name, each) for each in state.starting), *theirs]
        places = [
            *capacity.places,
            *(
                _place(name, each)
                for name, each in earlier
                if not capacity.knows(self._dag_id, each.run_id)
                and self._runs.facts([each.run_id])[each.run_id].active
            ),
            *(_place(self._name, each) for each in starting),
        ]
        day = capacity.ledger.use(self._now)
        for run in starting:
            day = day.plus(run.repository, self._name, runs=1, usd=self._budget(self._name))
        given, durations = capacity.priorities, capacity.ledger.durations
        admission = admit(line, places, day, caps, self._now, priorities=given)
        waits = estimated(line, places, day, caps, self._now, durations=durations, priorities=given)
        positions = with_waits(admission.positions, waits)
        return (
            {id_: positions[each.key] for id_, each in own.items() if each.key in positions},
            [each.key for each in admission.starts if each.key in own],
        )

    def _elsewhere(self) -> tuple[list[Waiting], list[tuple[str, Starting]]]:
        """Return who waits at the other sources, the first of each, and the runs that they are just starting."""
        waiting: list[Waiting] = []
        starting: list[tuple[str, Starting]] = []
        for file in definition_files():
            definition = file.definition
            if file.name == self._name or definition is None or not definition.enabled:
                continue
            state = SyncState.from_text(Variable.get(VARIABLE_PREFIX + file.name, None))
            starting += [(file.name, each) for each in state.starting]
            # One that is paused, or cannot be read, does not hold up the others.
            patience = 3 * definition.every + 60
            if state.looked_at and (self._now - state.looked_at).total_seconds() < patience:
                theirs = [
                    t for t in in_line(state.tickets.values()) if t.standing == "waiting" and t.repository
                ]
                waiting += [self._waiting(ticket, file.name) for ticket in theirs[:SHOWN_IN_LINE]]
        return waiting, starting

    def _waiting(self, ticket: KnownTicket, source: str) -> Waiting:
        return Waiting(
            key=ticket.id,
            repository=ticket.repository,
            source=source,
            since=ticket.since,
            priority=ticket.priority,
            usd=self._budget(source),
            names=(ticket.key,),
        )

    def _budget(self, source: str) -> float:
        """Return the USD that a run of a source reserves."""
        budget = self._definition.task.get("budget_usd") if source == self._name else None
        return float(budget) if isinstance(budget, int | float) else settings.amount("budget_usd", 20.0)


def _place(source: str, run: Starting) -> Place:
    return Place(key=run.run_id, repository=run.repository, since=run.at, source=source)
