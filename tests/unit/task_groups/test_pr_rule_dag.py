"""One DAG for each rule; a broken one keeps its own without a schedule, and takes no other along."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, AssetOrTimeSchedule, DeltaTriggerTimetable
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_agents.domain.pools import RULES_POOL
from airflow_provider_agents.domain.pr_rule_files import read_rules
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.pr_rule_calling import ESCALATION_DAG
from airflow_provider_agents.operators.pr_rule_sources import load_rule, rule_files
from airflow_provider_agents.task_groups import pr_rule as pr_rule_dags
from airflow_provider_agents.task_groups.definition_dags import MOST_FAULTS
from airflow_provider_agents.task_groups.pr_rule import (
    pr_rule_dag,
    raise_faults,
    rule_dags,
)
from airflow_provider_agents.triggers.pr_rule_watch import rule_asset

if TYPE_CHECKING:
    from collections.abc import Callable

DAGS = Path(__file__).parents[3] / "dags"
RULE = "repositories: [acme/shop]\ninstruction: Merge what is green.\nsweep: 600\n"


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write the rules of the installation."""
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    folder = tmp_path / "rules"
    folder.mkdir()

    def written(**files: str) -> None:
        for name, text in files.items():
            (folder / f"{name}.yaml").write_text(text)

    return written


def loaded() -> dict[str, DAG]:
    """Return the DAGs of the shipped file."""
    found = runpy.run_path(str(DAGS / "pr_rules.py"))
    return {dag.dag_id: dag for dag in found.values() if isinstance(dag, DAG)}


def test_each_rule_has_its_dag(write: Callable[..., None]) -> None:
    write(a=RULE, b=RULE + "dry_run: true\n")
    found = loaded()
    assert set(found) == {"pr_rule__a", "pr_rule__b", ESCALATION_DAG}
    dag = found["pr_rule__a"]
    assert dag.max_active_runs == 1
    assert not dag.catchup
    assert {"agents", "rules"} <= dag.tags
    schedule: Any = dag.timetable
    assert isinstance(schedule, AssetOrTimeSchedule)
    assert isinstance(schedule.timetable, DeltaTriggerTimetable)
    assert schedule.timetable.delta == timedelta(seconds=600)
    condition: Any = schedule.asset_condition
    assert [asset.name for asset in condition.objects] == ["agents_rule__a"]
    assert "(dry run)" in str(found["pr_rule__b"].description)


def test_the_graph(write: Callable[..., None]) -> None:
    write(a=RULE)
    dag = loaded()["pr_rule__a"]
    edges = {task.task_id: task.downstream_task_ids for task in dag.tasks}
    assert edges == {"look": {"decide", "act"}, "decide": {"act"}, "act": {"ask_people"}, "ask_people": set()}
    tasks: dict[str, Any] = dict(dag.task_dict)
    look, decide, act, ask = (tasks[name] for name in ("look", "decide", "act", "ask_people"))
    assert (look.rule, act.rule, decide.partial_kwargs["rule"]) == ("a", "a", "a")
    assert decide.max_active_tis_per_dagrun == 4
    assert decide.retries == 2
    assert act.pool == RULES_POOL
    assert act.trigger_rule == "all_done"
    assert [asset.name for asset in act.inlets] == ["agents_rule__a"]
    assert [alias.name for alias in act.outlets] == ["agents_decisions"]
    starts = ask.partial_kwargs
    assert starts["trigger_dag_id"] == ESCALATION_DAG
    assert starts["skip_when_already_exists"] is True
    assert starts["logical_date"] is None
    for task in dag.tasks:
        assert task.task_id == "ask_people" or task.execution_timeout is not None


def test_the_dags_can_be_serialized(write: Callable[..., None]) -> None:
    write(a=RULE, broken="instruction: x\nfoo: 1\n")
    for dag in loaded().values():
        again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
        assert set(again.task_ids) == set(dag.task_ids)


