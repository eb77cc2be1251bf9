"""``airflow agents logs``: what the tasks of a run wrote, one after the other, across their tries."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.cli.agent_runs import WORKING, AgentRuns, Run, Task, moment
from airflow_provider_agents.cli.api_client import ApiError, part
from airflow_provider_agents.cli.command import FailedError, command
from airflow_provider_agents.cli.output import clean
from airflow_provider_agents.cli.phases import in_order

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterable
    from datetime import datetime

    from airflow_provider_agents.cli.api_client import AirflowApi

POLL_SECONDS = 2.0
_GROUP, _END_OF_GROUP = "::group::", "::endgroup::"
_SOURCES = f"{_GROUP}Log message source details"
"""Begins what Airflow tells of the log's files before its first line."""


@command
def logs(args: Namespace, api: AirflowApi) -> int:
    """Write the logs of a run, or of one of its steps; with ``--follow`` until it ended."""
    runs = AgentRuns(api, args.dag)
    run = runs.find(args.run)
    reader = LogReader(runs, run, args.step or "")
    while True:
        # The run first: what ends after this look is read in this round.
        latest = runs.run(run.run_id)
        if latest is None:
            raise FailedError(f"run {run.run_id} was deleted")
        reader.read(runs.tasks(run))
        if not args.follow or not latest.active:
            break
        time.sleep(POLL_SECONDS)
    if not reader.matched:
        steps = ", ".join(task.task_id for task in in_order(runs.tasks(run)) if task.try_number) or "none"
        raise FailedError(f"{args.step or 'no step'} of {run.run_id} has not run; those that have: {steps}")
    return 0


class LogReader:
    """Reads on where it stopped, each try of each task on its own.

    :param step: id of a task, or its end (``implement``, ``attempt_2.implement``), or of a task group
        (``build``); empty: all.
    """

    def __init__(self, runs: AgentRuns, run: Run, step: str) -> None:
        self._runs = runs
        self._run = run
        self._step = step
        self._tokens: dict[tuple[str, int, int], str] = {}
        self._ended: set[tuple[str, int, int]] = set()
        self._lines: dict[tuple[str, int, int], int] = {}
        self._shown: tuple[str, int, int] | None = None
        self.matched = False
        """Whether there was anything to read."""

    def read(self, tasks: Iterable[Task]) -> None:
        """Write what was added to the logs of these tasks."""
        for task in in_order(list(tasks)):
            if not task.try_number or not is_meant(task.task_id, self._step):
                continue
            if task.state in ("skipped", "upstream_failed", "removed", ""):
                continue
            self.matched = True
            for number in range(1, task.try_number + 1):
                # A task that waits to be tried again has the number of the try that is over, or of the next one.
                final = number < task.try_number or task.state not in WORKING
                self._try(task, number, final=final)

    def _try(self, task: Task, number: int, *, final: bool) -> None:
        key = (task.task_id, task.map_index, number)
        if key in self._ended:
            return
        path = f"{self._run.path}/taskInstances/{part(task.task_id)}/logs/{number}"
        map_index = task.map_index if task.map_index >= 0 else None
        while True:
            token = self._tokens.get(key)
            try:
                answer = self._runs.api.get(path, token=token, map_index=map_index)
            except ApiError as error:
                if error.status == 404:  # not written yet, or of a try that was cleared away
                    self._ended |= {key} if final else set()
                    return
                raise
            content = answer.get("content") or []
            events = _without_sources(content if isinstance(content, list) else str(content).splitlines())
            # Without a token Airflow begins anew: it gives none where a task neither runs nor is deferred, though
            # one that waits for a person's answer, or to be tried again, goes on later.
            known = self._lines.get(key, 0)
            self._write(key, events if token else events[known:])
            self._lines[key] = known + len(events) if token else max(known, len(events))
            following = answer.get("continuation_token")
            if following:
                self._tokens[key] = str(following)
            else:
                self._tokens.pop(key, None)
            if final and (not following or not events):
                self._ended.add(key)
            if not following or not events:
                return

    def _write(self, key: tuple[str, int, int], events: list[Any]) -> None:
        for event in events:
            line = _line(event)
            if line is None:
                continue
            if self._shown != key:
                name = key[0] if key[1] < 0 else f"{key[0]}[{key[1]}]"
                sys.stdout.write(f"{chr(10) if self._shown else ''}── {name}, try {key[2]}\n")
                self._shown = key
            sys.stdout.write(clean(line) + "\n")
        sys.stdout.flush()


def _without_sources(events: list[Any]) -> list[Any]:
    if not events or not _text(events[0]).startswith(_SOURCES):
        return events
    end = next((at for at, event in enumerate(events) if _text(event).startswith(_END_OF_GROUP)), 0)
    return events[end + 1 :]


def _text(event: Any) -> str:
    return str(event.get("event", "")) if isinstance(event, dict) else str(event)


def _line(event: Any) -> str | None:
    """Return a line for a person; ``None`` for a mark that only Airflow's page uses."""
    text = _text(event).rstrip("\n")
    if text.startswith((_GROUP, _END_OF_GROUP)):
        return text.removeprefix(_GROUP) if text.startswith(_GROUP) else None
    if not isinstance(event, dict):
        return text
    level = str(event.get("level") or "").upper()
    at = moment(event.get("timestamp"))
    begin = _clock(at) if at else ""
    mark = f"{level} " if level in ("WARNING", "ERROR", "CRITICAL") else ""
    errors = [
        f"{each.get('exc_type')}: {each.get('exc_value')}"
        for each in event.get("error_detail") or ()
        if isinstance(each, dict)
    ]
    return "\n".join([f"{begin}{mark}{text}", *errors])


def is_meant(task_id: str, step: str) -> bool:
    """Tell whether a person who says ``step`` means this task."""
    return not step or task_id == step or task_id.endswith(f".{step}") or f".{task_id}".find(f".{step}.") >= 0


def _clock(at: datetime) -> str:
    return at.astimezone().strftime("%H:%M:%S ")
