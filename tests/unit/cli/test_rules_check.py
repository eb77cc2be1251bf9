"""``airflow agents rules check``: each fault with its place, the prompt of a sample, what it costs; without Airflow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_agents.cli import api_access
from tests.unit.cli.command_line import Ended, call_line

EXAMPLES = Path(__file__).parents[3] / "dags" / "rules"
GOOD = "repositories: [acme/shop]\ninstruction: |\n  Merge {{ pr.title }} when it is green.\n"


@pytest.fixture(autouse=True)
def _no_airflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(api_access.URL, "http://127.0.0.1:9")
    monkeypatch.delenv("AIRFLOW__AGENTS__CONFIG_PATH", raising=False)
    monkeypatch.delenv("AIRFLOW__AGENTS__RULES_MODEL", raising=False)


def check(*line: str) -> Ended:
    return call_line("rules", "check", *line)


def test_a_good_rule_shows_what_the_model_is_told(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD)
    ended = check(str(file))
    assert (ended.code, ended.err) == (0, "")
    assert "Merge ⟦pr.title⟧ when it is green." in ended.out
    assert '⟦pr.title⟧ "Bump urllib3 from 2.2.1 to 2.2.2"' in ended.out
    assert "claude-opus-4-8 ?" in ended.out


def test_every_fault_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("intervall: 30\ninstruction: |\n  Merge it.\n  {{ pr.tile }}\n")
    ended = check(str(file))
    assert ended.code == 2
    assert f"{file}:1: " in ended.err
    assert f"{file}:4: " in ended.err


def test_a_good_rule_beside_a_broken_one_is_shown(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text("instruction: [\n")
    ended = call_line("rules", "check", str(tmp_path), "-o", "json")
    assert ended.code == 2
    rows = {row["rule"]: row for row in json.loads(ended.out)}
    assert rows["bad"]["faults"]
    assert rows["good"]["faults"] == []
    assert rows["good"]["prompt"]["rule"]


def test_the_examples_cost_cents() -> None:
    ended = call_line("rules", "check", str(EXAMPLES), "-o", "json")
    rows = json.loads(ended.out)
    assert ended.code == 0
    assert len(rows) == 5
    assert all(0.001 < row["usd_usual"] < row["usd_most"] < 0.2 for row in rows)


def test_a_model_of_an_unknown_price_is_marked(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(GOOD + "model: {name: house-model-1}\n")
    ended = check(str(file))
    assert "house-model-1" in ended.out
    assert "* No price is known for it" in ended.out


def test_a_rule_that_is_for_no_repository_here_is_no_fault_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("instruction: Merge it.\n")
    ended = check(str(file))
    assert ended.code == 0
    assert "where it is to work, not here" in ended.err


def test_the_installed_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "`[agents] config_path` is not set" in check().err
    (tmp_path / "rules").mkdir()
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    assert "There is no rule" in check().err
    (tmp_path / "rules" / "mine.yaml").write_text("instruction: Merge it.\n")
    ended = check()
    assert ended.code == 2  # here it would work, and is for no repository
    assert "rules_repositories" in ended.err


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    ended = check(str(tmp_path / "none.yaml"))
    assert ended.code == 2
    assert "none.yaml" in ended.err