def test_an_answer_has_the_time_that_the_rule_gives_it(write: Callable[..., None]) -> None:
    write(a=RULE + "model: {timeout: 600}\n")
    assert loaded()["pr_rule__a"].get_task("decide").execution_timeout == timedelta(seconds=900)


def test_the_page_shows_rule_and_limits(write: Callable[..., None]) -> None:
    text = "repositories: [acme/shop]\nselector:\n  labels: {include: ['a|b']}\n  title_pattern: ^Bump\ninstruction: |\n"
    write(a=text + "  Use ```json```.\n  Title: {{ pr.title }}\nlimits: {usd_per_day: 2.5}\n")
    page = str(loaded()["pr_rule__a"].doc_md)
    assert "`rules/a.yaml:1`" in page
    assert "````text\nUse ```json```.\nTitle: {{ pr.title }}\n````" in page
    assert "| labels | `a\\|b` |" in page
    assert "| title begins with | `^Bump` |" in page
    assert "| USD a day | 2.5 |" in page
    assert "| protected paths | `.github/workflows/**`" in page
    assert "Dry run" not in page


def test_a_broken_rule_has_a_dag_that_nothing_starts(write: Callable[..., None]) -> None:
    write(a=RULE, broken=RULE + "foo: 1\n")
    found = loaded()
    dag = found["pr_rule__broken"]
    assert dag.schedule is None
    assert "broken" in dag.tags
    assert (
        dag.description
        == "rules/broken.yaml:4: foo: unknown key; known keys are "
        + str(dag.description).partition("known keys are ")[2]
    )
    assert "rules/broken.yaml:4: foo: " in str(dag.doc_md)
    assert set(dag.task_ids) == set(found["pr_rule__a"].task_ids), "its runs can be seen as before"


def test_the_other_file_raises_the_faults_and_makes_no_dag(write: Callable[..., None]) -> None:
    write(a=RULE)
    found = runpy.run_path(str(DAGS / "pr_rules_faults.py"))
    assert not any(isinstance(value, DAG) for value in found.values())
    write(b=RULE + "foo: 1\n", c="x: [\n")
    with pytest.raises(InvalidInputError, match=r"(?s)rules/b\.yaml:4: foo: .*rules/c\.yaml:2: is not YAML"):
        runpy.run_path(str(DAGS / "pr_rules_faults.py"))


def test_a_fault_of_a_file_without_a_name_is_shown_too(tmp_path: Path, write: Callable[..., None]) -> None:
    write(a=RULE)
    (tmp_path / "rules" / "A B.yaml").write_text(RULE)
    dags, faults = rule_dags(rule_files())
    assert set(dags) == {"pr_rule__a"}
    assert faults == [
        "rules/A B.yaml:1: its name may have small letters, digits, `-` and `_`, 63 at the most, no other characters"
    ]


