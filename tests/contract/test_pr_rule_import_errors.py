"""What a real DAG processor makes of rules: a broken one is an import error with file and line, and only that."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parents[2]
FAULTS_FILE = "pr_rules_faults.py"
RULE = "repositories: [acme/shop]\ninstruction: Merge what is green.\n"
BROKEN = "repositories: [acme/shop]\ninstruction: |\n  Merge it.\n  {{ pr.tile }}\nintervall: 30\n"
MOST_SECONDS = 90.0
REFRESH_SECONDS = 2

TABLES = """
from airflow import models, settings
from airflow.models.base import Base
from airflow.utils.db import _get_alembic_config
from alembic import command

models.import_all_models()
Base.metadata.create_all(settings.engine)
command.stamp(_get_alembic_config(), "heads")
"""


@dataclass
class Processor:
    """A DAG processor at work, its database, and the files that it reads."""

    home: Path
    config: Path

    def write(self, **rules: str | None) -> None:
        """Write rules; ``None`` removes one."""
        for name, text in rules.items():
            file = self.config / "rules" / f"{name}.yaml"
            if text is None:
                file.unlink()
            else:
                file.write_text(text)

    def rows(self, query: str) -> list[dict[str, Any]]:
        with contextlib.closing(
            sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=ro", uri=True, timeout=30)
        ) as connection:
            connection.row_factory = sqlite3.Row
            return [dict(row) for row in connection.execute(query)]

    def errors(self) -> dict[str, str]:
        return {row["filename"]: row["stacktrace"] for row in self.rows("select * from import_error")}

    def dags(self) -> dict[str, dict[str, Any]]:
        return {row["dag_id"]: row for row in self.rows("select * from dag")}

    def page(self, dag_id: str) -> str:
        """Return the newest text of a DAG's page."""
        found = self.rows(
            f"select data from serialized_dag where dag_id = '{dag_id}' order by created_at desc limit 1"
        )
        return str(json.loads(found[0]["data"])["dag"]["doc_md"]) if found else ""

    def until(self, done: Callable[[], Any], what: str) -> None:
        end = time.monotonic() + MOST_SECONDS
        while time.monotonic() < end:
            with contextlib.suppress(sqlite3.OperationalError):
                if done():
                    return
            time.sleep(0.2)
        log = (self.home / "processor.log").read_text()[-4_000:]
        pytest.fail(f"not within {MOST_SECONDS:.0f} s: {what}\n{self.errors()}\n{self.dags()}\n{log}")

    def parses(self) -> None:
        """Wait until the rules were read again, and what was written to the database."""
        for _ in range(2):  # the first may have begun before now
            before = {name: row["last_parsed_time"] for name, row in self.dags().items()}
            self.until(functools.partial(self._parsed_since, before), "a parse")

    def _parsed_since(self, before: dict[str, str]) -> bool:
        return any(row["last_parsed_time"] != before.get(name) for name, row in self.dags().items())


