"""What a person is to a Jira: an active user, of which groups, an app, or nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.authority import named_teams
from airflow_provider_agents.domain.authority_rules import Standing
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.jira_client import person_id
from airflow_provider_agents.hooks.jira_errors import JiraAbsentError
from airflow_provider_agents.hooks.jira_fields import mappings, names_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from airflow_provider_agents.domain.authority_rules import AuthorityRules
    from airflow_provider_agents.hooks.jira_client import JiraClient

NOBODY = Standing(login="")
"""Of who is not known, was deactivated or anonymised: has no authority, whatever a rule lists."""

_ACCOUNT_OF_A_MEMBER = "atlassian"
"""Others are ``app``, and ``customer``: whoever may write to a service desk."""


async def read_standing(client: JiraClient, person: str, rules: AuthorityRules) -> Standing:
    """Return what ``person`` is.

    Only what people cannot give themselves counts: id, name of the login, e-mail address, groups.

    :param person: account id (Cloud), key or name (Data Center).
    :raises ForgeAccessError: the connection's user may not read users.
    """
    user = await _user(client, person) if person else None
    if user is None or user.get("active") is not True:
        return NOBODY
    kind = user.get("accountType")
    is_bot = kind == "app"
    named = named_teams(rules)
    groups = await _groups(client, person, user) if named else frozenset()
    member = kind == _ACCOUNT_OF_A_MEMBER if client.server.cloud else True
    return Standing(
        login=str(user.get("name") or person_id(user)) if not client.server.cloud else person_id(user),
        is_bot=is_bot,
        own=person_id(user) == client.server.me,
        teams=frozenset(team for team in named if team.casefold() in groups),
        association="member" if member else None,
        names=names_of(user),
    )


async def _user(client: JiraClient, person: str) -> Mapping[str, Any] | None:
    what = f"read who {person} is"
    more = {} if client.server.cloud else {"expand": "groups"}
    for name in ("accountId",) if client.server.cloud else ("key", "username"):
        try:
            found = await client.get("user", what=what, **{name: person}, **more)
        except JiraAbsentError:
            continue
        return mapping(found)
    return None


async def _groups(client: JiraClient, person: str, user: Mapping[str, Any]) -> frozenset[str]:
    """Return the names of all groups of a user, in folded case.

    :raises ForgeUnavailableError: Jira does not give them all.
    """
    if client.server.cloud:
        listed = await client.get("user", "groups", what=f"read the groups of {person}", accountId=person)
    else:
        groups = mapping(user.get("groups"))
        listed = groups.get("items")
        if not isinstance(listed, list) or groups.get("size", 0) > len(listed):
            raise ForgeUnavailableError(f"Jira does not tell all groups of {person}")
    return frozenset(str(group.get("name") or "").casefold() for group in mappings(listed))
