"""How much of the gateway's volume a push may take."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MAX_BYTES = 2 << 30
"""Most that one push, what it unpacks to, or the forge's history may take, in bytes; each for itself."""

MIN_FREE_BYTES = 64 << 20
"""What stays free on the volume."""


class NoRoomError(Exception):
    """The volume, or the share of it that something may take, is used up; the text says which."""


class Room:
    """The room that one folder may take.

    :param folder: exists whenever it is asked about, or takes nothing.
    :param what: names its content in messages.
    :param volume: names the volume in messages.
    :param capped: whether :data:`MAX_BYTES` holds for it; else it may take what the volume has.
    """

    def __init__(
        self,
        folder: Path,
        what: str,
        *,
        volume: str = "the gateway's volume",
        capped: bool = True,
    ) -> None:
        self._folder = folder
        self._what = what
        self._volume = volume
        self._capped = capped

    def check(self, more: int = 0) -> None:
        """Raise :class:`NoRoomError` if there is no room for ``more`` bytes."""
        if self._capped and _taken(self._folder) + more > MAX_BYTES:
            raise NoRoomError(f"{self._what} takes more than {MAX_BYTES >> 20:,} MiB")
        if shutil.disk_usage(_existing(self._folder)).free - more < MIN_FREE_BYTES:
            raise NoRoomError(f"{self._volume} has no room left for {self._what}")


def _taken(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_size  # noqa: PTH118 - thousands of times
            except FileNotFoundError:
                continue
    return total


def _existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
