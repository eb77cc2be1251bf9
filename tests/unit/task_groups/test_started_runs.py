"""What outsiders wrote reaches the runs that DAGs start as it is: nothing in it is a template."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_agents.domain.config_files import DefinitionFile
from airflow_provider_agents.domain.pr_rule_files import read_rules
from airflow_provider_agents.task_groups.pr_rule import pr_rule_dag
from airflow_provider_agents.task_groups.ticket_sync import ticket_sync_dag

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import DAG

TITLE = "{{ 7 * 7 }} {{ conn.github_default.password }} {% for a in b %}"


def of_a_rule(folder: Path) -> DAG:
    (folder / "rules").mkdir()
    (folder / "rules" / "a.yaml").write_text("repositories: [acme/shop]\ninstruction: Merge what is green.\n")
    (file,) = read_rules(folder / "rules" / "a.yaml")
    return pr_rule_dag(file)


def of_tickets(folder: Path) -> DAG:
    return ticket_sync_dag(DefinitionFile(name="a", path=folder / "tickets" / "a.yaml", definition=None))


@pytest.mark.parametrize(("dag_of", "name"), [(of_a_rule, "ask_people"), (of_tickets, "start")])
@pytest.mark.parametrize("again", [False, True])
def test_no_words_of_outsiders_are_rendered(tmp_path: Path, dag_of: Any, name: str, again: bool) -> None:
    dag = dag_of(tmp_path)
    task: Any = dag.get_task(name)
    if again:
        assert (
            list(DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task(name).template_fields)
            == []
        )
    values = {"trigger_run_id": "run__1", "conf": {"title": TITLE, "number": 7}}
    ti = SimpleNamespace(
        map_index=0,
        task_id=name,
        dag_id=dag.dag_id,
        run_id="r",
        task=task,
        xcom_pull=lambda *args, **kwargs: [values],
        get_relevant_upstream_map_indexes=lambda *args, **kwargs: None,
    )
    context: Any = {
        "ti": ti,
        "task": task,
        "dag": dag,
        "expanded_ti_count": 1,
        "dag_run": SimpleNamespace(conf={}),
        "params": {},
    }
    task.render_template_fields(context)
    assert (context["task"].trigger_run_id, context["task"].conf) == ("run__1", values["conf"])
