"""Our one comment on an issue, and the claim.

The claim is kept in a property of the issue, which Jira shows nobody and keeps when the issue is moved; whoever
may edit the issue could change it through the API. The comment carries a property too, by which it is found
again where the answer to writing it was lost.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.tickets import Claim
from airflow_provider_agents.exceptions import ForgeError
from airflow_provider_agents.hooks.github_fields import mapping
from airflow_provider_agents.hooks.jira_client import person_id
from airflow_provider_agents.hooks.jira_comment_body import comment_body
from airflow_provider_agents.hooks.jira_errors import JiraAbsentError
from airflow_provider_agents.hooks.jira_fields import mappings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.hooks.jira_client import JiraClient

PROPERTY = "agents"
"""Key of both properties."""
MOST_PROPERTY_CHARACTERS = 32_768
"""Jira's bound of a property's value."""
PAGE = 100
MOST_COMMENTS = 5_000
"""Jira Cloud keeps no more on an issue."""


def claim_of(properties: Any) -> tuple[Claim | None, str]:
    """Return the claim and the id of our comment from an issue's properties.

    :raises ValueError: somebody wrote something else there.
    """
    value = mapping(properties).get(PROPERTY)
    if value is None:
        return None, ""
    claim = mapping(value).get("claim")
    return Claim.from_text(json.dumps(claim)), str(mapping(value).get("comment") or "")


async def read_comments(client: JiraClient, id_: str, key: str) -> tuple[list[Mapping[str, Any]], bool]:
    """Return the comments of an issue, oldest first, and whether these are all."""
    found: list[Mapping[str, Any]] = []
    while True:
        page = mapping(
            await client.get(
                "issue",
                id_,
                "comment",
                what=f"read the comments of {key}",
                startAt=len(found),
                maxResults=PAGE,
                orderBy="created",
                expand="properties",
            )
        )
        comments, total = mappings(page.get("comments")), page.get("total")
        found += comments
        if not isinstance(total, int):
            return found, False
        if len(found) >= total:
            return found, True
        if not comments or len(found) >= MOST_COMMENTS:
            return found, False


async def our_comment(client: JiraClient, comments: list[Mapping[str, Any]], known: str) -> str:
    """Return the id of our comment among those of an issue; empty: there is none.

    :param known: its id as the claim says it.
    """
    if any(comment.get("id") == known for comment in comments):
        return known
    for comment in comments:
        if person_id(comment.get("author")) != client.server.me:
            continue
        id_, properties = str(comment.get("id") or ""), comment.get("properties")
        if isinstance(properties, list):
            if any(one.get("key") == PROPERTY for one in mappings(properties)):
                return id_
        elif await _is_marked(client, id_):
            return id_
    return ""


async def _is_marked(client: JiraClient, comment: str) -> bool:
    """Ask for the mark of a comment: older releases of Data Center do not list it with the comment."""
    try:
        await client.get("comment", comment, "properties", PROPERTY, what="read the mark of a comment")
    except JiraAbsentError:
        return False
    return True


async def write_status(client: JiraClient, id_: str, key: str, claim: Claim, text: str) -> str:
    """Write claim and comment; return the comment's id.

    The claim goes first: it is what keeps a run from being started twice. Both may be written again.

    :raises ForgeError: the claim is too long for Jira, or something was not written.
    """
    comment = await _known_comment(client, id_, key)
    if not comment:
        # Where the answer was lost, the comment is there and the claim does not know it.
        comments, _ = await read_comments(client, id_, key)
        comment = await our_comment(client, comments, "")
    await _put_claim(client, id_, key, claim, comment)
    body = comment_body(text, cloud=client.server.cloud)
    what = f"write our comment on {key}"
    if comment:
        try:
            await client.call("PUT", "issue", id_, "comment", comment, what=what, body={"body": body})
            return comment
        except JiraAbsentError:
            pass  # somebody deleted it
    marked = {"body": body, "properties": [{"key": PROPERTY, "value": {"status": True}}]}
    made = mapping(await client.call("POST", "issue", id_, "comment", what=what, body=marked))
    comment = str(made.get("id") or "")
    await _put_claim(client, id_, key, claim, comment)
    return comment


async def _known_comment(client: JiraClient, id_: str, key: str) -> str:
    try:
        found = await client.get("issue", id_, "properties", PROPERTY, what=f"read the claim of {key}")
    except JiraAbsentError:
        # Of an issue that is gone, the next call says so.
        return ""
    return str(mapping(mapping(found).get("value")).get("comment") or "")


async def _put_claim(client: JiraClient, id_: str, key: str, claim: Claim, comment: str) -> None:
    value = {"claim": json.loads(claim.to_text()), "comment": comment}
    if len(json.dumps(value)) > MOST_PROPERTY_CHARACTERS:
        raise ForgeError(
            f"{key} was asked for so often that its claim is too long for Jira: close it, and make a new issue"
        )
    await client.call(
        "PUT", "issue", id_, "properties", PROPERTY, what=f"write the claim of {key}", body=value
    )
