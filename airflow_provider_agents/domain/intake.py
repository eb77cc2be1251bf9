"""Whether a ticket gets a run now, and which: :func:`decide`, a pure function, the same for every source.

How one ticket is handled, by whomever and however often at the same time:

1. read it; ask for the :func:`people_needed`, and after the reading for the runs of :func:`runs_needed`: the other
   way round a run that began between the two would not be seen;
2. :func:`decide`;
3. carry out the :func:`next_steps`, in their order: the claim is written on the ticket *before* its run is
   triggered, and nothing is triggered where the write may have failed;
4. the run reads the ticket itself and asks :func:`verify_start`, before anything is done.

Any of it may be repeated, overtaken or cut off at any point: the run's id is made of ticket and ask, so that
Airflow takes it once; and a claim says which asks are answered, so that an Airflow that forgot its runs starts
none again. What Airflow knows of a run counts before what the claim says of it, since a claim can be deleted,
or overwritten by somebody slow.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from airflow_provider_agents.domain.intake_asks import (
    Terms,
    editors_without_authority,
    is_held,
    judge_ask,
    people_needed,
    people_refused,
    refusal,
)
from airflow_provider_agents.domain.outbound import outbound
from airflow_provider_agents.domain.tickets import Claim, ClaimedRun, run_id_of
from airflow_provider_agents.domain.untrusted import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.domain.authority_rules import Standing
    from airflow_provider_agents.domain.intake_asks import JudgedAsk
    from airflow_provider_agents.domain.tickets import Ask, RunState, TicketReading

__all__ = [
    "Intake",
    "RunFacts",
    "StartCheck",
    "Terms",
    "Trigger",
    "WriteClaim",
    "decide",
    "mark_run",
    "next_steps",
    "people_needed",
    "runs_needed",
    "verify_start",
]

Verdict = Literal["nothing", "refuse", "wait", "start", "start_again", "confirm"]
WaitReason = Literal["", "missing", "run_active", "held", "dependency"]

_BEFORE_ALL = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What Airflow says of a run."""

    known: bool
    active: bool = False
    """Whether it is queued or running."""
    asks: tuple[str, ...] | None = None
    """Keys of the asks in its conf, oldest first: those that it answers, whatever a claim says; ``None``: not read."""
    started_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Intake:
    """What is to be done about a ticket."""

    verdict: Verdict
    """``start``: claim a run, then trigger it; ``start_again``: it was claimed, and Airflow does not know it;
    ``refuse``: tell who asked that it does not count; ``confirm``: only the claim needs mending; ``wait``: an
    ask is there, and :attr:`reason` keeps it; ``nothing``."""
    why: str
    """One sentence or more; of a refusal what the ticket is told."""
    reason: WaitReason = ""
    noted: Claim
    """The claim without the run that is to start: what the ticket is to hold as long as that waits for its turn."""
    changed: bool = False
    """Whether :attr:`noted` is another claim than the ticket holds."""
    run: ClaimedRun | None = None
    """The run that is to start."""
    digest: str = ""
    """Of the text that was read, for the run's conf."""
    asked_at: datetime | None = None
    """When the oldest ask that waits or is to be answered was made: the ticket's place in the line."""

    @property
    def starts(self) -> bool:
        """Whether a run is to start, once there is room."""
        return self.run is not None

    @property
    def claim(self) -> Claim:
        """Return the claim that stands on the ticket when this is carried out."""
        if self.run is None:
            return self.noted
        # What waits in the claim for the same asks will not be triggered any more.
        replaced = set(self.run.asks)
        kept = tuple(
            run
            for run in self.noted.runs
            if run.run_id != self.run.run_id and not (run.state == "claimed" and set(run.asks) <= replaced)
        )
        return dataclasses.replace(self.noted, runs=kept).with_run(self.run)


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteClaim:
    """Write the claim on the ticket; where that may have failed, leave the steps behind it to the next look."""

    claim: Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Trigger the run; one that is there already is left alone."""

    run_id: str
    asks: tuple[str, ...]
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartCheck:
    """Whether a run that was triggered may begin."""

    verdict: Literal["go", "stop", "unknown"]
    """``stop``: what it was started for does not hold any more; ``unknown``: something could not be read."""
    why: str = ""


def runs_needed(reading: TicketReading, terms: Terms) -> tuple[str, ...]:
    """Return the ids of all runs that the ticket may have had: those in its claim, and those of its asks, which
    a lost claim may have named. Most tickets had none, which Airflow can say of all at once.
    """
    claimed = (run.run_id for run in (reading.claim or Claim()).runs)
    asked = (_run_id(ask, reading, terms) for ask in reading.asks)
    return tuple(dict.fromkeys((*claimed, *asked)))


def decide(
    reading: TicketReading,
    standings: Mapping[str, Standing],
    terms: Terms,
    runs: Mapping[str, RunFacts],
    *,
    now: datetime,
    blocked: str = "",
) -> Intake:
    """Say what is to be done about a ticket.

    Asks are answered together by the run of the oldest of them that counts. Those that come while a run of the
    ticket is active wait for its end. Moments of the source are compared with one another only.

    :param standings: of the :func:`people_needed`; who is absent could not be asked about.
    :param runs: of the :func:`runs_needed`, all of them.
    :param now: noted in the claim.
    :param blocked: what the ticket waits for, in words, e.g. another ticket; empty: nothing.
    """
    if reading.missing:
        # The claim itself may be what could not be read.
        text = f"Not all of it could be read: {' '.join(reading.missing)}"
        return Intake(verdict="wait", reason="missing", why=text, noted=reading.claim or Claim())
    if set(runs_needed(reading, terms)) - set(runs):
        text = "Airflow did not say which of its runs it knows."
        return Intake(verdict="wait", reason="missing", why=text, noted=reading.claim or Claim())
    claim = _mended(reading, terms, runs)
    pending = [run for run in claim.runs if run.state == "claimed"]
    triggered = {key for run in claim.runs if run.state != "claimed" for key in run.asks}
    opened = sorted(
        (ask for ask in reading.asks if ask.key not in triggered and ask.key not in claim.refused), key=_age
    )
    judged = [judge_ask(ask, reading, standings, terms) for ask in opened]
    valid = [each.ask for each in judged if each.state == "valid"]
    refusable = [each for each in judged if each.state in ("not_allowed", "edited")]
    active = [run_id for run_id, facts in runs.items() if facts.active]
    label = is_held(reading, terms)
    if valid:
        held = _held_back(active, label, blocked)
        if held is not None:
            return _intake(reading, claim, "wait", held[1], reason=held[0], asked_at=valid[0].at)
        return _start(reading, terms, claim, valid, refusable, pending, now)
    if active or label:
        return _settled(reading, claim)
    return _refuse_or_settle(reading, standings, terms, claim, judged, refusable)


def next_steps(intake: Intake) -> tuple[WriteClaim | Trigger, ...]:
    """Return what carries the decision out, in this order; each once the one before is known to be done."""
    steps: list[WriteClaim | Trigger] = []
    if intake.changed or intake.claim != intake.noted:
        steps.append(WriteClaim(claim=intake.claim))
    if intake.run is not None:
        steps.append(Trigger(run_id=intake.run.run_id, asks=intake.run.asks, digest=intake.digest))
    return tuple(steps)


def verify_start(
    reading: TicketReading,
    standings: Mapping[str, Standing],
    terms: Terms,
    *,
    run_id: str,
    asks: Sequence[str],
    digest: str,
) -> StartCheck:
    """Say whether a run may begin, by a reading of its own: minutes or hours may have passed since the decision.

    At least one of its asks still has to count. Of a run that began before (it is retried, or cleared), the
    text alone is looked at: that the label is off by now is how such a ticket looks.

    :param standings: of ``people_needed(reading, asks)``.
    :param asks: from the run's conf, oldest first.
    :param digest: from the run's conf: of the text that the decision was made on.
    """
    if reading.missing:
        return StartCheck(verdict="unknown", why=f"Not all of it could be read: {' '.join(reading.missing)}")
    own = [ask for ask in reading.asks if ask.key in asks]
    begun = any(run.run_id == run_id and run.state != "claimed" for run in (reading.claim or Claim()).runs)
    if not own and not begun:
        return StartCheck(verdict="stop", why="Nobody asks for this run any more: its asks are gone.")
    if reading.digest != digest:
        first = min((ask.at for ask in own), default=_BEFORE_ALL)
        later = [edit for edit in reading.edits if edit.at >= first]
        who = editors_without_authority(later, standings, terms.authority) if later else ("",)
        if who and not all(name in standings for name in who if name):
            return StartCheck(
                verdict="unknown", why="It is not known whether those who edited it may start a run."
            )
        if who:
            names = " and ".join(outbound(one_line(name, 60)) or "somebody unknown" for name in who)
            text = f"{names} changed the title or the text since, without the right to start a run."
            return StartCheck(verdict="stop", why=f"{text} Ask again to have it worked on as it stands now.")
    if begun:
        return StartCheck(verdict="go")
    if label := is_held(reading, terms):
        return StartCheck(
            verdict="stop", why=f"The label {one_line(label, 60)} keeps it from being worked on."
        )
    judged = [judge_ask(ask, reading, standings, terms) for ask in own]
    states = {each.state for each in judged}
    if "valid" in states:
        return StartCheck(verdict="go")
    if "unknown" in states:
        return StartCheck(verdict="unknown", why="It is not known whether those who asked may start a run.")
    text = refusal(judged, standings, terms.authority) or "The ask was taken back, or the ticket is closed."
    return StartCheck(verdict="stop", why=text)


def mark_run(
    claim: Claim | None, run_id: str, asks: Sequence[str], state: RunState, *, at: datetime | None = None
) -> Claim:
    """Return the claim with what a run says of itself: that it began, or ended. A lost claim comes back by it.

    :param asks: from the run's conf.
    :param at: the moment, where the claim has none yet.
    """
    merged = (claim or Claim()).with_run(ClaimedRun(run_id=run_id, asks=tuple(asks), state=state, at=at))
    runs = tuple(
        dataclasses.replace(run, asks=tuple(asks)) if run.run_id == run_id else run for run in merged.runs
    )
    return dataclasses.replace(merged, runs=runs)


def _mended(reading: TicketReading, terms: Terms, runs: Mapping[str, RunFacts]) -> Claim:
    """Return the claim as Airflow's knowledge corrects it: lost runs are back, states have moved on."""
    claim = reading.claim or Claim()
    ask_of = {_run_id(ask, reading, terms): ask for ask in reading.asks}
    found = []
    for run in claim.runs:
        facts = runs.get(run.run_id)
        if facts is None or not facts.known:
            found.append(run)
            continue
        mended = mark_run(Claim(runs=(run,)), run.run_id, facts.asks or run.asks, _state(facts))
        found += mended.runs
    claimed = {run.run_id for run in claim.runs}
    for run_id, facts in runs.items():
        if facts.known and run_id not in claimed and (ask := ask_of.get(run_id)) is not None:
            asks = facts.asks or (ask.key,)
            found.append(ClaimedRun(run_id=run_id, asks=asks, state=_state(facts), at=facts.started_at))
    found.sort(key=lambda run: _age(ask_of[run.run_id]) if run.run_id in ask_of else (_BEFORE_ALL, ""))
    # One that was never triggered, and whose asks are answered otherwise by now, is over.
    answered = {key for run in found if run.state != "claimed" for key in run.asks} | set(claim.refused)
    kept = [run for run in found if run.state != "claimed" or not set(run.asks) <= answered]
    mended_claim = dataclasses.replace(claim, runs=())
    for run in kept:
        mended_claim = mended_claim.with_run(run)
    return mended_claim


