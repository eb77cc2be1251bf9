"""The sweep: what goes, what stays, and that one object that fails does not stop the rest."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.api.datamodels._generated import DagRunState
from airflow.sdk.execution_time.comms import DagRunStateResult
from claim_cluster import AWAY, Cluster, forbidden, now, refused
from fakes import TaskInstance, context

from airflow_provider_agents.domain.workspace import ANNOTATION_DAG_ID, ANNOTATION_RUN_ID, LABEL_INSTALLATION
from airflow_provider_agents.exceptions import InvalidInputError, StepInfrastructureError
from airflow_provider_agents.operators import step_secrets, sweep
from airflow_provider_agents.operators.sweep import SweepOperator

PAST, FUTURE = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
LONG_AGO = timedelta(hours=200)
RUN = {ANNOTATION_DAG_ID: "coding_task", ANNOTATION_RUN_ID: "run_1"}


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    return Cluster().install(monkeypatch)


@pytest.fixture(autouse=True)
def leftovers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is told of the secrets; the calls are added behind it."""
    state: list[Any] = [[]]

    def delete_leftovers(client: Any, namespace: str, installation: str, *, dry_run: bool) -> Any:
        state.append((namespace, installation, dry_run))
        if isinstance(state[0], Exception):
            raise state[0]
        return state[0]

    monkeypatch.setattr(step_secrets, "delete_leftovers", delete_leftovers)
    return state


class Task(TaskInstance):
    """A task that knows the states of DAG runs."""

    def __init__(self, **runs: str | Exception) -> None:
        super().__init__("sweep")
        self.runs = runs
        self.asked: list[str] = []

    def get_dr_count(self, dag_id: str, run_ids: list[str]) -> int:
        assert dag_id == "coding_task"
        self.asked += run_ids
        return int(run_ids[0] in self.runs)

    def get_dagrun_state(self, dag_id: str, run_id: str) -> str:
        state = self.runs[run_id]
        if isinstance(state, Exception):
            raise state
        return DagRunStateResult(state=DagRunState(state)).state  # the type that a task gets


def run(ti: Task | None = None, **arguments: Any) -> dict[str, Any]:
    ti = ti or Task()
    result = SweepOperator(task_id="sweep", **arguments).execute(context(ti))
    assert json.loads(json.dumps(result)) == ti.pushed["return_value"]
    return result


def test_an_empty_namespace(cluster: Cluster, leftovers: list[Any]) -> None:
    nothing = {"kept": 0, "deleted": 0, "names": [], "faults": []}
    assert run() == {"dry_run": False, "pods": nothing, "claims": nothing, "secrets": nothing}
    assert leftovers[1:] == [("agent-system", "default", False)]


def test_what_expired_goes_and_the_rest_stays(cluster: Cluster) -> None:
    cluster.add_claim("expired", PAST)
    cluster.add_claim("kept", FUTURE)
    cluster.add_claim("foreign", PAST, labels={LABEL_INSTALLATION: "team-b"})
    cluster.add_claim("plain", PAST, labels=None)
    cluster.add_claim("mounted", PAST)
    cluster.add_pod("living", "Running", "mounted", labels=None)  # whoever it is
    cluster.add_claim("released", PAST)
    cluster.add_pod("ended", "Succeeded", "released", ended=now())
    result = run()
    assert result["claims"]["names"] == ["expired", "released"]
    assert result["claims"]["kept"] == 2
    assert set(cluster.claims) == {"kept", "foreign", "plain", "mounted"}
    assert "delete ended" not in cluster.journal


def test_pods_that_ended_long_ago_go(cluster: Cluster) -> None:
    cluster.add_pod("old", "Failed", ended=now() - LONG_AGO)
    cluster.add_pod("fresh", "Failed", ended=now())
    cluster.add_pod("living", "Running", creation_timestamp=now() - LONG_AGO)
    cluster.add_pod("foreign", "Failed", ended=now() - LONG_AGO, labels={LABEL_INSTALLATION: "team-b"})
    assert run()["pods"]["names"] == ["old"]
    assert run(expiry_hours=0.0)["pods"]["names"] == ["fresh"]
    assert set(cluster.pods) == {"living", "foreign"}


@pytest.mark.parametrize(("state", "goes"), [("running", False), ("queued", False), ("failed", True)])
def test_a_run_that_goes_on_keeps_its_claim(cluster: Cluster, state: str, goes: bool) -> None:
    cluster.add_claim("c", PAST, annotations=RUN)
    cluster.add_claim("later", FUTURE, annotations={**RUN, ANNOTATION_RUN_ID: "run_2"})
    ti = Task(run_1=state)
    assert run(ti)["claims"]["names"] == (["c"] if goes else [])
    assert ti.asked == ["run_1"]  # nobody asks about a claim that stays anyhow


def test_a_run_that_was_deleted_does_not_keep_it(cluster: Cluster) -> None:
    cluster.add_claim("c", PAST, annotations=RUN)
    assert run(Task())["claims"]["names"] == ["c"]


def test_a_run_that_nobody_can_ask_for_keeps_its_claim_and_the_rest_goes_on(cluster: Cluster) -> None:
    cluster.add_claim("asked", PAST, annotations=RUN)
    cluster.add_claim("other", PAST)
    ti = Task(run_1=RuntimeError("the API server is away"))
    with pytest.raises(StepInfrastructureError, match="claim asked: the state of its run cannot be read"):
        run(ti)
    assert ti.pushed["return_value"]["claims"]["names"] == ["other"]
    assert "asked" in cluster.claims


