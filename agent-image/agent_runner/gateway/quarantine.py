"""Where a push waits on disk while it is looked at: what is in it, and what it would change.

The forge's commits and folders are fetched ahead, without files, through the gateway's own address: so the
programs that work here hold no credential. Those few files of the forge that a push builds on git fetches by
itself when it needs them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import shutil
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from agent_runner.gateway.git_program import GitProgram, GitProgramError, GitRan
from agent_runner.gateway.protected_paths import ProtectedPaths
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.pushed_changes import violations
from agent_runner.gateway.room import NoRoomError, Room

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
    from pathlib import Path

    from agent_runner.gateway.push_request import Command
    from agent_runner.gateway.pushed_changes import Violation

log = logging.getLogger(__name__)

EXAMINE_SECONDS = 1_200.0
"""Limit for looking at one push."""

_BATCH_BYTES = 1 << 20
_CHECK_BYTES = 16 << 20
_REFS = ("+refs/heads/*:refs/forge/heads/*", "+refs/tags/*:refs/forge/tags/*")
_FORGES = "--glob=refs/forge/*"
_FILTERS = ("blob:none", None)
"""What is left out of the forge's history; the next where a forge refuses one. Not ``tree:0``: git then asks
for missing folders and files at once, and a server (git 2.39) leaves out a file that a folder it sends holds.
"""
_REFUSED_FILTER = re.compile(r"\bfilter\b", re.IGNORECASE)
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|File too large|[Oo]ut of memory")
_CONFIG = """\
[core]
	repositoryformatversion = 1
	bare = true
[extensions]
	partialClone = forge
[remote "forge"]
	url = {url}
	promisor = true
	partialclonefilter = blob:none
"""


class QuarantineError(Exception):
    """A push cannot be looked at, so it is not let through.

    :param reason: a few words, to stand beside the ref.
    :param advice: what the pusher can do.
    """

    def __init__(self, reason: str, advice: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = advice


class HeldPush:
    """A whole push request on disk, to be sent on as it came."""

    def __init__(self, file: Path, pack_offset: int) -> None:
        self.file = file
        self.pack_offset = pack_offset
        self._sent = False

    @property
    def complete(self) -> bool:
        """Whether all of it was handed on."""
        return self._sent

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with self.file.open("rb") as file:
            while chunk := await asyncio.to_thread(file.read, _BATCH_BYTES):
                yield chunk
        self._sent = True

    async def drain(self) -> bool:
        """Return ``True``: the client's request was read to its end before."""
        return True


class Quarantine:
    """Holds one push at a time.

    :param folder: on the gateway's own volume; emptied, as a process that was killed left it.
    :param patterns: of the protected paths.
    """

    def __init__(self, folder: Path, patterns: Iterable[str]) -> None:
        self._folder = folder
        self._protected = ProtectedPaths(patterns)
        shutil.rmtree(folder, ignore_errors=True)
        self._history = _History(folder)
        self._push = folder / "push"

    @asynccontextmanager
    async def hold(
        self, body: AsyncIterable[bytes], pack_offset: int, size: int | None
    ) -> AsyncIterator[HeldPush]:
        """Write the request to disk; on leaving, remove it and all that came of it.

        :param pack_offset: where in the body the pack begins.
        :param size: length of the body, where the client told it.
        :raises QuarantineError: if there is no room for it.
        """
        file = self._push / "request"
        try:
            with _as_refusal():
                await asyncio.to_thread(self._empty)
                await _write(body, file, Room(self._push, "the push"), size or 0)
            yield HeldPush(file, pack_offset)
        finally:
            await asyncio.to_thread(shutil.rmtree, self._push, ignore_errors=True)

    async def examine(self, held: HeldPush, command: Command, url: str) -> tuple[Violation, ...]:
        """Return which protected paths the push would change.

        :param url: the repository, as it is fetched without a credential.
        :raises QuarantineError: if the push is not whole, has objects that git refuses, or cannot be looked
            at for another reason.
        """
        objects = self._push / "objects"
        with _as_refusal():
            async with asyncio.timeout(EXAMINE_SECONDS):
                await self._history.refresh(url)
                git = self._history.git.with_objects(objects, Room(objects, "what the push unpacks to"))
                await self._unpack(git, held)
                await _check_type(git, command)
                known = [_FORGES] if command.is_create else [_FORGES, command.old]
                return await violations(git, command.new, known, self._protected, self._push)

    async def _unpack(self, git: GitProgram, held: HeldPush) -> None:
        with held.file.open("rb") as pack:
            pack.seek(held.pack_offset)
            # Not --strict, which wants every object that a new folder names: here they are at the forge, and
            # the forge itself asks for them.
            ran = await git.run(
                "index-pack", "--stdin", "--fix-thin", "--fsck-objects", "--threads=1", stdin=pack
            )  # fmt: skip
        if ran.ok:
            return
        if _NO_ROOM.search(ran.error):
            raise NoRoomError(f"what the push unpacks to has no room: {ran.words}")
        log.warning("push: git index-pack: %s", printable(ran.words))
        raise QuarantineError(
            "git refuses what was sent",
            f"git could not take in the objects of this push: {printable(ran.words)}",
        )

    def _empty(self) -> None:
        shutil.rmtree(self._push, ignore_errors=True)
        (self._push / "objects").mkdir(parents=True)


