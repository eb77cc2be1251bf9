"""A source of tickets as a team writes it down: one file ``tickets/<name>.yaml`` below ``[agents] config_path``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from agent_runner.contract import REPOSITORY_PATTERN
from airflow_provider_agents.domain.authority_rules import Action, AuthorityRules, Who
from airflow_provider_agents.domain.freeze import freeze_faults
from airflow_provider_agents.domain.tickets import SourceKind  # noqa: TC001 (read at run time)

NAME_PATTERN = r"^[a-z0-9][a-z0-9_-]{0,39}$"
"""Of a source: the name of its file without ``.yaml``; part of the id of its DAG."""

AT_PULL_REQUEST: tuple[Action, ...] = ("approve", "steer", "merge")
"""What people do at GitHub, wherever the ticket is."""

OwnClass = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)+$", max_length=200)]
"""Dotted path of a class that is a :class:`~airflow_provider_agents.hooks.ticket_source.TicketSource`."""
Repository = Annotated[str, Field(pattern=f"^(?:{REPOSITORY_PATTERN.pattern})$", max_length=140)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class AskRules(_Part):
    """What counts as asking for an agent; any of them. ``/agent`` in a comment asks too, always."""

    labels: tuple[str, ...] = Field(
        default=("agent",), max_length=20, description="Labels, any of which asks. Case does not count."
    )
    assignees: tuple[str, ...] = Field(
        default=(),
        max_length=20,
        description="Assigning to one of these logins (e-mail addresses, ids) asks.",
    )
    states: tuple[str, ...] = Field(
        default=(), max_length=20, description="Moving to one of these states asks (Linear, Jira)."
    )
    unless: tuple[str, ...] = Field(
        default=("agent-ignore",),
        max_length=20,
        description="Labels that keep a ticket from being worked on.",
    )


class PriorityRules(_Part):
    """Which tickets go first: the highest number of those that fit, then age."""

    labels: dict[str, int] = Field(default_factory=dict, description="Label: number, e.g. `urgent: 100`.")
    fields: dict[str, int] = Field(
        default_factory=dict,
        description="The tracker's own priority: number, e.g. `Urgent: 100` (Linear, Jira).",
    )
    default: int = Field(default=0, description="Number of a ticket that none of them fits.")


class SourceLimits(_Part):
    """How much of this source may be worked on; beside the limits of the installation and of each repository."""

    active: int | None = Field(
        default=None, ge=0, description="Most runs at work at a time; 0 holds the source."
    )
    runs_per_day: int | None = Field(default=None, ge=0, description="Most runs that start on one UTC day.")
    usd_per_day: float | None = Field(
        default=None, ge=0, description="Most USD that its runs may cost on one UTC day."
    )


class Stages(_Part):
    """States of the tracker that a ticket is moved to; those that are empty leave it where it is (Linear, Jira)."""

    working: str = ""
    in_review: str = ""
    done: str = ""
    stopped: str = ""


class RepositoryRule(_Part):
    """Where the tickets of a tracker are worked on: the first rule that fits."""

    repository: Repository
    labels: tuple[str, ...] = Field(default=(), description="A ticket with any of these labels.")
    projects: tuple[str, ...] = Field(
        default=(), description="A ticket of any of these projects (Linear) or components (Jira)."
    )


class SourceDefinition(_Part):
    """Where tickets come from, who may ask, and how they are worked on."""

    source: Literal["github", "linear", "jira"] | OwnClass = Field(
        description="Where the tickets are; or the class of a source of your own, `my_package.tickets.MyTickets`."
    )
    connection: str = Field(
        default="",
        description="Airflow connection. Empty: `[agents] github_conn_id`, `linear_default`, `jira_default`.",
    )
    enabled: bool = Field(default=True, description="Off: its DAG does nothing but say so.")
    every: float = Field(
        default=60,
        ge=10,
        le=86_400,
        description="Seconds between two looks. A webhook makes it look at once.",
    )
    repositories: tuple[Repository, ...] = Field(
        default=(), max_length=500, description="Repositories whose issues are read (GitHub)."
    )
    teams: tuple[str, ...] = Field(
        default=(), max_length=100, description="Teams whose tickets are read, by their key: `ENG` (Linear)."
    )
    jql: str = Field(
        default="",
        max_length=4_000,
        description="Which tickets, without the labels and without ORDER BY: `project = SHOP` (Jira).",
    )
    works_in: tuple[RepositoryRule, ...] = Field(
        default=(),
        max_length=500,
        description="Which repository a ticket is worked on in (Linear, Jira); the first that fits.",
    )
    ask: AskRules = Field(default_factory=AskRules)
    authority: AuthorityRules = Field(
        default_factory=AuthorityRules,
        description="Who may do what, in place of the rules of the installation.",
    )
    priority: PriorityRules = Field(default_factory=PriorityRules)
    limits: SourceLimits = Field(default_factory=SourceLimits)
    off_peak: tuple[str, ...] = Field(
        default=(),
        max_length=50,
        description="Times in which nothing is started: `Mon-Fri 08:00-14:00 America/New_York`, "
        "or as of the setting `freeze`.",
    )
    stages: Stages = Field(default_factory=Stages)
    options: dict[str, Any] = Field(
        default_factory=dict, description="Whatever the class of a source of your own reads."
    )
    attachment_hosts: tuple[str, ...] = Field(
        default=(),
        max_length=50,
        description="Hosts that files of tickets may be fetched from, beside those of the tracker itself.",
    )
    task: dict[str, Any] = Field(
        default_factory=dict, description="Params of the runs, as of the trigger form, e.g. `max_rounds: 3`."
    )

    @property
    def kind(self) -> SourceKind:
        """Return what kind of tracker it is."""
        return "custom" if "." in self.source else self.source  # type: ignore[return-value]

    @field_validator("off_peak")
    @classmethod
    def _windows(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if faults := freeze_faults(value):
            raise PydanticCustomError("off_peak", "{faults}", {"faults": "; ".join(faults)})
        return value

    @model_validator(mode="after")
    def _enough(self) -> SourceDefinition:
        needed = {
            "github": ("repositories",),
            "linear": ("teams", "works_in"),
            "jira": ("jql", "works_in"),
        }.get(self.source, ())
        if absent := [name for name in needed if not getattr(self, name)]:
            raise PydanticCustomError(
                "source",
                "a {source} source needs {absent}",
                {"source": self.source, "absent": " and ".join(absent)},
            )
        return self

    @model_validator(mode="after")
    def _people(self) -> SourceDefinition:
        """Refuse rules that fit nobody: a tracker knows no right to a repository, and a pull request nobody of a
        tracker.
        """
        if self.kind in ("github", "custom"):
            return self
        start = self.authority.start
        if not (start.teams or start.users or "member" in start.association):
            raise PydanticCustomError(
                "authority",
                "authority.start: nobody could ask, as {source} knows no right to a repository; name `teams`, "
                "`users` or `association: [member]`",
                {"source": self.source},
            )
        for action in AT_PULL_REQUEST:
            who: Who = getattr(self.authority, action)
            foreign = [user for user in who.users if "@" in user]
            foreign += [team for team in who.teams if "/" not in team]
            if foreign:
                raise PydanticCustomError(
                    "authority",
                    "authority.{action}: {names}: this is done at the pull request, where people have names of "
                    "GitHub; name logins, `organisation/team` or `permission`",
                    {"action": action, "names": ", ".join(foreign)},
                )
        return self
