"""Measuring and removing folders that somebody hostile has filled: by descriptors, and no link is ever followed."""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 200
"""Folders inside one another that are looked into; what is deeper is removed, but not counted."""
MAX_FAULTS = 20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_BLOCK_BYTES = 512


@dataclass(slots=True)
class Measure:
    """What a folder takes on the disk."""

    bytes: int = 0
    newest: float = 0.0
    """When anything below it was last written, in seconds since the epoch."""
    faults: list[str] = field(default_factory=list)
    _seen: set[tuple[int, int]] = field(default_factory=set)

    def add(self, status: os.stat_result) -> None:
        """Count one entry; a file with several names counts once."""
        if status.st_nlink > 1 and not stat.S_ISDIR(status.st_mode):
            identity = (status.st_dev, status.st_ino)
            if identity in self._seen:
                return
            self._seen.add(identity)
        self.bytes += status.st_blocks * _BLOCK_BYTES
        self.newest = max(self.newest, status.st_mtime)

    def fault(self, what: str) -> None:
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(what)


@contextlib.contextmanager
def opened(name: str, folder: int | None = None) -> Iterator[int]:
    """Open a folder that is no link; give its descriptor.

    :param folder: descriptor of the folder that it is in.
    :raises OSError: it is none, or cannot be read.
    """
    descriptor = os.open(name, _FOLDER, dir_fd=folder)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def names_in(folder: int) -> list[str]:
    """Return the names of everything in a folder."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries]


def subfolders(folder: int) -> list[str]:
    """Return the names of the folders in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))


def measure(name: str, folder: int, into: Measure, depth: int = 0) -> None:
    """Count an entry and everything below it; what cannot be read is a fault.

    :param folder: descriptor of the folder that it is in.
    """
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        into.add(status)
        if not stat.S_ISDIR(status.st_mode):
            return
        if depth == MAX_DEPTH:
            into.fault(f"{name!r}: folders are more than {MAX_DEPTH} deep, the rest is not counted")
            return
        with opened(name, folder) as inner:
            for entry in names_in(inner):
                measure(entry, inner, into, depth + 1)
    except FileNotFoundError:
        return  # gone meanwhile: a running step's
    except OSError as error:
        into.fault(f"{name!r}: {error.strerror}")


def remove_entries(names: list[str], source: int, folder: int, trash: str) -> None:
    """Move entries out of sight at once, then remove them.

    A removal that is killed leaves nothing that looks like a cache, only the trash folder.

    :param source: descriptor of the folder that they are in.
    :param folder: descriptor of a folder of the same file system, for the trash folder.
    :param trash: its name.
    :raises OSError: something cannot be removed.
    """
    os.mkdir(trash, 0o700, dir_fd=folder)
    with opened(trash, folder) as bin_:
        for number, name in enumerate(names):
            _allow(name, source)
            with contextlib.suppress(FileNotFoundError):
                os.rename(name, f"entry-{number}", src_dir_fd=source, dst_dir_fd=bin_)
    remove_trash(trash, folder)


def remove_trash(trash: str, folder: int) -> None:
    """Remove a trash folder with all that is in it, however deep: each folder's folders move to the top first.

    :raises OSError: something cannot be removed.
    """
    _allow(trash, folder)
    moved = 0
    with opened(trash, folder) as top:
        while names := names_in(top):
            for name in names:
                if not _is_folder(name, top):
                    os.unlink(name, dir_fd=top)
                    continue
                _allow(name, top)
                with opened(name, top) as inner:
                    for entry in names_in(inner):
                        if _is_folder(entry, inner):
                            _allow(entry, inner)
                            os.rename(
                                entry, _free_name(top, moved := moved + 1), src_dir_fd=inner, dst_dir_fd=top
                            )
                        else:
                            os.unlink(entry, dir_fd=inner)
                os.rmdir(name, dir_fd=top)
    os.rmdir(trash, dir_fd=folder)


def _free_name(folder: int, number: int) -> str:
    name = f"moved-{number}"
    while os.path.lexists(f"/proc/self/fd/{folder}/{name}"):
        name += "-"
    return name


def _is_folder(name: str, folder: int) -> bool:
    return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)


def _allow(name: str, folder: int) -> None:
    """Give its owner all rights on a folder; nothing else is touched."""
    try:
        descriptor = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return
    try:
        # By its descriptor: the name may stand for something else by now.
        with contextlib.suppress(OSError):
            Path(f"/proc/self/fd/{descriptor}").chmod(0o700)
    finally:
        os.close(descriptor)