def _held_back(active: Sequence[str], label: str, blocked: str) -> tuple[WaitReason, str] | None:
    if active:
        return "run_active", "It waits for the end of the run that is at work on this ticket."
    if label:
        return "held", f"The label {one_line(label, 60)} keeps it from being worked on."
    return ("dependency", blocked) if blocked else None


def _start(
    reading: TicketReading,
    terms: Terms,
    claim: Claim,
    valid: Sequence[Ask],
    refusable: Sequence[JudgedAsk],
    pending: Sequence[ClaimedRun],
    now: datetime,
) -> Intake:
    run_id = _run_id(valid[0], reading, terms)
    earlier = next((run for run in pending if run.run_id == run_id), None)
    # The ticket is worked on: those whose asks do not count need no answer of their own.
    noted = claim.with_refusals(*(each.ask.key for each in refusable))
    at = earlier.at if earlier is not None and earlier.at is not None else now
    run = ClaimedRun(run_id=run_id, asks=tuple(ask.key for ask in valid), at=at)
    return dataclasses.replace(
        _intake(
            reading,
            noted,
            "start" if earlier is None else "start_again",
            "It was asked for." if earlier is None else "It was claimed, but Airflow does not know its run.",
            asked_at=valid[0].at,
        ),
        run=run,
        digest=reading.digest,
    )


