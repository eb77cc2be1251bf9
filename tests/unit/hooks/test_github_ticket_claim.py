"""The claim in a comment: written so that nothing in the comment's text can pass for it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.tickets import Claim, ClaimedRun
from airflow_provider_agents.exceptions import ForgeError
from airflow_provider_agents.hooks.github_ticket_claim import (
    BODY_LIMIT,
    DamagedClaimError,
    claim_in,
    is_status,
    joined,
    marker,
    rebased,
    status_body,
)

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def run(name: str, *asks: str, state: str = "claimed") -> ClaimedRun:
    return ClaimedRun(run_id=name, asks=asks or (f"ask of {name}",), state=state, at=AT)  # type: ignore[arg-type]


def of(*runs: ClaimedRun, refused: tuple[str, ...] = ()) -> Claim:
    return Claim(runs=runs, refused=refused)


_claims = st.builds(
    Claim,
    runs=st.lists(
        st.builds(
            ClaimedRun,
            run_id=st.text(max_size=30),
            asks=st.lists(st.text(max_size=20), max_size=3).map(tuple),
            state=st.sampled_from(["claimed", "started", "ended"]),
        ),
        max_size=5,
        unique_by=lambda each: each.run_id,
    ).map(tuple),
    refused=st.lists(st.text(max_size=20), max_size=5).map(tuple),
)


@given(_claims, st.text(max_size=300))
def test_a_claim_comes_back_whatever_the_text(claim: Claim, words: str) -> None:
    body = status_body(words, claim)
    assert claim_in(body) == claim
    assert claim_in(body.replace("\n", "\r\n")) == claim
    hidden = marker(claim)
    assert hidden.endswith(" -->")
    # Two hyphens would end an HTML comment early.
    assert "--" not in hidden.removeprefix("<!--").removesuffix("-->")


@given(_claims, st.integers(0, 3))
def test_a_long_text_is_cut_and_never_the_claim(claim: Claim, kind: int) -> None:
    words = ["x" * 70_000, "line\n" * 20_000, "```\n" + "code\n" * 20_000, "🙂" * 70_000][kind]
    body = status_body(words, claim)
    assert len(body) <= BODY_LIMIT
    assert claim_in(body) == claim
    assert body.count("```") % 2 == 0


def test_a_text_that_just_fits_is_not_cut() -> None:
    claim = of(run("one"))
    room = BODY_LIMIT - len(status_body("", claim))
    assert status_body("x" * room, claim) == "x" * room + status_body("", claim)
    assert "holds no more" in status_body("x" * (room + 1), claim)


def test_a_claim_that_fits_into_no_comment_is_told() -> None:
    with pytest.raises(ForgeError, match="does not fit"):
        status_body("x", Claim(refused=tuple(str(number) * 20 for number in range(5_000))))


def test_a_marker_in_the_text_is_none() -> None:
    ours, theirs = of(run("ours")), of(run("theirs", state="started"))
    assert claim_in(status_body(f"They say {marker(theirs)}", ours)) == ours
    assert claim_in(f"{marker(theirs)}\n\n{marker(ours)}") == ours
    assert not is_status("They say hello <!-- agents ticket")


@pytest.mark.parametrize(
    "body",
    [
        "",
        "<!-- agents ticket-status -->",
        "<!-- agents ticket-status AAAA -->",
        "<!-- agents ticket-status W10= -->",
        "<!-- agents ticket-status e30= -->",
        "<!-- agents ticket-status é -->",
        marker(of(run("one")))[:-10],
        marker(of(run("one"))) + "\n" + marker(of(run("two")))[:-10],
    ],
)
def test_what_is_no_claim(body: str) -> None:
    with pytest.raises(DamagedClaimError):
        claim_in(body)


def test_claims_of_two_comments_are_one() -> None:
    first = of(run("a", "1"), run("b", "2"), refused=("x",))
    second = of(run("b", "2", "3", state="started"), run("c", "4"), refused=("y", "x"))
    whole = joined([first, second])
    assert [(each.run_id, each.state, each.asks) for each in whole.runs] == [
        ("a", "claimed", ("1",)),
        ("b", "started", ("2", "3")),
        ("c", "claimed", ("4",)),
    ]
    assert whole.refused == ("x", "y")
    assert joined([]) == Claim()


def test_what_others_wrote_meanwhile_is_kept_and_what_we_took_out_is_not() -> None:
    read = of(run("a", "1"), run("b", "2"), refused=("x",))
    present = of(run("a", "1", state="started"), run("b", "2"), run("c", "3"), refused=("x", "y"))
    wanted = of(run("d", "1", "2"), refused=("z",))
    found = rebased(wanted, read, present)
    assert {each.run_id: each.state for each in found.runs} == {
        "d": "claimed",
        "a": "started",
        "c": "claimed",
    }
    assert set(found.refused) == {"z", "y"}
    assert rebased(read, read, read) == read
    assert rebased(wanted, None, Claim()) == wanted
