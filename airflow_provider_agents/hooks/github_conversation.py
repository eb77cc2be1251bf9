"""The conversation of an issue or a pull request: comments, thumbs up, and our own comments in parts.

Functions over a :class:`~.github_client.GitHubClient`. They raise
:class:`~airflow_provider_agents.exceptions.ForgeError` as its methods do.
"""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.authority import BY_WRITERS, is_bot, may, named_teams
from airflow_provider_agents.domain.authority_rules import Action, Standing
from airflow_provider_agents.domain.comment_parts import comment_parts
from airflow_provider_agents.domain.plan_reply import Reply, Thumb
from airflow_provider_agents.hooks.github_authority import person
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import GHOST, edited_by, mapping, text
from airflow_provider_agents.hooks.github_names import hidden_marker, owner_and_name
from airflow_provider_agents.hooks.github_parse_people import BOT_SUFFIX, association_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.domain.authority_rules import Association, AuthorityRules
    from airflow_provider_agents.hooks.github_client import GitHubClient

MOST_PAGES = 5
"""Pages of 100 comments, newest first."""
PAUSE_SECONDS = 1.0
"""Between two writes, as GitHub asks for."""

CONVERSATION = """
query Conversation($owner: String!, $name: String!, $number: Int!, $before: String) {
  repository(owner: $owner, name: $name) {
    issueOrPullRequest(number: $number) {
      __typename
      ... on Issue { issueState: state comments(last: 100, before: $before) { ...Said } }
      ... on PullRequest { pullRequestState: state headRefOid comments(last: 100, before: $before) { ...Said } }
    }
  }
}
fragment Said on IssueCommentConnection {
  pageInfo { hasPreviousPage startCursor }
  nodes {
    id url body createdAt updatedAt viewerDidAuthor authorAssociation
    author { __typename login }
    editor { login }
    reactions(first: 100, content: THUMBS_UP) { nodes { createdAt user { login } } }
  }
}
"""

_ACTIONS: tuple[Action, ...] = ("approve", "steer", "merge")

