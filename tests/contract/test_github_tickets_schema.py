"""The documents that read and write tickets, against GitHub's published schema and at the stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from graphql import GraphQLSchema, OperationDefinitionNode, build_schema, parse, validate
from test_github_schema import Walk, fetch_schema

from airflow_provider_agents.hooks import github_ticket_queries as queries
from demo.github.graphql_cost import query_cost
from demo.github.graphql_nodes import cursor
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

REPOSITORY = "acme/shop"
ALL = queries.DOCUMENTS | queries.MUTATIONS


@pytest.fixture(scope="module")
def published() -> GraphQLSchema:
    return build_schema(fetch_schema(), assume_valid=True)


@pytest.fixture
async def server() -> AsyncIterator[StandInGitHub]:
    """An issue with everything that a document asks for: labels, people, edits, comments, a family."""
    async with StandInGitHub(None) as stand_in:
        stand_in.add_token("agent", "token")
        permissions: dict[str, Any] = {"agent": "write", "alice": "maintain"}
        await stand_in.seed_synthetic(REPOSITORY, {"a.py": "1\n"}, permissions=permissions)
        await stand_in.seed_synthetic("acme/old", {"a.py": "1\n"}, permissions=permissions)
        act = stand_in.act
        for number in (1, 2, 3):
            await act(
                "alice", "open_issue", REPOSITORY, title=f"Issue {number}", body="Text", labels=["agent"]
            )
        await act("alice", "edit", REPOSITORY, number=1, title="Better title", body="Depends on #2")
        await act("alice", "assign", REPOSITORY, number=1, to=["agent", "dependabot[bot]"])
        await act("alice", "add_sub_issue", REPOSITORY, number=2, child=1)
        await act("alice", "add_sub_issue", REPOSITORY, number=1, child=3)
        await act("alice", "comment", REPOSITORY, number=1, body="/agent")
        await act("agent", "comment", REPOSITORY, number=1, body="Hello")
        await act("alice", "edit_comment", REPOSITORY, number=1, body="/agent again")
        await act("alice", "open_issue", "acme/old", title="Moved", labels=["agent"])
        await act("alice", "transfer", "acme/old", number=1, to=REPOSITORY)
        yield stand_in


@pytest.mark.parametrize("name", ALL)
def test_document_is_valid_at_github_and_named_as_listed(name: str, published: GraphQLSchema) -> None:
    document = parse(ALL[name])
    assert validate(published, document) == []
    (operation,) = (each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    assert operation.name is not None
    assert operation.name.value == name
    assert (operation.operation.value == "mutation") is (name in queries.MUTATIONS)


@pytest.mark.parametrize("name", queries.DOCUMENTS)
async def test_stand_in_answers_document_as_github_would(
    name: str, server: StandInGitHub, published: GraphQLSchema
) -> None:
    issues = server.forge.store.repositories[REPOSITORY].issues
    known: dict[str, Any] = {
        "owner": "acme",
        "name": "shop",
        "number": 1,
        "filter": {"states": ["OPEN"], "labels": ["agent"], "since": "2020-01-01T00:00:00Z"},
        "id": issues[1].id,
        "ids": [issues[1].id, issues[4].id],
        "after": cursor(0) if name in ("TicketEvents", "TicketCommentsPage", "TicketChildren") else None,
    }
    document = parse(queries.DOCUMENTS[name])
    (operation,) = (each for each in document.definitions if isinstance(each, OperationDefinitionNode))
    names = [each.variable.name.value for each in operation.variable_definitions or ()]
    variables = {each: known[each.rstrip("0123456789")] for each in names}
    async with (
        aiohttp.ClientSession(
            headers={"Authorization": "Bearer token"}, timeout=aiohttp.ClientTimeout(total=20)
        ) as session,
        session.post(
            f"{server.url}/api/graphql", json={"query": queries.DOCUMENTS[name], "variables": variables}
        ) as response,
    ):
        body = await response.json()
    assert "errors" not in body
    assert Walk(published, document).faults(body["data"]) == []


@pytest.mark.parametrize(
    ("document", "points"),
    [
        (queries.changed_document(queries.CHANGED_BATCH), 1),
        (queries.asked_document(queries.ASKED_BATCH), 5),
        (queries.DETAILS, 1),
        (queries.READINGS, 1),
        (queries.links_document(queries.LINKS_BATCH), 1),
        (queries.ids_document(queries.IDS_BATCH), 1),
        (queries.EVENTS_PAGE, 1),
        (queries.STATUS_COMMENTS, 1),
    ],
)
def test_points_of_each_query(document: str, points: int) -> None:
    """The figures in the docstring of ``github_ticket_queries``, by GitHub's formula."""
    ids = queries.DETAILS_BATCH if document == queries.DETAILS else queries.READINGS_BATCH
    assert query_cost(document, {"ids": ["I_1"] * ids}) == points
