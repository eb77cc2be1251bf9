"""From GitHub's answers to this project's words: pure functions, no clock, no I/O.

Answers are taken as untrusted in form: a part that is absent or malformed ends in ``missing`` and never
passes for "fine"; an answer without the pull request's own facts raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pull_request import (
    Check,
    CheckState,
    Comment,
    Mergeable,
    MergeState,
    PullRequestSnapshot,
    PullRequestState,
    Review,
    ReviewDecision,
    ReviewThread,
)
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import flag, integer, login, mapping, one_of, text

if TYPE_CHECKING:
    from datetime import datetime

_PASSED = frozenset({"SUCCESS", "NEUTRAL", "SKIPPED"})
_FAILED = frozenset({"FAILURE", "ACTION_REQUIRED", "CANCELLED", "STARTUP_FAILURE", "STALE", "TIMED_OUT"})
_STATUS_STATES: Mapping[str, CheckState] = {
    "SUCCESS": "passed",
    "FAILURE": "failed",
    "ERROR": "failed",
    "PENDING": "pending",
    "EXPECTED": "pending",
}
_REVIEW_STATES = frozenset({"APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING"})
_WRITER_ASSOCIATIONS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})

CONNECTIONS: Mapping[str, tuple[str, ...]] = {
    "checks": ("statusCheckRollup", "contexts"),
    "reviews": ("latestOpinionatedReviews",),
    "threads": ("reviewThreads",),
}
"""The parts of a pull request that come in pages, and where they stand in the answer."""


def parse_snapshot(
    repository: str,
    data: Mapping[str, Any],
    errors: Sequence[Mapping[str, Any]],
    read_at: datetime,
    incomplete: Iterable[str] = (),
) -> PullRequestSnapshot:
    """Return the pull request of an answer to the ``PullRequestSnapshot`` query, all pages in place.

    :param repository: ``owner/name`` as the caller calls it.
    :param errors: errors of GraphQL that came with the data.
    :param read_at: when it was read, timezone-aware.
    :param incomplete: what the reader already knows to be missing.
    :raises ForgeUnavailableError: the answer lacks the pull request or its own facts.
    """
    outer = mapping(data.get("repository"))
    pull = mapping(outer.get("pullRequest"))
    facts = {
        name: pull.get(name) for name in ("id", "url", "title", "headRefOid", "headRefName", "baseRefName")
    }
    number, state = pull.get("number"), one_of(PullRequestState, pull.get("state"))
    absent = [name for name, value in facts.items() if not isinstance(value, str)]
    if absent or not isinstance(number, int) or state is None:
        names = ", ".join([*absent, *([] if state else ["state"])]) or "number"
        raise ForgeUnavailableError(f"GitHub's answer about a pull request of {repository} lacks {names}")
    parts = _Parts(pull, errors)
    checks = _checks(parts)
    reviews = _reviews(parts)
    threads = _threads(parts)
    labels = tuple(name for node in parts.nodes("labels", "labels") if (name := text(node.get("name"))))
    closing = _closing_issues(parts, text(outer.get("nameWithOwner")) or repository)
    decision = one_of(ReviewDecision, pull.get("reviewDecision"))
    if decision is None and (pull.get("reviewDecision", "") is not None or parts.error("reviewDecision")):
        parts.miss("review decision", "reviewDecision")
    draft = pull.get("isDraft")
    if not isinstance(draft, bool):
        parts.miss("draft", "isDraft")
    return PullRequestSnapshot(
        repository=repository,
        number=number,
        node_id=text(facts["id"]),
        url=text(facts["url"]),
        title=text(facts["title"]),
        state=state,
        head_sha=text(facts["headRefOid"]),
        head_branch=text(facts["headRefName"]),
        base_branch=text(facts["baseRefName"]),
        read_at=read_at,
        draft=draft is True,
        mergeable=one_of(Mergeable, pull.get("mergeable")) or "UNKNOWN",
        merge_state=one_of(MergeState, pull.get("mergeStateStatus")) or "UNKNOWN",
        review_decision=decision,
        checks=checks,
        reviews=reviews,
        threads=threads,
        labels=labels,
        closing_issues=closing,
        merge_commit_sha=text(mapping(pull.get("mergeCommit")).get("oid")) or None,
        missing=(*incomplete, *parts.missing),
    )


class _Parts:
    """The parts of one pull request, and which of them could not be read."""

    def __init__(self, pull: Mapping[str, Any], errors: Sequence[Mapping[str, Any]]) -> None:
        self.pull = pull
        self.missing: list[str] = []
        self._errors = errors

    def error(self, field: str) -> str:
        """Return GitHub's words on why ``field`` of the pull request, or a part of it, is absent."""
        for error in self._errors:
            path = error.get("path")
            if isinstance(path, list) and path[:3] == ["repository", "pullRequest", field]:
                return text(error.get("message")) or text(error.get("type")) or "unnamed error"
        return ""

    def miss(self, part: str, field: str, reason: str = "") -> None:
        """Name a part as missing, once for each reason."""
        entry = f"{part}: {(self.error(field) or reason or 'not in the answer')[:300]}"
        if entry not in self.missing:
            self.missing.append(entry)

    def nodes(self, part: str, *path: str) -> Iterator[Mapping[str, Any]]:
        """Yield the nodes of a connection; one that is absent or null is a missing part."""
        value: Any = self.pull
        for name in path:
            value = mapping(value).get(name)
        nodes = mapping(value).get("nodes")
        if not isinstance(nodes, list):
            self.miss(part, path[0])
            return
        for node in nodes:
            if isinstance(node, Mapping):
                yield node
            else:
                self.miss(part, path[0], "an entry could not be read")


