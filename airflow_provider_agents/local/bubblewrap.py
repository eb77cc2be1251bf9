"""The command line of bubblewrap: a file system made of parts of this machine's, and isolation.

The root is an empty temporary file system into which the folders of the machine are bound, read-only. A
folder that contains something hidden, or a mount point that does not exist on this machine, is not bound as
a whole: it is made anew and its entries are bound one by one.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

OWN = {"proc", "dev", "sys", "tmp", "run", "var", "home", "root", "mnt", "media", "boot", "lost+found"}
"""Top-level folders that are not shown: made by the sandbox, or with people's and services' data."""

MASKED = ("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/ssh", "/etc/kubernetes")
"""What is not shown of the folders that are."""


def isolation_arguments(hostname: str, user: int, group: int) -> list[str]:
    """Return the options for namespaces: everything of its own but the network.

    ``--as-pid-1`` makes the program the first process of its namespace, as in a real container: a signal
    without a handler is ignored, and its end ends every process of the container.
    """
    return [
        "--unshare-user", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try",
        "--uid", str(user), "--gid", str(group), "--hostname", hostname,
        "--cap-drop", "ALL", "--die-with-parent", "--as-pid-1",
    ]  # fmt: skip


def root_arguments(
    mount_points: Iterable[str], hidden: Collection[Path], readable: Collection[Path]
) -> list[str]:
    """Return the options that make the root file system, before the mounts of the container.

    :param mount_points: absolute paths that are mounted afterwards.
    :param hidden: folders that must not be seen.
    :param readable: folders that are bound, read-only, although they are hidden.
    """
    tops = {Path("/") / name for name in OWN} | {Path(path) for path in MASKED}
    excluded = tops | set(hidden)
    missing = {Path(point) for point in mount_points if not Path(point).exists()}
    arguments: list[str] = []
    for entry in sorted(Path("/").iterdir()):
        arguments += _bind(entry, excluded, excluded | missing)
    arguments += ["--proc", "/proc", "--dev", "/dev", "--dir", "/tmp", "--dir", "/var/tmp"]
    # The addresses of name servers may be written by a service into a folder that is not shown.
    names = Path("/etc/resolv.conf").resolve()
    if any(names.is_relative_to(folder) for folder in excluded) and names.is_file():
        arguments += ["--ro-bind", str(names), str(names)]
    for folder in sorted(readable):
        arguments += ["--ro-bind", str(folder), str(folder)]
    return arguments


def _bind(path: Path, excluded: set[Path], split: set[Path]) -> list[str]:
    if path in excluded:
        return []
    if path.is_symlink():
        return ["--symlink", str(path.readlink()), str(path)]
    inner = any(other != path and other.is_relative_to(path) for other in split)
    if not inner or not path.is_dir() or not os.access(path, os.R_OK | os.X_OK):
        return ["--ro-bind-try", str(path), str(path)]
    arguments = ["--dir", str(path)]
    for entry in sorted(path.iterdir()):
        arguments += _bind(entry, excluded, split)
    return arguments
