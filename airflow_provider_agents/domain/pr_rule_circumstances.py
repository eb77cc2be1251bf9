"""What a guard of the rules looks at, and what it says: shared by :mod:`.pr_rule_guards` and the guards of a merge."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from airflow_provider_agents.domain.authority import BY_WRITERS
from airflow_provider_agents.domain.commands import pending_commands
from airflow_provider_agents.domain.landing_history import Enqueued, LandingHistory
from airflow_provider_agents.domain.pr_rule_ledger import Consent, Entry, RuleLedger

if TYPE_CHECKING:
    from airflow_provider_agents.domain.authority_rules import AuthorityRules
    from airflow_provider_agents.domain.pr_rule import Action, Health, PullRequestRule
    from airflow_provider_agents.domain.pr_rule_decision import RuleAnswer
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.domain.risk import ChangedFile

Step = Literal["", "merge", "enqueue", "update_branch", "withdraw"]
Need = Literal["", "files", "commits", "reopened", "health"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What is to be done after the guards."""

    action: Action
    step: Step = ""
    """How, where there are several ways: with a merge queue a merge is an ``enqueue``, and one may have to bring
    the branch up to date first (action ``update_branch``) or take back what is queued (action ``wait``)."""
    guard: str = ""
    """Name of the guard that changed the action; empty: none did."""
    message: str = ""
    """One sentence for people."""
    retry_at: datetime | None = None
    """When to look again although nothing changed at GitHub."""
    needs: Need = ""
    """What has to be read before it can be said; the action is ``wait`` until then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlatformGuards:
    """What ``repositories.yaml`` says about merges in the repository; it counts beside the rule's own guards."""

    freeze: tuple[str, ...] = ()
    hold_labels: tuple[str, ...] = ()
    protected_paths: tuple[str, ...] = ()
    max_risk: int | None = None
    auto_merge: bool = True
    """Whether anything but people may merge."""
    authority: AuthorityRules = BY_WRITERS
    """Whose ``/stop`` counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What the guards go by, beside the answer, the rule and a fresh reading of the pull request."""

    rule_name: str
    decided_head: str
    """Head that was decided about."""
    decided_base: str
    """Branch that it was to go into."""
    head_first_seen: datetime | None = None
    """``None``: at the reading."""
    ledger: RuleLedger = field(default_factory=RuleLedger)
    platform: PlatformGuards = field(default_factory=PlatformGuards)
    files: tuple[ChangedFile, ...] | None = None
    """``None``: not read yet; they are read only where all that is cheaper to know allows the merge."""
    files_fault: str = ""
    """Why they cannot be read."""
    commit_authors: frozenset[str] | None = None
    """Logins, of a commit without a verified signature a text that is none; ``None``: not read yet."""
    commits_fault: str = ""
    own_login: str = ""
    """Of the account that we act with: it updates branches."""
    reopened_by: str | None = None
    """Who opened it again last after it was closed; empty: nobody did; ``None``: not read yet."""
    health: Health | None = None
    """Of its application in Argo CD; ``None``: not read yet."""
    health_fault: str = ""


@dataclass(frozen=True, slots=True)
class Case:
    """One answer about one pull request, as every guard sees it."""

    answer: RuleAnswer
    s: PullRequestSnapshot
    rule: PullRequestRule
    c: Circumstances

    @property
    def key(self) -> str:
        """Return ``owner/name#7`` in small letters."""
        return f"{self.s.repository.casefold()}#{self.s.number}"

    @property
    def entry(self) -> Entry:
        """Return what the ledger knows of the pull request."""
        return self.c.ledger.entry(self.key)

    @property
    def consent(self) -> Consent | None:
        """Return the choice of a person that the answer carries out, for exactly the head and base that are shown."""
        found = self.entry.consent(self.s.head_sha, self.s.base_branch)
        return found if found is not None and found.choice == self.answer.action else None

    @property
    def history(self) -> LandingHistory:
        """Return what landing has to know of earlier acts."""
        head, entry = self.s.head_sha, self.entry
        base = LandingHistory(authority=self.c.platform.authority)
        commands = pending_commands(self.s, base)
        words = [each for each in commands if each.name in ("stop", "retry", "merge")]
        # A command other than a standing /stop is for runs of agents, not for rules.
        stop = {words[-1].key} if words and words[-1].name == "stop" else set()
        return dataclasses.replace(
            base,
            heads_first_seen={head: self.c.head_first_seen or self.s.read_at},
            enqueued=tuple(
                Enqueued(head_sha=act.head_sha, at=act.at)
                for act in entry.of("enqueue")
                for _ in range(act.calls)
                if act.state != "refused"
            ),
            # One that GitHub did not carry out is tried again.
            withdrawn=tuple(
                Enqueued(head_sha=act.head_sha, at=act.at)
                for act in entry.of("withdraw")
                for _ in range(act.calls)
                if act.state == "done"
            ),
            updated_heads=tuple(
                dict.fromkeys(act.head_sha for act in entry.of("update_branch") if act.state != "refused")
            ),
            commands=frozenset(each.key for each in commands) - stop,
            approved_heads=frozenset({head}) if self.consent else frozenset(),
        )


Guard = Callable[[Case], Guarded | None]


def wait(guard: str, message: str, retry_at: datetime | None = None) -> Guarded:
    """Return that nothing is done now."""
    return Guarded(action="wait", guard=guard, message=message, retry_at=retry_at)


def escalate(guard: str, message: str) -> Guarded:
    """Return that people are called."""
    return Guarded(action="escalate", guard=guard, message=message)


def unread(need: Need) -> Guarded:
    """Return that something has to be read first."""
    return Guarded(action="wait", guard="unread", message=f"The {need} were not read yet.", needs=need)


def soon(case: Case, seconds: float = 60.0) -> datetime:
    """Return a moment after the reading."""
    return case.s.read_at + timedelta(seconds=seconds)
