"""Which pull requests a rule is for, and what of them it sees."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.domain.pr_rule import Selector
from airflow_provider_agents.domain.pr_rule_selector import differs, fits, is_author, unfit_reason, visible

ENTRY = OpenPullRequest(
    node_id="PR_1",
    repository="acme/shop",
    number=7,
    url="https://github.com/acme/shop/pull/7",
    title="Bump lodash from 1 to 2",
    author="dependabot",
    author_is_bot=True,
    labels=("Dependencies", "auto-merge"),
    base_branch="main",
    head_branch="dependabot/npm",
    head_sha="a" * 40,
    fork=False,
    draft=False,
    mergeable="MERGEABLE",
    merge_state="CLEAN",
    review_decision="",
    checks_state="SUCCESS",
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
    updated_at=datetime(2026, 1, 2, tzinfo=UTC),
)


def selector(**values: Any) -> Selector:
    return Selector.model_validate(values)


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"labels": {"include": ["dependencies", "AUTO-MERGE"]}},
        {"labels": {"exclude": ["do-not-merge"]}},
        {"title_pattern": "^Bump"},
        {"title_pattern": "Bump"},
        {"base_branch": "main"},
        {"authors": ["alice", "dependabot[bot]"]},
        {"authors": ["Dependabot"]},
    ],
)
def test_it_fits(wanted: dict[str, Any]) -> None:
    assert unfit_reason(ENTRY, selector(**wanted)) == ""
    assert fits(ENTRY, selector(**wanted))


@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"labels": {"include": ["dependencies", "staging"]}}, "it lacks the label 'staging'"),
        ({"labels": {"exclude": ["wip", "Auto-Merge"]}}, "it has the label 'Auto-Merge'"),
        ({"title_pattern": "lodash"}, "its title does not begin with 'lodash'"),
        ({"base_branch": "Main"}, "it goes into 'main', not 'Main'"),
        ({"base_branch": "mai"}, "it goes into 'main', not 'mai'"),
        ({"authors": ["alice"]}, "dependabot is none of its authors"),
    ],
)
def test_it_does_not_fit_and_says_why(wanted: dict[str, Any], reason: str) -> None:
    assert unfit_reason(ENTRY, selector(**wanted)) == reason


@pytest.mark.parametrize(
    ("login", "bot", "author", "is_one"),
    [
        ("dependabot", True, "dependabot[bot]", True),
        ("dependabot[bot]", True, "dependabot[bot]", True),
        ("dependabot[bot]", False, "dependabot[bot]", True),
        ("dependabot", True, "dependabot", False),
        ("dependabot", True, " Dependabot[Bot] ", True),
        ("dependabot", False, "dependabot[bot]", False),
        ("renovate", True, "renovate", False),
        ("renovate", True, "renovate[bot]", True),
        ("alice", False, "Alice", True),
        ("alice", False, "alice[bot]", False),
        ("", False, "", False),
        ("", False, "ghost", False),
        ("ghost", False, "ghost", False),
        ("", True, "[bot]", False),
        ("alice", False, "", False),
    ],
)
def test_who_is_an_author(login: str, bot: bool, author: str, is_one: bool) -> None:
    assert is_author(login, (author,), bot=bot) is is_one


def test_a_deleted_author_is_in_no_list_and_in_a_rule_without_one() -> None:
    ghost = replace(ENTRY, author="", author_is_bot=False)
    assert unfit_reason(ghost, selector(authors=["ghost"])) == "a deleted account is none of its authors"
    assert fits(ghost, selector())


def test_a_pattern_sees_no_more_of_a_title_than_github_lets_it_have() -> None:
    long = replace(ENTRY, title="a" * 1_000_000 + "!")
    assert fits(long, selector(title_pattern="a{256}$"))
    assert not fits(long, selector(title_pattern="a{257}"))


FIELDS: dict[str, Any] = {
    "title": "Bump",
    "author": "alice",
    "author_is_bot": False,
    "labels": ("dependencies",),
    "base_branch": "release",
    "head_sha": "b" * 40,
    "fork": True,
    "draft": True,
    "review_decision": "APPROVED",
    "checks_state": "PENDING",
    "updated_at": datetime(2026, 1, 3, tzinfo=UTC),
    "mergeable": "CONFLICTING",
    "merge_state": "BLOCKED",
}


@pytest.mark.parametrize("field", FIELDS)
def test_each_thing_that_it_sees_makes_a_difference(field: str) -> None:
    changed = replace(ENTRY, **{field: FIELDS[field]})
    assert differs(visible(ENTRY), visible(changed))


def test_the_order_and_the_case_of_labels_make_none() -> None:
    changed = replace(ENTRY, labels=("AUTO-merge", "dependencies"))
    assert not differs(visible(ENTRY), visible(changed))


def test_what_was_never_seen_differs() -> None:
    assert differs(None, visible(ENTRY))


def test_unknown_mergeability_is_no_difference_and_its_end_is_one() -> None:
    unknown = replace(ENTRY, mergeable="UNKNOWN", merge_state="UNKNOWN")
    assert not differs(visible(ENTRY), visible(unknown))
    assert differs(visible(unknown), visible(ENTRY))
    pushed = replace(unknown, head_sha="b" * 40)
    assert differs(visible(ENTRY), visible(pushed))


@given(title=st.text(), author=st.text(), labels=st.lists(st.text(), max_size=5))
def test_no_text_breaks_it(title: str, author: str, labels: list[str]) -> None:
    entry = replace(ENTRY, title=title, author=author, labels=tuple(labels))
    unfit_reason(entry, selector(authors=["alice", "dependabot[bot]"], title_pattern="^Bump"))
    assert not differs(visible(entry), visible(entry))
    assert len(visible(entry)) == 17
