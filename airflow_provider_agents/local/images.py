"""Which program an image name stands for on this machine."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class Image:
    """What stands for an image.

    :param entrypoint: the command of a container that names none.
    :param path: folders that go before the ``PATH`` of the container.
    """

    entrypoint: tuple[str, ...] = ()
    path: tuple[Path, ...] = ()

    def search_path(self, container_path: str | None) -> str:
        """Return the ``PATH`` of a container; ``container_path`` is the one in its own environment."""
        return os.pathsep.join([*map(str, self.path), container_path or DEFAULT_PATH])


class ImageTable:
    """Images by exact name; ``*`` stands for every other name.

    :param images: for each name an :class:`Image`, or a command line that is split as a shell would.
    """

    def __init__(self, images: Mapping[str, Image | str]) -> None:
        self._images = {
            name: Image(tuple(shlex.split(image))) if isinstance(image, str) else image
            for name, image in images.items()
        }

    def find(self, name: str) -> Image | None:
        """Return the image of this name, or ``None`` if nothing stands for it."""
        return self._images.get(name) or self._images.get("*")

    def folders(self) -> set[Path]:
        """Return all folders that an image puts on the ``PATH``."""
        return {folder for image in self._images.values() for folder in image.path}


def parse_images(commands: list[str], paths: list[str]) -> dict[str, Image]:
    """Read the values of ``--image IMAGE=COMMAND`` and ``--image-path IMAGE=DIR[:DIR]``.

    :raises ValueError: if a value has no ``=``, a command cannot be split, or a folder does not exist.
    """
    entrypoints: dict[str, tuple[str, ...]] = {}
    folders: dict[str, tuple[Path, ...]] = {}
    for value in commands:
        name, equals, command = value.partition("=")
        if not equals or not name:
            raise ValueError(f"--image {value!r}: write IMAGE=COMMAND")
        entrypoints[name] = tuple(shlex.split(command))
    for value in paths:
        name, equals, joined = value.partition("=")
        if not equals or not name or not joined:
            raise ValueError(f"--image-path {value!r}: write IMAGE=DIR[:DIR]")
        folders[name] = tuple(Path(folder).absolute() for folder in joined.split(os.pathsep))
        for folder in folders[name]:
            if not folder.is_dir():
                raise ValueError(f"--image-path {value!r}: {folder} is not a folder")
    default = folders.get("*", ())
    return {
        name: Image(entrypoints.get(name, ()), folders.get(name, default))
        for name in entrypoints.keys() | folders.keys()
    }
