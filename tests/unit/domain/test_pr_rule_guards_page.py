"""``docs/rules-guards.md`` names every guard, and says truly which of them a person overrides."""

from __future__ import annotations

import re
from pathlib import Path

from pr_rule_cases import ROWS

from airflow_provider_agents.domain.pr_rule_guards import GUARDS, OVERRIDABLE

NAMES = {"risky": "risk"}
"""Guards whose function is not called after them."""
PAGE = Path(__file__).resolve().parents[3] / "docs" / "rules-guards.md"


def _rows() -> dict[str, str]:
    lines = [line.split("|") for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    return {name: row[4].strip() for row in lines if len(row) == 7 for name in re.findall(r"`(\w+)`", row[1])}


def test_every_guard_that_a_test_sees_is_on_the_page() -> None:
    text = PAGE.read_text()
    seen = {row[6] for row in ROWS} - {"", "unread"}
    assert {name for name in seen if f"`{name}`" not in text} == set()


def test_the_page_says_what_a_person_overrides() -> None:
    rows = _rows()
    overridable = {NAMES.get(guard.__name__, guard.__name__) for guard in OVERRIDABLE}
    assert {name for name in rows if rows[name].startswith("yes")} == overridable


def test_the_order_of_the_page_is_that_of_the_code() -> None:
    order = [NAMES.get(guard.__name__, guard.__name__) for guard in GUARDS["merge"]]
    order = [name for name in order if name not in ("withdraw", "landed")]
    assert [name for name in _rows() if name in order] == order
