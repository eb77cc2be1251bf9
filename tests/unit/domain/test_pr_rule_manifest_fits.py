"""ai-devops-operator's three rules, loaded unchanged: which pull requests they are for, and what they may do there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.domain.pr_rule import PROTECTED_PATHS, PullRequestRule
from airflow_provider_agents.domain.pr_rule_files import read_rules
from airflow_provider_agents.domain.pr_rule_selector import fits

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
MANIFESTS = Path(__file__).parent / "manifests"


def rule(name: str) -> PullRequestRule:
    (file,) = read_rules(MANIFESTS / f"{name}-rule.yaml")
    assert file.rule is not None, file.faults
    return file.rule


def entry(**values: Any) -> OpenPullRequest:
    usual: dict[str, Any] = {
        "node_id": "PR_1",
        "repository": "acme/shop",
        "number": 7,
        "url": "https://github.com/acme/shop/pull/7",
        "title": "Bump urllib3 from 2.2.1 to 2.2.2",
        "author": "mona",
        "author_is_bot": False,
        "labels": (),
        "base_branch": "main",
        "head_branch": "change",
        "head_sha": "a" * 40,
        "fork": False,
        "draft": False,
        "mergeable": "MERGEABLE",
        "merge_state": "CLEAN",
        "review_decision": "",
        "checks_state": "SUCCESS",
        "created_at": NOW,
        "updated_at": NOW,
    }
    return OpenPullRequest(**usual | values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"labels": ("auto-merge", "staging")}, True),
        ({"labels": ("Staging", "AUTO-MERGE", "other")}, True),
        ({"labels": ("staging",)}, False),
        ({"labels": ("auto-merge", "staging", "do-not-merge")}, False),
        ({"labels": ("auto-merge", "staging"), "base_branch": "release"}, False),
    ],
)
def test_staging_is_for_what_has_both_labels(values: dict[str, Any], expected: bool) -> None:
    assert fits(entry(**values), rule("staging-automerge").selector) is expected


def test_production_is_for_its_label() -> None:
    selector = rule("production-approval").selector
    assert fits(entry(labels=("production",)), selector)
    assert not fits(entry(labels=("staging",)), selector)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # As GraphQL gives it: without the suffix that their rule names. There, the rule matched nothing.
        ({"author": "dependabot", "author_is_bot": True}, True),
        ({"author": "Dependabot", "author_is_bot": True}, True),
        ({"author": "renovate", "author_is_bot": True}, False),
        ({"author": "mona"}, False),
        ({"author": ""}, False),
        ({"author": "dependabot", "author_is_bot": True, "title": "bump urllib3"}, False),
        ({"author": "dependabot", "author_is_bot": True, "title": "Revert: Bump urllib3"}, False),
        ({"author": "dependabot", "author_is_bot": True, "labels": ()}, False),
    ],
)
def test_dependabot_is_the_bot(values: dict[str, Any], expected: bool) -> None:
    found = entry(**{"labels": ("dependencies",)} | values)
    assert fits(found, rule("dependabot-automerge").selector) is expected


@pytest.mark.parametrize("name", ["staging-automerge", "production-approval", "dependabot-automerge"])
def test_they_have_the_guards_and_limits_that_they_never_knew(name: str) -> None:
    found = rule(name)
    assert found.allowed == {"merge", "wait", "escalate", "close"}
    assert found.guards.protected_paths == PROTECTED_PATHS
    assert found.guards.max_risk == 60
    assert (found.limits.merges_per_hour, found.limits.pull_requests_per_hour) == (5, 10)
    assert (found.escalation_label, found.max_pull_requests) == ("needs-human-approval", 100)
