"""Holds that an application is ill before anything is done about it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_agents.domain.health_record import HealthRecord, Streak
from airflow_provider_agents.domain.rollback import Rollback, State
from airflow_provider_agents.domain.rollback_cause import deployed_revision
from airflow_provider_agents.exceptions import TaskStoppedError
from airflow_provider_agents.operators.rollback_base import RollbackOperator
from airflow_provider_agents.operators.rollback_clock import present
from airflow_provider_agents.operators.task_state import recall
from airflow_provider_agents.triggers.argocd_health import ASSET_PREFIX, STORE_KEY, TAKEN_KEY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow.sdk import Context

    from airflow_provider_agents.domain.rollback import Act
    from airflow_provider_agents.domain.rollback_facts import Facts
    from airflow_provider_agents.operators.rollback_look import RollbackLook


class DetectDegradationOperator(RollbackOperator):
    """Look whether the application is Degraded, of what is deployed now, and for long enough (I1 to I4).

    What the watcher counted is taken up; a run that a person began counts for itself. The episode stays ``idle``
    where there is nothing to take back.

    :raises TaskStoppedError: the application could not be read for as long as finding a candidate may take.
    """

    states: ClassVar[frozenset[State]] = frozenset({"idle"})

    def episode(self, context: Context, look: RollbackLook) -> Rollback:
        """Return the episode: begun by an earlier try, else begun now."""
        if kept := recall(context, self._key(context)):
            return Rollback.from_dict(kept)
        now = present()
        definition = look.definition
        reading = look.reading()
        revision = deployed_revision(reading, definition.repository)
        streak = _streak(context, revision, timedelta(seconds=6 * definition.timings.poll), now)
        began = [streak.since] if streak else [now]
        if reading.health == "Degraded" and reading.health_since is not None:
            began.append(reading.health_since)
        return Rollback(
            name=self.rollback,
            application=definition.application,
            repository=definition.repository,
            revision=revision,
            entered_at=now,
            degraded_since=min(began),
            readings=streak.readings if streak else 0,
            read_at=streak.last if streak else None,
        )

    def _leave(self, look: RollbackLook, episode: Rollback, act: Act, context: Context) -> dict[str, Any]:
        if episode.state != "idle" and (store := _store(context, self.rollback)) is not None:
            try:
                store.set(TAKEN_KEY, {"revision": episode.revision, "at": present().isoformat()})
            except Exception as error:  # it is told of once more, and found handled
                self.log.warning("The watcher could not be told that this is being handled: %s", error)
        return super()._leave(look, episode, act, context)

    def over(self, episode: Rollback, facts: Facts, look: RollbackLook) -> bool:
        """End where there is nothing to take back; go on while it is not known yet."""
        if facts.health == "Unknown":
            late = timedelta(seconds=look.definition.timings.candidate)
            if present() >= episode.entered_at + late:
                raise TaskStoppedError(
                    f"{episode.application} cannot be read: {facts.unread or 'its health is Unknown'}"
                )
            return False
        return facts.health != "Degraded" or not facts.same_deployment


def health_record(context: Context, name: str) -> HealthRecord:
    """Return what the watcher remembers of the application's revisions; nothing where it cannot be had.

    Without it a candidate has to be proven by its checks.

    :param name: of the rollback.
    """
    from airflow.sdk.exceptions import AirflowRuntimeError

    store = _store(context, name)
    try:
        stored = store.get(STORE_KEY) if store is not None else None
        return HealthRecord.from_dict(stored) if isinstance(stored, dict) else HealthRecord()
    except (ValueError, AirflowRuntimeError):
        return HealthRecord()


def _store(context: Context, name: str) -> Any:
    """Return the state store of a rollback's asset; ``None``: there is none, e.g. of one that is switched off."""
    from airflow.sdk import Asset

    stores: Any = context.get("asset_state_store")
    try:
        return stores[Asset(name=f"{ASSET_PREFIX}{name}", uri=f"agents-rollback://{name}/")]
    except (KeyError, TypeError):
        return None


def _streak(context: Context, revision: str, fresh: timedelta, now: datetime) -> Streak | None:
    """Return the degradation that the watcher told of, if it is of ``revision`` and lasted until just now.

    :param fresh: time since its last reading from which on it counts no more: nobody knows what was in between.
    """
    told: Mapping[str, Any] = context.get("triggering_asset_events") or {}
    found: list[Streak] = []
    for events in told.values() if hasattr(told, "values") else ():
        for event in events:
            payload = (getattr(event, "extra", None) or {}).get("payload")
            if isinstance(payload, dict) and payload.get("revision") == revision:
                at = getattr(event, "timestamp", None)
                try:
                    since = datetime.fromisoformat(payload["since"])
                    readings = int(payload["readings"])
                except (KeyError, TypeError, ValueError):
                    continue
                last = at if isinstance(at, datetime) else since
                found.append(Streak(revision=revision, readings=readings, since=since, last=last))
    newest = max(found, key=lambda one: one.last, default=None)
    if newest is None:
        return None
    if now - newest.last > fresh:
        return Streak(revision=revision, readings=0, since=newest.since, last=newest.last)
    return newest
