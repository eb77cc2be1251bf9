"""A ticket, its people and an Airflow, as values: what the tests of the intake begin with."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing
from airflow_provider_agents.domain.intake import Intake, RunFacts, Terms, decide, runs_needed
from airflow_provider_agents.domain.source_definition import AskRules
from airflow_provider_agents.domain.tickets import (
    Ask,
    Claim,
    ClaimedRun,
    Edit,
    TicketEntry,
    TicketReading,
    run_id_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
TERMS = Terms(kind="github", ask=AskRules(), authority=AuthorityRules())
PEOPLE = {
    "mona": Standing(login="mona", permission="write"),
    "olga": Standing(login="olga", permission="admin"),
    "eve": Standing(login="eve", permission="read"),
    "trudy": Standing(login="trudy"),
    "robot[bot]": Standing(login="robot[bot]", is_bot=True),
}


def at(minute: int) -> datetime:
    return NOW - timedelta(hours=1) + timedelta(minutes=minute)


def ask(key: str, by: str = "mona", minute: int = 0, kind: Any = "label", **more: Any) -> Ask:
    label = {"label": "agent"} if kind == "label" else {}
    return Ask(key=key, kind=kind, by=by, at=at(minute), **(label | more))


def edit(by: str, minute: int) -> Edit:
    return Edit(by=by, at=at(minute))


def ticket(
    *asks: Ask,
    claim: Claim | None = None,
    edits: Sequence[Edit] = (),
    labels: Sequence[str] = ("agent",),
    actionable: bool = True,
    **more: Any,
) -> TicketReading:
    entry = TicketEntry(
        id="I_7", key="acme/shop#7", title="Add a discount", url="", created_at=at(0), updated_at=NOW,
        actionable=actionable, labels=tuple(labels),
    )  # fmt: skip
    return TicketReading(
        entry=entry, body="Ten per cent.", asks=asks, claim=claim, edits=tuple(edits), **more
    )


def run_id(key: str) -> str:
    return run_id_of("github", "I_7", key)


def run(key: str, state: Any = "claimed", *more: str) -> ClaimedRun:
    return ClaimedRun(run_id=run_id(key), asks=(key, *more), state=state)


def known(*, active: bool = False, asks: Sequence[str] | None = None) -> RunFacts:
    return RunFacts(known=True, active=active, asks=tuple(asks) if asks is not None else None)


def looked_at(
    reading: TicketReading,
    airflow: Mapping[str, RunFacts] | None = None,
    *,
    people: Mapping[str, Standing] = PEOPLE,
    terms: Terms = TERMS,
    blocked: str = "",
) -> Intake:
    """Decide, with an Airflow that knows the runs ``airflow`` (by the ask that they are of) and no others."""
    facts = {run_id(key): value for key, value in (airflow or {}).items()}
    runs = {each: facts.get(each, RunFacts(known=False)) for each in runs_needed(reading, terms)}
    return decide(reading, people, terms, runs, now=NOW, blocked=blocked)


def with_rules(**rules: Any) -> Terms:
    return dataclasses.replace(TERMS, authority=AuthorityRules(**rules))
