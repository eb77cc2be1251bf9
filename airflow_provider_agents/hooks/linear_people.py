"""What a person is to a workspace of Linear: a member, of which teams, an app, or gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.domain.authority import named_teams
from airflow_provider_agents.domain.authority_rules import Standing
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.linear_entries import nodes
from airflow_provider_agents.hooks.linear_errors import LinearCredentialError, LinearRefusalError, refused
from airflow_provider_agents.hooks.linear_queries import USER, USER_BY_EMAIL

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from airflow_provider_agents.domain.authority_rules import AuthorityRules
    from airflow_provider_agents.hooks.linear_transport import LinearTransport

MOST_PAGES = 5
"""Pages of 100 teams that somebody's membership is looked for in."""


async def read_standing(
    transport: LinearTransport, person: str, rules: AuthorityRules, *, viewer: str
) -> Standing:
    """Return what ``person`` is; who is unknown, suspended or deleted is nobody, whoever the rules name.

    Only what people cannot give themselves counts: id and e-mail address, not the name that is shown, and the
    keys of teams, not their names.

    :param person: id or e-mail address.
    :param viewer: our own id at Linear.
    """
    found = await _find(transport, person) if person else None
    if found is None or found[0].get("active") is not True:
        return Standing(login="")
    user, teams = found
    id_, email, is_bot = text(user.get("id")), text(user.get("email")), bool(user.get("app"))
    member = user.get("guest") is False and not is_bot
    return Standing(
        login=email or id_,
        is_bot=is_bot,
        own=id_ == viewer,
        teams=frozenset(team for team in named_teams(rules) if team.casefold() in teams),
        association="member" if member else None,
        names=frozenset(filter(None, (id_, email, email.lower()))),
    )


async def _find(transport: LinearTransport, person: str) -> tuple[Mapping[str, Any], frozenset[str]] | None:
    """Return the user, and the keys of their teams in folded case."""
    what = f"read who {person} is"
    if "@" in person:
        answer = await transport.query(USER_BY_EMAIL, {"email": person}, what)
        if answer.errors:
            raise refused(what, answer.errors)
        listed = nodes(answer.data.get("users"))
        if len(listed) != 1:
            return None
        person = text(listed[0].get("id"))
    teams: set[str] = set()
    after: str | None = None
    user: Mapping[str, Any] = {}
    for _ in range(MOST_PAGES):
        try:
            answer = await transport.query(USER, {"id": person, "after": after}, what)
        except LinearCredentialError:
            raise
        except LinearRefusalError:
            return None
        user = mapping(answer.data.get("user"))
        if answer.errors or not user:
            raise refused(what, answer.errors)
        teams |= {text(team.get("key")).casefold() for team in nodes(user.get("teams"))}
        page = mapping(mapping(user.get("teams")).get("pageInfo"))
        if not page.get("hasNextPage"):
            break
        after = text(page.get("endCursor"))
    return user, frozenset(teams)
