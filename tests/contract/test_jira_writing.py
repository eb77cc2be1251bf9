"""What the Jira source writes: one comment, the claim, moves and closes; whatever is lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from jira_fixtures import opened, reading_of, served
from jira_world import ME, JiraWorld

from airflow_provider_agents.domain.tickets import Claim, ClaimedRun
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeUnavailableError,
)

pytest.importorskip("atlassian", reason="needs the extra `jira`")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(params=["cloud", "data center"])
async def world(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[JiraWorld]:
    async with served(monkeypatch, cloud=request.param == "cloud") as world:
        yield world


async def test_one_comment_whatever_happens(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    claim = Claim(runs=(ClaimedRun(run_id="run", asks=("a",), at=datetime(2026, 1, 1, tzinfo=UTC)),))
    async with opened(world) as source:
        reading = await reading_of(source, issue.id)
        url = await source.write_status(reading, claim, "**Working** on it, `run`.")
        assert url == f"{reading.entry.url}?focusedCommentId={issue.comments[0].id}"
        again = await reading_of(source, issue.id)
        assert again.claim == claim
        assert again.comments == ()
        for word in ("Reviewing.", "Reviewing.", "Done."):
            assert await source.write_status(again, claim.with_state("run", "ended"), word) == url
        assert len(issue.comments) == 1
        assert issue.comments[0].plain().strip() == "Done."
        issue.comments.clear()
        await source.write_status(again, claim, "Here again.")
        assert len(issue.comments) == 1
        found = (await reading_of(source, issue.id)).claim
        assert found is not None
        assert found.answered == {"a"}


@pytest.mark.parametrize("listed", [True, False])
async def test_a_lost_answer_makes_no_second_comment(world: JiraWorld, listed: bool) -> None:
    world.lists_properties = listed
    issue = world.issue(labels=("agent",))
    claim = Claim(runs=(ClaimedRun(run_id="run", asks=("a",)),))
    async with opened(world) as source:
        reading = await reading_of(source, issue.id)
        world.fail("POST", "comment$", does_it=True, drop=True)
        with pytest.raises(ForgeUnavailableError):
            await source.write_status(reading, claim, "Working.")
        assert len(issue.comments) == 1
        after = await reading_of(source, issue.id)
        assert after.claim == claim
        assert after.comments == ()
        await source.write_status(after, claim, "Still working.")
    assert len(issue.comments) == 1
    assert issue.comments[0].plain().strip() == "Still working."


async def test_no_claim_no_comment_that_speaks_of_it(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    world.fail("PUT", "properties", status=403)
    async with opened(world) as source:
        with pytest.raises(ForgeAccessError):
            await source.write_status(await reading_of(source, issue.id), Claim(), "Working.")
    assert issue.comments == []


async def test_comments_of_the_person_whose_token_it_is_are_read(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    own = world.comment(issue, ME, "I think it is line 7.")
    async with opened(world) as source:
        await source.write_status(await reading_of(source, issue.id), Claim(), "Working.")
        found = await reading_of(source, issue.id)
    assert [comment.key for comment in found.comments] == [own.id]


@pytest.mark.parametrize("value", ["x", {"claim": {"version": 1}}, {"claim": "{}"}, {}, 7])
async def test_a_claim_that_somebody_changed_is_missing_not_none(world: JiraWorld, value: Any) -> None:
    issue = world.issue(labels=("agent",), properties={"agents": value})
    async with opened(world) as source:
        found = await reading_of(source, issue.id)
    assert found.claim is None
    assert len(found.missing) == 1
    assert "property" in found.missing[0]


async def test_a_claim_that_is_too_long_is_refused(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    async with opened(world) as source:
        reading = await reading_of(source, issue.id)
        with pytest.raises(ForgeError, match="too long"):
            await source.write_status(
                reading, Claim(refused=tuple(f"ask-{n:020}" for n in range(2_000))), "No."
            )
    assert issue.properties == {}


async def test_a_comment_with_everything_and_one_that_is_too_long(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    text = (
        "**Coding agent** · ● accepted → ◐ plan\n\n# Head\n\n- one\n- *two*\n  more\n\n1. a\n2. b\n\n"
        "```python\nprint('x')\n```\n\n> quoted\n> # deep\n\n| a | b |\n|---|---|\n| 1 | 2 | 3 |\n\n---\n\n"
        "<details><summary>Plan</summary>\n\nDo it.\n\n<details><summary>Inner</summary>\n\n| x |\n|---|\n| y |\n\n"
        "</details>\n\n</details>\n\n<sub>[run](https://airflow.example/dags/x) `ticket__jira__1`</sub> "
        "[bad](javascript:alert(1)) https://github.com/acme/shop/pull/7"
    )
    async with opened(world) as source:
        reading = await reading_of(source, issue.id)
        await source.write_status(reading, Claim(), text)
        assert "javascript" in issue.comments[0].plain()
        await source.write_status(reading, Claim(), text + "\n\nmore *words*" * 20_000)
        assert "left out here" in issue.comments[0].plain()
        await source.write_status(reading, Claim(), "")
    assert len(issue.comments) == 1


# Moving


async def test_moves_and_closes(world: JiraWorld) -> None:
    issue = world.issue(labels=("agent",))
    async with opened(world) as source:
        reading = await reading_of(source, issue.id)
        await source.move(reading, "working")
        assert issue.status == "In Progress"
        await source.move(reading, "working")
        await source.move(reading, "stopped")  # the definition names none
        assert world.requests("POST .*transitions") == 1
        await source.move(reading, "in_review")
        await source.close(reading)
        assert issue.status == "Done"
        await source.close(reading)
        assert world.requests("POST .*transitions") == 3


async def test_a_status_out_of_reach_names_those_that_are_not(world: JiraWorld) -> None:
    issue = world.issue(status="Backlog")
    async with opened(world, stages={"working": "In Progress", "done": "Won't Do"}) as source:
        reading = await reading_of(source, issue.id)
        with pytest.raises(ForgeAccessError, match=r"from 'Backlog' to 'In Progress'.*to 'To Do'\. Correct"):
            await source.move(reading, "working")
        with pytest.raises(ForgeAccessError, match="Won't Do"):
            await source.close(reading)
    async with opened(world) as source:
        with pytest.raises(ForgeAccessError, match="stages: done"):
            await source.close(reading)
    assert issue.status == "Backlog"


async def test_a_lost_answer_to_a_move_is_found_done(world: JiraWorld) -> None:
    issue = world.issue()
    world.fail("POST", "transitions", does_it=True, drop=True)
    async with opened(world) as source:
        reading = await reading_of(source, issue.id)
        with pytest.raises(ForgeUnavailableError):
            await source.move(reading, "working")
        await source.move(reading, "working")
    assert issue.status == "In Progress"
    assert world.requests("POST .*transitions") == 1


# Faults
