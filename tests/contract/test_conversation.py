"""Conversations, read and written by the project's own calls, at the stand-in GitHub."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError
from airflow_provider_agents.hooks import github_conversation
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_conversation import (
    approving_thumbs,
    comment_in_parts,
    read_conversation,
    replies,
)
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from demo.github.state import Permission

REPOSITORY = "acme/calc"
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    """A public repository with the issue 1; agent and alice may write, reader may read, stranger is nobody."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_conversation, "PAUSE_SECONDS", 0.0)
    permissions: dict[str, Permission] = {
        "agent": "write", "agents[bot]": "write", "alice": "write", "reader": "read"
    }  # fmt: skip
    async with StandInGitHub(None, mergeability_delay=0) as stand_in:
        for login in ("agent", "agents[bot]"):
            stand_in.add_token(login, f"token-of-{login}")
        await stand_in.seed_synthetic(REPOSITORY, {"calc.py": "x = 1\n"}, permissions=permissions)
        await stand_in.act("acme", "configure", REPOSITORY, private=False)
        stand_in.create_issue(REPOSITORY, "add() subtracts", "It should add.")
        yield stand_in


@pytest.fixture
async def client(server: StandInGitHub) -> AsyncIterator[GitHubClient]:
    async with open_transport(github_urls(server.url), "token-of-agent") as transport:
        yield GitHubClient(transport)


async def say(server: StandInGitHub, who: str, body: str) -> str:
    made = await server.act(who, "comment", REPOSITORY, number=1, body=body)
    return str(made["node_id"])


def changes(server: StandInGitHub, *kinds: str) -> list[tuple[str, str]]:
    """Return kind and author of each change of these kinds."""
    return [(entry["kind"], entry["actor"]) for entry in server.mutations if entry["kind"] in kinds]


async def test_what_everybody_said(server: StandInGitHub, client: GitHubClient) -> None:
    await say(server, "alice", "Use the cache.")
    await say(server, "agents[bot]", "Coverage is 90 %.")
    ours = await client.comment(REPOSITORY, 1, "The plan.")
    await server.act("stranger", "react", REPOSITORY, number=1)
    await server.act("alice", "react", REPOSITORY, number=1, content="heart")
    found = await read_conversation(client, REPOSITORY, 1)
    assert (found.state, found.head_sha) == ("OPEN", "")
    facts = [(c.author, c.bot, c.own, c.body, [t.login for t in c.thumbs]) for c in found.comments]
    assert facts == [
        ("alice", False, False, "Use the cache.", []),
        ("agents", True, False, "Coverage is 90 %.", []),
        ("agent", False, True, "The plan.", ["stranger"]),
    ]
    assert found.comments[2].node_id == ours.node_id


async def test_an_app_knows_its_own_words(server: StandInGitHub) -> None:
    async with open_transport(github_urls(server.url), "token-of-agents[bot]") as transport:
        bot = GitHubClient(transport)
        for _ in range(2):
            await comment_in_parts(bot, REPOSITORY, 1, "plan", "The plan.")
        found = await read_conversation(bot, REPOSITORY, 1)
    (own,) = found.parts("plan")
    assert (own.author, own.bot, own.own) == ("agents", True, True)
    assert changes(server, "comment.created", "comment.edited") == [("comment.created", "agents[bot]")]


async def test_the_head_and_the_end_of_a_pull_request(server: StandInGitHub, client: GitHubClient) -> None:
    pushed = await server.act("agent", "push_commit", REPOSITORY, branch="a", files={"calc.py": "x = 2\n"})
    await server.act("agent", "open_pull", REPOSITORY, head="a", title="Two")
    await server.act("alice", "comment", REPOSITORY, number=2, body="/merge")
    found = await read_conversation(client, REPOSITORY, 2)
    assert (found.state, found.head_sha) == ("OPEN", pushed["sha"])
    assert [c.body for c in found.comments] == ["/merge"]
    await server.act("alice", "merge", REPOSITORY, number=2)
    assert (await read_conversation(client, REPOSITORY, 2)).state == "MERGED"
    await server.act("alice", "close", REPOSITORY, number=1)
    assert (await read_conversation(client, REPOSITORY, 1)).state == "CLOSED"


async def test_a_long_conversation_is_read_in_pages_and_no_further_than_asked(
    server: StandInGitHub, client: GitHubClient
) -> None:
    clock = server.forge.clock
    clock.stop()
    for number in range(230):
        clock.advance(60)
        await say(server, "alice", f"{number}")
    found = await read_conversation(client, REPOSITORY, 1)
    assert [c.body for c in found.comments] == [str(number) for number in range(230)]
    server.requests.clear()
    since = found.comments[150].created_at
    recent = await read_conversation(client, REPOSITORY, 1, since)
    assert [c.body for c in recent.comments] == [str(number) for number in range(150, 230)]
    assert len(server.requests.describe()["requests"]) == 1


