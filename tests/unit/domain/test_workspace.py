"""The workspace's names, layout and expiry, and when a run needs it no more."""

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
    LEDGER_FOLDER,
    WORKSPACE_FOLDER,
    Place,
    Workspace,
    claim_name,
    ending,
    is_expired,
    place,
    read_stamp,
    stamp,
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
