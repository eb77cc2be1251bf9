"""The workspace's names, layout, expiry, and what a sweep decides."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.workspace import (
    ANNOTATION_EXPIRES_AT,
    FOLDERS,
    HOME_FOLDER,
    LABEL_INSTALLATION,
    LEDGER_FOLDER,
    WORKSPACE_FOLDER,
    ClaimSeen,
    Place,
    Workspace,
    claim_name,
    ending,
    is_expired,
    place,
    read_stamp,
    stamp,
    sweep_claim,
    sweep_pod,
    volumes,
)

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")

# Names


def test_a_person_recognises_the_run() -> None:
    name = claim_name("default", "coding_task", "manual__2026-01-31T12:00:00+00:00")
    assert re.fullmatch(r"agents-coding-task-manual-2026-01-31t12-00-0[-0-9]*-[0-9a-f]{16}", name)


names = st.text(min_size=1, max_size=250)


@given(names, names, names, st.text(max_size=50), st.integers(-1, 10**9))
def test_a_name_is_a_dns_label(installation: str, dag: str, run: str, scope: str, index: int) -> None:
    name = claim_name(installation, dag, run, scope, index)
    assert len(name) <= 63
    assert DNS_LABEL.fullmatch(name)
    assert name == claim_name(installation, dag, run, scope, index)


@given(st.lists(st.tuples(names, names, names, names, st.integers(-1, 99)), min_size=2, unique=True))
def test_different_runs_have_different_names(runs: list[tuple[str, str, str, str, int]]) -> None:
    assert len({claim_name(*run) for run in runs}) == len(runs)


def test_parts_that_read_the_same_together_are_told_apart() -> None:
    assert claim_name("i", "a_b", "c") != claim_name("i", "a", "b_c")
    assert claim_name("i", "a", "b", "", 1) != claim_name("i", "a", "b", "1", -1)


# Layout


def test_with_a_claim_all_folders_are_sub_paths_of_one_volume() -> None:
    assert volumes("c") == {"run": "c"}
    assert [place(folder, "c") for folder in FOLDERS] == [
        Place("run", WORKSPACE_FOLDER),
        Place("run", HOME_FOLDER),
        Place("run", LEDGER_FOLDER),
    ]


def test_without_one_each_folder_is_a_volume_of_its_own() -> None:
    assert volumes(None) == {"workspace": None, "home": None, "ledger": None}
    assert all(place(folder, None) == Place(folder) for folder in FOLDERS)
    assert set(volumes(None)) == {place(folder, None).volume for folder in FOLDERS}


def test_a_folder_that_does_not_exist_is_a_fault() -> None:
    with pytest.raises(ValueError, match="'cache' is none of"):
        place("cache", "c")


# The claim


def workspace(**values: Any) -> Workspace:
    return Workspace(**({"claim": "c", "namespace": "n", "expiry_hours": 24.0} | values))


def test_the_manifest() -> None:
    made = workspace(labels={"a": "b"}, annotations={"x": "y"}, size="5Gi", storage_class="fast")
    assert made.manifest(NOW) == {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": "c",
            "namespace": "n",
            "labels": {"a": "b"},
            "annotations": {"x": "y", ANNOTATION_EXPIRES_AT: "2026-02-01T12:00:00Z"},
        },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "5Gi"}},
            "storageClassName": "fast",
        },
    }


def test_without_a_storage_class_the_cluster_takes_its_default() -> None:
    # An empty name would mean: no class at all.
    assert "storageClassName" not in workspace(storage_class=None).manifest(NOW)["spec"]
    assert "storageClassName" not in workspace(storage_class="").manifest(NOW)["spec"]


def test_it_goes_through_an_xcom() -> None:
    made = workspace(labels={"a": "b"})
    assert list(made.to_dict())[:2] == ["claim", "namespace"]
    assert Workspace.from_dict(json.loads(json.dumps(made.to_dict()))) == made
    assert Workspace.from_dict(made.to_dict() | {"of a later version": 1}) == made


@pytest.mark.parametrize("values", [None, {}, {"claim": None}])
def test_where_there_is_no_claim_there_is_no_workspace(values: Any) -> None:
    assert Workspace.from_dict(values) is None


def test_a_claim_without_a_namespace_is_a_fault() -> None:
    with pytest.raises(ValueError, match="namespace"):
        Workspace.from_dict({"claim": "c"})


# Expiry


def test_stamps_are_utc_and_read_back() -> None:
    moment = datetime(2026, 1, 31, 14, 0, 0, 999, tzinfo=timezone(timedelta(hours=2)))
    assert stamp(moment) == "2026-01-31T12:00:00Z"
    assert read_stamp("2026-01-31T12:00:00Z") == NOW
    assert read_stamp("2026-01-31T14:00:00+02:00") == NOW


@pytest.mark.parametrize(
    ("text", "expired"),
    [("2026-01-31T11:59:59Z", True), ("2026-01-31T12:00:00Z", True), ("2026-01-31T12:00:01Z", False)],
)
def test_expiry(text: str, expired: bool) -> None:
    assert is_expired({ANNOTATION_EXPIRES_AT: text}, NOW) is expired


@pytest.mark.parametrize("text", ["", "soon", "2026-01-31", "2026-01-31T12:00:00", "1769860800"])
def test_a_malformed_expiry_is_told_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text)) + ".*not a moment like 2026"):
        is_expired({ANNOTATION_EXPIRES_AT: text}, NOW)


def test_a_missing_expiry_is_told() -> None:
    with pytest.raises(ValueError, match="no annotation"):
        is_expired({}, NOW)


@given(st.text(max_size=40))
def test_any_text_is_an_expiry_or_a_value_error(text: str) -> None:
    try:
        expired: bool | str = is_expired({ANNOTATION_EXPIRES_AT: text}, NOW)
    except ValueError as error:
        expired = str(error)
    assert isinstance(expired, bool) or ANNOTATION_EXPIRES_AT in expired


# How a run ended


@pytest.mark.parametrize(
    ("decisions", "why"),
    [
        ([], None),
        ([None, None], None),
        ([{"verdict": "fix", "message": "m"}], None),
        ([{"verdict": "escalate", "message": "m"}], None),
        ([{"verdict": "fix", "message": "m"}, {"verdict": "done", "message": "Merged."}], "Merged."),
        ([{"verdict": "stop", "message": "Closed."}, None], "Closed."),
        ([{"verdict": "done"}], "The last gate decided done."),
        # A gate that was granted more rounds after a decision decides anew.
        ([{"verdict": "stop", "message": "m"}, {"verdict": "fix", "message": "m"}], None),
        (["done"], None),
    ],
)
def test_a_run_ended_for_good_if_its_last_gate_said_so(decisions: list[Any], why: str | None) -> None:
    assert ending(decisions) == why


# Sweeping claims

PAST, FUTURE = "2026-01-31T11:00:00Z", "2026-01-31T13:00:00Z"


def decide(expiry: str | None = PAST, **values: Any) -> Any:
    labels = values.pop("labels", {LABEL_INSTALLATION: "default"})
    annotations = {} if expiry is None else {ANNOTATION_EXPIRES_AT: expiry}
    seen = ClaimSeen(
        name="c", labels=labels, annotations=annotations, being_deleted=values.pop("being_deleted", False)
    )
    arguments: dict[str, Any] = {"living_pods": [], "run_state": None, "installation": "default"}
    return sweep_claim(seen, now=NOW, **(arguments | values))


@pytest.mark.parametrize("run_state", [None, "success", "failed"])
def test_an_expired_claim_that_nobody_needs_is_deleted(run_state: str | None) -> None:
    decision = decide(run_state=run_state)
    assert (decision.action, decision.reason) == ("delete", f"It expired at {PAST}.")


@pytest.mark.parametrize(
    ("values", "reason", "faulty"),
    [
        ({"expiry": FUTURE}, f"kept until {FUTURE}", False),
        ({"living_pods": ["p1", "p2"]}, "mounted by p1, p2", False),
        ({"run_state": "running"}, "its run is running", False),
        ({"run_state": "queued"}, "its run is queued", False),
        ({"being_deleted": True}, "being deleted", False),
        ({"labels": {}}, "another installation", False),
        ({"labels": {LABEL_INSTALLATION: "team-b"}}, "another installation", False),
        ({"labels": {LABEL_INSTALLATION: "team-b"}, "expiry": "soon"}, "another installation", False),
        ({"expiry": "soon"}, "Nobody can tell when it expires: its annotation", True),
        ({"expiry": None}, "Nobody can tell when it expires: it has no annotation", True),
    ],
)
def test_all_other_claims_are_kept_with_a_reason(values: dict[str, Any], reason: str, faulty: bool) -> None:
    decision = decide(**values)
    assert decision.action == "keep"
    assert reason in decision.reason
    assert decision.faulty is faulty


@given(
    st.one_of(st.none(), st.text(max_size=30), st.datetimes().map(lambda m: stamp(m.replace(tzinfo=UTC)))),
    st.lists(st.text(min_size=1, max_size=5), max_size=2),
    st.sampled_from([None, "queued", "running", "success", "failed"]),
    st.booleans(),
    st.sampled_from(["default", "team-b"]),
)
def test_what_is_deleted_is_ours_expired_and_free(
    expiry: str | None, living: list[str], state: str | None, deleting: bool, owner: str
) -> None:
    decision = decide(
        expiry,
        living_pods=living,
        run_state=state,
        being_deleted=deleting,
        labels={LABEL_INSTALLATION: owner},
    )
    assert decision.reason
    if decision.action == "delete":
        assert owner == "default"
        assert not living
        assert not deleting
        assert state not in ("queued", "running")
        assert expiry is not None
        assert read_stamp(expiry) <= NOW


# Sweeping pods


def pod(phase: str = "Succeeded", ended: datetime | None = NOW - timedelta(hours=2), **values: Any) -> Any:
    state = {"terminated": {"finished_at": ended}} if ended else {"waiting": {}}
    return {
        "metadata": {"labels": {LABEL_INSTALLATION: "default"}} | values.pop("metadata", {}),
        "status": {"phase": phase, "container_statuses": [{"name": "base", "state": state}]}
        | values.pop("status", {}),
    }


def decide_pod(found: Any) -> Any:
    return sweep_pod(found, now=NOW, keep=timedelta(hours=1), installation="default")


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_ended_long_ago_is_deleted(phase: str) -> None:
    decision = decide_pod(pod(phase))
    assert (decision.action, decision.reason) == ("delete", "It ended at 2026-01-31T10:00:00Z.")


def test_a_pod_without_containers_ended_when_it_began() -> None:
    status = {"container_statuses": None, "start_time": NOW - timedelta(hours=3)}
    assert decide_pod(pod("Failed", status=status)).action == "delete"
    made = {"creation_timestamp": NOW - timedelta(minutes=3), "labels": {LABEL_INSTALLATION: "default"}}
    assert decide_pod(pod("Failed", None, metadata=made)).action == "keep"


def test_the_last_container_counts() -> None:
    gateway = {"name": "gateway", "state": {"terminated": {"finished_at": NOW - timedelta(minutes=30)}}}
    assert decide_pod(pod(status={"init_container_statuses": [gateway]})).action == "keep"


@pytest.mark.parametrize(
    ("found", "reason", "faulty"),
    [
        (pod("Running"), "has not ended", False),
        (pod("Pending"), "has not ended", False),
        (pod(metadata={"labels": None}), "another installation", False),
        (pod(metadata={"labels": {LABEL_INSTALLATION: "b"}}), "another installation", False),
        (pod(ended=NOW - timedelta(minutes=59)), "is kept until 2026-01-31T12:01:00Z", False),
        (pod(ended=None), "Nobody can tell when it ended", True),
        ({"metadata": {"labels": {LABEL_INSTALLATION: "default"}}, "status": None}, "has not ended", False),
    ],
)
def test_all_other_pods_are_kept(found: Any, reason: str, faulty: bool) -> None:
    decision = decide_pod(found)
    assert decision.action == "keep"
    assert reason in decision.reason
    assert decision.faulty is faulty


def test_a_pod_that_is_being_deleted_is_left_alone() -> None:
    marked = {"labels": {LABEL_INSTALLATION: "default"}, "deletion_timestamp": NOW}
    assert decide_pod(pod(metadata=marked)).action == "keep"
