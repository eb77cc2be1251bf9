from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.argocd_application import ApplicationSource, DeployedRevision
from airflow_provider_agents.hooks.argocd_parse import (
    MOST_CHARACTERS,
    MOST_ENTRIES,
    moment,
    reading,
    workload,
    workload_nodes,
)

NOW = datetime(2026, 5, 4, tzinfo=UTC)
META = {"metadata": {"name": "shop"}}


def read(spec: Any = None, status: Any = None) -> Any:
    return reading({**META, "spec": spec, "status": status}, "shop", NOW)


def test_a_new_application_has_hardly_anything() -> None:
    found = reading(META, "shop", NOW)
    assert (found.health, found.sync, found.revision, found.fault) == ("Unknown", "Unknown", "", "")
    assert (found.sources, found.history, found.images, found.automated) == ((), (), (), False)


@pytest.mark.parametrize("body", [{}, {"metadata": {}}, {"metadata": {"name": "other"}}, {"metadata": []}])
def test_what_is_not_that_application_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="it is"):
        reading(body, "shop", NOW)


def test_an_application_with_one_source() -> None:
    found = read(
        {
            "project": "team",
            "source": {"repoURL": "https://github.com/acme/shop", "path": "deploy", "targetRevision": "main"},
            "destination": {"namespace": "shop"},
            "syncPolicy": {"automated": {}},
        },
        {
            "sync": {"status": "OutOfSync", "revision": "a" * 40, "revisions": ["b" * 40]},
            "health": {"status": "Degraded", "lastTransitionTime": "2026-05-03T01:02:03Z"},
            "history": [{"id": 4, "revision": "a" * 40, "deployedAt": "2026-05-03T01:02:00Z"}],
            "summary": {"images": ["shop:1"]},
            "operationState": {"phase": "Failed", "message": "no"},
            "conditions": [{"type": "SyncError", "message": "bad"}],
            "reconciledAt": "2026-05-03T01:02:04Z",
        },
    )
    assert found.revisions == ("a" * 40,)
    assert found.source == ApplicationSource(
        repo_url="https://github.com/acme/shop", path="deploy", target_revision="main"
    )
    assert (found.health, found.sync, found.automated) == ("Degraded", "OutOfSync", True)
    assert found.health_since == datetime(2026, 5, 3, 1, 2, 3, tzinfo=UTC)
    deployed_at = datetime(2026, 5, 3, 1, 2, tzinfo=UTC)
    assert found.history == (DeployedRevision(id=4, revisions=("a" * 40,), deployed_at=deployed_at),)
    assert (found.operation_phase, found.conditions, found.images) == (
        "Failed",
        ("SyncError: bad",),
        ("shop:1",),
    )
    assert (found.project, found.destination_namespace) == ("team", "shop")


def test_an_application_with_several_sources() -> None:
    found = read(
        {"source": {"repoURL": "old"}, "sources": [{"repoURL": "one", "chart": "c"}, {"repoURL": "two"}]},
        {
            "sync": {"revision": "old", "revisions": ["1.2.3", "f" * 40]},
            "history": [{"revisions": ["1.2.2", "e"]}],
        },
    )
    assert [one.repo_url for one in found.sources] == ["one", "two"]
    assert found.revisions == ("1.2.3", "f" * 40)
    assert found.history[0].revisions == ("1.2.2", "e")


@pytest.mark.parametrize(
    ("policy", "automated"),
    [(None, False), ({"automated": {"enabled": False}}, False), ({"automated": {"prune": True}}, True)],
)
def test_whether_it_follows_git(policy: Any, automated: bool) -> None:
    assert read({"syncPolicy": policy}).automated is automated


def test_a_health_that_nobody_knows_is_unknown() -> None:
    assert read(status={"health": {"status": "Splendid"}, "sync": {"status": 7}}).health == "Unknown"
    assert read(status={"health": {"status": []}}).health == "Unknown"


