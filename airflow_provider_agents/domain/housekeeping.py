"""What housekeeping does with the objects that runs left on the cluster: which go, which stay, and why.

Nothing is judged but what carries this installation's label. Where it cannot be told that an object may go,
it stays.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.pod_fields import base_started
from airflow_provider_agents.domain.workspace import (
    ANNOTATION_EXPIRES_AT,
    LABEL_INSTALLATION,
    is_expired,
    stamp,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LABEL_READ = "already_checked"
"""Label, ``True``, of a pod whose result was read: set by ``KubernetesPodOperator`` on pods that it keeps."""

ENDED_PHASES = ("Succeeded", "Failed")

NEVER_STARTED = timedelta(days=2)
"""A pod that has not started by then has lost its task: a step's task waits for a day and some minutes at the
most. Nothing else would end the pod: a deadline counts from its start, and it keeps its run's claim."""


@dataclass(frozen=True, slots=True)
class SweepDecision:
    """What a sweep does with one object, and why."""

    action: Literal["keep", "delete"]
    reason: str
    faulty: bool = False
    """True where a person should look at the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSeen:
    """A claim as a sweep finds it."""

    name: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    being_deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSeen:
    """What Airflow knows of the DAG run that made an object."""

    state: str
    ended_at: datetime | None = None
    """``None`` while it goes on."""
    given_back: bool = False
    """Its teardown found that nobody will go on with it: merged, closed, or stopped by decision."""

    @property
    def goes_on(self) -> bool:
        """True while tasks of it may run."""
        return self.state in ("running", "queued")

    @property
    def ended_for_good(self) -> bool:
        """True where nobody will clear and resume it. A failed run may be."""
        return not self.goes_on and (self.state == "success" or self.given_back)


def needs_run(claim: ClaimSeen, *, living_pods: Sequence[str], installation: str) -> bool:
    """Say whether the decision about a claim depends on its run, so that Airflow has to be asked for it."""
    ours = claim.labels.get(LABEL_INSTALLATION) == installation
    return ours and not claim.being_deleted and not living_pods


def sweep_claim(
    claim: ClaimSeen,
    *,
    living_pods: Sequence[str],
    run: RunSeen | None,
    now: datetime,
    keep: timedelta,
    installation: str,
) -> SweepDecision:
    """Decide about one claim.

    :param living_pods: names of the pods that mount it and have not ended.
    :param run: its DAG run; ``None``: unknown, or deleted; then its expiry alone decides.
    :param keep: how long it stays after the end of a run that ended for good.
    :param installation: value of the label of this installation.
    """
    if claim.labels.get(LABEL_INSTALLATION) != installation:
        return SweepDecision("keep", "It belongs to another installation.")
    if claim.being_deleted:
        return SweepDecision("keep", "It is being deleted already.")
    if living_pods:
        return SweepDecision("keep", f"It is mounted by {', '.join(living_pods)}.")
    if run is not None and run.goes_on:
        return SweepDecision("keep", f"Its run is {run.state}.")
    if run is not None and run.ended_for_good and run.ended_at is not None and now - run.ended_at >= keep:
        return SweepDecision("delete", f"Its run ended for good at {stamp(run.ended_at)}.")
    try:
        expired = is_expired(claim.annotations, now)
    except ValueError as error:
        return SweepDecision("keep", f"Nobody can tell when it expires: {error}.", faulty=True)
    until = claim.annotations[ANNOTATION_EXPIRES_AT]
    if not expired:
        return SweepDecision("keep", f"It is kept until {until}.")
    return SweepDecision("delete", f"It expired at {until}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class PodKeep:
    """How long an ended pod is kept."""

    succeeded: timedelta
    failed: timedelta
    unread: timedelta
    """One whose result nobody has read: its task may be tried again and find it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimsGoing:
    """Claims whose pods are in the way: a cluster keeps a claim until the objects of its pods are gone."""

    being_deleted: frozenset[str] = frozenset()
    """By whomever."""
    swept: frozenset[str] = frozenset()
    """By this sweep: their runs have ended, so nobody will read the result of a pod any more."""


def sweep_pod(
    pod: Mapping[str, Any], *, now: datetime, keep: PodKeep, going: ClaimsGoing, installation: str
) -> SweepDecision:
    """Decide about one pod.

    :param pod: as ``to_dict()`` of the Kubernetes client gives it (snake case).
    """
    metadata, status = pod.get("metadata") or {}, pod.get("status") or {}
    labels = metadata.get("labels") or {}
    if labels.get(LABEL_INSTALLATION) != installation:
        return SweepDecision("keep", "It belongs to another installation.")
    if metadata.get("deletion_timestamp"):
        return SweepDecision("keep", "It is being deleted already.")
    if status.get("phase") not in ENDED_PHASES:
        made = metadata.get("creation_timestamp")
        waiting = status.get("phase") == "Pending" and not base_started(pod)
        if waiting and isinstance(made, datetime) and now - made >= NEVER_STARTED:
            return SweepDecision("delete", f"It was made at {stamp(made)} and has never started.")
        return SweepDecision("keep", "It has not ended.")
    read = labels.get(LABEL_READ) == "True"
    in_the_way = _claims_of(pod) & (going.swept | going.being_deleted if read else going.swept)
    if in_the_way:
        return SweepDecision("delete", f"Claim {min(in_the_way)} cannot go before it.")
    ended = _ended_at(pod)
    if ended is None:
        return SweepDecision("keep", "Nobody can tell when it ended.", faulty=True)
    span = _span(str(status["phase"]), keep, read=read)
    if now - ended < span:
        unread = "" if read else " for its result, which nobody has read,"
        return SweepDecision(
            "keep", f"It ended at {stamp(ended)} and is kept{unread} until {stamp(ended + span)}."
        )
    return SweepDecision("delete", f"It ended at {stamp(ended)} ({status['phase']}).")


def _span(phase: str, keep: PodKeep, *, read: bool) -> timedelta:
    span = keep.succeeded if phase == "Succeeded" else keep.failed
    return span if read else max(span, keep.unread)


def _claims_of(pod: Mapping[str, Any]) -> set[str]:
    volumes = (pod.get("spec") or {}).get("volumes") or ()
    return {
        source["claim_name"] for volume in volumes if (source := volume.get("persistent_volume_claim") or {})
    }


def _ended_at(pod: Mapping[str, Any]) -> datetime | None:
    """Return when the last container ended; for a pod without containers (evicted early) when it was made."""
    status = pod.get("status") or {}
    containers = [*(status.get("init_container_statuses") or ()), *(status.get("container_statuses") or ())]
    ends = [
        moment
        for container in containers
        if (moment := ((container.get("state") or {}).get("terminated") or {}).get("finished_at"))
    ]
    begin = status.get("start_time") or (pod.get("metadata") or {}).get("creation_timestamp")
    moments = [moment for moment in (*ends, begin) if isinstance(moment, datetime)]
    return max(moments, default=None)
