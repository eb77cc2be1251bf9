"""What counts as kept, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest

from demo import summary
from demo.stages import Stage
from demo.terminal import Style
from demo.verdict import Verdict, judge

HEAD, MERGE = "a" * 40, "b" * 40


def entry(seq: int, kind: str, number: int | None = None, **details: Any) -> dict[str, Any]:
    return {"seq": seq, "kind": kind, "number": number, "actor": "agent", "details": details}


def facts(**changes: Any) -> dict[str, Any]:
    return {
        "issue": {"number": 1, "state": "closed"},
        "pulls": [{"number": 2, "merged": True, "html_url": "http://forge/pull/2", "title": "Mend\x1b[2J it",
                   "commits": 3, "merge_commit_sha": MERGE}],
        "mutations": [
            entry(1, "issue.opened", 1, title="It is broken"),
            entry(2, "pull_request.opened", 2, sha="c" * 40),
            entry(3, "check.completed", sha=HEAD, conclusion="SUCCESS", name="tests"),
            entry(4, "pull_request.merged", 2, sha=MERGE, head_sha=HEAD, method="squash"),
            entry(5, "issue.closed", 1, reason="COMPLETED"),
        ],
        "default_branch_head": MERGE,
    } | changes  # fmt: skip


def without(*kinds: str) -> list[dict[str, Any]]:
    return [mutation for mutation in facts()["mutations"] if mutation["kind"] not in kinds]


def test_one_pull_request_one_merge_one_close_is_what_was_promised():
    verdict = judge(**facts())
    assert verdict.ok
    assert verdict.faults == ()
    assert verdict.pull is not None
    assert verdict.pull["number"] == 2


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"issue": {"number": 1, "state": "open"}}, "Issue #1 is still open"),
        ({"mutations": without("pull_request.merged")}, "Merges: 0, not exactly 1"),
        ({"mutations": without("issue.closed")}, "Closes of the issue: 0"),
        ({"mutations": [*facts()["mutations"], entry(6, "pull_request.opened", 3)]}, "Pull requests were opened: 2"),
        ({"mutations": [*facts()["mutations"], entry(6, "pull_request.merged", 2, sha=MERGE, head_sha=HEAD)]}, "Merges: 2"),
        ({"mutations": [*facts()["mutations"], entry(6, "issue.closed", 1)]}, "Closes of the issue: 2"),
        ({"mutations": [entry(0, "issue.closed", 1), *without("issue.closed")]}, "closed before the pull request"),
        ({"default_branch_head": "d" * 40}, "not at the commit that the merge made"),
        ({"mutations": without("check.completed")}, "no check had passed"),
        (
            {"mutations": [*without("check.completed"), entry(9, "check.completed", sha=HEAD, conclusion="SUCCESS")]},
            "no check had passed",
        ),
        (
            {"mutations": [entry(0, "check.completed", sha=HEAD, conclusion="FAILURE", name="docs"), *facts()["mutations"]]},
            "merged although docs ended with FAILURE",
        ),
    ],
)  # fmt: skip
def test_each_deviation_is_a_fault(changes: dict[str, Any], fault: str):
    assert any(fault in found for found in judge(**facts(**changes)).faults)


def test_a_check_that_failed_and_then_passed_is_none():
    failed = entry(2, "check.completed", sha=HEAD, conclusion="FAILURE", name="tests")
    assert judge(**facts(mutations=[failed, *facts()["mutations"]])).ok


def test_the_close_of_another_issue_does_not_count():
    others = [entry(5, "issue.closed", 7)]
    assert not judge(**facts(mutations=[*without("issue.closed"), *others])).ok


def test_a_repository_where_nothing_happened():
    verdict = judge(issue={"number": 1, "state": "open"}, pulls=[], mutations=[], default_branch_head=HEAD)
    assert len(verdict.faults) == 4
    assert verdict.pull is None


def test_success_tells_everything_and_no_escape_sequence_of_others():
    results = {
        "plan": {"agent_version": "2.1.0", "model": "m-1", "ledger": {"usd": 0.5, "model_calls": 3}},
        "fix": {"agent_version": "2.1.0", "model": "m-1", "ledger": {"usd": 0.25, "model_calls": 1}},
        "gate": {"verdict": "done"},
        "none": None,
    }
    seen = [Stage(name=name, state="done") for name in ("plan", "implement 1", "implement 2", "fix 1")]
    stages = [*seen, Stage(name="fix 2", state="pending")]
    text = "\n".join(
        summary.success(judge(**facts()), stages, results, program="Claude Code", seconds=83, style=Style())
    )
    assert "in 1m23s" in text
    assert "http://forge/pull/2" in text
    assert "\x1b" not in text
    assert "Attempts       2" in text
    assert "Fix rounds     1" in text
    assert "$0.7500 in 4 calls" in text
    assert "Claude Code 2.1.0, model m-1" in text
    assert MERGE[:12] in text
    kinds = [
        "issue.opened #1",
        "pull_request.opened #2",
        "check.completed",
        "pull_request.merged #2",
        "issue.closed #1",
    ]
    assert [text.index(kind) for kind in kinds] == sorted(text.index(kind) for kind in kinds)


def test_failure_names_the_task_and_shows_the_end_of_its_log():
    log = "\n".join(f"line {n}\x1b[1A" for n in range(100)) + "\n::endgroup::\n\n"
    task = {"task_id": "land.round_1.gate", "try_number": 2}
    text = "\n".join(summary.failure(["Issue #1 is still open."], task, log, style=Style()))
    assert "Issue #1 is still open." in text
    assert "Task land.round_1.gate failed first (try 2)" in text
    assert "line 99" in text
    assert "line 84" not in text
    assert "line 85" in text
    assert "\x1b" not in text


def test_failure_without_a_failed_task():
    lines = list(summary.failure(["The run did not end within 15 minutes."], None, "", style=Style()))
    assert len(lines) == 2


def test_a_verdict_is_ok_without_faults_only():
    assert not Verdict(faults=("x",), pull=None, mutations=()).ok
