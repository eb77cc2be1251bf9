"""Waits, without a worker slot, until the turn of a run may have come."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_agents.domain.capacity import admit, order, with_waits
from airflow_provider_agents.domain.capacity_ledger import (
    ADMIT,
    END,
    LEDGER_VARIABLE,
    OPEN,
    PRIORITIES_VARIABLE,
    Ledger,
    key_of,
    priorities_of,
)
from airflow_provider_agents.domain.capacity_wait import estimated, in_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Mapping

    from airflow_provider_agents.domain.capacity import Position

log = logging.getLogger(__name__)

QUIET_SECONDS = 5.0
"""No event in this time after the start: Airflow may fail a task that is resumed while it still defers."""
POLL_SECONDS = 5.0
SLOWEST_SECONDS = 60.0
LOOK_SECONDS = 60.0
"""Bound of one look."""
TOLERATED_FAILURES = 60
STUCK_SECONDS = 120.0
"""Time after which a run whose turn it is, and that does not come, is passed over: its DAG may be paused."""
SETTINGS_SECONDS = 300.0
"""How old the limits may become: then the first in line looks, and reads them anew."""
SPREAD_ROUNDS = 24
"""Over how many rounds waits come back when the books are damaged: the first one mends them for all."""
TOLD_SECONDS = 60.0
"""Between two lines in the log of a wait."""
RUNS_PER_CALL = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """What one look at the books told."""

    turns: frozenset[str] = frozenset()
    """Keys of runs that may start now, or have something to find out."""
    passed: tuple[str, ...] = ()
    """Keys of runs whose turn it was and that did not come."""
    known: frozenset[str] = frozenset()
    """Keys of all that wait."""
    positions: Mapping[str, Position] = field(default_factory=dict)
    damaged: int = 0
    """Looks in a row at which the books were unreadable or gone."""
    failures: int = 0
    """Looks in a row that failed."""


class CapacityTrigger(BaseEventTrigger):
    """Waits for the turn of a run and fires one event; the task then looks, decides and may wait again.

    All waits of a triggerer share one look at the books and at the states of the runs in them. The event
    holds ``status`` (``turn``, ``unreadable``) and ``passed``, the keys of runs that are not to be waited
    for. A run that is killed while it waits leaves the line by itself: its task is over.

    :param dag_id: of the run that waits.
    :param run_id: of the run that waits.
    """

    supports_triggerer_queue = True

    def __init__(self, *, dag_id: str, run_id: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.dag_id = dag_id
        self.run_id = run_id

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-ready."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {"dag_id": self.dag_id, "run_id": self.run_id},
        )

    def shared_stream_key(self) -> Hashable:
        """Return what all waits for a place have in common."""
        return ("airflow_provider_agents.capacity",)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[Round]:
        """Yield what each look tells, for ever."""
        poll = CapacityPoll()
        while True:
            round_ = await poll.look()
            yield round_
            await asyncio.sleep(min(POLL_SECONDS * (1 + round_.failures), SLOWEST_SECONDS))

    async def filter_shared_stream(self, shared_stream: AsyncIterator[Round]) -> AsyncIterator[TriggerEvent]:
        """Wait as one of many, and yield exactly one event."""
        yield TriggerEvent(await self._wait(shared_stream))  # type: ignore[no-untyped-call]

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait alone, where Airflow offers no shared stream, and yield exactly one event."""
        async with contextlib.aclosing(self.open_shared_stream({})) as stream:  # type: ignore[type-var]
            event = await self._wait(stream)
        yield TriggerEvent(event)  # type: ignore[no-untyped-call]

    async def _wait(self, stream: AsyncIterator[Round]) -> dict[str, Any]:
        clock = asyncio.get_running_loop().time
        key, started = key_of(self.dag_id, self.run_id), clock()
        told_at, told = started - TOLD_SECONDS, ""
        async for round_ in stream:
            if clock() - started < QUIET_SECONDS:
                continue
            if round_.failures > TOLERATED_FAILURES:
                return {"status": "unreadable", "passed": []}
            if round_.damaged:
                if round_.damaged > zlib.crc32(key.encode()) % SPREAD_ROUNDS:
                    return {"status": "turn", "passed": []}
                continue
            if not round_.failures and (key in round_.turns or key not in round_.known):
                return {"status": "turn", "passed": [other for other in round_.passed if other != key]}
            position = round_.positions.get(key)
            if position and clock() - told_at >= TOLD_SECONDS and (words := in_words(position)) != told:
                self.log.info("%s: %s.", words[0].upper() + words[1:], position.why)
                told_at, told = clock(), words
        raise RuntimeError("the look at the places ended")


