"""What the watcher of a rule told last, kept in the asset's state store for the next triggerer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

log = logging.getLogger(__name__)

STORE_SECONDS = 10.0
INDEX_KEY = "watch"
PART_KEY = "watch_{}"
LOOK_AT_KEY = "look_at"
PART_CHARACTERS = 48_000
"""Of one value; Airflow's advice is 64 kB."""
MOST_PARTS = 20
"""What is beyond is told once more by the next triggerer."""
_LAYOUT = 1

Digests = dict[str, dict[int, str]]
"""By repository and number: :func:`~airflow_provider_agents.domain.pr_rule_selector.visible`."""


class Store(Protocol):
    """The asset's state store."""

    async def aget(self, key: str, default: Any = None) -> Any: ...

    async def aset(self, key: str, value: Any) -> None: ...


async def recall(store: Store | None) -> tuple[str, Digests] | None:
    """Return the rule's version and the digests of the last event; ``None`` where they cannot be had."""
    if store is None:
        return None
    with contextlib.suppress(Exception):  # without them the rule is looked at once too often
        async with asyncio.timeout(STORE_SECONDS):
            index = await store.aget(INDEX_KEY)
            if not isinstance(index, dict) or index.get("layout") != _LAYOUT:
                return None
            found: Digests = {}
            for number in range(int(index["parts"])):
                part = await store.aget(PART_KEY.format(number))
                for repository, digests in (part if isinstance(part, dict) else {}).items():
                    known = found.setdefault(repository, {})
                    known.update({int(key): str(digest) for key, digest in digests.items()})
            return str(index["version"]), found
    return None


async def remember(store: Store | None, version: str, digests: Digests) -> None:
    """Keep what an event told; where that fails, the next triggerer tells it again."""
    if store is None:
        return
    try:
        async with asyncio.timeout(STORE_SECONDS):
            count = 0
            for count, part in enumerate(_parts(digests), 1):
                await store.aset(PART_KEY.format(count - 1), part)
            await store.aset(INDEX_KEY, {"layout": _LAYOUT, "version": version, "parts": count})
    except Exception as error:
        log.warning(
            "What was told could not be kept, so the next triggerer tells it again: %s: %s",
            type(error).__name__,
            error,
        )


async def look_at(store: Store | None) -> str:
    """Return the moment at which the rule wants to look, as its last run left it; empty where there is none."""
    if store is not None:
        with contextlib.suppress(Exception):  # it is asked again soon
            async with asyncio.timeout(STORE_SECONDS):
                found = await store.aget(LOOK_AT_KEY)
                return found if isinstance(found, str) else ""
    return ""


def _parts(digests: Digests) -> Iterator[Mapping[str, Mapping[str, str]]]:
    """Divide the digests so that each part is short enough."""
    part: dict[str, dict[str, str]] = {}
    size = count = 0
    for repository, of_repository in digests.items():
        for number, digest in of_repository.items():
            entry = len(str(number)) + len(digest) + 8
            entry += len(json.dumps(repository)) + 6 if repository not in part else 0
            if size + entry > PART_CHARACTERS:
                count += 1
                if count == MOST_PARTS:
                    return
                yield part
                part, size = {}, 0
                entry += len(json.dumps(repository)) + 6
            part.setdefault(repository, {})[str(number)] = digest
            size += entry
    if part:
        yield part
