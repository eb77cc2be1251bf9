"""The conversation of a ticket: who said what, since when, with what authority."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conversation_world import TicketWorld

from airflow_provider_agents.domain.comment_parts import MOST_CHARACTERS
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError
from airflow_provider_agents.hooks import github_conversation as module
from airflow_provider_agents.hooks.github_conversation import (
    MOST_PAGES,
    approving_thumbs,
    comment_in_parts,
    read_conversation,
    replies,
)
from airflow_provider_agents.hooks.github_transport import GraphQLAnswer

REPOSITORY = "acme/shop"
START = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> TicketWorld:
    monkeypatch.setattr(module, "PAUSE_SECONDS", 0.0)
    return TicketWorld(lambda: START)


async def read(world: TicketWorld, since: datetime | None = None) -> Any:
    return await read_conversation(world, REPOSITORY, 3, since)  # type: ignore[arg-type]


async def test_only_people_with_write_access_reply(world: TicketWorld) -> None:
    world.say("mona", "yes")
    world.say("guest", "no")
    world.say("stranger", "no")
    world.say("agent", "a note of ours", own=True)
    world.say("renovate", "beep", bot=True)
    world.say("reviewer-app", "beep", bot=True)
    world.say("github-actions", "beep")
    world.permissions |= {
        "renovate": "WRITE",
        "github-actions": "ADMIN",
        "agent": "ADMIN",
        "reviewer-app": "WRITE",
    }
    found = await replies(world, REPOSITORY, await read(world), START)  # type: ignore[arg-type]
    assert [(reply.author, reply.body) for reply in found] == [("mona", "yes")]


async def test_what_was_said_before_does_not_count(world: TicketWorld) -> None:
    world.say("mona", "early")
    world.tick(minutes=1)
    world.say("mona", "late")
    found = await replies(world, REPOSITORY, await read(world), world.now())  # type: ignore[arg-type]
    assert [reply.body for reply in found] == ["late"]


async def test_an_authority_is_looked_up_once(world: TicketWorld) -> None:
    for i in range(5):
        world.say("mona", str(i))
    known: dict[str, bool] = {}
    for _ in range(2):
        await replies(world, REPOSITORY, await read(world), START, known)  # type: ignore[arg-type]
    assert world.permission_calls == ["mona"]


async def test_pages_are_read_back_to_the_moment_asked_for(world: TicketWorld) -> None:
    for i in range(350):
        world.say("mona", str(i))
        world.tick(seconds=1)
    since = world.comments[220].created_at
    found = await read(world, since)
    assert [c.body for c in found.comments] == [str(i) for i in range(220, 350)]
    assert len(world.reads) == 2


async def test_a_very_long_conversation_is_bounded(world: TicketWorld) -> None:
    for i in range(900):
        world.say("mona", str(i))
    found = await read(world)
    assert len(found.comments) == 100 * MOST_PAGES
    assert found.comments[-1].body == "899"


async def test_thumbs_count_by_authority_and_time(world: TicketWorld) -> None:
    world.say("agent", "plan", own=True)
    world.thumb("mona")
    world.tick(minutes=2)
    shown = world.now()
    for login in ("rita", "guest", "ghost"):
        world.thumb(login)
    (comment,) = (await read(world)).comments
    found = await approving_thumbs(world, REPOSITORY, [comment], shown)  # type: ignore[arg-type]
    assert [thumb.login for thumb in found] == ["rita"]
    assert await approving_thumbs(world, REPOSITORY, [], shown) == ()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"repository": None}, ForgeAccessError),
        ({"repository": {"issueOrPullRequest": None}}, ForgeAccessError),
        (
            {"repository": {"issueOrPullRequest": {"issueState": "OPEN", "comments": {"nodes": [{}]}}}},
            ForgeAccessError,
        ),
    ],
)
async def test_an_absent_answer_is_an_error_and_never_silence(data: Any, error: type[Exception]) -> None:
    class Absent(TicketWorld):
        async def query(self, *arguments: Any) -> GraphQLAnswer:
            return GraphQLAnswer(data=data)

    with pytest.raises(error):
        await read(Absent())


async def test_an_unreadable_forge_is_an_error(world: TicketWorld) -> None:
    world.faults = [ForgeUnavailableError("502")]
    with pytest.raises(ForgeUnavailableError):
        await read(world)


def long_text(parts: int) -> str:
    return "\n".join(["x" * 99] * (parts * MOST_CHARACTERS // 100))


async def test_a_long_text_is_written_in_parts_and_edited_in_place(world: TicketWorld) -> None:
    url = await comment_in_parts(world, REPOSITORY, 3, "m:plan", long_text(2))  # type: ignore[arg-type]
    assert url.endswith("#IC_0")
    assert [body.split("\n")[0] for body in world.ours()] == [f"*Part {i} of 3*" for i in (1, 2, 3)]
    again = await comment_in_parts(world, REPOSITORY, 3, "m:plan", long_text(2))  # type: ignore[arg-type]
    assert again == url
    assert len(world.comments) == 3


async def test_parts_that_are_left_over_say_so(world: TicketWorld) -> None:
    await comment_in_parts(world, REPOSITORY, 3, "m:plan", long_text(2))  # type: ignore[arg-type]
    await comment_in_parts(world, REPOSITORY, 3, "m:plan", "short")  # type: ignore[arg-type]
    first, second, third = world.ours()
    assert first.startswith("short\n")
    assert all("no longer used" in body for body in (second, third))


async def test_the_mark_of_a_stranger_is_not_ours(world: TicketWorld) -> None:
    world.say("guest", "<!-- agents m:plan part=1 -->")
    await comment_in_parts(world, REPOSITORY, 3, "m:plan", "the plan")  # type: ignore[arg-type]
    assert world.comments[0].body == "<!-- agents m:plan part=1 -->"
    (ours,) = (await read(world)).parts("m:plan")
    assert ours.body.startswith("the plan")
    assert (await read(world, world.now() + timedelta(seconds=1))).comments == ()
