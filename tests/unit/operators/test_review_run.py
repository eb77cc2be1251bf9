"""The tasks around the review of any pull request: look, hold, submit."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput
from airflow.sdk.execution_time import hitl
from fakes import HEAD, NEXT_HEAD, Store, TaskInstance, context, snapshot
from review_fakes import ReviewGitHub

from airflow_provider_agents.domain.review import Finding, ReviewOutput
from airflow_provider_agents.exceptions import ForgeUnavailableError, InvalidInputError, TaskStoppedError
from airflow_provider_agents.operators.review_hold import HoldReviewOperator
from airflow_provider_agents.operators.review_look import LookAtPullRequestOperator
from airflow_provider_agents.operators.review_submit import SubmitReviewOperator

CONF = {"repository": "acme/shop", "pull_request_number": 7, "mode": "hold"}
PULL = {
    "repository": "acme/shop",
    "number": 7,
    "url": "https://github.com/acme/shop/pull/7",
    "title": "Mend @mona's basket",
    "mode": "hold",
}
FINDING = Finding(path="src/app.py", line=3, severity="high", confidence=0.9, title="Divides by zero")
REVIEW = {
    "head_sha": HEAD,
    **ReviewOutput(verdict="request_changes", summary="Not yet.", findings=(FINDING,)).to_dict(),
}
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def github(monkeypatch: pytest.MonkeyPatch) -> ReviewGitHub:
    made = ReviewGitHub().install(monkeypatch)
    made.login = "reviewer-bot"
    return made


# Look


def look(github: ReviewGitHub, **conf: Any) -> dict[str, Any]:
    return LookAtPullRequestOperator(task_id="look", conf=CONF | conf).execute(context(TaskInstance("look")))


def test_it_says_what_is_to_be_read(github: ReviewGitHub) -> None:
    found = look(github, model="m-1")
    assert (found["number"], found["head_sha"], found["base_branch"], found["mode"]) == (
        7,
        HEAD,
        "main",
        "hold",
    )
    assert found["fork"] == ""
    assert found["request"]["review_model"] == "m-1"
    assert found["request"]["work_branch"] == "pull/7/head"


def test_a_fork_is_read_too_and_named(github: ReviewGitHub) -> None:
    github.head_repository = "mona/shop"
    assert look(github)["fork"] == "mona/shop"


def test_a_head_that_was_reviewed_is_left_alone(github: ReviewGitHub) -> None:
    body = f"Fine.\n\n<!-- agents review head={HEAD} -->"
    ours = {"user": {"login": "Reviewer-Bot[bot]"}, "body": body, "submitted_at": "2026-01-02T11:00:00Z"}
    github.reviews = [{**ours, "user": {"login": "stranger"}}]
    assert look(github)["head_sha"] == HEAD
    github.reviews = [ours]
    with pytest.raises(AirflowSkipException, match="reviewed once"):
        look(github)


def test_off_asks_nothing_of_github(github: ReviewGitHub) -> None:
    with pytest.raises(AirflowSkipException):
        look(github, mode="off")
    assert github.connections == []


def test_bad_conf_is_named(github: ReviewGitHub) -> None:
    with pytest.raises(InvalidInputError, match="mode"):
        look(github, mode="sometimes")
    github.snapshots = [snapshot(base_branch="odd name")]
    with pytest.raises(InvalidInputError, match="base_branch"):
        look(github)


def test_the_params_of_the_run_are_the_conf(github: ReviewGitHub) -> None:
    operator = LookAtPullRequestOperator(task_id="look", review_conn_id="github_reviewer")
    found = operator.execute(context(TaskInstance("look"), params=CONF | {"prompt": None}))
    assert found["number"] == 7
    assert set(github.connections) == {"github_reviewer"}


def test_the_image_has_the_toolchains_of_the_base(
    github: ReviewGitHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", "registry.example.com/agent:1-{preset}")
    github.snapshots = [snapshot(base_sha="d" * 40)]
    github.root = frozenset({"go.mod"})
    assert look(github)["request"]["image_preset"] == "go"
    assert github.asked == [f"root_files acme/shop {'d' * 40}"]


def test_one_image_for_all_needs_no_toolchains_found(github: ReviewGitHub) -> None:
    github.root = RuntimeError("must not be asked")
    assert "image_preset" not in look(github)["request"]


# Hold


class Hold:
    """One hold over its wakings."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> None:
        self.ti = TaskInstance("hold")
        self.ti.id = uuid.uuid4()  # type: ignore[attr-defined]
        self.store = Store()
        self.arguments: dict[str, Any] = {"pull_request": PULL, "review": REVIEW} | arguments
        self.asked: list[dict[str, Any]] = []
        monkeypatch.setattr(hitl, "upsert_hitl_detail", lambda **values: self.asked.append(values))

    def wake(self, event: dict[str, Any] | None = None) -> dict[str, Any]:
        operator = HoldReviewOperator(task_id="hold", **self.arguments)
        return operator.resume(context(self.ti, self.store), event)

    def waits(self, event: dict[str, Any] | None = None) -> TaskAwaitingInput:
        with pytest.raises(TaskAwaitingInput) as caught:
            self.wake(event)
        return caught.value


