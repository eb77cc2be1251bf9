"""Writing our one comment on an issue: found again or made, and never a second one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.tickets import Claim
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_mutations import UPDATE_COMMENT
from airflow_provider_agents.hooks.github_ticket_claim import (
    DamagedClaimError,
    claim_in,
    is_status,
    joined,
    rebased,
    status_body,
)
from airflow_provider_agents.hooks.github_ticket_queries import ADD_COMMENT, DELETE_COMMENT, STATUS_COMMENTS

if TYPE_CHECKING:
    from airflow_provider_agents.domain.tickets import TicketReading
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

MOST_PAGES = 11
"""Pages of 100 comments in which ours is looked for: as many as a reading of the ticket has."""
NEEDS = "Issues: write"


@dataclass(frozen=True, slots=True)
class _Own:
    id: str
    url: str
    body: str


@dataclass(frozen=True, slots=True)
class _Scene:
    """The issue as it is now."""

    own: tuple[_Own, ...]
    """Our comments with a claim, oldest first; more than one only after a race."""
    locked: bool


async def write_status(transport: GitHubTransport, ticket: TicketReading, claim: Claim, words: str) -> str:
    """Bring our comment on an issue up to date, or make it; return its address.

    What another process wrote into the claim since ``ticket`` was read is kept. Two comments that two processes
    made at once become one, the older.

    :param words: what people read.
    :raises ForgeAccessError: the issue is locked, gone, or the credential may not comment.
    :raises ForgeError: as every call.
    """
    return await _Writing(transport, ticket, claim, words).done()


class _Writing:
    """One attempt to have our comment say what it is to say."""

    def __init__(self, transport: GitHubTransport, ticket: TicketReading, claim: Claim, words: str) -> None:
        self._transport = transport
        self._id, self._key = ticket.entry.id, ticket.entry.key
        self._read, self._claim, self._words = ticket.claim, claim, words

    async def done(self) -> str:
        scene = await self._look()
        if scene.own:
            try:
                return await self._update(scene)
            except ForgeAccessError:
                # Somebody may have deleted it since it was read.
                before, scene = scene.own[0].id, await self._look()
                if any(own.id == before for own in scene.own):
                    raise
                if scene.own:
                    return await self._update(scene)
        return await self._create(scene)

    async def _create(self, scene: _Scene) -> str:
        operation = Operation(f"comment on {self._key}", NEEDS)
        body = status_body(self._words, self._claim)
        try:
            await self._transport.mutate(ADD_COMMENT, {"id": self._id, "body": body}, operation)
        except ForgeRateLimitedError:
            raise
        except (ForgeAccessError, ForgeConflictError) as error:
            if scene.locked:
                raise ForgeAccessError(
                    f"{self._key} is locked and the credential may not comment on it: unlock it, or give the "
                    f"credential write access to the repository. GitHub said: {error}"
                ) from None
            raise
        except ForgeUnavailableError:
            # The answer was lost. Where the comment is there, it happened.
            scene = await self._look()
            if not scene.own:
                raise
            return await self._update(scene)
        scene = await self._look()
        if not scene.own:
            raise ForgeUnavailableError(
                f"GitHub does not show our comment on {self._key} yet; the next attempt looks for it"
            )
        return await self._update(scene)

    async def _update(self, scene: _Scene) -> str:
        """Write to the oldest of our comments, and delete the others once it holds all that they did."""
        first, *others = scene.own
        present = joined(_claim_of(own) for own in scene.own)
        body = status_body(self._words, rebased(self._claim, self._read, present))
        # GitHub keeps line ends as they were sent, but forms of its web pages send CRLF.
        if first.body.replace("\r\n", "\n") != body:
            operation = Operation(f"edit our comment on {self._key}", NEEDS)
            await self._transport.mutate(UPDATE_COMMENT, {"id": first.id, "body": body}, operation)
        for own in others:
            operation = Operation(f"delete our second comment on {self._key}", NEEDS)
            try:
                await self._transport.mutate(DELETE_COMMENT, {"id": own.id}, operation)
            except ForgeAccessError:
                # The other process may have deleted it; where it is still there the next write tries again.
                continue
        return first.url

    async def _look(self) -> _Scene:
        operation = Operation(f"read our comment on {self._key}", "Issues: read")
        own: list[_Own] = []
        locked = False
        variables: dict[str, Any] = {"id": self._id, "after": None}
        for _ in range(MOST_PAGES):
            answer = await self._transport.query(STATUS_COMMENTS, variables, operation)
            issue = mapping(answer.data.get("node"))
            comments = mapping(issue.get("comments"))
            nodes, info = comments.get("nodes"), mapping(comments.get("pageInfo"))
            if answer.errors or not isinstance(nodes, list):
                raise absent(operation, answer.errors)
            locked = issue.get("locked") is True
            for node in map(mapping, nodes):
                if node.get("viewerDidAuthor") is True and is_status(text(node.get("body"))):
                    own.append(_Own(text(node.get("id")), text(node.get("url")), text(node.get("body"))))
            if info.get("hasNextPage") is not True:
                return _Scene(tuple(own), locked)
            variables["after"] = info.get("endCursor")
        if own:
            return _Scene(tuple(own), locked)
        raise ForgeError(
            f"{self._key} has more than {MOST_PAGES * 100:,} comments, and ours is not among the first. Close the "
            "issue, and open another one for what is left"
        )


def _claim_of(own: _Own) -> Claim:
    """Return the claim in a comment of ours; an empty one where it is damaged, and about to be replaced."""
    try:
        return claim_in(own.body)
    except DamagedClaimError:
        return Claim()
