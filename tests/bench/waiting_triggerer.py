"""Airflow's runner of triggers with many waits for pull requests, in a process of its own.

``python -m tests.bench.waiting_triggerer COUNT INTERVAL RESULT`` waits until every pull request is green and
then writes what it measured into the file RESULT. The connection comes from the environment.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import Any

WATCH_SECONDS = 0.01
AT_ONCE = 50
"""Triggers that Airflow starts in one second."""


def memory() -> float:
    """Return the resident megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class Watchdog:
    """Notes how long the event loop was held up, at the worst, and the most memory."""

    def __init__(self) -> None:
        self.longest = 0.0
        self.most_memory = 0.0

    async def run(self) -> None:
        while True:
            begun = time.monotonic()
            await asyncio.sleep(WATCH_SECONDS)
            self.longest = max(self.longest, time.monotonic() - begun - WATCH_SECONDS)
            self.most_memory = max(self.most_memory, memory())

    def take(self) -> float:
        """Return the longest block since the last call."""
        longest, self.longest = self.longest, 0.0
        return longest


async def wait_for_all(count: int, interval: float) -> dict[str, Any]:
    from airflow.jobs.triggerer_job_runner import TriggerRunner

    from airflow_provider_agents.domain.landing_policy import LandingPolicy
    from airflow_provider_agents.triggers.pull_request import PullRequestTrigger

    runner = TriggerRunner()
    watchdog = Watchdog()
    watching = asyncio.create_task(watchdog.run())
    before = memory()
    arrived: list[float] = []

    async def one(number: int) -> None:
        trigger = PullRequestTrigger(
            repository="acme/shop",
            number=number,
            node_id=f"PR_{number}",
            poll_interval=interval,
            policy=LandingPolicy(settle_seconds=0).to_dict(),
        )
        details: Any = {"task": None, "is_watcher": True, "name": f"wait {number}", "events": 0}
        runner.triggers[number] = details
        await runner.run_trigger(number, trigger)
        arrived.append(time.time())

    tasks = []
    for number in range(count):
        tasks.append(asyncio.create_task(one(number)))
        await asyncio.sleep(1.0 if number % AT_ONCE == AT_ONCE - 1 else 0)
    await asyncio.sleep(1.0)
    start = watchdog.take()
    print("started", file=sys.stderr, flush=True)
    await asyncio.to_thread(sys.stdin.readline)  # all were read in full
    first = watchdog.take()
    used = resource.getrusage(resource.RUSAGE_SELF)
    await asyncio.to_thread(sys.stdin.readline)  # some polls later
    later = resource.getrusage(resource.RUSAGE_SELF)
    steady = watchdog.take()
    await asyncio.gather(*tasks)
    watching.cancel()
    verdicts = {entry.event.payload["decision"]["verdict"] for entry in runner.events}
    return {
        "before": before,
        "most_memory": watchdog.most_memory,
        "cpu": later.ru_utime + later.ru_stime - used.ru_utime - used.ru_stime,
        "lag": {"start": start, "first reading": first, "polling": steady, "events": watchdog.take()},
        "arrived": arrived,
        "verdicts": sorted(verdicts),
    }


if __name__ == "__main__":
    measured = asyncio.run(wait_for_all(int(sys.argv[1]), float(sys.argv[2])))
    Path(sys.argv[3]).write_text(json.dumps(measured))
