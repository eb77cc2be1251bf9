"""All open pull requests of repositories, at the stand-in GitHub over real HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from open_pulls_world import DOCS, OTHER, SHOP, OpenPullsWorld, open_pulls_world

from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.domain.pr_rule_scope import RuleScope
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks import github_open_pulls, github_transport
from airflow_provider_agents.hooks.github_open_labels import LabelMemory
from airflow_provider_agents.hooks.github_scope import resolve
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[OpenPullsWorld]:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))
    async with (
        StandInGitHub(None, mergeability_delay=0) as server,
        open_pulls_world(server) as made,
    ):
        yield made


def entries(found: tuple[OpenPullRequest, ...] | ForgeError) -> tuple[OpenPullRequest, ...]:
    assert not isinstance(found, ForgeError), found
    return found


async def listed(world: OpenPullsWorld, repository: str = SHOP) -> tuple[OpenPullRequest, ...]:
    return entries((await world.client.open_pull_requests([repository]))[repository])


# What an entry says


async def test_an_entry_says_all_that_a_selector_and_a_watcher_look_at(world: OpenPullsWorld) -> None:
    number = await world.pull("Bump x", who="dependabot[bot]", labels=["Dependencies", "staging"], draft=True)
    (entry,) = await listed(world)
    assert (entry.repository, entry.number, entry.key) == (SHOP, number, f"{SHOP}#{number}")
    assert (entry.title, entry.author, entry.author_is_bot) == ("Bump x", "dependabot", True)
    assert (entry.labels, entry.draft, entry.fork) == (("Dependencies", "staging"), True, False)
    assert (entry.base_branch, entry.head_branch) == ("main", f"work-{number}")
    assert (entry.mergeable, entry.checks_state, entry.review_decision) == ("MERGEABLE", "", "")
    assert len(entry.head_sha) == 40
    assert entry.created_at.tzinfo is not None
    assert OpenPullRequest.from_dict(entry.to_dict()) == entry


async def test_closed_and_merged_ones_are_not_listed(world: OpenPullsWorld) -> None:
    numbers = [await world.pull(f"No. {n}") for n in range(3)]
    await world.act("alice", "close", number=numbers[0])
    await world.act("alice", "merge", number=numbers[1])
    assert [entry.number for entry in await listed(world)] == numbers[2:]


async def test_a_deleted_author_a_deleted_branch_and_no_checks_are_normal(world: OpenPullsWorld) -> None:
    await world.pull("Of a ghost", who="alice")
    await world.act("agent", "push_commit", branch="theirs", files={"b.py": "2\n"})
    await world.pull("Of eve", who="eve", from_fork=True)
    await world.act("eve", "delete_account")
    first, second = await listed(world)
    assert (first.author, first.author_is_bot, first.checks_state) == ("alice", False, "")
    assert (second.author, second.author_is_bot, second.fork) == ("", False, True)


async def test_the_head_of_a_fork_and_of_a_deleted_fork_is_a_fork(world: OpenPullsWorld) -> None:
    here = await world.pull("Here")
    there, gone = [await world.pull(title, who="eve", from_fork=True) for title in ("There", "Gone")]
    await world.act("eve", "delete_fork", number=gone)
    assert {entry.number: entry.fork for entry in await listed(world)} == {
        here: False,
        there: True,
        gone: True,
    }
    found = await world.client.snapshots([(SHOP, here), (SHOP, there), (SHOP, gone)])
    assert {ref[1]: getattr(one, "fork", one) for ref, one in found.items()} == {
        here: False,
        there: True,
        gone: True,
    }


async def test_a_snapshot_says_who_when_and_how_much(world: OpenPullsWorld) -> None:
    number = await world.pull("Bump x", who="dependabot[bot]", body="From 1 to 2")
    found = await world.client.snapshot(SHOP, number)
    assert (found.author, found.author_is_bot, found.fork, found.body) == (
        "dependabot",
        True,
        False,
        "From 1 to 2",
    )
    assert (found.changed_files, found.deletions) == (1, 0)
    assert found.additions
    assert found.created_at is not None
    assert found.updated_at is not None


async def test_checks_show_in_the_listing(world: OpenPullsWorld) -> None:
    number = await world.pull()
    await world.act("agent", "status", number=number, context="ci", state="failure")
    assert [entry.checks_state for entry in await listed(world)] == ["FAILURE"]


# Which repositories


async def test_each_repository_has_its_own_answer(world: OpenPullsWorld) -> None:
    one, two = await world.pull("One"), await world.pull("Two", DOCS)
    await world.act("alice", "archive", OTHER)
    found = await world.client.open_pull_requests([SHOP, "acme/none", DOCS, OTHER, SHOP])
    assert [entry.number for entry in entries(found[SHOP])] == [one]
    assert [entry.number for entry in entries(found[DOCS])] == [two]
    assert found[OTHER] == ()
    assert isinstance(found["acme/none"], ForgeAccessError)
    assert "acme/none" in str(found["acme/none"])


async def test_a_renamed_repository_stands_under_its_former_name(world: OpenPullsWorld) -> None:
    await world.pull("Moved")
    await world.act("acme", "rename_repository", to="store")
    (entry,) = await listed(world)
    assert entry.repository == "acme/store"


async def test_a_name_that_is_none_is_refused_before_anything_is_asked(world: OpenPullsWorld) -> None:
    world.spent()
    with pytest.raises(InvalidInputError, match="owner/name"):
        await world.client.open_pull_requests(["shop"])
    assert world.spent() == ({}, 0)


# Pages


async def test_all_pages_and_all_labels_are_read(world: OpenPullsWorld) -> None:
    many = [f"label-{n}" for n in range(30)]
    numbers = [await world.pull(f"No. {n}", labels=many if n == 204 else ()) for n in range(205)]
    await world.pull("Elsewhere", DOCS)
    world.spent()
    found = await world.client.open_pull_requests([SHOP, DOCS])
    assert [entry.number for entry in entries(found[SHOP])] == numbers
    assert len(entries(found[DOCS])) == 1
    assert entries(found[SHOP])[-1].labels == tuple(many)
    counts, points = world.spent()
    assert counts == {"OpenPullRequests": 3, "PullRequestLabels": 3}
    assert points == 6


async def test_what_is_closed_between_two_pages_hides_nobody(world: OpenPullsWorld) -> None:
    numbers = [await world.pull(f"No. {n}") for n in range(102)]
    # The stand-in's cursors count: what stands behind moves up, over the edge of the page that was read.
    world.fault({"delay_seconds": 0}, "OpenPullRequests")
    closing = {"before": "close", "as": "alice", "repository": SHOP, "number": numbers[0]}
    world.fault(closing, "OpenPullRequests")
    assert [entry.number for entry in await listed(world)] == numbers[1:]


async def test_too_many_pages_are_the_fault_of_that_repository(
    world: OpenPullsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(github_open_pulls, "MOST_PULLS", 100)
    for n in range(101):
        await world.pull(f"No. {n}")
    await world.pull("Elsewhere", DOCS)
    found = await world.client.open_pull_requests([SHOP, DOCS])
    assert isinstance(found[SHOP], ForgeAccessError)
    assert len(entries(found[DOCS])) == 1


# Labels


async def test_labels_are_read_again_only_where_something_changed(world: OpenPullsWorld) -> None:
    numbers = [await world.pull(f"No. {n}", labels=["staging"]) for n in range(3)]
    labels = LabelMemory()

    async def look() -> dict[int, tuple[str, ...]]:
        found = entries((await world.client.open_pull_requests([SHOP], labels))[SHOP])
        return {entry.number: entry.labels for entry in found}

    world.spent()
    world.pass_time(60)
    assert await look() == dict.fromkeys(numbers, ("staging",))
    assert world.spent() == ({"OpenPullRequests": 1, "PullRequestLabels": 1}, 2)
    assert await look() == dict.fromkeys(numbers, ("staging",))
    assert world.spent() == ({"OpenPullRequests": 1}, 1)
    await world.act("alice", "label", number=numbers[0], labels=["auto-merge"])
    assert (await look())[numbers[0]] == ("staging", "auto-merge")
    # So soon after a change another one may have come in the same second.
    assert world.spent() == ({"OpenPullRequests": 1, "PullRequestLabels": 1}, 2)
    await look()
    assert world.spent() == ({"OpenPullRequests": 1, "PullRequestLabels": 1}, 2)
    world.pass_time(60)
    await look()
    await look()
    assert world.spent() == ({"OpenPullRequests": 2, "PullRequestLabels": 1}, 3)


async def test_labels_that_were_renamed_are_seen_in_the_end(world: OpenPullsWorld) -> None:
    await world.pull(labels=["stagin"])
    labels = LabelMemory()
    world.pass_time(60)
    await world.client.open_pull_requests([SHOP], labels)
    world.server.forge.store.repositories[SHOP].labels["stagin"].name = "staging"
    world.pass_time(2_000)
    (entry,) = entries((await world.client.open_pull_requests([SHOP], labels))[SHOP])
    assert entry.labels == ("staging",)


async def test_labels_that_cannot_be_read_are_no_empty_list(world: OpenPullsWorld) -> None:
    await world.pull("One", labels=["do-not-merge"])
    world.fault({"partial": ["nodes", 0, "labels"]}, "PullRequestLabels", times=None)
    found = await world.client.open_pull_requests([SHOP])
    assert isinstance(found[SHOP], ForgeError)


async def test_labels_that_github_cannot_be_asked_for_close_nobody(world: OpenPullsWorld) -> None:
    await world.pull("Known", labels=["staging"])
    labels = LabelMemory()
    world.pass_time(60)
    await world.client.open_pull_requests([SHOP], labels)
    await world.pull("New")
    await world.pull("Elsewhere", DOCS)
    world.fault({"status": 502}, "PullRequestLabels", times=None)
    found = await world.client.open_pull_requests([SHOP], labels)
    # With the new one left out, it would look as closed, and new again the next time.
    assert isinstance(found[SHOP], ForgeUnavailableError)


# Faults


async def test_one_broken_entry_stops_no_other(
    world: OpenPullsWorld, caplog: pytest.LogCaptureFixture
) -> None:
    await world.pull("Broken")
    fine = await world.pull("Fine")
    world.fault({"partial": ["open0", "pullRequests", "nodes", 0]}, "OpenPullRequests")
    with caplog.at_level("WARNING"):
        assert [entry.number for entry in await listed(world)] == [fine]
    assert f"1 of 2 open pull requests of {SHOP} could not be read" in caplog.text


async def test_checks_that_may_not_be_read_are_as_none(world: OpenPullsWorld) -> None:
    number = await world.pull()
    await world.act("agent", "status", number=number, context="ci", state="success")
    path = ["open0", "pullRequests", "nodes", 0, "statusCheckRollup"]
    world.fault({"partial": path}, "OpenPullRequests")
    assert [entry.checks_state for entry in await listed(world)] == [""]


async def test_a_broken_repository_is_the_fault_of_that_one(world: OpenPullsWorld) -> None:
    await world.pull("Elsewhere", DOCS)
    world.fault({"partial": ["open0", "pullRequests"]}, "OpenPullRequests", times=2)
    found = await world.client.open_pull_requests([SHOP, DOCS])
    assert isinstance(found[SHOP], ForgeError)
    assert len(entries(found[DOCS])) == 1


async def test_a_query_that_is_too_much_is_asked_again_in_halves(world: OpenPullsWorld) -> None:
    await world.pull("One")
    await world.pull("Two", DOCS)
    world.fault({"status": 502}, "OpenPullRequests", times=3)
    found = await world.client.open_pull_requests([SHOP, DOCS])
    assert [len(entries(each)) for each in found.values()] == [1, 1]


@pytest.mark.parametrize(
    "action", [{"status": 502}, {"partial": ["open0"], "type": "RESOURCE_LIMITS_EXCEEDED"}]
)
async def test_a_page_that_is_too_much_is_read_in_small_ones(
    world: OpenPullsWorld, action: dict[str, Any]
) -> None:
    numbers = [await world.pull(f"No. {n}") for n in range(45)]
    labels = LabelMemory()
    world.spent()
    world.fault(action, "OpenPullRequests", times=3 if "status" in action else 1)
    found = await world.client.open_pull_requests([SHOP], labels)
    assert [entry.number for entry in entries(found[SHOP])] == numbers
    world.spent()
    await world.client.open_pull_requests([SHOP], labels)
    # The large page is not tried again and again.
    assert world.spent()[0]["OpenPullRequests"] == 3
    world.pass_time(3_600)
    await world.client.open_pull_requests([SHOP], labels)
    world.spent()
    await world.client.open_pull_requests([SHOP], labels)
    assert world.spent()[0]["OpenPullRequests"] == 1


async def test_a_used_up_rate_limit_is_the_error_of_all(world: OpenPullsWorld) -> None:
    await world.pull()
    world.fault({"secondary_limit": 403, "retry_after": 7}, "OpenPullRequests")
    with pytest.raises(ForgeRateLimitedError):
        await world.client.open_pull_requests([SHOP])


async def test_an_outage_is_raised(world: OpenPullsWorld) -> None:
    world.fault({"status": 503}, times=None)
    with pytest.raises(ForgeUnavailableError):
        await world.client.open_pull_requests([SHOP, DOCS])


# The repositories of an owner


async def test_the_repositories_of_an_owner_without_archived_ones_and_forks(world: OpenPullsWorld) -> None:
    for name in ("web", "old", "theirs"):
        await world.server.seed_synthetic(f"acme/{name}", {"a.py": "1\n"}, permissions={"agent": "write"})
    await world.server.seed_synthetic("acme/secret", {"a.py": "1\n"}, permissions={"alice": "write"})
    await world.act("acme", "archive", "acme/old")
    await world.act("acme", "configure", "acme/theirs", fork=True)
    found = await world.client.organization_repositories("ACME")
    assert found == (DOCS, SHOP, "acme/web")


async def test_all_pages_of_an_owners_repositories_are_read(world: OpenPullsWorld) -> None:
    for n in range(120):
        await world.server.seed_synthetic(f"big/r{n}", {"a.py": "1\n"}, permissions={"agent": "read"})
    world.spent()
    assert len(await world.client.organization_repositories("big")) == 120
    assert world.spent() == ({"OwnedRepositories": 2}, 2)


@pytest.mark.parametrize("owner", ["nobody-here", "not a login"])
async def test_an_owner_that_is_none_is_an_access_error(world: OpenPullsWorld, owner: str) -> None:
    with pytest.raises(ForgeAccessError, match=owner):
        await world.client.organization_repositories(owner)


async def test_a_scope_is_its_names_and_what_fits_its_patterns(world: OpenPullsWorld) -> None:
    scope = RuleScope(
        connection="c",
        names=("Acme/Shop", "globex/site", "acme"),
        patterns=("ACME/D*", "nobody-here/*"),
    )
    found = await resolve(world.client, scope)
    assert found.repositories == ("Acme/Shop", "globex/site", DOCS)
    assert set(found.faults) == {"nobody-here", "acme"}
