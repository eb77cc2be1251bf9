"""The rules of this installation, as their files are now."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.domain import pr_rule_files
from airflow_provider_agents.domain.pr_rule_files import RULES_FOLDER
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.github_scope import rule_scope

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.domain.pr_rule_files import RuleFile


def rule_files() -> list[RuleFile]:
    """Return the rules of the installation, those with faults too; one that is for no repository is one of those."""
    folder = settings.config_folder()
    return [_scoped(file) for file in pr_rule_files.rule_files(folder)] if folder else []


def load_rule(name: str) -> PullRequestRule:
    """Return the rule ``name``, as its file is now.

    :raises InvalidInputError: there is no such rule, or it has faults; each is named with file and line.
    """
    files = rule_files()
    found = [file for file in files if file.name == name]
    faults = [fault for file in found for fault in file.faults]
    if faults:
        raise InvalidInputError(faults)
    if found and (rule := found[0].rule) is not None:
        return rule
    # A file that cannot be read may be where it was.
    unread = [fault for file in files if not file.name for fault in file.faults]
    fault = f"rule {name!r}: there is none of this name in {RULES_FOLDER}/ below `[agents] config_path`"
    raise InvalidInputError([fault, *unread])


def _scoped(file: RuleFile) -> RuleFile:
    if file.rule is None:
        return file
    try:
        rule_scope(file.rule)
    except InvalidInputError as error:
        return replace(file, rule=None, faults=tuple(f"{file.place}: {fault}" for fault in error.faults))
    return file
