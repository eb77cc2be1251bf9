"""Shows what a command found: as a table for a person, or as JSON or YAML for a program."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_LEAST_WIDTH = 80


def show(document: Any, table: str, form: str) -> None:
    """Write an answer.

    :param document: JSON-ready values, for a program.
    :param table: the same for a person.
    :param form: ``table``, ``json`` or ``yaml``.
    """
    sys.stdout.write(table if form == "table" else as_document(document, form))
    sys.stdout.flush()


def say(line: str) -> None:
    """Tell a person something beside the answer."""
    sys.stderr.write(clean(line) + "\n")
    sys.stderr.flush()


def as_document(document: Any, form: str) -> str:
    """Return values as ``json`` or ``yaml``."""
    if form == "yaml":
        import yaml

        return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120))
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def as_table(headings: Sequence[str], rows: Sequence[Sequence[Any]], *, width: int | None = None) -> str:
    """Return rows as a table; the last column is cut to the width of the terminal, no other is.

    :param width: of the terminal; ``None``: this one's, and unlimited where the output is no terminal.
    """
    cells = [[_cell(value) for value in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    if width is None and sys.stdout.isatty():
        width = max(_LEAST_WIDTH, shutil.get_terminal_size((120, 24)).columns)
    lines = []
    for row in cells:
        text = "  ".join(cell.ljust(widths[column]) for column, cell in enumerate(row)).rstrip()
        lines.append(text if width is None or len(text) <= width else text[: width - 1] + "…")
    return "\n".join(lines) + "\n"


def clean(text: str) -> str:
    """Return text without what would steer a terminal: it may come from agents and repositories."""
    return "".join(
        char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf") else "�" for char in text
    )


def _cell(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return " ".join(clean(str(value)).split())
