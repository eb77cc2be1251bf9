"""Ticket syncs of the end-to-end tests: their definitions come, change and go while Airflow runs."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from demo.airflow_client import surely
from demo.processes import wait_for

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from demo.stack import DemoStack

RUN_DAG = "coding_task"
SECONDS = 120.0


@dataclass(frozen=True)
class Sync:
    """The sync of one source."""

    stack: DemoStack
    name: str

    @property
    def dag_id(self) -> str:
        return f"ticket_sync__{self.name}"

    @property
    def file(self) -> Path:
        return self.stack.folder / "agents" / "tickets" / f"{self.name}.yaml"

    def define(self, definition: Mapping[str, Any]) -> None:
        """Write the definition, whole at once: Airflow may read it at any moment."""
        self.write(json.dumps(definition, indent=2) + "\n")

    def write(self, text: str) -> None:
        new = self.file.with_suffix(".new")
        new.write_text(text)
        new.replace(self.file)

    def looks(self) -> list[dict[str, Any]]:
        """Return the runs of its DAG, the oldest first."""
        return sorted(self.stack.airflow.runs(self.dag_id), key=lambda run: str(run["run_after"]))

    def next_look(self, after: datetime | None = None, seconds: float = SECONDS) -> dict[str, Any]:
        """Wait until a look that began after a moment (now) has ended, and return its run."""
        moment = after or datetime.now(UTC)

        def ended() -> dict[str, Any] | None:
            for run in self.looks():
                if run["end_date"] and datetime.fromisoformat(run["start_date"]) > moment:
                    return run
            return None

        return wait_for(ended, what=f"a look of {self.dag_id}", seconds=seconds, interval=0.5)

    def memory(self) -> dict[str, Any]:
        """Return what it remembers."""
        variable = self.stack.airflow.request("GET", f"/variables/agents_tickets__{self.name}")
        return dict(json.loads(variable["value"]))

    def rest(self) -> None:
        """Have it look no more: each look costs processor time. Its runs still need the definition."""
        path, paused = f"/dags/{self.dag_id}?update_mask=is_paused", {"is_paused": True}
        surely(lambda: self.stack.airflow.request("PATCH", path, paused))


@contextmanager
def syncing(stack: DemoStack, **definitions: Mapping[str, Any] | str) -> Iterator[dict[str, Sync]]:
    """Add sources by name, as values or as the text of a file; wait for their DAGs; in the end take them away."""
    syncs = {name: Sync(stack, name) for name in definitions}
    for name, definition in definitions.items():
        if isinstance(definition, str):
            syncs[name].write(definition)
        else:
            syncs[name].define(definition)
    for sync in syncs.values():
        stack.wait_for_dag(sync.dag_id)
    try:
        yield syncs
    finally:
        for sync in syncs.values():
            sync.rest()
            sync.file.unlink()


def runs_of(stack: DemoStack, repository: str) -> list[dict[str, Any]]:
    """Return the runs that work in a repository, the oldest first."""
    found = [run for run in stack.airflow.runs(RUN_DAG) if run["conf"].get("repository") == repository]
    return sorted(found, key=lambda run: str(run["run_after"]))


def run_of(stack: DemoStack, key: str, seconds: float = SECONDS) -> str:
    """Wait until a sync has started a run for a ticket, and return the run's id."""

    def found() -> str | None:
        for run in runs_of(stack, key.partition("#")[0]):
            if run["conf"].get("ticket_key") == key:
                return str(run["dag_run_id"])
        return None

    return wait_for(found, what=f"a run for {key}", seconds=seconds, interval=0.5)


def comments(stack: DemoStack, repository: str, number: int) -> list[str]:
    """Return our comments on an issue."""
    listed = stack.forge.get(f"/repos/{repository}/issues/{number}/comments")
    return [comment["body"] for comment in listed if comment["user"]["login"] == "agent"]
