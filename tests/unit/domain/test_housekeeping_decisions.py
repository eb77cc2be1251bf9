"""What a sweep decides about claims and pods, by table and by property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.housekeeping import (
    LABEL_READ,
    ClaimSeen,
    ClaimsGoing,
    PodKeep,
    RunSeen,
    SweepDecision,
    needs_run,
    sweep_claim,
    sweep_pod,
)
from airflow_provider_agents.domain.workspace import (
    ANNOTATION_EXPIRES_AT,
    LABEL_INSTALLATION,
    read_stamp,
    stamp,
)

NOW = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)
PAST, FUTURE = "2026-01-31T11:00:00Z", "2026-01-31T13:00:00Z"
OURS = {LABEL_INSTALLATION: "default"}
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)

# Claims


def decide(expiry: str | None = PAST, **values: Any) -> SweepDecision:
    annotations = {} if expiry is None else {ANNOTATION_EXPIRES_AT: expiry}
    seen = ClaimSeen(
        name="c",
        labels=values.pop("labels", OURS),
        annotations=annotations,
        being_deleted=values.pop("being_deleted", False),
    )
    arguments: dict[str, Any] = {
        "living_pods": [],
        "run": None,
        "keep": 10 * MINUTE,
        "installation": "default",
    }
    return sweep_claim(seen, now=NOW, **(arguments | values))


def ended(state: str, minutes: float = 60, *, given_back: bool = False) -> RunSeen:
    return RunSeen(state=state, ended_at=NOW - minutes * MINUTE, given_back=given_back)


@pytest.mark.parametrize("run", [None, ended("failed"), RunSeen(state="success")])
def test_an_expired_claim_that_nobody_needs_is_deleted(run: RunSeen | None) -> None:
    decision = decide(run=run)
    assert (decision.action, decision.reason) == ("delete", f"It expired at {PAST}.")


@pytest.mark.parametrize(
    ("run", "action"),
    [
        (ended("success", 10), "delete"),
        (ended("success", 9.9), "keep"),
        (ended("failed", given_back=True), "delete"),
        (ended("failed", 9.9, given_back=True), "keep"),
        (ended("failed"), "keep"),  # to be cleared and resumed
        (RunSeen(state="success"), "keep"),  # nobody can tell when
        (RunSeen(state="running", given_back=True), "keep"),  # it was cleared since
        (None, "keep"),
    ],
)
def test_before_its_expiry_only_the_claim_of_a_run_that_ended_for_good_goes(
    run: RunSeen | None, action: str
) -> None:
    assert decide(FUTURE, run=run).action == action


@pytest.mark.parametrize(
    ("values", "reason", "faulty"),
    [
        ({"expiry": FUTURE}, f"kept until {FUTURE}", False),
        ({"living_pods": ["p1", "p2"]}, "mounted by p1, p2", False),
        ({"living_pods": ["p"], "run": ended("success")}, "mounted by p", False),
        ({"run": RunSeen(state="running")}, "run is running", False),
        ({"run": RunSeen(state="queued")}, "run is queued", False),
        ({"being_deleted": True}, "being deleted", False),
        ({"labels": {}}, "another installation", False),
        ({"labels": {LABEL_INSTALLATION: "team-b"}}, "another installation", False),
        ({"labels": {LABEL_INSTALLATION: "default-2"}}, "another installation", False),
        ({"labels": {f"x-{LABEL_INSTALLATION}": "default"}}, "another installation", False),
        ({"labels": {LABEL_INSTALLATION: "team-b"}, "expiry": "soon"}, "another installation", False),
        ({"labels": {}, "run": ended("success")}, "another installation", False),
        ({"expiry": "soon"}, "Nobody can tell when it expires: its annotation", True),
        ({"expiry": None}, "Nobody can tell when it expires: it has no annotation", True),
    ],
)
def test_all_other_claims_are_kept_with_a_reason(values: dict[str, Any], reason: str, faulty: bool) -> None:
    decision = decide(**values)
    assert decision.action == "keep"
    assert reason in decision.reason
    assert decision.faulty is faulty


runs = st.one_of(
    st.none(),
    st.builds(
        RunSeen,
        state=st.sampled_from(["queued", "running", "success", "failed"]),
        ended_at=st.none() | st.integers(0, 100).map(lambda minutes: NOW - minutes * MINUTE),
        given_back=st.booleans(),
    ),
)


@given(
    st.one_of(st.none(), st.text(max_size=30), st.datetimes().map(lambda m: stamp(m.replace(tzinfo=UTC)))),
    st.lists(st.text(min_size=1, max_size=5), max_size=2),
    runs,
    st.booleans(),
    st.sampled_from(["default", "team-b"]),
)
def test_a_claim_that_is_deleted_is_ours_and_free_and_its_run_is_over(
    expiry: str | None, living: list[str], run: RunSeen | None, deleting: bool, owner: str
) -> None:
    labels = {LABEL_INSTALLATION: owner}
    decision = decide(expiry, living_pods=living, run=run, being_deleted=deleting, labels=labels)
    assert decision.reason
    if decision.action == "delete":
        assert (owner, living, deleting) == ("default", [], False)
        assert run is None or not run.goes_on
        for_good = run is not None and (run.state == "success" or run.given_back)
        long_ago = run is not None and run.ended_at is not None and NOW - run.ended_at >= 10 * MINUTE
        assert (for_good and long_ago) or (expiry is not None and read_stamp(expiry) <= NOW)
        # Nothing is deleted without Airflow having been asked for its run.
        seen = ClaimSeen(name="c", labels=labels, annotations={}, being_deleted=deleting)
        assert needs_run(seen, living_pods=living, installation="default")


# Pods

KEEP = PodKeep(succeeded=HOUR, failed=3 * HOUR, unread=5 * HOUR)


def pod(
    phase: str = "Succeeded",
    hours: float | None = 2,
    *,
    read: bool = True,
    claim: str | None = None,
    **values: Any,
) -> dict[str, Any]:
    state: dict[str, Any] = {"waiting": {}}
    if hours is not None:
        state = {"terminated": {"finished_at": NOW - timedelta(hours=hours)}}
    volume = {"name": "run", "persistent_volume_claim": {"claim_name": claim} if claim else None}
    labels = OURS | ({LABEL_READ: "True"} if read else {})
    return {
        "metadata": {"labels": labels} | values.pop("metadata", {}),
        "spec": {"volumes": [volume]},
        "status": {"phase": phase, "container_statuses": [{"name": "base", "state": state}]}
        | values.pop("status", {}),
    }


def decide_pod(found: Any, keep: PodKeep = KEEP, going: ClaimsGoing = ClaimsGoing()) -> SweepDecision:  # noqa: B008
    return sweep_pod(found, now=NOW, keep=keep, going=going, installation="default")


@pytest.mark.parametrize(
    ("phase", "hours", "read", "action"),
    [
        ("Succeeded", 1, True, "delete"),
        ("Succeeded", 0.9, True, "keep"),
        ("Failed", 2.9, True, "keep"),
        ("Failed", 3, True, "delete"),
        ("Succeeded", 4.9, False, "keep"),
        ("Succeeded", 5, False, "delete"),
        ("Failed", 4.9, False, "keep"),
    ],
)
def test_how_long_a_pod_is_kept(phase: str, hours: float, read: bool, action: str) -> None:
    assert decide_pod(pod(phase, hours, read=read)).action == action


def test_zero_hours_is_at_once_but_never_for_a_result_that_nobody_has_read() -> None:
    at_once = PodKeep(succeeded=0 * HOUR, failed=0 * HOUR, unread=5 * HOUR)
    for phase in ("Succeeded", "Failed"):
        assert decide_pod(pod(phase, 0), at_once).action == "delete"
        unread = decide_pod(pod(phase, 0, read=False), at_once)
        assert (unread.action, "which nobody has read" in unread.reason) == ("keep", True)


@pytest.mark.parametrize(
    ("going", "read", "action"),
    [
        (ClaimsGoing(), True, "keep"),
        (ClaimsGoing(swept=frozenset({"other"})), True, "keep"),
        (ClaimsGoing(swept=frozenset({"c"})), True, "delete"),
        (ClaimsGoing(swept=frozenset({"c"})), False, "delete"),
        (ClaimsGoing(being_deleted=frozenset({"c"})), True, "delete"),
        (ClaimsGoing(being_deleted=frozenset({"c"})), False, "keep"),
    ],
)
def test_a_pod_does_not_keep_a_claim_that_goes(going: ClaimsGoing, read: bool, action: str) -> None:
    assert decide_pod(pod(hours=0, read=read, claim="c"), going=going).action == action


@pytest.mark.parametrize("phase", ["Running", "Pending", "Unknown"])
def test_a_pod_that_has_not_ended_stays_whatever_becomes_of_its_claim(phase: str) -> None:
    going = ClaimsGoing(swept=frozenset({"c"}), being_deleted=frozenset({"c"}))
    assert decide_pod(pod(phase, claim="c"), going=going).action == "keep"


@pytest.mark.parametrize(
    ("phase", "hours", "base", "action"),
    [
        ("Pending", 49, {"waiting": {}}, "delete"),
        ("Pending", 49, None, "delete"),
        ("Pending", 47, {"waiting": {}}, "keep"),
        ("Pending", 49, {"running": {"started_at": NOW}}, "keep"),
        ("Pending", 49, {"terminated": {"exit_code": 0}}, "keep"),
        ("Running", 49, {"waiting": {}}, "keep"),
        ("Unknown", 49, {"waiting": {}}, "keep"),
    ],
)
def test_a_pod_that_never_started_goes_when_no_task_can_wait_for_it_any_more(
    phase: str, hours: float, base: dict[str, Any] | None, action: str
) -> None:
    containers = [{"name": "base", "state": base}] if base is not None else None
    made = {"labels": OURS, "creation_timestamp": NOW - hours * HOUR}
    found = pod(phase, metadata=made, status={"container_statuses": containers})
    assert decide_pod(found).action == action


def test_a_pod_without_containers_ended_when_it_began() -> None:
    status = {"container_statuses": None, "start_time": NOW - 4 * HOUR}
    assert decide_pod(pod("Failed", status=status)).action == "delete"
    made = {"creation_timestamp": NOW - 3 * MINUTE, "labels": OURS}
    assert decide_pod(pod("Failed", None, metadata=made)).action == "keep"


def test_the_last_container_counts() -> None:
    gateway = {"name": "gateway", "state": {"terminated": {"finished_at": NOW - 30 * MINUTE}}}
    assert decide_pod(pod(status={"init_container_statuses": [gateway]})).action == "keep"


@pytest.mark.parametrize(
    ("found", "reason", "faulty"),
    [
        (pod("Running"), "has not ended", False),
        (pod(metadata={"labels": None}), "another installation", False),
        (pod(metadata={"labels": {LABEL_INSTALLATION: "b"}}), "another installation", False),
        (pod(hours=59 / 60), "is kept until 2026-01-31T12:01:00Z", False),
        (pod(hours=None), "Nobody can tell when it ended", True),
        (pod(metadata={"labels": OURS, "deletion_timestamp": NOW}), "being deleted", False),
        ({"metadata": {"labels": OURS}, "status": None}, "has not ended", False),
    ],
)
def test_all_other_pods_are_kept(found: Any, reason: str, faulty: bool) -> None:
    decision = decide_pod(found)
    assert decision.action == "keep"
    assert reason in decision.reason
    assert decision.faulty is faulty
