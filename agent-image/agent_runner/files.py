"""Files that something hostile may have put into the way: a folder, a link or a pipe where a file is to be."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from pathlib import Path


def remove(path: Path) -> None:
    """Remove whatever ``path`` is, or nothing; a link is not followed, read-only folders are no obstacle.

    :raises OSError: it cannot be removed.
    """
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    path.chmod(stat.S_IRWXU)
    # Package managers make read-only folders. Top down: a folder must be readable to be walked into.
    for folder, names, _ in os.walk(path):
        for name in names:
            entry = Path(folder, name)
            with contextlib.suppress(OSError):
                if not entry.is_symlink():
                    entry.chmod(stat.S_IRWXU)
    shutil.rmtree(path)


def write_fresh(path: Path, text: str) -> None:
    """Write a new file, in the place of whatever is there."""
    remove(path)
    path.write_text(text, encoding="utf-8", errors="replace")


def replace(path: Path, text: str) -> None:
    """Write a file as a whole or not at all, in the place of whatever is there.

    :raises OSError: it cannot be written; what was there before is as it was, unless it was a folder.
    """
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as file:
            file.write(text)
        if path.is_dir() and not path.is_symlink():
            remove(path)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def read_small(path: Path, limit: int) -> bytes:
    """Return the content of a plain file of at most ``limit`` bytes, else nothing; links are not followed."""
    try:
        # Without O_NONBLOCK a pipe in the place of the file would be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > limit:
            return b""
        return os.read(descriptor, limit)
    except OSError:
        return b""
    finally:
        os.close(descriptor)


def make_folder(path: Path) -> None:
    """Make a folder where there is none, in the place of whatever else is there."""
    if path.is_symlink() or not path.is_dir():
        remove(path)
        path.mkdir(parents=True)
