"""What an hour of a rule costs: 100 pull requests that nothing happens to, and one that a run looks at every 30 seconds.

Whole runs, look to act, at a stand-in GitHub that counts points by GitHub's formula and a stand-in model, both over
real HTTP. It is the worst case: with its watcher a rule has no run at all while nothing changes.
"""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from demo.github.server import StandInGitHub
from demo.model.script import Script
from demo.model.server import StandInModel
from tests.bench.table import Row, show
from tests.contract.pr_rule_pass_world import KEY, PEOPLE, SHOP, PassWorld

if TYPE_CHECKING:
    from pathlib import Path

PULL_REQUESTS = 100
PASSES = 120
INTERVAL = 30.0
"""Seconds."""
OPERATOR_CALLS = PULL_REQUESTS * PASSES
"""Of the model, by ai-devops-operator: one for each pull request and pass, whether anything changed or not."""
OPERATOR_POINTS = 4 * PASSES
"""Its one query for a repository and pass asks for 401 connections: 4 points."""
LIMIT = 5_000
"""Points that GitHub gives a user's token for an hour."""

pytestmark = pytest.mark.timeout(600)


async def test_an_hour_of_unchanged_pull_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Script.of({"scenes": [{"name": "x", "when": {"matches": "."}, "turns": [{"text": "x"}]}]})
    async with (
        StandInGitHub(None, mergeability_delay=0) as github,
        StandInModel(script, api_key=KEY) as model,
    ):
        await github.seed_synthetic(SHOP, {"a.py": "1\n"}, permissions=PEOPLE)
        world = PassWorld(tmp_path, monkeypatch, github, model)
        world.write(interval=INTERVAL, limits={"usd_per_day": 1000})
        world.says(action="wait", reason="Nothing is to be done yet.")
        for number in range(1, PULL_REQUESTS + 1):
            await world.open(number)
        github.requests.clear()
        await world.run()
        first_calls, first_points = world.asked, github.requests.describe()["graphql_points"]
        github.requests.clear()
        tracemalloc.start()
        started = time.monotonic()
        for _ in range(PASSES - 1):
            world.pass_time(seconds=INTERVAL - 5)
            run = await world.run()
            assert run.failures == {}
        seconds = (time.monotonic() - started) / (PASSES - 1)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        told = github.requests.describe()
    calls = world.asked - first_calls
    rows = [
        Row(
            name="model calls, first pass",
            direct=str(PULL_REQUESTS),
            ours=str(first_calls),
            measured=first_calls,
            unit="calls",
            at_most=PULL_REQUESTS,
        ),
        Row(
            name=f"model calls, {PASSES - 1} passes after it",
            direct=f"{OPERATOR_CALLS - PULL_REQUESTS:,}",
            ours=str(calls),
            measured=calls,
            unit="calls",
            at_most=0,
        ),
        Row(
            name="first pass, GraphQL",
            direct="",
            ours=f"{first_points} points",
            measured=100 * first_points / LIMIT,
            unit="% of an hour's",
            at_most=2,
        ),
        Row(
            name=f"{PASSES - 1} passes after it, GraphQL",
            direct=f"{OPERATOR_POINTS} points",
            ours=f"{told['graphql_points']} points",
            measured=100 * told["graphql_points"] / LIMIT,
            unit="% of an hour's",
            at_most=5,
        ),
        Row(
            name="a pass in which nothing changed",
            direct="",
            ours=f"{seconds:.2f} s",
            measured=seconds,
            unit="s",
            at_most=2,
        ),
        Row(
            name="peak memory of those passes",
            direct="",
            ours=f"{peak / 2**20:.1f} MiB",
            measured=peak / 2**20,
            unit="MiB",
            at_most=64,
        ),
        Row(
            name="memory of the rule",
            direct="",
            ours=f"{len(world.variables['agents_rule__staging']):,} B",
            measured=len(world.variables["agents_rule__staging"]) / PULL_REQUESTS,
            unit="B a pull request",
            at_most=1_500,
        ),
    ]
    print()
    show(rows)
    assert first_calls == PULL_REQUESTS
    assert [row.name for row in rows if not row.met] == []
