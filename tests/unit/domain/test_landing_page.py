"""``docs/landing.md`` is held to the code: rules in order, knobs, commands, points."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from airflow_provider_agents.domain import landing_decision, risk
from airflow_provider_agents.domain.commands import COMMANDS
from airflow_provider_agents.domain.flakes import CONCLUSIONS
from airflow_provider_agents.domain.freeze import freeze_faults
from airflow_provider_agents.domain.landing import RULES
from airflow_provider_agents.domain.landing_policy import LandingPolicy

PAGE = (Path(__file__).resolve().parents[3] / "docs/landing.md").read_text()


def rows(section: str) -> list[list[str]]:
    """Return the cells of a section's table, without its head."""
    text = PAGE.split(f"\n## {section}\n")[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_rules_in_their_order() -> None:
    names = [f"`{rule.__name__}`" for rule in RULES] + ["`merge`"]
    assert [row[:2] for row in rows("Rules")] == [[str(n), name] for n, name in enumerate(names, 1)]


def test_verdicts_are_the_code_s() -> None:
    said = {word for row in rows("Rules") for word in re.findall(r"`(\w+)`", row[3])}
    known = set(landing_decision.Verdict.__args__)
    assert said - {"no_checks", "review"} <= known | {"review"}
    assert known - said == {"rerun_checks"}


def test_knobs_with_defaults_and_reasons() -> None:
    found = {row[0].strip("`"): row[1:] for row in rows("Knobs")}
    assert set(found) == {field.name for field in dataclasses.fields(LandingPolicy)}
    for name, (default, reason) in found.items():
        value = getattr(LandingPolicy(), name)
        words = ", ".join(value) if isinstance(value, tuple) else str(value)
        assert default == (f"`{words}`" if words else "empty"), name
        assert reason, name


def test_commands() -> None:
    assert [row[0] for row in rows("Commands")] == [f"`/{name}`" for name in COMMANDS]


def test_freeze_windows_can_be_used() -> None:
    assert freeze_faults([row[0].strip("`") for row in rows("Freeze windows")]) == []


def test_conclusions_of_flakes() -> None:
    section = PAGE.split("\n## Flakes\n")[1].split("\n## ")[0]
    assert set(re.findall(r"`([A-Z_]+)`", section)) == set(CONCLUSIONS)


def test_points_of_the_risk() -> None:
    found = {row[0]: row[1] for row in rows("Risk")}
    by_start = {name.split(" (")[0].split(":")[0]: points for name, points in found.items()}
    expected = {
        "changed lines, less lock files": ", ".join(str(p) for _, p in reversed(risk.SIZE_STEPS)),
        "changed files": ", ".join(str(p) for _, p in reversed(risk.FILE_STEPS)),
        "code without a touched test": str(risk.UNTESTED),
        "code with a touched test": str(risk.TESTED),
        "removed tests": str(risk.TESTS_REMOVED),
        "removed files": str(risk.FILES_REMOVED),
        "a dependency manifest": str(risk.MANIFEST),
        "a lock file alone": str(risk.LOCK_FILE),
        **{name: str(points) for name, points, _ in risk.SENSITIVE},
    }
    assert by_start == expected
    for name, steps in (("changed lines", risk.SIZE_STEPS), ("changed files", risk.FILE_STEPS)):
        (text,) = [row for row in found if row.startswith(name)]
        assert text.endswith(", ".join(str(over) for over, _ in reversed(steps)))


def test_fixed_bounds() -> None:
    assert f"{landing_decision.STALE_SECONDS // 60} minutes for what GitHub may show late" in PAGE
    assert landing_decision.PATIENCE_SECONDS == 3600
    assert f"{landing_decision.MOST_BRANCH_UPDATES} updates of" in PAGE
    assert f"{landing_decision.MOST_QUEUE_ENTRIES} entries in the merge queue" in PAGE
