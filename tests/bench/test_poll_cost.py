"""What it costs to watch pull requests for an hour, in requests and in points by GitHub's formula.

The poll, the waits and Airflow's streams are real, the hour is faked. GitHub is a stand-in that counts: each
query has the price that its document has by the published formula.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from airflow.triggers.shared_stream import SharedStreamManager

from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.pull_request import Check, PullRequestPulse, PullRequestSnapshot
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_queries import PULSES, snapshot_document
from airflow_provider_agents.triggers import pull_request as module
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger
from demo.github.graphql_cost import query_cost
from tests.bench.table import Row, show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from airflow_provider_agents.hooks.github_models import RateLimit

HOUR = 3_600.0
FRESHNESS = 30.0
CHANGING = 0.05
"""Share of the pull requests that change between two looks."""
OPTIO_AN_HOUR = 6 * 3_600 // 30
"""REST requests for one pull request: six calls every 30 seconds."""
AGENT_OPERATOR_AN_HOUR = 5 * 3_600 // 60
"""REST requests for one pull request: five calls every 60 seconds."""
LIMIT = 5_000
"""Points, or REST requests, that GitHub gives a user's token for an hour."""

Key = tuple[str, int]

pytestmark = [pytest.mark.timeout(600), pytest.mark.looptime(start=0, end=100_000)]


@cache
def points_of_pulses(count: int) -> int:
    return query_cost(PULSES, {"ids": ["PR"] * count})


@cache
def points_of_snapshots(count: int) -> int:
    return query_cost(snapshot_document(count))


@dataclass
class CountingGitHub:
    """Pull requests of which some change, and the price of all questions about them.

    :param state: what the pull requests wait for.
    """

    state: Mapping[str, Any]
    requests: int = 0
    points: int = 0
    full_readings: int = 0
    versions: dict[int, int] = field(default_factory=dict)
    rate_limit: RateLimit | None = None

    def snapshot(self, key: Key) -> PullRequestSnapshot:
        facts: dict[str, Any] = {
            "repository": key[0],
            "number": key[1],
            "node_id": f"PR_{key[1]}",
            "url": f"https://github.com/{key[0]}/pull/{key[1]}",
            "title": "t",
            "state": "OPEN",
            "head_sha": "a" * 40,
            "head_branch": f"agents/{key[1]}",
            "base_branch": "main",
            "read_at": now(),
            "mergeable": "MERGEABLE",
            "merge_state": "CLEAN",
            "checks": (Check(name="tests", state="passed", kind="check_run"),),
        }
        return PullRequestSnapshot(**facts | self.state)

    async def pulses(self, node_ids: Sequence[str]) -> Mapping[str, PullRequestPulse]:
        self.requests += 1
        self.points += points_of_pulses(len(node_ids))
        return {node_id: self._pulse(node_id) for node_id in node_ids}

    async def snapshots(self, refs: Sequence[Key]) -> Mapping[Key, PullRequestSnapshot]:
        self.requests += 1
        self.points += points_of_snapshots(len(refs))
        self.full_readings += len(refs)
        return {ref: self.snapshot(ref) for ref in refs}

    def _pulse(self, node_id: str) -> PullRequestPulse:
        number = int(node_id.removeprefix("PR_"))
        read = self.snapshot(("acme/shop", number))
        return PullRequestPulse(
            node_id=node_id,
            repository=read.repository,
            number=number,
            state=read.state,
            head_sha=read.head_sha,
            checks_state="PENDING" if read.checks_in("pending") else "SUCCESS",
            mergeable=read.mergeable,
            merge_state=read.merge_state,
            review_decision="",
            draft=read.draft,
            queued=False,
            updated_at=str(self.versions.get(number, 0)),
        )

    async def change(self, count: int) -> None:
        chance = random.Random(7)
        while True:
            await asyncio.sleep(FRESHNESS)
            for number in range(count):
                if chance.random() < CHANGING:
                    self.versions[number] = self.versions.get(number, 0) + 1


def now() -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=asyncio.get_running_loop().time())


async def watch(monkeypatch: pytest.MonkeyPatch, count: int, state: Mapping[str, Any]) -> CountingGitHub:
    """Watch ``count`` pull requests for an hour."""
    github = CountingGitHub(state)

    async def aget_conn(hook: AgentsGitHubHook) -> Any:
        return SimpleNamespace(app=None)

    @asynccontextmanager
    async def client(hook: AgentsGitHubHook) -> AsyncIterator[CountingGitHub]:
        yield github

    monkeypatch.setattr(AgentsGitHubHook, "aget_conn", aget_conn)
    monkeypatch.setattr(AgentsGitHubHook, "client", client)
    monkeypatch.setattr(module, "_CLIENT_MODULES", frozenset())
    monkeypatch.setattr(PullRequestTrigger, "log", SimpleNamespace(info=lambda *words: None))
    manager = SharedStreamManager()

    async def wait(number: int) -> None:
        trigger = PullRequestTrigger(
            repository="acme/shop",
            number=number,
            node_id=f"PR_{number}",
            poll_interval=FRESHNESS,
            policy=LandingPolicy().to_dict(),
        )
        key = trigger.shared_stream_key()
        stream = manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                raise AssertionError(event)
        finally:
            await manager.unsubscribe(number, key)

    tasks = [asyncio.create_task(wait(number)) for number in range(count)]
    tasks.append(asyncio.create_task(github.change(count)))
    await asyncio.sleep(HOUR)
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    monkeypatch.undo()
    assert {type(each) for each in ended} == {asyncio.CancelledError}
    return github


RUNNING = {"checks": (Check(name="tests", state="pending", kind="check_run"),)}
AWAITING_PEOPLE = {"draft": True}


async def test_the_cost_of_watching_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for count in (1, 10, 100, 1_000):
        rows.append(row(f"{count} with running checks", count, await watch(monkeypatch, count, RUNNING)))
    spent = await watch(monkeypatch, 1_000, AWAITING_PEOPLE)
    rows.append(row("1000 that await people", 1_000, spent))
    print()
    show(rows)
    print(
        f"Optio: 6 REST requests each 30 s, {OPTIO_AN_HOUR} an hour for one: {LIMIT / OPTIO_AN_HOUR:.1f} pull "
        f"requests use up a token. agent-operator: 5 each 60 s, {AGENT_OPERATOR_AN_HOUR} an hour: "
        f"{LIMIT / AGENT_OPERATOR_AN_HOUR:.1f}."
    )
    assert [each.name for each in rows if not each.met] == []


def row(name: str, count: int, spent: CountingGitHub) -> Row:
    return Row(
        name=name,
        direct=f"Optio {count * OPTIO_AN_HOUR:,}, agent-operator {count * AGENT_OPERATOR_AN_HOUR:,} requests",
        ours=f"{spent.requests:,} requests, {spent.full_readings:,} full readings",
        measured=spent.points,
        unit="points",
        at_most=LIMIT,
    )
