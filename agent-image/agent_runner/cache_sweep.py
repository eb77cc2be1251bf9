"""``agent-runner sweep-cache``: keep the cache claim below its caps, and rid of what nobody uses.

Given up are, in this order: what was interrupted, what was not used for long, then of each repository beyond its
cap, and of all together beyond theirs, the parts that were not used for the longest time: results of set-up scripts,
package caches, mirrors. What a running step holds a lock on is left alone. With the claim as a whole mounted, the
sweep follows no link and leaves no folder that it did not open itself.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runner import console
from agent_runner.cache_files import opened
from agent_runner.cache_units import (
    SETUP,
    TRASH,
    RepositoryFolder,
    Unit,
    remove_unit,
    repository_folders,
    survey,
)
from agent_runner.contract import ENV_CACHE_ROOT, ENV_TERMINATION_LOG, MAX_TERMINATION_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

EXIT_USAGE = 64
EXIT_NO_REPORT = 70
_DAY = 86_400.0
_UNITS = {"": 1, **{f"{letter}i": 1024**n for n, letter in enumerate("KMGTP", 1)}}
_UNITS |= {letter: 1000**n for n, letter in enumerate("kMGTP", 1)}
_MAX_FAULTS = 10
_MAX_TEXT = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What the cache may take."""

    total: int
    """Bytes of the whole claim."""
    repository: int
    """Bytes of one repository, its mirror included."""
    unused_days: float
    """After so many days without use a part is given up."""


@dataclass(slots=True)
class Entry:
    """What was done with one repository's folder."""

    path: str
    before: int
    removed: int = 0
    why: str = ""
    failed: bool = False

    def report(self) -> dict[str, object]:
        action = "kept"
        if self.removed:
            action = "evicted" if self.removed >= self.before else "trimmed"
        if self.failed:
            action = "failed"
        why = console.one_line(self.why, _MAX_TEXT)
        return {"path": _shown(self.path), "bytes": self.before, "action": action, "why": why}


@dataclass(slots=True)
class Sweep:
    """One pass over the claim."""

    root: int
    """Descriptor of the claim's root."""
    caps: Caps
    dry_run: bool
    now: float
    folders: list[RepositoryFolder] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    _last_use: dict[tuple[str, ...], float] = field(default_factory=dict)
    """Of each repository: its packages and its mirror are used together."""
    _removed: set[int] = field(default_factory=set)
    _tried: set[int] = field(default_factory=set)

    def run(self) -> dict[str, object]:
        """Sweep, and return the report."""
        for names in repository_folders(self.root):
            folder = survey(self.root, names)
            self.folders.append(folder)
            self.entries[folder.path] = Entry(folder.path, folder.bytes)
            self.faults += folder.faults
            used = self._last_use.get(folder.repository, 0.0)
            self._last_use[folder.repository] = max(used, folder.last_use)
        before = sum(folder.bytes for folder in self.folders)
        self._interrupted()
        self._unused()
        self._beyond_repository_cap()
        self._beyond_total_cap()
        after = self._measured_again()
        return {
            "version": 1,
            "bytes_before": before,
            "bytes_after": after,
            "freed": before - after,
            "entries": [e.report() for e in sorted(self.entries.values(), key=lambda e: (-e.before, e.path))],
            "faults": [console.one_line(_shown(fault), _MAX_TEXT) for fault in self.faults],
        }

    def _interrupted(self) -> None:
        for unit in self._units(self.folders):
            if unit.worthless:
                self._remove(unit, "left unfinished")

    def _unused(self) -> None:
        limit = self.now - self.caps.unused_days * _DAY
        why = f"not used for {self.caps.unused_days:g} days"
        for unit in self._units(self.folders):
            unused = self._last_use[unit.folders[1:]] < limit
            if unused or (unit.kind == SETUP and unit.last_use < limit):
                self._remove(unit, why)

    def _beyond_repository_cap(self) -> None:
        for group in self._repositories():
            self._shrink(group, self.caps.repository, "beyond the cap of a repository")

    def _beyond_total_cap(self) -> None:
        self._shrink(self.folders, self.caps.total, "beyond the cap of the claim")

    def _shrink(self, folders: list[RepositoryFolder], cap: int, why: str) -> None:
        left = sum(folder.bytes for folder in folders)
        left -= sum(unit.measured.bytes for unit in self._all(folders) if id(unit) in self._removed)
        for unit in self._units(folders):
            if left <= cap:
                return
            if unit.measured.bytes and self._remove(unit, why):
                left -= unit.measured.bytes

    def _remove(self, unit: Unit, why: str) -> bool:
        """Remove a part and say whether it is gone; in a dry run, whether it would be."""
        if id(unit) in self._tried:
            return False
        self._tried.add(id(unit))
        entry = self.entries["/".join(unit.folders)]
        size = unit.measured.bytes
        try:
            trash = f"{TRASH}-{os.urandom(8).hex()}"
            done = "gone" if self.dry_run else remove_unit(self.root, unit, trash)
        except OSError as error:
            entry.failed, entry.why = True, f"cannot be removed: {error.strerror}"
            self.faults.append(f"{unit.path}: cannot be removed: {error}")
            return False
        if done == "in use":
            entry.why = entry.why or f"{why}, but in use"
            console.say(f"in use: {_shown(unit.path)}, {size} bytes, {why}")
            return False
        entry.removed += size
        entry.why = entry.why if entry.failed else why
        self._removed.add(id(unit))
        console.say(
            f"{'would remove' if self.dry_run else 'removed'}: {_shown(unit.path)}, {size} bytes, {why}"
        )
        return True

    def _units(self, folders: Iterable[RepositoryFolder]) -> list[Unit]:
        """Return what is still there, in the order in which it is given up."""
        there = (unit for unit in self._all(folders) if id(unit) not in self._removed)
        return sorted(there, key=lambda unit: (unit.kind, self._used(unit), unit.path))

    def _used(self, unit: Unit) -> float:
        """Return when a part was last used, as far as is known: tools do not note it, repositories do."""
        return unit.last_use if unit.kind == SETUP else self._last_use[unit.folders[1:]]

    @staticmethod
    def _all(folders: Iterable[RepositoryFolder]) -> list[Unit]:
        return [unit for folder in folders for unit in folder.units]

    def _repositories(self) -> list[list[RepositoryFolder]]:
        groups: dict[tuple[str, ...], list[RepositoryFolder]] = {}
        for folder in self.folders:
            groups.setdefault(folder.repository, []).append(folder)
        return list(groups.values())

    def _measured_again(self) -> int:
        """Return the bytes that are left: counted anew where something was tried, as steps go on writing."""
        total = 0
        for folder in self.folders:
            tried = any(id(unit) in self._tried for unit in folder.units)
            if not tried:
                total += folder.bytes
            elif self.dry_run:
                total += folder.bytes - self.entries[folder.path].removed
            else:
                total += survey(self.root, folder.folders).bytes
        return total


