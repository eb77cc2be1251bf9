"""Which deployment made an application ill, and what was deployed before: read from two memories, its own and ours."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.argocd_names import points_to

if TYPE_CHECKING:
    from airflow_provider_agents.domain.argocd_application import ApplicationReading
    from airflow_provider_agents.domain.health_record import HealthRecord

MOST_CANDIDATES = 10
"""Earlier revisions that are looked at, the newest."""
SYNC_SECONDS = 300.0
"""Longest time that a synchronisation is taken to last: Argo CD notes its end, and its doing begins before that."""


def application_path(reading: ApplicationReading, repository: str) -> str:
    """Return the folder of ``repository`` that an application is made from; empty: the whole tree."""
    for source in reading.sources:
        if not source.chart and points_to(source.repo_url, repository):
            return "/".join(part for part in source.path.split("/") if part not in ("", "."))
    return ""


def followed_branch(reading: ApplicationReading, repository: str) -> str:
    """Return the revision of ``repository`` that an application follows; empty: the default branch."""
    for source in reading.sources:
        if not source.chart and points_to(source.repo_url, repository):
            wanted = source.target_revision.removeprefix("refs/heads/")
            return "" if wanted == "HEAD" else wanted
    return ""


def earlier_revisions(
    reading: ApplicationReading, repository: str, record: HealthRecord, revision: str
) -> list[str]:
    """Return what was deployed before ``revision``, newest first, each once, at most :data:`MOST_CANDIDATES`.

    Argo CD's own history goes first; what only our record knows comes after.
    """
    deployed = [one for one, _ in reading.deployments_of(repository)]
    if revision in deployed:
        deployed = deployed[: _last(deployed, revision)]
    known = record.of(revision)
    seen = [one.revision for one in record.revisions if known is None or one.first_seen < known.first_seen]
    newest_first = [*reversed(deployed), *reversed(seen)]
    return [one for one in dict.fromkeys(newest_first) if one != revision][:MOST_CANDIDATES]


def deployed_at(
    reading: ApplicationReading, repository: str, record: HealthRecord, revision: str
) -> datetime | None:
    """Return when ``revision`` took the place of another one last; ``None``: nobody knows.

    Argo CD notes each synchronisation, also those of what is deployed already: they are no deployments.
    """
    deployments = reading.deployments_of(repository)
    last = next((place for place, (one, _) in reversed([*enumerate(deployments)]) if one == revision), -1)
    first = last
    while first > 0 and deployments[first - 1][0] == revision:
        first -= 1
    at = deployments[first][1] if last >= 0 else None
    known = record.of(revision)
    if known is None or (at is not None and first > 0):
        return at
    # The history begins with it: it may be older than that.
    return min(at, known.first_seen) if at is not None else known.first_seen


def not_caused(
    began: datetime, deployed: datetime | None, earlier: list[str], within: float, revision: str
) -> str:
    """Return why a degradation is not the doing of a deployment; empty where it is.

    :param began: when the degradation began.
    :param deployed: when ``revision`` was.
    :param earlier: what was deployed before.
    :param within: seconds after a deployment in which it is taken to be the cause.
    """
    if not earlier:
        return f"No deployment before {revision[:12]} is known: there is nothing to go back to."
    if deployed is None:
        return f"Nobody knows when {revision[:12]} was deployed, so it may not be the cause."
    if began < deployed - timedelta(seconds=SYNC_SECONDS):
        before = (deployed - began).total_seconds() / 60
        return (
            f"The degradation was not caused by a change: it began {before:.0f} min before {revision[:12]} was "
            "deployed."
        )
    if began > deployed + timedelta(seconds=within):
        after = (began - deployed).total_seconds() / 3600
        return (
            f"The degradation was not caused by a change: {revision[:12]} had been deployed for {after:.1f} h when it "
            "began."
        )
    return ""


def _last(items: list[str], wanted: str) -> int:
    return len(items) - 1 - items[::-1].index(wanted)


def deployed_revision(reading: ApplicationReading, repository: str) -> str:
    """Return the revision of ``repository`` that runs: of the last deployment, which may be behind what git has.

    Empty: not known.
    """
    deployments = reading.deployments_of(repository)
    return deployments[-1][0] if deployments else reading.revision_of(repository)
