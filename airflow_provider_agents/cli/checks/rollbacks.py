"""The rollbacks: their files, the connections of GitHub that they use, and whether somebody watches."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.cli.checks.connections import checked_type
from airflow_provider_agents.cli.report import Finding, failed, ok, warning
from airflow_provider_agents.operators.rollback_sources import rollback_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment
    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
    from airflow_provider_agents.domain.rollback_files import RollbackFile


def files(deployment: Deployment) -> Iterator[Finding]:
    """Check every rollback; without one there is nothing to check. Argo CD is the check ``rules.argocd``."""
    found = rollback_files()
    if not found:
        yield ok("no rollback is defined")
        return
    default = settings.text("github_conn_id", "github_default")
    used = {file.definition.connection or default for file in found if file.definition is not None}
    for name in sorted(used):
        yield from checked_type(
            name, "github", "in the UI, type GitHub, a token as password: docs/credentials.md"
        )
    for file in found:
        if file.definition is None:
            for fault in file.faults:
                yield failed(fault, "Correct it; nothing is rolled back by it until then.", file.place)
        else:
            yield _standing(file, file.definition)


def _standing(file: RollbackFile, definition: RollbackDefinition) -> Finding:
    named, dag_id = f"rollbacks/{file.path.name}: rollback {file.name}", f"rollback__{file.name}"
    if not definition.enabled:
        return ok(f"{named} is switched off", file.place)
    if _paused(dag_id):
        return warning(
            f"{named} is valid, and nobody watches {definition.application}: its DAG is paused, or not parsed yet",
            f"Unpause it: airflow dags unpause {dag_id}",
            file.place,
        )
    return ok(
        f"{named} watches {definition.application}{' (dry run)' if definition.dry_run else ''}", file.place
    )


def _paused(dag_id: str) -> bool:
    """Return whether a DAG is paused; one that Airflow does not know yet is."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id))
    return found is not False
