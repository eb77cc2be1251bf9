"""Where a demo keeps its data: one folder a run below ``.demo``, of which the last few stay."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

KEPT = 3
_NAME = re.compile(r"\d{8}-\d{6}(-\d+)?")
_LOCK = "in-use"


@contextlib.contextmanager
def data_folder(root: Path, now: datetime | None = None) -> Iterator[Path]:
    """Make a new folder below ``root`` and remove the oldest ones; those of running demos stay.

    :param root: folder of nothing but such folders; made where it is not there.
    :param now: names the folder; default: the present, in local time.
    """
    root.mkdir(parents=True, exist_ok=True)
    folder = _make(root, (now or datetime.now().astimezone()).strftime("%Y%m%d-%H%M%S"))
    with (folder / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _remove_old(root)
        yield folder


def _make(root: Path, name: str) -> Path:
    for suffix in ("", *(f"-{number}" for number in range(2, 100))):
        with contextlib.suppress(FileExistsError):
            folder = root / f"{name}{suffix}"
            folder.mkdir(mode=0o700)
            return folder
    raise FileExistsError(f"{root / name} and 98 variants of it exist")


def _remove_old(root: Path) -> None:
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _NAME.fullmatch(path.name))
    for folder in folders[:-KEPT]:
        if not _in_use(folder):
            shutil.rmtree(folder, onerror=_make_writable)


def _in_use(folder: Path) -> bool:
    try:
        with (folder / _LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _make_writable(function: object, path: str, _: object) -> None:
    """Remove what a read-only folder holds; what still resists stays, and does not stop the demo."""
    with contextlib.suppress(OSError):
        Path(path).parent.chmod(0o700)
        if os.path.isdir(path) and not os.path.islink(path):  # noqa: PTH112, PTH114 - links are not followed
            Path(path).chmod(0o700)
            shutil.rmtree(path, ignore_errors=True)
        else:
            Path(path).unlink()
