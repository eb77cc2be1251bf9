"""Comments that are kept up to date in place. ``comment_once`` is tested with the client."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError

WRITE = "POST /api/v3/repos/acme/shop/issues/3/comments"
HIDDEN = "<!-- agents landing=1 -->"


def comments(*nodes: dict[str, Any], before: str | None = None) -> dict[str, Any]:
    page = {"hasPreviousPage": before is not None, "startCursor": before}
    found = {"comments": {"pageInfo": page, "nodes": list(nodes)}}
    return {"data": {"repository": {"issueOrPullRequest": {"__typename": "PullRequest"} | found}}}


def comment(body: str, *, own: bool = True, number: int = 1) -> dict[str, Any]:
    return {"id": f"IC_{number}", "url": f"u{number}", "body": body, "viewerDidAuthor": own}


async def test_the_first_is_written(client, stub) -> None:
    stub.on("Comments", comments(comment(f"forged {HIDDEN}", own=False)))
    stub.on(WRITE, (201, {"html_url": "u9", "node_id": "IC_9"}))
    made = await client.comment_in_place("acme/shop", 3, "landing=1", "State: waiting")
    assert (made.url, made.node_id, made.created) == ("u9", "IC_9", True)
    assert stub.asked[-1].body == {"body": f"State: waiting\n\n{HIDDEN}"}


async def test_later_it_is_edited(client, stub) -> None:
    ours = comment(f"State: waiting\r\n\r\n{HIDDEN}", number=2)
    stub.on("Comments", comments(comment("other"), before="c"), comments(ours, comment("x", number=3)))
    stub.on("UpdateComment", {"data": {"updateIssueComment": {"clientMutationId": None}}})
    made = await client.comment_in_place("acme/shop", 3, "landing=1", "State: merged")
    assert (made.url, made.node_id, made.created) == ("u2", "IC_2", False)
    assert stub.asked[-1].body["variables"] == {"id": "IC_2", "body": f"State: merged\n\n{HIDDEN}"}
    assert stub.asked[1].body["variables"]["before"] == "c"


async def test_what_it_says_already_is_not_written_again(client, stub) -> None:
    stub.on("Comments", comments(comment(f"State: waiting\r\n\r\n{HIDDEN}")))
    made = await client.comment_in_place("acme/shop", 3, "landing=1", "State: waiting")
    assert made.created is False
    assert len(stub.asked) == 1


async def test_unreadable_comments_are_not_taken_for_none(client, stub) -> None:
    stub.on("Comments", {"data": {"repository": None}})
    with pytest.raises(ForgeAccessError):
        await client.comment_in_place("acme/shop", 3, "landing=1", "text")
    assert len(stub.asked) == 1


async def test_an_edit_is_sent_once(client, stub) -> None:
    stub.on("Comments", comments(comment(f"old\n\n{HIDDEN}")))
    stub.on("UpdateComment", (502, "bad gateway"))
    with pytest.raises(ForgeUnavailableError):
        await client.comment_in_place("acme/shop", 3, "landing=1", "new")
    assert stub.times("UpdateComment") == 1
