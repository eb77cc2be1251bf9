"""git in one generation of the mirror: what it fetches, and what it says about the objects there."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from agent_runner.gateway.git_program import GitProgram, GitProgramError
from agent_runner.gateway.room import NoRoomError, Room

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from pathlib import Path

    from agent_runner.gateway.git_program import GitRan
    from agent_runner.gateway.mirror_store import Generation

FETCH_SECONDS = 600.0
"""Limit for fetching what a step waits for."""
HISTORY_SECONDS = 3_600.0
"""Limit for one part of the whole history, for putting packs together, and for the deep check."""
NICENESS = 10

_ASKED = "refs/asked/"
_FORGE = "refs/forge/"
_NO_ROOM = re.compile(r"No space left on device|Disk quota exceeded|File too large")
_CORRUPT = re.compile(
    r"bad object|missing (?:blob|tree|commit|object|necessary)|corrupt|inflate|unable to read|bad tree object"
    r"|[Cc]ould not read|not a git repository|broken ref|does not point to a valid object|is empty"
    r"|did not send all necessary objects|unresolved delta|bad pack|object file|unknown repository|bad config"
)
_ERROR_REACHABLE = 2
_ERROR_PACK = 4
_ERROR_REFS = 8


class FetchError(Exception):
    """git did not fetch; the text is one line for a person.

    :param corrupt: whether the objects that are there are to blame.
    """

    def __init__(self, text: str, *, corrupt: bool) -> None:
        super().__init__(text)
        self.corrupt = corrupt


class MirrorGit:
    """Runs git in a generation.

    :param home: folder of the gateway's own.
    :param background: stand back behind everything else.
    """

    def __init__(self, generation: Generation, home: Path, *, background: bool = False) -> None:
        niceness = NICENESS if background else 0
        room = Room(generation.path, "the mirror", volume="the cache claim", capped=False)
        self._reading = GitProgram(generation.path, home, niceness=niceness)
        self._writing = GitProgram(generation.path, home, room, niceness=niceness)

    async def has(self, commits: Collection[str]) -> bool:
        """Say whether all of ``commits`` are there."""
        return (await self._reading.run("rev-list", "--no-walk", "--quiet", *commits, "--")).ok

    async def holds(self, asked: Mapping[str, str]) -> bool:
        """Say whether what steps have asked for includes all of ``asked``, full name of a ref → commit."""
        found = await self.asked()
        return all(found.get(_ASKED + ref.removeprefix("refs/")) == commit for ref, commit in asked.items())

    async def has_refs(self) -> bool:
        """Say whether anything has been fetched to its end."""
        return bool((await self._reading.run("for-each-ref", "--count=1")).output)

    async def refs_fault(self) -> str | None:
        """Say which of its refs leads nowhere, or ``None``."""
        ran = await self._reading.run("rev-list", "--no-walk", "--quiet", "--all")
        if ran.ok and "broken ref" not in ran.error:
            return None
        return f"not all of its refs lead to a commit: {ran.words}"

    async def fetch_asked(self, url: str, refs: Iterable[str], *, shallow: bool) -> None:
        """Fetch the refs that a step asks for.

        :param url: the repository, as it is fetched without a credential.
        :param shallow: without their history.
        :raises FetchError: they are not given.
        :raises NoRoomError: the claim is full.
        """
        specs = [f"+{ref}:{_ASKED}{ref.removeprefix('refs/')}" for ref in refs]
        await self._fetch(("--depth=1",) if shallow else (), url, specs, FETCH_SECONDS)

    async def fetch_branches(self, url: str, *options: str) -> None:
        """Fetch all branches, and forget those that are no more.

        :param options: how far their history is to go.
        :raises FetchError: they are not given.
        :raises NoRoomError: the claim is full.
        """
        await self._fetch((*options, "--prune"), url, [f"+refs/heads/*:{_FORGE}heads/*"], HISTORY_SECONDS)

    async def tidy(self, *, merge_packs: bool) -> None:
        """Put refs into one file, and many packs into fewer. No object is ever left out.

        :raises GitProgramError: git fails.
        :raises NoRoomError: the claim has no room for it.
        """
        await self._done("pack-refs", "--all")
        if merge_packs:
            await self._done("repack", "--geometric=2", "-d", "-q", "--threads=1", seconds=HISTORY_SECONDS)

    async def corruption(self) -> str | None:
        """Read every object and follow every link; say what is broken, or ``None``.

        Objects that are only malformed, as old programs made them, do not count.

        :raises GitProgramError: git cannot tell.
        """
        ran = await self._reading.run(
            "fsck", "--connectivity-only", "--no-dangling", "--no-progress", seconds=HISTORY_SECONDS
        )
        if ran.code < 0 or ran.code & (_ERROR_REACHABLE | _ERROR_PACK | _ERROR_REFS) or ran.code > 15:
            return ran.words
        ran = await self._reading.run(
            "fsck", "--full", "--no-dangling", "--no-progress",
            seconds=HISTORY_SECONDS,
        )  # fmt: skip
        if ran.code < 0 or ran.code & _ERROR_PACK or ran.code > 15 or _CORRUPT.search(ran.error):
            return ran.words
        return None

    async def forget_asked(self, refs: Mapping[str, str]) -> None:
        """Let go of refs that steps have asked for; their objects stay.

        :param refs: name → commit.
        """
        for ref, commit in refs.items():
            await self._writing.run("update-ref", "-d", ref, commit)

    async def asked(self) -> dict[str, str]:
        """Return the refs that steps have asked for, with their commits."""
        ran = await self._reading.run("for-each-ref", "--format=%(refname) %(objectname)", _ASKED)
        lines = ran.output.decode(errors="replace").splitlines()
        return {ref: commit for ref, _, commit in (line.partition(" ") for line in lines)}

    async def _fetch(self, options: tuple[str, ...], url: str, specs: list[str], seconds: float) -> None:
        try:
            ran = await self._writing.run(
                "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance",
                "--no-show-forced-updates", *options, url, *specs, seconds=seconds,
            )  # fmt: skip
        except GitProgramError as error:
            raise FetchError(str(error), corrupt=False) from None
        if ran.ok:
            return
        _require_room(ran)
        raise FetchError(ran.words, corrupt=_CORRUPT.search(ran.error) is not None)

    async def _done(self, *arguments: str, seconds: float | None = None) -> None:
        ran = await self._writing.run(*arguments, seconds=seconds)
        if not ran.ok:
            _require_room(ran)
            raise GitProgramError(f"git {arguments[0]}: {ran.words}")


def _require_room(ran: GitRan) -> None:
    if _NO_ROOM.search(ran.error):
        raise NoRoomError("the cache claim has no room left for the mirror")
