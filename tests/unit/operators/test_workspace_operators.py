"""The setup and teardown of a run's claim, with every way in which a cluster refuses."""

from __future__ import annotations

import json
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from claim_cluster import AWAY, NAMESPACE, Cluster, forbidden, now, refused
from fakes import TaskInstance, context
from kubernetes import client as kubernetes_client

from agent_runner.contract import Failure
from airflow_provider_agents.domain.workspace import (
    ANNOTATION_DAG_ID,
    ANNOTATION_EXPIRES_AT,
    ANNOTATION_RUN_ID,
    GIVEN_BACK_KEY,
    LABEL_INSTALLATION,
    LABEL_RUN,
    LABEL_TICKET,
    Workspace,
    claim_name,
    read_stamp,
)
from airflow_provider_agents.exceptions import InvalidInputError, StepInfrastructureError
from airflow_provider_agents.operators import pod_parts, workspace_claim
from airflow_provider_agents.operators.failure_reason import FAILURE_KEY
from airflow_provider_agents.operators.kubernetes_objects import cluster_client, pods_mounting
from airflow_provider_agents.operators.pulled import Pulled
from airflow_provider_agents.operators.workspace import PrepareWorkspaceOperator, ReleaseWorkspaceOperator
from airflow_provider_agents.operators.workspace_claim import ensure_claim, keep_claim, wait_until_free

NAME = claim_name("default", "coding_task", "run_1")


@pytest.fixture(autouse=True)
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(workspace_claim, "POLL_SECONDS", 0.0)
    return Cluster().install(monkeypatch)


def workspace(**values: Any) -> Workspace:
    return Workspace(**({"claim": NAME, "namespace": NAMESPACE} | values))


def prepare(ti: TaskInstance | None = None, **arguments: Any) -> dict[str, Any]:
    values = PrepareWorkspaceOperator(task_id="workspace", **arguments).execute(
        context(ti or TaskInstance("workspace"))
    )
    json.dumps(values)
    return values


def failure_of(error: Any) -> Failure:
    assert error.value.failure is not None
    return error.value.failure


