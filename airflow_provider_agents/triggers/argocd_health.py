"""Watches applications in Argo CD, for ever: tells of a degradation that lasts, and remembers how each revision fared."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from contextlib import aclosing, contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_agents.domain.health_record import HealthRecord
from airflow_provider_agents.domain.rollback_cause import deployed_revision
from airflow_provider_agents.exceptions import AgentsError
from airflow_provider_agents.hooks.argocd import ArgoCdHook

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Iterator, Mapping

    from airflow.sdk import Asset

    from airflow_provider_agents.domain.argocd_application import ApplicationReading
    from airflow_provider_agents.domain.health_record import Streak
    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition

    Readings = Mapping[str, ApplicationReading]

log = logging.getLogger(__name__)

ASSET_PREFIX = "agents_rollback__"
STORE_KEY = "health"
TAKEN_KEY = "taken"
"""In the same store: which degradation a run took up, and when; written by the task ``detect``."""
STORE_SECONDS = 10.0
"""Time that the state store may take."""
STORE_EVERY = 60.0
"""Seconds between two writings of a record in which nothing happened; so much of it a restart may lose."""
QUIET_SECONDS = 5.0
"""No event in this time after the start: a triggerer that starts has first to take up what waits."""
ROUND_SECONDS = 60.0
"""Bound of one round of readings."""
ASK_SECONDS = 60.0
"""Pause between two questions whether a run took up what it was told."""
SKEW = timedelta(seconds=60)
"""That the clocks of workers and triggerers may be apart."""
FAULT_SECONDS = 60.0
"""Pause after a round that could not be made at all: the connection is missing or wrong."""


class ArgoHealthTrigger(BaseEventTrigger):
    """Fires when an application was ``Degraded`` in several readings in a row, once for each revision.

    Where no run takes that up (it was not Degraded at just that moment, or the run was lost) it is told again, after ten
    minutes and ever more seldom.

    All triggers of one connection in a triggerer share one poll. A reading that failed is none: it neither counts as
    degraded nor ends a row. The record is kept in the asset's state store, so that a restart loses a minute of it at
    the most. Payload of the event: ``application``, ``revision``, ``readings``, ``since``.

    :param application: its name.
    :param repository: ``owner/name`` that it is deployed from.
    :param argocd_conn_id: the connection.
    :param poll: seconds between two readings.
    :param readings: in a row that have to say so.
    """

    supports_triggerer_queue = True

    def __init__(
        self,
        *,
        application: str,
        repository: str,
        argocd_conn_id: str = ArgoCdHook.default_conn_name,
        poll: float = 10.0,
        readings: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.application = application
        self.repository = repository
        self.argocd_conn_id = argocd_conn_id
        self.poll = poll
        self.readings = readings
        self._fault = ""
        self._asked = float("-inf")

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-ready."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "application": self.application,
                "repository": self.repository,
                "argocd_conn_id": self.argocd_conn_id,
                "poll": self.poll,
                "readings": self.readings,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Return what all triggers of one connection have in common."""
        return "airflow_provider_agents.argocd", self.argocd_conn_id

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Readings]:
        """Yield the readings of each round, for ever."""
        conn_id = kwargs["argocd_conn_id"]
        async with aclosing(_rounds(conn_id, watched(conn_id))) as rounds:
            async for found in rounds:
                yield found

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[Readings]
    ) -> AsyncIterator[TriggerEvent]:
        """Watch as one of many."""
        with watched(self.argocd_conn_id).watching(self.application, self.poll):
            async with aclosing(self._watch(shared_stream)) as events:
                async for event in events:
                    yield event

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch alone, where Airflow offers no shared stream."""
        alone = Watched()
        with alone.watching(self.application, self.poll):
            async with (
                aclosing(_rounds(self.argocd_conn_id, alone)) as rounds,
                aclosing(self._watch(rounds)) as events,
            ):
                async for event in events:
                    yield event

    async def _watch(self, rounds: AsyncIterator[Readings]) -> AsyncGenerator[TriggerEvent, None]:
        loop = asyncio.get_running_loop()
        quiet = loop.time() + QUIET_SECONDS
        record, stored = await self._stored(), loop.time()
        async for found in rounds:
            reading = found.get(self.application)
            if reading is None or not self._read(reading):
                continue
            revision = deployed_revision(reading, self.repository)
            known = record
            record = record.heard(reading.health, revision, reading.observed_at)
            streak = record.due(self.readings) or await self._not_taken(record)
            if streak is not None and loop.time() >= quiet:
                self.log.info("%s is Degraded at %s", self.application, streak.revision[:12])
                yield TriggerEvent(  # type: ignore[no-untyped-call]
                    {
                        "application": self.application,
                        "revision": streak.revision,
                        "readings": streak.readings,
                        "since": streak.since.isoformat(),
                    }
                )
                record = record.told(streak)
            told = (record.handled, record.told_at) != (known.handled, known.told_at)
            if told or record.health != known.health or loop.time() >= stored + STORE_EVERY:
                await self._store(record)
                stored = loop.time()

    def _read(self, reading: ApplicationReading) -> bool:
        """Say whether it is a reading; a fault is told when it begins and when it ends."""
        if reading.fault != self._fault:
            if reading.fault:
                self.log.warning("%s cannot be read: %s", self.application, reading.fault)
            else:
                self.log.info("Reading %s works again.", self.application)
            self._fault = reading.fault
        return not reading.fault

    async def _not_taken(self, record: HealthRecord) -> Streak | None:
        """Return a degradation that was told of, and that no run took up since."""
        streak, now = record.unanswered(self.readings), asyncio.get_running_loop().time()
        if streak is None or record.told_at is None or now < self._asked + ASK_SECONDS:
            return None
        self._asked = now
        if self.asset_state_store is None:
            return None
        with contextlib.suppress(Exception):  # without an answer it is asked again soon
            taken = await self._recall(TAKEN_KEY)
            if not isinstance(taken, dict) or taken["revision"] != streak.revision:
                return streak
            return streak if datetime.fromisoformat(taken["at"]) < record.told_at - SKEW else None
        return None

    async def _stored(self) -> HealthRecord:
        """Return the record that an earlier triggerer left; an empty one where it cannot be had."""
        if self.asset_state_store is not None:
            with contextlib.suppress(Exception):  # without it a degradation may be told of twice
                stored = await self._recall(STORE_KEY)
                return HealthRecord.from_dict(stored) if isinstance(stored, dict) else HealthRecord()
        return HealthRecord()

    async def _recall(self, key: str) -> Any:
        assert self.asset_state_store is not None
        async with asyncio.timeout(STORE_SECONDS):
            return await self.asset_state_store.aget(key)

    async def _store(self, record: HealthRecord) -> None:
        if self.asset_state_store is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(STORE_SECONDS):
                    await self.asset_state_store.aset(STORE_KEY, record.to_dict())


class Watched:
    """The applications of one connection that somebody watches, each with how often."""

    def __init__(self) -> None:
        self._intervals: dict[str, list[float]] = {}
        self.joined = asyncio.Event()

    @contextmanager
    def watching(self, application: str, interval: float) -> Iterator[None]:
        """Have an application read every ``interval`` seconds while the block runs; the shortest of all counts."""
        self._intervals.setdefault(application, []).append(interval)
        self.joined.set()
        try:
            yield
        finally:
            self._intervals[application].remove(interval)
            if not self._intervals[application]:
                del self._intervals[application]

    @property
    def intervals(self) -> dict[str, float]:
        """Return the seconds between two readings of each application."""
        return {name: min(all_) for name, all_ in self._intervals.items()}


_watched: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Watched]] = WeakKeyDictionary()


def watched(conn_id: str) -> Watched:
    """Return what all triggers of this event loop watch with a connection."""
    return _watched.setdefault(asyncio.get_running_loop(), {}).setdefault(conn_id, Watched())


async def _rounds(conn_id: str, members: Watched) -> AsyncGenerator[Readings, None]:
    """Yield the readings of the applications whose turn it is, for ever. Nothing is raised: all would end with it."""
    loop = asyncio.get_running_loop()
    latest: dict[str, float] = {}
    fault = ""
    while True:
        members.joined.clear()
        intervals = members.intervals
        latest = {name: at for name, at in latest.items() if name in intervals}
        turns = {name: latest.get(name, loop.time() - every) + every for name, every in intervals.items()}
        due = [name for name, at in turns.items() if at <= loop.time()]
        if not due:
            pause = min(turns.values(), default=loop.time() + FAULT_SECONDS) - loop.time()
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await members.joined.wait()
            continue
        latest |= dict.fromkeys(due, loop.time())
        try:
            async with asyncio.timeout(ROUND_SECONDS), ArgoCdHook(conn_id).client() as client:
                found = await client.applications(due)
        except Exception as error:
            told = str(error) if isinstance(error, AgentsError) else f"{type(error).__name__}: {error}"
            if told != fault:
                log.warning("Argo CD cannot be asked through %r: %s", conn_id, told)
            fault = told
            await asyncio.sleep(FAULT_SECONDS)
            continue
        fault = ""
        yield found


def health_asset(name: str, definition: RollbackDefinition) -> Asset:
    """Return the asset that the DAG of a rollback is scheduled on.

    :param name: of the rollback.
    """
    from airflow.sdk import Asset, AssetWatcher

    trigger = ArgoHealthTrigger(
        application=definition.application,
        repository=definition.repository,
        argocd_conn_id=definition.argocd,
        poll=definition.timings.poll,
        readings=definition.timings.readings,
    )
    return Asset(
        name=f"{ASSET_PREFIX}{name}",
        uri=f"agents-rollback://{name}/",
        watchers=[AssetWatcher(name="health", trigger=trigger)],
    )
