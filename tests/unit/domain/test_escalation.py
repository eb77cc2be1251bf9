"""The question that a pull request puts to a person, and what the answer means."""

from __future__ import annotations

import dataclasses
import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.budget import LedgerRecord
from airflow_provider_agents.domain.commands import Command
from airflow_provider_agents.domain.escalation import (
    ANOTHER_ROUND,
    CLOSE,
    INSTRUCTIONS,
    LEAVE,
    MERGE,
    EscalationAnswer,
    escalation_comment,
    escalation_key,
    escalation_question,
    instructions_text,
    judge_answer,
    read_answer,
    read_command,
)
from airflow_provider_agents.domain.landing import Decision, decide
from airflow_provider_agents.domain.landing_history import LandingHistory, Rerun, Round
from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.people import Answer
from airflow_provider_agents.domain.pull_request import (
    Check,
    Comment,
    PullRequestSnapshot,
    Review,
    ReviewThread,
)

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
HEAD, NEXT = "a" * 40, "b" * 40
GIVEN_UP = Decision(verdict="escalate", reason="rounds_exhausted", message="All 5 fix rounds are used.")
POLICY = LandingPolicy()


def check(name: str = "tests", state: str = "passed") -> Check:
    return Check(name=name, state=state, kind="check_run", completed_at=NOW - timedelta(hours=1))  # type: ignore[arg-type]


def snapshot(**values: Any) -> PullRequestSnapshot:
    facts: dict[str, Any] = {
        "repository": "acme/shop",
        "number": 7,
        "node_id": "PR_1",
        "url": "https://github.com/acme/shop/pull/7",
        "title": "Mend the basket",
        "state": "OPEN",
        "head_sha": HEAD,
        "head_branch": "ai/issue-3",
        "base_branch": "main",
        "read_at": NOW,
        "mergeable": "MERGEABLE",
        "merge_state": "UNSTABLE",
        "checks": (check(state="failed"), check("lint")),
    }
    return PullRequestSnapshot(**facts | values)


def used_up(reason: str = "checks_failed") -> LandingHistory:
    rounds = tuple(Round(reason=reason, head_sha=str(i) * 40, head_after=str(i + 1) * 40) for i in range(5))
    return LandingHistory(rounds=rounds, heads_first_seen={HEAD: NOW - timedelta(hours=2)})


def answer(option: str, **fields: Any) -> Answer:
    return Answer(key="k", option=option, fields=fields, by="mona", at=NOW)


def chosen(option: str, shown: PullRequestSnapshot | None = None, instructions: str = "") -> EscalationAnswer:
    return read_answer(answer(option, **{INSTRUCTIONS: instructions}), shown or snapshot())


# What is asked


def question(rounds_left: int = 2, **values: Any) -> Any:
    return escalation_question(snapshot(), GIVEN_UP, used_up(), rounds_left=rounds_left, **values)


def test_the_question_says_what_failed_what_was_tried_and_what_it_cost() -> None:
    history = dataclasses.replace(
        used_up(), reruns=(Rerun(head_sha=HEAD, at=NOW, checks=("slow",), evidence="e"),)
    )
    books = [
        LedgerRecord(
            pod="p1",
            task="t",
            repository="r",
            step="fix",
            program="claude",
            day="d",
            state="settled",
            usd=1.25,
        ),
        LedgerRecord(pod="p2", task="t", repository="r", step="fix", program="claude", day="d", usd=2.0),
    ]
    body = escalation_question(snapshot(), GIVEN_UP, history, books=books, rounds_left=1).body
    for said in (
        "All 5 fix rounds are used.",
        "tests",
        HEAD[:12],
        "checks failed: 5",
        "slow",
        "$1.25",
        "$2.00",
    ):
        assert said in body


def test_another_round_is_offered_only_while_the_graph_has_one() -> None:
    assert question(1).option_names == (ANOTHER_ROUND, MERGE, CLOSE, LEAVE)
    assert question(0).option_names == (MERGE, CLOSE, LEAVE)
    assert question(0).fields == ()


