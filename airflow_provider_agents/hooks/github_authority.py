"""Who of those that wrote a command may push: asked of GitHub person by person, and kept for a while.

GitHub does not say it with the comment. ``authorAssociation`` is no substitute: members and collaborators may
be allowed to read only, and an App does not see that a private member of an organisation is one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_agents.domain.authority import is_bot, may_write
from airflow_provider_agents.domain.commands import parse_command
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError
from airflow_provider_agents.hooks.github_errors import Operation, response_error
from airflow_provider_agents.hooks.github_fields import mapping, one_of, text
from airflow_provider_agents.hooks.github_models import RepositoryPermission
from airflow_provider_agents.hooks.github_names import repository_path

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pull_request import Comment, PullRequestSnapshot
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

KEPT_SECONDS = 600.0
"""How long an answer about a person is taken for true."""
MOST_KEPT = 4096
MOST_ASKED = 20
"""Authors of commands that are asked about for one reading; the newest commands go first, and the next
reading asks about the rest: until then the comments count as missing."""

_kept: OrderedDict[tuple[str, str, str], tuple[float, bool]] = OrderedDict()
"""API, repository and login; when the answer was given, and whether the person may push."""


async def with_authority(transport: GitHubTransport, snapshot: PullRequestSnapshot) -> PullRequestSnapshot:
    """Return the snapshot with ``can_write`` set on the comments that are commands of people who may push.

    Comments that are no command stay without it. Where GitHub is unavailable the comments count as missing,
    so that a ``/stop`` is not overlooked; where the credential may not ask, commands have no effect, which
    ``degraded`` says.
    """
    authors = list(dict.fromkeys(c.author for c in reversed(snapshot.comments) if _commands(c)))
    writers: set[str] = set()
    missing: list[str] = []
    degraded: list[str] = []
    asked = 0
    for author in authors:
        try:
            may_push = _remembered(transport, snapshot.repository, author)
            if may_push is None and asked == MOST_ASKED:
                missing = ["comments: too many people wrote commands to ask about all of them at once"]
                break
            if may_push is None:
                asked += 1
                may_push = await _ask(transport, snapshot.repository, author)
            if may_push:
                writers.add(author)
        except ForgeAccessError as error:
            degraded.append(f"commands: {error}")
        except ForgeError as error:
            missing.append(f"comments: {error}")
    if not authors:
        return snapshot
    return replace(
        snapshot,
        comments=tuple(
            replace(c, can_write=True) if c.author in writers and _commands(c) else c
            for c in snapshot.comments
        ),
        missing=(*snapshot.missing, *missing),
        degraded=(*snapshot.degraded, *degraded),
    )


async def read_permission(
    transport: GitHubTransport, repository: str, login: str
) -> RepositoryPermission | None:
    """Ask GitHub what somebody may do in a repository; ``None`` for nobody we know of.

    A role of an organisation's own making counts as the ordinary one that it is made from.

    :raises ForgeError: GitHub did not say.
    """
    operation = Operation(f"read the permission of {login} on {repository}", "Metadata: read")
    path = repository_path(repository, f"collaborators/{quote(login, safe='')}/permission")
    status, headers, answer = await transport.answer("GET", path, operation)
    if status == 404:
        return None
    if status != 200:
        raise response_error(operation, status, headers, answer, datetime.now(UTC))
    role, base = (text(mapping(answer).get(key)).upper() for key in ("role_name", "permission"))
    found: RepositoryPermission | None = one_of(RepositoryPermission, role)
    return found or one_of(RepositoryPermission, base)


def forget_people() -> None:
    """Forget every answer."""
    _kept.clear()


def _commands(comment: Comment) -> bool:
    """Tell whether the comment would be a command if its author may push."""
    return not is_bot(comment.author) and parse_command(replace(comment, can_write=True)) is not None


def _key(transport: GitHubTransport, repository: str, login: str) -> tuple[str, str, str]:
    return (transport.rest_url, repository.lower(), login.lower())


def _remembered(transport: GitHubTransport, repository: str, login: str) -> bool | None:
    """Return whether somebody may push, where that was asked a short while ago."""
    kept = _kept.get(_key(transport, repository, login))
    return kept[1] if kept and time.monotonic() - kept[0] < KEPT_SECONDS else None


async def _ask(transport: GitHubTransport, repository: str, login: str) -> bool:
    key, now = _key(transport, repository, login), time.monotonic()
    may_push = may_write(await read_permission(transport, repository, login))
    _kept[key] = (now, may_push)
    _kept.move_to_end(key)
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)
    return may_push
