"""From GitHub's answers about single objects to values; pure functions."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from airflow_provider_agents.domain.pull_request import Annotation
from airflow_provider_agents.exceptions import ForgeConflictError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import GHOST, integer, mapping, one_of, text
from airflow_provider_agents.hooks.github_models import (
    Issue,
    PullRequestRef,
    RepositoryInfo,
    RepositoryPermission,
)


def parse_repository(data: Mapping[str, Any], name: str) -> RepositoryInfo:
    """Return the repository of an answer to the ``Repository`` query.

    :raises ForgeUnavailableError: the answer lacks what a repository always has.
    """
    node = mapping(data.get("repository"))
    if not isinstance(node.get("id"), str) or not isinstance(node.get("isArchived"), bool):
        raise ForgeUnavailableError(f"GitHub's answer about {name} is incomplete")
    return RepositoryInfo(
        name_with_owner=text(node.get("nameWithOwner")) or name,
        node_id=node["id"],
        url=text(node.get("url")),
        default_branch=text(mapping(node.get("defaultBranchRef")).get("name")),
        archived=node["isArchived"],
        viewer_permission=one_of(RepositoryPermission, node.get("viewerPermission")),
        squash_allowed=node.get("squashMergeAllowed") is True,
        merge_allowed=node.get("mergeCommitAllowed") is True,
        rebase_allowed=node.get("rebaseMergeAllowed") is True,
    )


def parse_file_names(answer: Any, what: str) -> frozenset[str]:
    """Return the names of the files in the listing of a folder; folders and submodules are left out.

    :param what: its name in the message of a malformed answer.
    :raises ForgeUnavailableError: the answer is no listing.
    """
    if not isinstance(answer, list):
        raise ForgeUnavailableError(f"GitHub's answer about {what} is no list")
    entries = (mapping(entry) for entry in answer)
    names = (text(entry.get("name")) for entry in entries if entry.get("type") in ("file", "symlink"))
    return frozenset(name for name in names if name)


def parse_text_file(answer: Any, what: str, most_bytes: int) -> str:
    """Return the text of a file.

    :param what: its name in messages.
    :raises ForgeConflictError: it has more than ``most_bytes``, is no file, or is not UTF-8.
    :raises ForgeUnavailableError: the answer is incomplete.
    """
    node = mapping(answer)
    if node.get("type") != "file":
        raise ForgeConflictError(f"{what} is no file")
    size, content = integer(node.get("size")), node.get("content")
    if size is not None and size > most_bytes:
        raise ForgeConflictError(f"{what} has {size:,} bytes, at most {most_bytes:,}")
    if size is None or not isinstance(content, str) or node.get("encoding") != "base64":
        raise ForgeUnavailableError(f"GitHub's answer about {what} is incomplete")
    try:
        return base64.b64decode("".join(content.split()), validate=True).decode("utf-8")
    except UnicodeDecodeError:
        raise ForgeConflictError(f"{what} is not UTF-8") from None
    except ValueError:
        raise ForgeUnavailableError(f"GitHub's answer about {what} is incomplete") from None


def parse_issue(answer: Any, what: str) -> Issue:
    """Return the issue of a REST answer.

    :param what: its name in the message of a malformed answer: ``acme/shop#7``.
    """
    node = mapping(answer)
    number, state = integer(node.get("number")), text(node.get("state")).upper()
    if number is None or state not in ("OPEN", "CLOSED"):
        raise ForgeUnavailableError(f"GitHub's answer about {what} is incomplete")
    listed = node.get("labels")
    labels = (
        label if isinstance(label, str) else text(mapping(label).get("name"))
        for label in (listed if isinstance(listed, list) else [])
    )
    return Issue(
        number=number,
        node_id=text(node.get("node_id")),
        title=text(node.get("title")),
        body=text(node.get("body")),
        state="OPEN" if state == "OPEN" else "CLOSED",
        url=text(node.get("html_url")),
        author=text(mapping(node.get("user")).get("login")) or GHOST,
        labels=tuple(label for label in labels if label),
        is_pull_request=isinstance(node.get("pull_request"), Mapping),
    )


def parse_pull_request_ref(answer: Any, what: str) -> PullRequestRef:
    """Return the pull request of a REST answer, single or from a list.

    :param what: its name in the message of a malformed answer.
    """
    node = mapping(answer)
    number, state = integer(node.get("number")), text(node.get("state")).upper()
    head, base = mapping(node.get("head")), mapping(node.get("base"))
    sha = text(head.get("sha"))
    if number is None or state not in ("OPEN", "CLOSED") or not sha:
        raise ForgeUnavailableError(f"GitHub's answer about {what} is incomplete")
    merged = bool(node.get("merged_at")) or node.get("merged") is True
    return PullRequestRef(
        number=number,
        node_id=text(node.get("node_id")),
        url=text(node.get("html_url")),
        title=text(node.get("title")),
        state="OPEN" if state == "OPEN" else "MERGED" if merged else "CLOSED",
        head_sha=sha,
        head_branch=text(head.get("ref")),
        base_branch=text(base.get("ref")),
        draft=node.get("draft") is True,
    )


def parse_annotations(answer: Any) -> tuple[Annotation, ...]:
    """Return the annotations of a REST answer; what is malformed is left out."""
    return tuple(
        Annotation(
            path=text(node.get("path")),
            line=integer(node.get("start_line")) or 0,
            level=text(node.get("annotation_level")),
            message=": ".join(part for key in ("title", "message") if (part := text(node.get(key)))),
        )
        for node in (answer if isinstance(answer, list) else [])
        if isinstance(node, Mapping)
    )
