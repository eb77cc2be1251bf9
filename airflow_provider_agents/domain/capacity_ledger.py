"""The books of the places: which runs wait, work, land or ended today, and what they took of the day.

One Airflow Variable holds them; the task ``admit`` of a run is its only writer. They are a record of
decisions, not of events: where a run is follows each time from the states of its tasks, so that nothing has
to be told, and nothing is lost, when a run ends, crashes, is cleared or deleted.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.capacity import Caps, DayUse, Limits, Place, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_agents.domain.budget import LedgerRecord

VERSION = 1
LEDGER_VARIABLE = "agents_capacity"
"""Airflow Variable that holds the books; written by the task ``admit`` only."""
PRIORITIES_VARIABLE = "agents_priorities"
"""Airflow Variable with numbers that people gave: ``{run id or ticket: number}``."""
MOST_ENDED = 300
"""Ended runs of today that are kept one by one; of older ones only the sums."""
MOST_DURATIONS = 20

Phase = Literal["waiting", "working", "landing", "ended"]
"""``working``: it holds a place. ``landing``: its pull request is open."""

_PHASES: tuple[Phase, ...] = ("waiting", "working", "landing", "ended")
_OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
ADMIT, OPEN, END = "admit", "open_pull_request", "finish"
"""Tasks whose states say where a run is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodSpend:
    """What one pod of a run spent, or was allowed to."""

    day: str
    """UTC date, ``YYYY-MM-DD``."""
    usd: float
    settled: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A run in the books."""

    dag_id: str
    run_id: str
    prefix: str = ""
    """Of the ids of its tasks: the task group around them and a dot."""
    repository: str
    source: str = ""
    ticket: str = ""
    """As people write it: ``acme/shop#7``."""
    priority: int = 0
    usd: float = 0.0
    """Its budget."""
    own: Limits | None = None
    """What its repository sets for itself in ``.agents.yaml``, as of the run's base."""
    since: datetime
    """Since when it waits, or waited."""
    phase: Phase = "waiting"
    """As of the last look."""
    admitted_at: datetime | None = None
    pods: Mapping[str, PodSpend] = field(default_factory=dict)
    seen: str = ""
    """States of its tasks when its books were last read, as a hash."""

    @property
    def key(self) -> str:
        """Return what tells the run from all others."""
        return key_of(self.dag_id, self.run_id)

    @property
    def spent(self) -> float:
        """Return what its pods spent or were allowed, in USD."""
        return sum(pod.usd for pod in self.pods.values())

    def usd_on(self, day: str) -> float:
        """Return what it takes of a day's money; the rest of its budget, too, while it holds a place."""
        taken = sum(pod.usd for pod in self.pods.values() if pod.day == day)
        return taken + (max(0.0, self.usd - self.spent) if self.phase == "working" else 0.0)

    def moved(self, states: Mapping[str, str | None] | None, now: datetime) -> Entry | None:
        """Return the entry as the states of its tasks tell; ``None``: it left the line.

        :param states: by task id; ``None``: Airflow does not know the run.
        """
        at = (states or {}).get
        admit, opened, end = (at(self.prefix + name) for name in (ADMIT, OPEN, END))
        if self.phase == "waiting":
            if states is None or end in _OVER or admit in _OVER - {"success"}:
                return None
            if admit != "success":
                return self
            # A person marked the task as done: the run works, whatever the line says.
        admitted_at = self.admitted_at or now
        phase: Phase = "working"
        if states is None or end in _OVER:
            phase = "ended"
        elif opened == "success":
            phase = "landing"
        return dataclasses.replace(self, phase=phase, admitted_at=admitted_at)

    def with_books(self, records: Iterable[LedgerRecord]) -> Entry:
        """Return the entry with what the books of its steps say; what they do not name is kept."""
        records = list(records)
        pods = dict(self.pods)
        for record in records:
            known = pods.get(record.pod)
            if record.state == "settled" or known is None or not known.settled:
                pods[record.pod] = PodSpend(day=record.day, usd=record.usd, settled=record.state == "settled")
        for found in (settled for record in records for settled in record.settles):
            if found.pod in pods:
                pods[found.pod] = dataclasses.replace(pods[found.pod], usd=found.usd, settled=True)
        return dataclasses.replace(self, pods=pods)

    def waits(self) -> Waiting:
        """Return the entry as one that waits."""
        return Waiting(
            key=self.key,
            repository=self.repository,
            source=self.source,
            priority=self.priority,
            since=self.since,
            usd=max(0.0, self.usd - self.spent),
            names=tuple(filter(None, (self.run_id, self.ticket))),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """All runs in the books."""

    entries: Mapping[str, Entry] = field(default_factory=dict)
    """By key."""
    durations: tuple[float, ...] = ()
    """Seconds for which the last runs held their places."""
    caps: Caps = field(default_factory=Caps)
    """The limits by which the last decision was taken."""
    looked_at: datetime | None = None
    """When that was."""
    day: str = ""
    """UTC date of :attr:`rest`."""
    rest: DayUse = field(default_factory=DayUse)
    """What ended runs took of the day that are not among the entries any more."""

    def waiting(self) -> list[Waiting]:
        """Return all that wait."""
        return [entry.waits() for entry in self.entries.values() if entry.phase == "waiting"]

    def places(self) -> list[Place]:
        """Return all that hold a place."""
        return [
            Place(
                key=entry.key,
                repository=entry.repository,
                source=entry.source,
                since=entry.admitted_at or entry.since,
            )
            for entry in self.entries.values()
            if entry.phase == "working"
        ]

    def repositories(self) -> dict[str, Limits | None]:
        """Return all repositories with what each sets for itself, as its newest run knows it."""
        newest = sorted(self.entries.values(), key=lambda entry: (entry.since, entry.key))
        return {entry.repository.lower(): entry.own for entry in newest}

    def use(self, now: datetime) -> DayUse:
        """Return what was taken of the UTC day of ``now``."""
        today = day_of(now)
        use = self.rest if self.day == today else DayUse()
        for entry in self.entries.values():
            runs, usd = _taken(entry, today)
            if runs or usd:
                use = use.plus(entry.repository, entry.source, runs=runs, usd=usd)
        return use

    def with_entry(self, entry: Entry) -> Ledger:
        """Return the ledger with an entry added, or in the place of the one of the same run."""
        return dataclasses.replace(self, entries={**self.entries, entry.key: entry})

    def with_duration(self, seconds: float) -> Ledger:
        """Return the ledger with the time for which a run held its place."""
        return dataclasses.replace(self, durations=(*self.durations, seconds)[-MOST_DURATIONS:])

    def moved(self, states: Mapping[str, Mapping[str, str | None] | None], now: datetime) -> Ledger:
        """Return the ledger as the states of the tasks tell.

        :param states: by key of the run, then by task id; a run that is not in it was not asked for, one
            with ``None`` is unknown to Airflow.
        """
        entries: dict[str, Entry] = {}
        for key, entry in self.entries.items():
            moved = entry.moved(states[key], now) if key in states else entry
            if moved is not None:
                entries[key] = moved
        return dataclasses.replace(self, entries=entries)

    def tidied(self, now: datetime) -> Ledger:
        """Return the ledger without what nobody needs more; it stays small whatever happens."""
        today = day_of(now)
        rest = self.rest if self.day == today else DayUse()
        kept = {
            key: entry
            for key, entry in self.entries.items()
            if entry.phase != "ended" or any(_taken(entry, today))
        }
        ended = sorted(
            (entry for entry in kept.values() if entry.phase == "ended"),
            key=lambda entry: (entry.admitted_at or entry.since, entry.key),
        )
        for entry in ended[: max(0, len(ended) - MOST_ENDED)]:
            runs, usd = _taken(entry, today)
            rest = rest.plus(entry.repository, entry.source, runs=runs, usd=usd)
            del kept[entry.key]
        return dataclasses.replace(self, entries=kept, day=today, rest=rest)

    def to_text(self) -> str:
        """Return the ledger as JSON, for the Variable."""
        values = {"version": VERSION, **_plain(self)}
        values["entries"] = [_plain(entry) for entry in self.entries.values()]
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_text(cls, text: str) -> Ledger:
        """Read what :meth:`to_text` wrote.

        :raises ValueError: it is something else, or of another version.
        """
        try:
            values = json.loads(text)
            if values["version"] != VERSION:
                raise ValueError(f"it has version {values['version']!r}, not {VERSION}")
            entries = [_entry(value) for value in values.get("entries", ())]
            return cls(
                entries={entry.key: entry for entry in entries},
                durations=tuple(float(seconds) for seconds in values.get("durations", ())),
                caps=_caps(values.get("caps", {})),
                looked_at=_moment(values.get("looked_at")),
                day=str(values.get("day", "")),
                rest=_day_use(values.get("rest", {})),
            )
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"it is no ledger: {type(error).__name__}: {error}") from None


