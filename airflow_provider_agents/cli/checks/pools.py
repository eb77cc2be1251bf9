"""The pools of the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.cli.report import Finding, failed, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment


def pools(deployment: Deployment) -> Iterator[Finding]:
    """Check that the pools are there, and are what the admission of runs relies on."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_provider_agents.domain.pools import ADMISSION_POOL, STEP_POOL

    with create_session() as session:
        found = {
            row.pool: (row.slots, row.include_deferred)
            for row in session.scalars(select(Pool).where(Pool.pool.in_((STEP_POOL, ADMISSION_POOL))))
        }
    for name, deferred in ((STEP_POOL, "--include-deferred"), (ADMISSION_POOL, "")):
        if name not in found:
            command = (
                f"airflow pools set {name} {1 if name == ADMISSION_POOL else 5} agents {deferred}".rstrip()
            )
            yield failed(
                f"there is no pool {name}: its tasks never run",
                f"Restart the scheduler, which makes it, or: {command}",
                name,
            )
        elif found[name][0] == 0:
            yield warning(
                f"the pool {name} has no slots: nothing of it runs",
                "Give it slots when runs are to go on.",
                name,
            )
        elif name == ADMISSION_POOL and found[name] != (1, False):
            yield failed(
                f"the pool {name} has {found[name][0]} slots, or counts deferred tasks: two runs could be given "
                "the same place",
                "Restart the scheduler, which mends it.",
                name,
            )
        else:
            yield ok(f"the pool {name} is there", name)
