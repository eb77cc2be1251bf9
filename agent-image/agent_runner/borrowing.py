"""A checkout that borrows the objects of the repository's mirror, or that has all of its own.

What git reads for it, ``objects/info/alternates`` and ``shallow``, is written anew for each step: an agent of
an earlier one could have changed it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.contract import SHA_PATTERN
from agent_runner.files import make_folder, read_small, remove, write_fresh

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.mirror_request import Mirror

_MAX_BYTES = 1 << 20


def borrows(directory: Path) -> bool:
    """Say whether a checkout has been made with borrowed objects.

    :param directory: its ``.git`` folder.
    """
    return (directory / "objects/info/alternates").exists()


def borrow(directory: Path, mirror: Mirror | None) -> None:
    """Let a checkout borrow from ``mirror``, or from nobody.

    :param directory: its ``.git`` folder.
    :raises OSError: it cannot be written.
    """
    for name in ("objects", "objects/info"):
        make_folder(directory / name)
    for name in ("alternates", "http-alternates", "commit-graph", "commit-graphs"):
        remove(directory / "objects/info" / name)
    if mirror is not None:
        # Else the history would seem to be broken where the mirror's is cut off.
        _write_shallow(directory, cut_off(mirror.path))
        write_fresh(directory / "objects/info/alternates", f"{mirror.objects}\n")
    else:
        _write_shallow(directory, cut_off(directory))


def cut_off(directory: Path) -> list[str]:
    """Return the commits whose parents are left out, as far as the list of them is readable.

    :param directory: a ``.git`` folder, or a bare repository.
    """
    lines = read_small(directory / "shallow", _MAX_BYTES).decode(errors="replace").splitlines()
    return [line for line in lines if SHA_PATTERN.fullmatch(line)]


def _write_shallow(directory: Path, commits: list[str]) -> None:
    if commits:
        write_fresh(directory / "shallow", "".join(f"{commit}\n" for commit in commits))
    else:
        remove(directory / "shallow")
