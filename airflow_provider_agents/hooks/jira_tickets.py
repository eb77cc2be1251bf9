"""Issues of Jira, Cloud or Data Center, as a source of tickets."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from airflow_provider_agents.domain.commands import asks_for_agent
from airflow_provider_agents.domain.tickets import TicketReading
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.jira_adf import adf_text
from airflow_provider_agents.hooks.jira_client import jira_credential, open_jira
from airflow_provider_agents.hooks.jira_fields import (
    READING_FIELDS,
    attachments_of,
    author_of,
    entry_of,
    is_ticket,
    links_of,
    mappings,
    state_of,
    status_name,
)
from airflow_provider_agents.hooks.jira_history import asks_of, comment_of, edits_of
from airflow_provider_agents.hooks.jira_listing import list_issues
from airflow_provider_agents.hooks.jira_moves import move_to, move_to_done
from airflow_provider_agents.hooks.jira_people import read_standing
from airflow_provider_agents.hooks.jira_query import children_query
from airflow_provider_agents.hooks.jira_search import search
from airflow_provider_agents.hooks.jira_status import (
    PROPERTY,
    claim_of,
    our_comment,
    read_comments,
    write_status,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

    from airflow_provider_agents.domain.authority_rules import Standing
    from airflow_provider_agents.domain.source_definition import SourceDefinition
    from airflow_provider_agents.domain.tickets import Claim, SourceKind, Stage
    from airflow_provider_agents.hooks.jira_client import JiraClient, JiraCredential
    from airflow_provider_agents.hooks.ticket_source import Listing

PAGE = 100
"""Entries of a changelog in one answer."""
MOST_CHANGES = 5_000
"""Entries of an issue's changelog that are read."""
MOST_CHILDREN = 100


