"""Issues read whole: twenty in one query, further pages one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_batches import check_not_too_much, in_batches
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import integer, mapping, text
from airflow_provider_agents.hooks.github_names import owner_and_name
from airflow_provider_agents.hooks.github_ticket_listing import error_of_node
from airflow_provider_agents.hooks.github_ticket_parse import RawTicket
from airflow_provider_agents.hooks.github_ticket_queries import (
    CHILDREN_PAGE,
    COMMENTS_PAGE,
    EVENTS_PAGE,
    IDS_BATCH,
    READINGS,
    READINGS_BATCH,
    ids_document,
    repositories_document,
)

if TYPE_CHECKING:
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

MOST_PAGES = 10
"""Further pages of 100 that are read of one connection of one ticket."""
NEEDS = "Issues: read, Metadata: read"

Node = Mapping[str, Any]

_CONNECTIONS = (
    ("timelineItems", EVENTS_PAGE, "events"),
    ("comments", COMMENTS_PAGE, "comments"),
    ("subIssues", CHILDREN_PAGE, "sub-issues"),
)


async def read_raw(transport: GitHubTransport, ids: Sequence[str]) -> dict[str, RawTicket | ForgeError]:
    """Read issues by their node ids.

    :raises ForgeError: a rate limit is used up, or nothing could be read.
    """

    async def read(batch: Sequence[str]) -> dict[str, RawTicket | ForgeError]:
        operation = Operation(f"read {len(batch)} issues", NEEDS)
        answer = await transport.query(READINGS, {"ids": list(batch)}, operation)
        check_not_too_much(batch, operation, answer.errors)
        nodes = answer.data.get("nodes")
        if not isinstance(nodes, list) or len(nodes) != len(batch):
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        return {
            node_id: await _whole(
                transport, node_id, nodes[i], [e for e in answer.errors if error_of_node(e, i)]
            )
            for i, node_id in enumerate(batch)
        }

    return await in_batches(ids, READINGS_BATCH, read) if ids else {}


async def resolve_keys(transport: GitHubTransport, keys: Sequence[str]) -> dict[str, str | ForgeError]:
    """Return the node ids of issues by what people write: ``acme/shop#7``.

    :raises ForgeError: a rate limit is used up, or nothing could be read.
    """

    async def read(batch: Sequence[str]) -> dict[str, str | ForgeError]:
        variables: dict[str, Any] = {}
        for i, key in enumerate(batch):
            repository, _, number = key.rpartition("#")
            names = owner_and_name(repository)
            variables |= {f"owner{i}": names["owner"], f"name{i}": names["name"], f"number{i}": int(number)}
        operation = Operation(f"find {', '.join(batch[:3])}", NEEDS)
        answer = await transport.query(ids_document(len(batch)), variables, operation)
        check_not_too_much(batch, operation, answer.errors)
        found: dict[str, str | ForgeError] = {}
        for i, key in enumerate(batch):
            node_id = text(mapping(mapping(answer.data.get(f"issue{i}")).get("issue")).get("id"))
            errors = [
                error for error in answer.errors if (error.get("path") or [f"issue{i}"])[0] == f"issue{i}"
            ]
            found[key] = node_id or absent(Operation(f"find {key}", NEEDS), errors)
        return found

    return await in_batches(keys, IDS_BATCH, read) if keys else {}


async def repository_ids(transport: GitHubTransport, repositories: Sequence[str]) -> dict[str, str]:
    """Return the names of repositories by their node ids, of those that can be read.

    :raises ForgeError: GitHub did not answer.
    """
    found: dict[str, str] = {}
    for start in range(0, len(repositories), IDS_BATCH):
        batch = repositories[start : start + IDS_BATCH]
        variables = {
            f"{part}{i}": value
            for i, name in enumerate(batch)
            for part, value in owner_and_name(name).items()
        }
        operation = Operation(f"find {', '.join(batch[:3])}", "Metadata: read")
        answer = await transport.query(repositories_document(len(batch)), variables, operation)
        for i, name in enumerate(batch):
            if node_id := text(mapping(answer.data.get(f"repository{i}")).get("id")):
                found[node_id] = name
    return found


async def _whole(
    transport: GitHubTransport, node_id: str, node: Any, errors: Sequence[Node]
) -> RawTicket | ForgeError:
    """Return one issue with all its pages, or why it cannot be had."""
    operation = Operation(f"read issue {node_id}", NEEDS)
    if node is None:
        return absent(operation, errors)
    fields = mapping(node)
    if fields.get("__typename") != "Issue":
        kind = text(fields.get("__typename")) or "something unknown"
        return ForgeAccessError(f"GitHub's node {node_id} is no issue: it is a {kind}")
    if integer(fields.get("number")) is None or not mapping(fields.get("repository")).get("nameWithOwner"):
        return (
            absent(operation, errors)
            if errors
            else ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        )
    raw = RawTicket(fields, [], [], [])
    lists = {"timelineItems": raw.events, "comments": raw.comments, "subIssues": raw.children}
    for error in errors:
        where = "/".join(str(step) for step in (error.get("path") or [])[2:]) or "a part of it"
        raw.missing.append(f"{where} of {raw.key} could not be read: {text(error.get('message'))[:300]}")
    for connection, document, words in _CONNECTIONS:
        try:
            await _pages(transport, raw, connection, document, lists[connection])
        except ForgeRateLimitedError:
            raise
        except ForgeError as error:
            raw.missing.append(f"the {words} of {raw.key} could not be read: {error}")
    return raw


async def _pages(
    transport: GitHubTransport, raw: RawTicket, connection: str, document: str, into: list[Node]
) -> None:
    """Add the nodes of a connection, of its first page and those behind it.

    :raises ForgeError: not all of them could be read.
    """
    page = mapping(raw.node.get(connection))
    operation = Operation(f"read more of {raw.key}", NEEDS)
    for _ in range(MOST_PAGES + 1):
        nodes, info = page.get("nodes"), mapping(page.get("pageInfo"))
        more, after = info.get("hasNextPage"), text(info.get("endCursor"))
        whole = isinstance(nodes, list) and all(isinstance(node, Mapping) for node in nodes)
        if not whole or not isinstance(more, bool) or (more and not after):
            raise ForgeUnavailableError("GitHub's answer is incomplete")
        into.extend(nodes or ())
        if not more:
            return
        answer = await transport.query(document, {"id": raw.id, "after": after}, operation)
        if answer.errors:
            raise absent(operation, answer.errors)
        page = mapping(mapping(answer.data.get("node")).get(connection))
    raise ForgeAccessError(
        f"there are more than {(MOST_PAGES + 1) * 100:,}. Close the issue, and open another one for what is left"
    )
