"""Shows a report: as a table for a terminal, or as JSON or YAML for a program."""

from __future__ import annotations

import json
import shutil
import textwrap
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.runner import LEFT_OUT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_provider_agents.cli.report import Finding, Report, Status

_COLOURS: dict[Status, str] = {"ok": "32", "warning": "33", "failed": "31", "skipped": "90"}
_LEAST_WIDTH = 60
_MOST_WIDTH = 120
_STATUS_WIDTH = 9


def as_document(report: Report, form: str, hide: Callable[[str], str]) -> str:
    """Return the report as ``json`` or ``yaml``."""
    document = report.to_dict(hide)
    if form == "yaml":
        import yaml

        return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=_MOST_WIDTH))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_table(
    report: Report, hide: Callable[[str], str], *, colour: bool = False, width: int | None = None
) -> str:
    """Return the report for a person: one line a finding, its remedy below it, and a summary.

    :param width: of the terminal; by default this one's.
    """
    columns = width or shutil.get_terminal_size((100, 24)).columns
    columns = max(_LEAST_WIDTH, min(columns, _MOST_WIDTH))
    lines: list[str] = []
    for check in report.checks:
        if any(finding.message == LEFT_OUT for finding in check.findings):
            continue  # the document has it; a person has said it
        for number, finding in enumerate(check.findings):
            label = check.check_id if number == 0 else ""
            lines += _finding(finding, label, hide, colour, columns)
    counts = ", ".join(f"{count} {status}" for status, count in report.counts().items() if count)
    lines += ["", f"{len(report.checks)} checks: {counts}."]
    return "\n".join(lines) + "\n"


def _finding(
    finding: Finding, label: str, hide: Callable[[str], str], colour: bool, columns: int
) -> Iterator[str]:
    status = finding.status.ljust(_STATUS_WIDTH)
    if colour:
        status = f"\x1b[{_COLOURS[finding.status]}m{status}\x1b[0m"
    indent = " " * _STATUS_WIDTH
    if label:
        yield f"{status}{label}"
    elif finding.status != "ok":
        yield status.rstrip()
    message = " ".join(hide(finding.message).split())
    yield from textwrap.wrap(
        message, columns, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False
    )
    if finding.remedy:
        remedy = " ".join(hide(finding.remedy).split())
        yield from textwrap.wrap(
            remedy,
            columns,
            initial_indent=f"{indent}→ ",
            subsequent_indent=f"{indent}  ",
            break_on_hyphens=False,
            break_long_words=False,
        )
