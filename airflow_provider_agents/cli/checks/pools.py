"""The pools of the provider."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.cli.report import Finding, failed, ok, warning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment


def pools(deployment: Deployment) -> Iterator[Finding]:
    """Check that the pools are there, and are what the admission of runs and the acts of rules rely on."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_provider_agents.domain.pools import ONE_AT_A_TIME, STEP_POOL

    names = (STEP_POOL, *ONE_AT_A_TIME)
    with create_session() as session:
        found = {
            row.pool: (row.slots, row.include_deferred)
            for row in session.scalars(select(Pool).where(Pool.pool.in_(names)))
        }
    for name in names:
        single = name in ONE_AT_A_TIME
        if name not in found:
            command = f"airflow pools set {name} {'1 agents' if single else '5 agents --include-deferred'}"
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
        elif single and found[name] != (1, False):
            yield failed(
                f"the pool {name} has {found[name][0]} slots, or counts deferred tasks: {ONE_AT_A_TIME[name]}",
                "Restart the scheduler, which mends it.",
                name,
            )
        else:
            yield ok(f"the pool {name} is there", name)
