"""A GitHub with many open pull requests in many repositories, which answers the listing and full readings.

Its answers are made before anything is measured, and each question has the price that its document has by GitHub's
published formula.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.github.graphql_cost import query_cost
from tests.bench.pull_request_server import HEAD, LONG_AGO, connection, pull_request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

OWNER = "acme"


def entry(repository: int, number: int) -> dict[str, Any]:
    """Return an entry of the listing."""
    return {
        "id": f"PR_{repository}_{number}",
        "number": number,
        "url": f"https://github.com/{OWNER}/r{repository}/pull/{number}",
        "title": f"Mend the basket of shop number {number}, which lost its bottom",
        "isDraft": False,
        "createdAt": LONG_AGO,
        "updatedAt": LONG_AGO,
        "author": {"__typename": "User", "login": "mona"},
        "headRefOid": HEAD,
        "headRefName": f"work/{number}",
        "baseRefName": "main",
        "isCrossRepository": False,
        "headRepository": {"id": f"R_{repository}"},
        "mergeable": "MERGEABLE",
        "mergeStateStatus": "CLEAN",
        "reviewDecision": None,
        "statusCheckRollup": {"state": "SUCCESS"},
    }


class ManyRepositories:
    """Serves on a free port of 127.0.0.1.

    :param repositories: how many there are.
    :param pulls: open pull requests in each, at most a page.
    """

    def __init__(self, repositories: int, pulls: int) -> None:
        self.names = tuple(f"{OWNER}/r{n}" for n in range(repositories))
        self.requests = 0
        self.points = 0
        self.bytes = 0
        numbers = range(1, pulls + 1)
        self._lists = {
            name: json.dumps(
                {
                    "nameWithOwner": name,
                    "isArchived": False,
                    "pullRequests": {
                        "totalCount": pulls,
                        **connection([entry(n, number) for number in numbers]),
                    },
                }
            )
            for n, name in enumerate(self.names)
        }
        labels = {"nodes": [{"name": "staging"}, {"name": "auto-merge"}, {"name": "dependencies"}]}
        self._labels = {
            f"PR_{n}_{number}": json.dumps(
                {"__typename": "PullRequest", "id": f"PR_{n}_{number}", "labels": labels}
            )
            for n in range(repositories)
            for number in numbers
        }
        self._snapshots = {number: json.dumps(pull_request(number, ended=True)) for number in numbers}
        self._bases = json.dumps({"ref": None})

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

    def spent(self) -> tuple[int, int, int]:
        """Return requests, points and bytes of answers since the last time, and forget them."""
        found = self.requests, self.points, self.bytes
        self.requests = self.points = self.bytes = 0
        return found

    async def _answer(self, request: web.Request) -> web.Response:
        asked = await request.json()
        document, variables = asked["query"], asked["variables"]
        count = len([name for name in variables if name.startswith("owner")])
        names = [f"{variables[f'owner{n}']}/{variables[f'name{n}']}" for n in range(count)]
        if "ids" in variables:
            data = '"nodes":[' + ",".join(self._labels[node_id] for node_id in variables["ids"]) + "]"
        elif "number0" in variables:
            data = ",".join(f'"pull{n}":{self._snapshots[variables[f"number{n}"]]}' for n in range(count))
        elif "ref0" in variables:
            data = ",".join(f'"base{n}":{self._bases}' for n in range(count))
        else:
            data = ",".join(f'"open{n}":{self._lists[name]}' for n, name in enumerate(names))
        text = f'{{"data":{{{data}}}}}'
        self.requests += 1
        self.points += query_cost(document, variables)
        self.bytes += len(text)
        return web.Response(text=text, content_type="application/json")
