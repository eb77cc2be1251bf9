"""The task ``admit``: a run waits, without a worker slot, until there is a place for it."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents.domain.capacity import admit, with_waits
from airflow_provider_agents.domain.capacity_ledger import ADMIT, Entry, Ledger, key_of
from airflow_provider_agents.domain.capacity_wait import estimated, in_words
from airflow_provider_agents.domain.pools import ADMISSION_POOL
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.capacity_caps import installed_caps, limits_money
from airflow_provider_agents.operators.capacity_records import CapacityRecords, entry_of
from airflow_provider_agents.operators.failure_reason import leaving_reason

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.capacity import Caps, Position

POSITION_KEY = "waiting"
"""XCom: where in the line the run is, as of its last look."""


class AdmitOperator(BaseOperator):
    """Wait until the run may start, and take its place.

    The one writer of the books of the places
    (:class:`~airflow_provider_agents.domain.capacity_ledger.Ledger`). That it is the only one at any time is
    what its pool is for: the pool must have one slot and must not count deferred tasks.

    Safe to repeat: a run that has its place finds that in the books. One whose place was given back, and
    that then is cleared, waits in line again.

    :param coding_task: :class:`~airflow_provider_agents.domain.coding_task.CodingTask` as a dictionary.
        (templated)
    :return: ``admitted_at``, and ``waited_seconds`` since the run came into the line.
    :raises InvalidInputError: a limit of the installation cannot be read.
    """

    template_fields: Sequence[str] = ("coding_task",)
    ui_color = "#e6e0f8"

    def __init__(self, *, coding_task: Any, **kwargs: Any) -> None:
        kwargs.setdefault("pool", ADMISSION_POOL)
        kwargs.setdefault("retries", 3)
        kwargs.setdefault("retry_delay", timedelta(seconds=15))
        # Of one look, not of the wait: while it hangs, nobody else is admitted.
        kwargs.setdefault("execution_timeout", timedelta(minutes=10))
        super().__init__(**kwargs)
        self.coding_task = coding_task

    def execute(self, context: Context, event: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Look, and go on or wait; called again each time when the turn of the run may have come."""
        from airflow_provider_agents.triggers.capacity import CapacityTrigger

        ti: Any = context["ti"]
        with leaving_reason(context):
            entry, position = self._decide(context, frozenset((event or {}).get("passed") or ()))
        if position is None:
            admitted_at = entry.admitted_at or entry.since
            return {
                "admitted_at": admitted_at.isoformat(),
                "waited_seconds": max(0.0, round((admitted_at - entry.since).total_seconds())),
            }
        words = in_words(position)
        self.log.info("%s: %s.", words[0].upper() + words[1:], position.why)
        ti.xcom_push(key=POSITION_KEY, value=shown(position))
        self.defer(
            trigger=CapacityTrigger(dag_id=ti.dag_id, run_id=ti.run_id),
            method_name="execute",
        )
        raise AssertionError("a task that defers does not come back")

    def _decide(self, context: Context, passed: frozenset[str]) -> tuple[Entry, Position | None]:
        """Look at the books, decide and write; return the run's entry and, if it waits, its position."""
        ti: Any = context["ti"]
        now = datetime.now(UTC)
        records = CapacityRecords(ti)
        prefix = self.task_id.removesuffix(ADMIT)
        ledger = records.read()
        if ledger is None:
            ledger = records.rebuild(ti.dag_id, prefix, now)
        own = ledger.entries.get(key_of(ti.dag_id, ti.run_id))
        if own is not None and own.phase == "working":
            self.log.info("The run has its place since %s.", own.admitted_at)
            return own, None
        since = _since(context, now) if own is None else own.since if own.phase == "waiting" else now
        entry = Entry(
            dag_id=ti.dag_id,
            run_id=ti.run_id,
            prefix=prefix,
            repository="",
            since=since,
            admitted_at=own.admitted_at if own else None,
            pods=own.pods if own else {},
        )
        ledger = ledger.with_entry(entry_of(self.coding_task, entry))
        caps = self._caps(ledger)
        ledger = records.look(ledger, now, money=limits_money(caps)).tidied(now)
        entry = ledger.entries.get(entry.key) or entry_of(self.coding_task, entry)
        line = [each for each in ledger.waiting() if each.key == entry.key or each.key not in passed]
        places, day, given = ledger.places(), ledger.use(now), records.priorities()
        admission = admit(line, places, day, caps, now, priorities=given)
        position = admission.positions.get(entry.key)
        if position is None:
            entry = dataclasses.replace(entry, phase="working", admitted_at=now)
        else:
            waits = estimated(line, places, day, caps, now, durations=ledger.durations, priorities=given)
            position = with_waits({entry.key: position}, waits)[entry.key]
        # Written before this task goes on: if it dies now, its next try finds the place that it took.
        records.write(dataclasses.replace(ledger.with_entry(entry), caps=caps, looked_at=now))
        return entry, position

    def _caps(self, ledger: Ledger) -> Caps:
        """Return the limits; while a file has faults, those of the last decision, so that the line goes on."""
        try:
            repositories = ledger.repositories()
            return installed_caps(repositories, repositories)
        except InvalidInputError as error:
            if ledger.looked_at is None:
                raise
            self.log.warning("The limits of the last decision stay in force. %s", error)
            return ledger.caps


def shown(position: Position) -> dict[str, Any]:
    """Return a position as JSON-ready values, with ``text`` for people."""
    return {
        "number": position.number,
        "of": position.of,
        "wait_seconds": position.wait_seconds,
        "why": position.why,
        "until": position.until.isoformat() if position.until else None,
        "text": in_words(position),
    }


def _since(context: Context, now: datetime) -> datetime:
    """Return when the run was asked for."""
    run: Any = context.get("dag_run")
    return getattr(run, "run_after", None) or now
