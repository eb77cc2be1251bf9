"""A GitHub with many pull requests of a usual size, which answers the poll's two queries."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHECKS = 20
COMMENTS = 10
THREADS = 2
HEAD = "a" * 40
LONG_AGO = "2026-01-01T10:00:00Z"


def connection(nodes: list[Any]) -> dict[str, Any]:
    return {"pageInfo": {"hasNextPage": False, "endCursor": None}, "nodes": nodes}


def check(name: str, *, ended: bool) -> dict[str, Any]:
    return {
        "__typename": "CheckRun",
        "id": f"CR_{name}",
        "databaseId": 1,
        "name": name,
        "status": "COMPLETED" if ended else "IN_PROGRESS",
        "conclusion": "SUCCESS" if ended else None,
        "detailsUrl": f"https://github.com/acme/shop/actions/runs/1/job/{name}",
        "permalink": f"https://github.com/acme/shop/runs/{name}",
        "title": "What was found",
        "startedAt": LONG_AGO,
        "completedAt": LONG_AGO if ended else None,
        "isRequired": True,
        "checkSuite": {
            "databaseId": 1,
            "status": "COMPLETED" if ended else "IN_PROGRESS",
            "app": {"slug": "github-actions"},
            "workflowRun": {"event": "push", "workflow": {"name": "ci"}},
        },
    }


def comment(number: int) -> dict[str, Any]:
    return {
        "id": f"IC_{number}",
        "body": "Some words about this. " * 20,
        "createdAt": LONG_AGO,
        "viewerDidAuthor": False,
        "authorAssociation": "NONE",
        "author": {"__typename": "User", "login": "mona"},
        "pullRequestReview": {"authorCanPushToRepository": False},
    }


def pull_request(number: int, *, ended: bool) -> dict[str, Any]:
    """Return the answer about one pull request; its last check has ended or not."""
    checks = [check(f"check-{n}", ended=ended or n > 0) for n in range(CHECKS)]
    thread = {"id": "T", "path": "shop.py", "line": 3, "originalLine": 3, "isResolved": False}
    pull = {
        "id": f"PR_{number}",
        "number": number,
        "url": f"https://github.com/acme/shop/pull/{number}",
        "title": "Mend the basket",
        "state": "OPEN",
        "isDraft": False,
        "author": {"login": "agent"},
        "headRefOid": HEAD,
        "headRefName": f"agents/{number}",
        "baseRefOid": "c" * 40,
        "baseRefName": "main",
        "mergeable": "MERGEABLE",
        "mergeStateStatus": "CLEAN" if ended else "UNSTABLE",
        "reviewDecision": None,
        "mergeCommit": None,
        "viewerCanEnableAutoMerge": False,
        "autoMergeRequest": None,
        "isMergeQueueEnabled": False,
        "mergeQueueEntry": None,
        "timelineItems": {"nodes": []},
        "baseRef": {"branchProtectionRule": None, "refUpdateRule": None, "rules": {"nodes": []}},
        "labels": {"nodes": []},
        "closingIssuesReferences": {"nodes": []},
        "comments": connection([comment(n) for n in range(COMMENTS)]),
        "latestOpinionatedReviews": connection([]),
        "reviewThreads": connection(
            [thread | {"isOutdated": False, "comments": connection([comment(n)])} for n in range(THREADS)]
        ),
        "statusCheckRollup": {"commit": {"oid": HEAD}, "contexts": connection(checks)},
    }
    facts = {"squashMergeAllowed": True, "mergeCommitAllowed": True, "rebaseMergeAllowed": True}
    return {"nameWithOwner": "acme/shop", **facts, "pullRequest": pull}


class ManyPullRequests:
    """Serves on a free port of 127.0.0.1; what it holds changes by its methods."""

    def __init__(self) -> None:
        self.ended = False
        self.requests = 0
        self.bytes = 0
        self._versions: dict[int, int] = {}

    def change(self, numbers: range, share: float) -> None:
        """Let a share of the pull requests have a new comment, or so."""
        for number in numbers:
            if random.random() < share:
                self._versions[number] = self._versions.get(number, 0) + 1

    async def serve(self) -> AsyncIterator[int]:
        """Serve while the caller is in the loop; yield the port."""
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/api/graphql", self._answer)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield runner.addresses[0][1]
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        variables = asked["variables"]
        if "ids" in variables:
            data: dict[str, Any] = {"nodes": [self._pulse(each) for each in variables["ids"]]}
        else:
            numbers = [variables[f"number{n}"] for n in range(len(variables) // 3)]
            data = {f"pull{n}": pull_request(each, ended=self.ended) for n, each in enumerate(numbers)}
        text = json.dumps({"data": data})
        self.requests += 1
        self.bytes += len(text)
        return web.Response(text=text, content_type="application/json")

    def _pulse(self, node_id: str) -> dict[str, Any]:
        number = int(node_id.removeprefix("PR_"))
        return {
            "__typename": "PullRequest",
            "id": node_id,
            "number": number,
            "state": "OPEN",
            "isDraft": False,
            "headRefOid": HEAD,
            "mergeable": "MERGEABLE",
            "mergeStateStatus": "CLEAN" if self.ended else "UNSTABLE",
            "reviewDecision": None,
            "isInMergeQueue": False,
            "updatedAt": f"version {self._versions.get(number, 0)}",
            "statusCheckRollup": {"state": "SUCCESS" if self.ended else "PENDING"},
            "repository": {"nameWithOwner": "acme/shop"},
        }
