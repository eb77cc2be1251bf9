"""From GitHub's reviews, threads and comments to values; pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

from airflow_provider_agents.domain.authority_rules import Association
from airflow_provider_agents.domain.pull_request import Comment, Review, ReviewThread
from airflow_provider_agents.hooks.github_fields import (
    edited_by,
    flag,
    integer,
    login,
    mapping,
    moment,
    text,
)

if TYPE_CHECKING:
    from airflow_provider_agents.hooks.github_parse_parts import Parts

BOT_SUFFIX = "[bot]"
"""Ends the login of an App in REST; in GraphQL a person may have the same login as an App."""

_REVIEW_STATES = frozenset({"APPROVED", "CHANGES_REQUESTED", "COMMENTED", "DISMISSED", "PENDING"})
_WRITER_ASSOCIATIONS = frozenset({"OWNER", "MEMBER", "COLLABORATOR"})


def parse_reviews(parts: Parts) -> tuple[Review, ...]:
    """Return the latest opinionated review of each person."""
    reviews = []
    for node in parts.nodes("reviews", "latestOpinionatedReviews"):
        state = text(node.get("state"))
        if state not in _REVIEW_STATES:
            parts.doubt("reviews", "an entry could not be understood")
            continue
        reviews.append(
            Review(
                author=login(node),
                state=state,  # type: ignore[arg-type]
                body=text(node.get("body")),
                can_write=node.get("authorCanPushToRepository") is True,
                head_sha=text(mapping(node.get("commit")).get("oid")),
                own=node.get("viewerDidAuthor") is True,
            )
        )
    return tuple(reviews)


def parse_threads(parts: Parts) -> tuple[ReviewThread, ...]:
    """Return the unresolved review threads."""
    threads = []
    for node in parts.nodes("threads", "reviewThreads"):
        if node.get("isResolved") is True:
            continue
        comments = mapping(node.get("comments")).get("nodes")
        if not isinstance(comments, list) or not isinstance(node.get("isResolved"), bool):
            parts.doubt("threads", "an entry could not be understood")
            continue
        line = integer(node.get("line"))
        threads.append(
            ReviewThread(
                node_id=text(node.get("id")),
                path=text(node.get("path")),
                line=integer(node.get("originalLine")) if line is None else line,
                comments=tuple(_remark(comment) for comment in comments if isinstance(comment, Mapping)),
                outdated=node.get("isOutdated") is True,
            )
        )
    return tuple(threads)


def _remark(node: Mapping[str, Any]) -> Comment:
    can_push = flag(mapping(node.get("pullRequestReview")).get("authorCanPushToRepository"))
    if can_push is None:
        can_push = node.get("authorAssociation") in _WRITER_ASSOCIATIONS
    return Comment(
        author=login(node),
        body=text(node.get("body")),
        can_write=can_push,
        node_id=text(node.get("id")),
        created_at=moment(node.get("createdAt")),
        own=node.get("viewerDidAuthor") is True,
    )


def parse_comments(parts: Parts) -> tuple[Comment, ...]:
    """Return the last comments of the conversation, oldest first, none of them with write access yet.

    GitHub does not say here who may push: ``authorAssociation`` names members who may only read, and hides
    private members of an organisation from an App. :mod:`.github_authority` asks where it matters.
    """
    comments = []
    for node in parts.nodes("comments", "comments"):
        author = login(node)
        if mapping(node.get("author")).get("__typename") == "Bot":
            author += BOT_SUFFIX
        comments.append(
            Comment(
                author=author,
                body=text(node.get("body")),
                node_id=text(node.get("id")),
                created_at=moment(node.get("createdAt")),
                own=node.get("viewerDidAuthor") is True,
                edited_by=edited_by(node),
                association=association_of(node),
            )
        )
    return tuple(comments)


def association_of(node: Mapping[str, Any]) -> Association | None:
    """Return what GitHub calls the author's relation to the repository; ``None`` for one that gives no say.

    An App is not told that somebody is a private member of an organisation.
    """
    word = text(node.get("authorAssociation")).lower()
    return next((known for known in get_args(Association) if known == word), None)