async def test_only_people_who_may_write_are_heard(server: StandInGitHub, client: GitHubClient) -> None:
    for who in ("alice", "acme", "reader", "stranger", "agents[bot]", "agent"):
        await say(server, who, f"/approve, says {who}")
    changed = await say(server, "alice", "Hm.")
    await server.act("acme", "edit_comment", REPOSITORY, comment=changed, body="/approve")
    own = await say(server, "alice", "Hmm.")
    await server.act("alice", "edit_comment", REPOSITORY, comment=own, body="/stop")
    found = await replies(client, REPOSITORY, await read_conversation(client, REPOSITORY, 1), LONG_AGO)
    assert [(reply.author, reply.body) for reply in found] == [
        ("alice", "/approve, says alice"),
        ("acme", "/approve, says acme"),
        ("alice", "/stop"),
    ]
    await server.act("acme", "remove_permission", REPOSITORY, of="alice")
    found = await replies(client, REPOSITORY, await read_conversation(client, REPOSITORY, 1), LONG_AGO)
    assert [reply.author for reply in found] == ["acme"]


async def test_thumbs_of_people_who_may_write_since_then(server: StandInGitHub, client: GitHubClient) -> None:
    clock = server.forge.clock
    clock.stop()
    await comment_in_parts(client, REPOSITORY, 1, "plan", "The plan.")
    await server.act("acme", "react", REPOSITORY, number=1, by="agent")
    clock.advance(60)
    since = clock.now().replace(microsecond=0)
    for who in ("alice", "reader", "stranger", "agents[bot]", "agent", "alice"):
        await server.act(who, "react", REPOSITORY, number=1, by="agent")
    await server.act("acme", "react", REPOSITORY, number=1, by="agent", content="-1")

    async def thumbs() -> list[str]:
        ours = (await read_conversation(client, REPOSITORY, 1)).parts("plan")
        return [thumb.login for thumb in await approving_thumbs(client, REPOSITORY, ours, since)]

    assert await thumbs() == ["alice"]
    await server.act("alice", "react", REPOSITORY, number=1, by="agent", taken_back=True)
    assert await thumbs() == []


async def test_a_long_text_is_written_in_parts_and_edited_in_place(
    server: StandInGitHub, client: GitHubClient
) -> None:
    def text(word: str, lines: int) -> str:
        return "\n".join(f"{word} {number} " + "x" * 90 for number in range(lines))

    first = await comment_in_parts(client, REPOSITORY, 1, "plan", text("old", 1500))
    parts = (await read_conversation(client, REPOSITORY, 1)).parts("plan")
    assert len(parts) == 3
    assert parts[0].url == first
    assert all(len(part.body) <= 65_536 for part in parts)
    assert "old 1499 " in parts[2].body

    again = await comment_in_parts(client, REPOSITORY, 1, "plan", text("new", 700))
    after = (await read_conversation(client, REPOSITORY, 1)).parts("plan")
    assert (again, [part.node_id for part in after]) == (first, [part.node_id for part in parts])
    assert "new 699 " in after[1].body
    assert "no longer used" in after[2].body

    count = len(server.mutations)
    await comment_in_parts(client, REPOSITORY, 1, "plan", text("new", 700))
    assert len(server.mutations) == count  # nobody is notified of what is the same


@pytest.mark.parametrize("match", [{"method": "POST", "path": "/comments$"}, {"operation": "UpdateComment"}])
async def test_a_lost_answer_leaves_one_comment(
    server: StandInGitHub, client: GitHubClient, match: dict[str, Any]
) -> None:
    if "operation" in match:
        await comment_in_parts(client, REPOSITORY, 1, "plan", "Another plan.")
    server.faults.add({"match": match, "times": 9, "action": {"status": 502, "after": True}})
    with pytest.raises(ForgeUnavailableError):
        await comment_in_parts(client, REPOSITORY, 1, "plan", "The plan.")
    server.faults.clear()
    await comment_in_parts(client, REPOSITORY, 1, "plan", "The plan.")
    (own,) = (await read_conversation(client, REPOSITORY, 1)).parts("plan")
    assert own.body.startswith("The plan.")
    assert len(changes(server, "comment.created")) == 1


async def test_a_conversation_that_is_not_there(client: GitHubClient) -> None:
    with pytest.raises(ForgeAccessError):
        await read_conversation(client, REPOSITORY, 99)
    with pytest.raises(ForgeAccessError):
        await read_conversation(client, "acme/gone", 1)
