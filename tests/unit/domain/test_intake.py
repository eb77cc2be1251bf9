"""Whether a ticket gets a run, and which."""

from __future__ import annotations

import dataclasses

import pytest
from intake_cases import NOW, PEOPLE, TERMS, ask, at, edit, known, looked_at, run, run_id, ticket

from airflow_provider_agents.domain.intake import (
    RunFacts,
    Terms,
    Trigger,
    WriteClaim,
    decide,
    mark_run,
    next_steps,
    runs_needed,
)
from airflow_provider_agents.domain.tickets import MOST_RUNS_KEPT, Claim, run_id_of


def test_an_ask_is_answered_by_the_run_of_its_own_id() -> None:
    reading = ticket(ask("a"))
    found = looked_at(reading)
    assert (found.verdict, found.asked_at, found.digest) == ("start", at(0), reading.digest)
    assert found.run is not None
    assert (found.run.run_id, found.run.asks, found.run.state, found.run.at) == (
        run_id("a"), ("a",), "claimed", NOW,
    )  # fmt: skip
    assert found.claim == Claim(runs=(found.run,))
    assert (found.noted, found.changed) == (Claim(), False)


def test_the_claim_is_written_before_its_run_is_triggered() -> None:
    found = looked_at(ticket(ask("a")))
    assert next_steps(found) == (
        WriteClaim(claim=found.claim),
        Trigger(run_id=run_id("a"), asks=("a",), digest=found.digest),
    )


def test_asks_are_answered_together_the_oldest_names_the_run() -> None:
    found = looked_at(ticket(ask("c", minute=2), ask("b", "olga", 1), ask("a", minute=1)))
    assert found.run is not None
    assert (found.run.run_id, found.run.asks) == (run_id("a"), ("a", "b", "c"))


def test_runs_of_other_hosts_are_other_runs() -> None:
    reading = ticket(ask("a"))
    terms = dataclasses.replace(TERMS, host="git.example.org")
    runs = {each: RunFacts(known=False) for each in runs_needed(reading, terms)}
    found = decide(reading, PEOPLE, terms, runs, now=NOW)
    assert found.run is not None
    assert found.run.run_id == run_id_of("github", "I_7", "a", host="git.example.org") != run_id("a")


def test_a_ticket_that_nobody_asks_about() -> None:
    assert looked_at(ticket()).verdict == "nothing"
    assert next_steps(looked_at(ticket())) == ()


@pytest.mark.parametrize(
    "reading",
    [
        ticket(ask("a"), labels=("bug",)),
        ticket(ask("a"), actionable=False),
        ticket(ask("a", kind="assignee", withdrawn=True)),
        ticket(ask("a", label="AGENT-2")),
    ],
    ids=["label off", "closed", "unassigned", "another label"],
)
def test_what_was_taken_back_counts_no_more(reading: object) -> None:
    found = looked_at(reading)  # type: ignore[arg-type]
    assert (found.verdict, found.changed) == ("nothing", False)


def test_the_case_of_labels_does_not_count() -> None:
    assert looked_at(ticket(ask("a", label="Agent"), labels=("AGENT",))).starts


def test_a_label_that_holds() -> None:
    found = looked_at(ticket(ask("a"), labels=("agent", "Agent-Ignore")))
    assert (found.verdict, found.reason) == ("wait", "held")
    assert "Agent-Ignore" in found.why
    # Nor is anybody refused meanwhile.
    assert looked_at(ticket(ask("a", "eve"), labels=("agent", "agent-ignore"))).verdict == "nothing"


def test_another_ticket_comes_first() -> None:
    found = looked_at(ticket(ask("a")), blocked="It waits for acme/shop#3.")
    assert (found.verdict, found.reason, found.why) == ("wait", "dependency", "It waits for acme/shop#3.")
    assert next_steps(found) == ()


# Once


def test_what_a_run_answered_is_answered() -> None:
    reading = ticket(ask("a"), claim=Claim(runs=(run("a", "started"),)))
    # Airflow may have forgotten it: it is not started again.
    assert looked_at(reading).verdict == "nothing"
    assert looked_at(reading, {"a": known(active=True)}).verdict == "nothing"


def test_a_claimed_run_that_airflow_does_not_know_is_started_again() -> None:
    claim = Claim(runs=(run("a"),))
    found = looked_at(ticket(ask("a"), claim=claim))
    assert found.verdict == "start_again"
    assert found.run is not None
    assert found.run.run_id == run_id("a")
    again = looked_at(ticket(ask("a"), claim=found.claim))
    assert next_steps(again) == (Trigger(run_id=run_id("a"), asks=("a",), digest=found.digest),)


def test_a_claimed_run_is_not_started_once_its_ask_was_taken_back() -> None:
    found = looked_at(ticket(ask("a"), claim=Claim(runs=(run("a"),)), labels=()))
    assert (found.verdict, found.claim) == ("nothing", Claim(runs=(run("a"),)))


