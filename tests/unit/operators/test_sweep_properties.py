"""Drawn worlds: nothing foreign, young or in use is ever deleted, and a dry run says what a real one does."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import pytest
from claim_cluster import AWAY, Cluster, now
from fakes import TaskInstance, context
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.housekeeping import LABEL_READ
from airflow_provider_agents.domain.workspace import (
    ANNOTATION_DAG_ID,
    ANNOTATION_RUN_ID,
    LABEL_INSTALLATION,
    stamp,
)
from airflow_provider_agents.exceptions import AgentsError
from airflow_provider_agents.operators import run_records, step_secrets, sweep
from airflow_provider_agents.operators.sweep import SweepOperator

OWNERS = ["default", "default", "default", "team-b", "default-2", None]
LOOK_ALIKES = {"agents.airflow/installation-of": "default", "installation": "default"}

claim_kinds = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(OWNERS),
        "expires": st.integers(-200, 200),
        "run": st.sampled_from([None, "running", "queued", "success", "failed", "unknown", "away"]),
        "ended": st.integers(0, 20),
        "deleting": st.booleans(),
    }
)
pod_kinds = st.fixed_dictionaries(
    {
        "owner": st.sampled_from(OWNERS),
        "phase": st.sampled_from(["Pending", "Running", "Unknown", "Succeeded", "Succeeded", "Failed"]),
        "ended": st.integers(0, 400),
        "read": st.booleans(),
        "claim": st.none() | st.integers(0, 5),
    }
)
worlds = st.tuples(
    st.lists(claim_kinds, max_size=6), st.lists(pod_kinds, max_size=8), st.sets(st.integers(0, 7), max_size=2)
)


class Task(TaskInstance):
    """A task that knows the runs of a world; run id → state and minutes since its end."""

    def __init__(self, runs: dict[str, tuple[str, int]]) -> None:
        super().__init__("sweep")
        self.runs = runs

    def get_dr_count(self, dag_id: str, run_ids: list[str]) -> int:
        return int(self.runs[run_ids[0]][0] != "unknown")

    def get_task_states(self, dag_id: str, run_ids: list[str], **_: Any) -> dict[str, Any]:
        return {}

    def dag_run(self, dag_id: str, run_id: str) -> tuple[str, Any]:
        state, minutes = self.runs[run_id]
        if state == "away":
            raise RuntimeError("the API server is away")
        return state, None if state in ("running", "queued") else now() - timedelta(minutes=minutes)


def labels_of(owner: str | None) -> dict[str, str]:
    return LOOK_ALIKES if owner is None else {**LOOK_ALIKES, LABEL_INSTALLATION: owner}


def build(world: Any) -> tuple[Cluster, Task]:
    found_claims, found_pods, _ = world
    cluster, runs = Cluster(), {}
    for number, claim in enumerate(found_claims):
        annotations = {}
        if claim["run"] is not None:
            runs[f"run_{number}"] = (claim["run"], claim["ended"])
            annotations = {ANNOTATION_DAG_ID: "coding_task", ANNOTATION_RUN_ID: f"run_{number}"}
        cluster.add_claim(
            f"c{number}",
            stamp(now() + timedelta(hours=claim["expires"], minutes=30)),
            labels=labels_of(claim["owner"]),
            annotations=annotations,
            deletion_timestamp=now() if claim["deleting"] else None,
        )
    for number, pod in enumerate(found_pods):
        ended = pod["phase"] in ("Succeeded", "Failed")
        cluster.add_pod(
            f"p{number}",
            pod["phase"],
            None if pod["claim"] is None else f"c{pod['claim']}",
            ended=now() - timedelta(hours=pod["ended"], minutes=30) if ended else None,
            labels=labels_of(pod["owner"]) | ({LABEL_READ: "True"} if pod["read"] else {}),
        )
    return cluster, Task(runs)


def sweep_it(cluster: Cluster, ti: Task, *, dry: bool) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "cluster_client", lambda conn_id: cluster)
        patch.setattr(step_secrets, "delete_leftovers", lambda *_, **__: [])
        patch.setattr(run_records, "dag_run", ti.dag_run)
        try:
            SweepOperator(task_id="sweep", report_only=dry).execute(context(ti))
        except AgentsError as error:
            told = str(error)
        else:
            told = "connection refused"
    assert "cannot be read" in told or "connection refused" in told
    return ti.pushed["return_value"]


@given(worlds)
def test_what_goes_is_ours_old_and_unused(world: Any) -> None:
    found_claims, found_pods, broken = world
    dry_cluster, ti = build(world)
    said = sweep_it(dry_cluster, ti, dry=True)
    assert dry_cluster.journal == []

    cluster, ti = build(world)
    before_claims, before_pods = copy.copy(cluster.claims), copy.copy(cluster.pods)
    done = sweep_it(cluster, ti, dry=False)
    names = {kind: done[kind]["names"] for kind in ("claims", "pods")}
    assert {kind: said[kind]["names"] for kind in names} == names
    assert set(before_claims) - set(cluster.claims) == set(names["claims"])
    assert set(before_pods) - set(cluster.pods) == set(names["pods"])

    for name in names["claims"]:
        claim = found_claims[int(name[1:])]
        assert claim["owner"] == "default"
        assert not claim["deleting"]
        assert claim["run"] not in ("running", "queued", "away")
        assert claim["expires"] < 0 or (claim["run"] == "success" and claim["ended"] >= 10)
        living = [pod for pod in found_pods if pod["phase"] in ("Pending", "Running", "Unknown")]
        assert name not in {f"c{pod['claim']}" for pod in living}
    for name in names["pods"]:
        pod = found_pods[int(name[1:])]
        assert pod["owner"] == "default"
        assert pod["phase"] in ("Succeeded", "Failed")
        old = pod["ended"] >= (24 if pod["phase"] == "Succeeded" and pod["read"] else 168)
        claim = f"c{pod['claim']}"
        marked = claim in before_claims and before_claims[claim].metadata.deletion_timestamp
        owned = marked and found_claims[int(claim[1:])]["owner"] == "default"
        assert old or claim in names["claims"] or (owned and pod["read"])

    # With calls that fail: never more than without.
    faulty, ti = build(world)
    for number in broken:
        faulty.faults[f"delete c{number}"] = [AWAY]
        faulty.faults[f"delete p{number}"] = [AWAY]
    sweep_it(faulty, ti, dry=False)
    assert set(faulty.claims) >= set(cluster.claims)
    assert set(faulty.pods) >= set(cluster.pods)
