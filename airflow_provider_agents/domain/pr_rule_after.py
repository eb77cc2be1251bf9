"""What a rule remembers once a run has ended. Pure."""

from __future__ import annotations

import dataclasses
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.pr_rule_budget import day_of, settle
from airflow_provider_agents.domain.pr_rule_state import FORGET_AFTER, MOST_GONE, Pass, RuleState, Seen
from airflow_provider_agents.domain.pr_rule_turn import CARRIED_OUT, backoff, wait_ends

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision
    from airflow_provider_agents.domain.pr_rule_look import ErrorType, Look, Question

UNLISTED_AGAIN_AFTER = timedelta(minutes=5)
LOST_AGAIN_AFTER = timedelta(minutes=1)
"""Where an answer was to be carried out and nothing says what came of it."""
CLOCKS_DIFFER = timedelta(minutes=15)
"""By which the clocks of two workers may differ: only a run that is older than that is surely an old one."""
MOST_FAULTS = 20
MOST_OF_A_FAULT = 300
"""Characters."""


def after(state: RuleState, look: Look, decisions: Sequence[PullRequestDecision], now: datetime) -> RuleState:
    """Return the memory after a run.

    A question of which nothing came back counts as one without an answer that cost all that was set aside. Where the
    run, or a later one, is in the memory already, as after a clear of its last task, nothing is counted again but what
    was asked since.

    :param state: as it was written last: by the look of this run, or an earlier one.
    :param decisions: with their outcomes; of questions and of answers that stood.
    :param now: the end of the run, timezone-aware.
    """
    if state.last_pass is not None and _is_known(look, state.last_pass, now):
        return _once_more(state, state.last_pass, look, decisions, now)
    decided = {decision.key: decision for decision in decisions}
    known: dict[str, Seen] = {**state.pull_requests, **look.seen}
    for key, question in look.asked.items():
        known[key] = _after_question(known, key, look, question, decided.get(key))
    for key in look.standing:
        known[key] = _after_act(known, key, look, decided.get(key))
    for key in look.matched:
        if key in known:
            known[key] = dataclasses.replace(known[key], seen_at=look.at)
    new = [each for each in decisions if each.asked or each.outcome in CARRIED_OUT]
    faults = _faults(look, decisions)
    state = settle(state, look.run_id, day_of(look.at), _cost(look, decided), now, aside=_aside(look))
    return dataclasses.replace(
        state,
        pull_requests=_kept(known, look, now),
        last_pass=Pass(
            at=look.at,
            run_id=look.run_id,
            ended_at=now,
            repositories=look.repositories,
            listed=look.listed,
            matched=len(look.matched),
            asked=len(look.asked),
            left=look.left + look.unpaid,
            acted=sum(each.outcome == "done" for each in decisions),
            faults=faults[:MOST_FAULTS],
        ),
        last_error=faults[0] if faults else state.last_error,
        last_error_at=now if faults else state.last_error_at,
        processed=state.processed + len(new),
        actions=_counted(state.actions, (each.action for each in new)),
        errors=dict(Counter(state.errors) + Counter(errors_of(look, decisions))),
        look_at=_look_at(known, look, now),
    )


def after_failure(state: RuleState, kind: ErrorType, text: str, now: datetime) -> RuleState:
    """Return the memory after a run whose look failed as a whole.

    :param text: why, one sentence for people.
    """
    return dataclasses.replace(
        state,
        last_error=text[:MOST_OF_A_FAULT],
        last_error_at=now,
        errors=_counted(state.errors, [kind]),
        look_at=now + UNLISTED_AGAIN_AFTER,
    )


def errors_of(look: Look, decisions: Iterable[PullRequestDecision]) -> dict[str, int]:
    """Return how often what went wrong in a run, by type."""
    decided = {decision.key: decision for decision in decisions}
    found: list[str] = [fault.type for fault in look.faults]
    found += [kind for each in decided.values() if (kind := error_type(each))]
    found += ["ai" for key in look.asked if key not in decided]
    return dict(Counter(found))


def error_type(decision: PullRequestDecision) -> ErrorType | None:
    """Return which side is to blame that there is no answer, or that it was not carried out; ``None``: none."""
    if decision.fault:
        # Without a model's name the question was never put: what it needs could not be read.
        return "ai" if decision.model else "github"
    return "github" if decision.outcome == "failed" else None


def _is_known(look: Look, last: Pass, now: datetime) -> bool:
    if last.at > now + CLOCKS_DIFFER:
        return False  # its clock was wrong: no run would count until then
    return (look.run_id, look.at) == (last.run_id, last.at) or look.at < last.at - CLOCKS_DIFFER


def _once_more(
    state: RuleState, last: Pass, look: Look, decisions: Sequence[PullRequestDecision], now: datetime
) -> RuleState:
    """Return the memory with what came of answers that are in it, and of questions that were cleared on their own."""
    known = dict(state.pull_requests)
    asked_since: list[PullRequestDecision] = []
    for each in decisions:
        seen = known.get(each.key)
        question = look.asked.get(each.key)
        if each.asked and question is not None and each.decided_at > (last.ended_at or last.at):
            asked_since.append(each)
            if look.run_id == last.run_id:
                known[each.key] = _after_question(known, each.key, look, question, each)
        elif seen is not None and seen.answer is not None and seen.answered_at == each.decided_at:
            known[each.key] = _with_outcome(seen, each)
    moments = [seen.retry_at for seen in known.values() if seen.retry_at and seen.answer]
    look_at = min((each for each in (state.look_at, *moments) if each), default=None)
    if asked_since:
        usd = sum(each.usd for each in asked_since)
        state = settle(state, look.run_id, day_of(now), usd, now, aside=0.0)
        state = dataclasses.replace(state, last_pass=dataclasses.replace(last, ended_at=now))
    return dataclasses.replace(state, pull_requests=known, look_at=max(look_at, now) if look_at else None)


