"""Pull requests, answers and readings for tests of a rule's turns."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision, RuleAnswer
from airflow_provider_agents.domain.pr_rule_look import Look, Question
from airflow_provider_agents.domain.pr_rule_state import Seen
from airflow_provider_agents.domain.pr_rule_turn import FullReading

NOW = datetime(2026, 3, 5, 12, tzinfo=UTC)
PARTS = {"checks": "c1", "review": "r1", "push": "p1", "labels": "l1", "deployment": "d1"}


def entry(number: int = 7, **values: Any) -> OpenPullRequest:
    return OpenPullRequest(
        **{
            "node_id": f"PR_{number}",
            "repository": "acme/shop",
            "number": number,
            "url": f"https://github.com/acme/shop/pull/{number}",
            "title": f"Change {number}",
            "author": "mona",
            "author_is_bot": False,
            "labels": (),
            "base_branch": "main",
            "head_branch": "topic",
            "head_sha": "a" * 40,
            "fork": False,
            "draft": False,
            "mergeable": "MERGEABLE",
            "merge_state": "CLEAN",
            "review_decision": "",
            "checks_state": "SUCCESS",
            "created_at": NOW,
            "updated_at": NOW,
            **values,
        }
    )


def answer(action: Any = "merge", **values: Any) -> RuleAnswer:
    return RuleAnswer(**{"action": action, "reason": "It is green.", "confidence": 0.9, **values})


def reading(**values: Any) -> FullReading:
    return FullReading(
        **{
            "mark": "m1",
            "version": "v1",
            "head_sha": "a" * 40,
            "context_hash": "h1",
            "parts": PARTS,
            **values,
        }
    )


def seen(**values: Any) -> Seen:
    """Return what is known of a pull request that was asked about, with :func:`reading`, at ``NOW``."""
    return Seen(
        **{
            "seen_at": NOW,
            "listing": "m1",
            "read_at": NOW,
            "head_sha": "a" * 40,
            "head_first_seen": NOW,
            "considered_at": NOW,
            "version": "v1",
            "context_hash": "h1",
            "parts": PARTS,
            "answer": answer(),
            "answered_at": NOW,
            **values,
        }
    )


def decision(number: int = 7, **values: Any) -> PullRequestDecision:
    return PullRequestDecision(
        **{
            "rule": "staging",
            "version": "v1",
            "repository": "acme/shop",
            "number": number,
            "url": "",
            "head_sha": "a" * 40,
            "context_hash": "h1",
            "decided_at": NOW,
            "answer": answer(),
            "model": "claude",
            "usd": 0.01,
            "action": "merge",
            "outcome": "done",
            **values,
        }
    )


def question(**values: Any) -> Question:
    return Question(**{"usd": 0.05, "context_hash": "h1", "parts": PARTS, **values})


def look(**values: Any) -> Look:
    return Look(**{"rule": "staging", "version": "v1", "run_id": "run-1", "at": NOW, **values})
