"""The graph of a review run: its task ids, its one leaf, and its form."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, TriggerRule
from airflow.sdk.definitions._internal.contextmanager import DagContext
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_agents.domain.review_request import ReviewRequest, parse_review_request
from airflow_provider_agents.task_groups.pr_review import pr_review_group

FILE = Path(__file__).parents[3] / "dags" / "pr_review.py"


@pytest.fixture
def dag() -> DAG:
    """dags/pr_review.py, parsed as Airflow does."""
    spec = importlib.util.spec_from_file_location("parsed_pr_review", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    DagContext.autoregistered_dags.clear()
    DagContext.current_autoregister_module_name = spec.name
    try:
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        ((made, _),) = DagContext.autoregistered_dags
    finally:
        del sys.modules[spec.name]
        DagContext.current_autoregister_module_name = None
        DagContext.autoregistered_dags.clear()
    return made


def test_tasks_and_edges(dag: DAG) -> None:
    assert dag.dag_id == "pr_review"
    assert set(dag.task_ids) == {"look", "review", "hold", "post"}
    assert [task.task_id for task in dag.roots] == ["look"]
    assert [task.task_id for task in dag.leaves] == ["post"]
    post = dag.get_task("post")
    assert post.upstream_task_ids == {"review", "hold"}
    assert post.trigger_rule == TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS
    assert dag.get_task("hold").upstream_task_ids == {"review"}


def test_it_can_be_serialized(dag: DAG) -> None:
    DagSerialization.to_dict(dag)


def test_the_form_asks_for_what_the_request_knows(dag: DAG) -> None:
    assert set(dag.params) == set(ReviewRequest.model_fields)
    required = {"repository": "acme/shop", "pull_request_number": 7}
    given = required | {name: dag.params[name] for name in dag.params if name not in required}
    request, faults = parse_review_request(given)
    assert faults == []
    assert request is not None
    assert request.mode == "hold"


@pytest.mark.parametrize("values", [{"mode": "sometimes"}, {"pull_request_number": 0}, {"turns": 0}])
def test_the_form_refuses_what_the_request_refuses(dag: DAG, values: dict[str, Any]) -> None:
    for name, value in values.items():
        with pytest.raises(ParamValidationError):
            dag.params.get_param(name).resolve(value)


def test_the_identity_reaches_every_task() -> None:
    with DAG("d", schedule=None) as made:
        pr_review_group("review", github_conn_id="github_read", review_conn_id="github_reviewer")
    for task in made.tasks:
        assert task.task_id.startswith("review.")
        assert (task.github_conn_id, task.review_conn_id) == ("github_read", "github_reviewer")
