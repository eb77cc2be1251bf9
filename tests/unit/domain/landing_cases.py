"""Readings, policies and histories that the tests of the landing decision and the mutation sweep share."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fakes import FAILED, HEAD, NEXT_HEAD, NOW, PASSED, PENDING, URL, snapshot

from airflow_provider_agents.domain.landing import Decision, decide
from airflow_provider_agents.domain.landing_history import (
    AgentReview,
    Enqueued,
    LandingHistory,
    Rerun,
    Round,
)
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.pull_request import (
    Comment,
    PullRequestSnapshot,
    QueueEntry,
    QueueRemoval,
    Review,
    ReviewThread,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

Changes = dict[str, Any]
Case = tuple[PullRequestSnapshot, LandingPolicy, LandingHistory]

LONG_AGO = NOW - timedelta(days=1)
AN_HOUR_AGO = NOW - timedelta(hours=1)
MINUTES_AGO = NOW - timedelta(minutes=5)
JUST_NOW = NOW - timedelta(seconds=5)

OBJECTION = Review(author="olga", state="CHANGES_REQUESTED", can_write=True, body="Not so.")
STRANGER = Review(author="eve", state="CHANGES_REQUESTED", body="Bad.")
APPROVAL = Review(author="mona", state="APPROVED", can_write=True)
STRANGERS_APPROVAL = Review(author="eve", state="APPROVED")
OWN_OBJECTION = Review(author="agents", state="CHANGES_REQUESTED", can_write=True, own=True)
TWIN_OBJECTION = Review(author="Agents-Review", state="CHANGES_REQUESTED", can_write=True)


def thread(author: str, *, node_id: str = "T_1", can_write: bool = True, own: bool = False) -> ReviewThread:
    first = Comment(author=author, body="Why?", can_write=can_write, own=own)
    return ReviewThread(node_id=node_id, path="a.py", line=1, comments=(first,))


THREAD = thread("olga")
STRANGERS_THREAD = thread("eve", node_id="T_2", can_write=False)
OWN_THREAD = thread("agents", node_id="T_3", own=True)


def said(text: str, author: str = "mona", **values: Any) -> Comment:
    facts = {"can_write": True, "node_id": f"C_{text.split()[0][1:]}", "created_at": MINUTES_AGO}
    return Comment(author=author, body=text, **facts | values)


STOP, RETRY, MERGE, REVIEW, EXPLAIN = (said(f"/{w}") for w in ("stop", "retry", "merge", "review", "explain"))
TELL = said("/tell use the other API")
STRANGERS_STOP = said("/stop", author="eve", can_write=False, node_id="C_eve")

QUEUED = QueueEntry(state="QUEUED", position=2)
ENTERED = (Enqueued(head_sha=HEAD, at=MINUTES_AGO),)
ENTERED_LONG_AGO = (Enqueued(head_sha=HEAD, at=AN_HOUR_AGO),)
RUNNING = dataclasses.replace(PENDING, required=True)
LATE_FAILURE = dataclasses.replace(FAILED, completed_at=JUST_NOW)
LATE_PASS = dataclasses.replace(PASSED, completed_at=JUST_NOW)
FUTURE_PASS = dataclasses.replace(PASSED, completed_at=NOW + timedelta(days=1))
RERUN = (Rerun(head_sha=HEAD, at=MINUTES_AGO, checks=("tests",), evidence="It timed out."),)
OLD_RERUN = (Rerun(head_sha=HEAD, at=AN_HOUR_AGO, checks=("tests",), evidence="It timed out."),)
FREEZE = ("2026-01-01/2026-01-03",)
THAW = ("2026-01-03/2026-01-04",)


def removed(reason: str, at: Any = JUST_NOW) -> tuple[QueueRemoval, ...]:
    return (QueueRemoval(at=at, reason=reason, actor="olga"),)


def a_round(
    reason: str = "checks_failed", head: str = HEAD, after: str | None = None, **values: Any
) -> Round:
    return Round(reason=reason, head_sha=head, head_after=after, **values)


def reviewed(verdict: Any, head: str = HEAD) -> tuple[AgentReview, ...]:
    return (AgentReview(head_sha=head, verdict=verdict, summary="Look at the loop."),)


POLICY = LandingPolicy()
SEEN = LandingHistory(heads_first_seen={HEAD: LONG_AGO})


def case(
    reading: Changes | None = None, policy: Changes | None = None, history: Changes | None = None
) -> Case:
    return (
        snapshot(**(reading or {})),
        dataclasses.replace(POLICY, **(policy or {})),
        dataclasses.replace(SEEN, **(history or {})),
    )


def judge(
    reading: Changes | None = None, policy: Changes | None = None, history: Changes | None = None
) -> Decision:
    return decide(*case(reading, policy, history))


_PUSHED = (a_round(after=NEXT_HEAD),)
_STALE = {"rounds": _PUSHED, "heads_first_seen": {HEAD: LONG_AGO, NEXT_HEAD: JUST_NOW}}
_UNDONE = {"rounds": _PUSHED, "heads_first_seen": {HEAD: LONG_AGO, NEXT_HEAD: AN_HOUR_AGO}}
_ON_BASE = {"checks": (FAILED,), "failing_on_base": frozenset({"tests", "lint"})}
_NOT_ON_BASE = {"checks": (FAILED,), "failing_on_base": frozenset({"lint"}), "base_sha": "2"}
_NOTED = {"broken_base": {HEAD: "1"}}
QUEUE = {"has_merge_queue": True}
IN_QUEUE = {"has_merge_queue": True, "queue_entry": QUEUED}
OURS = {"enqueued": ENTERED}
AUTO = {"checks": (RUNNING,), "required_checks": frozenset({"tests"}), "auto_merge_allowed": True}
GITHUB = {"github_auto_merge": True}
_FRESH = {"heads_first_seen": {HEAD: JUST_NOW}}
_LATELY = {"heads_first_seen": {HEAD: MINUTES_AGO}}
_APPROVED = {"approved_heads": frozenset({HEAD})}
ARMED = {"auto_merge_on": True, "checks": (RUNNING,)}
ASKED = {"auto_merge_asked": ENTERED}

TABLE: list[tuple[str, Changes, Changes, Changes, str, str]] = [
    # name, reading, policy, history, verdict, reason
    ("merged", {"state": "MERGED"}, {}, {}, "done", "merged"),
    ("merged, though unreadable", {"state": "MERGED", "missing": ("checks",)}, {}, {}, "done", "merged"),
    ("merged, though told to stop", {"state": "MERGED", "comments": (STOP,)}, {}, {}, "done", "merged"),
    ("closed", {"state": "CLOSED"}, {}, {}, "stop", "closed"),
    ("closed, checks fail", {"state": "CLOSED", "checks": (FAILED,)}, {}, {}, "stop", "closed"),
    # What we handed to GitHub.
    ("queued, nothing against it", IN_QUEUE, {}, OURS, "wait", "queued"),
    ("queued, an objection comes", {**IN_QUEUE, "reviews": (OBJECTION,)}, {}, OURS, "withdraw", "awaiting_reviewer"),
    ("queued, a thread comes", {**IN_QUEUE, "threads": (THREAD,)}, {}, OURS, "withdraw", "awaiting_reviewer"),
    ("queued, a label comes", {**IN_QUEUE, "labels": ("Do-Not-Merge",)}, {}, OURS, "withdraw", "held"),
    ("queued, made a draft", {**IN_QUEUE, "draft": True}, {}, OURS, "withdraw", "draft"),
    ("queued, a freeze begins", IN_QUEUE, {"freeze": FREEZE}, OURS, "withdraw", "frozen"),
    ("queued, a check fails", {**IN_QUEUE, "checks": (FAILED,)}, {}, OURS, "withdraw", "checks_failed"),
    ("queued, told to stop", {**IN_QUEUE, "comments": (STOP,)}, {}, OURS, "withdraw", "told_to_stop"),
    ("queued by a person, a label", {**IN_QUEUE, "labels": ("do-not-merge",)}, {}, {}, "wait", "queued"),
    ("queued as another head", {**IN_QUEUE, "draft": True}, {}, {"enqueued": (Enqueued(head_sha=NEXT_HEAD, at=NOW),)}, "wait", "queued"),
    ("queued, a stranger objects", {**IN_QUEUE, "reviews": (STRANGER,)}, {}, OURS, "wait", "queued"),
    ("withdrawn, still shown", {**IN_QUEUE, "draft": True}, {}, {**OURS, "withdrawn": (Enqueued(head_sha=HEAD, at=JUST_NOW),)}, "wait", "withdrawal_not_shown"),
    ("withdrawn, queued by a person later", {**IN_QUEUE, "draft": True}, {}, {"enqueued": ENTERED_LONG_AGO, "withdrawn": (Enqueued(head_sha=HEAD, at=AN_HOUR_AGO),)}, "wait", "queued"),
    ("withdrawn before this entry", {**IN_QUEUE, "draft": True}, {}, {**OURS, "withdrawn": (Enqueued(head_sha=HEAD, at=AN_HOUR_AGO),)}, "withdraw", "draft"),
    ("withdrawn, no longer against it", QUEUE, {}, {**OURS, "withdrawn": (Enqueued(head_sha=HEAD, at=JUST_NOW),)}, "enqueue", "green"),
    ("armed, a label comes", {**ARMED, "labels": ("do-not-merge",)}, GITHUB, ASKED, "withdraw", "held"),
    ("armed, a check that is not required fails", {**ARMED, "checks": (RUNNING, FAILED)}, GITHUB, ASKED, "withdraw", "checks_failed"),
    ("armed, a new head of unknown risk", ARMED, {**GITHUB, "auto_merge_max_risk": 50}, ASKED, "note", "risk_unknown"),
    ("armed, a new head of high risk", ARMED, {**GITHUB, "auto_merge_max_risk": 50}, {**ASKED, "risks": {HEAD: 51}}, "withdraw", "risk"),
    ("armed by a person, a label", {**ARMED, "labels": ("do-not-merge",)}, {}, {}, "wait", "checks_running"),
    # Commands.
    ("told to stop", {"comments": (STOP,)}, {}, {}, "stop", "told_to_stop"),
    ("a stranger says stop", {"comments": (STRANGERS_STOP,)}, {}, {}, "merge", "green"),
    ("told to stop, carried out", {"comments": (STOP,)}, {}, {"commands": frozenset({"C_stop"})}, "merge", "green"),
    ("told to stop in an earlier run", {"comments": (STOP,)}, {}, {"since": JUST_NOW}, "merge", "green"),
    ("stop, then retry", {"comments": (STOP, RETRY)}, {}, {}, "fix", "changes_requested"),
    ("stop, then merge", {"comments": (STOP, MERGE)}, {}, {}, "obey", "told"),
    ("stop, then a question", {"comments": (STOP, EXPLAIN)}, {}, {}, "stop", "told_to_stop"),
    ("retry, then stop", {"comments": (RETRY, STOP)}, {}, {}, "stop", "told_to_stop"),
    ("explain", {"comments": (EXPLAIN,)}, {}, {}, "obey", "told"),
    ("explain, unreadable", {"comments": (EXPLAIN,), "missing": ("checks: 502",)}, {}, {}, "obey", "told"),
    ("review", {"comments": (REVIEW,)}, {}, {}, "obey", "told"),
    ("merge", {"comments": (MERGE,), "checks": (FAILED,)}, {}, {}, "obey", "told"),
    ("merge, by our second identity", {"comments": (MERGE,)}, {}, {"ours": frozenset({"Mona"})}, "merge", "green"),
    ("tell", {"comments": (TELL,)}, {}, {}, "fix", "changes_requested"),
    ("retry a head that a round left", {"comments": (RETRY,), "checks": (FAILED,)}, {}, {"rounds": (a_round(),)}, "fix", "changes_requested"),
    ("retry when rounds are used up", {"comments": (RETRY,), "checks": (FAILED,)}, {"max_rounds": 1}, {"rounds": (a_round(),)}, "fix", "changes_requested"),
    ("tell when rounds are used up", {"comments": (TELL,), "checks": (FAILED,)}, {"max_rounds": 1}, {"rounds": (a_round(),)}, "escalate", "rounds_exhausted"),
    ("retry a conflict that a round left", {"comments": (RETRY,), "mergeable": "CONFLICTING"}, {}, {"rounds": (a_round("conflict"),)}, "fix", "conflict"),
    ("retry answered", {"comments": (RETRY,)}, {}, {"rounds": (a_round(head=NEXT_HEAD, answered=("C_retry",)),)}, "merge", "green"),
    # Readings.
    ("no right to read the checks", {"checks": (), "refused": ("checks: forbidden",)}, {}, {}, "escalate", "refused"),
    ("checks unreadable", {"checks": (), "missing": ("checks: 502",)}, {}, {}, "wait", "incomplete"),
    ("reviews unreadable, checks green", {"missing": ("reviews: 502",)}, {}, {}, "wait", "incomplete"),
    ("rules unreadable", {"degraded": ("rules: forbidden",)}, {}, {}, "merge", "green"),
    ("the head before the push", {"checks": (FAILED,)}, {}, _STALE, "wait", "push_not_shown"),
    ("the head before the push, never another", {"checks": (FAILED,)}, {}, _UNDONE, "escalate", "push_undone"),
    ("the push undone, told to retry", {"checks": (FAILED,), "comments": (RETRY,)}, {}, _UNDONE, "fix", "changes_requested"),
    ("the push undone, told to merge", {}, {}, {**_UNDONE, **_APPROVED}, "merge", "green"),
    ("the push undone, then nothing pushed", {"checks": (FAILED,)}, {}, {**_UNDONE, "rounds": (*_PUSHED, a_round(head=NEXT_HEAD))}, "escalate", "push_undone"),
    ("the pushed head", {"head_sha": NEXT_HEAD}, {}, _UNDONE, "merge", "green"),
    ("the pushed head, which a round left", {"head_sha": NEXT_HEAD, "checks": (FAILED,)}, {}, {**_UNDONE, "rounds": (*_PUSHED, a_round(head=NEXT_HEAD))}, "escalate", "no_progress"),
    ("a person's head after the push", {"head_sha": "c" * 40}, {}, {"rounds": _PUSHED, "heads_first_seen": {"c" * 40: LONG_AGO}}, "merge", "green"),
    # Work for the agent.
    ("conflict", {"mergeable": "CONFLICTING"}, {}, {}, "fix", "conflict"),
    ("conflict before running checks", {"mergeable": "CONFLICTING", "checks": (PENDING,)}, {}, {}, "fix", "conflict"),
    ("conflict that a round left", {"mergeable": "CONFLICTING"}, {}, {"rounds": (a_round("conflict"),)}, "escalate", "no_progress"),
    ("objection with green checks", {"reviews": (OBJECTION,)}, {}, {}, "fix", "changes_requested"),
    ("objection, checks running", {"reviews": (OBJECTION,), "checks": (PENDING,)}, {}, {}, "fix", "changes_requested"),
    ("objection beside a later approval by another", {"reviews": (OBJECTION, APPROVAL), "review_decision": "APPROVED"}, {}, {}, "fix", "changes_requested"),
    ("objection of an app with write access", {"reviews": (dataclasses.replace(OBJECTION, author="lint[bot]"),)}, {}, {}, "fix", "changes_requested"),
    ("open thread of a writer", {"threads": (THREAD,)}, {}, {}, "fix", "changes_requested"),
    ("answered objection", {"reviews": (OBJECTION,)}, {}, {"rounds": (a_round(head=NEXT_HEAD, answered=(OBJECTION.key,)),)}, "wait", "awaiting_reviewer"),
    ("answered thread", {"threads": (THREAD,)}, {}, {"rounds": (a_round(head=NEXT_HEAD, answered=(THREAD.key,)),)}, "wait", "awaiting_reviewer"),
    ("answered objection, told to merge", {"reviews": (OBJECTION,)}, {}, {"rounds": (a_round(head=NEXT_HEAD, answered=(OBJECTION.key,)),), **_APPROVED}, "wait", "awaiting_reviewer"),
    ("new objection on a head that a round left", {"reviews": (OBJECTION,)}, {}, {"rounds": (a_round("changes_requested"),)}, "fix", "changes_requested"),
    ("objections beyond the rounds for one reason", {"reviews": (OBJECTION,)}, {"max_rounds_per_reason": 1}, {"rounds": (a_round("changes_requested", NEXT_HEAD),)}, "fix", "changes_requested"),
    ("stranger's objection", {"reviews": (STRANGER,)}, {}, {}, "merge", "green"),
    ("stranger's thread", {"threads": (STRANGERS_THREAD,)}, {}, {}, "merge", "green"),
    ("our own objection", {"reviews": (OWN_OBJECTION,)}, {}, {}, "merge", "green"),
    ("our own thread", {"threads": (OWN_THREAD,)}, {}, {}, "merge", "green"),
    ("our second identity's objection", {"reviews": (TWIN_OBJECTION,)}, {}, {"ours": frozenset({"agents-review"})}, "merge", "green"),
    ("our second identity's thread", {"threads": (thread("agents-review"),)}, {}, {"ours": frozenset({"agents-review"})}, "merge", "green"),
    # Checks.
    ("failing check", {"checks": (FAILED, PASSED)}, {}, {}, "fix", "checks_failed"),
    ("failing check, told to merge", {"checks": (FAILED,)}, {}, _APPROVED, "fix", "checks_failed"),
    ("one fails, one runs", {"checks": (FAILED, PENDING)}, {}, {}, "wait", "checks_running"),
    ("running check", {"checks": (PENDING, PASSED)}, {}, {}, "wait", "checks_running"),
    ("fails on the base too", _ON_BASE, {}, {}, "note", "base_broken"),
    ("fails on the base too, noted", _ON_BASE, {}, _NOTED, "wait", "base_broken"),
    ("fails on the base too, noted for another head", _ON_BASE, {}, {"broken_base": {NEXT_HEAD: "1"}}, "note", "base_broken"),
    ("one fails on the base, one here", {"checks": (FAILED, dataclasses.replace(FAILED, name="unit")), "failing_on_base": frozenset({"tests"})}, {}, {}, "fix", "checks_failed"),
    ("fails on the base too, one runs", {**_ON_BASE, "checks": (FAILED, PENDING)}, {}, _NOTED, "wait", "checks_running"),
    ("base mended", _NOT_ON_BASE, {}, _NOTED, "update_branch", "base_mended"),
    ("base mended, one runs", {**_NOT_ON_BASE, "checks": (FAILED, PENDING)}, {}, _NOTED, "wait", "checks_running"),
    ("base mended, branches stay as they are", _NOT_ON_BASE, {"update_branch": False}, _NOTED, "fix", "checks_failed"),
    ("base green again without a commit", {**_NOT_ON_BASE, "base_sha": "1"}, {}, _NOTED, "fix", "checks_failed"),
    ("base unreadable after it was broken", {"checks": (FAILED,)}, {}, _NOTED, "wait", "base_broken"),
    ("base mended, update asked for", _NOT_ON_BASE, {}, {**_NOTED, "updated_heads": (HEAD,), **_LATELY}, "wait", "update_not_shown"),
    ("base mended, checks passed", {"failing_on_base": frozenset(), "base_sha": "2"}, {}, _NOTED, "merge", "green"),
    ("second run not shown", {"checks": (FAILED,)}, {}, {"reruns": RERUN}, "wait", "rerun_not_shown"),
    ("second run of another check", {"checks": (dataclasses.replace(FAILED, name="unit"),)}, {}, {"reruns": RERUN}, "fix", "checks_failed"),
    ("second run of another head", {"checks": (FAILED,)}, {}, {"reruns": (dataclasses.replace(RERUN[0], head_sha=NEXT_HEAD),)}, "fix", "checks_failed"),
    ("second run never shown", {"checks": (FAILED,)}, {}, {"reruns": OLD_RERUN}, "fix", "checks_failed"),
    ("second run failed too", {"checks": (LATE_FAILURE,)}, {}, {"reruns": RERUN}, "fix", "checks_failed"),
    ("second run passed", {}, {}, {"reruns": RERUN}, "merge", "green"),
    ("fix changed nothing", {"checks": (FAILED,)}, {}, {"rounds": (a_round(),)}, "escalate", "no_progress"),
    ("conflict round changed nothing, checks fail", {"checks": (FAILED,)}, {}, {"rounds": (a_round("conflict"),)}, "fix", "checks_failed"),
    ("fix gave a new head", {"checks": (FAILED,)}, {}, {"rounds": (a_round(head=NEXT_HEAD),)}, "fix", "checks_failed"),
    ("rounds used up", {"checks": (FAILED,)}, {"max_rounds": 2}, {"rounds": (a_round(head="1"), a_round("conflict", "2"))}, "escalate", "rounds_exhausted"),
    ("no rounds wanted", {"checks": (FAILED,)}, {"max_rounds": 0}, {}, "escalate", "rounds_exhausted"),
    ("a round left", {"checks": (FAILED,)}, {"max_rounds": 2}, {"rounds": (a_round(head="1"),)}, "fix", "checks_failed"),
    ("rounds used up, one granted", {"checks": (FAILED,)}, {"max_rounds": 1}, {"rounds": (a_round("conflict", "1"),), "granted_rounds": 1}, "fix", "checks_failed"),
    ("rounds for one reason used up", {"checks": (FAILED,)}, {"max_rounds_per_reason": 1}, {"rounds": (a_round(head="1"),)}, "escalate", "rounds_exhausted"),
    ("rounds for another reason used up", {"checks": (FAILED,)}, {"max_rounds_per_reason": 1}, {"rounds": (a_round("conflict", "1"),)}, "fix", "checks_failed"),
    # The merge queue.
    ("green, merge queue", QUEUE, {}, {}, "enqueue", "green"),
    ("merge queue, BLOCKED is its own", {**QUEUE, "merge_state": "BLOCKED"}, {}, {}, "enqueue", "green"),
    ("merge queue, BEHIND is its business", {**QUEUE, "merge_state": "BEHIND"}, {}, {}, "enqueue", "green"),
    ("entry not shown", QUEUE, {}, OURS, "wait", "queue_not_shown"),
    ("entry never shown", QUEUE, {}, {"enqueued": ENTERED_LONG_AGO}, "enqueue", "green"),
    ("ejected", {**QUEUE, "queue_removals": removed("failed_checks")}, {}, OURS, "fix", "queue_ejected"),
    ("ejected, no reason", {**QUEUE, "queue_removals": removed("")}, {}, OURS, "fix", "queue_ejected"),
    ("ejected before", {**QUEUE, "queue_removals": removed("failed_checks", AN_HOUR_AGO)}, {}, OURS, "wait", "queue_not_shown"),
    ("ejected, and a round left it", {**QUEUE, "queue_removals": removed("failed_checks")}, {}, {**OURS, "rounds": (a_round("queue_ejected"),)}, "escalate", "no_progress"),
    ("ejected without fault", {**QUEUE, "queue_removals": removed("QUEUE_CLEARED")}, {}, OURS, "enqueue", "green"),
    ("taken out by hand", {**QUEUE, "queue_removals": removed("manual")}, {}, OURS, "escalate", "dequeued"),
    ("taken out by hand, told to merge", {**QUEUE, "queue_removals": removed("manual")}, {}, {**OURS, **_APPROVED}, "enqueue", "green"),
    ("removed by its merge", {**QUEUE, "queue_removals": removed("MERGED")}, {}, OURS, "wait", "queue_not_shown"),
    ("removed by a merge that never shows", {**QUEUE, "queue_removals": removed("MERGED", AN_HOUR_AGO)}, {}, {"enqueued": ENTERED_LONG_AGO}, "enqueue", "green"),
    ("ejected twice", {**QUEUE, "queue_removals": removed("QUEUE_CLEARED")}, {}, {"enqueued": (*ENTERED, *ENTERED)}, "escalate", "queue_gave_up"),
    ("withdrawn twice", QUEUE, {}, {"enqueued": (*ENTERED, *ENTERED), "withdrawn": (*ENTERED, *ENTERED)}, "enqueue", "green"),
    # GitHub's auto-merge.
    ("auto-merge while required checks run", AUTO, GITHUB, {}, "enable_auto_merge", "auto_merge"),
    ("auto-merge, not asked for", AUTO, {}, {}, "wait", "checks_running"),
    ("auto-merge, not allowed", {**AUTO, "auto_merge_allowed": False}, GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, nothing required", {**AUTO, "required_checks": frozenset()}, GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, rules unreadable", {**AUTO, "required_checks": None}, GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, the required one is through", {**AUTO, "checks": (PENDING, dataclasses.replace(PASSED, name="lint")), "required_checks": frozenset({"lint"})}, GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, one failed", {**AUTO, "checks": (RUNNING, dataclasses.replace(FAILED, name="lint"))}, GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, on already", {**AUTO, "auto_merge_on": True}, GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, asked for already", AUTO, GITHUB, ASKED, "wait", "checks_running"),
    ("auto-merge, a merge queue", {**AUTO, **QUEUE}, GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, the review agent has a say", AUTO, {**GITHUB, "review": "on_checks_passed"}, {}, "wait", "checks_running"),
    ("auto-merge, a draft", {**AUTO, "draft": True}, GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, people merge", AUTO, {**GITHUB, "auto_merge": False}, {}, "wait", "checks_running"),
    ("auto-merge, an answered objection", {**AUTO, "reviews": (OBJECTION,)}, GITHUB, {"rounds": (a_round(head=NEXT_HEAD, answered=(OBJECTION.key,)),)}, "wait", "checks_running"),
    ("auto-merge, risk unknown", AUTO, {**GITHUB, "auto_merge_max_risk": 50}, {}, "note", "risk_unknown"),
    ("auto-merge has it", {"auto_merge_on": True, "merge_state": "UNSTABLE"}, GITHUB, {}, "wait", "auto_merge_on"),
    ("auto-merge leaves it", {"auto_merge_on": True}, GITHUB, {}, "merge", "green"),
    ("auto-merge turned off", {"merge_state": "UNSTABLE"}, GITHUB, {}, "merge", "green"),
    ("a person's auto-merge", {"auto_merge_on": True, "merge_state": "UNSTABLE"}, {}, {}, "merge", "green"),
    # No checks.
    ("no check yet", {"checks": ()}, {}, _FRESH, "wait", "no_checks_yet"),
    ("no check yet, merge asked for", {"checks": ()}, {"no_checks": "merge"}, _FRESH, "wait", "no_checks_yet"),
    ("no check yet, told to merge", {"checks": ()}, {}, {**_FRESH, **_APPROVED}, "wait", "no_checks_yet"),
    ("a head never seen", {"checks": ()}, {}, {"heads_first_seen": {}}, "wait", "no_checks_yet"),
    ("never a check", {"checks": ()}, {}, {}, "escalate", "no_checks"),
    ("never a check, wait", {"checks": ()}, {"no_checks": "wait"}, {}, "wait", "no_checks"),
    ("never a check, merge", {"checks": ()}, {"no_checks": "merge"}, {}, "merge", "green"),
    ("never a check, merge at once", {"checks": ()}, {"no_checks": "merge", "no_checks_grace_seconds": 0}, _FRESH, "merge", "green"),
    ("never a check, told to merge", {"checks": ()}, {}, _APPROVED, "merge", "green"),
    ("settling", {"checks": (LATE_PASS,)}, {}, {}, "wait", "settling"),
    ("settling, times unknown", {}, {}, _FRESH, "wait", "settling"),
    ("settling, no time asked for", {"checks": (LATE_PASS,)}, {"settle_seconds": 0}, {}, "merge", "green"),
    ("a check of another app with a clock of its own", {"checks": (FUTURE_PASS,)}, {}, {}, "merge", "green"),
    ("required, not started", {"required_checks": frozenset({"tests", "deploy"})}, {}, _LATELY, "wait", "required_missing"),
    ("required, never started", {"required_checks": frozenset({"tests", "deploy"})}, {}, {}, "escalate", "required_missing"),
    ("required, passed", {"required_checks": frozenset({"tests"})}, {}, {}, "merge", "green"),
    ("mergeability unknown", {"mergeable": "UNKNOWN"}, {}, {}, "wait", "mergeability_unknown"),
    ("merge state unknown", {"merge_state": "UNKNOWN"}, {}, {}, "wait", "mergeability_unknown"),
    ("mergeable and dirty", {"merge_state": "DIRTY"}, {}, {}, "wait", "mergeability_unknown"),
    # The review agent.
    ("review wanted", {}, {"review": "on_checks_passed"}, {}, "review", "review"),
    ("review wanted, checks running", {"checks": (PENDING,)}, {"review": "on_checks_passed"}, {}, "wait", "checks_running"),
    ("review on open, checks running", {"checks": (PENDING,)}, {"review": "on_open"}, {}, "review", "review"),
    ("review on open, done", {"checks": (PENDING,)}, {"review": "on_open"}, {"reviews": reviewed("approve")}, "wait", "checks_running"),
    ("review by command", {}, {"review": "manual"}, {}, "wait", "review_by_command"),
    ("review by command, asked for", {}, {"review": "manual"}, {"review_asked": frozenset({HEAD})}, "review", "review"),
    ("review of another head", {}, {"review": "on_checks_passed"}, {"reviews": reviewed("approve", NEXT_HEAD)}, "review", "review"),
    ("review, told to merge", {}, {"review": "on_checks_passed"}, _APPROVED, "merge", "green"),
    ("review approves", {}, {"review": "on_checks_passed"}, {"reviews": reviewed("approve")}, "merge", "green"),
    ("review objected, before it was turned off", {}, {}, {"reviews": reviewed("request_changes")}, "merge", "green"),
    ("review comments", {}, {"review": "on_checks_passed"}, {"reviews": reviewed("comment")}, "merge", "green"),
    ("review objects", {}, {"review": "on_checks_passed"}, {"reviews": reviewed("request_changes")}, "fix", "review_agent"),
    ("review objects, then approves", {}, {"review": "on_checks_passed"}, {"reviews": (*reviewed("request_changes"), *reviewed("approve"))}, "merge", "green"),
    ("review objects, told to merge", {}, {"review": "on_checks_passed"}, {"reviews": reviewed("request_changes"), **_APPROVED}, "merge", "green"),
    ("review objects too often", {}, {"review": "on_checks_passed", "max_rounds_per_reason": 1}, {"reviews": reviewed("request_changes"), "rounds": (a_round("review_agent", "1"),)}, "escalate", "rounds_exhausted"),
    # People and the calendar.
    ("draft", {"draft": True}, {}, {}, "wait", "draft"),
    ("draft, told to merge", {"draft": True}, {}, _APPROVED, "wait", "draft"),
    ("draft by its merge state", {"merge_state": "DRAFT"}, {}, {}, "wait", "draft"),
    ("draft with a failing check", {"draft": True, "checks": (FAILED,)}, {}, {}, "fix", "checks_failed"),
    ("held", {"labels": ("bug", "DO-not-merge")}, {}, {}, "wait", "held"),
    ("held, told to merge", {"labels": ("do-not-merge",)}, {}, _APPROVED, "wait", "held"),
    ("labelled otherwise", {"labels": ("do-not-merge",)}, {"hold_labels": ("hold",)}, {}, "merge", "green"),
    ("review required", {"review_decision": "REVIEW_REQUIRED"}, {}, {}, "wait", "review_required"),
    ("review required, told to merge", {"review_decision": "REVIEW_REQUIRED"}, {}, _APPROVED, "wait", "review_required"),
    ("a stranger's approval", {"review_decision": "REVIEW_REQUIRED", "reviews": (STRANGERS_APPROVAL,)}, {}, {}, "wait", "review_required"),
    ("rules see an objection", {"review_decision": "CHANGES_REQUESTED"}, {}, {}, "wait", "review_required"),
    ("auto_merge off", {}, {"auto_merge": False}, {}, "wait", "merge_by_person"),
    ("auto_merge off, told to merge", {}, {"auto_merge": False}, _APPROVED, "merge", "green"),
    ("auto_merge off, told to merge another head", {}, {"auto_merge": False}, {"approved_heads": frozenset({NEXT_HEAD})}, "wait", "merge_by_person"),
    ("risk not known", {}, {"auto_merge_max_risk": 50}, {}, "note", "risk_unknown"),
    ("risk of another head", {}, {"auto_merge_max_risk": 50}, {"risks": {NEXT_HEAD: 1}}, "note", "risk_unknown"),
    ("failed, overridden by a person", {"checks": (FAILED,)}, {}, {"overridden": {HEAD: ("tests",)}}, "merge", "green"),
    ("failed, another one overridden", {"checks": (FAILED,)}, {}, {"overridden": {HEAD: ("docs",)}}, "fix", "checks_failed"),
    ("failed, overridden for another head", {"checks": (FAILED,)}, {}, {"overridden": {NEXT_HEAD: ("tests",)}}, "fix", "checks_failed"),
    ("pending, overridden", {"checks": (PENDING,)}, {}, {"overridden": {HEAD: ("tests",)}}, "wait", "checks_running"),
    ("risk too high", {}, {"auto_merge_max_risk": 50}, {"risks": {HEAD: 51}}, "wait", "risk"),
    ("risk too high, told to merge", {}, {"auto_merge_max_risk": 50}, {"risks": {HEAD: 51}, **_APPROVED}, "merge", "green"),
    ("risk at the limit", {}, {"auto_merge_max_risk": 50}, {"risks": {HEAD: 50}}, "merge", "green"),
    ("risk does not matter", {}, {}, {"risks": {HEAD: 100}}, "merge", "green"),
    ("frozen", {}, {"freeze": FREEZE}, {}, "wait", "frozen"),
    ("frozen, told to merge", {}, {"freeze": FREEZE}, _APPROVED, "wait", "frozen"),
    ("frozen later", {}, {"freeze": THAW}, {}, "merge", "green"),
    ("freeze that nobody can read", {}, {"freeze": ("at Christmas",)}, {}, "escalate", "freeze_malformed"),
    # GitHub's last words.
    ("behind its base", {"merge_state": "BEHIND"}, {}, {}, "update_branch", "behind"),
    ("behind, branches stay as they are", {"merge_state": "BEHIND"}, {"update_branch": False}, {}, "wait", "behind"),
    ("behind, update asked for", {"merge_state": "BEHIND"}, {}, {"updated_heads": (HEAD,), **_LATELY}, "wait", "update_not_shown"),
    ("behind, update never shown", {"merge_state": "BEHIND"}, {}, {"updated_heads": (HEAD,)}, "escalate", "update_not_shown"),
    ("behind for the tenth time", {"merge_state": "BEHIND"}, {}, {"updated_heads": tuple("123456789")}, "update_branch", "behind"),
    ("behind for the eleventh time", {"merge_state": "BEHIND"}, {}, {"updated_heads": tuple("1234567890")}, "escalate", "updates_exhausted"),
    ("blocked by a rule", {"merge_state": "BLOCKED"}, {}, _LATELY, "wait", "blocked"),
    ("blocked by a rule for long", {"merge_state": "BLOCKED"}, {}, {}, "escalate", "blocked"),
    ("unstable", {"merge_state": "UNSTABLE"}, {}, {}, "merge", "green"),
    ("green", {}, {}, {}, "merge", "green"),
    ("green and approved", {"reviews": (APPROVAL,), "review_decision": "APPROVED"}, {}, {}, "merge", "green"),
]  # fmt: skip

_MANUAL_REMOVAL = {"queue_removals": removed("manual")}
PRIORITIES: list[tuple[str, str, Changes, Changes, Changes]] = [
    # first, second, and a case in which both apply
    ("closed", "withdraw", {**IN_QUEUE, "state": "CLOSED", "draft": True}, {}, OURS),
    ("withdraw", "stopped", {**IN_QUEUE, "comments": (STOP,)}, {}, OURS),
    ("stopped", "told", {"comments": (EXPLAIN, STOP)}, {}, {}),
    ("told", "refused", {"comments": (EXPLAIN,), "refused": ("checks",)}, {}, {}),
    ("refused", "incomplete", {"refused": ("checks",), "missing": ("reviews",)}, {}, {}),
    ("incomplete", "outdated_reading", {"missing": ("reviews",)}, {}, _UNDONE),
    ("outdated_reading", "conflicting", {"mergeable": "CONFLICTING"}, {}, _STALE),
    ("conflicting", "changes_requested", {"mergeable": "CONFLICTING", "reviews": (OBJECTION,)}, {}, {}),
    ("changes_requested", "broken_base", {**_ON_BASE, "reviews": (OBJECTION,)}, {}, {}),
    ("broken_base", "mended_base", {**_ON_BASE, "base_sha": "2"}, {}, _NOTED),
    ("mended_base", "rerun_not_shown", _NOT_ON_BASE, {}, {**_NOTED, "reruns": RERUN}),
    ("rerun_not_shown", "checks_failed", {"checks": (FAILED,)}, {}, {"reruns": RERUN}),
    ("checks_failed", "ejected", {"checks": (FAILED,), **_MANUAL_REMOVAL}, {}, OURS),
    ("ejected", "auto_merge_possible", {**AUTO, **_MANUAL_REMOVAL}, GITHUB, OURS),
    ("review_on_open", "checks_running", {"checks": (PENDING,)}, {"review": "on_open"}, {}),
    ("settling", "required_missing", {"checks": (LATE_PASS,), "required_checks": frozenset({"x"})}, {}, {}),
    ("required_missing", "unknown_mergeability", {"required_checks": frozenset({"x"}), "mergeable": "UNKNOWN"}, {}, {}),
    ("unknown_mergeability", "review_wanted", {"mergeable": "UNKNOWN"}, {"review": "on_checks_passed"}, {}),
    ("review_objects", "awaiting_reviewer", {"reviews": (OBJECTION,)}, {"review": "on_checks_passed"}, {"reviews": reviewed("request_changes"), "rounds": (a_round(head="1", answered=(OBJECTION.key,)),)}),
    ("awaiting_reviewer", "queued", {**IN_QUEUE, "reviews": (OBJECTION,)}, {}, {"rounds": (a_round(head="1", answered=(OBJECTION.key,)),)}),
    ("queued", "draft", {**IN_QUEUE, "draft": True}, {}, {}),
    ("draft", "held", {"draft": True, "labels": ("do-not-merge",)}, {}, {}),
    ("held", "unapproved", {"labels": ("do-not-merge",), "review_decision": "REVIEW_REQUIRED"}, {}, {}),
    ("unapproved", "merge_by_person", {"review_decision": "REVIEW_REQUIRED"}, {"auto_merge": False}, {}),
    ("merge_by_person", "risky", {}, {"auto_merge": False, "auto_merge_max_risk": 1}, {"risks": {HEAD: 2}}),
    ("risky", "frozen", {}, {"auto_merge_max_risk": 1, "freeze": FREEZE}, {"risks": {HEAD: 2}}),
    ("frozen", "behind", {"merge_state": "BEHIND"}, {"freeze": FREEZE}, {}),
    ("blocked", "auto_merge_armed", {"merge_state": "BLOCKED", "auto_merge_on": True}, GITHUB, {}),
    ("auto_merge_armed", "merge_queue", {**QUEUE, "merge_state": "UNSTABLE", "auto_merge_on": True}, GITHUB, {}),
]  # fmt: skip
EXCLUSIVE = {
    ("merged", "closed"): "a pull request has one state",
    ("auto_merge_possible", "review_on_open"): "auto-merge needs the review agent off",
    ("checks_running", "no_checks"): "checks run, or there are none",
    ("no_checks", "settling"): "there are no checks, or they settle",
    ("review_wanted", "review_objects"): "a head was reviewed, or not",
    ("behind", "blocked"): "a pull request has one merge state",
}
"""Neighbours of which never both apply: their order means nothing."""


def _bounds() -> Iterator[tuple[str, Case, str]]:
    """Yield cases at each side of every time and count that a rule compares with."""

    def ago(seconds: float) -> datetime:
        return NOW - timedelta(seconds=seconds)

    for seconds, reason in ((599, "push_not_shown"), (600, "push_undone")):
        seen = {HEAD: LONG_AGO, NEXT_HEAD: ago(seconds)}
        yield f"push {seconds} s ago", case({}, {}, {"rounds": _PUSHED, "heads_first_seen": seen}), reason
    for seconds, reason in ((29, "settling"), (30, "green")):
        for moment in ("started_at", "completed_at"):
            check = dataclasses.replace(PASSED, **{moment: ago(seconds)})
            yield f"check {moment} {seconds} s ago", case({"checks": (check,)}), reason
        seen = {"heads_first_seen": {HEAD: ago(seconds)}}
        yield f"head {seconds} s old", case(history=seen), reason
    for seconds, reason in ((60, "settling"), (61, "green")):
        check = dataclasses.replace(PASSED, completed_at=ago(-seconds))
        yield f"check ends in {seconds} s", case({"checks": (check,)}), reason
    for seconds, reason in ((119, "no_checks_yet"), (120, "no_checks")):
        seen = {"heads_first_seen": {HEAD: ago(seconds)}}
        yield f"no check for {seconds} s", case({"checks": ()}, history=seen), reason
    for seconds, verdict in ((3599, "wait"), (3600, "escalate")):
        seen = {"heads_first_seen": {HEAD: ago(seconds)}}
        for name, facts in (
            ("blocked", case({"merge_state": "BLOCKED"}, history=seen)),
            ("required_missing", case({"required_checks": frozenset({"x"})}, history=seen)),
            ("update_not_shown", case({"merge_state": "BEHIND"}, history={**seen, "updated_heads": (HEAD,)})),
        ):
            yield f"{name} for {seconds} s", facts, f"{verdict} {name}"
    for seconds, reason in ((599, "rerun_not_shown"), (600, "checks_failed")):
        rerun = dataclasses.replace(RERUN[0], at=ago(seconds))
        yield f"re-run {seconds} s ago", case({"checks": (FAILED,)}, history={"reruns": (rerun,)}), reason
    for completed, reason in ((MINUTES_AGO, "rerun_not_shown"), (JUST_NOW, "checks_failed")):
        check = dataclasses.replace(FAILED, completed_at=completed)
        yield f"re-run ended {completed}", case({"checks": (check,)}, history={"reruns": RERUN}), reason
    for seconds, reason in ((599, "queue_not_shown"), (600, "green")):
        entered = (Enqueued(head_sha=HEAD, at=ago(seconds)),)
        yield f"entry {seconds} s ago", case(QUEUE, history={"enqueued": entered}), reason
        merged = {**QUEUE, "queue_removals": removed("merged", ago(seconds))}
        yield f"merged {seconds} s ago", case(merged, history={"enqueued": ENTERED_LONG_AGO}), reason
        back = {"enqueued": ENTERED_LONG_AGO, "withdrawn": entered}
        wanted = "withdrawal_not_shown" if seconds == 599 else "queued"
        yield f"taken back {seconds} s ago", case({**IN_QUEUE, "draft": True}, history=back), wanted
    # What happens in the same second as our act is of it.
    same = {**QUEUE, "queue_removals": removed("manual", MINUTES_AGO)}
    yield "removed at once", case(same, history=OURS), "dequeued"
    at_once = {**OURS, "withdrawn": ENTERED}
    yield "taken back at once", case({**IN_QUEUE, "draft": True}, history=at_once), "withdrawal_not_shown"
    yield "taken back at once, gone", case(QUEUE, history=at_once), "green"


BOUNDS = list(_bounds())


def outcome_of_bound(facts: Case, wanted: str) -> str:
    """Return what is decided, in the words that a bound uses."""
    decision = decide(*facts)
    return f"{decision.verdict} {decision.reason}" if " " in wanted else decision.reason


_THREE = {"rounds": tuple(a_round("conflict", sha) for sha in "123")}
MESSAGES: list[tuple[Case, str]] = [
    (case({"state": "CLOSED"}), URL),
    (case({"missing": ("checks: 502",)}), "checks: 502"),
    (case({"refused": ("checks: forbidden",)}), "Grant the right"),
    (case({"checks": (FAILED, dataclasses.replace(FAILED, name="lint"))}), "lint, tests"),
    (case({"reviews": (OBJECTION,)}), "olga"),
    (case({"mergeable": "CONFLICTING"}), "main"),
    (case({"checks": (FAILED,)}, {"max_rounds": 3}, _THREE), "All 3 fix rounds"),
    (case({"required_checks": frozenset({"deploy"})}), "deploy"),
    (case({}, {"freeze": FREEZE}), "2026-01-04 00:00 UTC"),
    (case({"merge_state": "BLOCKED", "degraded": ("rules: forbidden",)}), "rules: forbidden"),
    (case({"comments": (STOP,)}), "mona"),
    (case({**QUEUE, "queue_removals": removed("manual")}, {}, OURS), "olga took it out"),
    (case({**QUEUE, "queue_removals": (QueueRemoval(at=NOW, reason="manual"),)}, {}, OURS), "Somebody"),
    (case({**QUEUE, "queue_removals": removed("failed_checks")}, {}, OURS), "failed_checks"),
    (case({**QUEUE, "queue_removals": removed("")}, {}, OURS), "no reason given"),
]
"""What a message has to name."""
