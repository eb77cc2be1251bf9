"""Remembers for a few minutes, over the processes of one worker, that a credential was accepted."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import stat
import tempfile
import time
from pathlib import Path

SECONDS = 300.0
"""How long an acceptance counts."""

_KEY_FILE = "key"


class VerdictCache:
    """A folder of empty files whose names are digests, keyed by a secret of the folder's own.

    Nothing of a credential can be read from it. It is private to this user; where it cannot be, or where
    anything else is wrong with it, nothing is remembered. Only acceptance is: who has corrected a refused
    credential is asked for again at once.

    :param folder: by default one in the folder for temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or Path(tempfile.gettempdir(), f"airflow-agents-{os.getuid()}", "accepted")

    def accepted(self, *parts: str) -> bool:
        """Say whether :meth:`remember` was called with the same parts within the last :data:`SECONDS`."""
        try:
            return (place := self._place(parts)) is not None and _young(place)
        except OSError:
            return False

    def remember(self, *parts: str) -> None:
        """Remember an acceptance, and forget those that do not count any more.

        :param parts: what identifies it: the credential, and whom it was shown to.
        """
        with contextlib.suppress(OSError):
            if (place := self._place(parts)) is None:
                return
            place.touch(mode=0o600)
            os.utime(place)
            for other in self._folder.iterdir():
                if other.name != _KEY_FILE and not _young(other):
                    other.unlink(missing_ok=True)

    def _place(self, parts: tuple[str, ...]) -> Path | None:
        for folder in (self._folder.parent, self._folder):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            private = not found.st_mode & 0o077 and found.st_uid == os.getuid()
            if not stat.S_ISDIR(found.st_mode) or not private:
                return None
        digest = hmac.new(self._key(), "\0".join(parts).encode(), "sha256").hexdigest()
        return self._folder / digest

    def _key(self) -> bytes:
        path = self._folder / _KEY_FILE
        with contextlib.suppress(FileExistsError):
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(handle, "wb") as file:
                file.write(secrets.token_bytes(32))
        key = path.read_bytes()
        if len(key) != 32:
            raise OSError(f"{path} is not a key")
        return key


def _young(path: Path) -> bool:
    return 0 <= time.time() - path.lstat().st_mtime < SECONDS
