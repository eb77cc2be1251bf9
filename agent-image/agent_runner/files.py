"""Files that something hostile may have put into the way: a folder or a link where a file is to be."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
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


def make_folder(path: Path) -> None:
    """Make a folder where there is none, in the place of whatever else is there."""
    if path.is_symlink() or not path.is_dir():
        remove(path)
        path.mkdir(parents=True)
