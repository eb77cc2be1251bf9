"""A rule for pull requests as a team writes it down: one file ``rules/<name>.yaml`` below ``[agents] config_path``."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from airflow_provider_agents.domain.argocd_names import pattern_faults
from airflow_provider_agents.domain.freeze import freeze_faults
from airflow_provider_agents.domain.landing_policy import MergeMethod, NoChecks  # noqa: TC001 (read at run time)
from airflow_provider_agents.domain.title_pattern import MOST_CHARACTERS, pattern_fault

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,62}$"
"""Of a rule: the name of its file without ``.yaml``, or ``metadata.name`` of a manifest; part of the id of its DAG."""

Action = Literal["merge", "wait", "escalate", "close", "comment", "label", "request_review", "update_branch"]
"""What a rule may have done. ``wait`` is nothing, until something changes."""

BASIC_ACTIONS: tuple[Action, ...] = ("merge", "wait", "escalate", "close")
ACTS: frozenset[Action] = frozenset(
    {"merge", "escalate", "close", "comment", "label", "request_review", "update_branch"}
)
"""Actions that change something at GitHub."""

ContextPart = Literal["body", "comments", "files", "diff", "age"]
"""What the model is shown beside the facts that it always gets. ``age``: days since the pull request was opened and
since it last changed."""

Environment = Literal["staging", "production", "development", "unknown"]
ENVIRONMENTS: tuple[Environment, ...] = ("staging", "production", "development")
"""The first of these labels on a pull request is its environment."""

Health = Literal["Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"]
"""What Argo CD calls the health of an application."""

PROTECTED_PATHS: tuple[str, ...] = (
    ".github/workflows/**",
    ".github/actions/**",
    ".github/CODEOWNERS",
    "CODEOWNERS",
    "docs/CODEOWNERS",
)
"""Paths whose change a person merges, whatever a rule's text says."""

MOST_INSTRUCTION = 20_000
"""Characters of a rule's text."""

ESCALATION_LABEL = "needs-human-approval"