@pytest.fixture(scope="module")
def processor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processor]:
    home = tmp_path_factory.mktemp("processor")
    dags, config = home / "dags", home / "config"
    dags.mkdir()
    (config / "rules").mkdir(parents=True)
    for file in ("pr_rules.py", FAULTS_FILE):
        shutil.copy(ROOT / "dags" / file, dags)
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "PYTHONPATH": f"{ROOT}:{ROOT / 'agent-image'}",
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__MIN_SERIALIZED_DAG_UPDATE_INTERVAL": "0",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": str(REFRESH_SECONDS),
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "1",
        "AIRFLOW__DAG_PROCESSOR__STALE_DAG_THRESHOLD": "4",
        "AIRFLOW__SCHEDULER__PARSING_CLEANUP_INTERVAL": "1",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__AGENTS__CONFIG_PATH": str(config),
    }
    done = subprocess.run(
        [sys.executable, "-c", TABLES], env=env, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    with (home / "processor.log").open("wb") as log:
        program = subprocess.Popen(
            [sys.executable, "-m", "airflow", "dag-processor"],
            env=env,
            cwd=home,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield Processor(home, config)
    finally:
        os.killpg(program.pid, signal.SIGTERM)
        try:
            program.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(program.pid, signal.SIGKILL)
            program.wait(20)


@pytest.fixture(autouse=True)
def _two_good_rules(processor: Processor) -> None:
    """Start each test from the same state: two rules, nothing wrong."""
    for file in (processor.config / "rules").glob("*"):
        file.unlink()
    processor.write(a=RULE, b=RULE)
    processor.until(
        lambda: (
            not processor.errors()
            and {name for name, row in processor.dags().items() if not row["is_stale"]}
            == {"pr_rule__a", "pr_rule__b", "pr_rule_escalation"}
        ),
        "two good rules",
    )


def good(processor: Processor, *names: str) -> bool:
    """Tell whether the DAGs of the rules are in service."""
    dags = processor.dags()
    return all(
        not dags[name]["is_stale"] and not dags[name]["has_import_errors"] and dags[name]["timetable_summary"]
        for name in (f"pr_rule__{each}" for each in names)
    )


def test_a_broken_rule_is_an_import_error_with_file_and_line(processor: Processor) -> None:
    processor.write(c=BROKEN)
    processor.until(processor.errors, "the import error")
    ((file, text),) = processor.errors().items()
    assert file == FAULTS_FILE
    assert "rules/c.yaml:5: intervall: unknown key; did you mean `interval`?" in text
    processor.write(c=BROKEN.replace("intervall: 30\n", ""))
    processor.until(
        lambda: "rules/c.yaml:4: instruction: " in processor.errors().get(FAULTS_FILE, ""), "the next fault"
    )
    # It stays for as long as the fault does, also when Airflow tidies up what no file stands behind.
    end = time.monotonic() + 3 * REFRESH_SECONDS
    while time.monotonic() < end:
        assert set(processor.errors()) == {FAULTS_FILE}
        time.sleep(0.1)
    processor.parses()
    assert good(processor, "a", "b")
    broken = processor.dags()["pr_rule__c"]
    assert not broken["is_stale"]
    assert broken["timetable_description"] == "Never, external triggers only"
    assert "rules/c.yaml:4: " in processor.page("pr_rule__c")
    processor.write(c=RULE)
    processor.until(lambda: not processor.errors(), "the end of the import error")
    processor.until(lambda: good(processor, "a", "b", "c"), "the mended rule")


def test_a_rule_that_breaks_keeps_its_page_and_stops(processor: Processor) -> None:
    processor.write(a=BROKEN)
    processor.until(lambda: "broken" in processor.page("pr_rule__a"), "the broken rule")
    processor.until(processor.errors, "the import error")
    for _ in range(3):
        processor.parses()
    dags = processor.dags()
    assert not dags["pr_rule__a"]["is_stale"], "its runs can still be seen"
    assert dags["pr_rule__a"]["timetable_description"] == "Never, external triggers only"
    assert not processor.rows("select * from dag_schedule_asset_reference where dag_id = 'pr_rule__a'"), (
        "nothing starts it"
    )
    assert good(processor, "b")


def test_a_pause_and_what_others_have_stays(processor: Processor) -> None:
    with contextlib.closing(sqlite3.connect(processor.home / "airflow.db", timeout=30)) as connection:
        connection.execute("update dag set is_paused = (dag_id = 'pr_rule__b')")
        connection.commit()
    processor.write(a=BROKEN, c="x: [\n", d=RULE)
    processor.until(lambda: "rules/c.yaml" in processor.errors().get(FAULTS_FILE, ""), "the import error")
    processor.until(lambda: "pr_rule__d" in processor.dags(), "the new rule")
    paused = {name: bool(row["is_paused"]) for name, row in processor.dags().items()}
    assert (paused["pr_rule__a"], paused["pr_rule__b"]) == (False, True)
    assert good(processor, "b", "d")


def test_an_edit_takes_effect_at_the_next_parse(processor: Processor) -> None:
    processor.write(a=RULE.replace("green", "blue"))
    processor.until(lambda: "Merge what is blue." in processor.page("pr_rule__a"), "the edit")
    assert "Merge what is green." in processor.page("pr_rule__b")


def test_a_rule_that_is_removed_goes(processor: Processor) -> None:
    processor.write(b=None)
    processor.until(lambda: processor.dags()["pr_rule__b"]["is_stale"], "the end of the removed rule")
    assert good(processor, "a")
    processor.write(b=RULE)
    processor.until(lambda: good(processor, "b"), "the rule that is back")


def test_a_name_that_is_given_twice_names_both_places(processor: Processor) -> None:
    manifest = (
        "apiVersion: aioperator.io/v1alpha1\nkind: PRReconciliationRule\nmetadata: {name: a}\n"
        "spec: {instruction: Close everything.}\n"
    )
    processor.write(other=manifest)
    processor.until(
        lambda: (
            "rules/a.yaml:1: the name `a` is also given at rules/other.yaml:1"
            in processor.errors().get(FAULTS_FILE, "")
        ),
        "the import error",
    )
    processor.until(lambda: "broken" in processor.page("pr_rule__a"), "neither of the two")
    assert good(processor, "b")
