"""What it costs to watch and to read all open pull requests for rules, beside ai-devops-operator.

An hour of watching is real code in faked time. A pass over a thousand pull requests is real HTTP to a server of this
process, whose time and answers are in the numbers. Points are those of GitHub's published formula.
"""

from __future__ import annotations

import asyncio
import sys
import time
import tracemalloc
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "triggers"))

from pr_rule_watch_world import World, entry

from airflow_provider_agents.domain.pr_rule import Selector
from airflow_provider_agents.domain.pr_rule_selector import fits
from airflow_provider_agents.exceptions import ForgeError
from airflow_provider_agents.hooks.github import AgentsGitHubHook, GitHubCredential
from airflow_provider_agents.hooks.github_open_labels import LONGEST, LabelMemory
from airflow_provider_agents.hooks.github_open_queries import LABELS_BATCH, OPEN_BATCH, open_pulls_document
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.graphql_cost import query_cost
from tests.bench.open_pulls_server import ManyRepositories
from tests.bench.table import Row, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.hooks.github_client import GitHubClient

HOUR = 3_600.0
INTERVAL = 30.0
THEIRS = """
query($owner: String!, $name: String!) {
  repository(owner: $owner, name: $name) {
    pullRequests(first: 100, states: OPEN) {
      nodes {
        labels(first: 20) { nodes { name } }
        reviews(last: 10) { nodes { state } }
        commits(last: 1) {
          nodes { commit { statusCheckRollup { state contexts(first: 100) { nodes { __typename } } } } }
        }
      }
    }
  }
}
"""
"""The shape of ai-devops-operator's query, one for each rule and repository; its price follows from the shape."""

pytestmark = pytest.mark.timeout(300)


@cache
def points_of_listing(repositories: int) -> int:
    return query_cost(open_pulls_document(repositories))


def points_of(asked: list[tuple[float, tuple[str, ...]]]) -> tuple[int, int]:
    """Return requests and points of what a watcher asked for, its labels known."""
    sizes = [
        min(OPEN_BATCH, len(names) - start)
        for _, names in asked
        for start in range(0, len(names), OPEN_BATCH)
    ]
    return len(sizes), sum(points_of_listing(size) for size in sizes)


async def hour(
    monkeypatch: pytest.MonkeyPatch, *, rules: int, repositories: int, pulls: int
) -> tuple[int, int, int, int]:
    """Watch unchanged pull requests; return events of the first look, later events, requests and points."""
    world, began = World(monkeypatch), asyncio.get_running_loop().time()
    names = tuple(f"acme/r{n}" for n in range(repositories))
    for name in names:
        world.github.put(*(entry(number, name) for number in range(pulls // repositories)))
    for n in range(rules):
        world.rule(f"rule-{n}", names=names, interval=INTERVAL)
    first = await world.until(began + 60)
    world.github.asked.clear()
    later = await world.until(began + 60 + HOUR)
    await world.stop()
    requests, points = points_of(world.github.asked)
    # Labels are read again although nothing changed.
    labels = int(HOUR // LONGEST.total_seconds()) * -(-pulls // LABELS_BATCH)
    return len(first), len(later), requests + labels, points + labels


@pytest.mark.looptime(start=0, end=100_000)
async def test_an_hour_of_watching_what_does_not_change(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = query_cost(THEIRS)
    rows = []
    for rules, repositories, pulls in ((1, 1, 100), (20, 1, 100), (3, 3, 100), (20, 20, 1_000)):
        first, later, requests, points = await hour(
            monkeypatch, rules=rules, repositories=repositories, pulls=pulls
        )
        assert (first, later) == (rules, 0)
        queries = int(HOUR / INTERVAL) * rules * repositories
        rows.append(
            Row(
                name=f"{rules} rules, {repositories} repositories, {pulls} pull requests",
                direct=f"{queries:,} queries, {queries * theirs:,} points, "
                f"{int(HOUR / INTERVAL) * rules * pulls:,} questions to a model",
                ours=f"{requests:,} requests, 0 runs",
                measured=points,
                unit="points an hour",
                # A look each interval, by which one more or less may fall into the hour.
                at_most=(int(HOUR / INTERVAL) + 1) * -(-repositories // OPEN_BATCH)
                + 2 * -(-pulls // LABELS_BATCH),
            )
        )
    print()
    show(rows)
    assert [row.name for row in rows if not row.met] == []


async def test_one_pass_over_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    server = ManyRepositories(20, 50)
    rows = []
    async for port in server.serve():
        found = GitHubCredential(urls=github_urls(f"http://127.0.0.1:{port}"), token="token")
        async with AgentsGitHubHook("unused").opened(found) as client:
            rows = await passes(client, server)
    print()
    show(rows)
    assert [row.name for row in rows if not row.met] == []


async def passes(client: GitHubClient, server: ManyRepositories) -> list[Row]:
    """Return what a first look, one at what is known, and a full reading of all cost."""
    selector = Selector.model_validate({"labels": {"include": ["staging"]}, "title_pattern": "^Mend"})
    known = LabelMemory()
    refs: list[tuple[str, int]] = []

    async def listed(labels: LabelMemory) -> None:
        answers = await client.open_pull_requests(server.names, labels)
        entries = [one for each in answers.values() for one in _entries(each) if fits(one, selector)]
        refs[:] = [(one.repository, one.number) for one in entries]
        assert len(refs) == 1_000

    async def read() -> None:
        answers = await client.snapshots(refs)
        assert not [each for each in answers.values() if isinstance(each, ForgeError)]

    await listed(known)
    theirs = f"{20 * query_cost(THEIRS)} points a rule"
    return [
        *await measured(
            server, "listing, nothing known", lambda: listed(LabelMemory()), theirs, (14, 14, 2.0, 16.0)
        ),
        *await measured(server, "listing, nothing changed", lambda: listed(known), theirs, (4, 4, 1.5, 16.0)),
        *await measured(server, "all read in full, once", read, "-", (100, 300, 30.0, 128.0)),
    ]


def _entries(answer: tuple[OpenPullRequest, ...] | ForgeError) -> tuple[OpenPullRequest, ...]:
    assert not isinstance(answer, ForgeError), answer
    return answer


async def measured(
    server: ManyRepositories,
    name: str,
    work: Callable[[], Awaitable[None]],
    direct: str,
    targets: tuple[float, float, float, float],
) -> list[Row]:
    """Do it twice, for the time and for the memory; return what each way took.

    :param targets: requests, points, seconds and megabytes.
    """
    server.spent()
    began = time.perf_counter()
    await work()
    taken = time.perf_counter() - began
    requests, points, size = server.spent()
    tracemalloc.start()
    try:
        await work()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    server.spent()
    values: list[tuple[float, str, str]] = [
        (requests, "requests", f"{size / 1e6:.1f} MB of answers"),
        (points, "points", ""),
        (taken, "s", ""),
        (peak / 1e6, "MB at the most", ""),
    ]
    return [
        Row(
            name=name,
            direct=direct if unit == "points" else "-",
            ours=note,
            measured=value,
            unit=unit,
            at_most=most,
        )
        for (value, unit, note), most in zip(values, targets, strict=True)
    ]
