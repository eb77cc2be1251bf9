"""``airflow agents queue``: who waits for a place, in which order, and for how long."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.agent_runs import since
from airflow_provider_agents.cli.command import command
from airflow_provider_agents.cli.output import as_table, say, show
from airflow_provider_agents.cli.priority import PRIORITIES
from airflow_provider_agents.cli.variables import variable, variables

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping

    from airflow_provider_agents.cli.api_client import AirflowApi
    from airflow_provider_agents.domain.capacity_ledger import Ledger

CAPACITY = "agents_capacity"
TICKETS = "agents_tickets__"
RUNS_PER_CALL = 30
"""Runs whose tasks fit a page of the API's, of up to 100 entries."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One that works or waits."""

    position: int | None
    """From 1; ``None``: it is at work, or is a ticket whose turn its source decides."""
    what: str
    """Run id, or key of a ticket that has no run yet."""
    ticket: str
    repository: str
    source: str
    priority: int
    state: str
    """``working``, ``waiting``, or ``ticket``: it has no run yet."""
    since: str
    wait_seconds: float | None
    why: str


@command
def queue(args: Namespace, api: AirflowApi) -> int:
    """Show the runs at work, the line of those that wait, and the tickets behind them."""
    from airflow_provider_agents.domain.capacity_ledger import priorities_of

    now = datetime.now(UTC)
    priorities = priorities_of(variable(api, PRIORITIES))
    ledger = read_ledger(variable(api, CAPACITY))
    ledger = ledger.moved(_states(api, ledger), now)
    lines = [
        *_runs(ledger, priorities, now),
        *_tickets(variables(api, TICKETS), priorities),
    ]
    if args.repository:
        lines = [each for each in lines if each.repository.lower() == args.repository.lower()]
    rows = [
        (
            each.position,
            each.what,
            each.ticket if each.ticket != each.what else "",
            each.repository,
            each.priority,
            each.state,
            since(datetime.fromisoformat(each.since)),
            "" if each.wait_seconds is None else f"about {max(1, round(each.wait_seconds / 60))} min",
            each.why,
        )
        for each in lines
    ]
    headings = (
        "POSITION",
        "RUN OR TICKET",
        "TICKET",
        "REPOSITORY",
        "PRIORITY",
        "STATE",
        "SINCE",
        "WAIT",
        "WHY",
    )
    table = as_table(headings, rows) if rows else "Nothing is at work, and nothing waits.\n"
    show([asdict(each) for each in lines], table, args.output)
    return 0


def read_ledger(text: str) -> Ledger:
    """Return what the Variable says; an empty ledger where there is none that can be read."""
    from airflow_provider_agents.domain.capacity_ledger import Ledger

    if not text:
        return Ledger()
    try:
        return Ledger.from_text(text)
    except ValueError as error:
        say(f"Variable {CAPACITY} cannot be read ({error}); the next run that is admitted makes it anew")
        return Ledger()


def _states(api: AirflowApi, ledger: Ledger) -> dict[str, dict[str, str | None] | None]:
    """Ask where the runs are by now: their books are written anew only when another run is admitted."""
    from airflow_provider_agents.domain.capacity_ledger import ADMIT, END, OPEN, key_of

    runs: dict[tuple[str, str], list[str]] = {}
    for entry in ledger.entries.values():
        if entry.phase in ("waiting", "working"):
            runs.setdefault((entry.dag_id, entry.prefix), []).append(entry.run_id)
    states: dict[str, dict[str, str | None] | None] = {}
    for (dag_id, prefix), ids in runs.items():
        tasks = [prefix + name for name in (ADMIT, OPEN, END)]
        for start in range(0, len(ids), RUNS_PER_CALL):
            some = ids[start : start + RUNS_PER_CALL]
            found: dict[str, dict[str, str | None]] = {}
            wanted = {"dag_ids": [dag_id], "dag_run_ids": some, "task_ids": tasks, "page_limit": 100}
            for task in api.search("/dags/~/dagRuns/~/taskInstances/list", wanted)["task_instances"]:
                found.setdefault(str(task["dag_run_id"]), {})[str(task["task_id"])] = task["state"]
            # One that is not there was deleted.
            states |= {key_of(dag_id, run_id): found.get(run_id) for run_id in some}
    return states


def _runs(ledger: Ledger, priorities: Mapping[str, int], now: datetime) -> list[Line]:
    from airflow_provider_agents.domain.capacity import admit, order
    from airflow_provider_agents.domain.capacity_wait import estimated

    waiting, places, day = ledger.waiting(), ledger.places(), ledger.use(now)
    admission = admit(waiting, places, day, ledger.caps, now, priorities=priorities)
    waits = estimated(
        waiting, places, day, ledger.caps, now, durations=ledger.durations, priorities=priorities
    )
    lines = [
        Line(
            position=None,
            what=entry.run_id,
            ticket=entry.ticket,
            repository=entry.repository,
            source=entry.source,
            priority=_given(priorities, entry.priority, entry.key, entry.run_id, entry.ticket),
            state="working",
            since=(entry.admitted_at or entry.since).isoformat(),
            wait_seconds=None,
            why="",
        )
        for entry in ledger.entries.values()
        if entry.phase == "working"
    ]
    for number, each in enumerate(order(waiting, priorities), start=1):
        entry = ledger.entries[each.key]
        position = admission.positions.get(each.key)
        lines.append(
            Line(
                position=number,
                what=entry.run_id,
                ticket=entry.ticket,
                repository=entry.repository,
                source=entry.source,
                priority=_given(priorities, entry.priority, entry.key, *each.names),
                state="waiting",
                since=entry.since.isoformat(),
                wait_seconds=waits.get(each.key),
                why=position.why if position else "starts at the next look",
            )
        )
    return lines


def _tickets(texts: Mapping[str, str], priorities: Mapping[str, int]) -> list[Line]:
    """Return the tickets that wait at their sources, as of each source's last look."""
    from airflow_provider_agents.domain.sync_state import SyncState, in_line

    lines = []
    for key, text in sorted(texts.items()):
        state = SyncState.from_text(text)
        source = key.removeprefix(TICKETS)
        if state.fault:
            say(f"source {source}: its last {state.failures} looks failed: {state.fault}")
        lines += [
            Line(
                position=None,
                what=ticket.key,
                ticket=ticket.key,
                repository=ticket.repository,
                source=source,
                priority=_given(priorities, ticket.priority, ticket.id, ticket.key),
                state="ticket",
                since=ticket.since.isoformat(),
                wait_seconds=None,
                why=ticket.why or ("is read at the next look" if ticket.standing == "unread" else ""),
            )
            for ticket in in_line(state.tickets.values())
        ]
    return lines


def _given(priorities: Mapping[str, int], own: int, *names: str) -> int:
    return next((priorities[name] for name in names if name in priorities), own)
