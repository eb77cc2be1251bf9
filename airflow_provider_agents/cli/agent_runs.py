"""Runs of coding tasks, as Airflow's API shows them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.cli.api_client import ApiError, part
from airflow_provider_agents.cli.command import FailedError, UsageError
from airflow_provider_agents.domain.manifest import name_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_agents.cli.api_client import AirflowApi

ACTIVE = frozenset({"queued", "running"})
ENDED = frozenset({"success", "failed"})
WORKING = frozenset({"scheduled", "queued", "running", "restarting", "deferred", "awaiting_input"}) | {
    "up_for_retry",
    "up_for_reschedule",
}
"""States of a task that somebody or something is at."""

CANCELLED = "Cancelled"
"""First word of the note of a run that a person cancelled."""

_NEWEST_FIRST = ("-run_after", "-id")
_NUMBERED = re.compile(
    r"(?:[^/\s#]+/[^/\s#]+)?(?P<end>#(?P<issue>[0-9]+))|[A-Za-z][A-Za-z0-9_]*(?P<tail>-[0-9]+)"
)
"""``acme/shop#7``, ``#7``, ``ENG-12``: keys of tickets that end with a number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A DAG run."""

    dag_id: str
    run_id: str
    state: str
    conf: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    created_at: datetime | None = None
    run_after: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    user: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Run:
        """Read a run from an answer of the API."""
        conf = answer.get("conf")
        return cls(
            dag_id=str(answer["dag_id"]),
            run_id=str(answer["dag_run_id"]),
            state=str(answer.get("state") or ""),
            conf=conf if isinstance(conf, dict) else {},
            note=str(answer.get("note") or ""),
            created_at=moment(answer.get("queued_at")) or moment(answer.get("run_after")),
            run_after=moment(answer.get("run_after")),
            started_at=moment(answer.get("start_date")),
            ended_at=moment(answer.get("end_date")),
            user=str(answer.get("triggering_user_name") or ""),
        )

    @property
    def active(self) -> bool:
        """Whether it is at work, or waits to be."""
        return self.state in ACTIVE

    @property
    def cancelled(self) -> bool:
        """Whether a person ended it."""
        return self.note.startswith(CANCELLED)

    @property
    def path(self) -> str:
        """The run's path in the API."""
        return f"/dags/{part(self.dag_id)}/dagRuns/{part(self.run_id)}"

    @property
    def repository(self) -> str:
        """``owner/name``; empty where the conf names none."""
        return str(self.conf.get("repository") or "")

    @property
    def ticket(self) -> str:
        """The ticket as people write it, ``acme/shop#7``, ``ENG-12``; empty: a prompt."""
        number = self.conf.get("issue_number")
        return f"{self.repository}#{number}" if number else str(self.conf.get("ticket_key") or "")

    @property
    def ticket_id(self) -> str:
        """The tracker's own id of a ticket that a source brought."""
        return str(self.conf.get("ticket_id") or "")

    @property
    def name(self) -> str:
        """Name of its manifest; empty: it has none."""
        return name_of(self.run_id)

    def is_called(self, reference: str) -> bool:
        """Tell whether a person may mean this run by ``reference``: its id, its manifest or its ticket."""
        if reference in (self.run_id, self.name, self.ticket_id):
            return True
        if self.ticket and reference.lower() == self.ticket.lower():
            return True
        return reference.startswith("#") and self.ticket.endswith(reference)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """The latest try of a task of a run."""

    task_id: str
    state: str
    """Empty: it was not looked at yet."""
    try_number: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    map_index: int = -1

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Task:
        """Read a task from an answer of the API."""
        return cls(
            task_id=str(answer["task_id"]),
            state=str(answer.get("state") or ""),
            try_number=int(answer.get("try_number") or 0),
            started_at=moment(answer.get("start_date")),
            ended_at=moment(answer.get("end_date")),
            map_index=int(answer.get("map_index", -1)),
        )


