"""Locks on the cache claim: ``flock``, which the kernel gives back when its holder dies, so that none is left behind."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

_PAUSE_SECONDS = 0.1
_BUSY = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)


class CacheLock:
    """A lock that is held until :meth:`close`, or until nothing refers to it. Made by :func:`take`."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def share(self) -> None:
        """Turn an exclusive lock into a shared one.

        Not in one go: another may hold it in between, so what it guards has to be looked at again.
        """
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def empty(self) -> None:
        """Cut the lock's file to nothing, which is what it ought to be."""
        os.ftruncate(self._descriptor, 0)

    def touch(self) -> None:
        """Note the time: what the lock guards is used now."""
        os.utime(self._descriptor)

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> CacheLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def take(
    path: Path | str,
    *,
    exclusive: bool,
    folder: int | None = None,
    seconds: float = 0.0,
    pause: Callable[[float], None] = time.sleep,
    readable: bool = False,
) -> CacheLock | None:
    """Take a lock, or return ``None`` where others hold it.

    :param path: the lock's file, made where it is not there. A link is not followed.
    :param folder: descriptor of the folder that ``path`` is relative to.
    :param seconds: how long to wait for others.
    :param pause: sleeps between two tries; may raise to give up.
    :param readable: the file is there and may not be writable, as on a read-only mount; for shared locks.
    :raises OSError: the file cannot be made or locked, or is no plain file.
    """
    flags = os.O_RDONLY if readable else os.O_RDWR | os.O_CREAT
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o664, dir_fd=folder)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "a lock must be a plain file", os.fspath(path))
        wanted = (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB
        end = time.monotonic() + seconds
        while not _locked(descriptor, wanted):
            if time.monotonic() >= end:
                os.close(descriptor)
                return None
            pause(_PAUSE_SECONDS)
    except BaseException:
        os.close(descriptor)
        raise
    return CacheLock(descriptor)


def _locked(descriptor: int, wanted: int) -> bool:
    try:
        fcntl.flock(descriptor, wanted)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True
