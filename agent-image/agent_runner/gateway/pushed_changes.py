"""What the new commits of a push change: each of them, against each of its parents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_runner.gateway.git_program import GitProgramError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from agent_runner.gateway.git_program import GitProgram
    from agent_runner.gateway.protected_paths import ProtectedPaths

MAX_COMMITS = 50_000
"""New commits of one push."""
MAX_CHANGES = 10_000
"""Changes of protected paths in one push, those included that a merge may bring."""

_MAX_RECORD_BYTES = 1 << 20
_LINKS = ("120000", "160000")
"""Modes of symbolic links and submodules."""


@dataclass(frozen=True, slots=True)
class Violation:
    """A protected path that a new commit changes."""

    path: str
    """Bytes that are not UTF-8 are surrogate escapes."""
    commit: str


@dataclass(frozen=True, slots=True)
class _Commit:
    id: str
    parents: tuple[str, ...]


async def violations(
    git: GitProgram, new: str, known: Sequence[str], protected: ProtectedPaths, scratch: Path
) -> tuple[Violation, ...]:
    """Return which protected paths are changed by commits that the forge does not have yet.

    A commit with one parent, or none, changes what differs from it. A merge changes nothing where it takes
    from its parents what git itself would: a path that differs from one parent only because the other has
    moved on since they parted. So the base branch may be merged with all that it brings; to take an
    older version of a path than the base branch has is a change.

    :param new: the commit that is pushed.
    :param known: revisions, or options such as ``--glob``, that name what the forge has.
    :param scratch: folder for lists of commits.
    :raises GitProgramError: if git cannot tell, as for an object that is missing.
    """
    commits = await _new_commits(git, new, known)
    pairs = [(commit.id, parent) for commit in commits for parent in commit.parents or (None,)]
    changed = await _changed(git, pairs, protected, scratch)
    found: list[Violation] = []
    for commit in commits:
        if len(commit.parents) < 2:
            paths = changed.get((commit.id, commit.parents[0] if commit.parents else None), set())
        else:
            paths = await _changed_by_merge(
                git, commit, [changed.get((commit.id, parent), set()) for parent in commit.parents],
                protected, scratch,
            )  # fmt: skip
        found += [Violation(path, commit.id) for path in sorted(paths)]
    return tuple(found)


async def _new_commits(git: GitProgram, new: str, known: Sequence[str]) -> list[_Commit]:
    """Return the new commits, oldest first."""
    ran = await git.run(
        "rev-list", "--parents", "--topo-order", "--reverse", f"--max-count={MAX_COMMITS + 1}",
        new, "--not", *known,
    )  # fmt: skip
    if not ran.ok:
        raise GitProgramError(ran.words)
    commits = [
        _Commit(words[0], tuple(words[1:]))
        for line in ran.output.splitlines()
        if (words := line.decode().split())
    ]
    if len(commits) > MAX_COMMITS:
        raise GitProgramError(f"it has more than {MAX_COMMITS:,} commits that the forge does not have")
    return commits


async def _changed_by_merge(
    git: GitProgram,
    merge: _Commit,
    differing: list[set[str]],
    protected: ProtectedPaths,
    scratch: Path,
) -> set[str]:
    """Return the protected paths of which the merge has another version than git would have taken.

    :param differing: for each parent, the protected paths that differ from it.
    """
    paths = set().union(*differing)
    changed = set()
    for path in paths:
        others = [parent for parent, paths in zip(merge.parents, differing, strict=True) if path in paths]
        same = [parent for parent in merge.parents if parent not in others]
        for other in others:
            if not await _any_moved_on(git, path, other, same, protected, scratch):
                changed.add(path)
    return changed


async def _any_moved_on(
    git: GitProgram, path: str, other: str, same: Iterable[str], protected: ProtectedPaths, scratch: Path
) -> bool:
    """Return whether ``path`` at ``other`` is as it was when it parted from one of ``same``."""
    for parent in same:
        ran = await git.run("merge-base", "--all", parent, other)
        bases = ran.output.decode().split()
        moved = await _changed(git, [(other, base) for base in bases], protected, scratch)
        if any(path not in moved.get((other, base), set()) for base in bases):
            return True
    return False


_Pair = tuple[str, str | None]
"""A commit, and the one to compare it with; ``None``: with nothing."""


async def _changed(
    git: GitProgram, pairs: Sequence[_Pair], protected: ProtectedPaths, scratch: Path
) -> dict[_Pair, set[str]]:
    """Return the protected paths that differ within each pair; pairs without such are not in it."""
    if not pairs:
        return {}
    reader = _DiffReader(pairs, protected)
    listed = scratch / "pairs"
    listed.write_text("".join(f"{commit} {parent or ''}".rstrip() + "\n" for commit, parent in pairs))
    with listed.open("rb") as stdin:
        ran = await git.run(
            "diff-tree", "--stdin", "-r", "-z", "--always", "--root", "--no-renames", "--raw",
            "--no-abbrev", "--no-textconv", "--no-ext-diff", "--ignore-submodules=none",
            stdin=stdin, on_output=reader.feed,
        )  # fmt: skip
    if not ran.ok:
        raise GitProgramError(ran.words)
    return reader.end()


class _DiffReader:
    """Reads the output of ``diff-tree --stdin -z --always --raw``, one header for each pair."""

    def __init__(self, pairs: Sequence[_Pair], protected: ProtectedPaths) -> None:
        self._pairs = pairs
        self._protected = protected
        self._rest = b""
        self._read = 0
        self._meta: list[str] | None = None
        self._changed: dict[_Pair, set[str]] = {}
        self._count = 0

    def feed(self, chunk: bytes) -> None:
        *records, self._rest = (self._rest + chunk).split(b"\0")
        if len(self._rest) > _MAX_RECORD_BYTES:
            raise GitProgramError("it has a path that is longer than a megabyte")
        for record in records:
            self._take(record.decode("utf-8", "surrogateescape"))

    def end(self) -> dict[_Pair, set[str]]:
        # git goes on after a commit that it cannot read, and says nothing of it.
        if self._rest or self._meta is not None or self._read != len(self._pairs):
            raise GitProgramError("git could not compare all of its commits: one of them is not readable")
        return self._changed

    def _take(self, record: str) -> None:
        if self._meta is not None:
            self._take_path(record, self._meta)
            self._meta = None
        elif record.startswith(":"):
            self._meta = record[1:].split()
        elif self._read < len(self._pairs) and record == self._pairs[self._read][0]:
            self._read += 1
        else:
            raise GitProgramError("git could not compare all of its commits: one of them is not readable")

    def _take_path(self, path: str, meta: list[str]) -> None:
        if self._protected.covers(path, leads_elsewhere=meta[1] in _LINKS):
            self._changed.setdefault(self._pairs[self._read - 1], set()).add(path)
            self._count += 1
            if self._count > MAX_CHANGES:
                raise GitProgramError(f"it changes protected paths more than {MAX_CHANGES:,} times")
