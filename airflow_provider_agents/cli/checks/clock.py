"""Clocks: signed requests of a GitHub App, expiries and certificates all need the right time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.deployment import REQUEST_SECONDS
from airflow_provider_agents.cli.report import Finding, ok, skipped, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment

TOLERATED = timedelta(seconds=30)
"""GitHub refuses what an App signed in its future by more than a minute."""


def of_kubernetes(deployment: Deployment) -> Iterator[Finding]:
    """Compare this machine's clock with that of the Kubernetes API."""
    from kubernetes.client import VersionApi

    _, _, headers = VersionApi(deployment.core.api_client).get_code_with_http_info(
        _request_timeout=REQUEST_SECONDS
    )
    try:
        theirs = parsedate_to_datetime(str(headers.get("Date", "")))
    except (TypeError, ValueError):
        yield skipped("the Kubernetes API tells no time")
        return
    yield compared(theirs - datetime.now(UTC), "the Kubernetes API")


def of_github(deployment: Deployment) -> Iterator[Finding]:
    """Compare this machine's clock with GitHub's."""
    import asyncio

    from airflow_provider_agents.cli.checks.github_access import clock_ahead

    yield compared(asyncio.run(clock_ahead(deployment.github)), "GitHub")


def compared(ahead: timedelta, whose: str) -> Finding:
    """Return the finding for a difference of clocks."""
    seconds = ahead.total_seconds()
    if abs(ahead) <= TOLERATED:
        return ok(f"this machine's clock agrees with that of {whose}")
    direction = "behind" if seconds > 0 else "ahead of"
    return warning(
        f"this machine's clock is {abs(seconds):.0f} s {direction} that of {whose}",
        "Synchronise the clocks with NTP (e.g. chrony) on every machine of Airflow and of the cluster; GitHub refuses "
        "what an App signs with a clock that is a minute off.",
    )