def answer(option: str, **fields: Any) -> dict[str, Any]:
    return {
        "chosen_options": [option],
        "params_input": fields,
        "responded_at": NOW,
        "responded_by_user": {"id": "1", "name": "mona"},
    }


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch, github: ReviewGitHub) -> Hold:
    return Hold(monkeypatch)


def test_a_person_is_asked_once_and_looked_after(hold: Hold) -> None:
    assert hold.waits().timeout == timedelta(minutes=10)
    hold.waits({"error": "timeout", "error_type": "timeout"})
    (asked,) = hold.asked
    assert asked["options"] == ["Submit", "Discard"]
    assert "Divides by zero" in asked["body"]
    assert "@mona" not in asked["subject"]


def test_what_was_edited_is_what_is_submitted(hold: Hold) -> None:
    hold.waits()
    comments = json.dumps([{"path": "src/app.py", "line": 2, "body": "Guard it."}])
    draft = hold.wake(answer("Submit", verdict="comment", summary="Mostly fine.", file_comments=comments))
    assert draft == {
        "verdict": "comment",
        "summary": "Mostly fine.",
        "fileComments": [{"path": "src/app.py", "line": 2, "body": "Guard it."}],
        "by": "mona",
    }


def test_an_answer_outlives_a_lost_worker(hold: Hold) -> None:
    hold.waits()
    first = hold.wake(answer("Submit"))
    hold.ti.retry()
    assert hold.wake() == first
    assert first["fileComments"][0]["line"] == 3


def test_discarding_posts_nothing(hold: Hold) -> None:
    hold.waits()
    with pytest.raises(AirflowSkipException, match="mona discarded"):
        hold.wake(answer("Discard"))


def test_what_cannot_be_read_is_kept_for_the_next_asking(hold: Hold) -> None:
    hold.waits()
    with pytest.raises(TaskStoppedError, match="fileComments: not JSON"):
        hold.wake(answer("Submit", summary="Mine.", file_comments="[{"))
    hold.ti.clear(3)
    hold.waits()
    assert hold.asked[-1]["params"]["summary"]["value"] == "Mine."
    assert hold.asked[-1]["params"]["file_comments"]["value"] == "[{"


@pytest.mark.parametrize(
    ("values", "words"), [({"head_sha": NEXT_HEAD}, "stale"), ({"state": "CLOSED"}, "closed")]
)
def test_a_draft_goes_stale(hold: Hold, github: ReviewGitHub, values: Any, words: str) -> None:
    hold.waits()
    github.snapshots = [snapshot(**values)]
    with pytest.raises(AirflowSkipException, match=words):
        hold.wake({"error": "timeout", "error_type": "timeout"})


def test_nobody_answers(hold: Hold) -> None:
    with time_machine.travel(NOW, tick=False):
        hold.waits()
    with time_machine.travel(NOW + timedelta(days=7) - timedelta(minutes=3), tick=False):
        assert hold.waits().timeout == timedelta(minutes=3)
    with time_machine.travel(NOW + timedelta(days=7), tick=False), pytest.raises(AirflowSkipException):
        hold.wake()


def test_other_modes_and_void_reviews_are_not_held(hold: Hold) -> None:
    for changes in ({"pull_request": PULL | {"mode": "post"}}, {"review": None}):
        hold.arguments |= changes
        with pytest.raises(AirflowSkipException):
            hold.wake()
    assert hold.asked == []


# Submit


def submit(**arguments: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"pull_request": PULL | {"mode": "post"}, "review": REVIEW} | arguments
    return SubmitReviewOperator(task_id="post", **given).execute(context(TaskInstance("post")))


DRAFT = {
    "verdict": "approve",
    "summary": "Fine.",
    "fileComments": [{"path": "src/app.py", "line": 2, "body": "Nice."}],
    "by": "mona",
}


def test_the_review_is_posted(github: ReviewGitHub) -> None:
    assert submit()["event"] == "REQUEST_CHANGES"
    assert [remark.line for remark in github.submitted[0].remarks] == [3]


def test_the_draft_is_posted(github: ReviewGitHub) -> None:
    assert submit(pull_request=PULL, draft=DRAFT)["event"] == "APPROVE"
    (posted,) = github.submitted
    assert [(remark.line, remark.body.splitlines()[0]) for remark in posted.remarks] == [(2, "Nice.")]
    assert "submitted by mona" in posted.body


def test_nothing_is_posted_without_a_submission(github: ReviewGitHub) -> None:
    for arguments in ({"pull_request": PULL}, {"review": None}):
        with pytest.raises(AirflowSkipException):
            submit(**arguments)
    assert github.submitted == []


def test_a_stale_review_is_not_posted(github: ReviewGitHub) -> None:
    github.snapshots = [snapshot(head_sha=NEXT_HEAD)]
    with pytest.raises(AirflowSkipException, match="not posted"):
        submit()
    with pytest.raises(TaskStoppedError, match="not posted"):
        submit(pull_request=PULL, draft=DRAFT)
    assert github.submitted == []


def test_our_own_pull_request_is_only_commented_on(github: ReviewGitHub) -> None:
    github.login = "agents-bot"
    assert submit(pull_request=PULL, draft=DRAFT)["event"] == "COMMENT"


def test_github_away_is_for_a_retry(github: ReviewGitHub) -> None:
    github.refusals = [ForgeUnavailableError("away")]
    with pytest.raises(ForgeUnavailableError):
        submit()
    assert submit()["event"] == "REQUEST_CHANGES"
