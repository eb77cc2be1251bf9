"""What stands against the merge of a rollback: each guard alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from fakes import FAILED, NOW, PENDING, snapshot
from landing_cases import APPROVAL, OBJECTION, STRANGERS_STOP, THREAD, said

from airflow_provider_agents.domain.pr_rule_circumstances import PlatformGuards
from airflow_provider_agents.domain.risk import ChangedFile
from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
from airflow_provider_agents.domain.rollback_guards import FILES_UNREAD, judged

FILES = (ChangedFile(path="deploy/app.yaml", status="modified", additions=1, deletions=1),)
GREEN = {"settle_seconds": 0, "max_risk": None, "protected_paths": []}


def verdict(
    seen: dict[str, Any] | None = None,
    guards: dict[str, Any] | None = None,
    platform: PlatformGuards | None = None,
    *,
    files: tuple[ChangedFile, ...] | None = FILES,
    approved: bool = False,
) -> tuple[str, str]:
    definition = RollbackDefinition.model_validate(
        {"application": "shop", "repository": "acme/shop", "guards": GREEN | (guards or {})}
    )
    found = judged(
        snapshot(labels=("rollback",), **(seen or {})),
        definition,
        first_seen=NOW - timedelta(hours=1),
        files=files,
        platform=platform or PlatformGuards(),
        approved=approved,
    )
    assert found.message
    return found.verdict, found.reason


def test_what_is_green_is_merged() -> None:
    assert verdict()[0] == "merge"
    assert verdict({"reviews": (APPROVAL,)})[0] == "merge"
    assert verdict({"has_merge_queue": True})[0] == "enqueue"


@pytest.mark.parametrize(
    ("guards", "platform", "reason"),
    [
        ({"freeze": ["2026-01-01/2026-01-03"]}, {}, "frozen"),
        ({}, {"freeze": ("2026-01-01/2026-01-03",)}, "frozen"),
        ({"hold_labels": ["Rollback"]}, {}, "held"),
        ({}, {"hold_labels": ("rollback",)}, "held"),
        ({}, {"auto_merge": False}, "merge_by_person"),
        ({"protected_paths": ["deploy/**"]}, {}, "protected_paths"),
        ({}, {"protected_paths": ("deploy/**",)}, "protected_paths"),
        ({"max_risk": 0}, {}, "risk"),
        ({"max_risk": 100}, {"max_risk": 0}, "risk"),
        ({}, {"max_risk": 0}, "risk"),
    ],
)
def test_each_guard_alone(guards: dict[str, Any], platform: dict[str, Any], reason: str) -> None:
    assert verdict({}, guards, PlatformGuards(**platform)) == ("wait", reason)


@pytest.mark.parametrize(
    ("guards", "platform"),
    [
        ({}, {"auto_merge": False}),
        ({"protected_paths": ["deploy/**"]}, {"protected_paths": ("**",)}),
        ({"max_risk": 0}, {"max_risk": 0}),
    ],
)
def test_a_persons_yes_is_consent_to_what_people_keep_for_themselves(
    guards: dict[str, Any], platform: dict[str, Any]
) -> None:
    assert verdict({}, guards, PlatformGuards(**platform), approved=True)[0] == "merge"


@pytest.mark.parametrize(
    ("seen", "guards"),
    [
        ({"checks": (FAILED,)}, {}),
        ({"checks": (PENDING,)}, {}),
        ({"mergeable": "CONFLICTING", "merge_state": "DIRTY"}, {}),
        ({"mergeable": "UNKNOWN"}, {}),
        ({"draft": True}, {}),
        ({"reviews": (OBJECTION,)}, {}),
        ({"threads": (THREAD,)}, {}),
        ({"comments": (said("/stop"),)}, {}),
        ({}, {"freeze": ["2026-01-01/2026-01-03"]}),
        ({}, {"hold_labels": ["rollback"]}),
    ],
)
def test_a_persons_yes_is_consent_to_nothing_else(seen: dict[str, Any], guards: dict[str, Any]) -> None:
    assert verdict(seen, guards)[0] not in ("merge", "enqueue")
    assert verdict(seen, guards, approved=True)[0] not in ("merge", "enqueue")


def test_what_cannot_be_read_is_not_merged() -> None:
    assert verdict(files=None) == ("wait", FILES_UNREAD)


def test_strangers_stop_nothing() -> None:
    assert verdict({"comments": (STRANGERS_STOP,)})[0] == "merge"
    assert verdict({"comments": (said("/merge"),)})[0] == "merge"


def test_what_moves_from_a_protected_path_changes_it() -> None:
    moved = (
        ChangedFile(path="b.yaml", previous_path="deploy/b.yaml", status="renamed", additions=0, deletions=0),
    )
    assert verdict({}, {"protected_paths": ["deploy/**"]}, files=moved) == ("wait", "protected_paths")
