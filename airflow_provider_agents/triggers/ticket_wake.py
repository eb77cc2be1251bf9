"""Tells Airflow's scheduler that a source of tickets changed, so that its sync need not wait for its time."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_agents.domain.webhook_marks import changed
from airflow_provider_agents.triggers.wake_variable import wake_reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from airflow.sdk import Asset

QUIET_SECONDS = 5.0
"""No event in this time after the start: a triggerer that starts has first to take up what waits."""
SETTLE_SECONDS = 2.0
"""Time from a change to its event, in which further changes join it."""
GAP_SECONDS = 10.0
"""Shortest time between two events of one source."""
MOST_NAMES_TOLD = 20
STORE_SECONDS = 10.0
STORE_KEY = "wake_marks"


class TicketWakeTrigger(BaseEventTrigger):
    """Watches for an asset, for ever: fires an event when the wake Variable has another mark for a name.

    All of them in a triggerer share one reader of the Variable. What changed while no triggerer ran is found by
    the marks that the trigger left in the asset's state store; where there are none, every mark counts as a
    change once. An event says no more than that it is worth to look: its payload is ``{"names": […]}``.

    :param source: name of the source; keeps apart two sources that listen to the same names.
    :param names: as of :func:`~airflow_provider_agents.domain.webhook_events.names_of_source`; case does not
        count.
    """

    supports_triggerer_queue = True

    def __init__(self, *, source: str, names: Sequence[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.source = source
        self.names = list(names)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-ready."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"source": self.source, "names": self.names},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield an event for each change; it ends by being cancelled."""
        reader = wake_reader()
        if reader is None:
            self.log.info(
                "[agents] wake_variable is empty: %s is looked at by its schedule alone.", self.source
            )
            await asyncio.Event().wait()
            return
        wanted = {name.casefold() for name in self.names}
        latest: Mapping[str, object] = {}
        news = asyncio.Event()

        def take(marks: Mapping[str, object]) -> None:
            nonlocal latest
            latest = {name.casefold(): mark for name, mark in marks.items() if name.casefold() in wanted}
            news.set()

        loop = asyncio.get_running_loop()
        earliest = loop.time() + QUIET_SECONDS
        known = await self._stored()
        with reader.listening(take):
            while True:
                await news.wait()
                news.clear()
                if not changed(known, latest):
                    continue
                await asyncio.sleep(max(SETTLE_SECONDS, earliest - loop.time()))
                news.clear()
                names, known = changed(known, latest), latest
                earliest = loop.time() + GAP_SECONDS
                self.log.info("Woken by %s", ", ".join(names[:MOST_NAMES_TOLD]))
                yield TriggerEvent({"names": names[:MOST_NAMES_TOLD]})  # type: ignore[no-untyped-call]
                await self._store(known)

    async def _stored(self) -> Mapping[str, object]:
        """Return the marks of the last event; none where they cannot be had."""
        if self.asset_state_store is not None:
            with contextlib.suppress(Exception):  # without them the source is looked at once too often
                async with asyncio.timeout(STORE_SECONDS):
                    stored = await self.asset_state_store.aget(STORE_KEY)
                    return stored if isinstance(stored, dict) else {}
        return {}

    async def _store(self, marks: Mapping[str, object]) -> None:
        """Keep the marks for the next triggerer."""
        if self.asset_state_store is not None:
            with contextlib.suppress(Exception):
                async with asyncio.timeout(STORE_SECONDS):
                    await self.asset_state_store.aset(STORE_KEY, dict(marks))  # type: ignore[arg-type]


def wake_asset(source: str, names: Sequence[str]) -> Asset:
    """Return the asset that a DAG is scheduled on, to run when one of ``names`` is marked.

    :param source: name of the source of tickets; the asset is called ``agents_tickets__<source>``.
    """
    from airflow.sdk import Asset, AssetWatcher

    trigger = TicketWakeTrigger(source=source, names=names)
    return Asset(
        name=f"agents_tickets__{source}",
        uri=f"agents-tickets://{source}/",
        watchers=[AssetWatcher(name="wake", trigger=trigger)],
    )
