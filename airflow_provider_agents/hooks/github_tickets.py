"""GitHub Issues as a source of tickets: :class:`GitHubTickets`."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github import MOST_REPOSITORIES, AgentsGitHubHook
from airflow_provider_agents.hooks.github_app import OPERATOR_PERMISSIONS
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.github_ticket_links import read_links
from airflow_provider_agents.hooks.github_ticket_listing import TicketListing
from airflow_provider_agents.hooks.github_ticket_parse import RawTicket, associations, parse_ticket
from airflow_provider_agents.hooks.github_ticket_queries import CLOSE_TICKET, TICKET_STATE
from airflow_provider_agents.hooks.github_ticket_reading import read_raw, repository_ids, resolve_keys
from airflow_provider_agents.hooks.github_ticket_rules import TicketRules
from airflow_provider_agents.hooks.github_ticket_standing import Standings
from airflow_provider_agents.hooks.github_ticket_status import write_status

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing
    from airflow_provider_agents.domain.source_definition import SourceDefinition
    from airflow_provider_agents.domain.tickets import Claim, SourceKind, Stage, TicketReading
    from airflow_provider_agents.hooks.github import GitHubCredential
    from airflow_provider_agents.hooks.github_app import GitHubApp
    from airflow_provider_agents.hooks.github_transport import GitHubTransport
    from airflow_provider_agents.hooks.ticket_source import Listing

_KEY = re.compile(r"[\w.-]+/[\w.-]+#\d{1,9}")
TOKEN_SECONDS = 30.0
"""How long GitHub may take to make a token."""
_PUBLIC = "https://github.com"


class GitHubTickets:
    """The issues of the definition's repositories, at github.com or a GitHub Enterprise Server.

    A :class:`~airflow_provider_agents.hooks.ticket_source.TicketSource`. A repository that cannot be read is
    the fault of that one; a pull request is no ticket. ``host`` is known once the source is open.

    :param definition: of the kind ``github``.
    :param connection: id of the Airflow connection, for :class:`~.github.AgentsGitHubHook`. The token of an App
        is for one owner: for several, the App is asked for several.
    :param authority: whose teams are asked about; by default those of the definition.
    :param credential: what the connection says, where the caller has read it already.
    """

    kind: SourceKind = "github"
    host: str

    def __init__(
        self,
        definition: SourceDefinition,
        *,
        connection: str,
        authority: AuthorityRules | None = None,
        credential: GitHubCredential | None = None,
    ) -> None:
        self._definition = definition
        self._connection = connection
        self._credential = credential
        self._rules = TicketRules(definition)
        self._standings = Standings(authority or definition.authority)
        self._named = frozenset(name.lower() for name in definition.repositories)
        self._transports: dict[str, GitHubTransport] = {}
        self._web_host = ""
        self._listing: TicketListing | None = None
        self._homes: dict[str, str] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[GitHubTickets]:
        """Open the sessions; inside it the other methods work.

        :raises InvalidInputError: the connection is missing or says nothing to go by.
        """
        hook = AgentsGitHubHook(self._connection)
        found = self._credential or await hook.aget_conn()
        web = found.urls.git_url
        self._web_host = urlsplit(web).netloc
        self.host = "" if web == _PUBLIC else self._web_host.lower()
        async with AsyncExitStack() as stack:
            transports: dict[str, GitHubTransport] = {}
            for group in await self._groups(found):
                session = AgentsGitHubHook(self._connection, repositories=group)
                client = await stack.enter_async_context(session.opened(found))
                transports |= dict.fromkeys(group, client._transport)
            self._transports = transports
            self._listing = TicketListing(self._definition, self._rules, transports)
            self._listing.homes = self._homes
            try:
                yield self
            finally:
                self._transports, self._listing = {}, None

    async def fetch(self, cursor: Mapping[str, Any] | None) -> Listing:
        """List the issues that changed since ``cursor``; without one, those that are open and asked for.

        The first listing of a repository finds what has a label or an assignee that asks, and commands in the
        comments of issues that changed within a week; from then on everything that changes is seen.

        :raises ForgeError: a rate limit is used up, or no repository could be listed.
        """
        return await self._opened.listing(cursor)

    async def read(self, ids: Sequence[str]) -> dict[str, TicketReading | ForgeError]:
        """Read issues whole, by node id or as ``owner/name#7``; one that cannot be read is an error of its own.

        An issue of a repository that the definition does not name is not read.

        :raises ForgeError: a rate limit is used up, or nothing could be read.
        """
        found: dict[str, TicketReading | ForgeError] = {}
        by_session: dict[GitHubTransport, dict[str, str]] = {}
        for given, node_id, transport in await self._located(ids, found):
            by_session.setdefault(transport, {})[given] = node_id
        for transport, wanted in by_session.items():
            raws = await read_raw(transport, list(dict.fromkeys(wanted.values())))
            readings = await self._readings(transport, raws)
            found |= {given: readings[node_id] for given, node_id in wanted.items()}
        return {given: found[given] for given in dict.fromkeys(ids)}

    async def standing(self, person: str, repository: str) -> Standing:
        """Say what somebody is to ``repository``.

        :param person: login; an app's ends in ``[bot]``.
        :raises ForgeError: GitHub did not say, or the credential may not ask.
        """
        return await self._standings.of(self._transport_of(repository), person, repository)

    async def write_status(self, ticket: TicketReading, claim: Claim, text: str) -> str:
        """Write our one comment on the issue, or bring it up to date; return its address.

        What another process wrote into the claim since ``ticket`` was read is kept. A text that is too long is cut.

        :raises ForgeAccessError: the issue is locked or gone, or the credential may not comment.
        :raises ForgeError: as every call; after ``ForgeUnavailableError`` it may have been written.
        """
        transport = self._transport_of(ticket.entry.repository)
        return await write_status(transport, ticket, claim, text)

    async def move(self, ticket: TicketReading, stage: Stage) -> None:
        """Do nothing: an issue is open or closed, and where the work is stands in our comment."""

    async def close(self, ticket: TicketReading) -> None:
        """Close the issue as completed; one that is closed keeps the reason that it was closed for.

        :raises ForgeError: as every call.
        """
        transport = self._transport_of(ticket.entry.repository)
        look = Operation(f"read {ticket.entry.key}", "Issues: read")
        answer = await transport.query(TICKET_STATE, {"id": ticket.entry.id}, look)
        state = mapping(answer.data.get("node")).get("state")
        if state is None:
            raise absent(look, answer.errors)
        if state == "OPEN":
            operation = Operation(f"close {ticket.entry.key}", "Issues: write")
            await transport.mutate(CLOSE_TICKET, {"id": ticket.entry.id}, operation)

    async def _groups(self, found: GitHubCredential) -> list[tuple[str, ...]]:
        """Return the repositories that one session is for: a token of an App is for one owner's.

        GitHub makes no token at all where one of the repositories is renamed or out of the App's reach. Then
        each of that owner's gets a session of its own, so that this one alone is at fault.
        """
        if found.app is None:
            return [self._definition.repositories]
        owners: dict[str, list[str]] = {}
        for name in self._definition.repositories:
            owners.setdefault(name.partition("/")[0].lower(), []).append(name)
        groups: list[tuple[str, ...]] = []
        for names in owners.values():
            for start in range(0, len(names), MOST_REPOSITORIES):
                group = tuple(names[start : start + MOST_REPOSITORIES])
                whole = len(group) == 1 or await _has_token(found, found.app, group)
                groups += [group] if whole else [(name,) for name in group]
        return groups

    @property
    def _opened(self) -> TicketListing:
        if self._listing is None:
            raise RuntimeError("open the source first: async with source.open()")
        return self._listing

    def _transport_of(self, repository: str) -> GitHubTransport:
        """Return the session for a repository: its own, else that of its owner, else the only one there is."""
        sessions = {name.lower(): transport for name, transport in self._transports.items()}
        if repository.lower() in sessions:
            return sessions[repository.lower()]
        owner = repository.lower().partition("/")[0]
        of_owner = [its for name, its in sessions.items() if name.partition("/")[0] == owner]
        known = of_owner or list(dict.fromkeys(sessions.values()))
        if not known:
            raise RuntimeError("open the source first: async with source.open()")
        if not of_owner and len(known) > 1:
            raise ForgeAccessError(f"{repository} is of an owner that the definition does not name")
        return known[0]

    async def _located(
        self, ids: Sequence[str], found: dict[str, TicketReading | ForgeError]
    ) -> list[tuple[str, str, GitHubTransport]]:
        """Return node id and session of each ticket; one that has none goes into ``found`` with its error."""
        located: list[tuple[str, str, GitHubTransport]] = []
        keys: dict[GitHubTransport, list[str]] = {}
        strays: list[str] = []
        for given in dict.fromkeys(ids):
            if _KEY.fullmatch(given):
                try:
                    keys.setdefault(self._transport_of(given.partition("#")[0]), []).append(given)
                except ForgeAccessError as error:
                    found[given] = error
            elif given in self._opened.homes:
                located.append((given, given, self._transports[self._opened.homes[given]]))
            else:
                strays.append(given)
        for transport, named in keys.items():
            for key, node_id in (await resolve_keys(transport, named)).items():
                if isinstance(node_id, ForgeError):
                    found[key] = node_id
                else:
                    located.append((key, node_id, transport))
        located += await self._strays(strays, found)
        return located

    async def _strays(
        self, ids: list[str], found: dict[str, TicketReading | ForgeError]
    ) -> list[tuple[str, str, GitHubTransport]]:
        """Find the session that sees each node id: an id does not say whose it is."""
        transports = list(dict.fromkeys(self._transports.values()))
        if len(transports) == 1 or not ids:
            return [(node_id, node_id, transports[0]) for node_id in ids]
        located = []
        for transport in transports:
            try:
                raws = await read_raw(transport, ids)
            except ForgeRateLimitedError:
                raise
            except ForgeError as error:
                raws = dict.fromkeys(ids, error)
            for node_id, raw in raws.items():
                if isinstance(raw, ForgeError):
                    found.setdefault(node_id, raw)
                else:
                    located.append((node_id, node_id, transport))
            ids = [node_id for node_id in ids if isinstance(raws[node_id], ForgeError)]
            if not ids:
                break
        return located

    async def _readings(
        self, transport: GitHubTransport, raws: Mapping[str, RawTicket | ForgeError]
    ) -> dict[str, TicketReading | ForgeError]:
        whole = [raw for raw in raws.values() if isinstance(raw, RawTicket)]
        foreign = await self._foreign(transport, whole)
        links = await read_links(
            transport, [raw for raw in whole if raw.id not in foreign], self._named, self._web_host
        )
        found: dict[str, TicketReading | ForgeError] = {}
        for node_id, raw in raws.items():
            if isinstance(raw, ForgeError):
                found[node_id] = raw
            elif raw.id in foreign:
                found[node_id] = ForgeAccessError(
                    f"{raw.key} is of a repository that the definition does not name"
                )
            else:
                self._standings.saw(raw.repository, associations(raw))
                hosts = self._definition.attachment_hosts
                try:
                    found[node_id] = parse_ticket(raw, self._rules, *links[raw.id], self._web_host, hosts)
                except ForgeError as error:
                    found[node_id] = error
        return found

    async def _foreign(self, transport: GitHubTransport, raws: Sequence[RawTicket]) -> set[str]:
        """Return the ids of the issues whose repository the definition does not name, by this name or an older."""
        doubtful = [raw for raw in raws if raw.repository.lower() not in self._named]
        if not doubtful:
            return set()
        known = self._opened.node_ids
        if any(mapping(raw.node.get("repository")).get("id") not in known for raw in doubtful):
            names = [name for name, its in self._transports.items() if its is transport]
            known |= await repository_ids(transport, names)
        return {raw.id for raw in doubtful if mapping(raw.node.get("repository")).get("id") not in known}


async def _has_token(found: GitHubCredential, app: GitHubApp, repositories: Sequence[str]) -> bool:
    """Tell whether GitHub makes a token for all the repositories; where it does not answer, a call will tell."""
    from airflow_provider_agents.hooks.github_app_tokens import token_for

    wanted = app.token_permissions or OPERATOR_PERMISSIONS
    try:
        await token_for(found.urls, app, repositories, wanted, timeout_seconds=TOKEN_SECONDS)
    except ForgeUnavailableError:
        return True
    except ForgeError:
        return False
    return True
