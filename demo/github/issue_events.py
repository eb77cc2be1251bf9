"""What an issue's timeline tells: who put on a label, assigned somebody, changed the title, moved it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from demo.github.state import Entity, Issue, Label, Repository, User, now

if TYPE_CHECKING:
    from datetime import datetime


@dataclass(kw_only=True, eq=False)
class IssueEvent(Entity):
    """One event of an issue's timeline."""

    issue: Issue
    actor: User
    created_at: datetime = field(default_factory=now)


@dataclass(kw_only=True, eq=False)
class LabeledEvent(IssueEvent):
    prefix: ClassVar[str] = "LE"
    label: Label


@dataclass(kw_only=True, eq=False)
class UnlabeledEvent(IssueEvent):
    prefix: ClassVar[str] = "UNLE"
    label: Label


@dataclass(kw_only=True, eq=False)
class AssignedEvent(IssueEvent):
    prefix: ClassVar[str] = "AE"
    assignee: User


@dataclass(kw_only=True, eq=False)
class UnassignedEvent(IssueEvent):
    prefix: ClassVar[str] = "UNAE"
    assignee: User


@dataclass(kw_only=True, eq=False)
class RenamedTitleEvent(IssueEvent):
    prefix: ClassVar[str] = "RTE"
    previous_title: str
    current_title: str


@dataclass(kw_only=True, eq=False)
class TransferredEvent(IssueEvent):
    prefix: ClassVar[str] = "TRE"
    from_repository: Repository


@dataclass(kw_only=True, eq=False)
class UserContentEdit(Entity):
    """One edit of an issue's body."""

    prefix: ClassVar[str] = "UCE"
    issue: Issue
    editor: User
    edited_at: datetime = field(default_factory=now)
