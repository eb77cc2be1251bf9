"""What a ticket sync knows from its last look: a cache, whose loss costs one full listing.

Only tickets that something is still to be done about are kept. One that a run answered, or that nobody with
authority asked for, is dropped: when anything about it changes, its source lists it again.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_agents.domain.tickets import TicketEntry

VERSION = 1
MOST_TICKETS = 20_000
"""Tickets that are kept; of more the last in the line are found again by the next full listing."""
MOST_RUNNING = 500
FULL_LISTING = timedelta(hours=24)
"""How often everything is listed, so that what a source forgot to tell is found."""
CLOCK_GRACE = timedelta(minutes=10)
"""By which a source's clock may differ from ours."""
STARTING_FOR = timedelta(minutes=15)
"""How long a run may take from its trigger to the line of the runs."""
FAILURES_BEFORE_BACKOFF = 5
LONGEST_BACKOFF = timedelta(hours=1)

Standing = Literal["unread", "waiting", "recheck"]
"""``unread``: nothing is known but the list's line; ``waiting``: it would start if there were room;
``recheck``: it waits for something else, and is looked at again each time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownTicket:
    """A ticket that something is to be done about."""

    id: str
    key: str
    repository: str
    priority: int
    since: datetime
    """Its place in the line among those of the same priority: when it was asked for, or made."""
    updated_at: datetime
    standing: Standing = "unread"
    why: str = ""
    """What it waits for, one sentence."""
    told: str = ""
    """What its comment says of the wait, so that it is not written twice."""
    told_at: datetime | None = None
    looked_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Starting:
    """A run that a look had started, and that may not have come to the line of the runs yet."""

    run_id: str
    repository: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A run of the source that was not seen to have ended: it tells its ticket so itself, unless it is cut off."""

    ticket: str
    """Id of the ticket."""
    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncState:
    """What one source's sync remembers."""

    cursor: Mapping[str, Any] | None = None
    tickets: Mapping[str, KnownTicket] = field(default_factory=dict)
    starting: tuple[Starting, ...] = ()
    """Of the last :data:`STARTING_FOR`; they count as runs at work until the books know them."""
    running: tuple[Running, ...] = ()
    listed_at: datetime | None = None
    """When everything was listed last."""
    looked_at: datetime | None = None
    failures: int = 0
    """In a row."""
    fault: str = ""
    retry_at: datetime | None = None

    def with_listing(
        self,
        entries: Iterable[TicketEntry],
        cursor: Mapping[str, Any],
        *,
        everything: bool,
        complete: bool,
        now: datetime,
    ) -> tuple[SyncState, tuple[str, ...]]:
        """Return the state with what a listing said, and the ids of new and changed tickets, in the line's order.

        What is known and is not in a complete listing is read again before it is forgotten: a source may not
        list what was asked for in a comment alone.

        :param everything: whether all was to be listed, whatever came of it.
        :param complete: whether all there is was listed.
        """
        known = dict(self.tickets)
        entries = list(entries)
        if complete:
            listed = {entry.id for entry in entries}
            known = {
                id_: ticket if id_ in listed else dataclasses.replace(ticket, standing="recheck")
                for id_, ticket in known.items()
            }
        changed: list[KnownTicket] = []
        for entry in entries:
            before = known.pop(entry.id, None)
            if not entry.actionable:
                continue
            if before is not None and before.updated_at == entry.updated_at:
                known[entry.id] = dataclasses.replace(
                    before, priority=entry.priority, repository=entry.repository
                )
                continue
            ticket = KnownTicket(
                id=entry.id,
                key=entry.key,
                repository=entry.repository,
                priority=entry.priority,
                since=before.since if before else self._since(entry, now),
                updated_at=entry.updated_at,
                standing=before.standing if before else "unread",
                why=before.why if before else "",
                told=before.told if before else "",
                told_at=before.told_at if before else None,
                looked_at=before.looked_at if before else None,
            )
            known[entry.id] = ticket
            changed.append(ticket)
        if len(known) > MOST_TICKETS:
            known = {ticket.id: ticket for ticket in in_line(known.values())[:MOST_TICKETS]}
        state = dataclasses.replace(
            self,
            tickets=known,
            cursor=dict(cursor),
            listed_at=now if everything else self.listed_at,
            looked_at=now,
            failures=0,
            fault="",
            retry_at=None,
        )
        return state, tuple(ticket.id for ticket in in_line(changed) if ticket.id in known)

    def _since(self, entry: TicketEntry, now: datetime) -> datetime:
        """Return where in the line a ticket comes in that nothing is known of.

        At the end, if it has not changed since everything was listed before: it was there then, and nothing was
        to be done about it. There may be thousands of those, whose label was never taken off.
        """
        known_then = self.listed_at is not None and entry.updated_at < self.listed_at - CLOCK_GRACE
        return now if known_then else entry.created_at

    def with_ticket(self, ticket: KnownTicket) -> SyncState:
        """Return the state with a ticket's record replaced."""
        return dataclasses.replace(self, tickets={**self.tickets, ticket.id: ticket})

    def without(self, ids: Iterable[str]) -> SyncState:
        """Return the state without tickets that nothing is to be done about."""
        gone = set(ids)
        return dataclasses.replace(
            self, tickets={id_: ticket for id_, ticket in self.tickets.items() if id_ not in gone}
        )

    def with_starts(self, starts: Iterable[Starting], now: datetime) -> SyncState:
        """Return the state with runs that start now; those of long ago are dropped."""
        young = {each.run_id: each for each in self.starting if now - each.at < STARTING_FOR}
        young |= {each.run_id: each for each in starts}
        return dataclasses.replace(self, starting=tuple(young.values()))

    def with_running(self, begun: Iterable[Running], ended: Iterable[str] = ()) -> SyncState:
        """Return the state with runs that begin, and without those that have ended; of too many the oldest go.

        :param ended: ids of runs.
        """
        gone = set(ended)
        runs = {each.run_id: each for each in (*self.running, *begun) if each.run_id not in gone}
        return dataclasses.replace(self, running=tuple(runs.values())[-MOST_RUNNING:])

    def with_failure(
        self, fault: str, now: datetime, *, every: float, retry_at: datetime | None = None
    ) -> SyncState:
        """Return the state after a look that failed; from the fifth in a row on the next ones wait longer and longer.

        :param every: seconds between two looks.
        :param retry_at: when the source itself said to come back.
        """
        failures = self.failures + 1
        pause = timedelta()
        if failures >= FAILURES_BEFORE_BACKOFF:
            doublings = min(failures - FAILURES_BEFORE_BACKOFF + 1, 16)
            pause = min(
                timedelta(seconds=every) * 2**doublings, max(LONGEST_BACKOFF, timedelta(seconds=every))
            )
        wait = max((moment for moment in (now + pause if pause else None, retry_at) if moment), default=None)
        return dataclasses.replace(self, failures=failures, fault=fault[:1_000], retry_at=wait)

    def is_due_for_all(self, now: datetime) -> bool:
        """Tell whether everything is to be listed."""
        return self.cursor is None or self.listed_at is None or now - self.listed_at >= FULL_LISTING

    def to_text(self) -> str:
        """Return the state as JSON, for an Airflow Variable."""
        return json.dumps(
            {
                "version": VERSION,
                "cursor": self.cursor,
                "listed_at": _text(self.listed_at),
                "looked_at": _text(self.looked_at),
                "failures": self.failures,
                "fault": self.fault,
                "retry_at": _text(self.retry_at),
                "starting": [[each.run_id, each.repository, _text(each.at)] for each in self.starting],
                "running": [[each.ticket, each.run_id] for each in self.running],
                "tickets": [_values(ticket) for ticket in in_line(self.tickets.values())],
            },
            separators=(",", ":"),
        )

    @classmethod
    def from_text(cls, text: str | None) -> SyncState:
        """Read what :meth:`to_text` wrote; anything else is an empty state, since it is a cache only."""
        try:
            values = json.loads(text or "")
            if values["version"] != VERSION:
                return cls()
            tickets = [_ticket(each) for each in values["tickets"]]
            return cls(
                cursor=values["cursor"],
                tickets={ticket.id: ticket for ticket in tickets},
                starting=tuple(
                    Starting(run_id=str(run_id), repository=str(repository), at=datetime.fromisoformat(at))
                    for run_id, repository, at in values["starting"]
                ),
                running=tuple(
                    Running(ticket=str(ticket), run_id=str(run_id))
                    for ticket, run_id in values.get("running", ())
                ),
                listed_at=_moment(values["listed_at"]),
                looked_at=_moment(values["looked_at"]),
                failures=int(values["failures"]),
                fault=str(values["fault"]),
                retry_at=_moment(values["retry_at"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()


def in_line(tickets: Iterable[KnownTicket]) -> list[KnownTicket]:
    """Return tickets in the order of the line: priority, then age."""
    return sorted(tickets, key=lambda ticket: (-ticket.priority, ticket.since, ticket.id))


def to_recheck(tickets: Iterable[KnownTicket], most: int) -> list[str]:
    """Return the ids of tickets that wait for something else than room, those looked at longest ago first."""
    never = datetime.min.replace(tzinfo=UTC)
    waiting = [ticket for ticket in tickets if ticket.standing == "recheck"]
    waiting.sort(key=lambda ticket: (ticket.looked_at or never, ticket.id))
    return [ticket.id for ticket in waiting[:most]]


def unread(tickets: Iterable[KnownTicket], most: int) -> list[str]:
    """Return the ids of the first in the line of which nothing is known but the list's line."""
    return [ticket.id for ticket in in_line(each for each in tickets if each.standing == "unread")[:most]]


def to_retell(tickets: Iterable[KnownTicket], before: datetime, most: int) -> list[str]:
    """Return the ids of waiting tickets whose comment is older than ``before``, the oldest first."""
    old = sorted(
        (ticket.told_at, ticket.id)
        for ticket in tickets
        if ticket.standing == "waiting" and ticket.told_at is not None and ticket.told_at <= before
    )
    return [id_ for _, id_ in old[:most]]


def _values(ticket: KnownTicket) -> Sequence[Any]:
    return [
        ticket.id,
        ticket.key,
        ticket.repository,
        ticket.priority,
        _text(ticket.since),
        _text(ticket.updated_at),
        ticket.standing,
        ticket.why,
        ticket.told,
        _text(ticket.told_at),
        _text(ticket.looked_at),
    ]


def _ticket(values: Sequence[Any]) -> KnownTicket:
    id_, key, repository, priority, since, updated, standing, why, told, told_at, looked = values
    found_since, found_updated = _moment(since), _moment(updated)
    if found_since is None or found_updated is None or standing not in ("unread", "waiting", "recheck"):
        raise ValueError("no ticket")
    return KnownTicket(
        id=str(id_),
        key=str(key),
        repository=str(repository),
        priority=int(priority),
        since=found_since,
        updated_at=found_updated,
        standing=standing,
        why=str(why),
        told=str(told),
        told_at=_moment(told_at),
        looked_at=_moment(looked),
    )


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
