"""A thousand waiting pull requests on one triggerer: memory, processor time, loop lag, time to the event."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.bench.pull_request_server import ManyPullRequests
from tests.bench.table import Row, show

if TYPE_CHECKING:
    from pathlib import Path

COUNT = 1_000
INTERVAL = 30.0
POLLS = 2
"""Rounds of polling that are measured, each with one pull request in twenty changed."""
MOST_MEGABYTES = 250.0
MOST_LAG_SECONDS = 0.2

pytestmark = pytest.mark.timeout(600)


async def test_a_thousand_waiting_pull_requests(tmp_path: Path) -> None:
    forge = ManyPullRequests()
    async for port in forge.serve():
        connection = {
            "conn_type": "github",
            "host": f"http://127.0.0.1:{port}/api/v3",
            "password": "ghp_0123456789abcdef",
        }
        result = tmp_path / "result.json"
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.bench.waiting_triggerer", str(COUNT), str(INTERVAL), str(result)),
            env={
                **os.environ,
                "AIRFLOW_CONN_GITHUB_DEFAULT": json.dumps(connection),
                "AIRFLOW_HOME": str(tmp_path),
                "AIRFLOW__LOGGING__LOGGING_LEVEL": "INFO",
            },
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            changed = await drive(forge, process)
            await asyncio.wait_for(process.wait(), 120)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    rows = rows_of(json.loads(result.read_text()), changed, forge)
    print()
    show(rows)
    assert [row.name for row in rows if not row.met] == []


async def drive(forge: ManyPullRequests, process: asyncio.subprocess.Process) -> float:
    """Let the pull requests change in step with the waits; return when all became green."""
    assert process.stdin is not None
    assert process.stderr is not None
    while b"started" not in (line := await asyncio.wait_for(process.stderr.readline(), 120)):
        assert line, "the triggerer ended"
    until = time.monotonic() + 120
    while forge.requests < COUNT / 5 + COUNT / 100 and time.monotonic() < until:
        await asyncio.sleep(0.2)
    await asyncio.sleep(1)
    process.stdin.write(b"\n")
    for _ in range(POLLS):
        forge.change(range(COUNT), 0.05)
        await asyncio.sleep(INTERVAL)
    process.stdin.write(b"\n")
    await asyncio.sleep(1)
    forge.ended = True
    return time.time()


def rows_of(measured: dict, changed: float, forge: ManyPullRequests) -> list[Row]:
    assert measured["verdicts"] == ["merge"]
    arrived = sorted(measured["arrived"])
    assert len(arrived) == COUNT
    lags = [
        Row(
            name=f"longest block of the loop, {phase}",
            direct="-",
            ours="-",
            measured=1_000 * lag,
            unit="ms",
            at_most=1_000 * MOST_LAG_SECONDS,
        )
        for phase, lag in measured["lag"].items()
    ]
    return [
        Row(
            name=f"memory of a triggerer with {COUNT} waits",
            direct=f"{measured['before']:.0f} MB without",
            ours=f"{(measured['most_memory'] - measured['before']) * 1_000 / COUNT:.0f} kB a wait",
            measured=measured["most_memory"],
            unit="MB",
            at_most=MOST_MEGABYTES,
        ),
        Row(
            name=f"processor time of polling them each {INTERVAL:.0f} s",
            direct="-",
            ours=f"{measured['cpu']:.1f} s in {POLLS * INTERVAL:.0f} s",
            measured=100 * measured["cpu"] / (POLLS * INTERVAL),
            unit="% of one processor",
        ),
        *lags,
        Row(
            name="from the change to the event, all at once",
            direct=f"poll interval {INTERVAL:.0f} s",
            ours=f"first {arrived[0] - changed:.1f} s, median {arrived[COUNT // 2] - changed:.1f} s",
            measured=arrived[-1] - changed,
            unit="s to the last",
        ),
    ]