@pytest.mark.parametrize(("active", "state"), [(True, "started"), (False, "ended")])
def test_a_claim_is_brought_up_to_date(active: bool, state: str) -> None:
    found = looked_at(ticket(ask("a"), claim=Claim(runs=(run("a"),))), {"a": known(active=active)})
    assert found.verdict == "confirm"
    assert found.claim == Claim(runs=(run("a", state),))
    assert next_steps(found) == (WriteClaim(claim=found.claim),)


def test_a_lost_claim_comes_back_from_what_airflow_knows() -> None:
    """Somebody deleted our comment: what was asked is not begun anew."""
    reading = ticket(ask("a"), ask("b", minute=1))
    found = looked_at(reading, {"a": known(asks=["a", "b"])})
    assert found.verdict == "confirm"
    assert found.claim == Claim(runs=(run("a", "ended", "b"),))
    # Without the run's conf its own ask is all that is known to be answered.
    more = looked_at(reading, {"a": known()})
    assert more.run is not None
    assert more.run.asks == ("b",)


def test_the_runs_conf_says_what_it_answers_not_the_claim() -> None:
    """A slow sync wrote a younger ask to a run that was triggered without it."""
    reading = ticket(ask("a"), ask("b", minute=1), claim=Claim(runs=(run("a", "claimed", "b"),)))
    found = looked_at(reading, {"a": known(asks=["a"])})
    assert found.run is not None
    assert found.run.run_id == run_id("b")
    assert found.claim.runs[0] == run("a", "ended")


def test_asks_wait_for_the_run_at_work() -> None:
    claim = Claim(runs=(run("a", "started"),))
    reading = ticket(ask("a"), ask("b", minute=1), claim=claim)
    waits = looked_at(reading, {"a": known(active=True)})
    assert (waits.verdict, waits.reason, waits.asked_at) == ("wait", "run_active", at(1))
    after = looked_at(reading, {"a": known()})
    assert after.run is not None
    assert (after.run.run_id, after.run.asks) == (run_id("b"), ("b",))
    # Of a run that only Airflow tells of, too.
    assert looked_at(ticket(ask("a"), ask("b", minute=1)), {"a": known(active=True)}).reason == "run_active"


def test_a_claimed_run_whose_asks_another_answers_is_forgotten() -> None:
    claim = Claim(runs=(run("b"),))
    reading = ticket(ask("a"), ask("b", minute=1), claim=claim)
    found = looked_at(reading)
    assert [each.run_id for each in found.claim.runs] == [run_id("a")]
    later = looked_at(ticket(*reading.asks, claim=Claim(runs=(run("a", "started", "b"), run("b")))))
    assert later.claim == Claim(runs=(run("a", "started", "b"),))


def test_many_runs_of_a_ticket() -> None:
    keys = [f"k{i:02}" for i in range(MOST_RUNS_KEPT + 5)]
    asks = [ask(key, minute=i) for i, key in enumerate(keys)]
    claim = Claim()
    for key in keys[:-1]:
        claim = claim.with_run(run(key, "ended"))
    found = looked_at(ticket(*asks, claim=claim))
    assert found.run is not None
    assert found.run.asks == (keys[-1],)
    assert len(found.claim.runs) == MOST_RUNS_KEPT
    assert found.claim.answered == set(keys)


def test_every_run_that_may_be_is_asked_about() -> None:
    reading = ticket(ask("a"), ask("b", "eve", 1), claim=Claim(runs=(run("z", "ended"),), refused=("b",)))
    assert runs_needed(reading, TERMS) == (run_id("z"), run_id("a"), run_id("b"))


# What is not known


def test_nothing_is_done_on_half_knowledge() -> None:
    reading = ticket(ask("a"), missing=("Its comments could not be read.",))
    found = looked_at(reading)
    assert (found.verdict, found.reason, found.changed) == ("wait", "missing", False)
    assert "Its comments could not be read." in found.why
    assert next_steps(found) == ()


def test_nothing_is_done_without_airflows_word() -> None:
    found = decide(ticket(ask("a")), PEOPLE, TERMS, {}, now=NOW)
    assert (found.verdict, found.reason) == ("wait", "missing")


def test_somebody_who_could_not_be_asked_about() -> None:
    found = looked_at(ticket(ask("a")), people={})
    assert (found.verdict, found.reason, found.asked_at) == ("wait", "missing", at(0))
    # Another's ask is not held up by that.
    assert looked_at(ticket(ask("a", "nina"), ask("b", minute=1))).starts
    # Nor is it known whether an unknown editor's text may be worked on.
    assert looked_at(ticket(ask("a"), edits=[edit("nina", 5)])).reason == "missing"


# Refusals