class CapacityPoll:
    """Looks at the books again and again for all waits of a triggerer."""

    def __init__(self) -> None:
        self._failures = 0
        self._damaged = 0
        self._fault = ""
        self._due_since: dict[str, float] = {}
        self._estimated_at: float | None = None
        self._estimates: dict[str, float | None] = {}

    async def look(self) -> Round:
        """Return what the books and the states of the runs tell now. Never raises, but when it is cancelled."""
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                round_ = await self._look()
        except Exception as error:  # Airflow cannot be asked now: the line stays as it is
            self._failures += 1
            told = f"{type(error).__name__}: {error}"
            if told != self._fault:
                log.warning("The places cannot be looked at now: %s", told)
            self._fault = told
            return Round(failures=self._failures)
        self._failures, self._fault = 0, ""
        return round_

    async def _look(self) -> Round:
        text = await _variable(LEDGER_VARIABLE)
        try:
            ledger = Ledger.from_text(text or "")
        except ValueError:
            self._damaged += 1
            return Round(damaged=self._damaged)
        self._damaged = 0
        given = priorities_of(await _variable(PRIORITIES_VARIABLE) or "")
        now = datetime.now(UTC)
        ledger = ledger.moved(await _states(ledger), now)
        waiting, places, day = ledger.waiting(), ledger.places(), ledger.use(now)
        admission = admit(waiting, places, day, ledger.caps, now, priorities=given)
        passed = self._passed({each.key for each in admission.starts})
        turns = {each.key for each in admission.starts}
        if passed:
            line = [each for each in waiting if each.key not in passed]
            turns |= {
                each.key for each in admit(line, places, day, ledger.caps, now, priorities=given).starts
            }
        old = ledger.looked_at is None or (now - ledger.looked_at).total_seconds() > SETTINGS_SECONDS
        if old and (line := [each for each in order(waiting, given) if each.key not in passed]):
            turns.add(line[0].key)
        if ledger.durations and self._estimates_are_old():
            # Some hundredths of a second for a long line, which no other trigger is to wait for.
            self._estimates = await asyncio.to_thread(
                estimated,
                waiting,
                places,
                day,
                ledger.caps,
                now,
                durations=ledger.durations,
                priorities=given,
            )
        return Round(
            turns=frozenset(turns),
            passed=passed,
            known=frozenset(each.key for each in waiting),
            positions=with_waits(admission.positions, self._estimates),
        )

    def _passed(self, starts: set[str]) -> tuple[str, ...]:
        """Return those whose turn it has been for so long that nobody is to wait for them."""
        now = asyncio.get_running_loop().time()
        self._due_since = {key: self._due_since.get(key, now) for key in starts}
        return tuple(sorted(key for key, since in self._due_since.items() if now - since > STUCK_SECONDS))

    def _estimates_are_old(self) -> bool:
        now = asyncio.get_running_loop().time()
        if self._estimated_at is not None and now - self._estimated_at < TOLD_SECONDS:
            return False
        self._estimated_at = now
        return True


async def _states(ledger: Ledger) -> dict[str, dict[str, str | None] | None]:
    """Ask Airflow where the runs are that wait, work, or landed."""
    runs: dict[tuple[str, str], list[str]] = {}
    for entry in ledger.entries.values():
        if entry.phase != "ended":
            runs.setdefault((entry.dag_id, entry.prefix), []).append(entry.run_id)
    states: dict[str, dict[str, str | None] | None] = {}
    for (dag_id, prefix), ids in runs.items():
        tasks = [prefix + name for name in (ADMIT, OPEN, END)]
        for start in range(0, len(ids), RUNS_PER_CALL):
            some = ids[start : start + RUNS_PER_CALL]
            found = await task_states(dag_id, tasks, some)
            states |= {key_of(dag_id, run_id): found.get(run_id) for run_id in some}
    return states


async def task_states(
    dag_id: str, task_ids: list[str], run_ids: list[str]
) -> dict[str, dict[str, str | None]]:
    """Return run id → task id → state, asked through the triggerer's supervisor."""
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates, TaskStatesResult

    answer = await _ask(GetTaskStates(dag_id=dag_id, task_ids=task_ids, run_ids=run_ids))
    if isinstance(answer, ErrorResponse):
        raise AirflowRuntimeError(answer)
    if not isinstance(answer, TaskStatesResult):
        raise RuntimeError(f"the states of tasks of {dag_id} cannot be read: {answer!r}")
    return answer.task_states


async def _variable(name: str) -> str | None:
    from airflow.sdk.execution_time.comms import GetVariable

    return text_of(await _ask(GetVariable(key=name)))


async def _ask(message: Any) -> Any:
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    comms: Any = SUPERVISOR_COMMS
    if hasattr(comms, "asend"):
        return await comms.asend(message)
    return comms.send(message)  # `dag.test()`, where all is one process


def text_of(answer: Any) -> str | None:
    """Return the text of a Variable from the supervisor's answer, ``None`` where there is no such Variable.

    :raises AirflowRuntimeError: Airflow cannot give it now.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
    from airflow.sdk.execution_time.comms import ErrorResponse, VariableResult

    if isinstance(answer, VariableResult):
        return answer.value
    if isinstance(answer, ErrorResponse) and answer.error == ErrorType.VARIABLE_NOT_FOUND:
        return None
    if isinstance(answer, ErrorResponse):
        raise AirflowRuntimeError(answer)
    raise RuntimeError(f"a Variable cannot be read: {answer!r}")
