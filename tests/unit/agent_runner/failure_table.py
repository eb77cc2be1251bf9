"""The table of ``docs/failures.md``, made from the catalogue.

``python tests/unit/agent_runner/failure_table.py`` writes it anew after the catalogue was changed.
"""

from __future__ import annotations

import typing
from pathlib import Path

from agent_runner.contract import FAILURES, FailureCategory

PAGE = Path(__file__).parents[3] / "docs" / "failures.md"
BEGIN = "<!-- failures: made by tests/unit/agent_runner/failure_table.py -->\n"
END = "<!-- end of failures -->\n"


def table() -> str:
    """Return the table: by category, in the order of the catalogue."""
    lines = ["| Category | Code | Repeated | Remedy |", "|---|---|---|---|"]
    for category in typing.get_args(FailureCategory):
        lines += [
            f"| {category} | `{code}` | {'yes' if kind.retryable else 'no'} | {kind.remedy.replace('|', '&#124;')} |"
            for code, kind in FAILURES.items()
            if kind.category == category
        ]
    return "".join(f"{line}\n" for line in lines)


def split(page: str) -> tuple[str, str, str]:
    """Return what stands before, in and after the table."""
    before, _, rest = page.partition(BEGIN)
    inside, _, after = rest.partition(END)
    return before, inside, after


if __name__ == "__main__":
    before, _, after = split(PAGE.read_text())
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}")
