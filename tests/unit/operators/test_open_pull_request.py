from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from fakes import URL, GitHub, TaskInstance, accepted, coding_task, context, pull_request_ref

from airflow_provider_agents.domain.repository_settings import PlatformSettings
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeUnavailableError,
    InvalidInputError,
    TaskStoppedError,
)
from airflow_provider_agents.operators.open_pull_request import OpenPullRequestOperator

RESULT = {"output": {"title": "Mend the basket", "description": "What and why."}}


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> GitHub:
    return GitHub().install(monkeypatch)


def open_it(ti: TaskInstance | None = None, **arguments: Any) -> dict[str, Any]:
    values = {"coding_task": accepted(issue_number=3), "step_results": [None, RESULT]} | arguments
    return OpenPullRequestOperator(task_id="open", **values).execute(context(ti or TaskInstance("open")))


def test_it_opens_what_the_agent_described(github: GitHub) -> None:
    ti = TaskInstance("open")
    assert open_it(ti) == {"number": 7, "url": URL, "head_sha": "a" * 40}
    assert ti.pushed["pull_request_url"] == URL
    (done,) = github.done
    assert done.startswith(
        f"open {coding_task(issue_number=3).work_branch} -> main: Mend the basket\nWhat and why."
    )
    assert "\n\nCloses #3\n\n" in done
    assert done.endswith("<sub>Opened by Airflow: DAG `coding_task`, run `run_1`</sub>")


def test_a_second_try_finds_the_first_ones(github: GitHub) -> None:
    assert open_it() == open_it()
    assert len(github.done) == 1


@pytest.mark.parametrize("state", ["CLOSED", "MERGED"])
def test_a_pull_request_of_an_earlier_life_of_the_branch_stops_the_run(github: GitHub, state: str) -> None:
    branch = coding_task(issue_number=3).work_branch
    github.pull_requests = [pull_request_ref(head_branch=branch, state=state)]
    ti = TaskInstance("open")
    with pytest.raises(TaskStoppedError, match=f"is {state.lower()} already"):
        open_it(ti)
    assert "Choose another work_branch" in ti.pushed["failure"]
    assert ti.pushed["pull_request_url"] == URL
    assert github.done == []


def test_the_last_description_counts(github: GitHub) -> None:
    later = {"output": {"title": "Later", "description": "d"}}
    open_it(step_results=[RESULT, later, {"output": None}, None])
    assert ": Later\n" in github.done[0]


@pytest.mark.parametrize(
    "results", [[], [None], [{}], [{"output": {}}], [{"output": {"title": " <!-- --> "}}]]
)
def test_without_a_description_the_ticket_names_it(github: GitHub, results: list[Any]) -> None:
    open_it(step_results=results)
    assert ": The basket is empty\n" in github.done[0]


def test_nothing_of_the_model_works_as_a_command(github: GitHub) -> None:
    output = {"title": "Fixes #99 @mona", "description": "Closes #98, ask @acme/all <!-- x -->"}
    open_it(step_results=[{"output": output}])
    assert "#99" in github.done[0]
    for live in ("@mona", "@acme", "Fixes #99", "Closes #98", "<!--"):
        assert live not in github.done[0]
    assert "Closes #3" in github.done[0]


def test_a_draft(github: GitHub) -> None:
    open_it(coding_task=accepted(draft=True))
    assert " -> main as a draft: " in github.done[0]
    assert "Closes" not in github.done[0]


def test_alone_in_a_dag(github: GitHub) -> None:
    open_it(
        coding_task=None,
        repository="acme/shop",
        head_branch="topic/x",
        base_branch="release",
        step_results=[],
    )
    assert github.done[0].startswith("open topic/x -> release: Changes of topic/x\n")


def test_missing_arguments_are_named() -> None:
    with pytest.raises(
        InvalidInputError, match="open: give a coding_task, step_results, or repository and head_branch"
    ):
        open_it(coding_task=None)


# Labels of the repository


def labelled(*labels: str) -> dict[str, Any]:
    task = coding_task(issue_number=3)
    changes = {
        "platform": PlatformSettings(labels=labels),
        "settings_origin": {"labels": "repositories.yaml:12"},
    }
    return task.model_copy(update=changes).model_dump(mode="json")


def test_the_labels_of_the_repository_are_put_on(github: GitHub) -> None:
    open_it(coding_task=labelled("by agent", "shop"))
    assert github.done[1:] == ["label acme/shop#7: by agent, shop"]


def test_without_labels_nothing_is_asked(github: GitHub) -> None:
    open_it(coding_task=labelled())
    assert len(github.done) == 1


def test_a_try_that_broke_before_the_labels_is_made_up_for(github: GitHub) -> None:
    github.faults["label"] = ForgeUnavailableError("502")
    ti = TaskInstance("open")
    with pytest.raises(ForgeUnavailableError):
        open_it(ti, coding_task=labelled("a"))
    assert ti.pushed["pull_request_url"] == URL
    github.faults.clear()
    assert open_it(coding_task=labelled("a"))["number"] == 7
    assert [done.split()[0] for done in github.done] == ["open", "label", "label"]


@pytest.mark.parametrize("refusal", [ForgeAccessError, ForgeConflictError])
def test_labels_that_are_refused_say_where_they_are_set(github: GitHub, refusal: type[Exception]) -> None:
    github.faults["label"] = refusal("GitHub said no")
    with pytest.raises(refusal, match=r"^GitHub said no\nThe labels are set in repositories\.yaml:12"):
        open_it(coding_task=labelled("a"))


@pytest.mark.parametrize("refusal", [ForgeAccessError, ForgeConflictError])
def test_a_merge_in_between_needs_no_labels(github: GitHub, refusal: type[Exception]) -> None:
    def merge(what: str) -> None:
        github.pull_requests = [dataclasses.replace(ref, state="MERGED") for ref in github.pull_requests]
        raise refusal("locked")

    github.act = merge  # type: ignore[method-assign]
    assert open_it(coding_task=labelled("a"))["number"] == 7


def test_what_an_app_merged_between_two_tries_is_this_runs_own(github: GitHub) -> None:
    branch = coding_task(issue_number=3).work_branch
    github.pull_requests = [pull_request_ref(head_branch=branch, state="MERGED", head_sha="b" * 40)]
    results = [RESULT | {"head_sha": "b" * 40}, None]
    assert open_it(coding_task=labelled("a"), step_results=results)["head_sha"] == "b" * 40
    assert github.done == []
