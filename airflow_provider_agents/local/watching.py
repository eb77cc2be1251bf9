"""Watch requests: changes of objects as they happen, one JSON line each."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aiohttp import web

from airflow_provider_agents.local.api_errors import ApiError, Json
from airflow_provider_agents.local.server import number

if TYPE_CHECKING:
    from airflow_provider_agents.local.objects import Change, ObjectStore
    from airflow_provider_agents.local.selectors import Selector

LONGEST = 3_600
"""Seconds after which a watch without ``timeoutSeconds`` ends; clients start again."""

MAX_PENDING = 1_000
"""Changes that may wait for a slow client; then the watch ends."""


async def watch(
    request: web.Request,
    store: ObjectStore,
    resource: str,
    namespace: str | None,
    selector: Selector,
    seconds: int | None,
) -> web.StreamResponse:
    """Answer a watch.

    Without ``resourceVersion`` it starts with the objects that exist, as added; with one, with the changes
    after that version.

    :param seconds: after which the watch ends.
    """
    version = number(request, "resourceVersion") or 0
    pending: asyncio.Queue[Change] = asyncio.Queue(MAX_PENDING)
    overrun = asyncio.Event()

    def keep(change: Change) -> None:
        try:
            pending.put_nowait(change)
        except asyncio.QueueFull:
            overrun.set()

    past = store.changes_since(version) if version else []
    existing = (
        [] if version else [item for item in store.items(resource, namespace) if selector.matches(item)]
    )
    unsubscribe = store.subscribe(keep)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    try:
        await response.prepare(request)
        if past is None:
            error = ApiError(410, "Expired", f"too old resource version: {version} (now {store.version})")
            await _send(response, "ERROR", error.status())
            return response
        for item in existing:
            await _send(response, "ADDED", item)
        async with asyncio.timeout(seconds or LONGEST):
            for change in past:
                await _pass_on(response, change, resource, namespace, selector)
            while not overrun.is_set():
                await _pass_on(response, await pending.get(), resource, namespace, selector)
    except TimeoutError:
        await response.write_eof()
    finally:
        unsubscribe()
    return response


async def _pass_on(
    response: web.StreamResponse, change: Change, resource: str, namespace: str | None, selector: Selector
) -> None:
    """Send a change as those see it who see only what is selected."""
    if change.resource != resource or namespace not in (None, change.item["metadata"]["namespace"]):
        return
    before = change.previous is not None and selector.matches(change.previous)
    after = change.type != "DELETED" and selector.matches(change.item)
    if before or after:
        kind = "MODIFIED" if before and after else "ADDED" if after else "DELETED"
        await _send(response, kind, change.item)


async def _send(response: web.StreamResponse, kind: str, item: Json) -> None:
    await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