DOCUMENTS: dict[str, str] = {"Conversation": CONVERSATION}
"""Every document of this module by its operation name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One comment, as it stands now."""

    node_id: str
    author: str
    body: str
    created_at: datetime
    updated_at: datetime
    url: str = ""
    own: bool = False
    """Whether the credential that reads wrote it."""
    bot: bool = False
    edited_by: str = ""
    """Login of whoever edited it last, where that is somebody other than its author."""
    association: Association | None = None
    thumbs: tuple[Thumb, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """The comments since a moment, oldest first."""

    state: Literal["OPEN", "CLOSED", "MERGED"]
    """Of the issue or pull request."""
    head_sha: str = ""
    """Of a pull request."""
    comments: tuple[Said, ...] = ()

    def parts(self, marker: str) -> tuple[Said, ...]:
        """Return our comments that :func:`comment_in_parts` wrote with ``marker``."""
        # The whole mark of a part begins like this; `hidden_marker` checks that it can stand in a comment.
        begin = hidden_marker(f"{marker} part=").removesuffix(" -->")
        return tuple(comment for comment in self.comments if comment.own and begin in comment.body)


async def read_conversation(
    client: GitHubClient, repository: str, number: int, since: datetime | None = None
) -> Conversation:
    """Return the comments of an issue or a pull request, at most the last 500.

    :param since: older comments are left out.
    """
    operation = Operation(
        f"read the conversation of {repository}#{number}", "Issues: read, Pull requests: read"
    )
    variables: dict[str, Any] = {**owner_and_name(repository), "number": number, "before": None}
    found: list[Said] = []
    state: Any = None
    head = ""
    for _ in range(MOST_PAGES):
        answer = await client._transport.query(CONVERSATION, variables, operation)
        try:
            subject = answer.data["repository"]["issueOrPullRequest"]
            state = state or subject.get("issueState") or subject["pullRequestState"]
            head = head or text(subject.get("headRefOid"))
            page = [_said(node) for node in subject["comments"]["nodes"]]
            info = subject["comments"]["pageInfo"]
            found = [*page, *found]
            older = bool(page) and since is not None and page[0].created_at < since
            if older or not info["hasPreviousPage"]:
                break
            variables["before"] = info["startCursor"]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise absent(operation, answer.errors) from None
    comments = tuple(c for c in found if since is None or c.created_at >= since)
    return Conversation(state=state, head_sha=head, comments=comments)


async def replies(
    client: GitHubClient,
    repository: str,
    conversation: Conversation,
    since: datetime,
    known: dict[str, Standing] | None = None,
    rules: AuthorityRules = BY_WRITERS,
) -> tuple[Reply, ...]:
    """Return what people with authority wrote since a moment, each with what its author may do; not what the
    credential that reads wrote, nor what a bot wrote that the rules do not list.

    A comment that somebody other than its author edited last is nobody's word.

    :param known: what people are, as it was found out before; added to.
    """
    known = known if known is not None else {}
    found = []
    for said in conversation.comments:
        if said.own or said.edited_by or said.created_at < since:
            continue
        if said.bot:
            standing = Standing(login=f"{said.author}{BOT_SUFFIX}", is_bot=True)
        else:
            standing = await _standing(client, repository, said.author, rules, known)
            standing = dataclasses.replace(standing, association=said.association)
        granted = frozenset(action for action in _ACTIONS if may(standing, action, rules))
        if granted:
            found.append(
                Reply(key=said.node_id, author=said.author, body=said.body, at=said.created_at, may=granted)
            )
    return tuple(found)


async def approving_thumbs(
    client: GitHubClient,
    repository: str,
    comments: Sequence[Said],
    since: datetime,
    known: dict[str, Standing] | None = None,
    rules: AuthorityRules = BY_WRITERS,
) -> tuple[Thumb, ...]:
    """Return the thumbs up of people who may approve on any of ``comments``, given since a moment.

    :param comments: of ours: a thumb of the account that wrote one does not count.
    :param known: see :func:`replies`.
    """
    known = known if known is not None else {}
    fresh = [t for c in comments for t in c.thumbs if t.at >= since and t.login != c.author]
    found = []
    for thumb in fresh:
        standing = await _standing(client, repository, thumb.login, rules, known)
        if may(standing, "approve", rules):
            found.append(thumb)
    return tuple(found)


async def _standing(
    client: GitHubClient,
    repository: str,
    login: str,
    rules: AuthorityRules,
    known: dict[str, Standing],
) -> Standing:
    if login not in known:
        # What a bot may is decided by its login alone.
        known[login] = (
            Standing(login=login, is_bot=True)
            if is_bot(login)
            else await person(client, repository, login, named_teams(rules))
        )
    return known[login]


def part_marker(marker: str, part: int) -> str:
    """Return the marker of one part of a long comment."""
    return f"{marker} part={part}"


async def comment_in_parts(client: GitHubClient, repository: str, number: int, marker: str, body: str) -> str:
    """Write a text of any length as comments of ours, or edit those that there are.

    Parts that a longer text of before left over say that they are no longer used.

    :param marker: of the whole text; each part has :func:`part_marker`.
    :return: address of the first part.
    """
    before = (await read_conversation(client, repository, number)).parts(marker)
    parts = comment_parts(body)
    first = ""
    for i, part in enumerate(parts, 1):
        ref = await client.comment_in_place(repository, number, part_marker(marker, i), part)
        first = first or ref.url
        if i < len(parts):
            await asyncio.sleep(PAUSE_SECONDS)
    for unused in range(len(parts) + 1, len(before) + 1):
        await asyncio.sleep(PAUSE_SECONDS)
        notice = "*This part is no longer used: the text is shorter now.*"
        await client.comment_in_place(repository, number, part_marker(marker, unused), notice)
    return first


def _said(node: Mapping[str, Any]) -> Said:
    author = mapping(node.get("author"))
    thumbs = mapping(node.get("reactions")).get("nodes") or ()
    return Said(
        node_id=str(node["id"]),
        author=text(author.get("login")) or GHOST,
        body=str(node["body"]),
        created_at=_moment(node["createdAt"]),
        updated_at=_moment(node["updatedAt"]),
        url=text(node.get("url")),
        own=node["viewerDidAuthor"] is True,
        bot=author.get("__typename") == "Bot",
        edited_by=edited_by(node),
        association=association_of(node),
        thumbs=tuple(
            Thumb(
                login=text(mapping(thumb.get("user")).get("login")) or GHOST, at=_moment(thumb["createdAt"])
            )
            for thumb in thumbs
        ),
    )


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value)
