"""What the cache claim holds, in parts that can be given up one by one.

The claim has ``packages/<host>/<owner>/<name>`` and ``mirrors/<host>/<owner>/<name>``. How these names came about is
the provider's affair (``domain/cache.py``), and they are safe; what is below them was written by agents.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from agent_runner.cache_files import (
    Measure,
    measure,
    names_in,
    opened,
    remove_entries,
    remove_trash,
    subfolders,
)
from agent_runner.cache_locks import take
from agent_runner.package_caches import LOCK, LOCKS_FOLDER, SETUP_FOLDER, TOOLS_FOLDER
from agent_runner.set_up import COMPLETE

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGES, MIRRORS = "packages", "mirrors"
TRASH = ".trash"
"""Start of the name of what a removal has begun with."""

SETUP, TOOL, MIRROR = 0, 1, 2
"""In which order parts are given up: what is made again the quickest first."""

Gone = Literal["gone", "in use"]


@dataclass(slots=True)
class Unit:
    """One part: a result of the set-up script, the cache of one tool, or a mirror."""

    kind: int
    folders: tuple[str, ...]
    """From the claim's root to the repository's folder."""
    inside: tuple[str, ...]
    """From there to the folder whose entries are removed."""
    name: str | None
    """The entry; ``None``: all but the lock."""
    lock: str
    """Lock file that running steps hold while they use it, from the repository's folder."""
    measured: Measure
    last_use: float
    """Seconds since the epoch."""
    worthless: bool = False
    """Left by something that was interrupted: nobody can use it."""

    @property
    def path(self) -> str:
        return "/".join((*self.folders, *self.inside, *([self.name] if self.name is not None else [])))


@dataclass(slots=True)
class RepositoryFolder:
    """A repository's folder below ``packages`` or ``mirrors``."""

    folders: tuple[str, ...]
    bytes: int = 0
    last_use: float = 0.0
    units: list[Unit] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return "/".join(self.folders)

    @property
    def repository(self) -> tuple[str, ...]:
        """Host, owner and name: the same for its packages and its mirror."""
        return self.folders[1:]


def repository_folders(root: int) -> Iterator[tuple[str, ...]]:
    """Find the folders of repositories, each as the names that lead there from the claim's root."""
    for kind in (PACKAGES, MIRRORS):
        for host in _subfolders(root, kind):
            for owner in _subfolders(root, kind, host):
                for name in _subfolders(root, kind, host, owner):
                    yield kind, host, owner, name


def survey(root: int, folders: tuple[str, ...]) -> RepositoryFolder:
    """Measure a repository's folder and what it is made of. What cannot be read is among its faults."""
    found = RepositoryFolder(folders)
    try:
        with descend(root, *folders) as folder:
            _survey(found, folder)
    except OSError as error:
        found.faults.append(f"{found.path}: {error.strerror}")
    return found


def remove_unit(root: int, unit: Unit, trash: str) -> Gone:
    """Remove a part, unless a running step uses it.

    :param trash: name for what is being removed; starts with :data:`TRASH`.
    :raises OSError: it cannot be removed as a whole.
    """
    with descend(root, *unit.folders) as folder:
        if unit.name == LOCK and not unit.inside and not _is_plain(LOCK, folder):
            # Nobody can hold it; as long as it is there, nothing of the repository could be removed.
            remove_entries([LOCK], folder, folder, trash)
            return "gone"
        *lock_folders, lock_name = unit.lock.split("/")
        for name in lock_folders:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o775, dir_fd=folder)
        with descend(folder, *lock_folders) as locks:
            lock = take(lock_name, exclusive=True, folder=locks)
        if lock is None:
            return "in use"
        with lock, descend(folder, *unit.inside) as inside:
            if unit.name == LOCK and not unit.inside:
                lock.empty()  # others hold the same file
            elif unit.name is None:
                names = [name for name in names_in(inside) if name != LOCK]
                remove_entries(names, inside, folder, trash)
            elif unit.name.startswith(TRASH) and not unit.inside:
                remove_trash(unit.name, folder)
            else:
                remove_entries([unit.name], inside, folder, trash)
    return "gone"


@contextlib.contextmanager
def descend(start: int, *names: str) -> Iterator[int]:
    """Open a folder below another one; none on the way may be a link.

    :raises OSError: it is not there, or is none.
    """
    with contextlib.ExitStack() as stack:
        descriptor = start
        for name in names:
            descriptor = stack.enter_context(opened(name, descriptor))
        yield descriptor


def _survey(found: RepositoryFolder, folder: int) -> None:
    found.last_use = os.fstat(folder).st_mtime
    with contextlib.suppress(FileNotFoundError):
        found.last_use = os.stat(LOCK, dir_fd=folder, follow_symlinks=False).st_mtime
    if found.folders[0] == MIRRORS:
        measured = _measured(found, folder, [name for name in names_in(folder) if name != LOCK])
        if measured.bytes:
            found.last_use = max(found.last_use, measured.newest)
            found.units = [Unit(MIRROR, found.folders, (), None, LOCK, measured, found.last_use)]
        return
    for name in names_in(folder):
        if name == SETUP_FOLDER and name in subfolders(folder):
            with opened(name, folder) as inner:
                for key in names_in(inner):
                    _add_setup(found, inner, key)
        elif name == TOOLS_FOLDER and name in subfolders(folder):
            with opened(name, folder) as inner:
                for tool in names_in(inner):
                    _add(found, inner, (name,), tool)
        elif name == LOCKS_FOLDER and name in subfolders(folder):
            with opened(name, folder) as inner:
                for lock in names_in(inner):
                    if not _is_lock(lock, inner):
                        _add(found, inner, (name,), lock, worthless=True)
        elif name == LOCK:
            if not _is_lock(name, folder):
                _add(found, folder, (), name, worthless=True)
        else:
            _add(found, folder, (), name, worthless=name.startswith(TRASH))


def _add_setup(found: RepositoryFolder, folder: int, key: str) -> None:
    if not re.fullmatch(r"[0-9a-f]{64}", key):
        _add(found, folder, (SETUP_FOLDER,), key)
        return
    measured = _measured(found, folder, [key])
    used = None
    with contextlib.suppress(OSError), opened(key, folder) as inner:
        used = os.stat(COMPLETE, dir_fd=inner, follow_symlinks=False).st_mtime
    found.units.append(
        Unit(
            SETUP,
            found.folders,
            (SETUP_FOLDER,),
            key,
            f"{LOCKS_FOLDER}/setup-{key}",
            measured,
            used or 0.0,
            worthless=used is None,
        )
    )


def _is_lock(name: str, folder: int) -> bool:
    """Say whether it is what it ought to be: an empty file. Anything else may be large."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return stat.S_ISREG(status.st_mode) and status.st_size == 0


def _is_plain(name: str, folder: int) -> bool:
    return stat.S_ISREG(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _add(
    found: RepositoryFolder, folder: int, inside: tuple[str, ...], name: str, *, worthless: bool = False
) -> None:
    measured = _measured(found, folder, [name])
    found.units.append(Unit(TOOL, found.folders, inside, name, LOCK, measured, measured.newest, worthless))


def _measured(found: RepositoryFolder, folder: int, names: list[str]) -> Measure:
    measured = Measure()
    for name in names:
        measure(name, folder, measured)
    found.bytes += measured.bytes
    found.faults += [f"{found.path}: {fault}" for fault in measured.faults]
    return measured


def _subfolders(root: int, *names: str) -> list[str]:
    try:
        with descend(root, *names) as folder:
            return subfolders(folder)
    except OSError:
        return []
