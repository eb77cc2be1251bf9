"""One look of a rule: list, read what changed, say whose turn it is, set the money aside."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.pr_rule_budget import affordable, day_of, next_day, reserve
from airflow_provider_agents.domain.pr_rule_facts import (
    context_hash,
    environment_of,
    facts_of,
    part_hashes,
    unsettled,
)
from airflow_provider_agents.domain.pr_rule_item import RuleItem
from airflow_provider_agents.domain.pr_rule_look import Look, LookFault, Question
from airflow_provider_agents.domain.pr_rule_prompt import Material, build_prompt
from airflow_provider_agents.domain.pr_rule_selector import fits
from airflow_provider_agents.domain.pr_rule_turn import (
    FullReading,
    Turn,
    call_failed,
    in_turn,
    is_due,
    listing_mark,
    turn,
    unread,
    waits_for_person,
    without_money,
)
from airflow_provider_agents.domain.untrusted import one_line
from airflow_provider_agents.exceptions import ForgeError, ForgeRateLimitedError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_owners import run_with_owners
from airflow_provider_agents.hooks.github_scope import resolve, rule_scope
from airflow_provider_agents.hooks.pr_rule_models import rule_model
from airflow_provider_agents.operators.pr_rule_application import application_readings
from airflow_provider_agents.operators.pr_rule_material import most_bytes
from airflow_provider_agents.operators.pr_rule_records import read_state, write_state
from airflow_provider_agents.operators.pr_rule_sources import load_rule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.argocd_application import ApplicationReading
    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_state import Seen
    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot
    from airflow_provider_agents.hooks.github_owners import OwnersClient
    from airflow_provider_agents.hooks.github_reading import Ref
    from airflow_provider_agents.hooks.pr_rule_model import RuleModel
    from airflow_provider_agents.operators.pr_rule_application import Place
    from airflow_provider_agents.operators.pr_rule_look import LookForPullRequestsOperator

MOST_READ = 500
"""Pull requests that one look reads in full, if the rule does not decide about more in one run."""
CHUNK = 50
"""Pull requests that are read before it is asked whether that is enough."""
AT_A_TIME = 4
"""Questions that a run asks at a time."""
QUESTIONS_SECONDS = 5400.0
"""Of all questions of a run: Airflow ends it after three hours, and what was answered by then would be lost."""
SOONEST_POLL = 60.0
"""Seconds: how soon to look again at least, where a rule waits for an application."""
MOST_SHOWN = 200
"""Rows of the log's table."""
_TITLE = 48


@dataclass(slots=True)
class LookResult:
    """What one look found out."""

    look: Look
    asked: list[RuleItem]
    standing: list[RuleItem]


@dataclass(slots=True)
class _Listed:
    """The open pull requests of the rule's repositories."""

    repositories: tuple[str, ...]
    entries: list[OpenPullRequest]
    faults: dict[str, ForgeError]
    """By repository, or by owner where its repositories could not be listed."""


@dataclass(slots=True)
class _Taken:
    """A pull request that was read in full, and what is done about it."""

    entry: OpenPullRequest
    turn: Turn
    item: RuleItem


@dataclass(slots=True)
class _Found:
    """What was found out so far."""

    seen: dict[str, Seen] = field(default_factory=dict)
    to_ask: list[_Taken] = field(default_factory=list)
    standing: list[RuleItem] = field(default_factory=list)
    faults: list[LookFault] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    with_people: list[str] = field(default_factory=list)
    left: int = 0
    read: int = 0
    not_before: datetime | None = None