def main(arguments: Sequence[str], variables: Mapping[str, str] = os.environ) -> int:
    """Sweep the claim that the environment names, and write the report as the termination message.

    :return: 0 where the report was written, whatever it says; 64 for a wrong command line, else 70.
    """
    try:
        options = _parser().parse_args(arguments)
    except SystemExit as ended:
        return EXIT_USAGE if ended.code else 0
    console.configure()
    caps = Caps(total=options.max_total, repository=options.max_repository, unused_days=options.unused_days)
    return _deliver(sweep(variables.get(ENV_CACHE_ROOT), caps, dry_run=options.dry_run), variables)


def sweep(
    root: str | None, caps: Caps, *, dry_run: bool = False, now: float | None = None
) -> dict[str, object]:
    """Sweep a claim and return the report. What is in the way is among its faults.

    :param root: folder of the whole claim.
    :param now: seconds since the epoch; ``None``: the clock's.
    """
    try:
        if not root:
            raise OSError(f"{ENV_CACHE_ROOT} is not set")
        with opened(root) as descriptor:
            return Sweep(descriptor, caps, dry_run, time.time() if now is None else now).run()
    except OSError as error:
        fault = console.one_line(str(error), _MAX_TEXT)
        return {
            "version": 1,
            "bytes_before": 0,
            "bytes_after": 0,
            "freed": 0,
            "entries": [],
            "faults": [fault],
        }


def fitted(report: dict[str, object], limit: int = MAX_TERMINATION_MESSAGE_BYTES) -> str:
    """Return the report as JSON of at most ``limit`` bytes: the largest entries, and the first faults."""
    entries, faults = report["entries"], report["faults"]
    assert isinstance(entries, list)
    assert isinstance(faults, list)
    faults = faults[:_MAX_FAULTS]
    shown = list(entries)
    while True:
        text = json.dumps({**report, "entries": shown, "faults": faults}, separators=(",", ":"))
        if len(text) <= limit or not (shown or faults):
            return text
        if shown:
            del shown[max(0, len(shown) - max(1, len(shown) // 8)) :]
        else:
            faults.pop()


def quantity(text: str) -> int:
    """Return bytes from Kubernetes' notation: ``50Gi``, ``500M``, ``1024``.

    :raises ValueError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([kKMGTP]i?|)", text)
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{text!r} is no size; write it as 50Gi, 500M or 1024")
    return int(float(found[1]) * _UNITS[found[2]])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="agent-runner sweep-cache", allow_abbrev=False)
    parser.add_argument("--max-total", type=quantity, required=True, help="cap of the whole claim, e.g. 50Gi")
    parser.add_argument("--max-repository", type=quantity, required=True, help="cap of one repository")
    parser.add_argument("--unused-days", type=_days, required=True, help="what is unused so long is removed")
    parser.add_argument("--dry-run", action="store_true", help="only report what would be removed")
    return parser


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < 100_000:
        raise ValueError(text)
    return days


def _deliver(report: dict[str, object], variables: Mapping[str, str]) -> int:
    message = fitted(report)
    console.say(f"sweep: {report['freed']} of {report['bytes_before']} bytes freed")
    faults = report["faults"]
    for fault in faults if isinstance(faults, list) else []:
        console.say(f"fault: {fault}")
    path = variables.get(ENV_TERMINATION_LOG)
    try:
        if path:
            Path(path).write_text(message, encoding="utf-8")
        else:
            sys.stdout.write(message + "\n")
            sys.stdout.flush()
    except OSError as error:
        console.say(f"the report cannot be written: {error}")
        return EXIT_NO_REPORT
    return 0


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")
