"""Who is asked about, what a refusal says, and whether a run may begin."""

from __future__ import annotations

import dataclasses

import pytest
from intake_cases import PEOPLE, TERMS, ask, edit, looked_at, run, run_id, ticket, with_rules

from airflow_provider_agents.domain.authority_rules import Standing, Who
from airflow_provider_agents.domain.intake import StartCheck, verify_start
from airflow_provider_agents.domain.intake_asks import MOST_PEOPLE, people_needed
from airflow_provider_agents.domain.tickets import Claim, TicketReading


def test_those_are_asked_about_who_asked_or_edited_since() -> None:
    edits = [edit("before", -1), edit("carl", 0), edit("", 1)]
    assert people_needed(ticket(ask("a"), ask("b", "eve", 1), ask("c", "", 2), edits=edits)) == (
        "mona", "eve", "carl",
    )  # fmt: skip
    assert people_needed(ticket(edits=edits)) == ()


def test_nobody_is_asked_about_when_all_is_answered() -> None:
    claim = Claim(runs=(run("a", "started"),), refused=("b",))
    reading = ticket(ask("a"), ask("b", "eve", 1), claim=claim, edits=[edit("carl", 2)])
    assert people_needed(reading) == ()
    # The run that begins looks at its own asks all the same.
    assert people_needed(reading, ["a"]) == ("mona", "carl")
    # What is only claimed is looked at anew.
    assert people_needed(ticket(ask("a"), claim=Claim(runs=(run("a"),)))) == ("mona",)


def test_a_crowd_does_not_hide_who_has_a_say() -> None:
    crowd = [ask(f"c{i}", f"eve{i}", i, kind="command") for i in range(MOST_PEOPLE + 20)]
    needed = people_needed(ticket(*crowd, ask("a", minute=0), ask("z", "olga", 90, kind="command")))
    assert len(needed) == MOST_PEOPLE
    assert needed[:2] == ("mona", "olga")
    # In portions: whoever was told makes room for the next.
    told = Claim(refused=tuple(f"c{i}" for i in range(20, MOST_PEOPLE + 20)))
    assert people_needed(ticket(*crowd, claim=told)) == tuple(f"eve{i}" for i in range(19, -1, -1))


def test_a_refusal_names_those_who_may() -> None:
    terms = with_rules(start=Who(permission="maintain", teams=("acme/core",), users=("mona",)))
    found = looked_at(ticket(ask("a", "eve")), terms=terms)
    # No team and nobody is called by it.
    shown = found.why.replace("\N{WORD JOINER}", "")
    assert shown == (
        "eve may not start an agent here: that is for people with maintain access, members of acme/core or mona."
    )


def test_a_refusal_names_a_few_and_counts_the_rest() -> None:
    people = {f"p{i}": Standing(login=f"p{i}") for i in range(6)}
    found = looked_at(ticket(*(ask(f"a{i}", f"p{i}", i) for i in range(6))), people=people)
    assert found.why.startswith("p0, p1, p2 and 3 more may not start an agent here")
    assert len(found.claim.refused) == 6


def test_both_reasons_are_said() -> None:
    found = looked_at(ticket(ask("a"), ask("b", "trudy", 1), edits=[edit("eve", 5)]))
    assert "trudy may not start" in found.why
    assert "eve changed the title" in found.why


@pytest.mark.parametrize(
    "name", ["@acme/everyone", "x\n\n# Heading", "closes #1", "<!-- agents:claim -->", "a" * 500]
)
def test_a_hostile_name_in_a_refusal(name: str) -> None:
    people = {name: Standing(login=name)}
    why = looked_at(ticket(ask("a", name)), people=people).why
    assert "\n" not in why
    assert "@acme" not in why
    assert "closes #1" not in why
    assert "<!--" not in why
    assert len(why) < 400