class AgentRuns:
    """Asks for runs of one DAG.

    :param dag_id: ``coding_task``, or another DAG that is made of the same task group.
    """

    def __init__(self, api: AirflowApi, dag_id: str) -> None:
        self.api = api
        self.dag_id = dag_id

    @property
    def _runs(self) -> str:
        return f"/dags/{part(self.dag_id)}/dagRuns"

    def run(self, run_id: str) -> Run | None:
        """Return a run, ``None`` if there is none of that id."""
        answer = self.api.optional(f"{self._runs}/{part(run_id)}")
        return Run.of(answer) if answer else None

    def listed(self, **query: Any) -> Iterator[Run]:
        """Yield runs, the newest first, each once.

        :param query: filters of the API, e.g. ``state``.
        :raises ApiError: it did not work.
        """
        seen: set[str] = set()
        query = {"order_by": list(_NEWEST_FIRST), **query}
        for answer in self.api.pages(self._runs, "dag_runs", **query):
            run = Run.of(answer)
            # A run that starts between two pages moves all others on.
            if run.run_id not in seen:
                seen.add(run.run_id)
                yield run

    def called(self, reference: str) -> list[Run]:
        """Return the runs that a person may mean: by run id, name of a manifest, or ticket; the newest first."""
        if run := self.run(reference):
            return [run]
        # The server narrows it down; whether it is the one is seen here.
        if (found := _NUMBERED.fullmatch(reference)) is None:
            return self._first(reference, {"run_id_pattern": reference}, {"conf_contains": reference})
        # Of a key only its end is asked for: a database may tell small letters from capitals.
        if found["issue"] is None:
            named = {"run_id_pattern": reference}
            return self._first(reference, named, {"conf_contains": f'{found["tail"]}"'})
        texts = (f'"issue_number": {found["issue"]}', f'{found["end"]}"')
        runs = {
            run.run_id: run
            for text in texts
            for run in self.listed(conf_contains=text)
            if run.is_called(reference)
        }
        never = datetime.min.replace(tzinfo=UTC)
        return sorted(runs.values(), key=lambda run: run.run_after or never, reverse=True)

    def _first(self, reference: str, *queries: Mapping[str, str]) -> list[Run]:
        """Return the runs that a person may mean of the first query that finds some."""
        for query in queries:
            if runs := [run for run in self.listed(**query) if run.is_called(reference)]:
                return runs
        return []

    def find(self, reference: str, *, active: bool | None = None) -> Run:
        """Return the one run that a person means: an active one first, else the newest.

        :param active: only those that are, or are not, at work; ``None``: any.
        :raises FailedError: there is none, or there are several between which a person has to choose.
        """
        if not reference:
            raise UsageError("name a run: by its id, the name of its manifest, or its ticket")
        runs = self.called(reference)
        if not runs:
            raise FailedError(f"{self.dag_id} has no run {reference}; `airflow agents status` lists the runs")
        wanted = [run for run in runs if active is None or run.active == active]
        if not wanted:
            states = ", ".join(f"{run.run_id} is {run.state}" for run in runs[:3])
            raise FailedError(f"{reference}: {states}")
        at_work = [run for run in wanted if run.active]
        if active and len(at_work) > 1:
            ids = "\n".join(f"  {run.run_id}" for run in at_work)
            raise FailedError(f"{reference} means {len(at_work)} runs; name one by its id:\n{ids}")
        return (at_work or wanted)[0]

    def tasks(self, run: Run) -> list[Task]:
        """Return the tasks of a run, those that were never looked at included."""
        found = self.api.pages(f"{run.path}/taskInstances", "task_instances")
        return list({(task.task_id, task.map_index): task for task in map(Task.of, found)}.values())

    def tasks_at_work(self) -> dict[str, list[Task]]:
        """Return the tasks of all runs that somebody or something is at, by run id."""
        found: dict[str, list[Task]] = {}
        path = f"{self._runs}/~/taskInstances"
        for answer in self.api.pages(path, "task_instances", state=sorted(WORKING)):
            found.setdefault(str(answer.get("dag_run_id")), []).append(Task.of(answer))
        return found

    def places(self, key: str, begin: datetime | None) -> dict[str, list[str]]:
        """Return where XComs of a key are: run id → task ids.

        :param begin: runs that were to start before are left out.
        """
        found: dict[str, list[str]] = {}
        query = {"xcom_key": key, "run_after_gte": begin.isoformat() if begin else None}
        for entry in self.api.pages(f"{self._runs}/~/taskInstances/~/xcomEntries", "xcom_entries", **query):
            found.setdefault(str(entry.get("run_id")), []).append(str(entry.get("task_id")))
        return found

    def xcoms(self, run: Run) -> set[tuple[str, str]]:
        """Return task id and key of every XCom of a run."""
        listed = self.api.pages(f"{run.path}/taskInstances/~/xcomEntries", "xcom_entries")
        return {(str(entry["task_id"]), str(entry["key"])) for entry in listed}

    def xcom(self, run: Run, task_id: str, key: str = "return_value") -> Any:
        """Return the value of an XCom, ``None`` if there is none, or none that may be read."""
        path = f"{run.path}/taskInstances/{part(task_id)}/xcomEntries/{part(key)}"
        try:
            answer = self.api.optional(path, stringify=False)
        except ApiError as error:
            if error.status == 403:
                return None
            raise
        return answer.get("value") if isinstance(answer, dict) else None

    def questions(self, run: Run) -> dict[str, str]:
        """Return what the tasks of a run ask people: task id → subject."""
        listed = self.api.pages(f"{run.path}/hitlDetails", "hitl_details", response_received=False)
        found = {}
        for detail in listed:
            task = detail.get("task_instance") or {}
            found[str(task.get("task_id"))] = str(detail.get("subject") or "")
        return found


def by_work(runs: Iterable[Run]) -> list[Run]:
    """Return runs with those at work first, otherwise in their order."""
    return sorted(runs, key=lambda run: not run.active)


def moment(text: Any) -> datetime | None:
    """Return a time of an answer, ``None`` where there is none."""
    if not isinstance(text, str) or not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def span(seconds: float) -> str:
    """Return a span of time in two units: ``3d 4h``, ``12m 5s``."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        count, left = divmod(left, size)
        if count or (unit == "s" and not parts):
            parts.append(f"{count}{unit}")
    return " ".join(parts[:2])


def since(began: datetime | None, ended: datetime | None = None) -> str:
    """Return how long something took, or takes by now; empty where it has not begun."""
    if began is None:
        return ""
    return span(((ended or datetime.now(UTC)) - began).total_seconds())
