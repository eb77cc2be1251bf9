"""The sweep: what goes, what stays, and that one object that fails does not stop the rest."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from claim_cluster import AWAY, Cluster, forbidden, now, refused
from fakes import TaskInstance, context

from airflow_provider_agents.domain.housekeeping import LABEL_READ
from airflow_provider_agents.domain.workspace import (
    ANNOTATION_DAG_ID,
    ANNOTATION_RUN_ID,
    GIVEN_BACK_KEY,
    LABEL_INSTALLATION,
)
from airflow_provider_agents.exceptions import InvalidInputError, StepInfrastructureError
from airflow_provider_agents.operators import run_records, step_secrets, sweep
from airflow_provider_agents.operators.sweep import SweepOperator

PAST, FUTURE = "2020-01-01T00:00:00Z", "2100-01-01T00:00:00Z"
LONG_AGO = timedelta(hours=200)
READ = {LABEL_INSTALLATION: "default", LABEL_READ: "True"}
GIB = 2**30
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
    """A task that knows of DAG runs: run id → state, or the error that asking for it ends with."""

    def __init__(self, *given_back: str, minutes: float = 60, **runs: str | Exception) -> None:
        super().__init__("sweep")
        self.runs = runs
        self.given_back = given_back
        self.minutes = minutes
        self.asked: list[str] = []

    def get_dr_count(self, dag_id: str, run_ids: list[str]) -> int:
        assert dag_id == "coding_task"
        self.asked += run_ids
        return int(run_ids[0] in self.runs)

    def get_task_states(self, dag_id: str, run_ids: list[str], **_: Any) -> dict[str, dict[str, str]]:
        return {run_ids[0]: {"report": "success", "release_workspace": "success"}}

    def xcom_pull(self, task_ids: str, key: str = "return_value", **run: Any) -> Any:
        assert (task_ids, key) == ("release_workspace", GIVEN_BACK_KEY)
        return "It was closed." if run["run_id"] in self.given_back else None

    def dag_run(self, dag_id: str, run_id: str) -> tuple[str, datetime | None]:
        state = self.runs[run_id]
        if isinstance(state, Exception):
            raise state
        return state, None if state in ("running", "queued") else now() - timedelta(minutes=self.minutes)


def run(ti: Task | None = None, **arguments: Any) -> dict[str, Any]:
    ti = ti or Task()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_records, "dag_run", ti.dag_run)
        return swept(ti, **arguments)


def swept(ti: Task, **arguments: Any) -> dict[str, Any]:
    result = SweepOperator(task_id="sweep", **arguments).execute(context(ti))
    assert json.loads(json.dumps(result)) == ti.pushed["return_value"]
    return result


def test_an_empty_namespace(cluster: Cluster, leftovers: list[Any]) -> None:
    nothing = {"kept": 0, "deleted": 0, "bytes": 0, "names": [], "faults": []}
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
    cluster.add_pod("ended", "Succeeded", "released", ended=now())  # nobody will read its result
    cluster.add_pod("other", "Succeeded", "kept", ended=now())
    cluster.add_pod("somebody's", "Succeeded", "released", ended=now(), labels=None)
    result = run()
    assert result["claims"]["names"] == ["expired", "released"]
    assert (result["claims"]["kept"], result["claims"]["bytes"]) == (2, 20 * GIB)
    assert set(cluster.claims) == {"kept", "foreign", "plain", "mounted"}
    assert result["pods"]["names"] == ["ended"]
    assert set(cluster.pods) == {"living", "other", "somebody's"}


def test_pods_that_ended_long_ago_go(cluster: Cluster) -> None:
    cluster.add_pod("unread", "Failed", ended=now() - LONG_AGO)
    cluster.add_pod("day-old", "Succeeded", ended=now() - timedelta(hours=25), labels=READ)
    cluster.add_pod("week-old", "Failed", ended=now() - timedelta(hours=169), labels=READ)
    cluster.add_pod("failed", "Failed", ended=now() - timedelta(hours=25), labels=READ)
    cluster.add_pod("fresh", "Succeeded", ended=now(), labels=READ)
    cluster.add_pod("fresh-unread", "Succeeded", ended=now() - timedelta(hours=25))
    cluster.add_pod("living", "Running", creation_timestamp=now() - LONG_AGO, labels=READ)
    foreign = {**READ, LABEL_INSTALLATION: "team-b"}
    cluster.add_pod("foreign", "Failed", ended=now() - LONG_AGO, labels=foreign)
    assert run()["pods"]["names"] == ["unread", "day-old", "week-old"]
    assert run(pod_keep_hours="0.0")["pods"]["names"] == ["fresh"]
    assert run(failed_pod_keep_hours=0)["pods"]["names"] == ["failed"]
    assert set(cluster.pods) == {"living", "foreign", "fresh-unread"}


def test_a_pod_that_never_started_goes_unless_it_starts_meanwhile(cluster: Cluster) -> None:
    for name in ("forgotten", "starts"):
        pod = cluster.add_pod(name, "Pending", name, creation_timestamp=now() - timedelta(days=3))
        cluster.add_claim(name, PAST)
    cluster.before["delete starts"] = lambda: setattr(pod.metadata, "resource_version", "later")
    result = run()
    assert result["pods"]["names"] == ["forgotten"]
    assert (result["pods"]["kept"], result["claims"]["deleted"], result["pods"]["faults"]) == (1, 0, [])
    assert run()["claims"]["names"] == ["forgotten"]  # nothing mounts it any more


@pytest.mark.parametrize("said", ["yes", "1", "dry", "{{ params.dry_run }}"])
def test_nothing_is_deleted_where_it_is_unclear_whether_it_is_a_dry_run(cluster: Cluster, said: str) -> None:
    cluster.add_claim("expired", PAST)
    with pytest.raises(InvalidInputError, match="report_only"):
        run(report_only=said)
    assert set(cluster.claims) == {"expired"}


@pytest.mark.parametrize("said", [False, "False", "false", "", "None"])
def test_a_run_that_is_not_dry(cluster: Cluster, said: Any) -> None:
    assert run(report_only=said)["dry_run"] is False


def test_how_long_things_are_kept_is_the_installations(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    for option, value in (("POD_KEEP_HOURS", 0), ("FAILED_POD_KEEP_HOURS", 1), ("CLAIM_KEEP_MINUTES", 90)):
        monkeypatch.setenv(f"AIRFLOW__AGENTS__{option}", str(value))
    cluster.add_pod("succeeded", "Succeeded", ended=now(), labels=READ)
    cluster.add_pod("failed", "Failed", ended=now() - timedelta(minutes=50), labels=READ)
    cluster.add_claim("c", FUTURE, annotations=RUN)
    result = run(Task(run_1="success"))
    assert (result["pods"]["names"], result["claims"]["names"]) == (["succeeded"], [])
    assert run(Task(run_1="success"), claim_keep_minutes="30")["claims"]["names"] == ["c"]


@pytest.mark.parametrize("value", ["soon", "-1", "nan", "inf", float("nan"), 1e9])
@pytest.mark.parametrize("name", ["pod_keep_hours", "failed_pod_keep_hours", "claim_keep_minutes"])
def test_a_number_that_is_none_is_refused_before_anything_is_deleted(
    cluster: Cluster, name: str, value: Any
) -> None:
    cluster.add_claim("c", PAST)
    with pytest.raises(InvalidInputError, match=name):
        run(**{name: value})
    assert cluster.journal == []


@pytest.mark.parametrize(("state", "goes"), [("running", False), ("queued", False), ("failed", True)])
def test_a_run_that_goes_on_keeps_its_claim(cluster: Cluster, state: str, goes: bool) -> None:
    cluster.add_claim("c", PAST, annotations=RUN)
    cluster.add_claim("later", FUTURE, annotations={**RUN, ANNOTATION_RUN_ID: "run_2"})
    cluster.add_claim("foreign", PAST, labels={LABEL_INSTALLATION: "team-b"}, annotations=RUN)
    ti = Task(run_1=state)
    assert run(ti)["claims"]["names"] == (["c"] if goes else [])
    assert ti.asked == ["run_1", "run_2"]


def test_the_claim_of_a_run_that_ended_for_good_goes_ten_minutes_later(cluster: Cluster) -> None:
    """Where the teardown did not get to it."""
    for number in (1, 2, 3):
        cluster.add_claim(f"c{number}", FUTURE, annotations={**RUN, ANNOTATION_RUN_ID: f"run_{number}"})
    runs = {"run_1": "success", "run_2": "failed", "run_3": "failed"}
    assert run(Task("run_2", minutes=9, **runs))["claims"]["names"] == []
    assert run(Task("run_2", minutes=11, **runs))["claims"]["names"] == ["c1", "c2"]
    assert set(cluster.claims) == {"c3"}  # it may be cleared and resumed


def test_two_claims_of_a_run_ask_for_it_once(cluster: Cluster) -> None:
    cluster.add_claim("one", PAST, annotations=RUN)
    cluster.add_claim("two", PAST, annotations=RUN)
    ti = Task(run_1="failed")
    assert run(ti)["claims"]["names"] == ["one", "two"]
    assert ti.asked == ["run_1"]


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
    assert run()["secrets"] == {
        "kept": 0,
        "deleted": 0,
        "bytes": 0,
        "names": [],
        "faults": [],
    }
    assert "Secrets are not looked at" in capsys.readouterr().out


def test_one_that_somebody_asked_for_meanwhile_stays(cluster: Cluster) -> None:
    claim = cluster.add_claim("c", PAST)

    def refresh() -> None:
        claim.metadata.resource_version = "999"

    cluster.before["delete c"] = refresh
    assert run()["claims"] == {
        "kept": 1,
        "deleted": 0,
        "bytes": 0,
        "names": [],
        "faults": [],
    }


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
def test_a_kind_that_cannot_be_listed_is_told_and_does_not_stop_the_others(
    cluster: Cluster, leftovers: list[Any], call: str, error: Exception, kind: type[Exception], text: str
) -> None:
    cluster.add_claim("c", PAST)
    cluster.add_pod("p", "Failed", ended=now() - LONG_AGO)
    leftovers[0] = ["s"]
    cluster.faults[call] = [error]
    ti = Task()
    with pytest.raises(kind, match=text):
        run(ti)
    result = ti.pushed["return_value"]
    assert result["secrets"]["names"] == ["s"]
    # Who mounts a claim cannot be told without the pods.
    assert result["claims"]["names"] == []
    assert result["pods"]["names"] == ([] if call == "list pods" else ["p"])


def test_a_second_page_that_fails_keeps_everything_of_its_kind(cluster: Cluster) -> None:
    """Of a list that is not whole, nobody can tell whether a pod mounts the claim."""
    cluster.page = 1
    cluster.add_claim("c", PAST)
    cluster.add_pod("one", "Running")
    cluster.add_pod("two", "Running", "c")
    cluster.faults["list pods"] = [None, AWAY]  # type: ignore[list-item]
    with pytest.raises(StepInfrastructureError, match="connection refused"):
        run()
    assert set(cluster.claims) == {"c"}


def test_thousands_of_objects_are_judged_page_by_page(cluster: Cluster) -> None:
    for number in range(2100):
        cluster.add_claim(f"c{number}", PAST if number % 2 else FUTURE)
        cluster.add_pod(f"p{number}", "Succeeded", ended=now() - LONG_AGO, labels=READ)
    result = run()
    assert (result["claims"]["deleted"], result["claims"]["kept"]) == (1050, 1050)
    assert (result["pods"]["deleted"], len(result["pods"]["names"])) == (2100, 200)
    assert (len(cluster.claims), len(cluster.pods)) == (1050, 0)
