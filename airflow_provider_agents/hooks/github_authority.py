"""What those that wrote a command are to the repository: asked of GitHub person by person, kept for a while.

GitHub does not say it with the comment. ``authorAssociation`` is no substitute: members and collaborators may
be allowed to read only, and an App does not see that a private member of an organisation is one.

What is read is shared by all who wait for it, so it holds facts: who of them may do what is decided where the
rules of a run are known, in :mod:`~airflow_provider_agents.domain.authority`.
"""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow_provider_agents.domain.authority import is_bot, may_write
from airflow_provider_agents.domain.authority_rules import Standing
from airflow_provider_agents.domain.commands import command_action
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError
from airflow_provider_agents.hooks.github_errors import Operation, response_error
from airflow_provider_agents.hooks.github_fields import mapping, one_of, text
from airflow_provider_agents.hooks.github_models import RepositoryPermission
from airflow_provider_agents.hooks.github_names import repository_path

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_agents.domain.authority_rules import PermissionName
    from airflow_provider_agents.domain.pull_request import Comment, PullRequestSnapshot
    from airflow_provider_agents.hooks.github_client import GitHubClient
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

KEPT_SECONDS = 600.0
"""How long an answer about a person is taken for true."""
MOST_KEPT = 4096
MOST_ASKED = 20
"""Authors of commands that are asked about for one reading; the newest commands go first, and the next
reading asks about the rest: until then the comments count as missing."""

MOST_TEAMS = 50
"""Teams that are asked about; those that were named last."""

_TEAM = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*)/([\w.-]+)")

_kept: OrderedDict[tuple[str, str, str], tuple[float, frozenset[str], Standing]] = OrderedDict()
"""API, repository and login; when the answer was given, which teams were asked about, and the answer."""
_teams: OrderedDict[str, None] = OrderedDict()
"""Teams that the rules of runs in this process name; one reading serves all of them."""


def ask_about(teams: Iterable[str]) -> None:
    """Have every later reading of this process say who is in these teams.

    :param teams: ``organisation/team``, of the rules of a run that reads, or waits for, a pull request.
    """
    for team in teams:
        _teams[team] = None
        _teams.move_to_end(team)
    while len(_teams) > MOST_TEAMS:
        _teams.popitem(last=False)


async def with_authority(transport: GitHubTransport, snapshot: PullRequestSnapshot) -> PullRequestSnapshot:
    """Return the snapshot with ``standing`` and ``can_write`` set on the comments that are commands.

    Other comments stay without them. Where GitHub is unavailable the comments count as missing, so that a
    ``/stop`` is not overlooked; where the credential may not ask, commands have no effect, which ``degraded``
    says.
    """
    authors = list(dict.fromkeys(c.author for c in reversed(snapshot.comments) if _is_command(c)))
    people: dict[str, Standing] = {}
    missing: list[str] = []
    degraded: list[str] = []
    asked = 0
    for author in authors:
        # A bot counts only by its name.
        if is_bot(author):
            people[author] = Standing(login=author, is_bot=True)
            continue
        try:
            standing = _remembered(transport, snapshot.repository, author)
            if standing is None and asked == MOST_ASKED:
                missing = ["comments: too many people wrote commands to ask about all of them at once"]
                break
            if standing is None:
                asked += 1
                standing = await _ask(transport, snapshot.repository, author, degraded)
            people[author] = standing
        except ForgeAccessError as error:
            degraded.append(f"commands: {error}")
        except ForgeError as error:
            missing.append(f"comments: {error}")
    if not authors:
        return snapshot
    return replace(
        snapshot,
        comments=tuple(
            _of(c, people[c.author]) if _is_command(c) and c.author in people else c
            for c in snapshot.comments
        ),
        missing=(*snapshot.missing, *missing),
        degraded=(*snapshot.degraded, *degraded),
    )


async def person(client: GitHubClient, repository: str, login: str, teams: Iterable[str] = ()) -> Standing:
    """Ask GitHub what somebody is to a repository.

    :param login: of a person, not of an app.
    :param teams: ``organisation/team``: those that are asked about.
    :raises ForgeError: GitHub did not say.
    """
    permission = await client.permission(repository, login)
    found = [team for team in sorted(teams) if await read_membership(client._transport, team, login)]
    return Standing(login=login, permission=_in_lower_case(permission), teams=frozenset(found))


async def read_membership(transport: GitHubTransport, team: str, login: str) -> bool:
    """Ask GitHub whether somebody is in a team; a team that is not there, or may not be seen, has nobody.

    :param team: ``organisation/team``.
    :raises ForgeError: GitHub did not say, or the credential may not ask.
    """
    named = _TEAM.fullmatch(team)
    if named is None:
        return False
    operation = Operation(f"ask whether {login} is in the team {team}", "Members: read (of the organisation)")
    organisation, slug, who = (quote(part, safe="") for part in (named[1], named[2], login))
    path = f"/orgs/{organisation}/teams/{slug}/memberships/{who}"
    status, headers, answer = await transport.answer("GET", path, operation)
    if status == 404:
        return False
    if status != 200:
        raise response_error(operation, status, headers, answer, datetime.now(UTC))
    # An invitation that was not accepted is "pending".
    return text(mapping(answer).get("state")) == "active"


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
    """Forget every answer, and which teams are asked about."""
    _kept.clear()
    _teams.clear()


def _is_command(comment: Comment) -> bool:
    """Tell whether the comment would be a command if its author may give it."""
    return not comment.own and not comment.edited_by and command_action(comment.body) is not None


def _of(comment: Comment, standing: Standing) -> Comment:
    standing = replace(standing, login=comment.author, association=comment.association)
    return replace(comment, standing=standing, can_write=may_write(standing.permission))


def _key(transport: GitHubTransport, repository: str, login: str) -> tuple[str, str, str]:
    return (transport.rest_url, repository.lower(), login.lower())


def _remembered(transport: GitHubTransport, repository: str, login: str) -> Standing | None:
    """Return what somebody is, where that was asked a short while ago, and about all teams that count now."""
    kept = _kept.get(_key(transport, repository, login))
    if kept is None or time.monotonic() - kept[0] >= KEPT_SECONDS or not kept[1].issuperset(_teams):
        return None
    return kept[2]


async def _ask(transport: GitHubTransport, repository: str, login: str, degraded: list[str]) -> Standing:
    key, now, teams = _key(transport, repository, login), time.monotonic(), tuple(_teams)
    permission = _in_lower_case(await read_permission(transport, repository, login))
    found = []
    for team in teams:
        try:
            if await read_membership(transport, team, login):
                found.append(team)
        except ForgeAccessError as error:
            # Another run's rules may name it: whoever may push is heard all the same.
            degraded.append(f"teams: {error}")
    standing = Standing(login=login, permission=permission, teams=frozenset(found))
    _kept[key] = (now, frozenset(teams), standing)
    _kept.move_to_end(key)
    while len(_kept) > MOST_KEPT:
        _kept.popitem(last=False)
    return standing


def _in_lower_case(permission: RepositoryPermission | None) -> PermissionName | None:
    names: dict[str, PermissionName] = {
        "READ": "read", "TRIAGE": "triage", "WRITE": "write", "MAINTAIN": "maintain", "ADMIN": "admin",
    }  # fmt: skip
    return names.get(permission) if permission else None
