"""How a run tells its ticket where it is: one comment, and never a run that fails by it."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.configuration import conf
from fakes import URL, GitHub, TaskInstance, accepted, context, issue

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError
from airflow_provider_agents.operators import ticket_sources, ticket_status
from airflow_provider_agents.operators.finish import ReportOperator
from airflow_provider_agents.operators.read_report import RunTasks, read_report
from airflow_provider_agents.operators.ticket_status import TicketStatusNotifier, tell_end

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from airflow_provider_agents.domain.tickets import Stage

TASKS = RunTasks(
    accept="group.accept",
    workspace="group.workspace",
    open_pull_request="group.open_pull_request",
    steps=("group.plan.round_1.plan", "group.build.attempt_1.implement"),
    gates=("group.land.round_1.gate",),
)


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    github = GitHub().install(monkeypatch)
    github.issues[3] = issue()
    return github


def instance(**xcoms: Any) -> TaskInstance:
    ti = TaskInstance(
        "gate",
        xcoms={
            "group.accept:return_value": accepted(issue_number=3),
            "group.plan.round_1.plan:return_value": {"output": {"summary": "Escape it.", "steps": ["a"]}},
        }
        | xcoms,
    )
    ti.states = {"group.accept": "success", "group.plan.round_1.plan": "success", "other": "failed"}
    return ti


def tell(ti: TaskInstance, headline: str = "The agent works on it.", stage: Stage = "working") -> None:
    TicketStatusNotifier(tasks=TASKS, headline=headline, stage=stage).notify(context(ti, params={}))


def end(ti: TaskInstance, **params: Any) -> None:
    told = context(ti, params=params)
    tell_end(told, TASKS, read_report(told, TASKS), None)


def test_it_tells_the_stages_the_plan_and_what_comes_next(github: GitHub) -> None:
    tell(instance())
    status, moved = github.done
    assert status.startswith("status of acme/shop#3: ")
    assert "● accepted → ● plan → ○ build" in status
    assert "The agent works on it." in status
    assert "Escape it." in status
    assert moved == "move acme/shop#3 to working"


def test_the_end_is_told_with_outcome_cost_and_pull_request(github: GitHub) -> None:
    record = {
        "task": "t",
        "repository": "acme/shop",
        "step": "plan",
        "program": "claude",
        "day": "2026-01-02",
    }
    ti = instance(
        **{
            "group.open_pull_request:return_value": {"number": 7, "url": URL},
            "group.land.round_1.gate:decision": {"verdict": "done", "message": "It is merged."},
            "group.plan.round_1.plan:ledger": [{"pod": "p", "usd": 0.5, "state": "settled"} | record],
        }
    )
    end(ti)
    status, moved = github.done
    assert "Merged. This ticket is done." in status
    assert f"Pull request: {URL}" in status
    assert "cost $0.50" in status
    assert "/agent again" not in status
    assert moved.endswith("to done")


def test_a_run_that_failed_says_why(github: GitHub) -> None:
    ti = instance(**{"group.plan.round_1.plan:failure": "[budget/spent] Nothing is left."})
    ti.states["group.plan.round_1.plan"] = "failed"
    end(ti)
    assert "ended without a merged pull request" in github.done[0]
    assert "Nothing is left" in github.done[0]
    assert github.done[1].endswith("to stopped")


def test_a_run_that_was_not_accepted_is_told_by_its_params(
    github: GitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow_provider_agents.operators.ticket_sources import issues_of

    monkeypatch.setattr(ticket_sources, "load_definition", lambda name: issues_of("acme/shop", name))
    ti = instance(**{"group.accept:return_value": None, "group.accept:failure": "repository: is archived"})
    ti.states = {"group.accept": "failed"}
    params = {
        "repository": "acme/shop",
        "ticket_source": "shop",
        "ticket_id": "acme/shop#3",
        "ticket_asks": ["LE"],
    }
    end(ti, **params)
    assert "is archived" in github.done[0]


def test_without_a_ticket_nobody_is_told(github: GitHub) -> None:
    tell(instance(**{"group.accept:return_value": accepted()}))
    end(instance(**{"group.accept:return_value": None}))
    assert github.done == []


@pytest.mark.parametrize("fault", [ForgeUnavailableError("502"), ForgeAccessError("locked")])
def test_a_tracker_that_is_away_fails_nothing(
    github: GitHub, fault: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    github.issues[3] = fault
    tell(instance())
    assert github.done == []
    assert "could not be told" in capsys.readouterr().out


@pytest.mark.parametrize("fault", [ForgeUnavailableError("502"), ForgeAccessError("locked")])
def test_the_end_is_told_again_where_the_tracker_was_away(github: GitHub, fault: Exception) -> None:
    github.issues[3] = fault
    report = ReportOperator(task_id="report", tasks=TASKS)
    ti = instance()
    with pytest.raises(type(fault)):
        report.execute(context(ti, params={}))
    # What the run came to is there all the same.
    assert ti.pushed["return_value"]["outcome"] == "not merged"
    assert report.retries == 3


def test_after_the_merge_only_the_end_is_told(github: GitHub) -> None:
    merged = {"group.land.round_1.gate:decision": {"verdict": "done", "message": "Merged."}}
    tell(instance(**merged), "Checks and reviews are watched.", stage="in_review")
    assert github.done == []
    end(instance(**merged))
    assert github.done[-1] == "move acme/shop#3 to done"


def test_a_tracker_that_hangs_is_left_before_airflow_ends_the_process(
    github: GitHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Hanging:
        @asynccontextmanager
        async def open(self) -> AsyncIterator[Any]:
            await asyncio.sleep(30)
            yield self

    monkeypatch.setattr(ticket_sources, "source_for", lambda definition: Hanging())
    monkeypatch.setattr(ticket_status, "TELL_SECONDS", 0.05)
    tell(instance())
    assert "its tracker did not answer" in capsys.readouterr().out
    assert conf.getfloat("core", "task_success_overtime") == 20
