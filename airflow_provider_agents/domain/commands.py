"""What people tell us in comments: ``/retry``, ``/stop``, ``/merge``, ``/review``, ``/explain``, ``/tell <text>``.

A command stands at the beginning of a comment and counts only where its author may do what it does (see
:mod:`.authority`; agent-operator obeyed everybody, and read the first comment only). Each is carried out
once; the comment's node id is its key. One that was written before the run began was meant for another run.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from airflow_provider_agents.domain.authority import BY_WRITERS, may_command

if TYPE_CHECKING:
    from collections.abc import Set

    from airflow_provider_agents.domain.authority_rules import Action, AuthorityRules
    from airflow_provider_agents.domain.landing_history import LandingHistory
    from airflow_provider_agents.domain.pull_request import Comment, PullRequestSnapshot

CommandName = Literal["retry", "stop", "merge", "review", "explain", "tell"]
COMMANDS: tuple[CommandName, ...] = get_args(CommandName)

# Four spaces or a tab before it would make it code, and so somebody's quotation.
_COMMAND = re.compile(r"(?:[ \t]*\r?\n)* {0,3}/([a-z]+)(?=\s|$)(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of one person."""

    name: CommandName
    text: str
    """What stands behind it: untrusted in form, but of a person with authority."""
    author: str
    key: str
    """Node id of the comment."""
    about_head: bool = True
    """Whether its author can have seen the head that is shown now: consent to a head goes with this only."""


def asks_for_agent(body: str) -> bool:
    """Tell whether a comment on a ticket begins with ``/agent`` or ``/agent again``, whoever wrote it.

    Another word behind it means something else, so that ``/agent stop`` starts nothing.
    """
    found = _COMMAND.match(body)
    if found is None or found[1] != "agent":
        return False
    words = found[2].partition("\n")[0].split()
    return not words or words[0].casefold().strip(".,:;!") == "again"


def command_action(body: str) -> Action | None:
    """Return what the command at the beginning of a text does, whoever wrote it; ``None``: it is no command."""
    found = _told(body)
    return _action(found[0]) if found else None


def parse_command(
    comment: Comment, ours: Set[str] = frozenset(), rules: AuthorityRules = BY_WRITERS
) -> Command | None:
    """Return the command in a comment; ``None`` where there is none, or its author may not give one.

    :param ours: logins, besides the reading credential's, that we write with.
    """
    found = _told(comment.body) if comment.node_id else None
    if found is None or not may_command(comment, ours, action=_action(found[0]), rules=rules):
        return None
    return Command(name=found[0], text=found[1], author=comment.author, key=comment.node_id)


def pending_commands(snapshot: PullRequestSnapshot, history: LandingHistory) -> tuple[Command, ...]:
    """Return the commands that were not carried out yet, oldest first."""
    done = history.commands | history.answered
    found = []
    for comment in snapshot.comments:
        if comment.node_id in done or _of_an_earlier_run(comment, history):
            continue
        if command := parse_command(comment, history.ours, history.authority):
            found.append(dataclasses.replace(command, about_head=_about(comment, snapshot.head_sha, history)))
    return tuple(found)


def _told(body: str) -> tuple[CommandName, str] | None:
    found = _COMMAND.match(body)
    name = next((known for known in COMMANDS if found and known == found[1]), None)
    if found is None or name is None or (name == "tell" and not found[2].strip()):
        return None
    return name, found[2].strip()


def _action(name: CommandName) -> Action:
    return "merge" if name == "merge" else "steer"


def _of_an_earlier_run(comment: Comment, history: LandingHistory) -> bool:
    return bool(history.since and comment.created_at and comment.created_at < history.since)


def _about(comment: Comment, head_sha: str, history: LandingHistory) -> bool:
    """Tell whether ``head_sha`` was the newest head that we knew when the comment was written."""
    if set(history.heads_first_seen) <= {head_sha}:
        return True
    if comment.created_at is None:
        return False
    known = [(at, sha) for sha, at in history.heads_first_seen.items() if at <= comment.created_at]
    return bool(known) and max(known)[1] == head_sha
