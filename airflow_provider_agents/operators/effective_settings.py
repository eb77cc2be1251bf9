"""The settings of a run: what the installation, the repository and the run itself say, read and put together."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from airflow_provider_agents import settings
from airflow_provider_agents.domain.agent_combinations import combination_faults
from airflow_provider_agents.domain.coding_task_request import parse_request
from airflow_provider_agents.domain.config_files import read_prompt, repositories_file
from airflow_provider_agents.domain.form_values import form_defaults, form_values
from airflow_provider_agents.domain.model_faults import fault_lines
from airflow_provider_agents.domain.repository_settings import PlatformSettings, PromptFile, Prompts
from airflow_provider_agents.domain.run_settings import RunSettings
from airflow_provider_agents.domain.settings_layers import (
    AGENTS_FILE,
    DEFAULT,
    RUN,
    Effective,
    Installed,
    OwnFile,
    effective,
    explicit,
    read_own,
)
from airflow_provider_agents.domain.skill_files import read_skills
from airflow_provider_agents.domain.yaml_source import load_yaml
from airflow_provider_agents.exceptions import ForgeConflictError, InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from airflow_provider_agents.domain.authority_rules import AuthorityRules
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
    from airflow_provider_agents.domain.run_settings import Bounds
    from airflow_provider_agents.domain.skill_files import LoadedSkill
    from airflow_provider_agents.hooks.github_client import GitHubClient

log = logging.getLogger(__name__)

MAX_OWN_BYTES = 64 * 1024
"""Largest ``.agents.yaml``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a run was started with."""

    request: CodingTaskRequest
    """As given: its ticket is what counts, of its settings only those in :attr:`explicit`."""
    explicit: Mapping[str, Any]
    """Settings that the run sets itself, checked."""
    installed: Installed
    """``repositories.yaml``."""
    bounds: Bounds

    def base_branch(self) -> str:
        """Return the branch that the pull request is merged into; ``.agents.yaml`` has no say in it."""
        return str(self._effective(None).values["base_branch"])

    def settle(self, own: OwnFile | None) -> Settled:
        """Put all layers together.

        :param own: the repository's ``.agents.yaml``.
        :raises InvalidInputError: the settings do not go together; each fault is named.
        """
        found = self._effective(own)
        values = self.request.model_dump(exclude=set(RunSettings.model_fields)) | found.run
        for name in ("max_attempts", "max_rounds"):
            if found.origins[name] != RUN:
                values[name] = min(values[name], getattr(self.bounds, name))
        request, faults = parse_request(values, self.bounds)
        platform, wrong = _platform(found)
        faults += wrong
        if request is not None and platform is not None:
            faults += combination_faults(
                request,
                found.origins,
                program=settings.text("agent", "claude"),
                model=settings.text("model") or None,
                platform=platform,
                declared=self.installed.repositories,
            )
        if request is None or platform is None or faults:
            raise InvalidInputError(faults)
        folder = settings.config_folder()
        skills, faults = read_skills(folder, self.installed.repositories.skills, platform.skills)
        if faults:
            raise InvalidInputError(faults)
        return Settled(
            request=request,
            effective=found,
            installed=self.installed,
            platform=platform.model_copy(update={"prompts": _prompt_texts(platform.prompts, folder)}),
            skills=skills,
        )

    def _effective(self, own: OwnFile | None) -> Effective:
        return effective(
            self.installed, self.request.repository, own=own, asked=self.explicit, options=installed_options()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """The settings that count."""

    request: CodingTaskRequest
    effective: Effective
    installed: Installed
    platform: PlatformSettings
    """Its prompts are texts, no files."""
    skills: Mapping[str, LoadedSkill] = field(default_factory=dict)

    def put_into(self, task: CodingTask) -> CodingTask:
        """Return the task with its settings."""
        platform = self.platform
        declared = self.installed.repositories
        return task.model_copy(
            update={
                "platform": platform,
                "authority": self.effective.authority,
                "mcp_servers": {name: declared.mcp_servers[name] for name in platform.mcp_servers},
                "skills": dict(self.skills),
                "settings_origin": self.effective.origins,
            }
        )

    def to_show(self) -> dict[str, dict[str, Any]]:
        """Return each setting with its value and origin, as JSON values."""
        values = {**self.request.model_dump(mode="json"), **self.platform.model_dump(mode="json")}
        values["authority"] = self.effective.authority.model_dump(mode="json", exclude_defaults=True)
        return {key: {"value": values[key], "from": origin} for key, origin in self.effective.origins.items()}

    def log(self) -> None:
        """Write the settings that somebody set into the task's log, with their origins, and what does not count."""
        shown = self.to_show()
        chosen = {key: entry for key, entry in shown.items() if entry["from"] != DEFAULT}
        width = max((len(key) for key in chosen), default=0)
        lines = [
            f"{key:<{width}}  {_short(entry['value'])}  ({entry['from']})" for key, entry in chosen.items()
        ]
        log.info(
            "Settings; %d more have their default:\n%s", len(shown) - len(chosen), "\n".join(lines) or "none"
        )
        for note in self.effective.notes:
            log.warning("%s", note)