class _History:
    """The commits of the forge's branches and tags, in a bare repository."""

    def __init__(self, folder: Path) -> None:
        self._repository = folder / "history.git"
        room = Room(self._repository, "the history of the repository")
        self.git = GitProgram(self._repository, folder, room)
        self._filters = list(_FILTERS)
        self._usable = False

    async def refresh(self, url: str) -> None:
        """Fetch what is new.

        :raises GitProgramError: if the forge does not give it.
        :raises NoRoomError: if it is too large.
        """
        # A git that was killed leaves locks and halves behind: then the next one starts from nothing.
        usable, self._usable = self._usable, False
        try:
            if not usable:
                await self._make(url)
            await self._fetch_all()
        except NoRoomError:
            await asyncio.to_thread(shutil.rmtree, self._repository, ignore_errors=True)
            raise

    async def _fetch_all(self) -> None:
        while not (ran := await self._fetch(self._filters[0])).ok:
            if _NO_ROOM.search(ran.error):
                raise NoRoomError(f"the history of the repository has no room: {ran.words}")
            if len(self._filters) == 1 or not _REFUSED_FILTER.search(ran.error):
                self._usable = True
                raise GitProgramError(f"the forge's branches could not be fetched: {ran.words}")
            self._filters.pop(0)
        self._usable = True

    async def _fetch(self, leave_out: str | None) -> GitRan:
        return await self.git.run(
            "fetch", "--quiet", "--prune", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
            f"--filter={leave_out}" if leave_out else "--no-filter", "forge", *_REFS,
        )  # fmt: skip

    async def _make(self, url: str) -> None:
        await asyncio.to_thread(shutil.rmtree, self._repository, ignore_errors=True)
        self._repository.parent.mkdir(parents=True, exist_ok=True)
        ran = await self.git.run("init", "--quiet", "--bare", "--template=")
        if not ran.ok:
            raise GitProgramError(ran.words)
        (self._repository / "config").write_text(_CONFIG.format(url=url))


async def _write(body: AsyncIterable[bytes], file: Path, room: Room, size: int) -> None:
    room.check(size)
    batch, unchecked = bytearray(), 0
    with file.open("wb") as target:
        async for chunk in body:
            batch += chunk
            if len(batch) >= _BATCH_BYTES:
                await asyncio.to_thread(target.write, batch)
                unchecked += len(batch)
                batch.clear()
            if unchecked >= _CHECK_BYTES:
                unchecked = 0
                await asyncio.to_thread(room.check)
        target.write(batch)
    room.check()


async def _check_type(git: GitProgram, command: Command) -> None:
    ran = await git.run("cat-file", "-t", command.new)
    found = ran.output.decode(errors="replace").strip()
    if not ran.ok:
        raise QuarantineError(
            "the commit is missing",
            f"Neither this push nor the forge has the commit {command.new[:12]}. Push again.",
        )
    if found != "commit":
        raise QuarantineError("not a commit", f"{command.new[:12]} is a {printable(found)}, not a commit.")


@contextmanager
def _as_refusal() -> Iterator[None]:
    """Turn what may go wrong on this side into a refusal of the push."""
    try:
        yield
    except NoRoomError as error:
        raise QuarantineError(
            "the push is too large to be checked",
            f"{printable(str(error))}. Push fewer or smaller files; large ones do not belong into a repository.",
        ) from None
    except GitProgramError as error:
        raise QuarantineError(
            "the push could not be checked",
            f"Before a push is let through, it is checked for protected paths: {printable(str(error))}",
        ) from None
    except TimeoutError:
        raise QuarantineError(
            "the push could not be checked",
            f"Its check for protected paths took longer than {EXAMINE_SECONDS:.0f} s. Push fewer commits.",
        ) from None
    except ConnectionError:
        raise
    except OSError as error:
        raise QuarantineError(
            "the push could not be checked",
            f"The gateway's volume does not work: {error.strerror or type(error).__name__}.",
        ) from None
