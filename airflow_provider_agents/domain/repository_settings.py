"""Settings of repositories as the operators of a platform write them down: ``repositories.yaml``; and the part of
them that a repository may set for itself in ``.agents.yaml``.

A value that a file does not name is not set by it (``model_fields_set``); :mod:`.settings_layers` puts files together.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from airflow_provider_agents.domain.authority_rules import AuthorityRules
from airflow_provider_agents.domain.freeze import freeze_faults
from airflow_provider_agents.domain.merge_rules import NEVER, UNLIMITED
from airflow_provider_agents.domain.run_settings import RunSettings, checked_repository
from airflow_provider_agents.domain.tool_servers import McpServer, Skill  # noqa: TC001 (read at run time)

MAX_PROMPT_CHARACTERS = 20_000
NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,39}$"
"""Of an MCP server and of a skill."""

_REPOSITORIES = re.compile(r"[A-Za-z0-9_.*-]{1,100}/[A-Za-z0-9_.*-]{1,100}")

Name = Annotated[str, Field(pattern=NAME_PATTERN)]
Label = Annotated[str, Field(min_length=1, max_length=50)]
PathPattern = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^/*[^,/\x00-\x1f][^,\x00-\x1f]*$")]


_LATER = ConfigDict(defer_build=True)
"""Made ready at the first use: DAG files import these models, few of which they use."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True, allow_inf_nan=False)


class PromptFile(_Part):
    """A prompt in a file of its own."""

    file: str = Field(
        min_length=1, max_length=200, description="Path of the file, relative to `[agents] config_path`."
    )

    @field_validator("file")
    @classmethod
    def _inside(cls, value: str) -> str:
        if value.startswith("/") or ".." in value.split("/") or "\\" in value:
            raise PydanticCustomError("file", "must lie below `[agents] config_path`")
        return value


PromptText = Annotated[str, Field(min_length=1, max_length=MAX_PROMPT_CHARACTERS)]


class Prompts(_Part):
    """Prompts in place of the shipped ones: a text, or `{file: path}`."""

    plan: PromptText | PromptFile | None = Field(default=None, description="Of the step `plan`.")
    implement: PromptText | PromptFile | None = Field(default=None, description="Of the step `implement`.")
    fix: PromptText | PromptFile | None = Field(default=None, description="Of the step `fix`.")
    review: PromptText | PromptFile | None = Field(default=None, description="Of the step `review`.")


class PlatformSettings(_Part):
    """What no run can ask for: how much of a repository is worked on, and what surrounds the agent."""

    paused: bool = Field(default=False, description="Start nothing; runs at work go on.")
    max_runs: int | None = Field(
        default=None, ge=0, description="Most runs at work at a time. Empty: limit of the installation."
    )
    runs_per_day: int | None = Field(
        default=None, ge=0, description="Most runs that start on one UTC day. Empty: no limit."
    )
    usd_per_day: float | None = Field(
        default=None, ge=0, description="Most USD that runs may cost on one UTC day. Empty: no limit."
    )
    off_peak: tuple[str, ...] = Field(
        default=(),
        max_length=50,
        description="Times in which nothing is started: `Mon-Fri 08:00-14:00 America/New_York`, or as of `freeze`.",
    )
    protected_paths: tuple[PathPattern, ...] = Field(
        default=(),
        max_length=100,
        description="Paths that no push of an agent may change, beside `[agents] protected_paths`.",
    )
    labels: tuple[Label, ...] = Field(
        default=(), max_length=20, description="Labels that the pull request is given."
    )
    mcp_servers: tuple[Name, ...] = Field(
        default=(),
        max_length=20,
        description="MCP servers that the agent may use, of those declared at the top of the file.",
    )
    skills: tuple[Name, ...] = Field(
        default=(),
        max_length=20,
        description="Skills that the agent may use, of those declared at the top of the file.",
    )
    prompts: Prompts = Field(default_factory=Prompts, description="Prompts in place of the shipped ones.")

    @field_validator("off_peak")
    @classmethod
    def _off_peak_form(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if faults := freeze_faults(value):
            raise PydanticCustomError("off_peak", "{faults}", {"faults": "; ".join(faults)})
        return value


class Limits(RunSettings):
    """Values that no run passes, whoever asks: by the merge rule of each key, a ceiling, a floor or a list."""

    model_config = _LATER

    @field_validator(*(key for key in UNLIMITED if key in RunSettings.model_fields), mode="before")
    @classmethod
    def _no_limit(cls, value: Any) -> Any:
        raise PydanticCustomError("limit", "has no limit; set it beside `limits`")


class RepositorySettings(PlatformSettings, RunSettings):
    """Settings of the repositories that a name or a pattern stands for."""

    model_config = _LATER

    authority: AuthorityRules = Field(
        default_factory=AuthorityRules,
        description="Who may do what; an action that is not named keeps its rule.",
    )
    limits: Limits = Field(
        default_factory=Limits,
        description="Values that no run passes, whoever asks. Keys: those with a rule.",
    )


class DefaultSettings(RepositorySettings):
    """Settings of all repositories, and what the trigger form starts with."""

    repository: str | None = Field(
        default=None, max_length=140, description="Repository that the trigger form starts with."
    )

    @field_validator("repository")
    @classmethod
    def _repository_form(cls, value: str | None) -> str | None:
        return None if value is None else checked_repository(value)


class AgentsFile(RepositorySettings):
    """What a repository sets for itself in `.agents.yaml`, in its base branch: tighter values, by a rule a key."""

    @field_validator(*NEVER, mode="before")
    @classmethod
    def _not_here(cls, value: Any) -> Any:
        raise PydanticCustomError(
            "never", "is not set by the repository; the operators of the platform set it in repositories.yaml"
        )


class Repositories(_Part):
    """The file `repositories.yaml`."""

    model_config = _LATER

    defaults: DefaultSettings = Field(
        default_factory=DefaultSettings, description="For all repositories; the trigger form shows them."
    )
    repositories: dict[str, RepositorySettings] = Field(
        default_factory=dict,
        description="By `owner/name`, or by a pattern: `acme/*`. Patterns count in their order, a name after "
        "all patterns.",
    )
    mcp_servers: dict[Name, McpServer] = Field(
        default_factory=dict, description="MCP servers that `mcp_servers` of a repository may name."
    )
    skills: dict[Name, Skill] = Field(
        default_factory=dict, description="Skills that `skills` of a repository may name."
    )

    @field_validator("repositories")
    @classmethod
    def _names(cls, value: dict[str, RepositorySettings]) -> dict[str, RepositorySettings]:
        if wrong := [name for name in value if not _REPOSITORIES.fullmatch(name)]:
            raise PydanticCustomError(
                "repositories", "{names}: neither owner/name nor a pattern", {"names": ", ".join(wrong)}
            )
        folded: dict[str, str] = {}
        for name in value:
            if (same := folded.setdefault(name.lower(), name)) != name:
                raise PydanticCustomError(
                    "repositories", "{one} and {other} are the same", {"one": same, "other": name}
                )
        return value
