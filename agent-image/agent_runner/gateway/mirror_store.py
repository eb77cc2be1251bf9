"""A repository's mirror on the cache claim: its folder, and which of what is in it may be trusted.

The mirror is a bare repository, a *generation*. Which one counts is said by the file ``current``, which is
replaced as a whole once a generation is complete: so nobody sees half of one, whatever is killed when. A
generation that is found broken, or that a better one follows, stays until no gateway is left that handed it out.

::

    lock      shared by each gateway for as long as it runs, and by each step that borrows; who holds it alone
              may remove anything
    filling   held while refs and objects that a step waits for are fetched: always short
    history   held while the whole history is fetched, in the background
    current   name of the generation that counts
    next      name of the one that is to follow: the whole history, as far as it has come
    g-…       generations
"""

from __future__ import annotations

import json
import os
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_runner.contract import SHA_PATTERN
from agent_runner.files import read_small, remove, replace
from agent_runner.mirror_request import LOCK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IN_USE = LOCK
FILLING = "filling"
HISTORY = "history"
GENERATION_PATTERN = re.compile(r"g-[0-9a-f]{16}")

_VERSION = 1
_ORIGIN_FILE = "mirror.json"
_PARTS_FILE = "parts-done"
_MAX_SMALL_BYTES = 1 << 20
_TRAILER_BYTES = 20
_CONFIG = """\
[core]
	repositoryformatversion = 0
	bare = true
	logAllRefUpdates = false
	filesRefLockTimeout = 10000
	packedRefsTimeout = 10000
[fetch]
	unpackLimit = 1
	writeCommitGraph = false
[pack]
	windowMemory = 64m
"""
"""Written anew before each use. Every fetch becomes a pack, whose end can be checked cheaply."""
_HEAD = "ref: refs/heads/none\n"
_LEFTOVERS = ("*.lock", "refs/**/*.lock", "objects/pack/tmp_*", "objects/pack/.tmp-*")
_LEFTOVERS_OF_FILLING = ("refs/asked/**/*.lock",)
"""Only who holds :data:`FILLING` changes these refs."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One bare repository of the mirror."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def objects(self) -> Path:
        return self.path / "objects"

    @property
    def whole(self) -> bool:
        """Whether it has the history to its beginning."""
        return not (self.path / "shallow").exists()

    def packs(self) -> int:
        """Return how many packs there are."""
        return sum(1 for _ in (self.path / "objects/pack").glob("*.pack"))

    def parts_done(self) -> int:
        """Return how many parts of the history have been fetched, one after the other."""
        text = read_small(self.path / _PARTS_FILE, 16)
        return int(text) if text.isdigit() else 0

    def note_parts_done(self, number: int) -> None:
        """Remember how many parts have been fetched.

        :raises OSError: it cannot be written.
        """
        replace(self.path / _PARTS_FILE, str(number))

    def restore(self, *, alone: bool = True) -> None:
        """Undo what a git that was killed left, and write what configures git anew.

        :param alone: no git of another pod is at work here in the background; else what may be its is left.
        :raises OSError: it cannot be written.
        """
        for name, text in (("config", _CONFIG), ("HEAD", _HEAD)):
            if read_small(self.path / name, _MAX_SMALL_BYTES) != text.encode():
                replace(self.path / name, text)
        for name in ("hooks", "info", "objects/info", "config.worktree", "commondir", "worktrees", "modules"):
            remove(self.path / name)
        for pattern in _LEFTOVERS if alone else _LEFTOVERS_OF_FILLING:
            for leftover in self.path.glob(pattern):
                remove(leftover)

    def fault(self, origin: str) -> str | None:
        """Say why it cannot be trusted, as far as that is cheap to see, or ``None``.

        :param origin: what it has to be a mirror of.
        :raises OSError: it cannot be read.
        """
        if self._origin() != origin:
            return "it is not a mirror of this repository"
        shallow = self.path / "shallow"
        if shallow.exists() and not _all_commits(shallow):
            return "its list of cut-off commits is not readable"
        return next(self._broken_packs(), None)

    def _origin(self) -> str | None:
        try:
            found = json.loads(read_small(self.path / _ORIGIN_FILE, _MAX_SMALL_BYTES))
        except ValueError:
            return None
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            return None
        return str(found.get("origin"))

    def _broken_packs(self) -> Iterator[str]:
        folder = self.path / "objects/pack"
        for index in sorted(folder.glob("*.idx")):
            pack = index.with_suffix(".pack")
            try:
                # An index ends in the pack's checksum and its own; a pack in its checksum.
                if _end(index, 2 * _TRAILER_BYTES)[:_TRAILER_BYTES] != _end(pack, _TRAILER_BYTES):
                    yield f"{pack.name} is not the pack that its index is of"
            except FileNotFoundError:
                # What another gateway has just put together with others is gone with its index.
                if index.exists():
                    yield f"{pack.name} is missing"
        for pack in folder.glob("*.pack"):
            if not pack.with_suffix(".idx").exists() and pack.exists():
                yield f"{pack.name} has no index"


class MirrorStore:
    """The folder of one repository's mirror.

    :param folder: the mount; exists.
    :param origin: address of the repository, which generations remember.
    """

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder = folder
        self.origin = origin

    def current(self) -> Generation | None:
        """Return the generation that counts; it may be broken."""
        return self._named("current")

    def next(self) -> Generation | None:
        """Return the one that is to follow."""
        return self._named("next")

    def make(self) -> Generation:
        """Make an empty generation, which does not count yet.

        :raises OSError: it cannot be written.
        """
        generation = Generation(self.folder / f"g-{secrets.token_hex(8)}")
        for name in ("objects/pack", "refs/heads"):
            (generation.path / name).mkdir(parents=True)
        replace(generation.path / _ORIGIN_FILE, json.dumps({"version": _VERSION, "origin": self.origin}))
        generation.restore()
        return generation

    def set_next(self, generation: Generation) -> None:
        """Remember a generation that is to follow.

        :raises OSError: it cannot be written.
        """
        replace(self.folder / "next", generation.name)

    def publish(self, generation: Generation) -> None:
        """Make a complete generation the one that counts.

        :raises OSError: it cannot be written.
        """
        replace(self.folder / "current", generation.name)
        if self.next() == generation:
            remove(self.folder / "next")

    def withdraw(self, generation: Generation) -> None:
        """Let a generation count no more; gateways that have handed it out go on with it.

        :raises OSError: it cannot be written.
        """
        for name in ("current", "next"):
            if self._named(name) == generation:
                remove(self.folder / name)

    def discard(self, generation: Generation) -> None:
        """Remove a generation that nobody else knows of.

        :raises OSError: it cannot be removed.
        """
        self.withdraw(generation)
        remove(generation.path)

    def remove_unused(self) -> None:
        """Remove all that does not count; only for who holds :data:`IN_USE` alone.

        :raises OSError: something cannot be removed.
        """
        kept = {generation.name for generation in (self.current(), self.next()) if generation}
        for path in self.folder.glob("g-*"):
            if path.name not in kept:
                remove(path)
        for path in self.folder.glob(".*"):
            remove(path)  # of a pointer that was never renamed

    def _named(self, pointer: str) -> Generation | None:
        name = read_small(self.folder / pointer, 64).decode(errors="replace").strip()
        if not GENERATION_PATTERN.fullmatch(name):
            return None
        generation = Generation(self.folder / name)
        return generation if generation.path.is_dir() and not generation.path.is_symlink() else None


def _all_commits(file: Path) -> bool:
    lines = read_small(file, _MAX_SMALL_BYTES).decode(errors="replace").splitlines()
    return bool(lines) and all(SHA_PATTERN.fullmatch(line) for line in lines)


def _end(file: Path, size: int) -> bytes:
    with file.open("rb") as opened:
        length = opened.seek(0, os.SEEK_END)
        if length < size:
            return b""
        opened.seek(-size, os.SEEK_END)
        return opened.read(size)