def test_what_goes_wrong_with_one_dag_is_that_rules_fault(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(a=RULE, b=RULE)

    def failing(name: str, rule: Any) -> Any:
        if name == "a":
            raise RuntimeError("the asset is out of order")
        return rule_asset(name, rule)

    monkeypatch.setattr(pr_rule_dags, "rule_asset", failing)
    dags, faults = rule_dags(rule_files())
    assert faults == ["rules/a.yaml:1: cannot be made a DAG: RuntimeError: the asset is out of order"]
    assert dags["pr_rule__a"].schedule is None
    assert isinstance(dags["pr_rule__b"].timetable, AssetOrTimeSchedule)


def test_a_flood_of_faults_fits_the_page_of_import_errors(write: Callable[..., None]) -> None:
    keys = "".join(f"{'x' * 900}{number}: 1\n" for number in range(100))
    write(a=RULE + keys)
    with pytest.raises(InvalidInputError) as caught:
        raise_faults(rule_files())
    assert len(caught.value.faults) == MOST_FAULTS + 1
    assert caught.value.faults[-1].startswith("… and 60 more")
    assert len(str(caught.value).encode()) < 60_000


def test_a_rule_for_no_repository_is_broken(
    write: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(a="instruction: x\n")
    (file,) = rule_files()
    assert file.rule is None
    assert file.faults[0].startswith("rules/a.yaml:1: repositories: the rule is for no repository")
    monkeypatch.setenv("AIRFLOW__AGENTS__RULES_ORGANIZATION", "acme")
    (file,) = rule_files()
    assert file.rule is not None


def test_without_rules_only_people_can_be_asked(write: Callable[..., None]) -> None:
    del write
    assert set(loaded()) == {ESCALATION_DAG}


def test_without_a_folder_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", "")
    assert rule_files() == []


def test_a_dag_is_made_of_a_sound_rule_only(write: Callable[..., None]) -> None:
    write(a="instruction: x\n")
    with pytest.raises(ValueError, match=r"rules/a\.yaml:1: has faults"):
        pr_rule_dag(rule_files()[0])


@pytest.mark.parametrize("example", sorted((DAGS / "rules").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_examples_have_their_dags(write: Callable[..., None], example: Path) -> None:
    write(**{example.stem: example.read_text()})
    assert isinstance(loaded()[f"pr_rule__{example.stem}"].timetable, AssetOrTimeSchedule)


def test_a_hundred_dags_take_less_than_a_second(tmp_path: Path, write: Callable[..., None]) -> None:
    write(**{f"r{number}": (DAGS / "rules" / "stale.yaml").read_text() for number in range(100)})
    read_rules(tmp_path / "rules" / "r0.yaml")  # imports
    began = time.process_time()
    dags, faults = rule_dags(rule_files())
    assert time.process_time() - began < 1
    assert (len(dags), faults) == (100, [])


IMPORTS = """
import runpy, sys
runpy.run_path(sys.argv[1])
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def test_the_file_imports_no_library_that_only_a_running_task_needs(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, str(DAGS / "pr_rules.py")],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "AIRFLOW__AGENTS__CONFIG_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = set(done.stdout.splitlines()[-1].split())
    assert "airflow_provider_agents" in found
    assert not found & {"aiohttp", "anthropic", "pydantic_ai", "github", "kubernetes", "openai"}


# Reading a rule again


def test_a_rule_is_read_as_its_file_is_now(write: Callable[..., None]) -> None:
    write(a=RULE)
    before = load_rule("a")
    write(a=RULE.replace("green", "blue"))
    now = load_rule("a")
    assert now.instruction == "Merge what is blue."
    assert now.version != before.version


def test_a_rule_that_broke_names_its_faults(write: Callable[..., None]) -> None:
    write(a=RULE + "foo: 1\nbar: 2\n")
    with pytest.raises(InvalidInputError) as caught:
        load_rule("a")
    assert [fault.split(": ")[0] for fault in caught.value.faults] == ["rules/a.yaml:4", "rules/a.yaml:5"]


def test_a_rule_that_is_gone_says_so_with_what_could_not_be_read(write: Callable[..., None]) -> None:
    write(a=RULE)
    with pytest.raises(InvalidInputError, match="rule 'b': there is none of this name in rules/"):
        load_rule("b")
    write(several="kind: PRReconciliationRule\n---\nspec: [\n")
    with pytest.raises(InvalidInputError, match=r"(?s)rule 'b': .*rules/several\.yaml:4: is not YAML"):
        load_rule("b")


def test_of_two_rules_with_one_name_neither_is_taken(write: Callable[..., None]) -> None:
    manifest = "apiVersion: aioperator.io/v1alpha1\nkind: PRReconciliationRule\nmetadata: {name: a}\nspec: {instruction: x}\n"
    write(a=RULE, b=manifest)
    with pytest.raises(InvalidInputError, match=r"(?s)rules/a\.yaml:1: the name.*rules/b\.yaml:1: the name"):
        load_rule("a")
    dags, faults = rule_dags(rule_files())
    assert [dag.schedule for dag in dags.values()] == [None]
    assert len(faults) == 2
    assert all(fault in str(dags["pr_rule__a"].doc_md) for fault in faults)