def _refuse_or_settle(
    reading: TicketReading,
    standings: Mapping[str, Standing],
    terms: Terms,
    claim: Claim,
    judged: Sequence[JudgedAsk],
    refusable: Sequence[JudgedAsk],
) -> Intake:
    # Whoever was told once is not told again, or two programs might answer each other for ever.
    told = people_refused(reading)
    new = [each for each in refusable if each.state == "edited" or each.ask.by not in told]
    if new:
        noted = claim.with_refusals(*(each.ask.key for each in new))
        return _intake(reading, noted, "refuse", refusal(new, standings, terms.authority))
    if unknown := [each.ask for each in judged if each.state == "unknown"]:
        text = "It is not known yet whether those who asked may start a run."
        return _intake(reading, claim, "wait", text, reason="missing", asked_at=unknown[0].at)
    return _settled(reading, claim)


def _settled(reading: TicketReading, claim: Claim) -> Intake:
    if claim != (reading.claim or Claim()):
        return _intake(reading, claim, "confirm", "The claim on the ticket was behind what Airflow knows.")
    return _intake(reading, claim, "nothing", "Nothing that counts is unanswered.")


def _intake(
    reading: TicketReading,
    noted: Claim,
    verdict: Verdict,
    why: str,
    *,
    reason: WaitReason = "",
    asked_at: datetime | None = None,
) -> Intake:
    return Intake(
        verdict=verdict,
        why=why,
        reason=reason,
        noted=noted,
        changed=noted != (reading.claim or Claim()),
        asked_at=asked_at,
    )


def _state(facts: RunFacts) -> RunState:
    return "started" if facts.active else "ended"


def _run_id(ask: Ask, reading: TicketReading, terms: Terms) -> str:
    return run_id_of(terms.kind, reading.entry.id, ask.key, host=terms.host)


def _age(ask: Ask) -> tuple[datetime, str]:
    return ask.at, ask.key
