"""Guards of a merge by a rule: landing's decision first, then what only people may settle, then the limits.

In this order a person is called only for a pull request that nothing else keeps from its merge, and its files are
read only then.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from agent_runner.gateway.protected_paths import ProtectedPaths
from airflow_provider_agents.domain.freeze import freeze_faults, frozen_until
from airflow_provider_agents.domain.landing import decide
from airflow_provider_agents.domain.landing_decision import (
    MOST_MERGE_CALLS,
    PATIENCE_SECONDS,
    merge_pause,
    quiet_seconds,
)
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.pr_rule_circumstances import (
    Case,
    Guard,
    Guarded,
    escalate,
    soon,
    unread,
    wait,
)
from airflow_provider_agents.domain.pr_rule_ledger import MERGES, free_at
from airflow_provider_agents.domain.risk import risk
from airflow_provider_agents.domain.untrusted import one_line

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing import Decision

MIN_CONFIDENCE = 0.5
"""Below it a model that wants to merge or to close is not sure enough; a person is asked."""
MOST_FILES = 3000
"""GitHub lists no more files of a pull request, so that nobody knows which further ones it changes."""
MOST_COMMITS = 250
"""The like of commits."""
GHOST = "ghost"
"""GitHub's name for the author whose account was deleted."""
_BOT_SUFFIX = "[bot]"
_STEPS = frozenset({"merge", "enqueue", "update_branch"})
_PEOPLE = frozenset({"merge_by_person"})
"""Waits of landing that only a person ends."""


def landing(case: Case) -> Decision:
    """Return what landing would do with the pull request, by this rule's guards and the repository's settings."""
    return decide(case.s, landing_policy(case), case.history)


def landing_policy(case: Case) -> LandingPolicy:
    """Return the rule's guards, with the repository's settings, in landing's words."""
    guards, platform = case.rule.guards, case.c.platform
    # What the rule escalated waits for a person, in the merge queue as well.
    held = () if case.consent else (case.rule.escalation_label,)
    return LandingPolicy(
        auto_merge=platform.auto_merge,
        merge_method=case.rule.merge_method,
        update_branch=guards.update_branch,
        no_checks=guards.no_checks,
        no_checks_grace_seconds=guards.no_checks_grace_seconds,
        settle_seconds=guards.settle_seconds,
        hold_labels=(*guards.hold_labels, *platform.hold_labels, *held),
        freeze=(*guards.freeze, *platform.freeze),
        rerun_flaky=False,
    )


def withdraw(case: Case) -> Guarded | None:
    """What we queued is taken back where something speaks against it now: it would be merged without another look."""
    decision = landing(case)
    if decision.verdict != "withdraw":
        return None
    return Guarded(
        action="wait", step="withdraw", guard=decision.reason, message=decision.message, retry_at=soon(case)
    )


def landed(case: Case) -> Guarded | None:
    """What keeps a run's own pull request from its merge keeps any other from it: checks, conflicts, objections,
    drafts, labels, freezes.
    """
    decision = landing(case)
    if decision.verdict in _STEPS:
        return None
    if decision.verdict == "escalate" or decision.reason in _PEOPLE:
        return escalate(decision.reason, decision.message)
    return wait(decision.reason, decision.message, _again(case, decision.reason))


def unsure(case: Case) -> Guarded | None:
    """A model that is not sure merges and closes nothing."""
    if case.answer.confidence >= MIN_CONFIDENCE:
        return None
    return escalate("unsure", f"The model is not sure (confidence {case.answer.confidence:.2f}).")


def fork(case: Case) -> Guarded | None:
    """The code of a fork is of somebody without write access: a person merges it, on GitHub's page. By no setting,
    and by no choice on Airflow's page, is it merged here.
    """
    if case.s.fork is False:
        return None
    if case.s.fork is None:
        return wait("fork", "Whether it comes from a fork could not be read.", soon(case))
    return escalate("fork", "It comes from a fork; a person merges it on GitHub.")


def ghost(case: Case) -> Guarded | None:
    """Nobody answers for the change of a deleted account."""
    if case.s.author and (case.s.author != GHOST or case.s.author_is_bot):
        return None
    return escalate("ghost", "The account of its author is gone.")


def files_unreadable(case: Case) -> Guarded | None:
    """What a pull request changes has to be known in full."""
    if case.c.files_fault:
        return escalate("files_unreadable", f"Its files cannot be read: {case.c.files_fault}")
    if case.c.files is None:
        return unread("files")
    count = max(len(case.c.files), case.s.changed_files or 0)
    if count >= MOST_FILES:
        return escalate("files_unreadable", f"It changes {count:,} files; GitHub lists {MOST_FILES:,}.")
    if count > len(case.c.files):
        text = f"It changes {count:,} files, of which GitHub listed {len(case.c.files):,}."
        return escalate("files_unreadable", text)
    return None


def protected_paths(case: Case) -> Guarded | None:
    """Who changes what guards the repository is a person's to judge; so is a file that is moved away from there."""
    if case.c.files is None:
        return None
    patterns = ProtectedPaths((*case.rule.guards.protected_paths, *case.c.platform.protected_paths))
    found = sorted(
        path
        for file in case.c.files
        for path in (file.path, file.previous_path)
        if path and patterns.covers(path)
    )
    if not found:
        return None
    more = f" and {len(found) - 3} more" if len(found) > 3 else ""
    text = ", ".join(one_line(path, 100) for path in found[:3])
    return escalate("protected_paths", f"It changes protected paths: {text}{more}.")


