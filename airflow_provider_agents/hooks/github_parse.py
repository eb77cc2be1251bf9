"""From GitHub's answer about a pull request to a snapshot: pure, no clock, no I/O.

Answers are taken as untrusted in form: a part that is absent or malformed ends in ``missing``, ``refused``
or ``degraded`` and never passes for "fine"; an answer without the pull request's own facts raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pull_request import (
    Mergeable,
    MergeState,
    PullRequestSnapshot,
    PullRequestState,
    ReviewDecision,
)
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import (
    integer,
    is_bot,
    is_fork,
    login,
    mapping,
    moment,
    one_of,
    text,
)
from airflow_provider_agents.hooks.github_parse_checks import parse_checks
from airflow_provider_agents.hooks.github_parse_merging import (
    parse_auto_merge,
    parse_has_queue,
    parse_merge_methods,
    parse_queue_entry,
    parse_queue_removals,
    parse_required_checks,
)
from airflow_provider_agents.hooks.github_parse_parts import Parts
from airflow_provider_agents.hooks.github_parse_people import parse_comments, parse_reviews, parse_threads

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

CONNECTIONS: Mapping[str, tuple[str, ...]] = {
    "checks": ("statusCheckRollup", "contexts"),
    "reviews": ("latestOpinionatedReviews",),
    "threads": ("reviewThreads",),
}
"""The parts of a pull request that are read page by page, and where they stand in the answer."""

_FACTS = ("id", "url", "title", "headRefOid", "headRefName", "baseRefName")


def parse_snapshot(
    repository: str,
    data: Mapping[str, Any],
    errors: Sequence[Mapping[str, Any]],
    read_at: datetime,
    incomplete: Iterable[tuple[str, str]] = (),
) -> PullRequestSnapshot:
    """Return the pull request of an answer to the ``PullRequestSnapshot`` query, all pages in place.

    :param repository: ``owner/name`` as the caller calls it.
    :param data: what the answer says about the repository, the pull request within it.
    :param errors: errors of GraphQL that came with the data, their paths beginning below the repository.
    :param read_at: when it was read, timezone-aware.
    :param incomplete: parts of which the reader already knows that they are missing, and why.
    :raises ForgeUnavailableError: the answer lacks the pull request or its own facts.
    """
    parts = Parts(data, errors)
    for part, reason in incomplete:
        parts.doubt(part, reason)
    pull = parts.pull
    facts = {name: text(pull.get(name)) for name in _FACTS}
    number, state = integer(pull.get("number")), one_of(PullRequestState, pull.get("state"))
    absent = [name for name in _FACTS if not isinstance(pull.get(name), str)]
    if absent or number is None or state is None:
        names = ", ".join([*absent, *([] if state else ["state"])]) or "number"
        raise ForgeUnavailableError(f"GitHub's answer about a pull request of {repository} lacks {names}")
    checks = parse_checks(parts)
    may_auto_merge, auto_merge_on = parse_auto_merge(parts)
    values: dict[str, Any] = {
        "draft": _draft(parts),
        "review_decision": _review_decision(parts),
        "reviews": parse_reviews(parts),
        "threads": parse_threads(parts),
        "comments": parse_comments(parts),
        "labels": tuple(name for node in parts.nodes("labels", "labels") if (name := text(node.get("name")))),
        "closing_issues": _closing_issues(parts, text(data.get("nameWithOwner")) or repository),
        "required_checks": parse_required_checks(parts, checks),
        "allowed_methods": parse_merge_methods(parts),
        "has_merge_queue": parse_has_queue(parts),
        "queue_entry": parse_queue_entry(parts),
        "queue_removals": parse_queue_removals(parts),
    }
    return PullRequestSnapshot(
        repository=repository,
        number=number,
        node_id=facts["id"],
        url=facts["url"],
        title=facts["title"],
        state=state,
        head_sha=facts["headRefOid"],
        head_branch=facts["headRefName"],
        base_branch=facts["baseRefName"],
        base_sha=text(pull.get("baseRefOid")),
        author=login(pull),
        author_is_bot=is_bot(pull),
        fork=is_fork(pull),
        body=text(pull.get("body")),
        created_at=moment(pull.get("createdAt")),
        updated_at=moment(pull.get("updatedAt")),
        additions=integer(pull.get("additions")),
        deletions=integer(pull.get("deletions")),
        changed_files=integer(pull.get("changedFiles")),
        read_at=read_at,
        mergeable=one_of(Mergeable, pull.get("mergeable")) or "UNKNOWN",
        merge_state=one_of(MergeState, pull.get("mergeStateStatus")) or "UNKNOWN",
        merge_commit_sha=text(mapping(pull.get("mergeCommit")).get("oid")) or None,
        checks=checks,
        auto_merge_allowed=may_auto_merge,
        auto_merge_on=auto_merge_on,
        **values,
        missing=parts.missing,
        refused=tuple(parts.refused),
        degraded=tuple(parts.degraded),
    )


def _draft(parts: Parts) -> bool:
    draft = parts.pull.get("isDraft")
    if not isinstance(draft, bool):
        parts.miss("draft", "isDraft")
    return draft is True


def _review_decision(parts: Parts) -> ReviewDecision | None:
    value = parts.pull.get("reviewDecision", ...)
    decision: ReviewDecision | None = one_of(ReviewDecision, value)
    if decision is None and (value is not None or parts.error("reviewDecision")):
        parts.miss("review decision", "reviewDecision")
    return decision


def _closing_issues(parts: Parts, own_name: str) -> tuple[int, ...]:
    value = mapping(parts.pull.get("closingIssuesReferences")).get("nodes")
    if not isinstance(value, list):
        parts.miss("closing issues", "closingIssuesReferences")
        return ()
    # Null entries are issues of repositories that the credential may not see, hence not of this one.
    return tuple(
        number
        for node in value
        if text(mapping(mapping(node).get("repository")).get("nameWithOwner")).lower() == own_name.lower()
        and (number := integer(mapping(node).get("number"))) is not None
    )
