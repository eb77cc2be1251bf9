"""Repositories in memory behave as git does, and the whole stand-in works without a network."""

from __future__ import annotations

import asyncio

import aiohttp
import pytest

from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.clock import Clock
from demo.github.git_program import GitError
from demo.github.git_values import ZERO, Signature
from demo.github.in_memory import URL, InMemoryGitHub
from demo.github.repositories import BareRepository
from demo.github.server import StandInGitHub
from demo.github.synthetic import SyntheticRepository

REPOSITORY = "acme/calc"
ALICE = Signature(name="Alice", email="alice@example.com")
FILES = {"a.py": "1\n2\n3\n4\n5\n6\n", "src/b.py": "b\n", "docs/c.md": "c\n"}


@pytest.fixture(params=["git", "memory"])
async def repository(request, tmp_path):
    if request.param == "memory":
        made = SyntheticRepository()
        first = await made.import_files(FILES, "First", ALICE)
    else:
        made = BareRepository(tmp_path / "r.git")
        await made.create("main")
        first = await made.write_files(None, FILES, "First", ALICE)
    assert await made.update_ref("refs/heads/main", first, ZERO)
    return made


async def branch_off(repository, name, files, message="Change"):
    tip = await repository.branch(name) or await repository.branch("main")
    sha = await repository.write_files(tip, files, message, ALICE)
    old = await repository.branch(name) or ZERO
    assert await repository.update_ref(f"refs/heads/{name}", sha, old)
    return sha


async def test_history(repository):
    first = await repository.branch("main")
    one = await branch_off(repository, "x", {"a.py": "x\n"}, "One")
    two = await branch_off(repository, "x", {"a.py": None, "new/d.py": "d\n"}, "Two\n\nBody")
    assert await repository.count("main", "x") == 2
    assert await repository.count("x", "main") == 0
    assert await repository.is_ancestor(first, two)
    assert not await repository.is_ancestor(two, first)
    assert await repository.merge_base(first, two) == first
    assert [c.oid for c in await repository.log("--reverse", "--topo-order", two, f"^{first}")] == [one, two]
    assert [c.oid for c in await repository.log("--max-count=1", two, f"^{first}")] == [two]
    commit = await repository.commit(two)
    assert (commit.parents, commit.message, commit.author) == ((one,), "Two\n\nBody", ALICE)
    assert await repository.resolve("x") == await repository.resolve(two) == two
    assert await repository.resolve(two[:12]) == two
    assert await repository.resolve("none") is None
    with pytest.raises(GitError):
        await repository.commit("0123456789" * 4)


async def test_merges(repository):
    base = await repository.branch("main")
    left = await branch_off(repository, "left", {"a.py": "left\n", "src/b.py": "same\n"})
    right = await branch_off(repository, "right", {"docs/c.md": "right\n", "src/b.py": "same\n"})
    clean = await repository.merge_tree(left, right)
    assert clean.conflicts == ()
    merged = await repository.commit_tree(clean.tree, (left, right), "Merge", author=ALICE)
    assert await repository.blob(merged, "a.py") == b"left\n"
    assert await repository.blob(merged, "docs/c.md") == b"right\n"
    assert await repository.count(left, merged) == 2
    linear = await repository.log("--reverse", "--no-merges", merged, f"^{base}")
    assert {commit.oid for commit in linear} == {left, right}
    other = await branch_off(repository, "other", {"a.py": "other\n"})
    assert (await repository.merge_tree(left, other)).conflicts == ("a.py",)
    gone = await branch_off(repository, "gone", {"a.py": None})
    assert (await repository.merge_tree(left, gone)).conflicts == ("a.py",)


