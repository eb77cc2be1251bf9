"""The agent of the container attacks: looks for credentials wherever it can, and meddles with all it can reach.

Runs inside the pod as ``explorer.py SETTINGS``, a JSON file; standard library only. Prints what it found as lines
``FOUND <kind> <place>``. The credentials it looks for are given backwards, so that it does not find its own list.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_BYTES = 1 << 20
SETTINGS = json.loads(Path(sys.argv[1]).read_text())
CANARIES = [text[::-1] for text in SETTINGS["backwards"]]


def found(kind: str, place: object) -> None:
    print(f"FOUND {kind} {place}", flush=True)


def holds_one(data: bytes) -> bool:
    return any(canary.encode() in data for canary in CANARIES)


def start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MOST_BYTES)


def processes() -> list[Path]:
    return [entry for entry in Path("/proc").iterdir() if entry.name.isdecimal()]


def look_at_processes() -> None:
    for process in processes():
        for name in ("environ", "cmdline", "mountinfo"):
            try:
                if holds_one((process / name).read_bytes()):
                    found("canary", process / name)
            except OSError:
                continue
        try:
            for link in (process / "fd").iterdir():
                if link.is_file() and holds_one(start_of(link)):
                    found("canary", link)
        except OSError:
            continue


def files(top: str) -> Iterator[Path]:
    for folder, names, entries in os.walk(top):
        names[:] = [name for name in names if Path(folder, name) not in (Path("/proc"), Path("/sys"))]
        for entry in entries:
            yield Path(folder, entry)


def look_at_files() -> None:
    for top in SETTINGS["places"]:
        for path in files(top):
            try:
                if path.is_file() and holds_one(start_of(path)):
                    found("canary", path)
            except OSError:
                continue


def meddle_with_files() -> None:
    """Write where only the gateway or the cluster may."""
    for place in SETTINGS["not_ours"]:
        path = Path(place)
        try:
            target = path / "planted" if path.is_dir() else path
            with target.open("ab") as file:
                file.write(b"x")
            found("written", target)
        except OSError:
            continue


def meddle_with_processes() -> None:
    """Stop what is neither this program nor one of those that started it."""
    own, pid = {os.getpid()}, os.getpid()
    while pid > 1:
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        own.add(pid)
    for process in processes():
        pid = int(process.name)
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if pid not in own and "agent_runner gateway" in command:
                os.kill(pid, signal.SIGCONT)
                found("process", pid)
        except OSError:
            continue


def cluster_tokens() -> Iterator[str]:
    """Return what may be the token of the cluster; none at all comes first."""
    yield ""
    for top in SETTINGS["places"]:
        for path in files(top):
            if path.name == "token":
                with contextlib.suppress(OSError):
                    yield start_of(path).decode("latin-1").strip()


def ask_the_cluster() -> None:
    for token in cluster_tokens():
        for path in ("/api/v1/namespaces/test/secrets", "/_local/processes"):
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            request = urllib.request.Request(SETTINGS["cluster"] + path, headers=headers)
            # ValueError: a file that is named so, and holds no token.
            with contextlib.suppress(OSError, ValueError), urllib.request.urlopen(request, timeout=5):
                found("cluster", path)


def main() -> None:
    look_at_processes()
    look_at_files()
    meddle_with_files()
    meddle_with_processes()
    ask_the_cluster()
    print("EXPLORED", flush=True)


if __name__ == "__main__":
    main()