def risky(case: Case) -> Guarded | None:
    """A change of more risk than the ceiling is a person's to merge."""
    limits = [each for each in (case.rule.guards.max_risk, case.c.platform.max_risk) if each is not None]
    if not limits or case.c.files is None:
        return None
    found = risk(case.c.files)
    if found.score <= min(limits):
        return None
    why = "; ".join(f"{part.name} {part.points:+d}" for part in found.parts)
    return escalate("risk", f"Its risk {found.score} is over {min(limits)} ({why}).")


def foreign_commits(case: Case) -> Guarded | None:
    """A rule for a bot is not for what others push to the bot's branch."""
    if not case.s.author_is_bot or not case.rule.selector.authors:
        return None
    if case.c.commits_fault:
        return escalate("foreign_commits", f"Its commits cannot be read: {case.c.commits_fault}")
    if case.c.commit_authors is None:
        return unread("commits")
    known = {_plain(case.s.author), _plain(case.c.own_login)} - {""}
    others = sorted(login for login in case.c.commit_authors if _plain(login) not in known)
    if not others:
        return None
    text = ", ".join(one_line(login, 60) for login in others[:3])
    return escalate("foreign_commits", f"It has commits that {case.s.author} did not make: {text}.")


def argocd_health(case: Case) -> Guarded | None:
    """Merged only into an environment that the rule calls fit for it; unknown is none of those unless it is named."""
    wanted = case.rule.argocd.require
    if not case.rule.argocd.enabled or not wanted:
        return None
    if case.c.health is None:
        return unread("health")
    if case.c.health in wanted:
        return None
    fault = f" ({case.c.health_fault})" if case.c.health_fault else ""
    text = f"Its application is {case.c.health}{fault}; merged is while it is {' or '.join(wanted)}."
    return wait("argocd_health", text, soon(case, 120.0))


def merge_refused(case: Case) -> Guarded | None:
    """GitHub refuses for reasons that the API does not always show beforehand: it is asked again after 15 s, 30 s,
    60 s …, and after five times for one head a person is. A person's choice is one more try.
    """
    tried = [act for kind in MERGES for act in case.entry.of(kind, case.s.head_sha) if act.state != "done"]
    if case.consent:
        tried = [act for act in tried if act.at > case.consent.at]
    if not tried:
        return None
    last = max(tried, key=lambda act: act.at)
    calls = sum(act.calls for act in tried)
    if calls >= MOST_MERGE_CALLS:
        said = last.said or "its answers were lost"
        return escalate("merge_refused", f"GitHub refused to merge this head {calls} times: {one_line(said)}")
    again = last.at + merge_pause(calls)
    return (
        wait("merge_refused", one_line(last.said) or "The answer was lost.", again)
        if again > case.s.read_at
        else None
    )


def ledger_lost(case: Case) -> Guarded | None:
    """Nobody knows how much was merged in the last hour."""
    until = case.c.ledger.hold_until
    if until is None or case.s.read_at >= until:
        return None
    return wait(
        "ledger_lost", f"The ledger of acts was damaged; merges are held until {until:%H:%M} UTC.", until
    )


def merge_limit(case: Case) -> Guarded | None:
    """A rule that goes wrong goes wrong slowly."""
    limit = case.rule.limits.merges_per_hour
    done = case.c.ledger.merges(case.s.repository, case.s.read_at)
    until = free_at(done, limit, case.s.read_at)
    if until is None:
        return None
    return wait(
        "merge_limit", f"Rules merged {len(done)} in {case.s.repository} within an hour, of {limit}.", until
    )


def pull_request_limit(case: Case) -> Guarded | None:
    """The like, for everything that is done to pull requests."""
    limit = case.rule.limits.pull_requests_per_hour
    done = case.c.ledger.touched(case.s.repository, case.s.read_at, but=case.key)
    until = free_at(done, limit, case.s.read_at)
    if until is None:
        return None
    text = f"Rules acted on {len(done)} pull requests of {case.s.repository} within an hour, of {limit}."
    return wait("pull_request_limit", text, until)


MERGE_GUARDS: tuple[Guard, ...] = (
    landed,
    unsure,
    fork,
    ghost,
    files_unreadable,
    protected_paths,
    risky,
    foreign_commits,
    argocd_health,
    merge_refused,
    ledger_lost,
    merge_limit,
    pull_request_limit,
)
"""In the order in which they are asked; where none applies, the merge goes on."""

GIVING_WAY: frozenset[Guard] = frozenset(
    {unsure, ghost, files_unreadable, protected_paths, risky, foreign_commits, argocd_health}
)
"""Those that a person's choice takes the place of."""


def _again(case: Case, reason: str) -> datetime | None:
    """Return when time alone may have changed what landing says."""
    guards, s = case.rule.guards, case.s
    if reason == "frozen":
        windows = (*guards.freeze, *case.c.platform.freeze)
        return None if freeze_faults(windows) else frozen_until(windows, s.read_at)
    if reason == "settling":
        left = guards.settle_seconds - quiet_seconds(s, case.history)
        return soon(case, max(1.0, left))
    if reason == "no_checks_yet":
        first = case.c.head_first_seen or s.read_at
        return max(soon(case, 1.0), first + timedelta(seconds=guards.no_checks_grace_seconds))
    if reason in ("required_missing", "blocked"):
        return soon(case, max(60.0, PATIENCE_SECONDS - quiet_seconds(s, case.history)))
    if reason in _PASSING:
        return soon(case)
    return None


_PASSING = frozenset(
    {
        "incomplete",
        "mergeability_unknown",
        "queue_not_shown",
        "update_not_shown",
        "withdrawal_not_shown",
        "base_broken",
    }
)
"""Waits whose end the listing of open pull requests need not show."""


def _plain(login: str) -> str:
    return login.casefold().removesuffix(_BOT_SUFFIX)
