"""Who may do what, as an installation writes it down, and what somebody is, as a source says.

:mod:`.authority` puts the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Action = Literal["start", "approve", "steer", "merge", "context"]
"""``start``: a run, by a label, an assignment or a command. ``approve``: its plan. ``steer``: ``/retry``,
``/tell``, ``/stop``, ``/review``. ``merge``: ``/merge``, and an answer that consents to a merge. ``context``:
whose comments the agent is shown, fenced."""

PermissionName = Literal["read", "triage", "write", "maintain", "admin"]
Association = Literal["owner", "member", "collaborator", "contributor"]


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


class Who(BaseModel):
    """Some people: those for whom any of the lines is true. Nobody where all are empty.

    A bot never counts, except one that ``users`` names.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    permission: Annotated[PermissionName | None, BeforeValidator(_lower)] = Field(
        default=None, description="At least this right to the repository (GitHub only)."
    )
    teams: tuple[str, ...] = Field(
        default=(),
        max_length=20,
        description="Members of these teams, `organisation/team` (GitHub), teams (Linear) or groups (Jira).",
    )
    association: tuple[Annotated[Association, BeforeValidator(_lower)], ...] = Field(
        default=(),
        description="What GitHub calls the author's association; `member` (Linear, Jira): whoever belongs to it.",
    )
    users: tuple[str, ...] = Field(
        default=(),
        max_length=200,
        description="These logins (GitHub), e-mail addresses (Linear, Jira) or ids.",
    )


WRITERS = Who(permission="write")


class AuthorityRules(BaseModel):
    """Who may do what. What is not named keeps its default: people with write access."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: Who = WRITERS
    approve: Who = WRITERS
    steer: Who = WRITERS
    merge: Who = WRITERS
    context: Who = WRITERS


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a person is to a repository, or to a tracker."""

    login: str
    is_bot: bool = False
    permission: PermissionName | None = None
    """``None``: none, or the source has no such right."""
    teams: frozenset[str] = frozenset()
    """Of those that the rules name."""
    association: Association | None = None
    own: bool = False
    """Whether it is the account that we write with."""
    names: frozenset[str] = frozenset()
    """Further names under which ``users`` may list the same person: e-mail address, id."""
