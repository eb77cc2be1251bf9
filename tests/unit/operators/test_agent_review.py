"""The review step: one head, its own agent, posted once, and void as soon as the head is another."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, DownstreamTasksSkipped
from fakes import HEAD, NEXT_HEAD, accepted, snapshot
from review_fakes import ReviewGitHub, own_thread

from agent_runner.contract import StepResult, StepSpec, failure
from airflow_provider_agents.domain.pull_request import Comment
from airflow_provider_agents.exceptions import (
    ForgeConflictError,
    ForgeUnavailableError,
    StepFailedError,
    StepInfrastructureError,
)
from airflow_provider_agents.operators import post_review
from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from airflow_provider_agents.operators.review import AgentReviewOperator
from airflow_provider_agents.operators.steps import AgentPlanOperator
from tests.unit.operators.agent_steps import NETWORK, SPENT, Step, clock  # noqa: F401 - a fixture

PULL = {"number": 7, "url": "https://github.com/acme/shop/pull/7", "head_sha": "f" * 40}
DECISION = {"verdict": "review", "reason": "review", "head_sha": HEAD}
FIX = "land.round_1.fix"
FINDING = {
    "path": "src/app.py",
    "line": 3,
    "severity": "high",
    "confidence": 0.9,
    "title": "Divides by zero",
    "body": "When it is empty.",
}
OBJECTS = StepResult(
    outcome="succeeded",
    summary="Done.",
    output={"verdict": "request_changes", "summary": "Not yet.", "findings": [FINDING]},
)
APPROVES = dataclasses.replace(OBJECTS, output={"verdict": "approve", "summary": "Good.", "findings": []})
MOVED = StepResult(outcome="failed", failure=failure("head_moved", "ai/issue-3 is at bbb."))


@pytest.fixture(autouse=True)
def github(monkeypatch: pytest.MonkeyPatch) -> ReviewGitHub:
    async def no_pause(seconds: float) -> None: ...

    monkeypatch.setattr(post_review, "_PAUSE_SECONDS", 0.0)
    return ReviewGitHub().install(monkeypatch)


def review(**arguments: Any) -> Step:
    given = {"pull_request": PULL, "decision": DECISION, "may_fix": True, "coding_task": task()}
    return Step(AgentReviewOperator, **given | arguments)


def task(**request: Any) -> dict[str, Any]:
    return accepted(work_branch="ai/issue-3", review="on_open", **request)


def run(step: Step, result: StepResult = OBJECTS) -> Any:
    step.deferred()
    step.kubernetes.finish(step.kubernetes.only, result, SPENT)
    return step.reenter()


def spec_of(step: Step) -> StepSpec:
    pod = step.kubernetes.pods[step.kubernetes.only]
    return StepSpec.from_json(pod["metadata"]["annotations"][SPEC_ANNOTATION])


def test_it_reads_exactly_the_head_that_the_gate_decided_on() -> None:
    step = review()
    step.deferred()
    spec = spec_of(step)
    assert (spec.step, spec.expected_head, spec.work_branch) == ("review", HEAD, "ai/issue-3")
    assert spec.pull_request is None
    assert spec.output_schema is not None
    assert spec.commit_message is None
    assert "origin/main...HEAD" in spec.prompt
    assert "It mends the basket." in spec.prompt
    assert "Change no file. Nothing of this step is kept but your review." in spec.instructions
    assert "Commit your work" not in spec.instructions


def test_an_objection_is_posted_and_handed_to_the_fix(github: ReviewGitHub) -> None:
    step = review()
    values = run(step)
    assert values["outcome"] == "succeeded"
    (posted,) = github.submitted
    assert (posted.head_sha, posted.event) == (HEAD, "COMMENT")  # its own work
    assert [(remark.path, remark.line) for remark in posted.remarks] == [("src/app.py", 3)]
    found = step.ti.pushed["review"]
    assert (found["head_sha"], found["verdict"], found["summary"]) == (HEAD, "request_changes", "Not yet.")
    assert found["findings"][0]["title"] == "Divides by zero"
    assert len(found["fingerprints"]) == 1
    assert (found["event"], found["reviewer"]) == ("COMMENT", "agents-bot")
    assert step.ti.pushed["feedback"]["conflict"] is False
    assert "Divides by zero" in step.ti.pushed["feedback"]["text"]


def test_an_approval_skips_the_fix() -> None:
    step = review(fix_task=FIX)
    with pytest.raises(DownstreamTasksSkipped) as caught:
        run(step, APPROVES)
    assert list(caught.value.tasks) == [(FIX, -1)]
    assert step.ti.pushed["review"]["verdict"] == "approve"
    assert "feedback" not in step.ti.pushed
    assert step.ti.pushed["return_value"]["outcome"] == "succeeded"


def test_an_objection_lets_the_fix_run_only_where_the_gate_allows_one() -> None:
    step = review(fix_task=FIX)
    run(step)
    assert "feedback" in step.ti.pushed
    step = review(fix_task=FIX, may_fix=False)
    with pytest.raises(DownstreamTasksSkipped):
        run(step)


def test_it_is_skipped_where_the_gate_decided_otherwise(github: ReviewGitHub) -> None:
    step = review(decision={"verdict": "fix", "head_sha": HEAD})
    with pytest.raises(AirflowSkipException):
        step.execute()
    assert step.created() == 0


def test_a_head_that_moved_before_costs_nothing(github: ReviewGitHub) -> None:
    github.snapshots = [snapshot(head_sha=NEXT_HEAD)]
    step = review()
    with pytest.raises(AirflowSkipException, match="void"):
        step.execute()
    assert step.created() == 0


@pytest.mark.parametrize("fix_task", [None, FIX])
def test_a_branch_that_moved_under_the_agent_voids_the_review(
    github: ReviewGitHub, fix_task: str | None
) -> None:
    step = review(fix_task=fix_task)
    with pytest.raises(AirflowSkipException if fix_task is None else DownstreamTasksSkipped):
        run(step, MOVED)
    assert "review" not in step.ti.pushed
    assert github.submitted == []


@pytest.mark.parametrize("values", [{"head_sha": NEXT_HEAD}, {"state": "MERGED"}])
def test_a_pull_request_that_moved_on_gets_no_review(github: ReviewGitHub, values: Any) -> None:
    github.snapshots.append(snapshot(**values))
    step = review()
    with pytest.raises(AirflowSkipException, match="moved on"):
        run(step)
    assert github.submitted == []
    assert "review" not in step.ti.pushed


def test_another_identity_gives_its_verdict(github: ReviewGitHub) -> None:
    github.login = "reviewer-bot"
    step = review(review_conn_id="github_reviewer")
    run(step)
    assert github.submitted[0].event == "REQUEST_CHANGES"
    assert set(github.connections) == {"github_reviewer"}


def test_the_author_by_another_connection_still_only_comments(github: ReviewGitHub) -> None:
    step = review(review_conn_id="github_reviewer", fix_task=FIX)
    with pytest.raises(DownstreamTasksSkipped):
        run(step, APPROVES)
    assert github.submitted[0].event == "COMMENT"


def test_the_connection_that_pushes_only_comments_whoever_opened_it(github: ReviewGitHub) -> None:
    github.snapshots = [snapshot(author="mona")]
    step = review()
    run(step)
    assert github.submitted[0].event == "COMMENT"


def test_words_alone_are_a_comment(github: ReviewGitHub) -> None:
    step = review(fix_task=FIX)
    with pytest.raises(DownstreamTasksSkipped):
        run(step, dataclasses.replace(OBJECTS, output=None, summary="I approve of it."))
    assert step.ti.pushed["review"]["verdict"] == "comment"
    assert "I approve of it." in github.submitted[0].body


def test_infrastructure_is_retried_with_the_same_question(github: ReviewGitHub) -> None:
    step = review()
    with pytest.raises(StepInfrastructureError):
        run(step, NETWORK)
    step.ti.retry()
    asked = step.store.values["review_material_0"]
    github.snapshots = [snapshot(title="Another title")]
    run(step)
    assert step.store.values["review_material_0"] == asked
    assert len(github.submitted) == 1


def test_an_agent_that_fails_fails_the_step() -> None:
    with pytest.raises(StepFailedError):
        run(review(), StepResult(outcome="failed", failure=failure("max_turns", "Too many.")))


def test_a_lost_answer_posts_once_and_pays_once(github: ReviewGitHub) -> None:
    step = review()
    github.refusals = [ForgeUnavailableError("lost")]
    with pytest.raises(ForgeUnavailableError):
        run(step)
    step.ti.retry()
    github.snapshots = [snapshot(title="Another title")]
    step.execute()
    assert step.created() == 1
    assert len(github.submitted) == 1
    assert step.ti.pushed["review"]["verdict"] == "request_changes"


def test_a_clear_reads_the_pull_request_again(github: ReviewGitHub) -> None:
    step = review()
    run(step)
    step.ti.clear(3)
    github.snapshots = [snapshot(title="Another title")]
    step.deferred()
    assert "Another title" in spec_of(step).prompt


def test_a_refused_verdict_becomes_a_comment(github: ReviewGitHub) -> None:
    github.login = "reviewer-bot"
    github.refusals = [ForgeConflictError("Can not approve your own pull request")]
    step = review(review_conn_id="github_reviewer")
    run(step)
    assert [each.event for each in github.submitted] == ["COMMENT"]
    assert step.ti.pushed["review"]["event"] == "COMMENT"


def test_a_refused_comment_is_an_error(github: ReviewGitHub) -> None:
    github.refusals = [ForgeConflictError("locked")]
    with pytest.raises(ForgeConflictError):
        run(review())


def test_a_refusal_because_the_head_moved_voids_the_review(github: ReviewGitHub) -> None:
    github.refusals = [ForgeConflictError("no such commit")]
    github.snapshots = [snapshot(), snapshot(), snapshot(head_sha=NEXT_HEAD)]
    with pytest.raises(AirflowSkipException):
        run(review())
    assert github.submitted == []


def test_without_the_diff_all_stands_in_the_body(github: ReviewGitHub) -> None:
    github.files = ForgeUnavailableError("away")
    run(review())
    assert github.submitted[0].remarks == []
    assert "Divides by zero" in github.submitted[0].body


# Over heads


def earlier(step: Step, finding: dict[str, Any] = FINDING) -> Step:
    step.ti._others["land.round_1.review:review"] = {"head_sha": "0" * 40, "findings": [finding]}
    step.ti._others["land.round_1.fix:return_value"] = {
        "outcome": "succeeded",
        "output": {"summary": "Guarded it."},
    }
    return step


def test_a_later_review_knows_what_was_found_and_answered(github: ReviewGitHub) -> None:
    reply = Comment(author="mona", body="That is on purpose.", can_write=True)
    noise = Comment(author="stranger", body="Approve it!", can_write=False)
    threads = (own_thread("T_1", "**high**: Divides by zero", replies=(reply, noise)),)
    github.snapshots = [snapshot(threads=threads)]
    step = earlier(review(earlier_reviews=["land.round_1.review"], fixes=["land.round_1.fix"]))
    step.deferred()
    prompt = spec_of(step).prompt
    for text in ("Divides by zero", "Guarded it.", "That is on purpose."):
        assert text in prompt
    assert "Approve it!" not in prompt


def test_what_still_stands_is_not_posted_again_but_still_objected_to(github: ReviewGitHub) -> None:
    step = earlier(review(earlier_reviews=["land.round_1.review"]), FINDING | {"line": 8})
    run(step)
    assert github.submitted[0].remarks == []
    assert "1 finding of earlier reviews is still open." in github.submitted[0].body
    assert "Divides by zero" in step.ti.pushed["feedback"]["text"]


def test_threads_are_resolved_when_their_finding_is_gone(github: ReviewGitHub) -> None:
    marked = "**high**: {}\n\n<!-- agents finding -->"
    threads = (
        own_thread("T_stands", marked.format("It divides by zero")),
        own_thread("T_gone", marked.format("Leaks a handle")),
        own_thread("T_other", "Not of a review"),
        dataclasses.replace(
            own_thread("T_person", marked.format("Leaks a handle")),
            comments=(Comment(author="mona", body=marked.format("Leaks a handle"), can_write=True),),
        ),
    )
    github.snapshots = [snapshot(threads=threads)]
    run(review())
    assert github.resolved == ["T_gone"]
    assert github.submitted[0].remarks == []  # stands in a thread already


# Program, model, budget


def test_the_reviewer_has_a_program_a_model_and_turns_of_its_own() -> None:
    step = review(coding_task=task(agent="claude", review_agent="codex", review_model="m-1", review_turns=9))
    step.deferred()
    agent = spec_of(step).agent
    assert (agent.program, agent.model, agent.max_turns) == ("codex", "m-1", 9)


def test_the_model_of_the_installation_is_not_given_to_another_program(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__MODEL", "claude-x")
    step = review(coding_task=task(review_agent="codex"))
    step.deferred()
    assert spec_of(step).agent.model is None
    step = review(coding_task=task())
    step.deferred()
    assert spec_of(step).agent.model == "claude-x"


def test_nothing_that_the_authors_agent_left_reaches_the_reviewer() -> None:
    workspace = {"claim": "agent-issue-3", "namespace": "agents"}
    assert Step(AgentPlanOperator, workspace=workspace).operator._workspace is not None
    step = review(workspace=workspace)
    step.deferred()
    assert "agent-issue-3" not in str(step.kubernetes.pods[step.kubernetes.only])


def test_a_review_never_goes_on_with_the_authors_session() -> None:
    step = review(earlier_steps=[])
    step.deferred()
    first = spec_of(step).session_key
    assert first is not None
    assert spec_of(step).resume_prompt == ""


@pytest.mark.parametrize(("most", "usd"), [(None, 5.0), (2.0, 2.0), (9.0, 5.0)])
def test_its_share_of_the_budget(most: float | None, usd: float) -> None:
    for step in (
        review(coding_task=task(budget_usd=5.0), review_budget_usd=most),
        review(coding_task=task(budget_usd=5.0, review_budget_usd=most)),
    ):
        step.deferred()
        assert step.operator._budget.usd == usd


def test_the_prompt_of_the_run_and_of_the_operator() -> None:
    step = review(coding_task=task(review_prompt="Look at the locking."))
    step.deferred()
    assert "Look at the locking." in spec_of(step).prompt
    step = review(review_prompt="Look at the SQL.")
    step.deferred()
    assert "Look at the SQL." in spec_of(step).prompt


def test_alone_it_reads_the_pull_requests_own_ref(github: ReviewGitHub) -> None:
    looked = {"number": 7, "url": "u", "repository": "acme/shop", "base_branch": "main", "head_sha": HEAD}
    step = Step(AgentReviewOperator, coding_task=None, pull_request=looked, post=False)
    run(step)
    assert github.submitted == []
    assert step.ti.pushed["review"]["verdict"] == "request_changes"
    step.ti.clear(3)
    step.deferred()
    spec = spec_of(step)
    assert (spec.pull_request, spec.expected_head, spec.base_branch) == (7, HEAD, "main")
    assert "Review pull request #7." not in spec.prompt
