"""Whose turn it is in a run of a rule: which pull requests are read in full, and which the model is asked about.

Pure; what is remembered of a run is in :mod:`.pr_rule_after`.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from airflow_provider_agents.domain.pr_rule_answer import LATEST, SOONEST
from airflow_provider_agents.domain.pr_rule_state import Seen

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_decision import Fault, RuleAnswer

UNSETTLED_AT_MOST = timedelta(hours=6)
"""Time after which the model is asked although checks still run."""
READ_AGAIN_AFTER = timedelta(hours=6)
"""Not all that counts shows in the listing: by then everything is read again, without asking anybody."""
LOOK_AGAIN_AFTER = timedelta(minutes=1)
"""Where the listing will not tell of the change that is waited for."""
READ_FAILED_AGAIN_AFTER = timedelta(minutes=5)
SLOWER = 0.1
"""Share of the time that it takes already after which one of these is looked at again, where that is longer."""
BACKOFF = tuple(timedelta(minutes=minutes) for minutes in (1, 5, 15, 60))
"""Time until the next question, by how many in a row brought no answer."""
LONGEST_BACKOFF = timedelta(hours=1)
GIVE_UP_AFTER = 5
"""Questions in a row after which a person is called, where it is the answers that are of no use."""
USELESS: frozenset[Fault] = frozenset({"refused", "malformed", "truncated"})
GAVE_UP = "model_gave_up"
"""Name of the guard that calls a person then."""
CARRIED_OUT = frozenset({"done", "dry_run"})

Verdict = Literal["ask", "stands", "rests", "waits", "unsettled", "backs_off", "gave_up"]
"""``stands``: an earlier answer is to be carried out. ``rests``: it was carried out. ``waits``: it was to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FullReading:
    """What was found out about one pull request now."""

    mark: str
    """See :func:`listing_mark`."""
    version: str
    """Of the rule."""
    head_sha: str
    context_hash: str
    parts: Mapping[str, str]
    """Hash of each part of the facts."""
    read_at: datetime | None = None
    """By GitHub's clock, which the times of checks are compared with; ``None``: now."""
    unsettled: str = ""
    """Why nobody is asked yet; empty where somebody may be."""
    listing_settled: bool = False
    """Whether the listing shows nothing that is unsettled, and so may not change when the rest settles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is done about one pull request in this run."""

    verdict: Verdict
    why: str
    """For people."""
    seen: Seen
    """What is remembered of it, before anybody is asked or anything is done."""


def listing_mark(entry: OpenPullRequest, version: str, application: str = "") -> str:
    """Return what stays the same while a pull request need not be read again.

    :param version: of the rule.
    :param application: what Argo CD says of its application, as a text; empty without one.
    """
    text = "\n".join((entry.fingerprint, version, application))
    return hashlib.sha256(text.encode(errors="replace")).hexdigest()[:16]


def is_due(seen: Seen | None, mark: str, now: datetime) -> bool:
    """Say whether a pull request is to be read in full: something changed, or the time has come."""
    if seen is None or seen.listing != mark or seen.read_at is None:
        return True
    return (seen.retry_at is not None and now >= seen.retry_at) or abs(now - seen.read_at) >= READ_AGAIN_AFTER


def waits_for_person(entry: OpenPullRequest, rule: PullRequestRule) -> bool:
    """Say whether a pull request was put before a person: it carries the rule's label."""
    wanted = rule.escalation_label.casefold()
    return any(label.casefold() == wanted for label in entry.labels)


def call_failed(seen: Seen | None, head_sha: str) -> bool:
    """Say whether a call for people about this head failed, so that the label may be all that came of it."""
    if seen is None or seen.outcome != "failed" or seen.head_sha != head_sha:
        return False
    return bool(seen.guard) or seen.answer is None or seen.answer.action == "escalate"


def in_turn(
    entries: Iterable[OpenPullRequest], known: Mapping[str, Seen], now: datetime
) -> list[OpenPullRequest]:
    """Return pull requests in the order of their turns: the longest not considered first.

    One that never was waits since it was opened.
    """

    def since(entry: OpenPullRequest) -> tuple[datetime, str, int]:
        seen = known.get(entry.key)
        moment = seen.considered_at if seen and seen.considered_at else min(entry.created_at, now)
        return moment, entry.repository.casefold(), entry.number

    return sorted(entries, key=since)


def turn(reading: FullReading, seen: Seen | None, now: datetime) -> Turn:
    """Return what is done about a pull request that was read in full.

    :param seen: what was known of it before.
    """
    known = _carried_over(reading, seen, now)
    verdict, why, look_at = _verdict(reading, known, now)
    if verdict == "ask" and reading.unsettled:
        since = min(known.unsettled_since or now, now)
        if now - since < UNSETTLED_AT_MOST:
            look_at = since + UNSETTLED_AT_MOST
            if reading.listing_settled:
                look_at = min(look_at, now + max(LOOK_AGAIN_AFTER, (now - since) * SLOWER))
            known = dataclasses.replace(known, unsettled_since=since, retry_at=look_at)
            return Turn(verdict="unsettled", why=reading.unsettled, seen=known)
        why = f"{why}; waited {UNSETTLED_AT_MOST.total_seconds() / 3600:g} h, and still: {reading.unsettled}"
    if not reading.unsettled:
        known = dataclasses.replace(known, unsettled_since=None)
    return Turn(verdict=verdict, why=why, seen=dataclasses.replace(known, retry_at=look_at))


