"""Decisions as events of an asset: what a real Airflow keeps of them, and how its API and its clean-up treat them."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.pr_rule_state import Pass, RuleState
from tests.contract.airflow_api_world import ROOT, AirflowApiWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)

DAG_FILE = """
import json, os
from pathlib import Path

from airflow.sdk import DAG, BaseOperator

from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision
from airflow_provider_agents.operators.pr_rule_audit import decisions_outlet, record_decisions


class Record(BaseOperator):
    def __init__(self, *, rule, **kwargs):
        super().__init__(outlets=[decisions_outlet()], **kwargs)
        self.rule = rule

    def execute(self, context):
        said = json.loads(Path(os.environ["DECISIONS"]).read_text())
        record_decisions(context, self.rule, [PullRequestDecision.from_dict(each) for each in said[self.rule]])
        if int(context["ti"].try_number) <= int(os.environ.get("FAIL_TRIES", "0")):
            raise RuntimeError("this try fails after it recorded")


for name in ("one", "one-more", "none"):
    with DAG(f"records_{name}", schedule=None) as dag:
        Record(task_id="act", rule=name, retries=1, retry_delay=0)
    globals()[dag.dag_id] = dag
"""


class AuditWorld(AirflowApiWorld):
    """An Airflow with DAGs that record decisions."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        dags = folder / "dags"
        dags.mkdir()
        (dags / "records.py").write_text(DAG_FILE)
        for file in ("pr_rules.py", "pr_rules_faults.py"):
            shutil.copy(ROOT / "dags" / file, dags)
        config = folder / "config"
        (config / "rules").mkdir(parents=True)
        (config / "rules" / "good.yaml").write_text(
            "repositories: [acme/shop]\ninstruction: Merge it.\ndry_run: true\n"
        )
        (config / "rules" / "broken.yaml").write_text(
            "repositories: [acme/shop]\ninstruction: |\n  {{ pr.tile }}\n"
        )
        self._env |= {
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(
                [
                    {
                        "name": "records",
                        "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
                        "kwargs": {"path": str(dags)},
                    }
                ]
            ),
            "AIRFLOW__AGENTS__CONFIG_PATH": str(config),
            "DECISIONS": str(folder / "decisions.json"),
            "PYTHONPATH": f"{ROOT}:{ROOT / 'agent-image'}",
        }

    def run(self, rule: str, decisions: list[dict[str, Any]], *, fail_tries: int = 0) -> str:
        """Run a rule's DAG to its end; return what it logged."""
        file = self.folder / "decisions.json"
        file.write_text(json.dumps({"one": [], "one-more": [], "none": [], rule: decisions}))
        done = subprocess.run(
            [sys.executable, "-m", "airflow", "dags", "test", f"records_{rule}"],
            env=self._env | {"FAIL_TRIES": str(fail_tries)},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-3_000:]
        return done.stdout + done.stderr

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        connection = sqlite3.connect(self.folder / "airflow.db", timeout=60)
        try:
            with connection:
                return list(connection.execute(query))
        finally:
            connection.close()

    def clean(self, *arguments: str) -> str:
        return self._python("-m", "airflow", "db", "clean", "--tables", "asset_event", *arguments)

    def decisions(self, *line: str) -> list[dict[str, Any]]:
        ended = self.call("rules", "decisions", *line, "-o", "json")
        assert ended.code == 0, ended.err
        found: list[dict[str, Any]] = json.loads(ended.out)
        return found


def decision(rule: str, number: int, **values: Any) -> dict[str, Any]:
    reason = values.pop("reason", "All checks are green.")
    return {
        "rule": rule,
        "version": "0123456789ab",
        "repository": "acme/shop",
        "number": number,
        "url": f"https://github.com/acme/shop/pull/{number}",
        "head_sha": f"{number:040x}",
        "context_hash": "feedfeedfeedfeed",
        "decided_at": "2026-11-21T10:00:00+00:00",
        "answer": {"action": "merge", "reason": reason, "confidence": 0.9},
        "model": "claude-opus-4-8",
        "tokens": {"input": 1200, "output": 80, "cache_read": 900, "cache_write": 0},
        "usd": 0.0123,
        "action": "merge",
        "outcome": "done",
        "message": "Merged.",
        **values,
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuditWorld]:
    with AuditWorld(tmp_path_factory.mktemp("audit")) as world:
        yield world


