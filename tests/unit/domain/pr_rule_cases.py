"""Answers, readings, rules and circumstances that the tests of the rules' guards share."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from fakes import FAILED, HEAD, NEXT_HEAD, NOW, PENDING, snapshot
from landing_cases import APPROVAL, LONG_AGO, OBJECTION, STOP, STRANGERS_APPROVAL, THREAD

from airflow_provider_agents.domain.pr_rule import (
    ArgoCd,
    Guards,
    LabelSelector,
    Limits,
    PullRequestRule,
    Selector,
)
from airflow_provider_agents.domain.pr_rule_decision import RuleAnswer
from airflow_provider_agents.domain.pr_rule_guards import (
    Case,
    Circumstances,
    Guarded,
    PlatformGuards,
    act_detail,
    guarded,
)
from airflow_provider_agents.domain.pr_rule_ledger import Act, Consent, RuleLedger
from airflow_provider_agents.domain.pull_request import QueueEntry
from airflow_provider_agents.domain.risk import ChangedFile

KEY = "acme/shop#7"
RULE = "staging"
if TYPE_CHECKING:
    from collections.abc import Mapping

Changes = dict[str, Any]
Row = tuple[str, str, Changes, Changes, Changes, str, str]
"""Name; action of the answer; what differs in the reading, the rule, the circumstances; action and guard expected."""


def file(path: str, previous: str = "", status: str = "modified", lines: int = 1) -> ChangedFile:
    return ChangedFile(path=path, status=status, additions=lines, deletions=0, previous_path=previous)


def act(kind: str, *, rule: str = RULE, head: str = HEAD, minutes: float = 10, **values: Any) -> Act:
    values = {"state": "done", "base": "main" if kind == "escalate" else ""} | values
    return Act(kind=kind, head_sha=head, rule=rule, at=NOW - timedelta(minutes=minutes), **values)  # type: ignore[arg-type]


def ledger(
    *acts: Act,
    key: str = KEY,
    consent: str = "",
    consent_head: str = HEAD,
    consent_base: str = "main",
    others: Mapping[int, Act] | None = None,
) -> RuleLedger:
    """Return a ledger with acts on one pull request.

    :param others: further pull requests of the repository, by number, with one act each.
    """
    found = RuleLedger()
    for each in acts:
        found = found.intending(key, each).ended(key, each, each.state, each.said)
    for number, each in (others or {}).items():
        other = f"acme/shop#{number}"
        found = found.intending(other, each).ended(other, each, each.state)
    if consent:
        given = Consent(
            head_sha=consent_head,
            base=consent_base,
            choice=consent,
            person="olga",
            at=NOW - timedelta(minutes=1),
        )  # type: ignore[arg-type]
        found = found.consenting(key, given)
    return found


def answer(action: str = "merge", **values: Any) -> RuleAnswer:
    values = {"reason": "It is green.", "confidence": 0.9} | values
    return RuleAnswer(action=action, **values)  # type: ignore[arg-type]


def rule(**values: Any) -> PullRequestRule:
    """Return a rule that merges what labels ``auto-merge`` names, within its guards."""
    facts: Changes = {
        "instruction": "Merge what is green.",
        "selector": Selector(labels=LabelSelector(include=("auto-merge",))),
        "actions": (
            "merge",
            "wait",
            "escalate",
            "close",
            "comment",
            "label",
            "request_review",
            "update_branch",
        ),
        "labels": ("stale",),
        "reviewers": ("olga", "mona"),
    }
    return PullRequestRule(**facts | values)


def reading(**values: Any) -> Any:
    """Return a pull request that may be merged, but for ``values``."""
    return snapshot(
        **{"author": "mona", "fork": False, "labels": ("auto-merge",), "changed_files": 1} | values
    )


def circumstances(**values: Any) -> Circumstances:
    """Return circumstances in which nothing speaks against a merge, but for ``values``."""
    facts: Changes = {
        "rule_name": RULE,
        "decided_head": HEAD,
        "decided_base": "main",
        "head_first_seen": LONG_AGO,
        "files": (file("README.md"),),
        "commit_authors": frozenset({"mona"}),
        "reopened_by": "",
        "health": "Healthy",
    }
    return Circumstances(**facts | values)


def case(action: str, seen: Changes, ruled: Changes, around: Changes) -> Case:
    said = dict(ruled)
    answered = said.pop("answer", {})
    base = {
        "comment": {"comment": "Please rebase."},
        "label": {"labels": ("stale",)},
        "request_review": {"reviewers": ("olga",)},
    }.get(action, {})
    return Case(answer(action, **base | answered), reading(**seen), rule(**said), circumstances(**around))


def judged(one: Case) -> Guarded:
    return guarded(one.answer, one.s, one.rule, one.c)


BOTS: Changes = {"author": "dependabot", "author_is_bot": True, "labels": ()}
FOR_BOTS: Changes = {"selector": Selector(authors=("dependabot[bot]",))}
HOLDING: Changes = {"guards": Guards(freeze=("2026-01-01/2026-01-03",))}
ASKED: Changes = {"argocd": ArgoCd(enabled=True, require=("Degraded", "Progressing"))}
WORKFLOW = (file(".github/workflows/ci.yml"),)
MOVED_WORKFLOW = (file("ci.yml", ".github/workflows/ci.yml", "renamed"),)
RISKY = tuple(file(f"auth/login_{n}.py", lines=60) for n in range(40))
MERGES = {n: act("merge", minutes=n) for n in range(10, 15)}
TOUCHED = {n: act("comment", minutes=n) for n in range(10, 20)}

PLEASE_REBASE = act_detail(answer("comment", comment="Please rebase."), Guarded(action="comment"))

ROWS: tuple[Row, ...] = (
    ("green", "merge", {}, {}, {}, "merge", ""),
    ("merged by whomever", "merge", {"state": "MERGED"}, {}, {}, "wait", "not_open"),
    ("closed", "comment", {"state": "CLOSED"}, {}, {}, "wait", "not_open"),
    ("another head", "merge", {"head_sha": NEXT_HEAD}, {}, {}, "wait", "head_moved"),
    ("another head, to close", "close", {"head_sha": NEXT_HEAD}, {}, {}, "wait", "head_moved"),
    ("a merge that the rule does not allow", "merge", {}, {"actions": ("close",)}, {}, "wait", "not_allowed"),
    ("a label that the rule does not allow", "label", {}, {"answer": {"labels": ("admin",)}}, {}, "wait", "not_allowed"),
    ("a reviewer whom it does not allow", "request_review", {}, {"answer": {"reviewers": ("eve",)}}, {}, "wait", "not_allowed"),
    ("of another author", "merge", {"author": "eve"}, {"selector": Selector(authors=("mona",))}, {}, "wait", "author"),
    ("of a person with a bot's name", "merge", {**BOTS, "author_is_bot": False}, FOR_BOTS, {}, "wait", "author"),
    ("the label taken off", "merge", {"labels": ()}, {}, {}, "wait", "selector"),
    ("the label taken off, to close", "close", {"labels": ()}, {}, {}, "wait", "selector"),
    ("a person wrote /stop", "merge", {"comments": (STOP,)}, {}, {}, "wait", "told_to_stop"),
    ("a person wrote /stop, to close", "close", {"comments": (STOP,)}, {}, {}, "wait", "told_to_stop"),
    ("it waits for a person", "merge", {"labels": ("auto-merge", "Needs-Human-Approval")}, {}, {}, "wait", "escalated"),
    ("it waits for a person, to comment", "comment", {"labels": ("auto-merge", "needs-human-approval")}, {}, {}, "wait", "escalated"),
    ("it waits for a person, for another rule", "merge", {"labels": ("auto-merge", "ask-ops")}, {}, {"ledger": ledger(act("escalate", rule="other", label="ask-ops"))}, "wait", "escalated"),
    ("another rule is merging it", "merge", {}, {}, {"ledger": ledger(act("merge", rule="other", state="intended"))}, "wait", "done_by_rule"),
    ("another rule died over it long ago", "merge", {}, {}, {"ledger": ledger(act("merge", rule="other", state="intended", minutes=90))}, "merge", ""),
    ("another rule commented the same", "comment", {}, {}, {"ledger": ledger(act("comment", rule="other", detail=PLEASE_REBASE))}, "wait", "done_by_rule"),
    ("another rule commented something else", "comment", {}, {}, {"ledger": ledger(act("comment", rule="other", detail="1"))}, "comment", ""),
    ("another rule labelled it otherwise", "label", {}, {}, {"ledger": ledger(act("label", rule="other", detail="1"))}, "label", ""),
    ("another rule queued it, and it was taken out", "merge", {"has_merge_queue": True}, {}, {"ledger": ledger(act("enqueue", rule="other", minutes=90))}, "merge", ""),
    ("into another branch", "merge", {"base_branch": "release"}, {}, {}, "wait", "base_moved"),
    ("into another branch, to comment", "comment", {"base_branch": "release"}, {}, {}, "wait", "base_moved"),
    ("another rule called people", "escalate", {}, {}, {"ledger": ledger(act("escalate", rule="other", detail="model"))}, "wait", "done_by_rule"),
    # Landing.
    ("a failing check", "merge", {"checks": (FAILED,)}, {}, {}, "wait", "checks_failed"),
    ("a running check", "merge", {"checks": (PENDING,)}, {}, {}, "wait", "checks_running"),
    ("no check yet", "merge", {"checks": ()}, {}, {"head_first_seen": NOW}, "wait", "no_checks_yet"),
    ("never a check", "merge", {"checks": ()}, {}, {}, "escalate", "no_checks"),
    ("a conflict", "merge", {"mergeable": "CONFLICTING"}, {}, {}, "wait", "conflict"),
    ("mergeability unknown", "merge", {"mergeable": "UNKNOWN"}, {}, {}, "wait", "mergeability_unknown"),
    ("an objection", "merge", {"reviews": (OBJECTION,)}, {}, {}, "wait", "changes_requested"),
    ("an open thread", "merge", {"threads": (THREAD,)}, {}, {}, "wait", "changes_requested"),
    ("a review is required", "merge", {"review_decision": "REVIEW_REQUIRED"}, {}, {}, "wait", "review_required"),
    ("a draft", "merge", {"draft": True}, {}, {}, "wait", "draft"),
    ("a hold label", "merge", {"labels": ("auto-merge", "do-not-merge")}, {}, {}, "wait", "held"),
    ("a hold label of the platform", "merge", {"labels": ("auto-merge", "ops")}, {}, {"platform": PlatformGuards(hold_labels=("ops",))}, "wait", "held"),
    ("a freeze", "merge", {}, HOLDING, {}, "wait", "frozen"),
    ("a freeze of the platform", "merge", {}, {}, {"platform": PlatformGuards(freeze=("2026-01-01/2026-01-03",))}, "wait", "frozen"),
    ("people merge here", "merge", {}, {}, {"platform": PlatformGuards(auto_merge=False)}, "escalate", "merge_by_person"),
    ("parts unread", "merge", {"missing": ("checks: timeout",)}, {}, {}, "wait", "incomplete"),
    ("parts refused", "merge", {"refused": ("checks: no right",)}, {}, {}, "escalate", "refused"),
    ("behind", "merge", {"merge_state": "BEHIND"}, {}, {}, "update_branch", "behind"),
    ("behind, not to be updated", "merge", {"merge_state": "BEHIND"}, {"guards": Guards(update_branch=False)}, {}, "wait", "behind"),
    ("behind, of a fork", "merge", {"merge_state": "BEHIND", "fork": True}, {}, {}, "escalate", "fork"),
    ("an objection to what we queued", "merge", {"has_merge_queue": True, "queue_entry": QueueEntry(state="QUEUED", position=1), "draft": True}, {}, {"ledger": ledger(act("enqueue"))}, "wait", "draft"),
    ("a person is called for what we queued", "merge", {"has_merge_queue": True, "queue_entry": QueueEntry(state="QUEUED", position=1), "labels": ("auto-merge", "needs-human-approval")}, {}, {"ledger": ledger(act("enqueue"))}, "wait", "held"),
    ("a merge queue", "merge", {"has_merge_queue": True}, {}, {}, "merge", ""),
    ("in the queue already", "merge", {"has_merge_queue": True, "queue_entry": QueueEntry(state="QUEUED", position=1)}, {}, {}, "wait", "queued"),
    # What people settle.
    ("unsure", "merge", {}, {"answer": {"confidence": 0.49}}, {}, "escalate", "unsure"),
    ("a fork", "merge", {"fork": True}, {}, {}, "escalate", "fork"),
    ("perhaps a fork", "merge", {"fork": None}, {}, {}, "wait", "fork"),
    ("of a deleted account", "merge", {"author": "ghost"}, {}, {}, "escalate", "ghost"),
    ("of nobody", "merge", {"author": ""}, {}, {}, "escalate", "ghost"),
    ("files not read yet", "merge", {}, {}, {"files": None}, "wait", "unread"),
    ("files that cannot be read", "merge", {}, {}, {"files": (), "files_fault": "HTTP 403"}, "escalate", "files_unreadable"),
    ("3,000 files", "merge", {"changed_files": 3000}, {}, {}, "escalate", "files_unreadable"),
    ("files that GitHub did not list", "merge", {"changed_files": 2}, {}, {}, "escalate", "files_unreadable"),
    ("a workflow", "merge", {}, {}, {"files": WORKFLOW}, "escalate", "protected_paths"),
    ("a workflow moved away", "merge", {}, {}, {"files": MOVED_WORKFLOW}, "escalate", "protected_paths"),
    ("a protected path of the platform", "merge", {}, {}, {"platform": PlatformGuards(protected_paths=("README.md",))}, "escalate", "protected_paths"),
    ("a risk", "merge", {"changed_files": 40}, {}, {"files": RISKY}, "escalate", "risk"),
    ("a risk that the rule takes", "merge", {"changed_files": 40}, {"guards": Guards(max_risk=None)}, {"files": RISKY}, "merge", ""),
    ("a risk that the platform does not take", "merge", {"changed_files": 40}, {"guards": Guards(max_risk=None)}, {"files": RISKY, "platform": PlatformGuards(max_risk=10)}, "escalate", "risk"),
    ("a bot's", "merge", BOTS, FOR_BOTS, {"commit_authors": frozenset({"dependabot[bot]"})}, "merge", ""),
    ("a bot's, brought up to date by us", "merge", BOTS, FOR_BOTS, {"commit_authors": frozenset({"dependabot[bot]", "agents"}), "own_login": "agents"}, "merge", ""),
    ("a bot's with a commit of somebody", "merge", BOTS, FOR_BOTS, {"commit_authors": frozenset({"dependabot[bot]", "eve"})}, "escalate", "foreign_commits"),
    ("a bot's, commits not read yet", "merge", BOTS, FOR_BOTS, {"commit_authors": None}, "wait", "unread"),
    ("a bot's, commits that cannot be read", "merge", BOTS, FOR_BOTS, {"commits_fault": "HTTP 403"}, "escalate", "foreign_commits"),
    ("an unfit environment", "merge", {}, ASKED, {}, "wait", "argocd_health"),
    ("a fit environment", "merge", {}, ASKED, {"health": "Degraded"}, "merge", ""),
    ("an environment not read yet", "merge", {}, ASKED, {"health": None}, "wait", "unread"),
    ("refused a moment ago", "merge", {}, {}, {"ledger": ledger(act("merge", state="refused", minutes=0.1))}, "wait", "merge_refused"),
    ("refused a while ago", "merge", {}, {}, {"ledger": ledger(act("merge", state="refused"))}, "merge", ""),
    ("refused five times", "merge", {}, {}, {"ledger": ledger(*[act("merge", state="refused")] * 5)}, "escalate", "merge_refused"),
    ("refused for another head", "merge", {}, {}, {"ledger": ledger(*[act("merge", state="refused", head=NEXT_HEAD)] * 5)}, "merge", ""),
    ("the ledger was damaged", "merge", {}, {}, {"ledger": RuleLedger.lost(NOW)}, "wait", "ledger_lost"),
    ("the ledger was damaged an hour ago", "merge", {}, {}, {"ledger": RuleLedger.lost(NOW - timedelta(hours=1))}, "merge", ""),
    ("five merges in an hour", "merge", {}, {}, {"ledger": ledger(others=MERGES)}, "wait", "merge_limit"),
    ("five merges, of a limit of six", "merge", {}, {"limits": Limits(merges_per_hour=6)}, {"ledger": ledger(others=MERGES)}, "merge", ""),
    ("ten pull requests in an hour", "merge", {}, {}, {"ledger": ledger(others=TOUCHED)}, "wait", "pull_request_limit"),
    ("ten pull requests in an hour, to comment", "comment", {}, {}, {"ledger": ledger(others=TOUCHED)}, "wait", "pull_request_limit"),
    ("ten pull requests in an hour, to close", "close", {}, {}, {"ledger": ledger(others=TOUCHED)}, "wait", "pull_request_limit"),
    ("ten pull requests in an hour, to label", "label", {}, {}, {"ledger": ledger(others=TOUCHED)}, "wait", "pull_request_limit"),
    ("ten pull requests in an hour, to ask", "request_review", {}, {}, {"ledger": ledger(others=TOUCHED)}, "wait", "pull_request_limit"),
    ("ten pull requests in an hour, to update", "update_branch", {}, {}, {"ledger": ledger(others=TOUCHED)}, "wait", "pull_request_limit"),
    ("ten pull requests in an hour, to call", "escalate", {}, {}, {"ledger": ledger(others=TOUCHED)}, "wait", "pull_request_limit"),
    ("ten pull requests, this one among them", "comment", {}, {}, {"ledger": ledger(act("label"), others=dict(list(TOUCHED.items())[:9]))}, "comment", ""),
    # Close.
    ("to close", "close", {}, {}, {}, "close", ""),
    ("to close, unsure", "close", {}, {"answer": {"confidence": 0.2}}, {}, "escalate", "unsure"),
    ("to close, parts unread", "close", {"missing": ("reviews: timeout",)}, {}, {}, "wait", "incomplete"),
    ("to close, parts refused", "close", {"refused": ("reviews: no right",)}, {}, {}, "escalate", "refused"),
    ("to close what is queued", "close", {"queue_entry": QueueEntry(state="QUEUED", position=1)}, {}, {}, "wait", "queued"),
    ("to close what merges itself", "close", {"auto_merge_on": True}, {}, {}, "wait", "queued"),
    ("to close what somebody chose to merge", "close", {}, {}, {"ledger": ledger(consent="merge")}, "wait", "person_decided"),
    ("to close what is approved", "close", {"reviews": (APPROVAL,)}, {}, {}, "escalate", "approved"),
    ("to close what a stranger approved", "close", {"reviews": (STRANGERS_APPROVAL,)}, {}, {}, "close", ""),
    ("to close again", "close", {}, {}, {"ledger": ledger(act("close", head=NEXT_HEAD))}, "wait", "reopened"),
    ("to close what somebody opened again", "close", {}, {}, {"reopened_by": "olga"}, "wait", "reopened"),
    ("to close, timeline not read yet", "close", {}, {}, {"reopened_by": None}, "wait", "unread"),
    ("to close a fork's", "close", {"fork": True}, {}, {}, "close", ""),
    # The others.
    ("to call people", "escalate", {}, {}, {}, "escalate", ""),
    ("to call people again", "escalate", {}, {}, {"ledger": ledger(act("escalate", detail="model"))}, "wait", "called_already"),
    ("to call people about a new head", "escalate", {}, {}, {"ledger": ledger(act("escalate", detail="model", head=NEXT_HEAD))}, "escalate", ""),
    ("to call for the same guard again", "merge", {}, {}, {"files": WORKFLOW, "ledger": ledger(act("escalate", detail="protected_paths"))}, "wait", "protected_paths"),
    ("to call for another guard", "merge", {}, {}, {"files": WORKFLOW, "ledger": ledger(act("escalate", detail="unsure"))}, "escalate", "protected_paths"),
    ("to call people about another branch", "escalate", {"base_branch": "release"}, {}, {"decided_base": "release", "ledger": ledger(act("escalate", detail="model"))}, "escalate", ""),
    ("a call that was cut off", "escalate", {}, {}, {"ledger": ledger(act("escalate", detail="model", state="intended"))}, "escalate", ""),
    ("to comment", "comment", {}, {}, {}, "comment", ""),
    ("to comment nothing", "comment", {}, {"answer": {"comment": " "}}, {}, "wait", "nothing_to_do"),
    ("to label", "label", {}, {}, {}, "label", ""),
    ("to label what has it", "label", {"labels": ("auto-merge", "STALE")}, {}, {}, "wait", "nothing_to_do"),
    ("to ask for a review", "request_review", {}, {}, {}, "request_review", ""),
    ("to ask the author", "request_review", {"author": "Olga"}, {}, {}, "wait", "nothing_to_do"),
    ("to update", "update_branch", {}, {}, {}, "update_branch", ""),
    ("to update again", "update_branch", {}, {}, {"ledger": ledger(act("update_branch"))}, "wait", "done_already"),
    ("to update a fork's", "update_branch", {"fork": True}, {}, {}, "wait", "fork"),
    ("to update in conflict", "update_branch", {"mergeable": "CONFLICTING"}, {}, {}, "wait", "conflict"),
    ("to wait", "wait", {}, {}, {}, "wait", ""),
    # A person chose.
    *(
        (f"a person merges in spite of: {name}", "merge", seen, ruled, around | {"ledger": ledger(consent="merge")}, "merge", "")
        for name, seen, ruled, around in (
            ("the rule's actions", {}, {"actions": ("close",)}, {}),
            ("another author", {"author": "eve"}, {"selector": Selector(authors=("mona",))}, {}),
            ("the label", {"labels": ("auto-merge", "needs-human-approval")}, {}, {}),
            ("no label of the selector", {"labels": ("needs-human-approval",)}, {}, {}),
            ("a deleted account", {"author": "ghost"}, {}, {}),
            ("files unread", {}, {}, {"files": None}),
            ("a workflow", {}, {}, {"files": WORKFLOW}),
            ("a risk", {"changed_files": 40}, {}, {"files": RISKY}),
            ("a foreign commit", BOTS, FOR_BOTS, {"commit_authors": frozenset({"eve"})}),
            ("its environment", {}, ASKED, {}),
            ("no check", {"checks": ()}, {}, {}),
            ("auto_merge off", {}, {}, {"platform": PlatformGuards(auto_merge=False)}),
            ("a model that is not sure", {}, {"answer": {"confidence": 0.0}}, {}),
        )
    ),
    *(
        (f"no person passes: {guard}", "merge", seen, ruled, around | {"ledger": ledger(consent="merge")}, action, guard)
        for seen, ruled, around, action, guard in (
            ({"checks": (FAILED,)}, {}, {}, "wait", "checks_failed"),
            ({"checks": (PENDING,)}, {}, {}, "wait", "checks_running"),
            ({"mergeable": "CONFLICTING"}, {}, {}, "wait", "conflict"),
            ({"reviews": (OBJECTION,)}, {}, {}, "wait", "changes_requested"),
            ({"draft": True}, {}, {}, "wait", "draft"),
            ({"labels": ("auto-merge", "do-not-merge")}, {}, {}, "wait", "held"),
            ({"fork": True}, {}, {}, "escalate", "fork"),
            ({"state": "CLOSED"}, {}, {}, "wait", "not_open"),
            ({"missing": ("checks: timeout",)}, {}, {}, "wait", "incomplete"),
            ({"comments": (STOP,)}, {}, {}, "wait", "told_to_stop"),
            ({}, HOLDING, {}, "wait", "frozen"),
            ({}, {"limits": Limits(merges_per_hour=0)}, {}, "wait", "merge_limit"),
        )
    ),
    ("a choice for another head", "merge", {}, {}, {"files": WORKFLOW, "ledger": ledger(consent="merge", consent_head=NEXT_HEAD)}, "escalate", "protected_paths"),
    ("a choice for another branch", "merge", {}, {}, {"files": WORKFLOW, "ledger": ledger(consent="merge", consent_base="release")}, "escalate", "protected_paths"),
    ("a choice for which another rule is no reason", "merge", {}, {}, {"ledger": ledger(act("merge", rule="other", state="intended"), consent="merge")}, "merge", ""),
    ("a choice to close", "merge", {}, {}, {"files": WORKFLOW, "ledger": ledger(consent="close")}, "escalate", "protected_paths"),
    ("a person closes what is approved and was opened again", "close", {"reviews": (APPROVAL,)}, {"actions": ("merge",)}, {"reopened_by": "olga", "ledger": ledger(act("close", head=NEXT_HEAD), consent="close")}, "close", ""),
    ("a person merges once more after five refusals", "merge", {}, {}, {"ledger": ledger(*[act("merge", state="refused")] * 5, consent="merge")}, "merge", ""),
)  # fmt: skip
