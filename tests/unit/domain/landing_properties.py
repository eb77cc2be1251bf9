"""What holds of every decision, and the readings, policies and histories that it is drawn from."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from fakes import FAILED, HEAD, NEXT_HEAD, PASSED, PENDING
from hypothesis import strategies as st
from landing_cases import (
    AN_HOUR_AGO,
    APPROVAL,
    ARMED,
    ASKED,
    AUTO,
    ENTERED,
    ENTERED_LONG_AGO,
    EXPLAIN,
    FREEZE,
    FUTURE_PASS,
    GITHUB,
    IN_QUEUE,
    JUST_NOW,
    LATE_PASS,
    LONG_AGO,
    MERGE,
    MINUTES_AGO,
    OBJECTION,
    OLD_RERUN,
    OURS,
    OWN_OBJECTION,
    OWN_THREAD,
    QUEUE,
    QUEUED,
    RERUN,
    RETRY,
    RUNNING,
    STOP,
    STRANGER,
    STRANGERS_STOP,
    STRANGERS_THREAD,
    TELL,
    THAW,
    THREAD,
    TWIN_OBJECTION,
    Changes,
    a_round,
    case,
    removed,
    reviewed,
)

from airflow_provider_agents.domain.authority import is_ours
from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.freeze import frozen_until
from airflow_provider_agents.domain.landing import decide
from airflow_provider_agents.domain.landing_history import (
    Enqueued,
    LandingHistory,
)
from airflow_provider_agents.domain.landing_policy import LandingPolicy

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pull_request import (
        PullRequestSnapshot,
    )


def a_few_of(choices: dict[str, list[Any]]) -> st.SearchStrategy[Changes]:
    """Change up to five things: were all drawn freely, hardly anything would ever be merged."""
    changes = [(name, value) for name, values in choices.items() for value in values]
    return st.lists(st.sampled_from(changes), max_size=5).map(dict)


READINGS = a_few_of(
    {
        "state": ["CLOSED", "MERGED"],
        "head_sha": [NEXT_HEAD],
        "draft": [True],
        "mergeable": ["CONFLICTING", "UNKNOWN"],
        "merge_state": ["BLOCKED", "BEHIND", "UNSTABLE", "UNKNOWN", "HAS_HOOKS", "DIRTY", "DRAFT"],
        "review_decision": ["APPROVED", "CHANGES_REQUESTED", "REVIEW_REQUIRED"],
        "checks": [(), (FAILED,), (PENDING,), (PASSED, FAILED), (RUNNING,), (LATE_PASS,), (FUTURE_PASS,)],
        "required_checks": [frozenset({"tests"}), frozenset({"tests", "deploy"}), frozenset()],
        "failing_on_base": [frozenset({"tests"}), frozenset()],
        "base_sha": ["1", "2"],
        "reviews": [(OBJECTION,), (STRANGER,), (APPROVAL,), (APPROVAL, OBJECTION), (OWN_OBJECTION,), (TWIN_OBJECTION,)],
        "threads": [(THREAD,), (STRANGERS_THREAD,), (STRANGERS_THREAD, THREAD), (OWN_THREAD,)],
        "comments": [(STOP,), (RETRY,), (MERGE,), (TELL,), (EXPLAIN,), (STRANGERS_STOP,), (STOP, RETRY)],
        "labels": [("do-not-merge",), ("Do-Not-Merge", "bug"), ("bug",)],
        "has_merge_queue": [True, True],
        "queue_entry": [QUEUED],
        "queue_removals": [removed("manual"), removed("failed_checks"), removed("QUEUE_CLEARED")],
        "auto_merge_on": [True],
        "auto_merge_allowed": [True, True],
        "missing": [("checks: 502",), ("threads: 502",)],
        "refused": [("checks: forbidden",)],
        "degraded": [("rules: forbidden",)],
    }
)  # fmt: skip
POLICIES = a_few_of(
    {
        "auto_merge": [False],
        "no_checks": ["merge", "wait"],
        "no_checks_grace_seconds": [0],
        "settle_seconds": [0],
        "max_rounds": [0, 1],
        "max_rounds_per_reason": [1],
        "github_auto_merge": [True, True],
        "auto_merge_max_risk": [0, 50],
        "update_branch": [False],
        "hold_labels": [(), ("bug",)],
        "freeze": [FREEZE, THAW, ("at Christmas",)],
        "review": ["on_checks_passed", "on_open", "manual"],
        "rerun_flaky": [False],
    }
)
HISTORIES = a_few_of(
    {
        "heads_first_seen": [{}, {HEAD: JUST_NOW}, {HEAD: MINUTES_AGO}, {HEAD: LONG_AGO, NEXT_HEAD: AN_HOUR_AGO}],
        "rounds": [
            (a_round(),),
            (a_round(after=NEXT_HEAD),),
            (a_round("conflict", NEXT_HEAD, HEAD),),
            (a_round("changes_requested", NEXT_HEAD, HEAD, answered=(OBJECTION.key, THREAD.key)),),
            tuple(a_round(head=sha) for sha in "12345"),
        ],
        "granted_rounds": [1],
        "reruns": [RERUN, OLD_RERUN],
        "enqueued": [ENTERED, ENTERED_LONG_AGO, (*ENTERED, *ENTERED)],
        "auto_merge_asked": [ENTERED],
        "withdrawn": [(Enqueued(head_sha=HEAD, at=JUST_NOW),)],
        "updated_heads": [(HEAD,), tuple("1234567890")],
        "reviews": [reviewed("approve"), reviewed("request_changes"), reviewed("comment", NEXT_HEAD)],
        "risks": [{HEAD: 10}, {HEAD: 90}, {NEXT_HEAD: 0}],
        "broken_base": [{HEAD: "1"}],
        "approved_heads": [frozenset({HEAD}), frozenset({NEXT_HEAD})],
        "review_asked": [frozenset({HEAD})],
        "commands": [frozenset({"C_stop"})],
        "ours": [frozenset({"agents-review"})],
        "since": [JUST_NOW],
    }
)  # fmt: skip
STARTS: list[tuple[Changes, Changes, Changes]] = [
    ({}, {}, {}),
    ({"merge_state": "BEHIND"}, {}, {}),
    (QUEUE, {}, {}),
    (IN_QUEUE, {}, OURS),
    (AUTO, GITHUB, {}),
    (ARMED, GITHUB, ASKED),
]
"""Where a case starts from, before a few things are changed."""
CASES = st.tuples(st.sampled_from(STARTS), READINGS, POLICIES, HISTORIES).map(
    lambda drawn: case(*({**start, **changes} for start, changes in zip(drawn[0], drawn[1:], strict=True)))
)


def holds_what_is_merged_passed_everything(
    s: PullRequestSnapshot, p: LandingPolicy, h: LandingHistory
) -> None:
    """Written from the policy, not from the rules: it uses none of their code but the freeze's."""
    decision = decide(s, p, h)
    if decision.verdict not in ("merge", "enqueue", "enable_auto_merge"):
        return
    told = s.head_sha in h.approved_heads
    assert s.state == "OPEN"
    assert not s.missing
    assert not s.refused
    assert not s.draft
    assert s.mergeable != "CONFLICTING"
    assert all(check.state != "failed" for check in s.checks)
    assert not any(
        r.state == "CHANGES_REQUESTED" and r.can_write and not is_ours(r.author, r.own, h.ours)
        for r in s.reviews
    )
    assert not any(
        t.started_by_writer and not is_ours(t.comments[0].author, t.comments[0].own, h.ours)
        for t in s.threads
    )
    assert not {label.lower() for label in s.labels} & {label.lower() for label in p.hold_labels}
    assert frozen_until(p.freeze, s.read_at) is None
    assert p.auto_merge or told
    assert p.auto_merge_max_risk is None or told or h.risks[s.head_sha] <= p.auto_merge_max_risk
    assert not {"stop", "tell", "retry"} & {command.name for command in pending_commands(s, h)}
    assert s.queue_entry is None
    assert not any(r.head_sha == s.head_sha and r.head_after for r in h.rounds) or told
    if decision.verdict == "enable_auto_merge":
        assert p.github_auto_merge
        assert {check.name for check in s.checks_in("pending")} & (s.required_checks or set())
        return
    assert (decision.verdict == "enqueue") == s.has_merge_queue
    assert s.mergeable == "MERGEABLE"
    assert s.merge_state not in ("UNKNOWN", "DIRTY", "DRAFT")
    assert s.has_merge_queue or s.merge_state not in ("BLOCKED", "BEHIND")
    assert s.review_decision in (None, "APPROVED")
    assert not s.checks_in("pending")
    assert (s.required_checks or frozenset()) <= {check.name for check in s.checks}
    assert s.checks or p.no_checks == "merge" or told
    if p.review != "off" and not told:
        assert [r for r in h.reviews if r.head_sha == s.head_sha][-1].verdict != "request_changes"
    seen = (s.read_at - h.heads_first_seen.get(s.head_sha, s.read_at)).total_seconds()
    assert seen >= (p.settle_seconds if s.checks else p.no_checks_grace_seconds)


