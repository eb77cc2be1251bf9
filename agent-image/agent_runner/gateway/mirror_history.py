"""The whole history for the mirror: fetched in the background, a part at a time, and tidied when it is there."""

from __future__ import annotations

import logging
import shutil
import time
from typing import TYPE_CHECKING

from agent_runner.cache_locks import CacheLock, take
from agent_runner.gateway.mirror_git import FetchError, MirrorGit
from agent_runner.gateway.mirror_store import HISTORY, Generation
from agent_runner.gateway.push_request import printable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from agent_runner.gateway.mirror_store import MirrorStore

log = logging.getLogger(__name__)

PARTS = ("--depth=200", "--depth=2000", "--depth=20000", "--unshallow")
"""How far each part goes. What a gateway has fetched before it ended the next one need not fetch again."""
MOST_PACKS = 40
"""Every fetch makes a pack; with more of them git gets slow."""


async def complete(
    store: MirrorStore, home: Path, url: str, filling: Callable[[], Awaitable[CacheLock]]
) -> None:
    """Give the mirror its whole history, or all branches as they are now where it has that. Only one pod of
    the repository does so at a time; the others return at once.

    :param home: folder of the gateway's own, for git.
    :param url: the repository, as it is fetched without a credential.
    :param filling: takes the lock of what steps wait for.
    :raises FetchError: the forge does not give it.
    :raises NoRoomError: the claim is full.
    :raises GitProgramError: git fails.
    :raises OSError: the claim does not work.
    """
    lock = take(store.folder / HISTORY, exclusive=True)
    if lock is None:
        return
    with lock:
        known = store.current()
        if known is None:
            return
        if not known.whole:
            known = await _fetch_history(store, home, url)
            with await filling():
                store.publish(known)
            return
        git = MirrorGit(known, home, background=True)
        # What steps asked for before is there again, as branches, or is no more at the forge.
        asked = await git.asked()
        await git.fetch_branches(url)
        with await filling():
            await git.forget_asked(asked)
            await git.tidy(merge_packs=known.packs() > MOST_PACKS and _room_to_merge(known))


async def _fetch_history(store: MirrorStore, home: Path, url: str) -> Generation:
    started = time.monotonic()
    made = await _to_go_on_with(store, home)
    if made is None:
        made = store.make()
        store.set_next(made)
    git = MirrorGit(made, home, background=True)
    # By its refs: where its history is cut off is written after the packs and before them.
    begun = await git.has_refs()
    try:
        for number, part in enumerate(PARTS):
            if begun and made.whole:
                break
            # Less history than is there would cut it off again.
            if begun and number < made.parts_done():
                continue
            await git.fetch_branches(url, part)
            begun = True
            made.note_parts_done(number + 1)
        await git.tidy(merge_packs=False)
    except FetchError as error:
        if error.corrupt:
            store.discard(made)
        raise
    log.info("mirror: the whole history is there, after %.1f s", time.monotonic() - started)
    return made


async def _to_go_on_with(store: MirrorStore, home: Path) -> Generation | None:
    """Return the generation that another gateway has begun, if it is sound."""
    begun = store.next()
    if begun is None:
        return None
    begun.restore()
    fault = begun.fault(store.origin) or await MirrorGit(begun, home).refs_fault()
    if fault is None:
        return begun
    log.warning("mirror: what there is of the history is not trusted: %s", printable(fault))
    store.discard(begun)
    return None


def _room_to_merge(generation: Generation) -> bool:
    size = sum(file.stat().st_size for file in (generation.path / "objects/pack").iterdir())
    return shutil.disk_usage(generation.path).free > 2 * size
