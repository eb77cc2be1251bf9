"""Whose commands count: asked of GitHub, kept for a while, and never assumed."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain.authority_rules import Standing
from airflow_provider_agents.hooks import github_authority
from airflow_provider_agents.hooks.github_authority import (
    KEPT_SECONDS,
    MOST_ASKED,
    MOST_TEAMS,
    ask_about,
    forget_people,
    read_membership,
)


@pytest.fixture(autouse=True)
def _no_memory() -> None:
    forget_people()


def said(login: str, body: str = "/merge", kind: str = "User", **more: object) -> dict[str, Any]:
    author = {"login": login, "__typename": kind}
    return {
        "id": f"IC_{login}_{body}",
        "body": body,
        "author": author,
        "createdAt": "2026-01-01T10:00:00Z",
    } | more


def route(login: str) -> str:
    return f"GET /api/v3/repos/acme/shop/collaborators/{login}/permission"


def with_comments(stub: Any, *nodes: dict[str, Any], **fields: Any) -> None:
    stub.on("PullRequestSnapshot", stub.pull(comments={"nodes": list(nodes)}, **fields))


@pytest.mark.parametrize(
    ("answer", "may"),
    [
        ({"permission": "admin"}, True),
        ({"permission": "write"}, True),
        # GitHub gives the base of a role beside its name.
        ({"permission": "write", "role_name": "maintain"}, True),
        ({"permission": "read", "role_name": "triage"}, False),
        ({"permission": "read"}, False),
        ({"permission": "none"}, False),
        ({}, False),
        ((404, {"message": "Not Found"}), False),
    ],
)
async def test_the_permission_decides(client, stub, answer, may: bool) -> None:
    # A member of the organisation may well be allowed to read only.
    with_comments(stub, said("mona", authorAssociation="MEMBER"))
    stub.on(route("mona"), answer)
    snapshot = await client.snapshot("acme/shop", 7)
    assert [c.can_write for c in snapshot.comments] == [may]
    assert (snapshot.missing, snapshot.refused, snapshot.degraded) == ((), (), ())


async def test_a_private_member_is_heard(client, stub) -> None:
    """An App is told that a private member of the organisation has nothing to do with it."""
    with_comments(stub, said("mona", "/stop", authorAssociation="NONE"))
    stub.on(route("mona"), {"permission": "write"})
    assert (await client.snapshot("acme/shop", 7)).comments[0].can_write


async def test_only_commands_of_people_are_asked_about(client, stub) -> None:
    with_comments(
        stub,
        said("mona", "Looks good"),
        said("olga", "We should /merge this"),
        said("dependabot", kind="Bot"),
        said("agent", viewerDidAuthor=True),
        said("ghost") | {"author": None},
        said("eve", "/frobnicate"),
    )
    snapshot = await client.snapshot("acme/shop", 7)
    assert len(stub.asked) == 1
    assert not any(c.can_write for c in snapshot.comments)


async def test_only_the_commands_of_a_person_count(client, stub) -> None:
    with_comments(stub, said("mona", "Looks good"), said("mona", "/merge"), said("eve", "/stop"))
    stub.on(route("mona"), {"permission": "write"})
    stub.on(route("eve"), {"permission": "read"})
    snapshot = await client.snapshot("acme/shop", 7)
    assert [c.can_write for c in snapshot.comments] == [False, True, False]


async def test_an_answer_is_kept_for_ten_minutes(client, stub, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(github_authority.time, "monotonic", lambda: now)
    with_comments(stub, said("mona"), said("Mona", "/stop"))
    stub.on(route("Mona"), {"permission": "write"}, {"permission": "read"})
    for _ in range(3):
        assert all(c.can_write for c in (await client.snapshot("acme/shop", 7)).comments)
    now += KEPT_SECONDS - 1
    assert (await client.snapshot("acme/shop", 7)).comments[0].can_write
    assert stub.times(route("Mona")) == 1
    now += 1
    assert not (await client.snapshot("acme/shop", 7)).comments[0].can_write
    assert stub.times(route("Mona")) == 2


async def test_the_memory_is_bounded(client, stub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_authority, "MOST_KEPT", 2)
    people = ("ann", "ben", "cleo")
    for login in people:
        stub.on(route(login), {"permission": "write"})
    with_comments(stub, *(said(login) for login in people))
    assert all(c.can_write for c in (await client.snapshot("acme/shop", 7)).comments)
    assert len(github_authority._kept) == 2


async def test_a_crowd_is_not_asked_about_one_by_one(client, stub) -> None:
    crowd = [f"eve{i}" for i in range(MOST_ASKED + 5)]
    for login in crowd:
        stub.on(route(login), {"permission": "write"})
    with_comments(stub, *(said(login) for login in crowd))
    snapshot = await client.snapshot("acme/shop", 7)
    # The newest are heard.
    assert [c.can_write for c in snapshot.comments] == [False] * 5 + [True] * MOST_ASKED


async def test_an_unreachable_github_makes_the_comments_missing(client, stub) -> None:
    """A /stop may stand there: nothing is done until it is known."""
    with_comments(stub, said("mona", "/stop"))
    stub.on(route("mona"), (502, {"message": "Bad Gateway"}))
    snapshot = await client.snapshot("acme/shop", 7)
    (note,) = snapshot.missing
    assert note.startswith("comments: ")
    assert "Bad Gateway" in note
    stub.on(route("mona"), {"permission": "write"})
    mended = await client.snapshot("acme/shop", 7)
    assert mended.missing == ()
    assert mended.comments[0].can_write


async def test_where_it_may_not_be_asked_a_stranger_cannot_hold_things_up(client, stub) -> None:
    with_comments(stub, said("eve", "/stop"))
    stub.on(route("eve"), (403, {"message": "Resource not accessible"}))
    snapshot = await client.snapshot("acme/shop", 7)
    assert (snapshot.missing, snapshot.refused) == ((), ())
    (note,) = snapshot.degraded
    assert note.startswith("commands: ")
    assert not snapshot.comments[0].can_write


async def test_nobody_is_asked_about_when_all_is_over(client, stub) -> None:
    with_comments(stub, said("mona"), state="MERGED")
    await client.snapshot("acme/shop", 7)
    assert len(stub.asked) == 1


# What the rules of runs need to know


def team_route(team: str, login: str) -> str:
    return f"GET /api/v3/orgs/acme/teams/{team}/memberships/{login}"


async def test_facts_stand_beside_the_command(client, stub) -> None:
    ask_about(["acme/core", "acme/docs"])
    with_comments(stub, said("mona", authorAssociation="MEMBER"))
    stub.on(route("mona"), {"permission": "read", "role_name": "triage"})
    stub.on(team_route("core", "mona"), {"state": "active"})
    stub.on(team_route("docs", "mona"), {"state": "pending"})
    (comment,) = (await client.snapshot("acme/shop", 7)).comments
    assert comment.standing == Standing(
        login="mona", permission="triage", teams=frozenset({"acme/core"}), association="member"
    )
    assert not comment.can_write


async def test_a_team_that_is_named_later_is_asked_about_anew(client, stub) -> None:
    with_comments(stub, said("mona"))
    stub.on(route("mona"), {"permission": "write"})
    await client.snapshot("acme/shop", 7)
    ask_about(["acme/core"])
    stub.on(team_route("core", "mona"), {"state": "active"})
    for _ in range(2):
        (comment,) = (await client.snapshot("acme/shop", 7)).comments
        assert comment.standing is not None
        assert comment.standing.teams == {"acme/core"}
    assert (stub.times(route("mona")), stub.times(team_route("core", "mona"))) == (2, 1)


async def test_a_team_that_may_not_be_asked_about_silences_nobody(client, stub) -> None:
    """The rules of another run name it: whoever may push is heard all the same."""
    ask_about(["acme/core"])
    with_comments(stub, said("mona", "/stop"))
    stub.on(route("mona"), {"permission": "write"})
    stub.on(team_route("core", "mona"), (403, {"message": "Resource not accessible"}))
    snapshot = await client.snapshot("acme/shop", 7)
    assert snapshot.comments[0].can_write
    (note,) = snapshot.degraded
    assert note.startswith("teams: ")
    assert "Members: read" in note


async def test_an_unreachable_team_makes_the_comments_missing(client, stub) -> None:
    ask_about(["acme/core"])
    with_comments(stub, said("mona", "/stop"))
    stub.on(route("mona"), {"permission": "write"})
    stub.on(team_route("core", "mona"), (502, {"message": "Bad Gateway"}))
    (note,) = (await client.snapshot("acme/shop", 7)).missing
    assert note.startswith("comments: ")


async def test_a_bot_has_its_name_and_nothing_else(client, stub) -> None:
    with_comments(stub, said("helper", kind="Bot"))
    (comment,) = (await client.snapshot("acme/shop", 7)).comments
    assert comment.standing == Standing(login="helper[bot]", is_bot=True)
    assert len(stub.asked) == 1


@pytest.mark.parametrize("team", ["core", "acme/", "acme/../../user", "acme/core/memberships", "a b/c"])
async def test_what_is_no_team_is_not_asked_about(client, stub, team: str) -> None:
    assert not await read_membership(client._transport, team, "mona")
    assert stub.asked == []


def test_the_teams_are_bounded() -> None:
    ask_about(f"acme/t{i}" for i in range(MOST_TEAMS + 10))
    assert len(github_authority._teams) == MOST_TEAMS
    assert f"acme/t{MOST_TEAMS + 9}" in github_authority._teams
