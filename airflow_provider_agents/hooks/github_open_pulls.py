"""All open pull requests of many repositories, as the listing shows them; a broken one is the fault of that one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.domain.pull_request import Mergeable
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_batches import check_not_too_much, in_batches
from airflow_provider_agents.hooks.github_errors import Operation, absent, errors_below
from airflow_provider_agents.hooks.github_fields import (
    integer,
    is_bot,
    is_fork,
    mapping,
    moment,
    one_of,
    text,
)
from airflow_provider_agents.hooks.github_names import owner_and_name
from airflow_provider_agents.hooks.github_open_labels import LabelMemory, read_labels
from airflow_provider_agents.hooks.github_open_queries import OPEN_BATCH, open_pulls_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

log = logging.getLogger(__name__)

MOST_PULLS = 5_000
"""Open pull requests that are read of one repository."""
NEEDS = "Pull requests: read, Checks: read, Commit statuses: read, Contents: read, Metadata: read"

Node = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Wanted:
    repository: str
    after: str | None = None
    small: bool = False
    """Whether in small pages."""


@dataclass(frozen=True, slots=True)
class _Page:
    name: str
    """``owner/name`` as it is spelled now."""
    total: int
    nodes: tuple[Any, ...]
    after: str | None


@dataclass(slots=True)
class _List:
    """What was read of one repository so far."""

    name: str = ""
    nodes: dict[str, Node] = field(default_factory=dict)
    """By node id: one that moves to a later page while it is read stands there once."""
    unreadable: int = 0
    totals: set[int] = field(default_factory=set)
    """What the pages said of how many there are."""
    again: bool = False
    """Whether it is read a second time, after pages that did not fit together."""


async def read_open_pulls(
    transport: GitHubTransport, repositories: Sequence[str], labels: LabelMemory | None = None
) -> dict[str, tuple[OpenPullRequest, ...] | ForgeError]:
    """Return the open pull requests of each repository, oldest first, or why they could not be read.

    A repository that is archived has none: nothing can be done there. One that was renamed stands under the name
    that was asked for, its entries name the present one. An entry that GitHub cannot give is left out, and logged.

    :param repositories: ``owner/name`` of each; one that stands there twice is read once.
    :param labels: what is known of labels from an earlier listing.
    :raises ForgeError: a rate limit is used up, or nothing could be read.
    """
    memory = LabelMemory() if labels is None else labels
    lists = {name: _List() for name in repositories}
    faults: dict[str, ForgeError] = {}
    pending = [_Wanted(name, small=memory.is_small(name)) for name in lists]
    answered = False
    while pending:
        try:
            answers = await _read_pages(transport, pending)
            answered = True
        except ForgeRateLimitedError:
            raise
        except ForgeError as error:
            # Of one repository alone it may be the page that is too large, of several it is GitHub.
            if not answered and (len(pending) > 1 or not _too_large(pending[0], error)):
                raise
            answers = dict.fromkeys(pending, error)
        pending = []
        for wanted, page in answers.items():
            name = wanted.repository
            if _too_large(wanted, page):
                pending.append(replace(wanted, small=True))
                continue
            if wanted.small and isinstance(page, _Page):
                memory.keep_small(name, datetime.now(UTC) + transport.clock_ahead)
            following = page if isinstance(page, ForgeError) else _take(wanted, lists, page)
            if isinstance(following, ForgeError):
                faults[name] = following
            elif following is not None:
                pending.append(following)
    nodes = {
        node_id: node
        for name, one in lists.items()
        if name not in faults
        for node_id, node in one.nodes.items()
    }
    labelled = await read_labels(transport, nodes, labels)
    found: dict[str, tuple[OpenPullRequest, ...] | ForgeError] = {}
    for name, one in lists.items():
        found[name] = faults.get(name) or _entries(name, one, labelled)
    return found


def _too_large(wanted: _Wanted, page: _Page | ForgeError) -> bool:
    """Tell whether a page may be readable in smaller ones: GitHub breaks off what takes it ten seconds."""
    return isinstance(page, ForgeUnavailableError) and not wanted.small


def _take(wanted: _Wanted, lists: dict[str, _List], page: _Page) -> _Wanted | ForgeError | None:
    """Add a page to its list; return what is to be read next of the repository."""
    name = wanted.repository
    one = lists[name]
    one.name = page.name
    one.totals.add(page.total)
    for node in page.nodes:
        if isinstance(node, dict) and text(node.get("id")):
            one.nodes[text(node["id"])] = node
        else:
            one.unreadable += 1
    if page.after is not None:
        if len(one.nodes) + one.unreadable < MOST_PULLS:
            return replace(wanted, after=page.after)
        return ForgeAccessError(
            f"{name} has more than {MOST_PULLS:,} open pull requests: close what is done with, or take the "
            "repository out of the rules"
        )
    if (len(one.totals) > 1 or len(one.nodes) + one.unreadable < page.total) and not one.again:
        # One was closed meanwhile, and another may have moved up over the edge of a page.
        lists[name] = _List(again=True)
        return replace(wanted, after=None)
    return None


async def _read_pages(
    transport: GitHubTransport, wanted: Sequence[_Wanted]
) -> dict[_Wanted, _Page | ForgeError]:
    async def read(batch: Sequence[_Wanted]) -> dict[_Wanted, _Page | ForgeError]:
        variables: dict[str, Any] = {}
        for i, one in enumerate(batch):
            names = owner_and_name(one.repository)
            variables |= {f"owner{i}": names["owner"], f"name{i}": names["name"], f"after{i}": one.after}
        operation = _operation([one.repository for one in batch])
        small = [i for i, one in enumerate(batch) if one.small]
        answer = await transport.query(open_pulls_document(len(batch), small), variables, operation)
        # A whole page alone can be divided, too; a small one is taken as it comes.
        divisible = [*batch, *(one for one in batch if not one.small)]
        check_not_too_much(divisible, operation, answer.errors)
        return {
            one: _page(one.repository, answer.data.get(f"open{i}"), errors_below(answer.errors, f"open{i}"))
            for i, one in enumerate(batch)
        }

    return await in_batches(wanted, OPEN_BATCH, read)


def _page(repository: str, node: Any, errors: Sequence[Mapping[str, Any]]) -> _Page | ForgeError:
    operation = _operation([repository])
    if node is None:
        return absent(operation, errors)
    fields = mapping(node)
    name = text(fields.get("nameWithOwner")) or repository
    if fields.get("isArchived") is True:
        log.info("%s is archived: its pull requests are left alone", name)
        return _Page(name, 0, (), None)
    pulls = mapping(fields.get("pullRequests"))
    nodes, info = pulls.get("nodes"), mapping(pulls.get("pageInfo"))
    more, after = info.get("hasNextPage"), text(info.get("endCursor"))
    if not isinstance(nodes, list) or not isinstance(more, bool) or (more and not after):
        if errors:
            return absent(operation, errors)
        return ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
    if nodes and errors and all(one is None for one in nodes):
        return absent(operation, errors)
    return _Page(name, integer(pulls.get("totalCount")) or 0, tuple(nodes), after if more else None)


def _entries(
    name: str, one: _List, labelled: Mapping[str, tuple[str, ...] | ForgeError]
) -> tuple[OpenPullRequest, ...] | ForgeError:
    entries: list[OpenPullRequest] = []
    unreadable, error = one.unreadable, None
    for node_id, node in one.nodes.items():
        labels = labelled[node_id]
        if isinstance(labels, ForgeUnavailableError):
            # What is left out looks closed: a passing fault is one of the repository.
            return labels
        if isinstance(labels, ForgeError):
            unreadable, error = unreadable + 1, labels
        elif (entry := _entry(one.name, node, labels)) is not None:
            entries.append(entry)
        else:
            unreadable += 1
    if not entries and unreadable:
        return error or ForgeUnavailableError(
            f"GitHub could not {_operation([name]).what}: no entry is readable"
        )
    if unreadable:
        log.warning(
            "%d of %d open pull requests of %s could not be read%s",
            unreadable,
            unreadable + len(entries),
            name,
            f": {error}" if error else "",
        )
    return tuple(entries)


def _entry(repository: str, node: Node, labels: tuple[str, ...]) -> OpenPullRequest | None:
    """Return an entry; ``None`` where the answer lacks what it cannot do without."""
    number, head = integer(node.get("number")), text(node.get("headRefOid"))
    created, updated = moment(node.get("createdAt")), moment(node.get("updatedAt"))
    if (
        number is None
        or not head
        or created is None
        or updated is None
        or not isinstance(node.get("isDraft"), bool)
    ):
        return None
    return OpenPullRequest(
        node_id=text(node.get("id")),
        repository=repository,
        number=number,
        url=text(node.get("url")),
        title=text(node.get("title")),
        author=text(mapping(node.get("author")).get("login")),
        author_is_bot=is_bot(node),
        labels=labels,
        base_branch=text(node.get("baseRefName")),
        head_branch=text(node.get("headRefName")),
        head_sha=head,
        # In doubt it is one: nothing of a fork is merged by itself.
        fork=is_fork(node) is not False,
        draft=node["isDraft"],
        mergeable=one_of(Mergeable, node.get("mergeable")) or "UNKNOWN",
        merge_state=text(node.get("mergeStateStatus")),
        review_decision=text(node.get("reviewDecision")),
        checks_state=text(mapping(node.get("statusCheckRollup")).get("state")),
        created_at=created,
        updated_at=updated,
    )


def _operation(repositories: Sequence[str]) -> Operation:
    names = list(dict.fromkeys(repositories))
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return Operation(f"list the open pull requests of {', '.join(names[:3])}{more}", NEEDS)