class RuleLook:
    """One look."""

    def __init__(self, operator: LookForPullRequestsOperator, context: Context) -> None:
        self.log = operator.log
        self.name = operator.rule
        self.run_id = str(context["ti"].run_id)
        self.now = datetime.now(UTC)
        self.rule = load_rule(self.name)
        self.version = self.rule.version
        self.scope = rule_scope(self.rule)
        self.state = read_state(self.name)
        self._applications: dict[Place, ApplicationReading] = {}

    def run(self) -> LookResult:
        """Look.

        :raises ForgeError: nothing at all could be read, or a rate limit is used up.
        :raises InvalidInputError: there is something to ask, and no model that can be asked.
        """
        listed = run_with_owners(self.scope.connection, self._list)
        found = _Found()
        for name, error in listed.faults.items():
            found.faults.append(LookFault(type="github", text=f"{name}: {error}"))
            self.log.warning("%s could not be listed: %s", name, error)
        matched = [entry for entry in listed.entries if fits(entry, self.rule.selector)]
        self._read_applications(matched, found)
        due = self._due(matched, found)
        self._read(due, found)
        asked, unpaid = self._pay(found)
        look = self._look(listed, matched, found, asked, unpaid)
        self._show(look, found)
        return LookResult(look=look, asked=asked, standing=found.standing)

    async def _list(self, client: OwnersClient) -> _Listed:
        resolved = await resolve(client, self.scope)
        listed = _Listed(resolved.repositories, [], dict(resolved.faults))
        answers = await client.open_pull_requests(resolved.repositories) if resolved.repositories else {}
        for repository, answer in answers.items():
            if isinstance(answer, ForgeError):
                listed.faults[repository] = answer
            else:
                listed.entries += answer
        if listed.faults and not set(listed.repositories) - set(listed.faults):
            raise next(iter(listed.faults.values()))
        return listed

    def _read_applications(self, matched: Sequence[OpenPullRequest], found: _Found) -> None:
        self._applications = application_readings(self.rule, {self._place(entry) for entry in matched})
        for text in sorted({reading.fault for reading in self._applications.values() if reading.fault}):
            found.faults.append(LookFault(type="argocd", text=text))
            self.log.warning("An application could not be read, its health is Unknown: %s", text)

    def _place(self, entry: OpenPullRequest) -> Place:
        return entry.repository, environment_of(entry.labels, self.rule)

    def _mark(self, entry: OpenPullRequest) -> str:
        reading = self._applications.get(self._place(entry))
        parts = (reading.health, reading.sync, reading.revisions, reading.images) if reading else ()
        return listing_mark(entry, self.version, repr(parts) if parts else "")

    def _due(self, matched: Sequence[OpenPullRequest], found: _Found) -> list[OpenPullRequest]:
        """Return the pull requests that are to be read in full, in the order of their turns."""
        due: list[OpenPullRequest] = []
        for entry in matched:
            seen = self.state.pull_requests.get(entry.key)
            if waits_for_person(entry, self.rule) and not call_failed(seen, entry.head_sha):
                found.with_people.append(entry.key)
                self._row(found, entry, "a person's", f"it has the label {self.rule.escalation_label}")
            elif is_due(seen, self._mark(entry), self.now):
                due.append(entry)
            else:
                found.counts["unchanged"] += 1
        return in_turn(due, self.state.pull_requests, self.now)

    def _read(self, due: Sequence[OpenPullRequest], found: _Found) -> None:
        """Read and judge, until there is enough to ask about."""
        most = most_questions(self.rule)
        waiting = list(due)
        why = f"this one asks about {most} at most"
        while waiting and len(found.to_ask) < most and found.read < max(MOST_READ, most):
            some = waiting[:CHUNK]
            refs = [(entry.repository, entry.number) for entry in some]
            try:
                answers = self._snapshots(refs)
            except ForgeUnavailableError as error:
                if not found.read:
                    raise
                found.not_before = getattr(error, "retry_at", None)
                found.faults.append(LookFault(type="github", text=str(error)))
                self.log.warning("The others are read in the next run: %s", error)
                why = "GitHub gave no more"
                break
            waiting = waiting[CHUNK:]
            found.read += len(some)
            for entry in some:
                try:
                    self._judge(entry, answers[entry.repository, entry.number], found)
                except Exception as error:  # whatever it is, it stops no other pull request
                    self.log.exception("%s#%d could not be judged", entry.repository, entry.number)
                    self._unread(entry, f"{type(error).__name__}: {error}", found)
        over = found.to_ask[most:]
        del found.to_ask[most:]
        for entry in (*(taken.entry for taken in over), *waiting):
            found.left += 1
            found.seen.pop(entry.key, None)
            self._row(found, entry, "next run", why)

    def _snapshots(self, refs: Sequence[Ref]) -> dict[Ref, PullRequestSnapshot | ForgeError]:
        """Return a reading of each, or why there is none.

        :raises ForgeUnavailableError: GitHub gives none now.
        """
        try:
            return run_with_owners(self.scope.connection, lambda client: client.snapshots(refs))
        except ForgeUnavailableError as error:
            if len(refs) == 1 and not isinstance(error, ForgeRateLimitedError):
                return dict.fromkeys(refs, error)  # the listing came: it is this one
            raise
        except ForgeError as error:
            return dict.fromkeys(refs, error)

    def _judge(self, entry: OpenPullRequest, answer: PullRequestSnapshot | ForgeError, found: _Found) -> None:
        before = self.state.pull_requests.get(entry.key)
        mark = self._mark(entry)
        if isinstance(answer, ForgeError):
            found.seen[entry.key] = unread(before, mark, self.now)
            found.faults.append(LookFault(type="github", text=f"{entry.repository}#{entry.number}: {answer}"))
            self._row(found, entry, "unread", str(answer))
            return
        if answer.state != "OPEN":
            self._row(found, entry, "gone", f"it is {answer.state.lower()} by now")
            return
        application = self._applications.get(self._place(entry))
        facts = facts_of(answer, self.rule, application=application, now=self.now)
        reading = FullReading(
            mark=mark,
            version=self.version,
            head_sha=answer.head_sha,
            context_hash=context_hash(self.rule, facts),
            parts=part_hashes(facts),
            read_at=answer.read_at,
            unsettled=unsettled(facts, checks=not self.rule.ask_while_checks_run) or _away(application),
            listing_settled=entry.checks_state not in ("PENDING", "EXPECTED")
            and entry.mergeable != "UNKNOWN",
        )
        taken = turn(reading, before, self.now)
        seen = taken.seen
        item = RuleItem(
            rule=self.name,
            version=self.version,
            entry=_as_read(entry, answer),
            facts=facts,
            context_hash=reading.context_hash,
            parts=reading.parts,
            head_first_seen=seen.head_first_seen or answer.read_at,
            standing=seen.answer if taken.verdict == "stands" else None,
            answered_at=seen.answered_at if taken.verdict == "stands" else None,
            failures=seen.failures,
        )
        found.seen[entry.key] = seen
        if taken.verdict == "ask":
            found.to_ask.append(_Taken(entry=entry, turn=taken, item=item))
        else:
            if taken.verdict == "stands":
                found.standing.append(item)
            self._row(found, entry, taken.verdict, taken.why)

    def _unread(self, entry: OpenPullRequest, why: str, found: _Found) -> None:
        before = self.state.pull_requests.get(entry.key)
        found.seen[entry.key] = unread(before, self._mark(entry), self.now)
        found.faults.append(LookFault(type="github", text=f"{entry.repository}#{entry.number}: {why}"))
        self._row(found, entry, "unread", why)

    def _pay(self, found: _Found) -> tuple[list[RuleItem], int]:
        """Set aside what the questions may cost; return those that there is money for, and how many have to wait."""
        if not found.to_ask:
            return [], 0
        model = rule_model(self.rule)
        limit = self.rule.limits.usd_per_day
        spent = self.state.spent(day_of(self.now))
        prices = [self._price(model, taken.item) for taken in found.to_ask]
        fits_in = affordable(prices, spent, limit)
        asked: list[RuleItem] = []
        unpaid = 0
        for taken, price, paid in zip(found.to_ask, prices, fits_in, strict=True):
            key = taken.entry.key
            if paid:
                asked.append(dataclasses.replace(taken.item, most_usd=price))
                self._row(found, taken.entry, "ask", taken.turn.why)
            elif any(fits_in) and price <= limit:
                # Most of what is set aside for the others is free again once they are asked.
                found.left += 1
                del found.seen[key]
                self._row(found, taken.entry, "next run", "the budget of the day is set aside for others")
            else:
                unpaid += 1
                before = self.state.pull_requests.get(key)
                found.seen[key] = without_money(taken.turn, before, next_day(self.now))
                self._row(found, taken.entry, "no money", f"may cost {price:.4f} USD; {taken.turn.why}")
        if unpaid:
            dearest = max(price for price, paid in zip(prices, fits_in, strict=True) if not paid)
            text = (
                f"{unpaid} pull requests wait for tomorrow's budget (UTC): {spent:.2f} of {limit:g} USD are spent or "
                f"set aside, one of them may cost {dearest:.4f}. Raise `limits.usd_per_day` of the rule to go on now"
            )
            self.log.warning("%s.", text)
            found.faults.append(LookFault(type="ai", text=text))
        if asked:
            self.state = reserve(self.state, self.run_id, sum(item.most_usd for item in asked), self.now)
            write_state(self.name, self.state)
        return asked, unpaid

    def _price(self, model: RuleModel, item: RuleItem) -> float:
        """Return what a question may cost at the most; 0 where it cannot be put, which is found out when it is."""
        try:
            prompt = build_prompt(self.rule, item.facts, Material(), self.now)
        except ValueError:
            return 0.0
        longest = dataclasses.replace(prompt, facts=prompt.facts + "x" * most_bytes(self.rule))
        return model.most_usd(longest)

    def _look(
        self,
        listed: _Listed,
        matched: Sequence[OpenPullRequest],
        found: _Found,
        asked: Sequence[RuleItem],
        unpaid: int,
    ) -> Look:
        poll = max(self.rule.interval, SOONEST_POLL) if self.rule.argocd.enabled else None
        return Look(
            rule=self.name,
            version=self.version,
            run_id=self.run_id,
            at=self.now,
            repositories=len(listed.repositories),
            unlisted=tuple(name.casefold() for name in listed.faults),
            list_again=any(isinstance(error, ForgeUnavailableError) for error in listed.faults.values()),
            listed=len(listed.entries),
            matched=tuple(entry.key for entry in matched),
            with_people=tuple(found.with_people),
            seen=found.seen,
            asked={
                item.key: Question(usd=item.most_usd, context_hash=item.context_hash, parts=item.parts)
                for item in asked
            },
            standing=tuple(item.key for item in found.standing),
            left=found.left,
            unpaid=unpaid,
            not_before=found.not_before,
            poll_seconds=poll,
            faults=tuple(found.faults),
        )

    def _row(self, found: _Found, entry: OpenPullRequest, what: str, why: str) -> None:
        found.counts[what] += 1
        if len(found.rows) < MOST_SHOWN:
            name = f"{entry.repository}#{entry.number}"
            found.rows.append((name, one_line(entry.title, _TITLE), what, one_line(why)))

    def _show(self, look: Look, found: _Found) -> None:
        """Log what is done with each pull request, and why."""
        self.log.info(
            "Repositories: %d. Open pull requests: %d, the rule is for %d of them: %s.",
            look.repositories,
            look.listed,
            len(look.matched),
            ", ".join(f"{what} {count}" for what, count in found.counts.most_common()) or "none",
        )
        self.log.info("Read in full: %d. Asked about: %d.", found.read, len(look.asked))
        if found.rows:
            rows = [("pull request", "title", "turn", "why"), *found.rows]
            widths = [max(len(row[column]) for row in rows) for column in range(3)]
            lines = [
                "  ".join((*(cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)), row[3]))
                for row in rows
            ]
            self.log.info("Whose turn it is, and why:\n%s", "\n".join(lines))
        if (more := sum(found.counts.values()) - found.counts["unchanged"] - len(found.rows)) > 0:
            self.log.info("%d more are not shown.", more)


def most_questions(rule: PullRequestRule) -> int:
    """Return how many questions one run asks at the most: for more it has no time, or Airflow no mapped tasks."""
    from airflow.sdk.configuration import conf

    in_time = AT_A_TIME * int(QUESTIONS_SECONDS / rule.model.timeout)
    mapped = int(conf.getint("core", "max_map_length", fallback=1024))
    return max(1, min(rule.max_pull_requests, in_time, mapped))


def _away(application: ApplicationReading | None) -> str:
    """Return why nobody is asked yet: what a moment's outage of Argo CD looks like is no fact to decide about."""
    if application is None or application.fault_kind != "unavailable":
        return ""
    return "Argo CD does not answer."


def _as_read(entry: OpenPullRequest, snapshot: PullRequestSnapshot) -> OpenPullRequest:
    """Return the entry with the head that the facts are about: it may have moved since it was listed."""
    return dataclasses.replace(
        entry,
        title=snapshot.title,
        labels=snapshot.labels,
        head_sha=snapshot.head_sha,
        base_branch=snapshot.base_branch,
        draft=snapshot.draft,
        mergeable=snapshot.mergeable,
        merge_state=snapshot.merge_state,
    )
