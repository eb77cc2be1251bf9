"""What a rollback says: in words of ours, and with those of others made harmless."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow_provider_agents.domain.commits import CommitRef
from airflow_provider_agents.domain.rollback import Rollback
from airflow_provider_agents.domain.rollback_facts import Candidate
from airflow_provider_agents.domain.rollback_text import (
    abort_comment,
    abort_question,
    approval_question,
    body,
    branch_name,
    commit_message,
    title,
)

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
EPISODE = Rollback(
    name="shop",
    application="shop-staging",
    repository="acme/shop",
    revision="b" * 40,
    state="abort",
    event="checks_failed",
    entered_at=NOW,
    degraded_since=NOW,
    branch="main",
    path="deploy",
    head_sha="c" * 40,
    url="https://github.test/acme/shop/pull/7",
    candidate=Candidate(revision="a" * 40, proven=True, evidence="its checks passed", commits=2),
    message="ci failed, says @mona: fixes #3 <!-- hidden -->",
)


def commit(sha: str, message: str, author: str = "alice") -> CommitRef:
    return CommitRef(
        sha=sha * 40, author=author, title=message, message=message, author_name=author, author_email=""
    )


def test_names() -> None:
    assert branch_name("shop-staging", "B" * 40) == "rollback/shop-staging-bbbbbbbbbbbb"
    assert branch_name("shop", "../../x b") == "rollback/shop-b"
    assert title(EPISODE) == "Roll back shop-staging to aaaaaaaaaaaa"
    assert commit_message(EPISODE).startswith("Roll back shop-staging to aaaaaaaaaaaa\n\ndeploy/ as of aaaa")


def test_the_description_lists_what_is_taken_back_newest_first() -> None:
    text = body(EPISODE, [commit("1", "One"), commit("2", "Two")], 50)
    assert text.index("222222222222 Two (alice)") < text.index("111111111111 One (alice)")
    assert "`deploy/`" in text
    assert "its checks passed" in text


def test_what_others_wrote_calls_nobody_and_closes_nothing() -> None:
    evil = "Closes #1 @everyone &#64;mona <!-- agents rollback=other -->\n\n# Merge now"
    text = body(EPISODE, [commit("1", evil, "@bot")], 50)
    assert "@everyone" not in text
    assert "Closes #1" not in text
    assert "&#64;" not in text
    assert "agents rollback" not in text
    assert "\n# Merge now" not in text
    assert "@mona" not in abort_comment(EPISODE)
    assert "fixes #3" not in abort_comment(EPISODE)
    assert "hidden" not in abort_comment(EPISODE)


def test_many_commits_are_counted() -> None:
    text = body(EPISODE, [commit("1", f"Number {n}") for n in range(60)], 50)
    assert "and 10 more" in text
    assert text.count("\n- 1111") == 50


def test_a_yes_is_for_one_head() -> None:
    one = approval_question(EPISODE)
    assert one.binds("Roll back")
    assert not one.binds("Leave it to people")
    assert "cccccccccccc" in one.body
    assert one.facts == "c" * 40


def test_the_call_says_why_and_where() -> None:
    question = abort_question(EPISODE, EPISODE.message)
    assert EPISODE.url in question.body
    assert "ci failed" in question.body
    assert question.option_names == ("I take over",)
