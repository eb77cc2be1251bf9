"""Pull requests and rules for the tests of what a rule's model sees."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_facts import facts_of
from airflow_provider_agents.domain.pr_rule_prompt import Material, build_prompt
from airflow_provider_agents.domain.pull_request import Check, Comment, PullRequestSnapshot, Review
from airflow_provider_agents.domain.risk import ChangedFile

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule_prompt import RulePrompt

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HEAD = "a" * 40

SNAPSHOT = PullRequestSnapshot(
    repository="acme/shop",
    number=7,
    node_id="PR_7",
    url="https://github.com/acme/shop/pull/7",
    title="Bump urllib3 from 2.2.1 to 2.2.2",
    state="OPEN",
    head_sha=HEAD,
    head_branch="dependabot/pip/urllib3-2.2.2",
    base_branch="main",
    read_at=NOW,
    mergeable="MERGEABLE",
    merge_state="CLEAN",
    review_decision="APPROVED",
    checks=(
        Check(
            name="tests",
            state="passed",
            kind="check_run",
            conclusion="SUCCESS",
            required=True,
            started_at=NOW - timedelta(hours=2),
            completed_at=NOW - timedelta(hours=1),
        ),
        Check(name="lint", state="passed", kind="status", conclusion="SUCCESS", required=False),
    ),
    reviews=(
        Review(author="mona", state="APPROVED", can_write=True, head_sha=HEAD),
        Review(author="guest", state="COMMENTED", head_sha="b" * 40),
    ),
    labels=("staging", "auto-merge"),
    author="dependabot",
    author_is_bot=True,
    fork=False,
    body="Bumps urllib3.",
    created_at=NOW - timedelta(days=2, hours=3),
    updated_at=NOW - timedelta(days=1, hours=3),
    additions=3,
    deletions=2,
    changed_files=1,
    required_checks=frozenset({"tests"}),
    comments=(
        Comment(author="mona", body="Looks good.", can_write=True),
        Comment(author="guest", body="+1"),
    ),
    allowed_methods=("squash",),
)
FILES = (ChangedFile(path="requirements.txt", status="modified", additions=3, deletions=2),)
DIFF = "diff --git a/requirements.txt b/requirements.txt\n@@ -1 +1 @@\n-urllib3==2.2.1\n+urllib3==2.2.2\n"
MATERIAL = Material(files=FILES, diff=DIFF, comments=SNAPSHOT.comments)

INSTRUCTION = """\
Pull request {{pr.number}}: {{pr.title}} by {{pr.author}}, labels {{pr.labels}}, CI {{pr.ciStatus}},
mergeable {{pr.mergeable}}, reviews {{pr.reviews}}, {{ repository }} for {{environment}}, Argo CD {{argocd.health}}.

Merge it if CI is green. Else wait."""


def snapshot(**changes: Any) -> PullRequestSnapshot:
    return dataclasses.replace(SNAPSHOT, **changes)


def rule(instruction: str = INSTRUCTION, **fields: Any) -> PullRequestRule:
    return PullRequestRule.model_validate({"instruction": instruction, **fields})


def facts(of: PullRequestRule | None = None, **changes: Any) -> dict[str, Any]:
    return facts_of(snapshot(**changes), of or rule(), application=None, now=NOW)


def prompt(of: PullRequestRule | None = None, material: Material = MATERIAL, **changes: Any) -> RulePrompt:
    return build_prompt(of or rule(), facts(of, **changes), material, NOW)