async def test_refs_are_compared_and_swapped(repository):
    first = await repository.branch("main")
    sha = await branch_off(repository, "x", {"a.py": "x\n"})
    assert not await repository.update_ref("refs/heads/x", first, first)
    assert not await repository.update_ref("refs/heads/y", "1" * 40, ZERO)
    assert await repository.update_ref("refs/heads/x", ZERO, sha)
    assert await repository.branch("x") is None
    await repository.force_ref("refs/pull/1/head", sha)
    assert await repository.refs("refs/pull") == {"refs/pull/1/head": sha}
    assert await repository.refs() == {"refs/heads/main": first}


async def test_files_and_changes(repository):
    first = await repository.branch("main")
    sha = await branch_off(
        repository, "x", {"a.py": "1\n2\nnew\n3\n5\n6\n", "docs/c.md": None, "d.py": "d\n"}
    )
    changed = {
        (f.path, f.status, f.additions, f.deletions) for f in await repository.changed_files(first, sha)
    }
    assert changed == {
        ("a.py", "modified", 1, 1), ("docs/c.md", "removed", 0, 1), ("d.py", "added", 1, 0),
    }  # fmt: skip
    assert await repository.map_line(first, sha, "a.py", 1) == 1
    assert await repository.map_line(first, sha, "a.py", 3) == 4
    assert await repository.map_line(first, sha, "a.py", 4) is None
    assert await repository.map_line(first, sha, "a.py", 6) == 6
    listed = await repository.list_tree(sha, "")
    assert {(kind, name) for kind, _, name, _ in listed} == {
        ("blob", "a.py"), ("blob", "d.py"), ("tree", "src"),
    }  # fmt: skip
    assert [(kind, name, size) for kind, _, name, size in await repository.list_tree(sha, "src")] == [
        ("blob", "b.py", 2)
    ]
    assert await repository.entry(sha, "a.py", "blob")
    assert await repository.entry(sha, "src", "tree")
    assert await repository.entry(sha, "src", "blob") is None
    assert await repository.blob(sha, "docs/c.md") is None
    assert "+new" in await repository.diff(first, sha, "a.py")


async def test_no_git_runs_on_it():
    with pytest.raises(GitError, match="has no git"):
        await SyntheticRepository().git("status")
    with pytest.raises(GitError, match="--graph"):
        await SyntheticRepository().log("--graph")


@pytest.fixture
async def in_memory(monkeypatch):
    def no_sockets(*_args, **_kwargs):
        raise AssertionError("a socket was asked for")

    loop = asyncio.get_running_loop()
    server = StandInGitHub(None, mergeability_delay=0)
    server.forge.clock.stop()
    server.add_token("agent", "t")
    async with (
        InMemoryGitHub(server) as network,
        aiohttp.ClientSession(
            connector=network.connector(), headers={"Authorization": "Bearer t"}
        ) as session,
    ):
        monkeypatch.setattr(loop, "create_connection", no_sockets)
        monkeypatch.setattr(loop, "create_server", no_sockets)
        monkeypatch.setattr(asyncio, "create_subprocess_exec", no_sockets)
        await server.seed_synthetic(REPOSITORY, FILES)
        yield server, session


@pytest.mark.parametrize("method", ["merge", "squash", "rebase"])
async def test_a_history_without_network_and_processes(in_memory, method):
    server, session = in_memory
    base = f"{server.url}/api/v3/repos/{REPOSITORY}"
    await server.act("agent", "push_commit", REPOSITORY, branch="x", files={"a.py": "2\n"})
    await server.act("agent", "push_commit", REPOSITORY, branch="x", files={"e.py": "2\n"})
    number = (await server.act("agent", "open_pull", REPOSITORY, head="x", title="T"))["number"]
    await server.act("agent", "check_run", REPOSITORY, number=number, name="ci", conclusion="success")
    async with session.get(f"{base}/pulls/{number}") as response:
        assert (await response.json())["mergeable"] is True
    async with session.put(f"{base}/pulls/{number}/merge", json={"merge_method": method}) as response:
        assert response.status == 200
    tip = await server.forge.store.repositories[REPOSITORY].git.branch("main")
    assert await server.forge.store.repositories[REPOSITORY].git.blob(tip, "e.py") == b"2\n"


