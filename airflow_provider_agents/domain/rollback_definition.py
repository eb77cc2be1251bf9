"""When a deployment is taken back: one file ``rollbacks/<name>.yaml`` below ``[agents] config_path``."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from airflow_provider_agents.domain.argocd_names import pattern_faults
from airflow_provider_agents.domain.landing_policy import MergeMethod  # noqa: TC001 (read at run time)
from airflow_provider_agents.domain.pr_rule import ESCALATION_LABEL, Environment, Guards, LabelName
from airflow_provider_agents.domain.source_definition import Repository  # noqa: TC001 (read at run time)

Approval = Literal["auto", "person"]
PATH_PATTERN = r"^(?:[^/\x00-\x1f]+(?:/[^/\x00-\x1f]+)*)?$"
"""Of a folder in a repository: relative; ``.`` and ``..`` are refused beside."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Timings(_Part):
    """How long each part may take. All are seconds, but for the number of readings."""

    poll: float = Field(
        default=10, ge=5, le=60, description="Seconds between two readings of the application."
    )
    readings: int = Field(
        default=3, ge=2, le=100, description="Readings in a row that say `Degraded` before anything is done."
    )
    caused_within: float = Field(
        default=3600,
        ge=60,
        le=86_400,
        description="Seconds after a deployment in which a degradation is taken to be its doing.",
    )
    candidate: float = Field(
        default=120, ge=10, le=3600, description="Seconds that finding a revision to go back to may take."
    )
    checks: float = Field(
        default=300, ge=10, le=86_400, description="Seconds that the checks of the pull request may take."
    )
    approval: float = Field(
        default=3600, ge=10, le=604_800, description="Seconds that approval and merge may take after them."
    )
    restored: float = Field(
        default=60, ge=10, le=3600, description="Seconds after the deployment of the merge to be healthy in."
    )
    recovery: float = Field(
        default=600, ge=10, le=86_400, description="Seconds after the merge until a person is called."
    )

    @model_validator(mode="after")
    def _order(self) -> Timings:
        if self.recovery < self.restored:
            raise PydanticCustomError("recovery", "`recovery` must not be shorter than `restored`")
        return self


class RollbackLimits(_Part):
    """How much may happen in the repository in an hour, counted together with what rules do there."""

    merges_per_hour: int = Field(default=5, ge=0, description="Merges in an hour.")
    pull_requests_per_hour: int = Field(
        default=10, ge=0, description="Pull requests that something is done to in an hour."
    )


class RollbackDefinition(_Part):
    """Which application is watched, and what may be done when a deployment made it ill."""

    application: str = Field(max_length=253, description="Name of the application in Argo CD.")
    argocd: str = Field(
        default="argocd_default", max_length=200, description="Airflow connection of type `argocd`."
    )
    repository: Repository = Field(description="`owner/name` that the application is deployed from.")
    branch: str = Field(
        default="",
        max_length=250,
        description="Branch that it is deployed from. Empty: the repository's default.",
    )
    path: str | None = Field(
        default=None,
        max_length=500,
        pattern=PATH_PATTERN,
        description="Folder whose files go back. Not given: the one that Argo CD names; empty: the whole tree.",
    )
    environment: Environment = Field(default="staging", description="What the application is.")
    environments: tuple[Environment, ...] = Field(
        default=("staging",),
        min_length=1,
        max_length=4,
        description="Environments in which something may be taken back without a person beginning it.",
    )
    connection: str = Field(
        default="",
        max_length=200,
        description="Airflow connection of GitHub. Empty: `[agents] github_conn_id`.",
    )
    approval: Approval = Field(
        default="auto",
        description="`person`: somebody says yes on Airflow's page before the merge. Outside staging nothing else may "
        "stand here.",
    )
    merge_method: MergeMethod = Field(default="squash", description="How to merge.")
    label: LabelName = Field(
        default="rollback", description="Label of the pull requests; made if it is missing."
    )
    escalation_label: LabelName = Field(
        default=ESCALATION_LABEL, description="Label of a pull request that a person is called for."
    )
    max_commits: int = Field(
        default=20,
        ge=1,
        le=250,
        description="Most commits that are taken back; more are a person's to judge.",
    )
    enabled: bool = Field(default=True, description="Off: nobody watches, and a run does nothing but say so.")
    dry_run: bool = Field(default=False, description="Find out and show what would be done, and do nothing.")
    timings: Timings = Field(default_factory=Timings)
    limits: RollbackLimits = Field(default_factory=RollbackLimits)
    guards: Guards = Field(
        default_factory=lambda: Guards(update_branch=False), description="As of a rule for pull requests."
    )

    @property
    def allowed(self) -> bool:
        """Return whether the application is of an environment in which something may be taken back."""
        return self.environment in self.environments

    @field_validator("application")
    @classmethod
    def _name(cls, value: str) -> str:
        if "{" in value or pattern_faults(value):
            raise PydanticCustomError(
                "application", "{name} is no name of an application in Argo CD", {"name": repr(value)}
            )
        return value

    @field_validator("path")
    @classmethod
    def _path(cls, value: str | None) -> str | None:
        if value is not None and {".", ".."} & set(value.split("/")):
            raise PydanticCustomError("path", "`.` and `..` may not stand in a path")
        return value

    @model_validator(mode="after")
    def _outside_staging(self) -> RollbackDefinition:
        if not self.allowed:
            raise PydanticCustomError(
                "environment",
                "nothing is taken back in {environment}: add it to `environments`, with `approval: person`",
                {"environment": self.environment},
            )
        if self.environment != "staging" and self.approval != "person":
            raise PydanticCustomError(
                "approval",
                "in {environment} a person says yes: write `approval: person`",
                {"environment": self.environment},
            )
        return self
