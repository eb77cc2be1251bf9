"""The mirror of the step's repository: made and kept fresh by the gateway, borrowed from by checkouts.

What a step asks for is fetched first, without its history: that takes as long as a shallow clone, and others
that start at the same time wait for it. The whole history follows in the background, into a generation of its
own (:mod:`~agent_runner.gateway.mirror_history`). git runs without a credential, through the gateway's own
address.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from agent_runner.cache_locks import CacheLock, take
from agent_runner.gateway.git_program import GitProgramError
from agent_runner.gateway.mirror_git import FetchError, MirrorGit
from agent_runner.gateway.mirror_history import complete
from agent_runner.gateway.mirror_store import FILLING, HISTORY, IN_USE, Generation, MirrorStore
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.room import NoRoomError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from pathlib import Path

log = logging.getLogger(__name__)

T = TypeVar("T")

LOCK_SECONDS = 120.0
"""How long another pod may keep the mirror locked before a step goes on without it."""
HISTORY_DELAY_SECONDS = 15.0
"""From when a step got its objects until the whole history is fetched: the checkout goes first."""

_POLL_SECONDS = 0.02
_LONGEST_POLL_SECONDS = 0.1
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
_FULL = "the cache claim is full: enlarge it, or let the housekeeping DAG sweep it more often"


class MirrorUnavailableError(Exception):
    """The mirror cannot be borrowed from; the text names the fault and the remedy."""


@dataclass(frozen=True, slots=True)
class Ready:
    """What may be borrowed from."""

    generation: str
    """Name of the folder that is the bare repository."""
    warning: str = ""
    """Why it is not as fresh as it was asked for; empty where it is."""


class Mirror:
    """One repository's mirror.

    :param folder: the repository's folder on the cache claim.
    :param origin: address of the repository at the forge.
    :param home: folder of the gateway's own, for git; exists.
    """

    def __init__(self, folder: Path, origin: str, home: Path) -> None:
        self._store = MirrorStore(folder, origin)
        self._home = home
        self._handed_out = home / "mirror-handed-out"
        self._in_use = self._still_in_use()
        self._turn = asyncio.Lock()
        self._background: dict[str, asyncio.Task[None]] = {}

    async def ready(self, asked: Mapping[str, str], url: str) -> Ready:
        """Make the mirror hold what a step needs.

        :param asked: full name of a ref → its commit, as the forge has them.
        :param url: the repository, as it is fetched without a credential.
        :raises MirrorUnavailableError: it does not, and is not to be borrowed from.
        """
        async with self._turn:
            found = await self._as_unavailable(self._ready(asked, url))
        self._start("history", self._complete(url))
        return found

    def suspect(self, asked: Mapping[str, str], url: str) -> bool:
        """Check the mirror thoroughly, in the background and once at the most; rebuild it where it is broken.

        :return: whether this is the first time.
        """
        return self._start("check", self._check(asked, url))

    async def close(self) -> None:
        """End what runs in the background, and let go of the mirror."""
        for task in self._background.values():
            task.cancel()
        await asyncio.gather(*self._background.values(), return_exceptions=True)
        if self._in_use is not None:
            self._in_use.close()

    async def _ready(self, asked: Mapping[str, str], url: str) -> Ready:
        fault = await self._join()
        known = self._store.current()
        if known is not None and await self._usable(known, asked):
            return Ready(known.name)
        if fault is None:
            try:
                return await self._filled(asked, url)
            except (NoRoomError, MirrorUnavailableError, FetchError, OSError) as error:
                fault = _words(error)
        # Old objects spare a download too: what is new the checkout fetches itself.
        known = self._store.current()
        if known is not None and known.whole and await self._usable(known, {}):
            return Ready(known.name, fault)
        raise MirrorUnavailableError(fault)

    async def _join(self) -> str | None:
        """Tell others that the mirror is in use; say why it cannot be written, or ``None``."""
        if self._in_use is not None:
            return None
        folder = self._store.folder
        try:
            alone = take(folder / IN_USE, exclusive=True)
            if alone is not None:
                self._store.remove_unused()
                alone.share()
                self._in_use = alone
            else:
                self._in_use = await self._take(IN_USE, exclusive=False)
            self._in_use.touch()
            self._handed_out.touch()
        except OSError as error:
            return _words(error)
        return None

    def _still_in_use(self) -> CacheLock | None:
        """Take the lock again that an earlier gateway of this pod held: its checkout borrows still."""
        if self._handed_out.exists():
            with contextlib.suppress(OSError):
                return take(self._store.folder / IN_USE, exclusive=False)
        return None

    async def _filled(self, asked: Mapping[str, str], url: str) -> Ready:
        before = self._store.current()
        lock = await self._take_unless(FILLING, lambda: self._store.current() != before)
        if lock is None:
            # Another pod has just made one: all who wait for it go on at once, not one after the other.
            known = self._store.current()
            if known is not None and await self._usable(known, asked):
                return Ready(known.name)
            lock = await self._take(FILLING, exclusive=True)
        with lock:
            known = self._store.current()
            if known is not None:
                self._restore(known)
                fault = known.fault(self._store.origin) or await MirrorGit(known, self._home).refs_fault()
                if fault is None:
                    fault = await self._refresh(known, asked, url)
                if fault is None:
                    return Ready(known.name)
                log.warning("mirror: it is not trusted and made anew: %s", printable(fault))
                self._store.withdraw(known)
            return Ready((await self._make(asked, url)).name)

    def _restore(self, known: Generation) -> None:
        """Undo what a killed git left, but not what another pod fetches in the background now."""
        background = take(self._store.folder / HISTORY, exclusive=True)
        with background or contextlib.nullcontext():
            # Into one without history only those fetch who hold the lock that is held here.
            known.restore(alone=background is not None or not known.whole)

    async def _refresh(self, known: Generation, asked: Mapping[str, str], url: str) -> str | None:
        """Fetch what is missing; say why the mirror is broken, or ``None``."""
        git = MirrorGit(known, self._home)
        if await self._holds(known, asked):
            return None
        try:
            await git.fetch_asked(url, asked, shallow=not known.whole)
        except FetchError as error:
            if not error.corrupt:
                raise
            return str(error)
        return None

    async def _make(self, asked: Mapping[str, str], url: str) -> Generation:
        started = time.monotonic()
        made = self._store.make()
        try:
            await MirrorGit(made, self._home).fetch_asked(url, asked, shallow=True)
            self._store.publish(made)
        except BaseException:
            await asyncio.to_thread(self._store.discard, made)
            raise
        log.info("mirror: made, without history, in %.1f s", time.monotonic() - started)
        return made

    async def _usable(self, known: Generation, asked: Mapping[str, str]) -> bool:
        """Whether a generation is sound, as far as that is cheap to see, and holds what is asked for."""
        try:
            if known.fault(self._store.origin) is not None:
                return False
        except OSError:
            return False
        there = await self._holds(known, asked) if asked else True
        return there and await MirrorGit(known, self._home).refs_fault() is None

    async def _holds(self, known: Generation, asked: Mapping[str, str]) -> bool:
        git = MirrorGit(known, self._home)
        # Where history is cut off is written before the refs are: without them it may not be known yet.
        return await (git.has(asked.values()) if known.whole else git.holds(asked))

    async def _check(self, asked: Mapping[str, str], url: str) -> None:
        known = self._store.current()
        if known is None:
            return
        broken = await MirrorGit(known, self._home, background=True).corruption()
        if broken is None:
            log.info("mirror: a checkout failed with it, but all of its objects are sound")
            return
        log.warning("mirror: it is corrupt and made anew: %s", printable(broken))
        async with self._turn:
            with await self._take(FILLING, exclusive=True):
                if self._store.current() == known:
                    self._store.withdraw(known)
                    await self._make(asked, url)

    async def _complete(self, url: str) -> None:
        await asyncio.sleep(HISTORY_DELAY_SECONDS)
        await complete(self._store, self._home, url, lambda: self._take(FILLING, exclusive=True))

    def _start(self, name: str, work: Coroutine[None, None, None]) -> bool:
        if name in self._background:
            work.close()
            return False
        self._background[name] = asyncio.create_task(self._quietly(name, work))
        return True

    async def _quietly(self, name: str, work: Coroutine[None, None, None]) -> None:
        try:
            await self._as_unavailable(work)
        except MirrorUnavailableError as error:
            log.warning("mirror: %s: %s", name, printable(str(error)))

    async def _as_unavailable(self, work: Coroutine[None, None, T]) -> T:
        try:
            return await work
        except (NoRoomError, FetchError, GitProgramError, OSError) as error:
            raise MirrorUnavailableError(_words(error)) from None

    async def _take(self, name: str, *, exclusive: bool) -> CacheLock:
        lock = await self._take_unless(name, lambda: False, exclusive=exclusive)
        if lock is None:
            raise RuntimeError("nothing but the lock was waited for")
        return lock

    async def _take_unless(
        self, name: str, over: Callable[[], bool], *, exclusive: bool = True
    ) -> CacheLock | None:
        """Wait for a lock; return ``None`` where ``over`` came true before."""
        limit, pause = time.monotonic() + LOCK_SECONDS, _POLL_SECONDS
        while (lock := take(self._store.folder / name, exclusive=exclusive)) is None:
            if over():
                return None
            if time.monotonic() > limit:
                raise MirrorUnavailableError(
                    f"another pod has kept the mirror locked for {LOCK_SECONDS:.0f} s: it is slow or hangs; if "
                    "that stays so, end that pod"
                )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_POLL_SECONDS)
        return lock


def _words(error: Exception) -> str:
    if isinstance(error, NoRoomError) or (isinstance(error, OSError) and error.errno in _NO_SPACE):
        return _FULL
    if isinstance(error, OSError) and error.errno in _UNWRITABLE:
        return f"the gateway cannot write the cache claim ({error.strerror}): mount it read-write, for group 1000"
    if isinstance(error, OSError):
        return f"the cache claim does not work: {error.strerror or type(error).__name__}"
    return str(error)
