"""What a person is to a repository: right, teams and association, asked of GitHub and kept for a minute."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, get_args

from airflow_provider_agents.domain.authority import is_bot, may, named_teams
from airflow_provider_agents.domain.authority_rules import Action, Association, Standing
from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks.github_authority import read_membership, read_permission
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_mutations import VIEWER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.authority_rules import AuthorityRules
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

KEPT_SECONDS = 60.0
"""How long an answer about a person is taken for true."""
MOST_KEPT = 4_096

_LOGIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98})")


class Standings:
    """Says what people are to repositories, asking GitHub once a minute about each.

    :param rules: only the teams that they name are asked about.
    """

    def __init__(self, rules: AuthorityRules) -> None:
        self._rules = rules
        self._teams = sorted(named_teams(rules))
        self._kept: OrderedDict[tuple[str, str], tuple[float, Standing]] = OrderedDict()
        self._viewers: dict[str, str] = {}
        self._associations: dict[tuple[str, str], str] = {}

    def saw(self, repository: str, associations: Mapping[str, str]) -> None:
        """Remember what GitHub called the authors on a ticket: it says so nowhere else.

        :param associations: GitHub's words by login in lower case.
        """
        for login, word in associations.items():
            self._associations[repository.lower(), login] = word
            self._kept.pop((repository.lower(), login), None)

    async def of(self, transport: GitHubTransport, login: str, repository: str) -> Standing:
        """Return what somebody is to a repository.

        :param transport: a session that may read the repository and the teams.
        :param login: with the suffix ``[bot]`` for an app; empty for a deleted account.
        :raises ForgeError: GitHub did not say.
        """
        key = (repository.lower(), login.lower())
        kept = self._kept.get(key)
        if kept is not None and time.monotonic() - kept[0] < KEPT_SECONDS:
            return kept[1]
        found = await self._ask(transport, login, repository)
        self._kept[key] = (time.monotonic(), found)
        self._kept.move_to_end(key)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return found

    async def _ask(self, transport: GitHubTransport, login: str, repository: str) -> Standing:
        own = bool(login) and login.lower() == await self._own_login(transport)
        if is_bot(login) or not _LOGIN.fullmatch(login):
            # A right of theirs would not count; only the rules' `users` may name them.
            return Standing(login=login, is_bot=True, own=own)
        held: Any = (await read_permission(transport, repository, login) or "").lower() or None
        teams, refused = await self._teams_of(transport, login)
        standing = Standing(
            login=login,
            permission=held,
            teams=teams,
            association=self._association(login, repository),
            own=own,
        )
        for action in get_args(Action):
            # Where they may do it anyway, the team need not be known.
            of_action = refused.keys() & set(getattr(self._rules, action).teams)
            if of_action and not may(standing, action, self._rules):
                raise refused[min(of_action)]
        return standing

    async def _teams_of(
        self, transport: GitHubTransport, login: str
    ) -> tuple[frozenset[str], dict[str, ForgeAccessError]]:
        """Return the teams that somebody is in, and those that the credential may not ask about."""
        found: set[str] = set()
        refused: dict[str, ForgeAccessError] = {}
        for team in self._teams:
            try:
                if await read_membership(transport, team, login):
                    found.add(team)
            except ForgeAccessError as error:
                refused[team] = error
        return frozenset(found), refused

    async def _own_login(self, transport: GitHubTransport) -> str:
        """Return the login that the credential writes with, in lower case."""
        if transport.rest_url not in self._viewers:
            operation = Operation("ask whose the credential is", "no permission")
            answer = await transport.query(VIEWER, {}, operation)
            login = text(mapping(answer.data.get("viewer")).get("login"))
            if not login:
                raise absent(operation, answer.errors)
            self._viewers[transport.rest_url] = login.lower()
        return self._viewers[transport.rest_url]

    def _association(self, login: str, repository: str) -> Association | None:
        if login.lower() == repository.partition("/")[0].lower():
            return "owner"
        word: Any = self._associations.get((repository.lower(), login.lower()), "").lower()
        return word if word in get_args(Association) else None