def holds_fix_rounds_are_bounded(s: PullRequestSnapshot, p: LandingPolicy, h: LandingHistory) -> None:
    decision = decide(s, p, h)
    if decision.verdict != "fix":
        return
    commands = [command.name for command in pending_commands(s, h)]
    granted = h.granted_rounds + commands.count("retry")
    assert s.state == "OPEN"
    assert len(h.rounds) < p.max_rounds + granted
    # Only what no round was given yet may ask for the same head again.
    if decision.reason != "changes_requested":
        assert h.rounds_for(decision.reason) < p.max_rounds_per_reason + granted
        again = any(r.head_sha == s.head_sha and r.reason == decision.reason for r in h.rounds)
        assert not again or {"retry", "tell"} & set(commands)


def holds_more_history_never_gives_more_rounds(
    s: PullRequestSnapshot, p: LandingPolicy, h: LandingHistory
) -> None:
    """Counters are monotone: a round that was spent is never given back by what comes after it."""
    if decide(s, p, h).reason == "rounds_exhausted":
        more = dataclasses.replace(h, rounds=(*h.rounds, a_round("conflict", "9")))
        assert decide(s, p, more).verdict != "fix"


def holds_same_reading_same_answer(s: PullRequestSnapshot, p: LandingPolicy, h: LandingHistory) -> None:
    decision = decide(s, p, h)
    assert decide(dataclasses.replace(s), p, h) == decision
    assert decide(s, LandingPolicy.from_dict(p.to_dict()), LandingHistory.from_dict(h.to_dict())) == decision
    turned = dataclasses.replace(s, checks=s.checks[::-1], reviews=s.reviews[::-1])
    assert decide(turned, p, h) == decision
    assert decision.message
    assert decision.rule
    assert decision.reason == decision.reason.lower()


def holds_what_is_handed_to_github_is_taken_back(
    s: PullRequestSnapshot, p: LandingPolicy, h: LandingHistory
) -> None:
    """As long as GitHub would merge by itself what we queued, an objection is never waited for or answered."""
    ours = s.queue_entry is not None and any(e.head_sha == s.head_sha for e in h.enqueued)
    against = any(
        r.state == "CHANGES_REQUESTED" and r.can_write and not is_ours(r.author, r.own, h.ours)
        for r in s.reviews
    )
    if s.state == "OPEN" and ours and against and not h.withdrawn:
        assert decide(s, p, h).verdict == "withdraw"


PROPERTIES = (
    holds_what_is_merged_passed_everything,
    holds_fix_rounds_are_bounded,
    holds_more_history_never_gives_more_rounds,
    holds_same_reading_same_answer,
    holds_what_is_handed_to_github_is_taken_back,
)