def _after_question(
    known: Mapping[str, Seen], key: str, look: Look, question: Question, decision: PullRequestDecision | None
) -> Seen:
    seen = known.get(key) or Seen(seen_at=look.at)
    if decision is not None and decision.outcome == "superseded" and decision.answer is None:
        return dataclasses.replace(seen, listing="")  # nobody was asked: the rule was edited meanwhile
    asked = dataclasses.replace(
        seen, version=look.version, context_hash=question.context_hash, parts=question.parts
    )
    if decision is not None:
        asked = _with_outcome(asked, decision)
    if decision is None or decision.answer is None:
        failures = seen.failures + 1
        return dataclasses.replace(
            asked,
            answer=None,
            answered_at=None,
            failures=failures,
            fault=decision.fault if decision else "",
            guard=decision.guard if decision else "",
            retry_at=(decision.retry_at if decision else None) or look.at + backoff(failures),
        )
    return dataclasses.replace(
        asked,
        answer=decision.answer,
        answered_at=decision.decided_at,
        failures=0,
        fault="",
        # Or checks that never end would be asked about at each of their steps.
        unsettled_since=look.at if seen.unsettled_since else None,
    )


def _after_act(known: Mapping[str, Seen], key: str, look: Look, decision: PullRequestDecision | None) -> Seen:
    seen = known.get(key) or Seen(seen_at=look.at)
    if decision is None:
        return dataclasses.replace(seen, retry_at=look.at + LOST_AGAIN_AFTER)
    return _with_outcome(seen, decision)


def _with_outcome(seen: Seen, decision: PullRequestDecision) -> Seen:
    retry_at = decision.retry_at
    if decision.answer is not None and decision.answer.action == "wait":
        ends = wait_ends(decision.answer, decision.decided_at)
        retry_at = min((each for each in (retry_at, ends) if each), default=None)
    # What was superseded is read again: the rule that was edited may be back.
    listing = "" if decision.outcome == "superseded" else seen.listing
    return dataclasses.replace(
        seen, listing=listing, outcome=decision.outcome, guard=decision.guard, retry_at=retry_at
    )


def _kept(known: Mapping[str, Seen], look: Look, now: datetime) -> dict[str, Seen]:
    """Return what is kept: all that are open, and for a while the last of the others."""
    open_ = {key: seen for key, seen in known.items() if seen.seen_at >= look.at}
    gone = [
        (key, seen) for key, seen in known.items() if key not in open_ and now - seen.seen_at < FORGET_AFTER
    ]
    blind = frozenset(look.unlisted)
    unlisted = {key: seen for key, seen in gone if {key.rpartition("#")[0], key.partition("/")[0]} & blind}
    last = sorted(gone, key=lambda each: each[1].seen_at)[-MOST_GONE:]
    return {**open_, **unlisted, **dict(last)}


def _look_at(known: Mapping[str, Seen], look: Look, now: datetime) -> datetime | None:
    moments: list[datetime] = [now] if look.left else []
    if look.list_again:
        moments.append(now + UNLISTED_AGAIN_AFTER)
    for key in look.matched:
        seen = known.get(key)
        if seen is None or key in look.with_people:
            continue
        if seen.retry_at is not None:
            moments.append(seen.retry_at)
        if look.poll_seconds is not None and seen.answer is not None and seen.answer.action == "wait":
            moments.append(now + timedelta(seconds=look.poll_seconds))
    return max(min(moments), now, look.not_before or now) if moments else None


def _aside(look: Look) -> float:
    return sum(question.usd for question in look.asked.values())


def _cost(look: Look, decided: Mapping[str, PullRequestDecision]) -> float:
    total = sum(decision.usd for decision in decided.values() if decision.asked)
    for key, question in look.asked.items():
        decision = decided.get(key)
        # An answer that did not come in time may cost all the same.
        if decision is None or (decision.fault == "timeout" and not decision.usd):
            total += question.usd
    return total


def _faults(look: Look, decisions: Sequence[PullRequestDecision]) -> tuple[str, ...]:
    found = [fault.text for fault in look.faults]
    for each in decisions:
        if each.fault:
            found.append(f"{each.repository}#{each.number}: {each.fault}: {each.detail}")
        elif each.outcome == "failed":
            found.append(f"{each.repository}#{each.number}: {each.action} failed: {each.message}")
    decided = {each.key for each in decisions}
    found += [
        f"{key}: the question was lost: see the log of `decide`" for key in look.asked if key not in decided
    ]
    return tuple(text[:MOST_OF_A_FAULT] for text in found)


def _counted(counts: Mapping[str, int], more: Iterable[str]) -> dict[str, int]:
    return dict(Counter(counts) + Counter(more))
