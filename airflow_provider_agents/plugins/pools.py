"""Makes the pools of the provider when a component of Airflow starts: a task of a pool that is not there never runs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

log = logging.getLogger(__name__)


@hookimpl
def on_starting(component: Any) -> None:
    """Make the pools where they are missing.

    Airflow calls this while it makes the record of a scheduler, triggerer or DAG processor, which does not
    know yet which of them it is; and in each task, which has no database.
    """
    # By name: a task would take a second to import the class.
    if f"{type(component).__module__}.{type(component).__qualname__}" == "airflow.jobs.job.Job":
        ensure_pools()


def ensure_pools() -> None:
    """Make or mend the pools. A database that cannot be written is logged: the doctor tells of pools that lack."""
    from airflow.utils.session import create_session
    from sqlalchemy.exc import IntegrityError, SQLAlchemyError

    from airflow_provider_agents import settings
    from airflow_provider_agents.domain.pools import wanted_pools

    try:
        wanted = wanted_pools(settings.number("max_steps", 5))
    except ValueError as error:
        log.warning("[agents] max_steps is no whole number (%s); the pools stay as they are.", error)
        return
    for spec in wanted:
        try:
            with create_session(scoped=False) as session:
                _ensure(spec, session)
        except IntegrityError:
            log.debug("Pool %s was made by another component at the same time.", spec.name)
        except SQLAlchemyError as error:
            log.warning("Pool %s could not be looked after: %s", spec.name, error)


def _ensure(wanted: Any, session: Session) -> None:
    from airflow.models.pool import Pool
    from sqlalchemy import select

    from airflow_provider_agents.domain.pools import PoolSpec, mended

    row = session.scalar(select(Pool).where(Pool.pool == wanted.name))
    found = None
    if row is not None:
        found = PoolSpec(
            name=wanted.name,
            slots=row.slots,
            include_deferred=row.include_deferred,
            description=row.description or "",
        )
    change, why = mended(wanted, found)
    if change is None:
        return
    if row is None:
        row = Pool(pool=change.name)
        session.add(row)
    row.slots = change.slots
    row.include_deferred = change.include_deferred
    row.description = change.description
    session.flush()
    log.warning("%s", why) if found else log.info("%s", why)