def unread(seen: Seen | None, mark: str, now: datetime) -> Seen:
    """Return what is remembered of a pull request that could not be read; others go before it next time.

    :param mark: see :func:`listing_mark`.
    """
    known = seen or Seen(seen_at=now)
    since = min(known.unsettled_since or now, now)
    return dataclasses.replace(
        known,
        seen_at=now,
        listing=mark,
        read_at=now,
        considered_at=now,
        unsettled_since=since,
        retry_at=now + max(READ_FAILED_AGAIN_AFTER, (now - since) * SLOWER),
    )


def without_money(turn_: Turn, before: Seen | None, until: datetime) -> Seen:
    """Return what is remembered of a pull request whose question the budget does not allow; it keeps its turn.

    :param before: what was known of it.
    :param until: when there is money again.
    """
    since = before.considered_at if before else None
    return dataclasses.replace(turn_.seen, considered_at=since, retry_at=until)


def wait_ends(answer: RuleAnswer, answered_at: datetime) -> datetime | None:
    """Return when the model is asked again although nothing changed, by its own answer ``wait``."""
    if answer.until is None:
        return None
    return min(max(answer.until, answered_at + SOONEST), answered_at + LATEST)


def backoff(failures: int, retry_after: float | None = None) -> timedelta:
    """Return the time until the next question.

    :param failures: questions in a row without an answer, at least 1.
    :param retry_after: seconds that the API named.
    """
    if retry_after is not None:
        return min(max(timedelta(seconds=retry_after), timedelta(seconds=1)), LONGEST_BACKOFF)
    return BACKOFF[min(max(failures, 1), len(BACKOFF)) - 1]


def _carried_over(reading: FullReading, seen: Seen | None, now: datetime) -> Seen:
    """Return what goes on to hold now that the pull request was read."""
    first_seen = reading.read_at or now
    if seen is None:
        known = Seen(seen_at=now, head_sha=reading.head_sha, head_first_seen=first_seen)
    elif seen.head_sha != reading.head_sha:
        # An answer that acts was given for the head that was. One that waits harms nobody.
        waits = seen.answer is not None and seen.answer.action == "wait"
        known = dataclasses.replace(
            seen,
            head_sha=reading.head_sha,
            head_first_seen=first_seen,
            unsettled_since=None,
            answer=seen.answer if waits else None,
            outcome="",
            guard="",
            failures=0,
            fault="",
            retry_at=None,
        )
    elif seen.failures and seen.version != reading.version:
        known = dataclasses.replace(seen, outcome="", guard="", failures=0, fault="", retry_at=None)
    else:
        known = seen
    return dataclasses.replace(known, seen_at=now, read_at=now, considered_at=now, listing=reading.mark)


def _verdict(reading: FullReading, seen: Seen, now: datetime) -> tuple[Verdict, str, datetime | None]:
    """Return the verdict, why, and when to look again although nothing changes."""
    same_rule = seen.version == reading.version
    same = same_rule and seen.context_hash == reading.context_hash
    if seen.failures and seen.guard == GAVE_UP and seen.outcome != "failed" and same:
        return "gave_up", f"{seen.failures} answers in a row were of no use; a person was called", None
    if seen.failures and _still_ahead(seen.retry_at, now):
        return "backs_off", f"the last question brought no answer ({seen.fault or 'lost'})", seen.retry_at
    if seen.failures:
        return "ask", f"the last question brought no answer ({seen.fault or 'lost'})", None
    if seen.answer is None or seen.answered_at is None:
        return "ask", "nobody was asked about this head yet", None
    if not same_rule:
        return "ask", "the rule changed", None
    if seen.answer.action == "wait":
        return _waiting(reading, seen, seen.answer, seen.answered_at, now, same=same)
    if not same:
        return "ask", f"it changed: {_changed(reading, seen)}", None
    if seen.outcome in CARRIED_OUT:
        return "rests", f"{seen.answer.action} was carried out ({seen.outcome})", None
    if seen.outcome == "failed" and _still_ahead(seen.retry_at, now):
        return "backs_off", f"{seen.answer.action} failed", seen.retry_at
    put_off = f", put off by {seen.guard}" if seen.guard else ""
    return "stands", f"{seen.answer.action} was decided at {seen.answered_at:%m-%d %H:%M}{put_off}", None


def _waiting(
    reading: FullReading, seen: Seen, answer: RuleAnswer, answered_at: datetime, now: datetime, *, same: bool
) -> tuple[Verdict, str, datetime | None]:
    until = wait_ends(answer, answered_at)
    if until is not None and now >= until:
        return "ask", "the time until which it was to wait has come", None
    if same:
        return "waits", f"nothing that it can see changed; waits for {answer.wait_for}", until
    if answer.wait_for == "anything" or _differs(answer.wait_for, reading, seen):
        return "ask", f"it changed: {_changed(reading, seen)}", None
    latest = answered_at + LATEST
    if now >= latest:
        return (
            "ask",
            f"it changed: {_changed(reading, seen)}, and {answer.wait_for} did not come in time",
            None,
        )
    return "waits", f"waits for {answer.wait_for}", min(until, latest) if until else latest


def _still_ahead(retry_at: datetime | None, now: datetime) -> bool:
    """Say whether a pause lasts; one that is longer than any came of a clock that was wrong."""
    return retry_at is not None and now < retry_at <= now + 2 * LONGEST_BACKOFF


def _differs(part: str, reading: FullReading, seen: Seen) -> bool:
    return reading.parts.get(part) != seen.parts.get(part)


def _changed(reading: FullReading, seen: Seen) -> str:
    changed = [part for part in sorted(reading.parts) if _differs(part, reading, seen)]
    return ", ".join(changed) or "other facts"