class Clock:
    """Seconds that pass only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += 2.0

    def __call__(self) -> float:
        return self.now


# Preparing


def test_the_first_time_the_claim_is_made(cluster: Cluster) -> None:
    values = prepare(ticket="7")
    assert (values["claim"], values["namespace"]) == (NAME, NAMESPACE)
    made = cluster.claims[NAME].metadata
    assert made.labels == {LABEL_INSTALLATION: "default", LABEL_RUN: "run_1", LABEL_TICKET: "7"}
    assert made.annotations[ANNOTATION_DAG_ID] == "coding_task"
    assert made.annotations[ANNOTATION_RUN_ID] == "run_1"
    left = read_stamp(made.annotations[ANNOTATION_EXPIRES_AT]) - now()
    assert timedelta(hours=167) < left <= timedelta(hours=168)
    assert cluster.journal == [f"create {NAME} 10Gi"]
    assert Workspace.from_dict(values) == workspace(
        labels=made.labels,
        annotations={key: value for key, value in made.annotations.items() if key != ANNOTATION_EXPIRES_AT},
    )


def test_labels_are_those_of_the_pods() -> None:
    for label in (LABEL_INSTALLATION, LABEL_RUN, LABEL_TICKET):
        assert label.startswith(pod_parts.LABEL_PREFIX)


def test_the_second_time_it_is_kept_for_longer(cluster: Cluster) -> None:
    cluster.add_claim(NAME, "2020-01-01T00:00:00Z")
    assert prepare()["claim"] == NAME
    assert cluster.journal == [f"keep {NAME}"]
    assert read_stamp(cluster.claims[NAME].metadata.annotations[ANNOTATION_EXPIRES_AT]) > now()


def test_options_are_those_of_the_installation(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (
        ("WORKSPACE_SIZE", "3Gi"),
        ("WORKSPACE_EXPIRY_HOURS", "2"),
        ("INSTALLATION", "Team A"),
    ):
        monkeypatch.setenv(f"AIRFLOW__AGENTS__{name}", value)
    values = prepare(size="None", ticket="None")
    assert (values["size"], values["expiry_hours"]) == ("3Gi", 2.0)
    assert values["claim"] == claim_name("Team A", "coding_task", "run_1")
    assert LABEL_TICKET not in values["labels"]
    assert values["labels"][LABEL_INSTALLATION].startswith("TeamA-")


def test_two_groups_of_one_run_have_claims_of_their_own(cluster: Cluster) -> None:
    names = {prepare(TaskInstance(task))["claim"] for task in ("workspace", "a.workspace", "b.workspace")}
    mapped = TaskInstance("workspace")
    mapped.map_index = 3
    assert len(names | {prepare(mapped)["claim"]}) == 4


def test_an_ephemeral_run_has_none(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__WORKSPACE", "ephemeral")
    assert prepare() == {"claim": None}
    assert cluster.journal == []
    assert prepare(kind="claim")["claim"] == NAME


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ({"kind": "tape"}, "workspace: 'tape' is none of claim, ephemeral"),
        ({"size": "much"}, "workspace_size: 'much' is not a size like 10Gi"),
        ({"size": "0Gi"}, "workspace_size: '0Gi'"),
        ({"expiry_hours": 0}, "workspace_expiry_hours: 0 is not"),
        ({"expiry_hours": float("inf")}, "workspace_expiry_hours: inf is not"),
    ],
)
def test_a_wrong_argument_is_named(cluster: Cluster, arguments: dict[str, Any], fault: str) -> None:
    ti = TaskInstance("workspace")
    with pytest.raises(InvalidInputError, match=fault):
        prepare(ti, **arguments)
    assert fault in ti.pushed[FAILURE_KEY]
    assert cluster.journal == []


def test_it_is_repeated_for_infrastructure_only() -> None:
    task = PrepareWorkspaceOperator(task_id="w")
    assert task.retries == 3
    policy: Any = task.retry_policy
    assert policy.evaluate(InvalidInputError(["x"]), 1, 3).action.value == "fail"
    refusal = StepInfrastructureError.of(Failure(category="storage", code="c", message="m", retryable=True))
    assert policy.evaluate(refusal, 1, 3).action.value == "retry"


# What a cluster refuses

QUOTA = (
    'persistentvolumeclaims "x" is forbidden: exceeded quota: storage, requested: requests.storage=10Gi, '
    "used: requests.storage=95Gi, limited: requests.storage=100Gi"
)
LIMIT = 'persistentvolumeclaims "x" is forbidden: maximum storage usage per PersistentVolumeClaim is 5Gi'


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            "create",
            forbidden("create", "persistentvolumeclaims"),
            f"Airflow may not create persistentvolumeclaims in namespace {NAMESPACE}. Give its Kubernetes ident",
        ),
        ("read", forbidden("get", "persistentvolumeclaims"), "the verb `get` on `persistentvolumeclaims`"),
        ("create", refused(403, LIMIT), "maximum storage usage"),
        (
            "create",
            refused(404, f'namespaces "{NAMESPACE}" not found'),
            r"Create it, or correct `\[agents\] namespace`",
        ),
        ("create", refused(422, "spec.resources: Invalid value"), "spec.resources: Invalid value"),
        ("read", refused(401, "Unauthorized"), "kubernetes_conn_id: claim .* the credential is not accepted"),
    ],
)
def test_what_a_person_must_mend_is_not_repeated(
    cluster: Cluster, call: str, error: Exception, text: str
) -> None:
    cluster.faults[call] = [error]
    ti = TaskInstance("workspace")
    with pytest.raises(InvalidInputError, match=text):
        prepare(ti)
    assert NAME in ti.pushed[FAILURE_KEY]


@pytest.mark.parametrize(
    ("call", "error", "code", "text"),
    [
        ("create", refused(403, QUOTA), "storage_quota", "exceeded quota: storage"),
        ("create", AWAY, "kubernetes_unavailable", "connection refused"),
        ("read", refused(500, "etcd is away"), "kubernetes_unavailable", "etcd is away"),
        ("read", refused(429, "too many requests"), "kubernetes_unavailable", "too many"),
        ("read", TimeoutError("timed out"), "kubernetes_unavailable", "timed out"),
    ],
)
def test_what_may_pass_is_repeated(
    cluster: Cluster, call: str, error: Exception, code: str, text: str
) -> None:
    cluster.faults[call] = [error]
    with pytest.raises(StepInfrastructureError, match=text) as caught:
        prepare()
    failure = failure_of(caught)
    assert (failure.code, failure.retryable) == (code, True)
    assert failure.remedy


def test_a_right_to_keep_the_claim_is_named(cluster: Cluster) -> None:
    cluster.add_claim(NAME, "2020-01-01T00:00:00Z")
    cluster.faults["patch"] = [forbidden("patch", "persistentvolumeclaims")]
    with pytest.raises(InvalidInputError, match="the verb `patch` on `persistentvolumeclaims`"):
        prepare()


def test_a_connection_that_leads_nowhere_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", '{"conn_type": "kubernetes", "extra": {"in_cluster": true}}')
    with pytest.raises(
        InvalidInputError, match="kubernetes_conn_id: connection 'nowhere' leads to no cluster"
    ):
        cluster_client("nowhere")


# Storage classes


@pytest.fixture
def classes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Exception | None]:
    """Answers of the cluster by storage class."""
    answers: dict[str, Exception | None] = {}

    def read(self: Any, name: str, **_: Any) -> Any:
        if (error := answers[name]) is not None:
            raise error
        return SimpleNamespace()

    monkeypatch.setattr(kubernetes_client.StorageV1Api, "read_storage_class", read)
    return answers


def test_a_storage_class_that_is_not_there_fails_at_once(
    cluster: Cluster, classes: dict[str, Exception | None]
) -> None:
    classes["fast"] = refused(404, 'storageclasses.storage.k8s.io "fast" not found')
    with pytest.raises(
        InvalidInputError, match=r"the cluster has no storage class 'fast'.*kubectl get storageclass"
    ):
        prepare(storage_class="fast")
    assert cluster.journal == []


@pytest.mark.parametrize("answer", [None, forbidden("get", "storageclasses"), AWAY])
def test_a_storage_class_that_cannot_be_checked_is_tried(
    cluster: Cluster, classes: dict[str, Exception | None], answer: Exception | None
) -> None:
    classes["fast"] = answer
    assert prepare(storage_class="fast")["storage_class"] == "fast"
    assert NAME in cluster.claims


# Making a claim anew


def test_two_that_make_it_at_once_have_one(cluster: Cluster) -> None:
    def other() -> None:
        cluster.add_claim(NAME, "2030-01-01T00:00:00Z")

    cluster.before["create"] = other
    assert ensure_claim(cluster, workspace()) is False  # type: ignore[arg-type]
    assert cluster.journal == [f"keep {NAME}"]


def test_one_that_goes_between_reading_and_keeping_is_made_anew(cluster: Cluster) -> None:
    cluster.add_claim(NAME, "2030-01-01T00:00:00Z")
    cluster.before["patch"] = cluster.claims.clear
    assert ensure_claim(cluster, workspace()) is True  # type: ignore[arg-type]


def test_one_that_changed_between_is_read_again(cluster: Cluster) -> None:
    claim = cluster.add_claim(NAME, "2030-01-01T00:00:00Z")

    def change() -> None:
        claim.metadata.resource_version = "999"

    cluster.before["patch"] = change
    assert ensure_claim(cluster, workspace()) is False  # type: ignore[arg-type]
    assert cluster.journal == [f"keep {NAME}"]


def test_one_that_lost_its_volume_is_made_anew(cluster: Cluster) -> None:
    cluster.add_claim(NAME).status.phase = "Lost"
    assert ensure_claim(cluster, workspace()) is True  # type: ignore[arg-type]
    assert cluster.journal == [f"delete {NAME}", f"create {NAME} 10Gi"]


def test_one_that_is_not_bound_yet_is_fine(cluster: Cluster) -> None:
    cluster.add_claim(NAME).status.phase = "Pending"  # until the first pod, with many storage classes
    assert ensure_claim(cluster, workspace()) is False  # type: ignore[arg-type]


def test_one_that_does_not_go_ends_with_the_pods_that_hold_it(cluster: Cluster) -> None:
    cluster.add_claim(NAME, deletion_timestamp=now())
    cluster.add_pod("ended", "Succeeded", NAME)
    cluster.add_pod("other", "Running", "another")
    clock = Clock()
    with pytest.raises(
        StepInfrastructureError, match="kubectl delete pod --namespace agent-system ended"
    ) as e:
        ensure_claim(cluster, workspace(), seconds=60, sleep=clock.sleep, clock=clock)  # type: ignore[arg-type]
    assert failure_of(e).code == "claim_held"
    assert 60 <= clock.now <= 64


def test_one_that_nobody_holds_and_does_not_go_ends_too(cluster: Cluster) -> None:
    cluster.add_claim(NAME, deletion_timestamp=now())
    clock = Clock()
    with pytest.raises(StepInfrastructureError, match="neither usable nor gone for 60 s") as caught:
        ensure_claim(cluster, workspace(), seconds=60, sleep=clock.sleep, clock=clock)  # type: ignore[arg-type]
    assert failure_of(caught).code == "claim_unsettled"
    cluster.faults["list pods"] = [forbidden("list", "pods")]
    with pytest.raises(InvalidInputError, match="the verb `list` on `pods`"):
        ensure_claim(cluster, workspace(), seconds=0)  # type: ignore[arg-type]


# Growing


@pytest.mark.parametrize(("size", "grows"), [("20Gi", True), ("10Gi", False), ("5Gi", False), ("10G", False)])
def test_a_raised_size_is_asked_for(cluster: Cluster, size: str, grows: bool) -> None:
    cluster.add_claim(NAME)
    assert ensure_claim(cluster, workspace(size=size)) is False  # type: ignore[arg-type]
    assert cluster.journal == [f"keep {NAME}", *([f"grow {NAME} {size}"] if grows else [])]


@pytest.mark.parametrize("error", [refused(403, "the storageclass must support resize"), AWAY])
def test_a_size_that_cannot_be_had_is_told_and_the_claim_is_used(
    cluster: Cluster, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.add_claim(NAME)
    cluster.faults["grow"] = [error]
    assert ensure_claim(cluster, workspace(size="20Gi")) is False  # type: ignore[arg-type]
    assert "keeps its size of 10Gi, 20Gi cannot be had" in caplog.text


# Waiting for the last pod


def wait(cluster: Cluster, clock: Clock, **options: Any) -> None:
    wait_until_free(cluster, NAMESPACE, NAME, sleep=clock.sleep, clock=clock, **options)  # type: ignore[arg-type]


def test_a_claim_that_no_living_pod_mounts_is_free(cluster: Cluster) -> None:
    cluster.add_pod("ended", "Failed", NAME)
    cluster.add_pod("other", "Running", "another")
    cluster.add_pod("plain", "Running")
    cluster.add_pod("own", "Pending", NAME)
    wait(cluster, clock := Clock(), except_pod="own")
    assert clock.now == 0


@pytest.mark.parametrize("phase", ["Pending", "Running", "Unknown"])
@pytest.mark.parametrize("deleting", [True, False])
def test_a_living_pod_is_waited_for_and_then_named(cluster: Cluster, phase: str, deleting: bool) -> None:
    cluster.add_pod("living", phase, NAME, deletion_timestamp=now() if deleting else None)
    clock = Clock()
    with pytest.raises(
        StepInfrastructureError, match=r"mounted by living after 30 s.*--force living"
    ) as caught:
        wait(cluster, clock, seconds=30)
    assert failure_of(caught).code == "claim_held"
    assert 30 <= clock.now <= 32


def test_it_is_free_as_soon_as_the_pod_has_ended(cluster: Cluster) -> None:
    pod = cluster.add_pod("living", "Running", NAME)
    clock = Clock()

    def sleep(seconds: float) -> None:
        clock.sleep(seconds)
        if clock.now >= 6:
            pod.status.phase = "Succeeded"

    wait_until_free(cluster, NAMESPACE, NAME, sleep=sleep, clock=clock)  # type: ignore[arg-type]
    assert clock.now == 6


def test_a_pod_on_a_later_page_is_seen(cluster: Cluster) -> None:
    cluster.page = 2
    for number in range(5):
        cluster.add_pod(f"p{number}", "Running", NAME if number in (1, 4) else None)
    assert pods_mounting(cluster, NAMESPACE, NAME) == ["p1", "p4"]  # type: ignore[arg-type]


def test_waiting_needs_the_right_to_list_pods(cluster: Cluster) -> None:
    cluster.faults["list pods"] = [forbidden("list", "pods")]
    with pytest.raises(InvalidInputError, match="the verb `list` on `pods`"):
        wait(cluster, Clock())


# Releasing

GATES = ("first", "second", "third")


def release(cluster: Cluster, *verdicts: str | None, **states: str) -> dict[str, Any]:
    decisions = zip(GATES, verdicts, strict=False)
    ti = TaskInstance(
        "release",
        xcoms={f"{gate}:decision": {"verdict": v, "message": f"{v}!"} for gate, v in decisions if v},
    )
    ti.states = dict.fromkeys(GATES, "success") | states
    task = ReleaseWorkspaceOperator(
        task_id="release", workspace=workspace(expiry_hours=24.0).to_dict(), gates=GATES
    )
    result = task.execute(context(ti))
    assert json.loads(json.dumps(result))["claim"] == NAME
    return result


@pytest.mark.parametrize("verdicts", [("done",), ("fix", "done"), ("fix", "fix", "stop")])
def test_a_run_that_ended_for_good_deletes_its_claim(cluster: Cluster, verdicts: tuple[str, ...]) -> None:
    cluster.add_claim(NAME)
    assert release(cluster, *verdicts) == {"claim": NAME, "released": True, "kept_until": None}
    assert cluster.journal == [f"delete {NAME}"]


@pytest.mark.parametrize("verdicts", [(), ("fix",), ("fix", "escalate"), (None, None, None)])
def test_any_other_run_keeps_it_and_says_how_to_go_on(
    cluster: Cluster, verdicts: tuple[str | None, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.add_claim(NAME, "2020-01-01T00:00:00Z")
    outcome = release(cluster, *verdicts)
    until = cluster.claims[NAME].metadata.annotations[ANNOTATION_EXPIRES_AT]
    assert outcome == {"claim": NAME, "released": False, "kept_until": until}
    assert timedelta(hours=23) < read_stamp(until) - now() <= timedelta(hours=24)
    told = capsys.readouterr().out
    assert f"kept until {until} (24 hours)" in told
    assert "clear the failed task" in told


@pytest.mark.parametrize("state", ["skipped", "upstream_failed", "removed"])
def test_what_a_gate_decided_before_a_clear_does_not_count(cluster: Cluster, state: str) -> None:
    cluster.add_claim(NAME, "2020-01-01T00:00:00Z")
    assert release(cluster, "fix", "done", second=state)["released"] is False
    assert NAME in cluster.claims


def test_a_claim_that_is_gone_or_going_is_released(cluster: Cluster) -> None:
    assert release(cluster, "done")["released"] is True
    cluster.add_claim(NAME, deletion_timestamp=now())
    assert release(cluster, "done")["released"] is True
    assert cluster.journal == []


def test_a_failed_run_whose_claim_is_gone_keeps_none(cluster: Cluster) -> None:
    assert release(cluster, "fix") == {"claim": NAME, "released": False, "kept_until": None}


@pytest.mark.parametrize("call", ["read", "delete"])
@pytest.mark.parametrize("error", [AWAY, refused(500, "etcd"), forbidden("delete", "x"), RuntimeError("odd")])
def test_nothing_fails_the_run(
    cluster: Cluster, call: str, error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.add_claim(NAME)
    cluster.faults[call] = [error]
    assert release(cluster, "done") == {"claim": NAME, "released": False, "kept_until": None}
    assert "cannot be released now; it expires" in capsys.readouterr().out


@pytest.mark.parametrize(("verdict", "why"), [("done", "done!"), ("stop", "stop!"), ("fix", None)])
def test_a_run_that_ended_for_good_leaves_a_note_for_housekeeping_before_it_asks_the_cluster(
    monkeypatch: pytest.MonkeyPatch, verdict: str, why: str | None
) -> None:
    def away(conn_id: str) -> None:
        raise OSError("no cluster")

    monkeypatch.setattr("airflow_provider_agents.operators.workspace.cluster_client", away)
    decision = {"verdict": verdict, "message": f"{verdict}!"}
    ti = TaskInstance("release", xcoms={f"{GATES[0]}:decision": decision})
    ti.states = {GATES[0]: "success"} | dict.fromkeys(GATES[1:], "skipped")
    task = ReleaseWorkspaceOperator(task_id="release", workspace=workspace().to_dict(), gates=GATES)
    assert task.execute(context(ti))["released"] is False
    assert ti.pushed.get(GIVEN_BACK_KEY) == why


@pytest.mark.parametrize("value", [None, {"claim": None}, "text"])
def test_without_a_claim_there_is_nothing_to_release(cluster: Cluster, value: Any) -> None:
    task = ReleaseWorkspaceOperator(task_id="release", workspace=value)
    assert task.execute(context(TaskInstance()))["claim"] is None
    assert cluster.journal == []


def test_the_claim_comes_from_the_setup_task(cluster: Cluster) -> None:
    cluster.add_claim(NAME)
    ti = TaskInstance("release", xcoms={"workspace:return_value": workspace().to_dict()})
    task: Any = ReleaseWorkspaceOperator(task_id="release", workspace=Pulled("workspace"))
    task.workspace = task.workspace.resolve(context(ti))
    assert task.execute(context(ti))["kept_until"]


def test_a_claim_that_never_stands_still_is_given_up(cluster: Cluster) -> None:
    cluster.add_claim(NAME)
    cluster.faults["patch"] = [refused(409, "the object has been modified")]
    with pytest.raises(StepInfrastructureError, match="changed at each of 5 tries"):
        keep_claim(cluster, workspace())  # type: ignore[arg-type]