RepositoryPattern = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_.*?\[\]-]+(/[A-Za-z0-9_.*?\[\]-]+)?$", max_length=140)
]
"""``owner/name``; with an organisation ``name`` alone; ``*`` and ``?`` stand for any characters."""
LabelName = Annotated[str, Field(min_length=1, max_length=50)]
Login = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}(\[bot\])?$")]
"""Of a person, or of a bot as GitHub's pages write it: ``dependabot[bot]``."""
KNOWN_BOTS: frozenset[str] = frozenset({"dependabot"})
"""Bots whose name no person can have, so that it means the bot without its ``[bot]``, too."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LabelSelector(_Part):
    """Labels of a pull request; case does not count, as at GitHub."""

    include: tuple[LabelName, ...] = Field(
        default=(), max_length=20, description="All of these must be there."
    )
    exclude: tuple[LabelName, ...] = Field(
        default=(), max_length=20, description="None of these may be there."
    )


class Selector(_Part):
    """Which open pull requests a rule is for: those that everything here fits."""

    labels: LabelSelector = Field(default_factory=LabelSelector)
    title_pattern: str = Field(
        default="",
        max_length=MOST_CHARACTERS,
        description="Regular expression (Python's) that the title begins with, e.g. `^Bump`. Empty: any title.",
    )
    base_branch: str = Field(
        default="", max_length=250, description="Branch that it goes into. Empty: any branch."
    )
    authors: tuple[Login, ...] = Field(
        default=(),
        max_length=50,
        description="Logins of authors; a bot is written `name[bot]`, as on GitHub's pages. Empty: anybody.",
    )

    @field_validator("title_pattern")
    @classmethod
    def _harmless(cls, value: str) -> str:
        if fault := pattern_fault(value):
            raise PydanticCustomError("title_pattern", "{fault}", {"fault": fault})
        return value

    @field_validator("authors")
    @classmethod
    def _bots(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{login}[bot]" if login.casefold() in KNOWN_BOTS else login for login in value)


class ArgoCd(_Part):
    """The application in Argo CD that a pull request is deployed to."""

    enabled: bool = Field(default=False, description="Off: `argocd.health` is `Unknown`.")
    connection: str = Field(
        default="argocd_default", max_length=200, description="Airflow connection of type `argocd`."
    )
    application: str = Field(
        default="{{repository}}-{{environment}}",
        max_length=300,
        description="Name of the application. `{{repository}}` is the repository's name without its owner, "
        "`{{environment}}` the environment.",
    )
    require: tuple[Health, ...] = Field(
        default=(),
        description="Merge only while the application's health is one of these. Empty: the text alone decides.",
    )

    @field_validator("application")
    @classmethod
    def _names(cls, value: str) -> str:
        if faults := pattern_faults(value):
            raise PydanticCustomError("application", "{faults}", {"faults": "; ".join(faults)})
        return value


class Model(_Part):
    """Who decides."""

    connection: str = Field(
        default="",
        max_length=200,
        description="Airflow connection, of type `anthropic`, or `pydanticai…` with the extra `common-ai`. "
        "Empty: `[agents] anthropic_conn_id`.",
    )
    name: str = Field(
        default="", max_length=100, description="Model. Empty: `[agents] rules_model`, else the connection's."
    )
    max_tokens: int = Field(default=1024, ge=64, le=32_000, description="Most tokens of an answer.")
    temperature: float | None = Field(
        default=0.2, ge=0, le=1, description="Left out where the model takes none. `null`: never sent."
    )
    timeout: float = Field(default=60, ge=5, le=600, description="Seconds that an answer may take.")


class Limits(_Part):
    """How much may happen. What is over a limit waits until there is room."""

    merges_per_hour: int = Field(default=5, ge=0, description="Merges by rules in one repository in an hour.")
    pull_requests_per_hour: int = Field(
        default=10, ge=0, description="Pull requests that rules do something to in one repository in an hour."
    )
    usd_per_day: float = Field(
        default=5.0, ge=0, description="USD that the model may cost this rule on one UTC day."
    )


class Guards(_Part):
    """What no text of a rule, and no model, can override."""

    protected_paths: tuple[str, ...] = Field(
        default=PROTECTED_PATHS, max_length=100, description="Paths whose change a person merges."
    )
    max_risk: int | None = Field(
        default=60,
        ge=0,
        le=100,
        description="Highest risk score that is merged without a person. `null`: any.",
    )
    freeze: tuple[str, ...] = Field(
        default=(),
        max_length=50,
        description="Times in which nothing is merged, beside those of `repositories.yaml`.",
    )
    hold_labels: tuple[LabelName, ...] = Field(
        default=("do-not-merge",),
        max_length=20,
        description="Labels that keep a pull request from being merged.",
    )
    no_checks: NoChecks = Field(
        default="escalate", description="What to do instead of a merge where no check ever starts."
    )
    settle_seconds: int = Field(
        default=30,
        ge=0,
        le=3600,
        description='Seconds since the last check appeared or ended before "all passed" is believed.',
    )
    no_checks_grace_seconds: int = Field(
        default=120,
        ge=0,
        le=86_400,
        description="Seconds that the first check of a new head may take to appear.",
    )
    update_branch: bool = Field(
        default=True,
        description="Bring a branch up to date before its merge where the branch's rules ask for it.",
    )

    @field_validator("freeze")
    @classmethod
    def _windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if faults := freeze_faults(value):
            raise PydanticCustomError("freeze", "{faults}", {"faults": "; ".join(faults)})
        return value


class PullRequestRule(_Part):
    """What becomes of the open pull requests that fit, decided by a model from a text, within guards."""

    instruction: str = Field(
        min_length=1,
        max_length=MOST_INSTRUCTION,
        description="What to decide, in prose; a Jinja template over the facts of the pull request.",
    )
    selector: Selector = Field(default_factory=Selector)
    repositories: tuple[RepositoryPattern, ...] = Field(
        default=(),
        max_length=500,
        description="Repositories, `owner/name`, or patterns of names where there is an organisation. Empty: "
        "`[agents] rules_repositories`; without those, all of the organisation.",
    )
    organization: str = Field(
        default="", max_length=100, description="GitHub organisation. Empty: `[agents] rules_organization`."
    )
    connection: str = Field(
        default="",
        max_length=200,
        description="Airflow connection of GitHub. Empty: `[agents] github_conn_id`.",
    )
    interval: float = Field(
        default=30, ge=10, le=3600, description="Seconds between two looks. A webhook makes it look at once."
    )
    sweep: float = Field(
        default=3600,
        ge=300,
        le=86_400,
        description="Seconds between two runs that nothing asked for, as a net beneath.",
    )
    actions: tuple[Action, ...] = Field(
        default=BASIC_ACTIONS, max_length=8, description="What the model may choose from. `wait` always is."
    )
    context: tuple[ContextPart, ...] = Field(
        default=(), max_length=5, description="What the model is shown beside the facts that it always gets."
    )
    labels: tuple[LabelName, ...] = Field(
        default=(), max_length=20, description="Labels that the action `label` may put on."
    )
    reviewers: tuple[str, ...] = Field(
        default=(),
        max_length=20,
        description="Logins, or `organisation/team`, that `request_review` may ask.",
    )
    environment: Environment | None = Field(
        default=None, description="Environment of all its pull requests. Empty: told by their labels."
    )
    argocd: ArgoCd = Field(default_factory=ArgoCd)
    merge_method: MergeMethod = Field(
        default="squash",
        description="How to merge. Where the repository does not allow it, one that it allows.",
    )
    escalation_label: LabelName = Field(
        default=ESCALATION_LABEL,
        description="Label of pull requests that wait for a person; made if it is missing.",
    )
    max_pull_requests: int = Field(
        default=100,
        ge=1,
        le=1000,
        description="Most pull requests that one run decides about; the others come in the next, longest waiting first.",
    )
    ask_while_checks_run: bool = Field(
        default=False,
        description="Ask the model also while checks run, instead of waiting for their end.",
    )
    dry_run: bool = Field(default=False, description="Decide and show, do nothing.")
    model: Model = Field(default_factory=Model)
    limits: Limits = Field(default_factory=Limits)
    guards: Guards = Field(default_factory=Guards)

    @property
    def version(self) -> str:
        """Return what tells this wording of the rule from another one: 12 hexadecimal digits."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def allowed(self) -> frozenset[Action]:
        """Return the actions that the model may choose from."""
        return frozenset(self.actions) | {"wait"}

    @model_validator(mode="after")
    def _together(self) -> PullRequestRule:
        for action, field, given in (
            ("label", "labels", self.labels),
            ("request_review", "reviewers", self.reviewers),
        ):
            if action in self.actions and not given:
                raise PydanticCustomError(
                    "actions",
                    "actions: `{action}` needs `{field}`: what it may choose from",
                    {"action": action, "field": field},
                )
        return self
