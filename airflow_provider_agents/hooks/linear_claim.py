"""Where our two marks on a ticket of Linear are: the claim, and the one status comment.

The claim is the metadata of an attachment, which Linear shows to programs only. Its URL carries the ticket's
id, and Linear makes at most one attachment of a URL on a ticket: writing it twice, or two at once, leaves one.
A hidden text in the comment would not do: Linear keeps comments as rich text and drops what it does not show.

The comment's id is made from the ticket's, so that creating it a second time, after a lost answer or beside
somebody else, is refused instead of making a second comment.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.tickets import Claim, run_id_of
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeRateLimitedError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.linear_errors import LinearCredentialError, LinearRefusalError, refused
from airflow_provider_agents.hooks.linear_markdown import linear_markdown
from airflow_provider_agents.hooks.linear_queries import (
    COMMENT,
    CREATE_COMMENT,
    UPDATE_COMMENT,
    VIEWER,
    WRITE_CLAIM,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.exceptions import ForgeError
    from airflow_provider_agents.hooks.linear_transport import LinearTransport

MOST_COMMENTS = 5
"""Status comments of a ticket that people may delete before we give up writing another."""

_TITLE = "Coding agent"
_SUBTITLE = "Which runs this ticket has had. Please keep it."


class Viewer:
    """Who we are at Linear.

    :param node: with ``id`` and ``app``.
    """

    def __init__(self, node: Mapping[str, Any]) -> None:
        self.id = text(node.get("id"))
        self._is_app = bool(node.get("app"))

    def wrote(self, author: Any) -> bool:
        """Tell whether ``author``, a user with ``id``, is us; what an app makes may be nobody's."""
        found = text(mapping(author).get("id"))
        return found == self.id if found else self._is_app


def claim_url(ticket_id: str) -> str:
    """Return the URL of the attachment that holds a ticket's claim."""
    return f"https://airflow.apache.org/#agents-claim-{ticket_id}"


def comment_ids(ticket_id: str) -> tuple[str, ...]:
    """Return the ids that our status comment may have: the next one is taken where the one before was deleted."""
    return tuple(_uuid4(f"airflow-provider-agents status {ticket_id} {n}") for n in range(MOST_COMMENTS))


def read_claim(
    ticket_id: str, attachments: Sequence[Mapping[str, Any]], viewer: Viewer
) -> tuple[Claim | None, str]:
    """Return the claim among a ticket's attachments, and in one sentence what is wrong with it.

    One that somebody else made, or that tells of runs of another ticket, is none: with it, people without
    authority could start a run or hold one up.
    """
    url = claim_url(ticket_id)
    claim: Claim | None = None
    for node in attachments:
        if text(node.get("url")) != url:
            continue
        remedy = f"check who changed it, and delete the attachment {_TITLE!r} of the ticket"
        if not viewer.wrote(node.get("creator")):
            return None, f"claim: somebody else made it; {remedy}"
        try:
            found = Claim.from_text(text(mapping(node.get("metadata")).get("claim")))
        except ValueError:
            return None, f"claim: it cannot be read; {remedy}"
        for run in found.runs:
            if run.run_id not in {run_id_of("linear", ticket_id, key) for key in run.asks}:
                return None, f"claim: it tells of a run that is none of this ticket's; {remedy}"
        claim = found
    return claim, ""


async def write_claim(
    transport: LinearTransport, ticket_id: str, key: str, claim: Claim, viewer: Viewer
) -> None:
    """Put the claim on the ticket in place of the one that is there.

    :raises ForgeAccessError: the attachment is not ours, so that it would not count when it is read.
    :raises ForgeError: it is not sure that it was written.
    """
    what = f"write the claim on {key}"
    data = await transport.mutate(
        WRITE_CLAIM,
        {
            "issue": ticket_id,
            "url": claim_url(ticket_id),
            "title": _TITLE,
            "subtitle": _SUBTITLE,
            "metadata": {"claim": claim.to_text()},
        },
        what,
    )
    made = mapping(_successful(data, "attachmentCreate", what).get("attachment"))
    if not viewer.wrote(made.get("creator")):
        raise ForgeAccessError(
            f"Linear could not {what}: somebody else made the attachment {_TITLE!r} that holds it; delete it"
        )


async def write_comment(
    transport: LinearTransport, ticket_id: str, key: str, body: str, viewer: Viewer, *, known: str
) -> str:
    """Write the status comment, or bring it up to date; return its URL.

    :param body: Markdown as for GitHub.
    :param known: its id, where it was there when the ticket was read.
    """
    what = f"write the status comment on {key}"
    body = linear_markdown(body)
    if known:
        try:
            return await _update(transport, known, body, what)
        except LinearCredentialError:
            raise
        except LinearRefusalError:
            pass  # somebody deleted it since
    refusal: ForgeError | None = None
    for id_ in comment_ids(ticket_id):
        try:
            return await _create(transport, id_, ticket_id, body, what)
        except (LinearCredentialError, ForgeRateLimitedError):
            raise
        except (LinearRefusalError, ForgeUnavailableError) as error:
            # An id that is taken is an error like any other: look whether the comment is there.
            refusal = error
            there = await _look(transport, id_, what)
            if there is not None and _is_ours(there, ticket_id, viewer):
                return await _update(transport, id_, body, what)
            if there is None and isinstance(error, ForgeUnavailableError):
                raise
    raise ForgeAccessError(
        f"Linear does not let us {what}; may its user comment there, and does somebody delete the comments? {refusal}"
    )


async def read_viewer(transport: LinearTransport) -> Viewer:
    """Ask who we are."""
    what = "say who we are"
    answer = await transport.query(VIEWER, {}, what)
    viewer = Viewer(mapping(answer.data.get("viewer")))
    if answer.errors or not viewer.id:
        raise refused(what, answer.errors)
    return viewer


async def _create(transport: LinearTransport, id_: str, ticket_id: str, body: str, what: str) -> str:
    data = await transport.mutate(CREATE_COMMENT, {"id": id_, "issue": ticket_id, "body": body}, what)
    return text(mapping(_successful(data, "commentCreate", what).get("comment")).get("url"))


async def _update(transport: LinearTransport, id_: str, body: str, what: str) -> str:
    data = await transport.mutate(UPDATE_COMMENT, {"id": id_, "body": body}, what)
    return text(mapping(_successful(data, "commentUpdate", what).get("comment")).get("url"))


async def _look(transport: LinearTransport, id_: str, what: str) -> Mapping[str, Any] | None:
    try:
        answer = await transport.query(COMMENT, {"id": id_}, what)
    except LinearRefusalError:
        return None
    return mapping(answer.data.get("comment")) or None


def _is_ours(comment: Mapping[str, Any], ticket_id: str, viewer: Viewer) -> bool:
    return text(mapping(comment.get("issue")).get("id")) == ticket_id and viewer.wrote(comment.get("user"))


def _successful(data: Mapping[str, Any], field: str, what: str) -> Mapping[str, Any]:
    payload = mapping(data.get(field))
    if payload.get("success") is not True:
        raise ForgeUnavailableError(f"Linear could not {what}: it does not say that it did")
    return payload


def _uuid4(name: str) -> str:
    """Return a UUID in the form of version 4, the only one that Linear takes, that is the same for ever."""
    return str(uuid.UUID(bytes=hashlib.sha256(name.encode()).digest()[:16], version=4))
