"""A GitHub that answers as a test says, over real HTTP, and keeps what it was asked."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from airflow_provider_agents.hooks import github_transport
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls

TOKEN = "ghp_canary_0123456789abcdef"

Reply = web.StreamResponse | Callable[[web.Request], Awaitable[web.StreamResponse]]

PULL_REQUEST: dict[str, Any] = {
    "id": "PR_1",
    "number": 7,
    "url": "https://github.com/acme/shop/pull/7",
    "title": "Mend the basket",
    "state": "OPEN",
    "isDraft": False,
    "headRefOid": "a" * 40,
    "headRefName": "agents/7",
    "author": {"login": "agent"},
    "baseRefName": "main",
    "baseRefOid": "c" * 40,
    "baseRef": {"branchProtectionRule": None, "refUpdateRule": None, "rules": {"nodes": []}},
    "viewerCanEnableAutoMerge": False,
    "autoMergeRequest": None,
    "isMergeQueueEnabled": False,
    "mergeQueueEntry": None,
    "timelineItems": {"nodes": []},
    "comments": {"nodes": []},
    "mergeable": "MERGEABLE",
    "mergeStateStatus": "CLEAN",
    "reviewDecision": None,
    "mergeCommit": None,
    "labels": {"nodes": [{"name": "bug"}]},
    "closingIssuesReferences": {
        "nodes": [
            {"number": 3, "repository": {"nameWithOwner": "Acme/Shop"}},
            {"number": 4, "repository": {"nameWithOwner": "acme/other"}},
        ]
    },
    "latestOpinionatedReviews": {"pageInfo": {"hasNextPage": False, "endCursor": None}, "nodes": []},
    "reviewThreads": {"pageInfo": {"hasNextPage": False, "endCursor": None}, "nodes": []},
    "statusCheckRollup": None,
}

REPOSITORY: dict[str, Any] = {
    "nameWithOwner": "acme/shop",
    "squashMergeAllowed": True,
    "mergeCommitAllowed": False,
    "rebaseMergeAllowed": True,
}


@dataclass
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any
    operation: str = ""


@dataclass
class StubGitHub:
    """Answers from a queue per route; the last answer of a queue is repeated."""

    asked: list[Asked] = field(default_factory=list)
    queues: dict[str, list[Any]] = field(default_factory=dict)
    url: str = ""

    def on(self, route: str, *replies: Any) -> None:
        """Answer ``GET /path`` or the GraphQL operation ``route`` with these, one after the other."""
        self.queues[route] = list(replies)

    def times(self, route: str) -> int:
        """Return how often a route was asked."""
        return sum(route in (f"{a.method} {a.path}", a.operation) for a in self.asked)

    @staticmethod
    def check_run(
        name: str, conclusion: str | None = "SUCCESS", number: int = 1, **more: Any
    ) -> dict[str, Any]:
        return {
            "__typename": "CheckRun",
            "id": f"CR_{number}",
            "databaseId": number,
            "name": name,
            "status": "COMPLETED" if conclusion else "IN_PROGRESS",
            "conclusion": conclusion,
            "detailsUrl": f"https://github.com/acme/shop/actions/runs/1/job/{number}",
            "permalink": "",
            "title": None,
            "isRequired": False,
            "checkSuite": {"databaseId": 1, "app": {"slug": "github-actions"}, "workflowRun": None},
        } | more

    @staticmethod
    def rollup(nodes: list[Any], *, sha: str = "a" * 40, after: str | None = None) -> dict[str, Any]:
        info = {"hasNextPage": after is not None, "endCursor": after}
        return {"commit": {"oid": sha}, "contexts": {"pageInfo": info, "nodes": nodes}}

    @staticmethod
    def pull(errors: list[Any] | None = None, *, without: str = "", **fields: Any) -> dict[str, Any]:
        """Return an answer to the snapshot query for one pull request."""
        pull = copy.deepcopy(PULL_REQUEST) | fields
        pull.pop(without, None)
        repository = copy.deepcopy(REPOSITORY) | {"pullRequest": pull}
        return {"data": {"pull0": repository}} | ({"errors": errors} if errors else {})

    @staticmethod
    def page(head: str = "a" * 40, **fields: Any) -> dict[str, Any]:
        """Return an answer to the query of a further page."""
        return {"data": {"repository": {"pullRequest": {"headRefOid": head} | fields}}}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        operation = ""
        if request.path.endswith("/graphql"):
            operation = re.search(r"(?:query|mutation) (\w+)", body["query"])[1]  # type: ignore[index]
        self.asked.append(
            Asked(request.method, request.path, dict(request.query), dict(request.headers), body, operation)
        )
        queue = self.queues.get(operation or f"{request.method} {request.path}")
        if queue is None:
            return web.json_response({"message": "Not Found"}, status=404)
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if callable(reply):
            return await reply(request)
        if isinstance(reply, tuple):
            status, data, *headers = reply
            return web.json_response(data, status=status, headers=headers[0] if headers else None)
        return web.json_response(reply)


@asynccontextmanager
async def serve() -> AsyncIterator[StubGitHub]:
    stub = StubGitHub()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", stub.handle)
    async with TestServer(app, host="127.0.0.1") as server:
        stub.url = f"http://127.0.0.1:{server.port}"
        yield stub


@pytest.fixture(autouse=True)
def no_proxy_and_no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))


@pytest.fixture
async def stub() -> AsyncIterator[StubGitHub]:
    async with serve() as server:
        yield server


@pytest.fixture
async def other_host() -> AsyncIterator[StubGitHub]:
    """Another origin than ``stub``."""
    async with serve() as server:
        yield server


@pytest.fixture
def token() -> str:
    return TOKEN


@pytest.fixture
def connect(stub: StubGitHub) -> Callable[..., AbstractAsyncContextManager[GitHubClient]]:
    """Open a client with other settings than ``client``."""

    @asynccontextmanager
    async def connected(**settings: Any) -> AsyncIterator[GitHubClient]:
        async with open_transport(github_urls(stub.url), TOKEN, **settings) as transport:
            yield GitHubClient(transport)

    return connected


@pytest.fixture
async def client(
    connect: Callable[..., AbstractAsyncContextManager[GitHubClient]],
) -> AsyncIterator[GitHubClient]:
    async with connect() as opened:
        yield opened