def test_ill_resources_say_what_the_application_does_not() -> None:
    ill = {"kind": "Deployment", "name": "web", "health": {"status": "Degraded", "message": "no progress"}}
    well = {"kind": "Service", "name": "web", "health": {"status": "Healthy", "message": "fine"}}
    assert read(status={"resources": [well, ill]}).health_message == "Deployment web: no progress"
    assert len(read(status={"resources": [ill] * 5000}).health_message) < 200
    own = {"resources": [ill], "health": {"status": "Degraded", "message": "own"}}
    assert read(status=own).health_message == "own"


def test_long_lists_and_texts_are_cut() -> None:
    history = [{"id": number, "revision": str(number)} for number in range(500)]
    found = read(
        status={
            "history": history,
            "summary": {"images": ["i"] * 500},
            "operationState": {"message": "m" * 5000},
        }
    )
    assert [found.history[0].id, found.history[-1].id] == [500 - MOST_ENTRIES, 499]
    assert len(found.images) == MOST_ENTRIES
    assert len(found.operation_message) == MOST_CHARACTERS


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2026-05-04T00:00:00Z", NOW),
        ("2026-05-04T02:00:00+02:00", NOW.astimezone(timezone(timedelta(hours=2)))),
        ("2026-05-04T00:00:00", NOW),
        ("yesterday", None),
        (None, None),
        (5, None),
    ],
)
def test_moments(text: Any, found: datetime | None) -> None:
    assert moment(text) == found


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = (
    "health", "sync", "history", "summary", "operationState", "conditions", "reconciledAt", "resources",
)  # fmt: skip


@given(
    st.dictionaries(st.sampled_from(["source", "sources", "syncPolicy", "destination", "project"]), JSON),
    st.dictionaries(st.sampled_from(FIELDS), JSON),
)
def test_no_answer_breaks_it(spec: Any, status: Any) -> None:
    found = read(spec, status)
    assert type(found).from_dict(json.loads(json.dumps(found.to_dict()))) == found


def node(kind: str, name: str, group: str = "apps", parents: list[Any] | None = None) -> dict[str, Any]:
    values = {"group": group, "kind": kind, "name": name, "namespace": "n", "version": "v1"}
    return {**values, "parentRefs": parents} if parents is not None else values


def test_workloads_are_those_that_no_other_one_owns() -> None:
    nodes = [
        node("Deployment", "a"),
        node("ReplicaSet", "a-1", parents=[node("Deployment", "a")]),
        node("ReplicaSet", "alone"),
        node("Rollout", "b", "argoproj.io"),
        node("ReplicaSet", "b-1", parents=[node("Rollout", "b", "argoproj.io")]),
        node("StatefulSet", "c", parents=[node("Postgres", "db", "db.test")]),
        node("Pod", "p", ""),
        node("Deployment", "old", "extensions.test"),
        "nonsense",
    ]
    assert [one["name"] for one in workload_nodes({"nodes": nodes})] == ["a", "alone", "b", "c"]
    assert workload_nodes({}) == []


@pytest.mark.parametrize(
    ("kind", "manifest", "counts"),
    [
        ("Deployment", {"spec": {"replicas": 3}, "status": {"availableReplicas": 2}}, (3, 2)),
        ("Deployment", {"spec": {}, "status": {}}, (1, 0)),
        ("Deployment", {"spec": {"replicas": 0}}, (0, 0)),
        ("DaemonSet", {"status": {"desiredNumberScheduled": 4, "numberAvailable": 3}}, (4, 3)),
        ("Deployment", {"spec": {"replicas": "3"}, "status": {"availableReplicas": True}}, (1, 0)),
    ],
)
def test_copies_are_counted(kind: str, manifest: dict[str, Any], counts: tuple[int, int]) -> None:
    found = workload(node(kind, "a"), {"manifest": json.dumps({"kind": kind, **manifest})})
    assert found is not None
    assert (found.desired, found.available) == counts


@pytest.mark.parametrize(
    "answer", [{}, {"manifest": ""}, {"manifest": "null"}, {"manifest": "{"}, {"manifest": 7}]
)
def test_what_is_not_in_the_cluster_has_no_copies(answer: dict[str, Any]) -> None:
    assert workload(node("Deployment", "a"), answer) is None
