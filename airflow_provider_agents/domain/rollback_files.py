"""The installation's rollbacks: ``rollbacks/*.yaml`` below ``[agents] config_path``, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.config_files import definition_paths, read_document
from airflow_provider_agents.domain.pr_rule import NAME_PATTERN
from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
from airflow_provider_agents.domain.yaml_source import validate

if TYPE_CHECKING:
    from pathlib import Path

ROLLBACKS_FOLDER = "rollbacks"


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackFile:
    """A file ``rollbacks/<name>.yaml``, read."""

    name: str
    """Of the rollback; empty where the file's name can be none."""
    path: Path
    definition: RollbackDefinition | None
    """``None``: the file has faults, and nothing is done by it."""
    faults: tuple[str, ...] = ()
    """Every fault, each with file and line."""

    @property
    def place(self) -> str:
        """Return where it is written: ``rollbacks/shop.yaml:1``."""
        return f"{ROLLBACKS_FOLDER}/{self.path.name}:1"


def rollback_files(folder: Path) -> list[RollbackFile]:
    """Return the rollbacks below a folder, by name, those with faults too. Nothing is raised.

    Two for the same application are both faulty: each would take the other's pull request for a stranger's.

    :param folder: ``[agents] config_path``.
    """
    found = [_read(path) for path in definition_paths(folder / ROLLBACKS_FOLDER)]
    return [_alone(one, found) for one in found]


def _read(path: Path) -> RollbackFile:
    file = f"{ROLLBACKS_FOLDER}/{path.name}"
    fault = ""
    if path.suffix != ".yaml":
        fault = f"{file}:1: name it {path.stem}.yaml"
    elif not re.fullmatch(NAME_PATTERN, path.stem):
        fault = f"{file}:1: its name may have small letters, digits, `-` and `_`, 63 at the most, no other characters"
    if fault:
        return RollbackFile(name="", path=path, definition=None, faults=(fault,))
    definition, faults = validate(RollbackDefinition, read_document(path, file))
    return RollbackFile(name=path.stem, path=path, definition=definition, faults=tuple(faults))


def _alone(one: RollbackFile, found: list[RollbackFile]) -> RollbackFile:
    if one.definition is None:
        return one
    key = (one.definition.argocd, one.definition.application)
    same = [
        f"{ROLLBACKS_FOLDER}/{other.path.name}"
        for other in found
        if other is not one
        and other.definition is not None
        and key == (other.definition.argocd, other.definition.application)
    ]
    if not same:
        return one
    fault = (
        f"{ROLLBACKS_FOLDER}/{one.path.name}:1: application: {key[1]} is also that of {', '.join(same)}; "
        "an application has one rollback"
    )
    return RollbackFile(name=one.name, path=one.path, definition=None, faults=(fault,))
