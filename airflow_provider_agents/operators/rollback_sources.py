"""The rollbacks of this installation, as their files are now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.domain import rollback_files as files
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
    from airflow_provider_agents.domain.rollback_files import RollbackFile


def rollback_files() -> list[RollbackFile]:
    """Return the files of the installation's rollbacks, by name, those with faults too."""
    folder = settings.config_folder()
    return files.rollback_files(folder) if folder else []


def load_rollback(name: str) -> RollbackDefinition:
    """Return the definition of the rollback ``name``, as its file is now.

    :raises InvalidInputError: there is no such file, or it has faults; each is named with file and line.
    """
    found = next((file for file in rollback_files() if file.name == name), None)
    if found is None:
        raise InvalidInputError(
            [f"rollback {name!r}: there is no rollbacks/{name}.yaml below `[agents] config_path`"]
        )
    if found.definition is None:
        raise InvalidInputError(list(found.faults))
    return found.definition
