"""What doctor found: findings by check, the report of all of them, and its exit code."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

Status = Literal["ok", "warning", "failed", "skipped"]

RANKS: tuple[Status, ...] = ("failed", "warning", "ok", "skipped")
"""The first of these that a check's findings have is the check's."""

DOCUMENT_VERSION = 1
"""Of the JSON document: raised when a field changes its meaning or goes."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a check."""

    status: Status
    message: str
    """What was found, for a person."""
    remedy: str = ""
    """What to do; empty where nothing is to be done."""
    subject: str = ""
    """What it is about, where a check is about several: a repository, a connection, a right."""


def ok(message: str, subject: str = "") -> Finding:
    """Return a finding that all is well."""
    return Finding("ok", message, subject=subject)


def warning(message: str, remedy: str, subject: str = "") -> Finding:
    """Return a finding of what works, but not as well or as safely as it could."""
    return Finding("warning", message, remedy, subject)


def failed(message: str, remedy: str, subject: str = "") -> Finding:
    """Return a finding of what keeps tasks from working."""
    return Finding("failed", message, remedy, subject)


def skipped(message: str, remedy: str = "", subject: str = "") -> Finding:
    """Return a finding of what could not be looked at."""
    return Finding("skipped", message, remedy, subject)


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All that one check found."""

    check_id: str
    title: str
    findings: tuple[Finding, ...]
    seconds: float = 0.0

    @property
    def status(self) -> Status:
        """The worst status of the findings; a check without any is skipped."""
        found = {finding.status for finding in self.findings}
        return next((rank for rank in RANKS if rank in found), "skipped")

    def to_dict(self, hide: Callable[[str], str]) -> dict[str, Any]:
        """Return the check for the JSON document.

        :param hide: takes secrets out of a text.
        """
        return {
            "id": self.check_id,
            "title": self.title,
            "status": self.status,
            "seconds": round(self.seconds, 3),
            "findings": [
                {
                    "status": finding.status,
                    "subject": hide(finding.subject),
                    "message": hide(finding.message),
                    "remedy": hide(finding.remedy),
                }
                for finding in self.findings
            ],
        }


@dataclass(slots=True)
class Report:
    """What a run of doctor found."""

    checks: list[CheckReport] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0, or 1 where a check failed."""
        return int(any(check.status == "failed" for check in self.checks))

    def counts(self) -> dict[Status, int]:
        """Return how many checks have each status."""
        counted = Counter(check.status for check in self.checks)
        return {status: counted[status] for status in RANKS}

    def to_dict(self, hide: Callable[[str], str]) -> dict[str, Any]:
        """Return the JSON document.

        :param hide: takes secrets out of a text.
        """
        return {
            "version": DOCUMENT_VERSION,
            "ok": self.exit_code == 0,
            "counts": self.counts(),
            "checks": [check.to_dict(hide) for check in self.checks],
        }
