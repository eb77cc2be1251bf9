"""The sources of tickets: their definitions, their connections, and how their last looks went."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.deployment import one_line
from airflow_provider_agents.cli.report import Finding, failed, ok, warning
from airflow_provider_agents.exceptions import ForgeError, InvalidInputError
from airflow_provider_agents.operators.ticket_line import VARIABLE_PREFIX
from airflow_provider_agents.operators.ticket_sources import definition_files, source_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment
    from airflow_provider_agents.domain.config_files import DefinitionFile
    from airflow_provider_agents.domain.sync_state import SyncState

OPEN_SECONDS = 20.0


def sources(deployment: Deployment) -> Iterator[Finding]:
    """Check every ``tickets/*.yaml``; without one there is nothing to check."""
    files = definition_files()
    if not files:
        yield ok("no source of tickets is defined; runs are started by hand, or by other DAGs")
    for file in files:
        yield from _source(file)


def _source(file: DefinitionFile) -> Iterator[Finding]:
    name = f"tickets/{file.name}.yaml"
    if file.definition is None:
        for fault in file.faults:
            yield failed(fault, "Correct it; the source is not looked at until then.", name)
        return
    if not file.definition.enabled:
        yield ok(f"{name} is switched off", name)
        return
    try:
        asyncio.run(_open(file))
    except (ForgeError, InvalidInputError, TimeoutError) as error:
        reason = one_line(error) if str(error) else f"no answer in {OPEN_SECONDS:.0f} s"
        yield failed(f"{name}: {reason}", "Correct its connection, or `connection` in the file.", name)
        return
    state = _last_look(file.name)
    if state.failures:
        yield warning(
            f"{name}: its last {state.failures} looks failed: {state.fault}",
            f"See the log of the task look in the DAG ticket_sync__{file.name}.",
            name,
        )
    elif state.looked_at is None:
        yield warning(
            f"{name} is valid and was never looked at",
            f"Unpause its DAG: airflow dags unpause ticket_sync__{file.name}",
            name,
        )
    else:
        yield ok(f"{name} was looked at {state.looked_at:%Y-%m-%d %H:%M} UTC", name)


async def _open(file: DefinitionFile) -> None:
    assert file.definition is not None
    async with asyncio.timeout(OPEN_SECONDS), source_for(file.definition).open():
        pass


def _last_look(name: str) -> SyncState:
    """Return what the source's sync remembers; nothing where Airflow cannot say it."""
    from airflow.models.variable import Variable
    from airflow.utils.session import create_session
    from sqlalchemy import select

    from airflow_provider_agents.domain.sync_state import SyncState

    with create_session() as session:
        found = session.scalar(select(Variable).where(Variable.key == VARIABLE_PREFIX + name))
        return SyncState.from_text(found.get_val() if found is not None else None)
