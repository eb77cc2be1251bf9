"""Two hundred deferred sensors in a real Airflow with two triggerers, of which one is killed."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import pytest

from demo import keeper
from demo.http_json import HttpError, call
from demo.processes import wait_for
from demo.stack import DemoStack
from tests.bench.table import Row, seconds, show

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from demo.processes import Part

COUNT = 200
FRESHNESS = 30.0
"""Poll interval of the sensors in the DAG, in seconds."""
WATCHED_SECONDS = 2 * FRESHNESS
ALONE = 2
"""Pull requests that are closed one by one, to see the time of one task that nothing competes with."""
DAG, TASK, REPOSITORY, VARIABLE = "many_waits", "closed", "acme/many", "agents_wake"
MOST_POINTS = 3 * 2 * 2 * 2
"""In the time watched: three polls of two triggerers, each of two requests of two points."""
MOST_MEGABYTES = 250.0
HEALTH_SECONDS = 30.0
"""Airflow's default: after this time without a heartbeat another triggerer takes a trigger over."""

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoStack]:
    with DemoStack(
        tmp_path_factory.mktemp("many"),
        dags_folders={"bench": Path(__file__).parent / "dags"},
        extra_env={
            "AIRFLOW__AGENTS__WAKE_VARIABLE": VARIABLE,
            # So few that one triggerer cannot take all.
            "AIRFLOW__TRIGGERER__CAPACITY": str(COUNT * 3 // 4),
        },
    ) as stack:
        yield stack


class Waits:
    """One run of the DAG.

    :param stack: a real Airflow.
    """

    def __init__(self, stack: DemoStack) -> None:
        self._stack = stack
        self.run_id = stack.trigger(DAG, {"repository": REPOSITORY, "count": COUNT})
        self.closed: dict[int, float] = {}
        """By number: when its pull request was closed."""

    def number_in(self, state: str) -> int:
        query = urlencode({"task_id": TASK, "state": state, "limit": 1})
        path = f"/dags/{DAG}/dagRuns/{quote(self.run_id)}/taskInstances?{query}"
        return int(self._stack.airflow.request("GET", path)["total_entries"])

    def instances(self) -> dict[int, dict[str, Any]]:
        """Return the task instances by number of their pull request."""
        found = self._stack.task_instances(DAG, self.run_id)
        return {each["map_index"] + 1: each for each in found if each["task_id"] == TASK}

    def close(self, number: int) -> None:
        """Close or merge a pull request as somebody else."""
        self._stack.forge.act("mona", "merge" if number % 10 == 0 else "close", REPOSITORY, number=number)
        self.closed[number] = time.time()

    def wait_for_end(self, number: int) -> float:
        """Wait until the task has ended; return the seconds since its pull request was closed."""
        path = f"/dags/{DAG}/dagRuns/{quote(self.run_id)}/taskInstances/{TASK}/{number - 1}"

        def ended() -> str | None:
            found = self._stack.airflow.request("GET", path)
            return found["end_date"] if found["state"] == "success" else None

        return moment(wait_for(ended, what=f"{TASK}[{number - 1}]", seconds=90)) - self.closed[number]

    def events(self) -> dict[int, Counter[str]]:
        """Return by number what Airflow's log says happened to the task instance, and how often."""
        found: dict[int, Counter[str]] = {}
        offset = 0
        while True:
            query = {"dag_id": DAG, "run_id": self.run_id, "task_id": TASK, "limit": 100, "offset": offset}
            page = self._stack.airflow.request("GET", f"/eventLogs?{urlencode(query)}")["event_logs"]
            if not page:
                return found
            offset += len(page)
            for each in page:
                found.setdefault(each["map_index"] + 1, Counter())[each["event"]] += 1


class Usage:
    """Memory and processor time of a triggerer with all that belongs to it."""

    def __init__(self, part: Part) -> None:
        self._pid = part.pid

    def megabytes(self) -> tuple[float, float]:
        """Return the memory of its runner, which holds the waits, and of its supervisor.

        What processes share is counted in parts.
        """
        runner = sum(_pss(pid) for pid in keeper.session_members([self._pid]) if pid != self._pid)
        return runner / 1_000, _pss(self._pid) / 1_000

    def cpu(self) -> float:
        """Return the seconds of processor time so far."""
        ticks = 0
        for pid in keeper.session_members([self._pid]):
            with suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")


def _pss(pid: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def open_pull_requests(stack: DemoStack) -> None:
    body = {
        "name": REPOSITORY,
        "files": {"README.md": "Many\n"},
        "permissions": {"agent": "write", "mona": "write"},
    }
    call("POST", f"{stack.forge.url}/_demo/repositories", body)

    for number in range(1, COUNT + 1):
        branch = f"agents/{number}"
        files = {f"file-{number}.txt": "new\n"}
        stack.forge.act("agent", "push_commit", REPOSITORY, branch=branch, start="main", files=files)
        made = stack.forge.act("agent", "open_pull", REPOSITORY, head=branch, title=f"Change {number}")
        assert made["number"] == number


def second_triggerer(stack: DemoStack) -> Part:
    """Start one more triggerer and wait until Airflow knows both."""
    first = stack.processes["triggerer"]
    part = stack._parts.add("triggerer-2", first.argv, first.env)
    part.start()

    def both() -> bool | None:
        found = stack.airflow.request("GET", "/jobs?job_type=TriggererJob&job_state=running")
        return True if found["total_entries"] == 2 else None

    part.wait(both, what="its job", seconds=60)
    return part


def wake(stack: DemoStack, number: int) -> None:
    """Do what a receiver of webhooks would do."""
    value = json.dumps({f"{REPOSITORY}#{number}": time.time()})
    body = {"key": VARIABLE, "value": value}
    try:
        stack.airflow.request("PATCH", f"/variables/{VARIABLE}", body)
    except HttpError as error:
        if error.status != 404:
            raise
        stack.airflow.request("POST", "/variables", body)


def asked(stack: DemoStack) -> dict[str, Any]:
    return dict(call("GET", f"{stack.forge.url}/_demo/requests"))


def forget_asked(stack: DemoStack) -> None:
    call("DELETE", f"{stack.forge.url}/_demo/requests")


def test_two_hundred_deferred_sensors(stack: DemoStack) -> None:
    began = time.monotonic()
    open_pull_requests(stack)
    triggerers = {"first": stack.processes["triggerer"], "second": second_triggerer(stack)}
    usage = {name: Usage(part) for name, part in triggerers.items()}
    without = {name: each.megabytes() for name, each in usage.items()}
    waits = Waits(stack)
    started = time.monotonic()
    wait_for(
        lambda: True if waits.number_in("deferred") == COUNT else None,
        what=f"{COUNT} deferred tasks",
        seconds=420,
        interval=3,
    )
    deferring = time.monotonic() - started
    rows = [note(f"{COUNT} tasks deferred", deferring / COUNT, "s a task", ours=f"{deferring:.0f} s")]

    time.sleep(10)  # the last ones are taken up and have had their first look
    holders = Counter(each["triggerer_job"]["id"] for each in waits.instances().values())
    assert holders.total() == COUNT
    assert len(holders) == 2
    rows += watch(stack, usage, without, list(holders.values()))

    alone = []
    for number in range(1, 1 + ALONE):
        waits.close(number)
        alone.append(waits.wait_for_end(number))
    rows.append(
        note("one closed, poll alone, to success", max(alone), "s", ours=seconds(alone), most=FRESHNESS + 10)
    )
    woken = []
    for number in range(1 + ALONE, 1 + 2 * ALONE):
        waits.close(number)
        wake(stack, number)
        woken.append(waits.wait_for_end(number))
    rows.append(note("one closed, woken, to success", max(woken), "s", ours=seconds(woken), most=15.0))

    triggerers["first"].kill()
    lost = time.time()
    rest = range(1 + 2 * ALONE, COUNT + 1)
    for number in rest:
        waits.close(number)
    run = stack.wait_for_run(DAG, waits.run_id, 420)
    instances = waits.instances()
    print()
    rows += drained(waits, instances, rest, lost)
    show(rows)
    print(
        f"held by the two triggerers: {sorted(holders.values())}; all in all {time.monotonic() - began:.0f} s"
    )

    assert run["state"] == "success"
    assert {each["state"] for each in instances.values()} == {"success"}
    assert {each["try_number"] for each in instances.values()} == {1}
    # Each was deferred once, resumed once and ended once, whichever triggerer it came to.
    once = Counter(running=2, deferred=1, success=1)
    assert {number: each for number, each in waits.events().items() if each != once} == {}
    assert [row.name for row in rows if not row.met] == []


def watch(
    stack: DemoStack, usage: dict[str, Usage], without: dict[str, tuple[float, float]], held: list[int]
) -> list[Row]:
    """Let them wait for two polls; return what it cost."""
    forget_asked(stack)
    before = {name: each.cpu() for name, each in usage.items()}
    time.sleep(WATCHED_SECONDS)
    cost = asked(stack)
    spent = {name: each.cpu() - before[name] for name, each in usage.items()}
    memory = {name: each.megabytes() for name, each in usage.items()}
    rows = [
        note(
            f"GitHub, {COUNT} waits in {len(held)} triggerers for {WATCHED_SECONDS:.0f} s",
            cost["graphql_points"],
            "points",
            ours=f"{cost['total']} requests",
            most=MOST_POINTS,
        )
    ]
    for name in usage:
        for of, idle, now in zip(("runner", "supervisor"), without[name], memory[name], strict=True):
            rows.append(
                note(
                    f"memory of the {name} triggerer's {of}",
                    now,
                    "MB",
                    direct=f"{idle:.0f} MB idle",
                    most=MOST_MEGABYTES if of == "runner" else None,
                )
            )
        rows.append(
            note(
                f"processor time of the {name} triggerer",
                100 * spent[name] / WATCHED_SECONDS,
                "% of one",
                ours=f"{spent[name]:.1f} s in {WATCHED_SECONDS:.0f} s",
            )
        )
    return rows


def drained(
    waits: Waits, instances: dict[int, dict[str, Any]], rest: Sequence[int], lost: float
) -> list[Row]:
    """Return how long it took from all changes at once to all successes."""
    changed = max(waits.closed[number] for number in rest)
    ended = sorted(moment(instances[number]["end_date"]) for number in rest)
    fired = sorted(
        moment(instances[number]["scheduled_when"] or instances[number]["end_date"]) for number in rest
    )
    return [
        note(
            f"{len(rest)} closed in {changed - lost:.0f} s as a triggerer was killed: events",
            fired[-1] - lost,
            "s to the last",
            ours=f"median {statistics.median(fired) - lost:.0f} s",
            most=HEALTH_SECONDS + FRESHNESS + 15,
        ),
        note(
            "… and successes, by four workers",
            ended[-1] - lost,
            "s to the last",
            ours=f"median {statistics.median(ended) - lost:.0f} s",
        ),
    ]


def note(
    name: str, measured: float, unit: str, *, direct: str = "-", ours: str = "-", most: float | None = None
) -> Row:
    return Row(name=name, direct=direct, ours=ours, measured=measured, unit=unit, at_most=most)