def test_a_later_escalation_of_the_same_gate_is_another_question() -> None:
    keys = {
        escalation_key(snapshot(), GIVEN_UP, used_up()),
        escalation_key(snapshot(head_sha=NEXT), GIVEN_UP, used_up()),
        escalation_key(snapshot(), dataclasses.replace(GIVEN_UP, reason="dequeued"), used_up()),
        escalation_key(snapshot(), GIVEN_UP, dataclasses.replace(used_up(), granted_rounds=1)),
    }
    assert len(keys) == 4


def test_a_merge_consents_to_the_head_and_its_failing_checks() -> None:
    def code(**values: Any) -> str:
        return escalation_question(snapshot(**values), GIVEN_UP, used_up(), rounds_left=0).code

    assert code() == code(mergeable="UNKNOWN", checks=(check(state="failed"), check("new")))
    assert (
        len({code(), code(head_sha=NEXT), code(checks=(check("lint", "failed"), check(state="failed")))}) == 3
    )
    assert question().binds(MERGE)
    assert not any(question().binds(option) for option in (ANOTHER_ROUND, CLOSE, LEAVE))
    assert code() in comment()


def comment(shown: PullRequestSnapshot | None = None, **values: Any) -> str:
    return escalation_comment(shown or snapshot(), GIVEN_UP, used_up(), rounds_left=2, **values)


def test_the_comment_links_each_option_to_the_form() -> None:
    text = comment(links={MERGE: "https://airflow/x?_options=1", "": "https://airflow/x"})
    assert "[Merge](https://airflow/x?_options=1)" in text
    assert "[Airflow](https://airflow/x)" in text
    assert "**Close**" in text


def test_the_comment_offers_a_merge_by_command_only_where_no_check_fails() -> None:
    assert "`/merge`" not in comment()
    assert "`/merge`" in comment(snapshot(checks=(check(),)))
    assert "`/stop`" in comment()


def test_afterwards_the_comment_says_who_chose_what_and_offers_nothing() -> None:
    text = comment(answer=chosen(CLOSE))
    assert "mona chose to close it, 2026-01-02 12:00 UTC." in text
    assert "What can be chosen" not in text


def test_names_in_the_comment_call_nobody_and_close_nothing() -> None:
    text = comment(snapshot(checks=(check("@mona fixes #9", "failed"),)), answer=chosen(LEAVE))
    assert "@mona" not in text
    assert "fixes #9" not in text


# What an answer means


def test_an_answer_survives_json() -> None:
    made = chosen(MERGE)
    assert made.overridden == ("tests",)
    assert EscalationAnswer.from_dict(json.loads(json.dumps(made.to_dict()))) == made


def test_another_round_is_granted_with_its_instructions() -> None:
    made = chosen(ANOTHER_ROUND, instructions="use the cache")
    decision, history = judge_answer(made, snapshot(), POLICY, used_up())
    assert (decision.verdict, history.granted_rounds) == ("fix", 1)
    assert instructions_text(made).endswith("use the cache")
    assert instructions_text(chosen(ANOTHER_ROUND)) == ""


@pytest.mark.parametrize(("option", "reason"), [(CLOSE, "closed_by_person"), (LEAVE, "left_by_person")])
def test_close_and_leave_stop(option: str, reason: str) -> None:
    decision, _ = judge_answer(chosen(option), snapshot(), POLICY, used_up())
    assert (decision.verdict, decision.reason) == ("stop", reason)
    assert "mona" in decision.message


def test_a_merge_overrides_the_failing_checks_that_were_shown() -> None:
    decision, history = judge_answer(chosen(MERGE), snapshot(), POLICY, used_up())
    assert (decision.verdict, decision.reason) == ("merge", "merge_by_person")
    assert "in spite of tests" in decision.message
    assert history.approved_heads == {HEAD}


