"""The ledger of acts: what it counts, what it forgets, and what a damaged one does."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from fakes import HEAD, NEXT_HEAD, NOW
from hypothesis import given, settings
from hypothesis import strategies as st
from pr_rule_cases import KEY, act, ledger

from airflow_provider_agents.domain.pr_rule_ledger import (
    KEPT,
    MOST_ACTS,
    MOST_PULL_REQUESTS,
    WINDOW,
    Consent,
    RuleLedger,
    free_at,
)


def test_a_repeated_act_is_one_with_more_calls() -> None:
    merge = act("merge", state="intended")
    twice = RuleLedger().intending(KEY, merge).ended(KEY, merge, "refused", "no").intending(KEY, merge)
    (found,) = twice.entry(KEY).acts
    assert (found.calls, found.state, found.said) == (2, "intended", "no")
    other = twice.intending(KEY, act("merge", head=NEXT_HEAD, state="intended"))
    assert [each.calls for each in other.entry(KEY).acts] == [2, 1]


def test_what_github_refused_takes_no_room() -> None:
    refused = ledger(act("merge", state="refused"))
    assert refused.merges("acme/shop", NOW) == []
    assert refused.touched("acme/shop", NOW) == []
    meant = RuleLedger().intending(KEY, act("merge", state="intended"))
    assert len(meant.merges("acme/shop", NOW)) == 1


def test_limits_are_of_one_repository_and_hour_whatever_the_case() -> None:
    found = ledger(
        act("enqueue"), others={8: act("merge", minutes=59), 9: act("merge", minutes=60), 10: act("label")}
    )
    assert len(found.merges("Acme/Shop", NOW)) == 2
    assert len(found.touched("acme/shop", NOW)) == 3
    assert len(found.touched("acme/shop", NOW, but=KEY)) == 2
    assert found.merges("acme/sho", NOW) == []


def test_when_there_is_room_again() -> None:
    moments = [NOW - timedelta(minutes=minutes) for minutes in (50, 40, 30)]
    assert free_at(moments, 4, NOW) is None
    assert free_at(moments, 3, NOW) == NOW + timedelta(minutes=10)
    assert free_at(moments, 2, NOW) == NOW + timedelta(minutes=20)
    assert free_at([], 0, NOW) == NOW + WINDOW


def test_a_choice_is_for_one_head_and_the_last_one_counts() -> None:
    found = ledger(consent="leave")
    later = Consent(head_sha=HEAD, base="main", choice="merge", person="mona", at=NOW)
    found = found.consenting(KEY, later)
    assert found.entry(KEY).consent(HEAD, "main") == later
    assert found.entry(KEY).consent(NEXT_HEAD, "main") is None
    assert len(found.entry(KEY).consents) == 1


def test_what_is_old_goes_and_the_last_hour_stays() -> None:
    old = act("merge", minutes=KEPT / timedelta(minutes=1) + 1)
    kept = ledger(old, act("close", minutes=60 * 24 * 29)).tidied(NOW)
    assert [each.kind for each in kept.entry(KEY).acts] == ["close"]
    assert ledger(old).tidied(NOW).entries == {}
    many = ledger(*[act("comment", detail=str(n), minutes=n / 10) for n in range(MOST_ACTS + 5)])
    assert len(many.tidied(NOW).entry(KEY).acts) == MOST_ACTS + 5
    much_later = many.tidied(NOW + timedelta(hours=2))
    assert len(much_later.entry(KEY).acts) == MOST_ACTS


def test_a_repository_keeps_its_newest_pull_requests() -> None:
    found = RuleLedger()
    for number in range(MOST_PULL_REQUESTS + 50):
        found = found.intending(f"acme/shop#{number}", act("comment", minutes=number))
    kept = found.tidied(NOW + timedelta(hours=2)).entries
    assert len(kept) == MOST_PULL_REQUESTS
    assert "acme/shop#0" in kept
    assert f"acme/shop#{MOST_PULL_REQUESTS + 49}" not in kept
    fresh = RuleLedger()
    for number in range(MOST_PULL_REQUESTS + 50):
        fresh = fresh.intending(f"acme/shop#{number}", act("comment", minutes=1))
    assert len(fresh.tidied(NOW).entries) == MOST_PULL_REQUESTS + 50


def test_a_lost_ledger_holds_merges_for_as_long_as_it_may_have_forgotten_some() -> None:
    lost = RuleLedger.lost(NOW)
    assert lost.hold_until == NOW + WINDOW
    assert lost.tidied(NOW).hold_until == NOW + WINDOW
    assert lost.tidied(NOW + WINDOW).hold_until is None
    assert RuleLedger.from_text(lost.to_text()) == lost


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version":2,"entries":{},"hold_until":null}',
        '{"version":1,"entries":[],"hold_until":null}',
        '{"version":1,"entries":{"a/b#1":{}},"hold_until":null}',
        '{"version":1,"entries":{},"hold_until":"2026-01-01T00:00:00"}',
        ledger(act("merge")).to_text().replace('"merge"', '"melt"'),
        ledger(act("merge")).to_text().replace('"done"', '"perhaps"'),
        ledger(act("merge")).to_text().replace('"rule"', '"ruler"'),
        ledger(consent="merge").to_text().replace('"merge"', '"burn"'),
        ledger(act("merge")).to_text()[:-5],
    ],
)
def test_what_is_no_ledger_is_none(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        RuleLedger.from_text(text)


MOMENTS = st.integers(0, 90 * 24 * 60).map(lambda minutes: NOW - timedelta(minutes=minutes))
ACTS = st.builds(
    dataclasses.replace,
    st.sampled_from(
        [act("merge"), act("close"), act("escalate", detail="risk", label="ask"), act("comment")]
    ),
    at=MOMENTS,
    head_sha=st.sampled_from([HEAD, NEXT_HEAD]),
    state=st.sampled_from(["intended", "done", "refused"]),
    said=st.sampled_from(["", "no"]),
)


@settings(max_examples=60, deadline=None)
@given(acts=st.lists(st.tuples(st.sampled_from([KEY, "acme/shop#8", "acme/app#7"]), ACTS), max_size=60))
def test_text_and_tidying_change_no_count_of_the_last_hour(acts: list[tuple[str, Any]]) -> None:
    found = RuleLedger()
    for key, each in acts:
        found = found.intending(key, each).ended(key, each, each.state, each.said)
    again = RuleLedger.from_text(found.to_text())
    assert again == found
    tidied = found.tidied(NOW)
    for repository in ("acme/shop", "acme/app"):
        assert tidied.merges(repository, NOW) == found.merges(repository, NOW)
        assert tidied.touched(repository, NOW) == found.touched(repository, NOW)
    assert tidied.tidied(NOW) == tidied
