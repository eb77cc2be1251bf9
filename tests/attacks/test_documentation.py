"""The table of attacks in ``docs/security.md`` names every attack of this folder, and no other."""

from __future__ import annotations

import ast
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/security.md"
ROW = re.compile(r"^\|.*\| `(test_\w+)` \|$", re.MULTILINE)
NAME = re.compile(r"`(test_\w+)`")


def attacks() -> dict[str, bool]:
    """Return the attacks by name, and whether each is expected to succeed; controls are left out."""
    found = {}
    for file in Path(__file__).parent.glob("test_*.py"):
        if file.name == Path(__file__).name:
            continue
        for node in ast.parse(file.read_text()).body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_") and not node.name.startswith("test_control_"):
                found[node.name] = any("xfail" in ast.unparse(each) for each in node.decorator_list)
    return found


def test_each_attack_is_a_row_and_each_row_an_attack() -> None:
    rows = ROW.findall(PAGE.read_text())
    assert len(rows) == len(set(rows))
    assert set(rows) == {name for name, succeeds in attacks().items() if not succeeds}
    assert len(rows) >= 25


def test_each_attack_that_succeeds_is_named() -> None:
    _, _, rest = PAGE.read_text().partition("\nAttacks that succeed today")
    named = NAME.findall(rest.partition("\n## ")[0])
    assert set(named) == {name for name, succeeds in attacks().items() if succeeds}
