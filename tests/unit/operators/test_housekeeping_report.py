"""What the report of the housekeeping adds up."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import TaskInstance, context

from airflow_provider_agents.operators.housekeeping_report import HousekeepingReportOperator

SWEEP = {
    "dry_run": False,
    "pods": {"deleted": 12, "bytes": 0, "names": ["p"]},
    "claims": {"deleted": 2, "bytes": 2**31},
    "secrets": {"deleted": 1},
}
BRANCHES = {"dry_run": False, "branches": {"deleted": 3}}
CACHE = {"dry_run": False, "bytes_before": 900, "bytes_after": 600, "freed": 300}
NOTHING = {"pods": 0, "claims": 0, "secrets": 0, "branches": 0, "claim_bytes": 0, "cache_bytes": 0}


def report(**results: Any) -> dict[str, Any]:
    ti = TaskInstance("report", xcoms={f"{task}:return_value": value for task, value in results.items()})
    ti.states = dict.fromkeys(results, "success")
    operator = HousekeepingReportOperator(task_id="report", tasks=["sweep", "branches", "cache"])
    return operator.execute(context(ti))


def test_everything_is_added_up(capsys: pytest.CaptureFixture[str]) -> None:
    result = report(sweep=SWEEP, branches=BRANCHES, cache=CACHE)
    assert result == {
        "dry_run": False,
        "freed": {
            "pods": 12,
            "claims": 2,
            "secrets": 1,
            "branches": 3,
            "claim_bytes": 2**31,
            "cache_bytes": 300,
        },
        "tasks": dict.fromkeys(["sweep", "branches", "cache"], "success"),
    }
    out = capsys.readouterr().out
    assert "Freed:" in out
    assert "2,147,483,648" in out


@pytest.mark.parametrize(
    "odd", [None, "text", {"branches": None}, {"branches": {"deleted": "x"}}, {"branches": 3}]
)
def test_a_task_that_left_nothing_of_use_counts_nothing(odd: Any) -> None:
    assert report(branches=odd)["freed"] == NOTHING


def test_a_dry_run_is_called_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(branches=BRANCHES | {"dry_run": True})["dry_run"] is True
    assert "Would be freed" in capsys.readouterr().out
