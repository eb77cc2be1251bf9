"""Readings, policies and histories that the tests of the landing decision and the mutation sweep share."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fakes import FAILED, HEAD, NEXT_HEAD, NOW, PASSED, PENDING, URL, snapshot
from hypothesis import strategies as st

from airflow_provider_agents.domain.authority import is_ours
from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.freeze import frozen_until
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
_QUEUE = {"has_merge_queue": True}
_IN_QUEUE = {"has_merge_queue": True, "queue_entry": QUEUED}
_OURS = {"enqueued": ENTERED}
_AUTO = {"checks": (RUNNING,), "required_checks": frozenset({"tests"}), "auto_merge_allowed": True}
_GITHUB = {"github_auto_merge": True}
_FRESH = {"heads_first_seen": {HEAD: JUST_NOW}}
_LATELY = {"heads_first_seen": {HEAD: MINUTES_AGO}}
_APPROVED = {"approved_heads": frozenset({HEAD})}
_ARMED = {"auto_merge_on": True, "checks": (RUNNING,)}
_ASKED = {"auto_merge_asked": ENTERED}

TABLE: list[tuple[str, Changes, Changes, Changes, str, str]] = [
    # name, reading, policy, history, verdict, reason
    ("merged", {"state": "MERGED"}, {}, {}, "done", "merged"),
    ("merged, though unreadable", {"state": "MERGED", "missing": ("checks",)}, {}, {}, "done", "merged"),
    ("merged, though told to stop", {"state": "MERGED", "comments": (STOP,)}, {}, {}, "done", "merged"),
    ("closed", {"state": "CLOSED"}, {}, {}, "stop", "closed"),
    ("closed, checks fail", {"state": "CLOSED", "checks": (FAILED,)}, {}, {}, "stop", "closed"),
    # What we handed to GitHub.
    ("queued, nothing against it", _IN_QUEUE, {}, _OURS, "wait", "queued"),
    ("queued, an objection comes", {**_IN_QUEUE, "reviews": (OBJECTION,)}, {}, _OURS, "withdraw", "awaiting_reviewer"),
    ("queued, a thread comes", {**_IN_QUEUE, "threads": (THREAD,)}, {}, _OURS, "withdraw", "awaiting_reviewer"),
    ("queued, a label comes", {**_IN_QUEUE, "labels": ("Do-Not-Merge",)}, {}, _OURS, "withdraw", "held"),
    ("queued, made a draft", {**_IN_QUEUE, "draft": True}, {}, _OURS, "withdraw", "draft"),
    ("queued, a freeze begins", _IN_QUEUE, {"freeze": FREEZE}, _OURS, "withdraw", "frozen"),
    ("queued, a check fails", {**_IN_QUEUE, "checks": (FAILED,)}, {}, _OURS, "withdraw", "checks_failed"),
    ("queued, told to stop", {**_IN_QUEUE, "comments": (STOP,)}, {}, _OURS, "withdraw", "told_to_stop"),
    ("queued by a person, a label", {**_IN_QUEUE, "labels": ("do-not-merge",)}, {}, {}, "wait", "queued"),
    ("queued as another head", {**_IN_QUEUE, "draft": True}, {}, {"enqueued": (Enqueued(head_sha=NEXT_HEAD, at=NOW),)}, "wait", "queued"),
    ("queued, a stranger objects", {**_IN_QUEUE, "reviews": (STRANGER,)}, {}, _OURS, "wait", "queued"),
    ("withdrawn, still shown", {**_IN_QUEUE, "draft": True}, {}, {**_OURS, "withdrawn": (Enqueued(head_sha=HEAD, at=JUST_NOW),)}, "wait", "withdrawal_not_shown"),
    ("withdrawn, queued by a person later", {**_IN_QUEUE, "draft": True}, {}, {"enqueued": ENTERED_LONG_AGO, "withdrawn": (Enqueued(head_sha=HEAD, at=AN_HOUR_AGO),)}, "wait", "queued"),
    ("withdrawn before this entry", {**_IN_QUEUE, "draft": True}, {}, {**_OURS, "withdrawn": (Enqueued(head_sha=HEAD, at=AN_HOUR_AGO),)}, "withdraw", "draft"),
    ("withdrawn, no longer against it", _QUEUE, {}, {**_OURS, "withdrawn": (Enqueued(head_sha=HEAD, at=JUST_NOW),)}, "enqueue", "green"),
    ("armed, a label comes", {**_ARMED, "labels": ("do-not-merge",)}, _GITHUB, _ASKED, "withdraw", "held"),
    ("armed, a check that is not required fails", {**_ARMED, "checks": (RUNNING, FAILED)}, _GITHUB, _ASKED, "withdraw", "checks_failed"),
    ("armed, a new head of unknown risk", _ARMED, {**_GITHUB, "auto_merge_max_risk": 50}, _ASKED, "note", "risk_unknown"),
    ("armed, a new head of high risk", _ARMED, {**_GITHUB, "auto_merge_max_risk": 50}, {**_ASKED, "risks": {HEAD: 51}}, "withdraw", "risk"),
    ("armed by a person, a label", {**_ARMED, "labels": ("do-not-merge",)}, {}, {}, "wait", "checks_running"),
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
    ("green, merge queue", _QUEUE, {}, {}, "enqueue", "green"),
    ("merge queue, BLOCKED is its own", {**_QUEUE, "merge_state": "BLOCKED"}, {}, {}, "enqueue", "green"),
    ("merge queue, BEHIND is its business", {**_QUEUE, "merge_state": "BEHIND"}, {}, {}, "enqueue", "green"),
    ("entry not shown", _QUEUE, {}, _OURS, "wait", "queue_not_shown"),
    ("entry never shown", _QUEUE, {}, {"enqueued": ENTERED_LONG_AGO}, "enqueue", "green"),
    ("ejected", {**_QUEUE, "queue_removals": removed("failed_checks")}, {}, _OURS, "fix", "queue_ejected"),
    ("ejected, no reason", {**_QUEUE, "queue_removals": removed("")}, {}, _OURS, "fix", "queue_ejected"),
    ("ejected before", {**_QUEUE, "queue_removals": removed("failed_checks", AN_HOUR_AGO)}, {}, _OURS, "wait", "queue_not_shown"),
    ("ejected, and a round left it", {**_QUEUE, "queue_removals": removed("failed_checks")}, {}, {**_OURS, "rounds": (a_round("queue_ejected"),)}, "escalate", "no_progress"),
    ("ejected without fault", {**_QUEUE, "queue_removals": removed("QUEUE_CLEARED")}, {}, _OURS, "enqueue", "green"),
    ("taken out by hand", {**_QUEUE, "queue_removals": removed("manual")}, {}, _OURS, "escalate", "dequeued"),
    ("taken out by hand, told to merge", {**_QUEUE, "queue_removals": removed("manual")}, {}, {**_OURS, **_APPROVED}, "enqueue", "green"),
    ("removed by its merge", {**_QUEUE, "queue_removals": removed("MERGED")}, {}, _OURS, "wait", "queue_not_shown"),
    ("removed by a merge that never shows", {**_QUEUE, "queue_removals": removed("MERGED", AN_HOUR_AGO)}, {}, {"enqueued": ENTERED_LONG_AGO}, "enqueue", "green"),
    ("ejected twice", {**_QUEUE, "queue_removals": removed("QUEUE_CLEARED")}, {}, {"enqueued": (*ENTERED, *ENTERED)}, "escalate", "queue_gave_up"),
    ("withdrawn twice", _QUEUE, {}, {"enqueued": (*ENTERED, *ENTERED), "withdrawn": (*ENTERED, *ENTERED)}, "enqueue", "green"),
    # GitHub's auto-merge.
    ("auto-merge while required checks run", _AUTO, _GITHUB, {}, "enable_auto_merge", "auto_merge"),
    ("auto-merge, not asked for", _AUTO, {}, {}, "wait", "checks_running"),
    ("auto-merge, not allowed", {**_AUTO, "auto_merge_allowed": False}, _GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, nothing required", {**_AUTO, "required_checks": frozenset()}, _GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, rules unreadable", {**_AUTO, "required_checks": None}, _GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, the required one is through", {**_AUTO, "checks": (PENDING, dataclasses.replace(PASSED, name="lint")), "required_checks": frozenset({"lint"})}, _GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, one failed", {**_AUTO, "checks": (RUNNING, dataclasses.replace(FAILED, name="lint"))}, _GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, on already", {**_AUTO, "auto_merge_on": True}, _GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, asked for already", _AUTO, _GITHUB, _ASKED, "wait", "checks_running"),
    ("auto-merge, a merge queue", {**_AUTO, **_QUEUE}, _GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, the review agent has a say", _AUTO, {**_GITHUB, "review": "on_checks_passed"}, {}, "wait", "checks_running"),
    ("auto-merge, a draft", {**_AUTO, "draft": True}, _GITHUB, {}, "wait", "checks_running"),
    ("auto-merge, people merge", _AUTO, {**_GITHUB, "auto_merge": False}, {}, "wait", "checks_running"),
    ("auto-merge, an answered objection", {**_AUTO, "reviews": (OBJECTION,)}, _GITHUB, {"rounds": (a_round(head=NEXT_HEAD, answered=(OBJECTION.key,)),)}, "wait", "checks_running"),
    ("auto-merge, risk unknown", _AUTO, {**_GITHUB, "auto_merge_max_risk": 50}, {}, "note", "risk_unknown"),
    ("auto-merge has it", {"auto_merge_on": True, "merge_state": "UNSTABLE"}, _GITHUB, {}, "wait", "auto_merge_on"),
    ("auto-merge leaves it", {"auto_merge_on": True}, _GITHUB, {}, "merge", "green"),
    ("auto-merge turned off", {"merge_state": "UNSTABLE"}, _GITHUB, {}, "merge", "green"),
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
    ("closed", "withdraw", {**_IN_QUEUE, "state": "CLOSED", "draft": True}, {}, _OURS),
    ("withdraw", "stopped", {**_IN_QUEUE, "comments": (STOP,)}, {}, _OURS),
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
    ("checks_failed", "ejected", {"checks": (FAILED,), **_MANUAL_REMOVAL}, {}, _OURS),
    ("ejected", "auto_merge_possible", {**_AUTO, **_MANUAL_REMOVAL}, _GITHUB, _OURS),
    ("review_on_open", "checks_running", {"checks": (PENDING,)}, {"review": "on_open"}, {}),
    ("settling", "required_missing", {"checks": (LATE_PASS,), "required_checks": frozenset({"x"})}, {}, {}),
    ("required_missing", "unknown_mergeability", {"required_checks": frozenset({"x"}), "mergeable": "UNKNOWN"}, {}, {}),
    ("unknown_mergeability", "review_wanted", {"mergeable": "UNKNOWN"}, {"review": "on_checks_passed"}, {}),
    ("review_objects", "awaiting_reviewer", {"reviews": (OBJECTION,)}, {"review": "on_checks_passed"}, {"reviews": reviewed("request_changes"), "rounds": (a_round(head="1", answered=(OBJECTION.key,)),)}),
    ("awaiting_reviewer", "queued", {**_IN_QUEUE, "reviews": (OBJECTION,)}, {}, {"rounds": (a_round(head="1", answered=(OBJECTION.key,)),)}),
    ("queued", "draft", {**_IN_QUEUE, "draft": True}, {}, {}),
    ("draft", "held", {"draft": True, "labels": ("do-not-merge",)}, {}, {}),
    ("held", "unapproved", {"labels": ("do-not-merge",), "review_decision": "REVIEW_REQUIRED"}, {}, {}),
    ("unapproved", "merge_by_person", {"review_decision": "REVIEW_REQUIRED"}, {"auto_merge": False}, {}),
    ("merge_by_person", "risky", {}, {"auto_merge": False, "auto_merge_max_risk": 1}, {"risks": {HEAD: 2}}),
    ("risky", "frozen", {}, {"auto_merge_max_risk": 1, "freeze": FREEZE}, {"risks": {HEAD: 2}}),
    ("frozen", "behind", {"merge_state": "BEHIND"}, {"freeze": FREEZE}, {}),
    ("blocked", "auto_merge_armed", {"merge_state": "BLOCKED", "auto_merge_on": True}, _GITHUB, {}),
    ("auto_merge_armed", "merge_queue", {**_QUEUE, "merge_state": "UNSTABLE", "auto_merge_on": True}, _GITHUB, {}),
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
        yield f"entry {seconds} s ago", case(_QUEUE, history={"enqueued": entered}), reason
        merged = {**_QUEUE, "queue_removals": removed("merged", ago(seconds))}
        yield f"merged {seconds} s ago", case(merged, history={"enqueued": ENTERED_LONG_AGO}), reason
        back = {"enqueued": ENTERED_LONG_AGO, "withdrawn": entered}
        wanted = "withdrawal_not_shown" if seconds == 599 else "queued"
        yield f"taken back {seconds} s ago", case({**_IN_QUEUE, "draft": True}, history=back), wanted
    # What happens in the same second as our act is of it.
    same = {**_QUEUE, "queue_removals": removed("manual", MINUTES_AGO)}
    yield "removed at once", case(same, history=_OURS), "dequeued"
    at_once = {**_OURS, "withdrawn": ENTERED}
    yield "taken back at once", case({**_IN_QUEUE, "draft": True}, history=at_once), "withdrawal_not_shown"
    yield "taken back at once, gone", case(_QUEUE, history=at_once), "green"


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
    (case({**_QUEUE, "queue_removals": removed("manual")}, {}, _OURS), "olga took it out"),
    (case({**_QUEUE, "queue_removals": (QueueRemoval(at=NOW, reason="manual"),)}, {}, _OURS), "Somebody"),
    (case({**_QUEUE, "queue_removals": removed("failed_checks")}, {}, _OURS), "failed_checks"),
    (case({**_QUEUE, "queue_removals": removed("")}, {}, _OURS), "no reason given"),
]
"""What a message has to name."""


# Properties


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
    (_QUEUE, {}, {}),
    (_IN_QUEUE, {}, _OURS),
    (_AUTO, _GITHUB, {}),
    (_ARMED, _GITHUB, _ASKED),
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
