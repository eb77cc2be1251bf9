"""The DAG of a rollback."""

from __future__ import annotations

import itertools
import runpy
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import DAG, TriggerRule
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_agents.domain.pools import RULES_POOL
from airflow_provider_agents.domain.rollback_files import RollbackFile, rollback_files
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.task_groups import rollback as rollbacks
from airflow_provider_agents.task_groups.rollback import rollback_dag, rollback_dags

if TYPE_CHECKING:
    from airflow.sdk import Asset

    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition

LEAST = "application: shop\nrepository: acme/shop\n"
TASKS = ["detect", "find_candidate", "open_pull_request", "land", "confirm", "call_person"]
DAGS = Path(__file__).resolve().parents[3] / "dags"


def file(folder: Path, text: str) -> RollbackFile:
    (folder / "rollbacks").mkdir(exist_ok=True)
    (folder / "rollbacks" / "shop.yaml").write_text(text)
    (found,) = rollback_files(folder)
    return found


def test_one_line_of_tasks_one_run_at_a_time(tmp_path: Path) -> None:
    dag = rollback_dag(file(tmp_path, LEAST))
    assert dag.dag_id == "rollback__shop"
    assert dag.max_active_runs == 1
    assert [task.task_id for task in dag.topological_sort()] == TASKS
    for before, after in itertools.pairwise(TASKS):
        assert dag.get_task(after).upstream_task_ids == {before}
    assert dag.get_task("call_person").trigger_rule == TriggerRule.ALL_DONE
    # What counts towards the limits of a repository is done by one task at a time.
    assert {task.task_id for task in dag.tasks if task.pool == RULES_POOL} == {"open_pull_request", "land"}


def test_it_is_scheduled_by_its_watcher(tmp_path: Path) -> None:
    dag = rollback_dag(file(tmp_path, LEAST))
    assert [one.name for one in dag.timetable.asset_condition.objects] == ["agents_rollback__shop"]
    for name in ("detect", "find_candidate"):
        assert [one.name for one in dag.get_task(name).inlets] == ["agents_rollback__shop"]
    assert DagSerialization.to_dict(dag)["dag"]["dag_id"] == "rollback__shop"


def test_a_disabled_one_is_there_and_watches_nothing(tmp_path: Path) -> None:
    dag = rollback_dag(file(tmp_path, f"{LEAST}enabled: false\n"))
    assert [task.task_id for task in dag.topological_sort()] == TASKS
    assert dag.schedule is None
    assert dag.get_task("detect").inlets == []
    assert str(dag.description).endswith("(switched off)")


def write(folder: Path, **definitions: str) -> None:
    (folder / "rollbacks").mkdir(exist_ok=True)
    for name, text in definitions.items():
        (folder / "rollbacks" / f"{name}.yaml").write_text(text)


def loaded(name: str) -> dict[str, DAG]:
    found = runpy.run_path(str(DAGS / name))
    return {value.dag_id: value for value in found.values() if isinstance(value, DAG)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    return tmp_path


def test_a_broken_one_says_so_and_takes_no_other_along(folder: Path) -> None:
    write(folder, shop=LEAST, broken=f"{LEAST.replace('shop', 'pay')}path: ../x\n")
    dags = loaded("rollbacks.py")
    assert set(dags) == {"rollback__shop", "rollback__broken"}
    dag = dags["rollback__broken"]
    assert dag.schedule is None
    assert "broken" in dag.tags
    assert "broken" not in dags["rollback__shop"].tags
    assert str(dag.description).startswith("rollbacks/broken.yaml:3: path: ")
    assert "rollbacks/broken.yaml:3: path: " in str(dag.doc_md)
    assert set(dag.task_ids) == set(TASKS), "its runs can be seen as before"


def test_the_other_file_raises_the_faults_and_makes_no_dag(folder: Path) -> None:
    write(folder, shop=LEAST)
    assert loaded("rollbacks_faults.py") == {}
    write(folder, pay="application: 7\n", web="x: [\n")
    with pytest.raises(InvalidInputError, match=r"(?s)rollbacks/pay\.yaml:1: .*rollbacks/web\.yaml:\d+: "):
        loaded("rollbacks_faults.py")


@pytest.mark.parametrize("name", ["A B.yaml", "shop.yml"])
def test_a_file_whose_name_can_be_none_harms_nothing(folder: Path, name: str) -> None:
    write(folder, shop=LEAST)
    (folder / "rollbacks" / name).write_text(LEAST)
    dags, faults = rollback_dags(rollback_files(folder))
    assert set(dags) == {"rollback__shop"}
    assert dags["rollback__shop"].schedule is not None
    assert len(faults) == 1
    assert faults[0].startswith(f"rollbacks/{name}:1: ")


def test_what_goes_wrong_with_one_dag_is_that_ones_fault(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, shop=LEAST, pay=LEAST.replace("shop", "pay"))
    made = rollbacks.health_asset

    def failing(name: str, definition: RollbackDefinition) -> Asset:
        if name == "pay":
            raise RuntimeError("the asset is out of order")
        return made(name, definition)

    monkeypatch.setattr(rollbacks, "health_asset", failing)
    dags, faults = rollback_dags(rollback_files(folder))
    assert faults == ["rollbacks/pay.yaml:1: cannot be made a DAG: RuntimeError: the asset is out of order"]
    assert dags["rollback__pay"].schedule is None
    assert dags["rollback__shop"].schedule is not None


def test_an_application_that_is_ill_does_not_wait_behind_rules(tmp_path: Path) -> None:
    dag = rollback_dag(file(tmp_path, LEAST))
    assert {task.task_id for task in dag.tasks if task.priority_weight > 1} == {"open_pull_request", "land"}
