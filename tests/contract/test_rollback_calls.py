"""What a rollback asks of GitHub, by the client, at the stand-in."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeConflictError
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the stand-in keeps repositories of git")

REPOSITORY = "acme/shop"
FILES = {"apps/shop/app.yaml": "1\n", "apps/pay/app.yaml": "1\n", "top.md": "1\n"}


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    monkeypatch.setenv("NO_PROXY", "*")
    for path, text in FILES.items():
        (tmp_path / "seed" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "seed" / path).write_text(text)
    async with StandInGitHub(tmp_path / "data", mergeability_delay=0) as stand_in:
        for login in ("robot", "reader", "ci"):
            stand_in.add_token(login, f"token-of-{login}")
        permissions: Any = {"robot": "write", "reader": "read", "ci": "write"}
        await stand_in.seed_repository(REPOSITORY, tmp_path / "seed", permissions=permissions)
        yield stand_in


@pytest.fixture
async def client(server: StandInGitHub) -> AsyncIterator[GitHubClient]:
    async with open_transport(github_urls(server.url), "token-of-robot") as transport:
        yield GitHubClient(transport)


async def push(server: StandInGitHub, files: dict[str, str | None], branch: str = "main") -> str:
    made = await server.act("robot", "push_commit", REPOSITORY, branch=branch, files=files)
    return str(made["sha"])


async def head(client: GitHubClient, branch: str = "main") -> str:
    found = await client.branch_head(REPOSITORY, branch)
    assert found is not None
    return found


async def test_one_folder_goes_back_and_nothing_else(server: StandInGitHub, client: GitHubClient) -> None:
    good = await head(client)
    bad = await push(
        server, {"apps/shop/app.yaml": "2\n", "apps/shop/new.yaml": "2\n", "apps/pay/app.yaml": "2\n"}
    )
    wanted = await client.tree_of(REPOSITORY, good, "apps/shop")
    assert wanted is not None
    tree = await client.restored_tree(REPOSITORY, bad, "apps/shop", wanted)
    assert tree == await client.restored_tree(REPOSITORY, bad, "apps/shop", wanted)
    made = await client.make_commit(REPOSITORY, tree, bad, "Back")
    assert await client.parents_of(REPOSITORY, made) == (bad,)
    assert await client.tree_of(REPOSITORY, made) == tree
    await client.create_branch(REPOSITORY, "rollback/shop", made)
    assert await client.text_file(REPOSITORY, "apps/shop/app.yaml", made, most_bytes=9) == "1\n"
    assert await client.text_file(REPOSITORY, "apps/shop/new.yaml", made, most_bytes=9) is None
    assert await client.text_file(REPOSITORY, "apps/pay/app.yaml", made, most_bytes=9) == "2\n"
    with pytest.raises(ForgeConflictError):
        await client.create_branch(REPOSITORY, "rollback/shop", made)


async def test_another_tree_than_the_wanted_is_refused(server: StandInGitHub, client: GitHubClient) -> None:
    good = await head(client)
    bad = await push(server, {"apps/shop/new.yaml": "2\n"})
    wanted, whole = await client.tree_of(REPOSITORY, good, "apps/shop"), await client.tree_of(REPOSITORY, bad)
    assert wanted is not None
    answer = {"status": 201, "body": {"sha": whole, "tree": []}}
    server.faults.add({"match": {"method": "POST", "path": "/git/trees$"}, "action": answer})
    with pytest.raises(ForgeConflictError, match="another tree"):
        await client.restored_tree(REPOSITORY, bad, "apps/shop", wanted)


async def test_the_whole_tree(server: StandInGitHub, client: GitHubClient) -> None:
    good = await head(client)
    bad = await push(server, {"top.md": "2\n"})
    wanted = await client.tree_of(REPOSITORY, good)
    assert wanted is not None
    assert await client.restored_tree(REPOSITORY, bad, "", wanted) == wanted


async def test_folders_that_are_none(server: StandInGitHub, client: GitHubClient) -> None:
    sha = await head(client)
    assert await client.tree_of(REPOSITORY, sha, "apps/none") is None
    assert await client.tree_of(REPOSITORY, sha, "top.md") is None
    with pytest.raises(ForgeAccessError):
        await client.tree_of(REPOSITORY, "0" * 40)


async def test_a_branch_is_moved_to_another_commit(server: StandInGitHub, client: GitHubClient) -> None:
    good = await head(client)
    other = await push(server, {"top.md": "2\n"}, branch="rollback/shop")
    await client.reset_branch(REPOSITORY, "rollback/shop", good)
    assert await head(client, "rollback/shop") == good
    await client.reset_branch(REPOSITORY, "rollback/shop", other)
    with pytest.raises(ForgeConflictError):
        await client.reset_branch(REPOSITORY, "rollback/none", good)


async def test_how_far_it_is(server: StandInGitHub, client: GitHubClient) -> None:
    good = await head(client)
    for number in range(3):
        await push(server, {"top.md": f"{number + 2}\n"})
    side = await push(server, {"side": "1"}, branch="side")
    tip = await head(client)
    found = await client.distance(REPOSITORY, good, tip)
    assert (found.status, found.ahead_by) == ("ahead", 3)
    assert (await client.distance(REPOSITORY, tip, tip)).status == "identical"
    assert (await client.distance(REPOSITORY, tip, good)).status == "behind"
    await push(server, {"top.md": "9\n"})
    assert (await client.distance(REPOSITORY, side, await head(client))).status == "diverged"


PASSING: list[tuple[list[str], list[str], bool]] = [
    ([], [], False),
    (["success"], [], True),
    ([], ["SUCCESS"], True),
    (["success"], ["SUCCESS", "NEUTRAL", "SKIPPED"], True),
    (["pending"], ["SUCCESS"], False),
    (["success", "failure"], [], False),
    (["success"], ["FAILURE"], False),
    (["success"], ["CANCELLED"], False),
    (["success"], [""], False),
]
"""States of statuses, conclusions of check runs (empty: it runs), and whether the commit passed."""


async def test_whether_a_commit_passed(server: StandInGitHub, client: GitHubClient) -> None:
    for row, (statuses, runs, passed) in enumerate(PASSING):
        sha = await push(server, {"top.md": f"row {row}\n"})
        for number, state in enumerate(statuses):
            await server.act("ci", "status", REPOSITORY, sha=sha, context=f"s{number}", state=state)
        for number, conclusion in enumerate(runs):
            ended = {"conclusion": conclusion} if conclusion else {"status": "IN_PROGRESS"}
            await server.act("ci", "check_run", REPOSITORY, sha=sha, name=f"r{number}", **ended)
        assert await client.commit_passed(REPOSITORY, sha) is passed, PASSING[row]


async def test_what_is_open(server: StandInGitHub, client: GitHubClient) -> None:
    for number in range(3):
        await push(server, {"top.md": f"{number}\n"}, branch=f"work/{number}")
        opened = {"head": f"work/{number}", "title": "Work", "body": f"Text {number}"}
        await server.act("robot", "open_pull", REPOSITORY, **opened)
    await server.act("robot", "label", REPOSITORY, number=1, labels=["rollback"])
    await server.act("robot", "close", REPOSITORY, number=2)
    found = {pull.number: pull for pull in await client.open_pulls_into(REPOSITORY, "main")}
    assert sorted(found) == [1, 3]
    assert (found[1].author, found[1].head_branch, found[1].body) == ("robot", "work/0", "Text 0")
    assert (found[1].labels, found[3].labels) == (("rollback",), ())
    assert found[1].same_repository
    assert await client.open_pulls_into(REPOSITORY, "other") == ()


async def test_who_may_not_write_makes_nothing(server: StandInGitHub, client: GitHubClient) -> None:
    sha = await head(client)
    tree = await client.tree_of(REPOSITORY, sha)
    assert tree is not None
    async with open_transport(github_urls(server.url), "token-of-reader") as transport:
        reader = GitHubClient(transport)
        with pytest.raises(ForgeAccessError):
            await reader.make_commit(REPOSITORY, tree, sha, "No")
        with pytest.raises(ForgeAccessError):
            await reader.reset_branch(REPOSITORY, "main", sha)
