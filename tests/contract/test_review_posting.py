"""A review at the stand-in GitHub, by the client that the operators use: posted once, where it can stand."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.review import Finding, ReviewOutput
from airflow_provider_agents.hooks import github_landing_calls
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_review_calls import description, diff_lines, own_reviews
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls
from airflow_provider_agents.operators import post_review as posting
from airflow_provider_agents.operators.post_review import Posted, post_review
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the stand-in keeps repositories of git")

REPOSITORY = "acme/calc"
WRONG = Finding(path="calc.py", line=2, severity="high", confidence=0.9, title="It multiplies", body="Add.")
FAR = Finding(path="calc.py", line=90, severity="low", confidence=0.4, title="Too long")
OBJECTS = ReviewOutput(verdict="request_changes", summary="Not yet, @alice.", findings=(WRONG, FAR))
APPROVES = ReviewOutput(verdict="approve", summary="Good.")


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    """A repository of acme's, with a pull request of the agent's."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_landing_calls, "MUTATION_PAUSE_SECONDS", 0)
    monkeypatch.setattr(posting, "_PAUSE_SECONDS", 0.0)
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    async with StandInGitHub(tmp_path / "data", mergeability_delay=0) as stand_in:
        for login in ("agent", "alice", "acme"):
            stand_in.add_token(login, f"token-of-{login}")
        permissions: Any = {"agent": "write", "alice": "write"}
        await stand_in.seed_repository(REPOSITORY, seed, permissions=permissions)
        await push(stand_in, "    return a * b\n")
        opened = {"head": "agents/1", "title": "Fix add()", "body": "It added wrongly."}
        await stand_in.act("agent", "open_pull", REPOSITORY, **opened)
        yield stand_in


async def push(server: StandInGitHub, line: str) -> None:
    files = {"calc.py": f"def add(a, b):\n{line}"}
    await server.act("agent", "push_commit", REPOSITORY, branch="agents/1", files=files, message="By agent")


@asynccontextmanager
async def client_of(server: StandInGitHub, login: str) -> AsyncIterator[GitHubClient]:
    async with open_transport(github_urls(server.url), f"token-of-{login}") as transport:
        yield GitHubClient(transport)


async def post(
    client: GitHubClient, review: ReviewOutput, head: str | None = None, **arguments: Any
) -> Posted | None:
    head = head or (await client.snapshot(REPOSITORY, 1)).head_sha
    given = {"earlier": (), "wrote_code": False} | arguments
    return await post_review(client, REPOSITORY, 1, head, review, **given)


async def reviews_of(client: GitHubClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await client._transport.read(
        f"/repos/{REPOSITORY}/pulls/1/reviews", github_landing_calls.Operation("read", "")
    )
    return found


async def test_what_a_review_needs_can_be_read(server: StandInGitHub) -> None:
    async with client_of(server, "alice") as client:
        found = await description(client, REPOSITORY, 1)
        assert (found.body, found.head_repository) == ("It added wrongly.", REPOSITORY)
        assert await diff_lines(client, REPOSITORY, 1) == {"calc.py": {1, 2}}
        assert await own_reviews(client, REPOSITORY, 1, "alice") == {}


async def test_another_identity_objects_and_later_approves(server: StandInGitHub) -> None:
    async with client_of(server, "alice") as client:
        first = await post(client, OBJECTS)
        assert first is not None
        assert (first.event, first.reviewer) == ("REQUEST_CHANGES", "alice")
        pull = await client.snapshot(REPOSITORY, 1)
        (thread,) = pull.threads
        assert (thread.path, thread.line) == ("calc.py", 2)
        assert "It multiplies" in thread.comments[0].body
        assert [(review.state, review.own) for review in pull.reviews] == [("CHANGES_REQUESTED", True)]
        assert list(await own_reviews(client, REPOSITORY, 1, "alice")) == [pull.head_sha]

        again = await post(client, OBJECTS)
        assert again is not None
        (review,) = await reviews_of(client)
        assert "@alice" not in review["body"]
        assert "Too long" in review["body"]

        await push(server, "    return a + b\n")
        assert await post(client, APPROVES, head=pull.head_sha) is None  # stale
        last = await post(client, APPROVES)
        assert last is not None
        assert last.event == "APPROVE"
        pull = await client.snapshot(REPOSITORY, 1)
        assert pull.threads == ()  # answered, so resolved
        assert [review.state for review in pull.reviews] == ["APPROVED"]


async def test_the_author_only_comments(server: StandInGitHub) -> None:
    async with client_of(server, "agent") as client:
        posted = await post(client, APPROVES)
        assert posted is not None
        assert posted.event == "COMMENT"
        assert [review["state"] for review in await reviews_of(client)] == ["COMMENTED"]


async def test_a_finding_that_stands_is_not_said_twice(server: StandInGitHub) -> None:
    async with client_of(server, "alice") as client:
        await post(client, OBJECTS)
        await push(server, "    return a / b\n")
        await post(client, OBJECTS, earlier=(FAR,))
        first, second = await reviews_of(client)
        assert "2 findings of earlier reviews are still open." in second["body"]
        assert "Too long" not in second["body"]
        assert len((await client.snapshot(REPOSITORY, 1)).threads) == 1
        assert first["id"] != second["id"]
