"""The graph of the pipeline: its public task ids, its one leaf, and what each gate can skip."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, TaskGroup, TriggerRule
from airflow.sdk.definitions._internal.contextmanager import DagContext
from airflow.sdk.definitions.param import process_params
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_agents.domain.coding_task_request import Bounds, CodingTaskRequest
from airflow_provider_agents.operators.landing_keys import RoundTasks
from airflow_provider_agents.operators.skipping import LoopExitOperator
from airflow_provider_agents.task_groups.coding_task import coding_task_group

ROOT = Path(__file__).parents[3]

TASKS = [
    "accept",
    "admit",
    "workspace",
    *(f"plan.round_{n}.{task}" for n in (1, 2, 3) for task in ("plan", "approve")),
    *(f"build.attempt_{n}.{task}" for n in (1, 2, 3) for task in ("implement", "test", "gate")),
    "open_pull_request",
    *(f"land.round_{n}.{task}" for n in range(1, 8) for task in ("gate", "review", "fix")),
    "land.round_8.gate",
    "finish",
    "report",
    "release_workspace",
]


def load() -> DAG:
    """Parse dags/coding_task.py as Airflow does."""
    spec = importlib.util.spec_from_file_location("parsed_coding_task", ROOT / "dags" / "coding_task.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    DagContext.autoregistered_dags.clear()
    DagContext.current_autoregister_module_name = spec.name
    try:
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        ((dag, _),) = DagContext.autoregistered_dags
    finally:
        del sys.modules[spec.name]
        DagContext.current_autoregister_module_name = None
        DagContext.autoregistered_dags.clear()
    return dag


def build(bounds: Bounds, **arguments: Any) -> DAG:
    with DAG("d", schedule=None) as dag:
        coding_task_group(**{"group_id": None, "bounds": bounds} | arguments)
    return dag


@pytest.fixture(scope="module")
def dag() -> DAG:
    return load()


def test_task_ids_are_public_names(dag: DAG) -> None:
    assert sorted(dag.task_ids) == sorted(TASKS)
    assert dag.dag_id == "coding_task"


def test_finish_is_the_only_leaf_beside_the_teardown(dag: DAG) -> None:
    leaves = {task.task_id for task in dag.tasks if not task.downstream_task_ids}
    assert leaves == {"report", "release_workspace"}
    for leaf in leaves:
        assert dag.get_task(leaf).is_teardown
        assert not dag.get_task(leaf).on_failure_fail_dagrun
    assert {
        task.task_id for task in dag.tasks if not task.is_teardown and task.downstream_task_ids <= leaves
    } == {"finish"}


def test_the_workspace_is_set_up_before_the_agents_and_torn_down_after_all(dag: DAG) -> None:
    assert dag.get_task("workspace").is_setup
    assert "release_workspace" in dag.get_task("workspace").downstream_task_ids
    # What is cleared between the two clears both.
    between = dag.partial_subset("land.round_2.fix", include_downstream=False, include_upstream=False)
    assert {"workspace", "release_workspace"} <= set(between.task_ids)


def test_the_end_says_why_also_where_the_workspace_could_not_be_made(dag: DAG) -> None:
    """Airflow holds back every task between a failed setup and its teardown, whatever its trigger rule."""
    finish = dag.get_task("finish")
    assert not list(finish.get_upstreams_only_setups())
    assert [task.task_id for task in dag.get_task("land.round_8.gate").get_upstreams_only_setups()] == [
        "workspace"
    ]


def test_each_agent_goes_on_with_the_steps_before_it_and_shares_the_budget(dag: DAG) -> None:
    agents = [t for t in TASKS if t.rpartition(".")[2] in ("plan", "implement", "fix")]
    for number, task_id in enumerate(agents):
        task = dag.get_task(task_id)
        assert task.earlier_steps == agents[:number]
    reviews = [t for t in TASKS if t.endswith(".review")]
    for task_id in [*agents, *reviews]:
        assert dag.get_task(task_id).run_steps == [*agents, *reviews]
    # A reviewer judges what it did not write: it has a session of its own.
    assert all(dag.get_task(task_id).earlier_steps == [] for task_id in reviews)
    for task_id in [*agents, *reviews, "build.attempt_1.test"]:
        assert repr(dag.get_task(task_id).workspace) == "return_value of workspace"


def test_nothing_is_made_before_the_run_is_admitted(dag: DAG) -> None:
    admit = dag.get_task("admit")
    assert admit.upstream_task_ids == {"accept"}
    assert admit.downstream_task_ids == {"workspace"}
    assert (admit.pool, admit.pool_slots) == ("agents_admission", 1)
    assert "admit" in dag.get_task("finish").tasks.all()


def test_steps_share_a_pool_in_which_later_ones_go_first(dag: DAG) -> None:
    weights = {"plan": 100, "implement": 200, "test": 200, "fix": 300, "review": 300}
    steps = {task_id: task_id.rpartition(".")[2] for task_id in dag.task_ids}
    for task_id, step in steps.items():
        task = dag.get_task(task_id)
        assert (task.pool == "agents") == (step in weights)
        if step in weights:
            assert task.priority_weight == weights[step]
            assert task.weight_rule == "absolute"


def test_steps_may_have_another_pool() -> None:
    dag = build(Bounds(), step_arguments={"pool": "mine"})
    assert dag.get_task("plan.round_1.plan").pool == "mine"


def test_accept_is_the_only_root(dag: DAG) -> None:
    assert [task.task_id for task in dag.tasks if not task.upstream_task_ids] == ["accept"]


def test_there_is_no_cycle(dag: DAG) -> None:
    order = sort(dag)
    assert sorted(order) == sorted(TASKS)
    for task in dag.tasks:
        for later in task.downstream_task_ids:
            assert order.index(task.task_id) < order.index(later)


def sort(dag: DAG) -> list[str]:
    left = {task.task_id: set(task.upstream_task_ids) for task in dag.tasks}
    order: list[str] = []
    while left:
        free = [task_id for task_id, upstream in left.items() if upstream <= set(order)]
        assert free, f"a cycle among {sorted(left)}"
        order += free
        for task_id in free:
            del left[task_id]
    return order


@pytest.mark.parametrize(
    ("task_id", "rule"),
    [
        ("build.attempt_1.implement", TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS),
        ("build.attempt_2.implement", TriggerRule.ALL_SUCCESS),
        ("build.attempt_1.gate", TriggerRule.NONE_FAILED),
        ("build.attempt_3.gate", TriggerRule.NONE_FAILED),
        ("open_pull_request", TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS),
        ("land.round_1.gate", TriggerRule.ALL_SUCCESS),
        ("land.round_2.gate", TriggerRule.NONE_FAILED),
        ("land.round_2.review", TriggerRule.ALL_SUCCESS),
        ("land.round_2.fix", TriggerRule.NONE_FAILED),
        ("finish", TriggerRule.ALL_DONE),
    ],
)
def test_trigger_rules(dag: DAG, task_id: str, rule: TriggerRule) -> None:
    assert dag.get_task(task_id).trigger_rule == rule


EDGES = {
    "accept": {"admit"},
    "admit": {"workspace"},
    "workspace": {"plan.round_1.plan", "release_workspace"},
    "plan.round_1.plan": {"plan.round_1.approve"},
    "plan.round_1.approve": {"plan.round_2.plan", "build.attempt_1.implement"},
    "plan.round_3.approve": {"build.attempt_1.implement"},
    "build.attempt_1.implement": {"build.attempt_1.test"},
    "build.attempt_1.test": {"build.attempt_1.gate"},
    "build.attempt_1.gate": {"build.attempt_2.implement", "open_pull_request"},
    "build.attempt_3.gate": {"open_pull_request"},
    "open_pull_request": {"land.round_1.gate"},
    "land.round_1.gate": {"land.round_1.review", "finish", "release_workspace"},
    "land.round_1.review": {"land.round_1.fix"},
    "land.round_1.fix": {"land.round_2.gate"},
    "land.round_7.fix": {"land.round_8.gate"},
    "land.round_8.gate": {"finish", "release_workspace"},
    "finish": {"report"},
}


@pytest.mark.parametrize("task_id", EDGES)
def test_edges_are_those_that_a_person_reads(dag: DAG, task_id: str) -> None:
    assert dag.get_task(task_id).downstream_task_ids == EDGES[task_id]


@pytest.mark.parametrize("loop", ["plan", "build", "land"])
def test_each_gate_skips_all_that_comes_after_it_in_its_loop(dag: DAG, loop: str) -> None:
    gates = [
        task for task in dag.tasks if isinstance(task, LoopExitOperator) and task.task_id.startswith(loop)
    ]
    assert len(gates) == {"plan": 3, "build": 3, "land": 8}[loop]
    for gate in gates:
        later = {task for task in gate.get_flat_relative_ids(upstream=False) if task.startswith(f"{loop}.")}
        assert set(gate.later_tasks) == later, gate.task_id
        assert len(gate.later_tasks) == len(later)


def test_each_gate_knows_the_gates_before_it(dag: DAG) -> None:
    for number in range(1, 9):
        gate = dag.get_task(f"land.round_{number}.gate")
        assert gate.round_number == number
        assert gate.rounds_left == 8 - number
        assert gate.earlier_rounds == [
            RoundTasks(
                gate=f"land.round_{n}.gate", review=f"land.round_{n}.review", fix=f"land.round_{n}.fix"
            )
            for n in range(1, number)
        ]
        assert gate.round_tasks.fix == (f"land.round_{number}.fix" if number < 8 else None)


def test_the_end_of_the_run_knows_every_task(dag: DAG) -> None:
    tasks = dag.get_task("finish").tasks
    assert sorted(tasks.all()) == sorted(set(TASKS) - {"finish", "report", "release_workspace"})
    assert tasks == dag.get_task("report").tasks
    assert set(tasks.steps) == {
        t for t in TASKS if t.rpartition(".")[2] in ("plan", "implement", "test", "review", "fix")
    }
    assert set(tasks.gates) == {task for task in TASKS if task.endswith(".gate")}


def test_each_step_reads_what_came_before_it(dag: DAG) -> None:
    second = dag.get_task("build.attempt_2.implement")
    assert repr(second.test_result) == "return_value of build.attempt_1.test"
    assert repr(second.plan) == (
        "return_value of the last of plan.round_1.plan, plan.round_2.plan, plan.round_3.plan"
    )
    assert repr(second.approval).startswith("approval of the last of plan.round_1.approve, ")
    assert repr(dag.get_task("plan.round_2.plan").feedback) == "approval of plan.round_1.approve"
    assert repr(dag.get_task("plan.round_2.plan").earlier_plan) == "return_value of plan.round_1.plan"
    assert repr(dag.get_task("land.round_1.review").decision) == "decision of land.round_1.gate"
    assert repr(dag.get_task("land.round_2.fix").review_feedback) == "feedback of land.round_2.review"
    assert dag.get_task("land.round_2.review").fix_task == "land.round_2.fix"
    assert dag.get_task("build.attempt_1.implement").test_result is None
    assert repr(dag.get_task("land.round_2.fix").feedback) == "feedback of land.round_2.gate"
    assert repr(dag.get_task("land.round_2.gate").pull_request) == "return_value of open_pull_request"
    assert [repr(result) for result in dag.get_task("open_pull_request").step_results] == [
        f"return_value of build.attempt_{n}.implement" for n in (1, 2, 3)
    ]


@pytest.mark.parametrize(("attempts", "rounds"), [(1, 0), (2, 1), (4, 7)])
def test_bounds_change_the_number_of_groups(attempts: int, rounds: int) -> None:
    ids = set(build(Bounds(max_attempts=attempts, max_rounds=rounds, granted_rounds=0)).task_ids)
    assert f"build.attempt_{attempts}.gate" in ids
    assert f"build.attempt_{attempts + 1}.gate" not in ids
    assert f"land.round_{rounds + 1}.gate" in ids
    assert f"land.round_{rounds + 1}.fix" not in ids
    assert len(ids) == 13 + 3 * attempts + 3 * rounds + 1


def test_params_that_the_dag_is_given_after_its_tasks_reach_form_and_tasks() -> None:
    dag = load()
    names = set(CodingTaskRequest.model_fields)
    assert set(dag.params) == names
    stored = DagSerialization.to_dict(dag)["dag"]
    assert {name for name, _ in stored["params"]} == names
    conf = {"repository": "acme/shop", "prompt": "Mend it."}
    params = process_params(dag, dag.get_task("accept"), conf, suppress_exception=False)
    assert set(params) == names
    assert (params["repository"], params["base_branch"]) == ("acme/shop", "main")


def test_the_configuration_changes_the_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_ROUNDS", "2")
    monkeypatch.setenv("AIRFLOW__AGENTS__GRANTED_ROUNDS", "1")
    monkeypatch.setenv("AIRFLOW__AGENTS__POLL_INTERVAL", "7")
    small = load()
    assert sum("attempt_" in task for task in small.task_ids) == 3
    assert sum(task.startswith("land.round_") for task in small.task_ids) == 3 * 3 + 1
    assert small.params["max_rounds"] == 2
    assert small.get_task("land.round_1.gate").poll_interval == 7.0


def test_the_group_can_stand_in_a_group_of_its_own() -> None:
    dag = build(
        Bounds(1, 1, 0), group_id="mine", conf={"repository": "{{ var.value.x }}"}, github_conn_id="gh"
    )
    assert "mine.land.round_2.gate" in dag.task_ids
    assert dag.get_task("mine.land.round_1.gate").later_tasks == [
        "mine.land.round_1.review",
        "mine.land.round_1.fix",
        "mine.land.round_2.gate",
    ]
    for task_id in ("accept", "plan.round_1.plan", "open_pull_request", "land.round_1.gate", "finish"):
        assert dag.get_task(f"mine.{task_id}").github_conn_id == "gh", task_id
    assert repr(dag.get_task("mine.plan.round_1.plan").coding_task) == "return_value of mine.accept"


def test_two_groups_in_one_dag() -> None:
    with DAG("d", schedule=None) as dag:
        one = coding_task_group("one", bounds=Bounds(1, 0, 0))
        two = coding_task_group("two", bounds=Bounds(1, 0, 0))
    assert isinstance(one, TaskGroup)
    assert isinstance(two, TaskGroup)
    assert len(dag.tasks) == 2 * 17


def test_step_arguments_reach_every_step() -> None:
    dag = build(Bounds(1, 1, 0), step_arguments={"namespace": "mine", "kubernetes_conn_id": "k8s"})
    steps = [task for task in dag.tasks if hasattr(task, "kubernetes_conn_id")]
    assert len(steps) == 9
    assert {task.kubernetes_conn_id for task in steps} == {"k8s"}
    assert {task.namespace for task in steps if hasattr(task, "namespace")} == {"mine"}


def test_it_can_be_serialized_for_the_scheduler(dag: DAG) -> None:
    stored = DagSerialization.to_dict(dag)
    assert len(stored["dag"]["tasks"]) == len(TASKS)


def test_every_task_that_waits_can_be_repeated(dag: DAG) -> None:
    for task in dag.tasks:
        if task.task_id.endswith(("plan", "implement", "test", "fix")) or task.task_id.startswith("land"):
            assert task.retries >= 2, task.task_id
            assert task.retry_policy is not None, task.task_id