def read_asked(given: Mapping[str, Any], bounds: Bounds) -> Asked:
    """Check what a run was started with, and read ``repositories.yaml``.

    :param given: conf or params of the run. What equals the start of the trigger form counts as not set.
    :raises InvalidInputError: naming each fault.
    """
    folder = settings.config_folder()
    installed, faults = repositories_file(folder)
    if installed is None:
        raise InvalidInputError(faults)
    form = form_values(bounds, form_defaults(installed))
    changed = explicit(given, form)
    kept = {key: value for key, value in given.items() if key not in RunSettings.model_fields}
    request, faults = parse_request(kept | changed, bounds)
    if request is None:
        raise InvalidInputError(faults)
    chosen = {key: getattr(request, key) for key in changed if key in RunSettings.model_fields}
    return Asked(request=request, explicit=chosen, installed=installed, bounds=bounds)


async def read_own_file(client: GitHubClient, repository: str, sha: str) -> OwnFile | None:
    """Read ``.agents.yaml`` of a repository at a commit; ``None``: there is none.

    :raises InvalidInputError: it has faults; each is named with its line.
    """
    try:
        text = await client.text_file(repository, AGENTS_FILE, sha, most_bytes=MAX_OWN_BYTES)
    except ForgeConflictError as error:
        raise InvalidInputError([str(error)]) from None
    if text is None:
        return None
    own, faults = read_own(load_yaml(text, AGENTS_FILE))
    if own is None:
        raise InvalidInputError([f"{fault} (in {repository} at {sha[:12]})" for fault in faults])
    return own


def authority_of(repository: str) -> AuthorityRules:
    """Return who may do what in a repository, as ``repositories.yaml`` says.

    :raises InvalidInputError: that file has faults.
    """
    installed, faults = repositories_file(settings.config_folder())
    if installed is None:
        raise InvalidInputError(faults)
    return effective(installed, repository, options=installed_options()).authority


def installed_options() -> dict[str, Any]:
    """Return the values of ``[agents]`` that settings mean where they are empty."""
    return {
        "budget_usd": settings.amount("budget_usd", 20.0) or None,
        "workspace_size": settings.text("workspace_size", "10Gi"),
        "max_runs": settings.number("max_runs_per_repository", 2),
    }


def _platform(found: Effective) -> tuple[PlatformSettings | None, list[str]]:
    """Return the settings that no run can ask for, or what is wrong with them: lists that are too long together."""
    try:
        return found.platform, []
    except ValidationError as error:
        faults = fault_lines(PlatformSettings, dict(found.values), error)
        return None, [f"{text} ({found.origins[str(path[0])]})" for path, text in faults]


def _prompt_texts(prompts: Prompts, folder: Path | None) -> Prompts:
    """Return the prompts with their files read, and their templates tried.

    :raises InvalidInputError: a file cannot be read, or is too long, or a template has faults.
    """
    from airflow_provider_agents.prompts.templates import prompt_faults

    texts: dict[str, str] = {}
    files: dict[str, str] = {}
    faults = []
    for step in Prompts.model_fields:
        prompt = getattr(prompts, step)
        if isinstance(prompt, PromptFile):
            text, fault = read_prompt(folder, prompt)
            texts[step], files[step] = text, prompt.file
            faults += [f"prompts.{step}: {fault}"] if fault else []
    found = prompts.model_copy(update=texts)
    if faults := faults or prompt_faults(found, files):
        raise InvalidInputError(faults)
    return found


def _short(value: Any) -> str:
    text = " ".join(str(value).split())
    return text if len(text) <= 100 else f"{text[:99]}…"