async def test_conflicts_and_lost_answers_without_network(in_memory):
    server, session = in_memory
    base = f"{server.url}/api/v3/repos/{REPOSITORY}"
    await server.act("agent", "push_commit", REPOSITORY, branch="x", files={"a.py": "2\n"})
    number = (await server.act("agent", "open_pull", REPOSITORY, head="x", title="T"))["number"]
    await server.act("agent", "push_commit", REPOSITORY, branch="main", files={"a.py": "3\n"})
    async with session.get(f"{base}/pulls/{number}") as response:
        assert (await response.json())["mergeable_state"] == "dirty"
    server.faults.add({"match": {"path": "/comments$"}, "action": "drop_after"})
    with pytest.raises(aiohttp.ClientError):
        await session.post(f"{base}/issues/{number}/comments", json={"body": "x"})
    async with session.get(f"{base}/issues/{number}/comments") as response:
        assert len(await response.json()) == 1


async def test_a_merge_queue_without_network(in_memory):
    server, _ = in_memory
    rules = {"main": {"required_checks": ["ci"], "merge_queue": True, "queue_method": "squash"}}
    await server.act("acme", "configure", REPOSITORY, rules=rules)
    await server.act("agent", "push_commit", REPOSITORY, branch="x", files={"a.py": "2\n"})
    number = (await server.act("agent", "open_pull", REPOSITORY, head="x", title="T"))["number"]
    await server.act("agent", "check_run", REPOSITORY, number=number, name="ci", conclusion="success")
    await server.act("agent", "enqueue", REPOSITORY, number=number)
    await server.checks_settled()
    group = next(e for e in server.mutations if e["kind"] == "merge_group.checks_requested")["details"]
    await server.act("agent", "check_run", REPOSITORY, sha=group["sha"], name="ci", conclusion="success")
    await server.checks_settled()
    assert [e["kind"] for e in server.mutations].count("pull_request.merged") == 1
    assert await server.forge.store.repositories[REPOSITORY].git.branch("main") == group["sha"]


async def test_many_requests_at_once_without_network(in_memory):
    server, session = in_memory
    url = f"{server.url}/api/v3/user"
    answers = await asyncio.gather(*(session.get(url) for _ in range(50)))
    assert {answer.status for answer in answers} == {200}


@pytest.mark.looptime
async def test_the_providers_client_on_a_loop_with_a_time_of_its_own():
    loop = asyncio.get_running_loop()
    server = StandInGitHub(None, mergeability_delay=60, clock=Clock(lambda: 1_900_000_000 + loop.time()))
    token = server.add_token("agent")
    urls = github_urls(URL)
    async with InMemoryGitHub(server) as network:
        await server.seed_synthetic(REPOSITORY, FILES)
        await server.act("agent", "push_commit", REPOSITORY, branch="x", files={"a.py": "2\n"})
        number = (await server.act("agent", "open_pull", REPOSITORY, head="x", title="T"))["number"]
        server.faults.add({"match": {"reads": True}, "action": {"status": 502}})
        with network.everywhere():
            async with open_transport(urls, token) as transport:
                client = GitHubClient(transport)
                seen = await client.snapshot(REPOSITORY, number)
                assert (seen.mergeable, loop.time() >= 0.4) == ("UNKNOWN", True)
                await asyncio.sleep(60)
                assert (await client.snapshot(REPOSITORY, number)).mergeable == "MERGEABLE"


async def test_files_over_the_control_endpoint(server, agent):
    body = {"name": REPOSITORY, "files": {"a.py": "1\n"}}
    made = await agent.call("POST", "/_demo/repositories", json=body)
    assert made.status == 201
    assert (await agent.repo("GET", "/git/ref/heads/main")).body["object"]["sha"] == made.body["sha"]
    assert (await agent.call("POST", "/_demo/repositories", json=body)).status == 422