def key_of(dag_id: str, run_id: str) -> str:
    """Return the key of a run."""
    return f"{dag_id}/{run_id}"


def day_of(now: datetime) -> str:
    """Return the UTC date, ``YYYY-MM-DD``."""
    return now.astimezone(UTC).date().isoformat()


def priorities_of(text: str) -> dict[str, int]:
    """Read the Variable of priorities; what is no number in it is left out, and so is all of a damaged one."""
    try:
        values = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    if not isinstance(values, dict):
        return {}
    return {
        str(name): number
        for name, number in values.items()
        if isinstance(number, int) and not isinstance(number, bool)
    }


def _taken(entry: Entry, today: str) -> tuple[int, float]:
    admitted = entry.admitted_at is not None and day_of(entry.admitted_at) == today
    return int(admitted), entry.usd_on(today)


def _plain(value: Any) -> Any:
    """Return JSON-ready values without what is as by default."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = {item: getattr(value, item.name) for item in dataclasses.fields(value)}
        return {item.name: _plain(found) for item, found in items.items() if found != item.default}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _entry(values: Mapping[str, Any]) -> Entry:
    phase = values.get("phase", "waiting")
    if phase not in _PHASES:
        raise ValueError(f"{phase!r} is none of {', '.join(_PHASES)}")
    since = _moment(values["since"])
    if since is None:
        raise ValueError("a run has no time")
    return Entry(
        dag_id=str(values["dag_id"]),
        run_id=str(values["run_id"]),
        prefix=str(values.get("prefix", "")),
        repository=str(values["repository"]),
        source=str(values.get("source", "")),
        ticket=str(values.get("ticket", "")),
        priority=int(values.get("priority", 0)),
        usd=float(values.get("usd", 0.0)),
        own=_limits(values["own"]) if values.get("own") is not None else None,
        since=since,
        phase=phase,
        admitted_at=_moment(values.get("admitted_at")),
        pods={str(name): PodSpend(**spend) for name, spend in values.get("pods", {}).items()},
        seen=str(values.get("seen", "")),
    )


def _limits(values: Mapping[str, Any]) -> Limits:
    return Limits(**{**values, "off_peak": tuple(values.get("off_peak", ()))})


def _caps(values: Mapping[str, Any]) -> Caps:
    scopes = {name: _limits(values[name]) for name in ("all", "each_repository") if name in values}
    named = {
        name: {key: _limits(limits) for key, limits in values[name].items()}
        for name in ("repositories", "sources")
        if name in values
    }
    return Caps(**scopes, **named)  # type: ignore[arg-type]


def _day_use(values: Mapping[str, Any]) -> DayUse:
    from airflow_provider_agents.domain.capacity import Use

    named = {
        name: {key: Use(**use) for key, use in values.get(name, {}).items()}
        for name in ("repositories", "sources")
    }
    return DayUse(all=Use(**values.get("all", {})), **named)


def _moment(text: str | None) -> datetime | None:
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment
