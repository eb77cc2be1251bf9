"""What the stand-in Jira says, and what the source sends to it, held against the published types of Jira Cloud."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from jira_types import calls, interface, misfit
from jira_world import ME, JiraWorld, document

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.tickets import Claim, TicketReading
from airflow_provider_agents.hooks.jira_client import JiraCredential
from airflow_provider_agents.hooks.jira_tickets import JiraTickets

pytest.importorskip("atlassian", reason="needs the extra `jira`")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

# Fields are open-ended in the types, and name no project, which every issue has.
UNTYPED = {"Issue.fields.project"}


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JiraWorld]:
    """A Jira Cloud that was asked everything that the source asks."""
    monkeypatch.setenv("NO_PROXY", "*")
    async with JiraWorld(cloud=True).serve() as world:
        world.user("alice", email="alice@example.com", groups=("developers",))
        parent = world.issue("SHOP-1", type="Epic")
        child = world.issue("SHOP-2", parent="SHOP-1")
        attachment = {"id": "5", "filename": "a.txt", "content": "x", "size": 1, "mimeType": "text/plain"}
        issue = world.issue(
            description=document("text"),
            parent="SHOP-1",
            subtasks=["SHOP-2"],
            components=("Web",),
            assignee="alice",
            attachments=[attachment],
        )
        world.link(issue, "Blocks", "is blocked by", "blocks", child, side="inward")
        world.label(issue, "alice", "agent")
        world.assign(issue, "alice", ME)
        world.comment(issue, "alice", "/agent")
        definition = SourceDefinition.model_validate(
            {
                "source": "jira",
                "jql": "project = SHOP",
                "works_in": [{"repository": "acme/shop"}],
                "authority": {"start": {"teams": ["developers"]}},
                "stages": {"working": "In Progress"},
            }
        )
        source = JiraTickets(definition, connection="jira_default")
        source._credential = JiraCredential(url=world.url, login=world.login, token=world.token)
        async with source.open():
            listing = await source.fetch(None)
            world.comment(child, "alice", "well")
            await source.fetch(listing.cursor)
            found = await source.read([issue.id, parent.id])
            reading = found[issue.id]
            assert isinstance(reading, TicketReading)
            await source.standing("alice", "")
            for word in ("One", "Two"):
                await source.write_status(reading, Claim(), word)
            await source.move(reading, "working")
        yield world


async def test_every_answer_fits_its_type(world: JiraWorld) -> None:
    kinds = {kind for kind, _ in world.answers}
    assert len(kinds) >= 8
    faults = {misfit(_typed(content), kind) for kind, content in world.answers}
    assert faults == {""}


async def test_every_call_is_one_of_the_api_with_its_names(world: JiraWorld) -> None:
    known = calls()
    assert len(known) > 400
    seen = set()
    for method, path, query, body in world.sent:
        if path in ("/rest/api/2/myself",):
            path = "/rest/api/3/myself"
        call = (method, _pattern(path))
        assert call in known, call
        seen.add(call)
        assert query <= known[call], (call, query - known[call])
        if call == ("POST", "/rest/api/3/search/jql"):
            assert set(body) <= known[call]
        elif "/comment" in path and body is not None:
            comment = interface("Comment")
            assert comment is not None
            assert set(body) <= set(comment)
        elif path.endswith("/transitions"):
            details = interface("IssueUpdateDetails")
            assert details is not None
            assert set(body) <= set(details)
    assert len(seen) >= 11


def test_a_misfit_is_found() -> None:
    assert "no string" in misfit({"id": 7}, "Comment")
    assert "no 'colour'" in misfit({"colour": "red"}, "Comment")
    assert "no list" in misfit({"issues": {}}, "SearchAndReconcileResults")
    assert "active" in misfit([{"author": {"active": "yes"}}], "Comment[]")
    assert misfit({"id": "7", "author": None}, "Comment") == ""


def _typed(content: Any) -> Any:
    """Return an answer without what the types leave open."""
    if isinstance(content, dict) and isinstance(content.get("fields"), dict):
        dropped = {name.rpartition(".")[2] for name in UNTYPED}
        return {**content, "fields": {k: v for k, v in content["fields"].items() if k not in dropped}}
    return content


def _pattern(path: str) -> str:
    path = re.sub(r"/issue/[^/]+", "/issue/*", path)
    path = re.sub(r"/comment/[^/]+", "/comment/*", path)
    return re.sub(r"/properties/[^/]+", "/properties/*", path)