def test_each_decision_is_an_event_of_its_own_and_only_decisions_are(world: AuditWorld) -> None:
    world.run("none", [])
    assert world.rows("select count(*) from asset_event") == [(0,)]
    world.run("one", [decision("one", number) for number in (7, 8, 9)])
    world.run("one-more", [decision("one-more", 7, action="wait", guard="freeze", outcome="guarded")])
    assert world.rows("select count(*) from asset_event") == [(4,)]

    found = world.decisions("one")
    assert {each["number"] for each in found} == {7, 8, 9}
    assert {each["rule"] for each in found} == {"one"}  # not those of `one-more`
    # Nothing in it is taken for a secret and masked.
    assert found[0]["usage"] == {"input": 1200, "output": 80, "cache_read": 900, "cache_write": 0}
    assert "***" not in json.dumps(found)
    assert found[0]["dag_id"] == "records_one"

    assert [each["guard"] for each in world.decisions("--action", "wait")] == ["freeze"]
    assert [each["rule"] for each in world.decisions("--pull-request", "acme/shop#7")] == ["one-more", "one"]
    assert world.decisions("--pull-request", "acme/other#7") == []
    assert len(world.decisions("--limit", "2")) == 2
    # As the page of the assets shows them: an asset for each rule, kept alive by the alias.
    assets = {
        each["name"]: each for each in world.client.request("GET", "/assets?only_active=false")["assets"]
    }
    assert [alias["name"] for alias in assets["agents_decisions__one"]["aliases"]] == ["agents_decisions"]


def test_a_try_that_fails_leaves_no_event(world: AuditWorld) -> None:
    before = world.rows("select count(*) from asset_event")[0][0]
    log = world.run("one", [decision("one", 11)], fail_tries=1)
    assert "this try fails after it recorded" in log
    assert world.rows("select count(*) from asset_event")[0][0] == before + 1


def test_many_long_decisions_of_one_run(world: AuditWorld) -> None:
    before = world.rows("select count(*) from asset_event")[0][0]
    world.run("one", [decision("one", number, reason="ü" * 2_000) for number in range(1_000, 1_300)])
    assert world.rows("select count(*) from asset_event")[0][0] == before + 100
    longest = world.rows("select max(length(extra)) from asset_event")[0][0]
    assert longest <= 3 * 4_096 + 100
    found = world.decisions("one", "--limit", "300")
    assert {each["number"] for each in found} == set(range(1_000, 1_300))


def test_what_is_older_than_ninety_days_is_cleaned_and_nothing_else(world: AuditWorld) -> None:
    world.run("one", [decision("one", 21), decision("one", 22)])
    world.rows(
        "update asset_event set timestamp = '2026-01-01 00:00:00' where extra like '%\"number\": 21,%'"
    )
    before = world.rows("select count(*) from asset_event")[0][0]
    said = world.clean("--clean-before-timestamp", "2026-03-01", "--dry-run")
    assert "Found 1 rows meeting deletion criteria." in said
    assert world.rows("select count(*) from asset_event") == [(before,)]
    world.clean("--clean-before-timestamp", "2026-03-01", "--skip-archive", "--yes")
    assert world.rows("select count(*) from asset_event") == [(before - 1,)]


def test_the_rules_as_the_api_shows_them(world: AuditWorld) -> None:
    state = RuleState(
        last_pass=Pass(at=NOW, ended_at=NOW, listed=3, matched=1), processed=2, actions={"merge": 2}
    )
    world.client.request("POST", "/variables", {"key": "agents_rule__good", "value": state.to_text()})
    ended = world.call("rules", "-o", "json")
    assert ended.code == 0, ended.err
    rows = {row["rule"]: row for row in json.loads(ended.out)}
    assert rows.keys() == {"good", "broken"}
    assert (rows["good"]["state"], rows["good"]["merge"], rows["good"]["last_error"]) == ("dry run", 2, None)
    assert datetime.fromisoformat(rows["good"]["next_pass"]).tzinfo is not None
    assert rows["broken"]["state"] == "broken"
    assert rows["broken"]["last_error"].startswith("rules/broken.yaml:3: ")
    assert "rules/broken.yaml:3: " in ended.err  # from the page of import errors
    one = world.call("rules", "good", "-o", "json")
    assert json.loads(one.out)["processed"] == 2
    assert world.call("rules", "none-such").code == 1


def test_a_person_who_may_only_look_sees_rules_and_decisions(world: AuditWorld) -> None:
    """A viewer may not read Variables."""
    world.run("one", [decision("one", 31)])
    shown = [
        world.call(*line, user="vic", password="watches")
        for line in (("rules",), ("rules", "good"), ("rules", "decisions", "--limit", "1"))
    ]
    assert [ended.code for ended in shown] == [0, 0, 0], [ended.err for ended in shown]
    assert "may not read Variables" in shown[0].err
    assert "acme/shop#31" in shown[2].out