def test_a_stranger_is_refused_once() -> None:
    reading = ticket(ask("a", "eve"))
    found = looked_at(reading)
    assert found.verdict == "refuse"
    assert found.why == "eve may not start an agent here: that is for people with write access."
    assert found.claim == Claim(refused=("a",))
    assert next_steps(found) == (WriteClaim(claim=found.claim),)
    assert looked_at(dataclasses.replace(reading, claim=found.claim)).verdict == "nothing"
    # Never argued with: two programs might go on for ever.
    again = ticket(*reading.asks, ask("b", "eve", 3, kind="command"), claim=found.claim)
    assert looked_at(again).verdict == "nothing"


def test_a_refused_person_who_was_given_the_right_may_ask_again() -> None:
    claim = Claim(refused=("a",))
    people = {"eve": dataclasses.replace(PEOPLE["eve"], permission="write")}
    assert looked_at(ticket(ask("a", "eve"), claim=claim), people=people).verdict == "nothing"
    again = looked_at(ticket(ask("a", "eve"), ask("b", "eve", 1), claim=claim), people=people)
    assert again.run is not None
    assert again.run.asks == ("b",)


def test_a_strangers_ask_beside_one_that_counts_needs_no_answer() -> None:
    found = looked_at(ticket(ask("a", "eve"), ask("b", minute=1)))
    assert found.run is not None
    assert found.run.asks == ("b",)
    assert found.claim.refused == ("a",)


def test_nobody_is_refused_while_a_run_is_at_work() -> None:
    reading = ticket(ask("a"), ask("b", "eve", 1), claim=Claim(runs=(run("a", "started"),)))
    assert looked_at(reading, {"a": known(active=True)}).verdict == "nothing"
    assert looked_at(reading, {"a": known()}).verdict == "refuse"


def test_an_edit_by_a_stranger_voids_what_was_asked_before() -> None:
    reading = ticket(ask("a"), edits=[edit("eve", 5)])
    found = looked_at(reading)
    assert found.verdict == "refuse"
    assert found.why.startswith("eve changed the title or the text after mona had asked for an agent:")
    assert "`/agent again`" in found.why
    fresh = looked_at(ticket(*reading.asks, ask("b", minute=6), edits=reading.edits, claim=found.claim))
    assert fresh.run is not None
    assert fresh.run.asks == ("b",)
    # Voided again, it is said again: whoever may start is not ignored.
    edits = [edit("eve", 5), edit("eve", 7)]
    voided = looked_at(ticket(*reading.asks, ask("b", minute=6), edits=edits, claim=found.claim))
    assert (voided.verdict, voided.claim.refused) == ("refuse", ("a", "b"))


@pytest.mark.parametrize(
    ("by", "minute", "counts"),
    [("eve", -1, True), ("eve", 0, False), ("eve", 1, False), ("", 1, False), ("olga", 1, True)],
    ids=["before", "in the same second", "after", "by nobody known", "by another writer"],
)
def test_which_edits_void(by: str, minute: int, counts: bool) -> None:
    assert looked_at(ticket(ask("a"), edits=[edit(by, minute)])).starts is counts


def test_a_claimed_run_with_a_voided_ask_is_given_up() -> None:
    found = looked_at(ticket(ask("a"), claim=Claim(runs=(run("a"),)), edits=[edit("eve", 1)]))
    assert (found.verdict, found.run) == ("refuse", None)
    after = looked_at(ticket(ask("a"), claim=found.claim, edits=[edit("eve", 1)]))
    assert after.claim == Claim(refused=("a",))


# What a run says of itself


def test_a_run_brings_a_lost_claim_back() -> None:
    assert mark_run(None, run_id("a"), ["a"], "started") == Claim(runs=(run("a", "started"),))


def test_a_run_never_goes_back() -> None:
    ended = Claim(runs=(run("a", "ended"),))
    assert mark_run(ended, run_id("a"), ["a"], "started") == ended


def test_a_run_knows_best_what_it_answers() -> None:
    claim = Claim(runs=(run("a", "claimed", "b"), run("c")), refused=("x",))
    marked = mark_run(claim, run_id("a"), ["a"], "started", at=NOW)
    assert marked == Claim(runs=(dataclasses.replace(run("a", "started"), at=NOW), run("c")), refused=("x",))


def test_terms_of_a_definition() -> None:
    from airflow_provider_agents.domain.authority_rules import AuthorityRules, Who
    from airflow_provider_agents.domain.source_definition import SourceDefinition

    installed = AuthorityRules(start=Who(users=("mona",)))
    plain = SourceDefinition(source="github", repositories=("acme/shop",))
    assert Terms.of(plain).authority == AuthorityRules()
    assert Terms.of(plain, "host", installed) == Terms(
        kind="github", host="host", ask=plain.ask, authority=installed
    )
    own = SourceDefinition(source="github", repositories=("acme/shop",), authority=AuthorityRules())
    assert Terms.of(own, authority=installed).authority == AuthorityRules()