def _checks(parts: _Parts) -> tuple[Check, ...]:
    rollup = parts.pull.get("statusCheckRollup", ...)
    if rollup is None and not parts.error("statusCheckRollup"):
        return ()
    found: list[tuple[Check, _Origin | None]] = []
    for node in parts.nodes("checks", "statusCheckRollup", "contexts"):
        check = _check_run(node) if node.get("__typename") == "CheckRun" else _status(node)
        if check is None:
            parts.miss("checks", "statusCheckRollup", "an entry could not be understood")
            continue
        found.append((check, _origin(node)))
    return tuple(check for check, origin in found if not _superseded(check, origin, found))


def _check_run(node: Mapping[str, Any]) -> Check | None:
    name, status, conclusion = text(node.get("name")), node.get("status"), text(node.get("conclusion"))
    state: CheckState
    if not name or not isinstance(status, str):
        return None
    if status != "COMPLETED":
        state, conclusion = "pending", ""
    elif conclusion in _PASSED:
        state = "passed"
    elif conclusion in _FAILED:
        state = "failed"
    else:
        return None
    return Check(
        name=name,
        state=state,
        kind="check_run",
        conclusion=conclusion,
        required=flag(node.get("isRequired")),
        url=text(node.get("detailsUrl")) or text(node.get("permalink")),
        title=text(node.get("title")),
        node_id=text(node.get("id")),
        database_id=integer(node.get("databaseId")),
    )


def _status(node: Mapping[str, Any]) -> Check | None:
    name, word = text(node.get("context")), text(node.get("state"))
    state = _STATUS_STATES.get(word)
    if not name or state is None:
        return None
    return Check(
        name=name,
        state=state,
        kind="status",
        conclusion="" if state == "pending" else word,
        required=flag(node.get("isRequired")),
        url=text(node.get("targetUrl")),
        title=text(node.get("description")),
        node_id=text(node.get("id")),
    )


_Origin = tuple[tuple[str, str, str], int]
"""What made a check run (app, workflow, event), and in which of its suites, newer ones having higher ids."""


def _origin(node: Mapping[str, Any]) -> _Origin | None:
    """Return where a check run comes from, or ``None`` where that is not known for certain."""
    suite = mapping(node.get("checkSuite"))
    app, run = text(mapping(suite.get("app")).get("slug")), mapping(suite.get("workflowRun"))
    number = integer(suite.get("databaseId"))
    workflow = text(mapping(run.get("workflow")).get("name"))
    if not app or number is None or (app == "github-actions" and not workflow):
        return None
    return (app, workflow, text(run.get("event"))), number


def _superseded(
    check: Check, origin: _Origin | None, all_checks: Sequence[tuple[Check, _Origin | None]]
) -> bool:
    """Tell whether a newer suite of the same workflow ran the same check again on the same commit.

    A run that was skipped takes no older verdict away: re-triggered workflows often skip their jobs.
    """
    if origin is None:
        return False
    return any(
        other_origin is not None
        and other.name == check.name
        and other_origin[0] == origin[0]
        and other_origin[1] > origin[1]
        and other.conclusion != "SKIPPED"
        for other, other_origin in all_checks
    )


def _reviews(parts: _Parts) -> tuple[Review, ...]:
    reviews = []
    for node in parts.nodes("reviews", "latestOpinionatedReviews"):
        state = text(node.get("state"))
        if state not in _REVIEW_STATES:
            parts.miss("reviews", "latestOpinionatedReviews", "an entry could not be understood")
            continue
        reviews.append(
            Review(
                author=login(node),
                state=state,  # type: ignore[arg-type]
                body=text(node.get("body")),
                can_write=node.get("authorCanPushToRepository") is True,
                head_sha=text(mapping(node.get("commit")).get("oid")),
            )
        )
    return tuple(reviews)


def _threads(parts: _Parts) -> tuple[ReviewThread, ...]:
    threads = []
    for node in parts.nodes("threads", "reviewThreads"):
        if node.get("isResolved") is True:
            continue
        comments = mapping(node.get("comments")).get("nodes")
        if not isinstance(comments, list) or not isinstance(node.get("isResolved"), bool):
            parts.miss("threads", "reviewThreads", "an entry could not be understood")
            continue
        line = integer(node.get("line"))
        threads.append(
            ReviewThread(
                node_id=text(node.get("id")),
                path=text(node.get("path")),
                line=integer(node.get("originalLine")) if line is None else line,
                comments=tuple(_comment(comment) for comment in comments if isinstance(comment, Mapping)),
                outdated=node.get("isOutdated") is True,
            )
        )
    return tuple(threads)


def _comment(node: Mapping[str, Any]) -> Comment:
    can_push = flag(mapping(node.get("pullRequestReview")).get("authorCanPushToRepository"))
    if can_push is None:
        can_push = node.get("authorAssociation") in _WRITER_ASSOCIATIONS
    return Comment(author=login(node), body=text(node.get("body")), can_write=can_push)


def _closing_issues(parts: _Parts, own_name: str) -> tuple[int, ...]:
    value = parts.pull.get("closingIssuesReferences")
    if not isinstance(mapping(value).get("nodes"), list):
        parts.miss("closing issues", "closingIssuesReferences")
        return ()
    # Null entries are issues of repositories that the credential may not see, hence not of this one.
    nodes = [node for node in mapping(value)["nodes"] if isinstance(node, Mapping)]
    return tuple(
        number
        for node in nodes
        if text(mapping(node.get("repository")).get("nameWithOwner")).lower() == own_name.lower()
        and (number := integer(node.get("number"))) is not None
    )
