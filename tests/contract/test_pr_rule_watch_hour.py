"""A rule that watches for an hour: real client and real HTTP, at the stand-in GitHub, in faked time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

import pytest
from open_pulls_world import DOCS, SHOP, credential, open_pulls_world

import airflow_provider_agents.hooks.github_client  # noqa: F401 (nothing is to be imported in a thread in faked time)
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.triggers import pr_rule_watch, wake_variable
from airflow_provider_agents.triggers.pr_rule_watch import PullRequestRuleTrigger
from demo.github.clock import Clock
from demo.github.in_memory import InMemoryGitHub
from demo.github.server import StandInGitHub

START = 1_900_000_000
HOUR = 3_600

pytestmark = [pytest.mark.timeout(120), pytest.mark.looptime(start=0, end=1_000_000)]


class Store:
    """The asset's state store, empty and forgetful."""

    async def aget(self, key: str, default: Any = None) -> Any:
        return default

    async def aset(self, key: str, value: Any) -> None:
        """Forget it."""


async def test_a_hundred_unchanged_pull_requests_for_an_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = asyncio.get_running_loop()
    server = StandInGitHub(None, mergeability_delay=0, clock=Clock(lambda: START + loop.time()))

    async def aget_conn(hook: AgentsGitHubHook) -> Any:
        return credential(server)

    async def no_marks(name: str) -> str:
        return "{}"

    monkeypatch.setattr(AgentsGitHubHook, "aget_conn", aget_conn)
    monkeypatch.setattr(wake_variable, "read_variable", no_marks)
    monkeypatch.setattr(pr_rule_watch, "_now", lambda: datetime.fromtimestamp(START + loop.time(), UTC))
    async with InMemoryGitHub(server) as network:
        with network.everywhere():
            async with open_pulls_world(server) as world:
                for n in range(60):
                    await world.pull(f"Bump {n}", labels=["staging"])
                for n in range(40):
                    await world.pull(f"Bump {n}", DOCS, labels=["staging"])
                # Longer ago than labels take to settle.
                await asyncio.sleep(60)
                trigger = PullRequestRuleTrigger(
                    rule="staging",
                    version="v1",
                    github_conn_id="github",
                    patterns=("acme/*",),
                    interval=30,
                    selector={"labels": {"include": ["staging"]}},
                )
                trigger.asset_state_store = Store()  # type: ignore[assignment]
                told: list[dict[str, Any]] = []

                async def watch() -> None:
                    async with aclosing(trigger.run()) as events:  # type: ignore[type-var]
                        async for event in events:
                            told.append(event.payload)

                watching = asyncio.create_task(watch())
                await asyncio.sleep(60)
                ((first,), told[:]) = (tuple(told), [])
                assert (len(first["pull_requests"]), first["why"]) == (50, "new rule")
                world.spent()
                await asyncio.sleep(HOUR)
                assert told == []
                counts, points = world.spent()
                assert 119 <= counts["OpenPullRequests"] <= 121
                # Labels and the owner's repositories are read again after a while.
                assert counts["PullRequestLabels"] <= 2
                assert counts["OwnedRepositories"] <= 6
                assert points == sum(counts.values())
                await world.act("alice", "edit", number=7, title="Bump seven")
                await asyncio.sleep(40)
                assert [each["pull_requests"] for each in told] == [[f"{SHOP}#7"]]
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)