def test_a_merge_into_a_queue_branch_enters_the_queue() -> None:
    decision, _ = judge_answer(chosen(MERGE), snapshot(has_merge_queue=True), POLICY, used_up())
    assert decision.verdict == "enqueue"


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ({"mergeable": "CONFLICTING"}, "escalate"),
        ({"head_sha": NEXT}, "escalate"),
        ({"checks": (check(state="failed"), check("lint", "failed"))}, "escalate"),
        ({"reviews": (Review(author="rita", state="CHANGES_REQUESTED", can_write=True),)}, "escalate"),
        (
            {
                "threads": (
                    ReviewThread(
                        node_id="T",
                        path="a",
                        line=1,
                        comments=(Comment(author="rita", body="no", can_write=True),),
                    ),
                )
            },
            "escalate",
        ),
        ({"checks": (check(state="failed"), check("lint", "pending"))}, "wait"),
        ({"mergeable": "UNKNOWN"}, "wait"),
        ({"draft": True}, "wait"),
        ({"labels": ("do-not-merge",)}, "wait"),
        ({"missing": ("checks: timeout",)}, "wait"),
        ({"refused": ("checks: no right",)}, "escalate"),
        ({"state": "MERGED"}, "done"),
        ({"state": "CLOSED"}, "stop"),
    ],
)
def test_a_persons_merge_overrides_nothing_else(now: dict[str, Any], verdict: str) -> None:
    decision, _ = judge_answer(chosen(MERGE), snapshot(**now), POLICY, used_up())
    assert decision.verdict == verdict


@pytest.mark.parametrize("option", [ANOTHER_ROUND, CLOSE, LEAVE])
def test_a_pull_request_that_was_merged_meanwhile_is_done(option: str) -> None:
    decision, history = judge_answer(chosen(option), snapshot(state="MERGED"), POLICY, used_up())
    assert (decision.verdict, history.granted_rounds) == ("done", 0)


def test_a_merge_that_is_not_possible_says_why() -> None:
    decision, history = judge_answer(chosen(MERGE), snapshot(mergeable="CONFLICTING"), POLICY, used_up())
    assert "conflicts with main" in decision.message
    assert "mona" in decision.message
    assert history == used_up()


def command(name: str, text: str = "") -> Command:
    return Command(name=name, text=text, author="mona", key="C1")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "choice"), [("retry", "round"), ("tell", "round"), ("merge", "merge"), ("stop", "leave")]
)
def test_commands_answer_too(name: str, choice: str) -> None:
    found = read_command(command(name, "text"), snapshot(), NOW)
    assert found is not None
    assert (found.choice, found.key, found.by) == (choice, "C1", "mona")


@pytest.mark.parametrize("name", ["review", "explain"])
def test_other_commands_answer_nothing(name: str) -> None:
    assert read_command(command(name), snapshot(), NOW) is None


def test_merge_by_command_overrides_no_failing_check() -> None:
    found = read_command(command("merge"), snapshot(), NOW)
    assert found is not None
    decision, _ = judge_answer(found, snapshot(), POLICY, used_up())
    assert decision.verdict == "escalate"


def test_a_command_that_was_carried_out_is_noted() -> None:
    found = read_command(command("retry", "again"), snapshot(), NOW)
    assert found is not None
    _, history = judge_answer(found, snapshot(), POLICY, used_up())
    assert "C1" in history.commands


states = st.sampled_from(["passed", "failed", "pending"])


@given(
    st.dictionaries(st.sampled_from("abc"), states, min_size=1),
    st.dictionaries(st.sampled_from("abc"), states, min_size=1),
    st.sampled_from([HEAD, NEXT]),
    st.sampled_from(["MERGEABLE", "CONFLICTING", "UNKNOWN"]),
    st.booleans(),
)
def test_no_answer_merges_what_the_person_was_not_shown(
    then: dict[str, str], now: dict[str, str], head: str, mergeable: str, objection: bool
) -> None:
    shown = snapshot(checks=tuple(itertools.starmap(check, then.items())))
    reviews = (Review(author="rita", state="CHANGES_REQUESTED", can_write=True),) if objection else ()
    later = snapshot(
        checks=tuple(itertools.starmap(check, now.items())),
        head_sha=head,
        mergeable=mergeable,
        reviews=reviews,
    )
    decision, _ = judge_answer(chosen(MERGE, shown), later, POLICY, used_up())
    if decision.verdict in ("merge", "enqueue"):
        assert head == HEAD
        assert mergeable == "MERGEABLE"
        assert not objection
        assert "pending" not in now.values()
        assert all(then.get(name) == "failed" for name, state in now.items() if state == "failed")


def test_without_the_answer_it_would_not_be_merged() -> None:
    assert decide(snapshot(), POLICY, used_up()).verdict == "escalate"