class JiraTickets:
    """A source that a definition ``source: jira`` describes; see :class:`~.ticket_source.TicketSource`.

    :param definition: what to list, and how to read it.
    :param connection: Airflow connection of type ``jira``: ``host`` is Jira's base URL, ``password`` an API token
        with the e-mail address as ``login`` (Cloud), or a personal access token without one (Data Center).
    """

    kind: SourceKind = "jira"

    def __init__(self, definition: SourceDefinition, *, connection: str) -> None:
        self.definition = definition
        self.connection = connection
        self._credential: JiraCredential | None = None
        self._client: JiraClient | None = None
        self._standings: dict[str, Standing] = {}

    @property
    def host(self) -> str:
        """Return Jira's host, within which its ids are unique.

        Outside an event loop, or once the source is open.

        :raises InvalidInputError: there is no such connection, or it is incomplete.
        """
        if self._credential is None:
            with _told_by_name(self.connection):
                self._credential = jira_credential(BaseHook.get_connection(self.connection))
        return self._credential.host

    @asynccontextmanager
    async def open(self) -> AsyncIterator[JiraTickets]:
        """Open the session.

        :raises InvalidInputError: as :attr:`host`, or the extra ``jira`` is not installed.
        :raises ForgeError: Jira does not answer, or does not know the connection's user.
        """
        if self._credential is None:
            with _told_by_name(self.connection):
                self._credential = jira_credential(await BaseHook.aget_connection(self.connection))
        async with open_jira(self._credential) as client:
            self._client = client
            try:
                yield self
            finally:
                self._client = None
                self._standings.clear()

    @property
    def _jira(self) -> JiraClient:
        if self._client is None:
            raise RuntimeError("the source is not open: async with source.open()")
        return self._client

    async def fetch(self, cursor: Mapping[str, Any] | None) -> Listing:
        """List the issues that changed since ``cursor``; without one, all that are asked for.

        Jira tells nothing of an issue that was deleted, or that left the definition's JQL: a listing without a
        cursor forgets it.
        """
        return await list_issues(self._jira, self.definition, cursor)

    async def read(self, ids: Sequence[str]) -> dict[str, TicketReading | ForgeError]:
        """Read issues whole, by their ids or keys, three requests or more each."""
        found: dict[str, TicketReading | ForgeError] = {}
        for id_ in dict.fromkeys(ids):
            try:
                found[id_] = await self._read(id_)
            except ForgeError as error:
                found[id_] = error
        return found

    async def _read(self, asked: str) -> TicketReading:
        if not is_ticket(asked):
            raise ForgeAccessError(f"{asked!r} is no id or key of a Jira issue")
        client, cloud = self._jira, self._jira.server.cloud
        issue = mapping(
            await client.get(
                "issue",
                asked,
                what=f"read {asked}",
                fields=",".join(READING_FIELDS),
                properties=PROPERTY,
                **({} if cloud else {"expand": "changelog"}),
            )
        )
        fields, key, id_ = (
            mapping(issue.get("fields")),
            str(issue.get("key") or asked),
            str(issue.get("id") or ""),
        )
        missing: list[str] = []
        histories, whole = await self._histories(issue, id_, key)
        if not whole:
            missing.append("Its changelog could not be read to the end.")
        listed, whole = await read_comments(client, id_, key)
        if not whole:
            missing.append("Its comments could not be read to the end.")
        claim, known = None, ""
        try:
            claim, known = claim_of(issue.get("properties"))
        except ValueError:
            missing.append(f"What its property {PROPERTY!r} says is not what we wrote: delete that property.")
        ours = await our_comment(client, listed, known)
        comments = tuple(
            comment_of(one)
            for one in listed
            # What is shown to some people only was not written for an agent, whose work everybody sees.
            if one.get("id") != ours and not one.get("visibility")
        )
        commanded = any(asks_for_agent(comment.body) for comment in comments)
        entry = entry_of(self.definition, issue, client.server.base_url, commanded=commanded)
        return TicketReading(
            entry=entry,
            body=adf_text(fields.get("description")),
            author=author_of(fields),
            edits=edits_of(histories),
            asks=asks_of(self.definition, issue, histories, comments, client.server.me),
            comments=comments,
            attachments=attachments_of(fields),
            links=links_of(fields, await self._children(fields, key)),
            state=state_of(fields),
            claim=claim,
            missing=tuple(missing),
            fields={
                "status": status_name(fields),
                "type": str(mapping(fields.get("issuetype")).get("name") or ""),
                "project": str(mapping(fields.get("project")).get("key") or ""),
            },
        )

    async def _histories(
        self, issue: Mapping[str, Any], id_: str, key: str
    ) -> tuple[list[Mapping[str, Any]], bool]:
        """Return the changelog, and whether it is whole."""
        if not self._jira.server.cloud:
            log = mapping(issue.get("changelog"))
            histories = mappings(log.get("histories"))
            return histories, isinstance(log.get("total"), int) and log["total"] <= len(histories)
        found: list[Mapping[str, Any]] = []
        while True:
            page = mapping(
                await self._jira.get(
                    "issue",
                    id_,
                    "changelog",
                    what=f"read the changelog of {key}",
                    startAt=len(found),
                    maxResults=PAGE,
                )
            )
            values, total = mappings(page.get("values")), page.get("total")
            found += values
            if page.get("isLast") is True or (isinstance(total, int) and len(found) >= total):
                return found, True
            if not values or len(found) >= MOST_CHANGES:
                return found, False

    async def _children(self, fields: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
        """Return the issues below an epic (Cloud); sub-tasks are among an issue's own fields."""
        level = mapping(fields.get("issuetype")).get("hierarchyLevel")
        if not self._jira.server.cloud or not isinstance(level, int) or level < 1:
            return []
        query = children_query(key)
        found = await search(self._jira, query, ("summary", "status"), lambda one: one, most=MOST_CHILDREN)
        return found.items

    async def standing(self, person: str, repository: str) -> Standing:
        """Say what somebody is to Jira, which knows nothing of repositories; asked once while the source is open."""
        if person not in self._standings:
            self._standings[person] = await read_standing(self._jira, person, self.definition.authority)
        return self._standings[person]

    async def write_status(self, ticket: TicketReading, claim: Claim, text: str) -> str:
        """Write our one comment on the issue, or bring it up to date, and the claim into the issue's property."""
        entry = ticket.entry
        comment = await write_status(self._jira, entry.id, entry.key, claim, text)
        return f"{entry.url}?focusedCommentId={comment}"

    async def move(self, ticket: TicketReading, stage: Stage) -> None:
        """Move the issue to the status that the definition names for ``stage``; without one, do nothing."""
        if status := getattr(self.definition.stages, stage):
            await move_to(self._jira, ticket.entry.id, ticket.entry.key, status)

    async def close(self, ticket: TicketReading) -> None:
        """Move the issue to the definition's stage ``done``, or to a status that Jira counts as done."""
        if self.definition.stages.done:
            await self.move(ticket, "done")
        else:
            await move_to_done(self._jira, ticket.entry.id, ticket.entry.key)


@contextmanager
def _told_by_name(conn_id: str) -> Iterator[None]:
    try:
        yield
    except AirflowNotFoundException:
        fault = (
            f"there is no Airflow connection {conn_id!r}: make it, of type `jira`, with Jira's base URL as host and a "
            "token as password"
        )
        raise InvalidInputError([fault]) from None
