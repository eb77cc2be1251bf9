"""What no text of a rule and no model can pass: :func:`guarded`, one pure function.

It is asked with a fresh reading right before each act. The guards stand in the order in which they are asked; the
first that applies decides, and its name goes into the record. ``docs/rules-guards.md`` is the same table with its
reasons. A guard turns the action into ``wait``, which tries again later without asking the model, or ``escalate``.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

from airflow_provider_agents.domain.authority import approves
from airflow_provider_agents.domain.pr_rule_circumstances import (
    Case,
    Circumstances,
    Guard,
    Guarded,
    PlatformGuards,
    Step,
    escalate,
    soon,
    unread,
    wait,
)
from airflow_provider_agents.domain.pr_rule_ledger import MERGES, STALE_INTENT, Kind
from airflow_provider_agents.domain.pr_rule_merge_guards import (
    GIVING_WAY,
    MERGE_GUARDS,
    MIN_CONFIDENCE,
    landing,
    pull_request_limit,
    unsure,
    withdraw,
)
from airflow_provider_agents.domain.pr_rule_selector import is_author, unfit_reason
from airflow_provider_agents.domain.untrusted import one_line

if TYPE_CHECKING:
    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pr_rule import Action, PullRequestRule
    from airflow_provider_agents.domain.pr_rule_decision import RuleAnswer
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

__all__ = [
    "GUARDS",
    "MIN_CONFIDENCE",
    "MODEL",
    "OVERRIDABLE",
    "VOID",
    "Case",
    "Circumstances",
    "Guarded",
    "PlatformGuards",
    "act_detail",
    "guarded",
]

VOID: frozenset[str] = frozenset({"not_open", "head_moved", "base_moved", "done_by_rule"})
"""Guards that say that the decision is about something that is no more."""
MODEL = "model"
"""Reason of an escalation that the model itself wants."""


def guarded(
    answer: RuleAnswer,
    snapshot: PullRequestSnapshot,
    rule: PullRequestRule,
    circumstances: Circumstances,
    *,
    calling: Guarded | None = None,
) -> Guarded:
    """Say what is to be done about an answer.

    A pure function of its arguments. Where :attr:`.Guarded.needs` names something, read it into the circumstances
    and ask again.

    :param calling: an escalation that is due whatever the answer is.
    """
    case = Case(answer, snapshot, rule, circumstances)
    if (taken_back := withdraw(case)) is not None:
        return taken_back
    if answer.action == "wait" and calling is None:
        return Guarded(action="wait", message=answer.reason)
    guards = GUARDS[answer.action if calling is None else "escalate"]
    found = _first(case, guards) or calling or _goes_on(case)
    return found if found.action != "escalate" else _called(case, found)


def act_detail(answer: RuleAnswer, found: Guarded) -> str:
    """Return what tells an act from others of its kind on the same head, see :attr:`.pr_rule_ledger.Act.detail`."""
    if found.action == "escalate":
        return found.guard or MODEL
    said = {
        "comment": (answer.comment,),
        "label": sorted(answer.labels),
        "request_review": sorted(answer.reviewers),
    }.get(found.action)
    return hashlib.sha256(repr(said).encode(errors="replace")).hexdigest()[:12] if said is not None else ""


def not_open(case: Case) -> Guarded | None:
    """Whoever merged or closed it: there is nothing left to do."""
    if case.s.state == "OPEN":
        return None
    return wait("not_open", f"It is {case.s.state.lower()}.")


def head_moved(case: Case) -> Guarded | None:
    """What was decided about was another head."""
    if case.s.head_sha == case.c.decided_head:
        return None
    return wait(
        "head_moved", f"It was decided about {case.c.decided_head[:12]}, and is at {case.s.head_sha[:12]}."
    )


def base_moved(case: Case) -> Guarded | None:
    """Its author may have it go into another branch at any time, with the same head."""
    if case.s.base_branch == case.c.decided_base:
        return None
    return wait(
        "base_moved",
        f"It was decided about a merge into {one_line(case.c.decided_base, 100)}, and goes into "
        f"{one_line(case.s.base_branch, 100)}.",
    )


def not_allowed(case: Case) -> Guarded | None:
    """The rule says what may be chosen; the schema of the answer does already, and this is beside it."""
    answer, rule = case.answer, case.rule
    if (
        answer.action in rule.allowed
        and set(answer.labels) <= set(rule.labels)
        and set(answer.reviewers) <= set(rule.reviewers)
    ):
        return None
    return wait("not_allowed", f"The rule does not allow the action {answer.action}, or its values.")


def author(case: Case) -> Guarded | None:
    """The pull request is of somebody whom the rule is not for."""
    authors = case.rule.selector.authors
    if not authors or is_author(case.s.author, authors, bot=case.s.author_is_bot):
        return None
    return wait("author", f"The rule is not for pull requests of {case.s.author or 'a deleted account'}.")


def selector(case: Case) -> Guarded | None:
    """It was changed so that the rule is not for it any more: a label taken off says no."""
    # A full reading has all that the selector looks at in an entry of the listing.
    reason = unfit_reason(cast("OpenPullRequest", case.s), case.rule.selector)
    if not reason:
        return None
    return wait("selector", f"The rule is not for it any more: {reason}.")


def told_to_stop(case: Case) -> Guarded | None:
    """A person wrote ``/stop``."""
    decision = landing(case)
    return wait("told_to_stop", decision.message) if decision.reason == "told_to_stop" else None


def escalated(case: Case) -> Guarded | None:
    """It waits for a person already, whichever rule called for one."""
    labels = {label.casefold() for label in case.s.labels}
    waiting = {case.rule.escalation_label, *(act.label for act in case.entry.of("escalate"))}
    found = sorted(label for label in waiting if label.casefold() in labels)
    if not found:
        return None
    return wait("escalated", f"It waits for a person: it has the label {', '.join(found)}.")


def done_by_rule(case: Case) -> Guarded | None:
    """Another rule did the same, or is at it. Of a merge long ago the state of the pull request tells, and what a
    person chose is no rule's.
    """
    action = case.answer.action
    kinds: frozenset[Kind] = MERGES if action == "merge" else frozenset({cast("Kind", action)})
    detail = act_detail(case.answer, Guarded(action=action)) if action in _OF_A_TEXT else None
    for act in case.entry.acts:
        if act.kind not in kinds or act.head_sha != case.s.head_sha or act.rule == case.c.rule_name:
            continue
        if detail is not None and act.detail != detail:
            continue
        recent = act.at > case.s.read_at - STALE_INTENT
        if act.state != "refused" and (recent or (act.state == "done" and act.kind not in MERGES)):
            # An act that is done for good shows in the listing; one that was cut off, nowhere.
            again = act.at + STALE_INTENT if act.state == "intended" or act.kind in MERGES else None
            return wait("done_by_rule", f"Done by the rule {act.rule}.", again)
    return None


def incomplete(case: Case) -> Guarded | None:
    """What could not be read is not fine."""
    if case.s.refused:
        return escalate("refused", f"The credential may not read: {'; '.join(case.s.refused)}.")
    if case.s.missing:
        return wait("incomplete", "Could not read: " + "; ".join(case.s.missing), soon(case))
    return None


def queued(case: Case) -> Guarded | None:
    """It is about to be merged."""
    if case.s.queue_entry is not None or case.s.auto_merge_on:
        return wait("queued", "It is in the merge queue, or GitHub's auto-merge has it.")
    return None


def person_decided(case: Case) -> Guarded | None:
    """A person chose to merge this head."""
    found = case.entry.consent(case.s.head_sha, case.s.base_branch)
    if found is None or found.choice != "merge":
        return None
    return wait("person_decided", f"{found.person} chose to merge it.")


def approved(case: Case) -> Guarded | None:
    """A person with write access wants it."""
    found = sorted(review.author for review in case.s.reviews if approves(review))
    if not found:
        return None
    return escalate("approved", f"{', '.join(found)} approved it, and the rule would close it.")


def reopened(case: Case) -> Guarded | None:
    """Who opens it again after a rule closed it says no, once and for all."""
    if any(act.state == "done" for act in case.entry.of("close")):
        return wait("reopened", "It was opened again after a rule closed it.")
    if case.c.reopened_by is None:
        return unread("reopened")
    return wait("reopened", f"{case.c.reopened_by} opened it again.") if case.c.reopened_by else None


def done_already(case: Case) -> Guarded | None:
    """The same was done to this head before; a pull request that was changed since is asked about anew."""
    kind = cast("Kind", case.answer.action)
    detail = act_detail(case.answer, Guarded(action=case.answer.action))
    for act in case.entry.of(kind, case.s.head_sha):
        if act.rule == case.c.rule_name and act.detail == detail and act.state == "done":
            return wait("done_already", f"Done already, {act.at:%Y-%m-%d %H:%M} UTC.")
    return None


def nothing_to_do(case: Case) -> Guarded | None:
    """It is as the answer wants it."""
    answer, labels = case.answer, {label.casefold() for label in case.s.labels}
    if answer.action == "comment" and not answer.comment.strip():
        return wait("nothing_to_do", "The comment is empty.")
    if answer.action == "label" and {label.casefold() for label in answer.labels} <= labels:
        return wait("nothing_to_do", "It has these labels.")
    others = [login for login in answer.reviewers if login.casefold() != case.s.author.casefold()]
    if answer.action == "request_review" and not others:
        return wait("nothing_to_do", "Nobody but its author is to be asked.")
    return None


def updatable(case: Case) -> Guarded | None:
    """A branch of a fork is its owner's, and a conflict a person's."""
    if case.s.fork is not False:
        return wait("fork", "It comes from a fork, or that is not known; its owner updates it.")
    if case.s.mergeable != "MERGEABLE":
        return wait("conflict", f"It is {case.s.mergeable.lower()}; its branch is not updated.", soon(case))
    return None


_OF_A_TEXT: frozenset[str] = frozenset({"comment", "label", "request_review"})
"""Actions of which two on one head are two acts, unless they say the same."""
_ANY: tuple[Guard, ...] = (not_allowed, author, selector)
_FOR_ONE: tuple[Guard, ...] = (told_to_stop, escalated, done_by_rule)
OVERRIDABLE: frozenset[Guard] = GIVING_WAY | {*_ANY, escalated, done_by_rule, approved, reopened}
"""Guards that a person's choice for exactly this head and branch takes the place of. ``no_checks``, ``dequeued`` and
``merge_by_person`` of landing give way to it, too."""

GUARDS: dict[Action, tuple[Guard, ...]] = {
    "merge": (not_open, head_moved, base_moved, *_ANY, *_FOR_ONE, *MERGE_GUARDS),
    "close": (
        not_open,
        head_moved,
        base_moved,
        *_ANY,
        *_FOR_ONE,
        unsure,
        incomplete,
        queued,
        person_decided,
        approved,
        reopened,
        pull_request_limit,
    ),
    "escalate": (not_open, head_moved, base_moved, *_ANY, *_FOR_ONE),
    "comment": (
        not_open,
        head_moved,
        base_moved,
        *_ANY,
        *_FOR_ONE,
        done_already,
        nothing_to_do,
        pull_request_limit,
    ),
    "label": (
        not_open,
        head_moved,
        base_moved,
        *_ANY,
        *_FOR_ONE,
        done_already,
        nothing_to_do,
        pull_request_limit,
    ),
    "request_review": (
        not_open,
        head_moved,
        base_moved,
        *_ANY,
        *_FOR_ONE,
        done_already,
        nothing_to_do,
        pull_request_limit,
    ),
    "update_branch": (
        not_open,
        head_moved,
        base_moved,
        *_ANY,
        *_FOR_ONE,
        done_already,
        updatable,
        pull_request_limit,
    ),
}
"""By action, in the order in which they are asked; where none applies, the action goes on."""


def _goes_on(case: Case) -> Guarded:
    action = case.answer.action
    if action != "merge":
        return Guarded(action=action, message=case.answer.reason)
    decision = landing(case)
    if decision.verdict == "update_branch":
        return Guarded(
            action="update_branch",
            step="update_branch",
            guard=decision.reason,
            message=decision.message,
            retry_at=soon(case, 300.0),
        )
    step: Step = "enqueue" if decision.verdict == "enqueue" else "merge"
    return Guarded(action="merge", step=step, message=case.answer.reason)


def _called(case: Case, found: Guarded) -> Guarded:
    """Return an escalation, or that people are not called again: once for a head and a reason, within the limit."""
    reason = found.guard or MODEL
    for act in case.entry.calls_for_people(case.s.head_sha, case.s.base_branch):
        if act.detail == reason and act.state == "done":
            return wait(
                found.guard or "called_already",
                f"{found.message} People were called {act.at:%Y-%m-%d %H:%M} UTC.",
            )
    return pull_request_limit(case) or found


def _first(case: Case, guards: tuple[Guard, ...]) -> Guarded | None:
    counting = guards if case.consent is None else [each for each in guards if each not in OVERRIDABLE]
    return next((said for guard in counting if (said := guard(case))), None)