def test_a_malformed_expiry_keeps_the_claim_and_is_told(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.add_claim("odd", "soon")
    assert run()["claims"]["kept"] == 1
    assert "Kept claim odd: Nobody can tell when it expires" in capsys.readouterr().out


def test_one_that_cannot_be_deleted_does_not_stop_the_rest(cluster: Cluster, leftovers: list[Any]) -> None:
    for name in ("a", "b", "c"):
        cluster.add_claim(name, PAST)
        cluster.add_pod(f"pod-{name}", "Failed", ended=now() - LONG_AGO)
    cluster.faults["delete b"] = [forbidden("delete", "persistentvolumeclaims")]
    cluster.faults["delete pod-a"] = [AWAY]
    leftovers[0] = ["secret-1"]
    ti = Task()
    with pytest.raises(StepInfrastructureError) as caught:
        run(ti)
    result = ti.pushed["return_value"]
    assert result["pods"]["names"] == ["pod-b", "pod-c"]
    assert result["claims"]["names"] == ["a", "c"]
    assert result["secrets"]["names"] == ["secret-1"]
    assert "pod pod-a: no answer" in str(caught.value)
    assert "claim b: persistentvolumeclaims is forbidden: User" in str(caught.value)


NO_RIGHT = InvalidInputError(["Airflow may not list secrets"])


@pytest.mark.parametrize(
    ("credentials", "error"),
    [
        ("connections", NO_RIGHT),
        ("secret", StepInfrastructureError("the cluster does not answer")),
        ("secret", AWAY),
    ],
)
def test_secrets_that_fail_do_not_undo_the_rest(
    cluster: Cluster,
    leftovers: list[Any],
    monkeypatch: pytest.MonkeyPatch,
    credentials: str,
    error: Exception,
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CREDENTIALS", credentials)
    cluster.add_claim("c", PAST)
    leftovers[0] = error
    ti = Task()
    with pytest.raises(StepInfrastructureError, match="secrets: "):
        run(ti)
    assert ti.pushed["return_value"]["claims"]["names"] == ["c"]


def test_an_installation_that_makes_no_secrets_needs_no_right_on_them(
    cluster: Cluster, leftovers: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    leftovers[0] = NO_RIGHT
    assert run()["secrets"] == {"kept": 0, "deleted": 0, "names": [], "faults": []}
    assert "Secrets are not looked at" in capsys.readouterr().out


def test_one_that_somebody_asked_for_meanwhile_stays(cluster: Cluster) -> None:
    claim = cluster.add_claim("c", PAST)

    def refresh() -> None:
        claim.metadata.resource_version = "999"

    cluster.before["delete c"] = refresh
    assert run()["claims"] == {"kept": 1, "deleted": 0, "names": [], "faults": []}


def test_one_that_is_gone_meanwhile_is_no_fault(cluster: Cluster) -> None:
    cluster.add_claim("c", PAST)
    cluster.before["delete c"] = cluster.claims.clear
    assert run()["claims"]["faults"] == []


@pytest.mark.parametrize("dry", [True, "True", "true"])
def test_a_dry_run_deletes_nothing_and_says_what_would_go(
    cluster: Cluster, leftovers: list[Any], dry: Any
) -> None:
    cluster.add_claim("c", PAST)
    cluster.add_pod("p", "Failed", ended=now() - LONG_AGO)
    leftovers[0] = ["s"]
    result = run(report_only=dry)
    assert result["dry_run"] is True
    assert [result[kind]["names"] for kind in ("claims", "pods", "secrets")] == [["c"], ["p"], ["s"]]
    assert cluster.journal == []
    assert leftovers[1:] == [("agent-system", "default", True)]


def test_false_as_a_template_renders_it_is_no_dry_run(cluster: Cluster) -> None:
    cluster.add_claim("c", PAST)
    assert run(report_only="False")["dry_run"] is False
    assert cluster.journal == ["delete c"]


def test_the_installation_is_compared_as_the_label_has_it(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.providers.cncf.kubernetes.pod_generator import make_safe_label_value

    monkeypatch.setenv("AIRFLOW__AGENTS__INSTALLATION", "Team A")
    cluster.add_claim("c", PAST, labels={LABEL_INSTALLATION: make_safe_label_value("Team A")})
    assert run()["claims"]["names"] == ["c"]


def test_names_are_bounded_and_counts_are_whole(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "MOST_NAMES", 3)
    cluster.page = 2
    for number in range(5):
        cluster.add_claim(f"c{number}", PAST)
    result = run(report_only=True)["claims"]
    assert (result["deleted"], result["names"]) == (5, ["c0", "c1", "c2"])


@pytest.mark.parametrize(
    ("call", "error", "kind", "text"),
    [
        ("list pods", forbidden("list", "pods"), InvalidInputError, "the verb `list` on `pods`"),
        ("list claims", forbidden("list", "persistentvolumeclaims"), InvalidInputError, "the verb `list`"),
        ("list claims", AWAY, StepInfrastructureError, "connection refused"),
        ("list pods", refused(500, "etcd is away"), StepInfrastructureError, "etcd is away"),
    ],
)
def test_a_cluster_that_does_not_list_is_told(
    cluster: Cluster, call: str, error: Exception, kind: type[Exception], text: str
) -> None:
    cluster.faults[call] = [error]
    with pytest.raises(kind, match=text):
        run()
