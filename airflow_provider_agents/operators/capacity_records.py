"""The books of the places as a task reads and writes them: an Airflow Variable, and the states of tasks."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import settings
from airflow_provider_agents.domain.budget import from_values
from airflow_provider_agents.domain.capacity import Limits
from airflow_provider_agents.domain.capacity_ledger import (
    ADMIT,
    END,
    LEDGER_VARIABLE,
    OPEN,
    PRIORITIES_VARIABLE,
    Entry,
    Ledger,
    key_of,
    priorities_of,
)
from airflow_provider_agents.domain.coding_task import CodingTask
from airflow_provider_agents.domain.settings_layers import AGENTS_FILE
from airflow_provider_agents.operators.step_books import LEDGER_KEY
from airflow_provider_agents.triggers.capacity import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_agents.domain.capacity import Place, Waiting

log = logging.getLogger(__name__)

RUNS_PER_CALL = 25
MOST_BOOKS_READ = 400
"""Of steps, at one admission; what is left is read at the next."""

_LIMITS = {
    "runs": "max_runs",
    "runs_per_day": "runs_per_day",
    "usd_per_day": "usd_per_day",
    "paused": "paused",
    "off_peak": "off_peak",
}
"""Settings of a repository, by what they are to a scope."""

States = dict[str, "str | None"]
_SPENDERS = ("plan", "implement", "fix", "review")
_UNSTARTED = (None, "skipped", "upstream_failed", "removed")
_BEFORE_A_PLACE = (ADMIT, "accept")
_DESCRIPTION = "Runs that wait, work and land; written by the task admit of coding tasks."


class CapacityRecords:
    """What this Airflow knows of places.

    :param ti: the running task instance.
    """

    def __init__(self, ti: Any) -> None:
        self._ti = ti

    def read(self) -> Ledger | None:
        """Return the books as they were written last; ``None``: there are none, or they are damaged."""
        text = _variable(LEDGER_VARIABLE)
        if text is None:
            return None
        try:
            return Ledger.from_text(text)
        except ValueError as error:
            log.warning("The Variable %s is damaged: %s.", LEDGER_VARIABLE, error)
            return None

    def write(self, ledger: Ledger) -> None:
        """Write the books. Only for the task that is alone in the pool of admissions."""
        from airflow.sdk import Variable

        Variable.set(LEDGER_VARIABLE, ledger.to_text(), description=_DESCRIPTION)

    def priorities(self) -> dict[str, int]:
        """Return the numbers that people gave."""
        return priorities_of(_variable(PRIORITIES_VARIABLE) or "")

    def look(self, ledger: Ledger, now: datetime, *, money: bool) -> Ledger:
        """Return the books as the states of the runs' tasks tell now.

        :param money: whether what runs spent matters: there is a limit for a day.
        """
        states = self._states(ledger.entries.values())
        moved = ledger.moved(states, now)
        for key, entry in moved.entries.items():
            left = ledger.entries[key].phase == "working" and entry.phase in ("landing", "ended")
            if left and (seconds := self._held(entry)):
                moved = moved.with_duration(seconds)
        return self._with_books(moved, states) if money else moved

    def rebuild(self, dag_id: str, prefix: str, now: datetime) -> Ledger:
        """Return books that are made anew from the states of all other runs of a DAG.

        :param prefix: of the ids of the tasks, as of :class:`~...domain.capacity_ledger.Entry`.
        """
        tasks = [prefix + name for name in (ADMIT, OPEN, END)]
        found = self._ti.get_task_states(dag_id=dag_id, task_ids=tasks)
        entries: dict[str, Entry] = {}
        for run_id, states in found.items():
            if states.get(prefix + ADMIT) is None or run_id == self._ti.run_id:
                continue
            entry = Entry(dag_id=dag_id, run_id=run_id, prefix=prefix, repository="", since=now)
            moved = entry.moved(states, now)
            if moved is None or moved.phase == "ended":
                continue
            accepted = self._ti.xcom_pull(task_ids=f"{prefix}accept", dag_id=dag_id, run_id=run_id)
            try:
                entry = entry_of(accepted, entry)
            except ValueError:
                continue  # from another version: it asks for itself
            asked = _asked_at(dag_id, run_id) or now
            started = asked if moved.phase != "waiting" else None
            entries[entry.key] = dataclasses.replace(
                entry, phase=moved.phase, since=asked, admitted_at=started
            )
        if entries:
            log.warning(
                "The books are made anew, from the states of the tasks of %s: %d runs.", dag_id, len(entries)
            )
        return Ledger(entries=entries)

    def _states(self, entries: Iterable[Entry]) -> dict[str, States | None]:
        """Return the states of the tasks of all runs, by key; ``None`` for one that Airflow does not know."""
        runs: dict[tuple[str, str, bool], list[str]] = {}
        for entry in entries:
            if entry.phase != "ended":
                runs.setdefault((entry.dag_id, entry.prefix, entry.phase == "waiting"), []).append(
                    entry.run_id
                )
        states: dict[str, States | None] = {}
        for (dag_id, prefix, waits), ids in runs.items():
            # Of those that wait there may be hundreds, and their steps did not run.
            named = {"task_ids": [prefix + ADMIT, prefix + END]} if waits else {}
            for start in range(0, len(ids), RUNS_PER_CALL):
                some = ids[start : start + RUNS_PER_CALL]
                found = self._ti.get_task_states(dag_id=dag_id, run_ids=some, **named)
                states |= {key_of(dag_id, run_id): found.get(run_id) for run_id in some}
        return states

    def _held(self, entry: Entry) -> float:
        """Return the seconds for which a run held its place: its tasks up to the pull request."""
        names = tuple(entry.prefix + name for name in _BEFORE_A_PLACE)
        inner = tuple(entry.prefix + name for name in ("workspace", "plan.", "build.", OPEN))
        try:
            ended = self._ti.get_task_breadcrumbs(dag_id=entry.dag_id, run_id=entry.run_id)
            return sum(
                float(crumb.get("duration") or 0)
                for crumb in ended
                if str(crumb["task_id"]).startswith(inner) and crumb["task_id"] not in names
            )
        except Exception as error:
            log.info("How long run %s took cannot be told: %s", entry.run_id, error)
            return 0.0

    def _with_books(self, ledger: Ledger, states: Mapping[str, States | None]) -> Ledger:
        left = MOST_BOOKS_READ
        for key, entry in ledger.entries.items():
            known = states.get(key)
            if not known or entry.phase == "waiting":
                continue
            seen = hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()[:12]
            tasks = [
                name
                for name, state in known.items()
                if name.rpartition(".")[2] in _SPENDERS and state not in _UNSTARTED
            ]
            # While a step runs its books change and its state does not.
            ongoing = any(known[name] not in ("success", "failed") for name in tasks)
            if (seen == entry.seen and not ongoing) or len(tasks) > left:
                continue
            left -= len(tasks)
            records = [record for name in tasks for record in from_values(self._books(entry, name))]
            ledger = ledger.with_entry(dataclasses.replace(entry.with_books(records), seen=seen))
        return ledger

    def _books(self, entry: Entry, task_id: str) -> Any:
        return self._ti.xcom_pull(task_ids=task_id, dag_id=entry.dag_id, run_id=entry.run_id, key=LEDGER_KEY)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CapacityReading:
    """Who waits, works and landed, for who decides without writing: the ticket sync."""

    ledger: Ledger
    priorities: Mapping[str, int]

    @property
    def waiting(self) -> list[Waiting]:
        """Runs that wait in ``admit``."""
        return self.ledger.waiting()

    @property
    def places(self) -> list[Place]:
        """Runs at work."""
        return self.ledger.places()

    def knows(self, dag_id: str, run_id: str) -> bool:
        """Say whether a run is in the books; one that was triggered and did not get to ``admit`` is not."""
        return key_of(dag_id, run_id) in self.ledger.entries


def read_capacity(ti: Any, now: datetime | None = None, *, money: bool = True) -> CapacityReading:
    """Return what the books say, brought up to date by the states of the runs. Nothing is written.

    :param ti: the running task instance.
    :param money: as of :meth:`CapacityRecords.look`.
    """
    records = CapacityRecords(ti)
    ledger = records.read() or Ledger()  # made anew by the next admission
    moment = now or datetime.now(UTC)
    return CapacityReading(ledger=records.look(ledger, moment, money=money), priorities=records.priorities())


def entry_of(accepted: Any, entry: Entry) -> Entry:
    """Return ``entry`` with what an accepted task says of itself.

    :param accepted: :class:`~airflow_provider_agents.domain.coding_task.CodingTask` as a dictionary.
    :raises ValueError: it is something else.
    """
    task = CodingTask.model_validate(accepted)
    request = task.request
    budget = request.budget_usd
    if budget is None:
        budget = settings.amount("budget_usd", 20.0)
    ticket = ""
    if task.ticket is not None:
        ticket = task.ticket.key or f"{request.repository}#{task.ticket.number}"
    return dataclasses.replace(
        entry,
        repository=request.repository,
        source=request.ticket_source or "",
        own=_own_limits(task),
        ticket=ticket,
        priority=request.priority,
        usd=max(0.0, budget),
    )


def _own_limits(task: CodingTask) -> Limits | None:
    """Return what the repository's own file says; what the platform says is read anew at each decision."""
    own = {
        name: getattr(task.platform, setting)
        for name, setting in _LIMITS.items()
        if task.settings_origin.get(setting, "").startswith(AGENTS_FILE)
    }
    return Limits(**own) if own else None


def _asked_at(dag_id: str, run_id: str) -> datetime | None:
    from airflow.sdk.execution_time.comms import DagRunResult, GetDagRun
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer = SUPERVISOR_COMMS.send(GetDagRun(dag_id=dag_id, run_id=run_id))
    return answer.run_after if isinstance(answer, DagRunResult) else None


def _variable(name: str) -> str | None:
    """Return a Variable from Airflow's database, ``None`` where there is none.

    Not ``Variable.get``: to it an Airflow that does not answer is a Variable that is not there.

    :raises AirflowRuntimeError: Airflow cannot give it now.
    """
    from airflow.sdk.execution_time.comms import GetVariable
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    return text_of(SUPERVISOR_COMMS.send(GetVariable(key=name)))