def test_the_person_is_shown_by_name_not_by_id() -> None:
    people = {"5b10a2844c20165700ede21g": Standing(login="Eve Example")}
    found = looked_at(ticket(ask("a", "5b10a2844c20165700ede21g")), people=people)
    assert found.why.startswith("Eve Example may not")


def test_nobody_in_particular() -> None:
    assert looked_at(ticket(ask("a", ""))).why.startswith("somebody unknown may not start an agent here")


# Whether a run may begin


def begins(
    reading: TicketReading, *asks: str, digest: str | None = None, people: object = PEOPLE
) -> StartCheck:
    return verify_start(
        reading,
        people,  # type: ignore[arg-type]
        TERMS,
        run_id=run_id(asks[0]),
        asks=asks,
        digest=reading.digest if digest is None else digest,
    )


STARTED = Claim(runs=(run("a", "started"),))


def test_what_still_holds_begins() -> None:
    assert begins(ticket(ask("a")), "a").verdict == "go"
    # One of several is enough.
    assert begins(ticket(ask("a", "eve"), ask("b", minute=1)), "a", "b").verdict == "go"


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (ticket(ask("a"), labels=()), "taken back"),
        (ticket(ask("a"), actionable=False), "closed"),
        (ticket(ask("a"), labels=("agent", "agent-ignore")), "agent-ignore"),
        (ticket(ask("b")), "gone"),
        (ticket(ask("a", "eve")), "eve may not start"),
        (ticket(ask("a"), edits=[edit("eve", 5)]), "eve changed the title or the text"),
    ],
    ids=["label off", "closed", "held", "ask deleted", "right taken", "edited"],
)
def test_what_holds_no_more_does_not_begin(reading: TicketReading, words: str) -> None:
    found = begins(reading, "a")
    assert found.verdict == "stop"
    assert words in found.why


def test_a_text_that_changed_between_decision_and_run() -> None:
    other = ticket(ask("a"), edits=[edit("olga", 5)])
    assert begins(other, "a", digest="0" * 16).verdict == "go"
    stranger = begins(ticket(ask("a"), edits=[edit("eve", 5)]), "a", digest="0" * 16)
    assert (stranger.verdict, "eve" in stranger.why) == ("stop", True)
    # A source that does not tell who: nobody with authority said yes to it.
    untold = begins(ticket(ask("a"), edits=[edit("olga", -5)]), "a", digest="0" * 16)
    assert untold.verdict == "stop"
    assert "somebody unknown" in untold.why


def test_a_run_that_began_goes_on() -> None:
    """Retried or cleared: the label is off by now, the ticket closed, the asker gone."""
    for reading in (
        ticket(ask("a"), labels=(), claim=STARTED),
        ticket(ask("a"), actionable=False, claim=STARTED),
        ticket(ask("a", "eve"), claim=STARTED),
        ticket(claim=STARTED),
        ticket(ask("a"), edits=[edit("eve", 5)], claim=STARTED),
    ):
        assert begins(reading, "a").verdict == "go"
    claimed = dataclasses.replace(ticket(ask("a"), labels=()), claim=Claim(runs=(run("a"),)))
    assert begins(claimed, "a").verdict == "stop"


def test_a_run_that_began_does_not_take_a_strangers_text_over() -> None:
    changed = ticket(ask("a"), edits=[edit("eve", 5)], claim=STARTED)
    assert begins(changed, "a", digest="0" * 16).verdict == "stop"
    assert (
        begins(ticket(ask("a"), edits=[edit("olga", 5)], claim=STARTED), "a", digest="0" * 16).verdict == "go"
    )


def test_what_is_not_known_is_asked_again() -> None:
    assert begins(ticket(ask("a"), missing=("No comments.",)), "a").verdict == "unknown"
    assert begins(ticket(ask("a")), "a", people={}).verdict == "unknown"
    changed = ticket(ask("a"), edits=[edit("nina", 5)])
    assert begins(changed, "a", digest="0" * 16).verdict == "unknown"
