"""What people tell us in comments: ``/retry``, ``/stop``, ``/merge``, ``/review``, ``/explain``, ``/tell <text>``.

A command stands at the beginning of a comment's first line and counts only where its author has write
access (agent-operator obeyed everybody). Each is carried out once; the comment's node id is its key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing_history import LandingHistory
    from airflow_provider_agents.domain.pull_request import Comment, PullRequestSnapshot

CommandName = Literal["retry", "stop", "merge", "review", "explain", "tell"]
COMMANDS: tuple[CommandName, ...] = get_args(CommandName)

_COMMAND = re.compile(r"\s*/([a-z]+)(?=\s|$)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of one person."""

    name: CommandName
    text: str
    """What stands behind it: untrusted in form, but of a person with write access."""
    author: str
    key: str
    """Node id of the comment."""


def parse_command(comment: Comment) -> Command | None:
    """Return the command in a comment; ``None`` where there is none, or its author may not give one."""
    if not comment.can_write or comment.own or not comment.node_id:
        return None
    found = _COMMAND.match(comment.body)
    name = next((known for known in COMMANDS if found and known == found[1]), None)
    if found is None or name is None or (name == "tell" and not found[2].strip()):
        return None
    return Command(name=name, text=found[2].strip(), author=comment.author, key=comment.node_id)


def pending_commands(snapshot: PullRequestSnapshot, history: LandingHistory) -> tuple[Command, ...]:
    """Return the commands that were not carried out yet, oldest first."""
    done = history.commands | history.answered
    commands = (parse_command(comment) for comment in snapshot.comments if comment.node_id not in done)
    return tuple(command for command in commands if command is not None)
