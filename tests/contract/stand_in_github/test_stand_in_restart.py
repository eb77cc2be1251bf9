from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from demo.github.server import StandInGitHub

REPOSITORY = "acme/calc"
ROOT = Path(__file__).resolve().parents[4]
MERGE = f"/api/v3/repos/{REPOSITORY}/pulls/1/merge"


class Process:
    """The stand-in as a process of its own, asked over HTTP."""

    def __init__(self, process, session, url):
        self.process, self._session, self._url = process, session, url

    async def call(self, method, path, json=None):
        headers = {"Authorization": "Bearer two"}
        async with self._session.request(method, self._url + path, json=json, headers=headers) as response:
            body = await response.json() if response.content_type == "application/json" else None
            return response.status, body

    async def act(self, do, **values):
        status, body = await self.call(
            "POST", "/_demo/act", {"as": "agent", "do": do, "repository": REPOSITORY, **values}
        )
        assert status == 200, body
        return body

    async def merges(self):
        _, log = await self.call("GET", "/_demo/mutations")
        return [entry for entry in log if entry["kind"] == "pull_request.merged"]


@pytest.fixture
def start(tmp_path, session):
    @asynccontextmanager
    async def run():
        ready = tmp_path / "ready.json"
        ready.unlink(missing_ok=True)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "demo.github", "--data", str(tmp_path / "d"), "--ready-file", str(ready),
            "--token", "two", "--mergeability-delay", "0", "--keep",
            cwd=ROOT, env={"PATH": os.environ["PATH"]},
        )  # fmt: skip
        try:
            async with asyncio.timeout(20):
                while not ready.exists():
                    assert process.returncode is None
                    await asyncio.sleep(0.02)
            yield Process(process, session, json.loads(ready.read_text())["url"])
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    return run


async def open_pull(process, folder):
    permissions = {"agent": "write"}
    body = {"name": REPOSITORY, "folder": str(folder), "permissions": permissions}
    assert (await process.call("POST", "/_demo/repositories", body))[0] == 201
    await process.act(
        "push_commit", branch="agents/1", files={"calc.py": "def add(a, b):\n    return a + b\n"}
    )
    return (await process.act("open_pull", head="agents/1", title="Fix add()"))["number"]


@pytest.mark.parametrize(("fault", "merged_at_restart"), [("crash_after", 1), ("crash_before", 0)])
async def test_killed_around_the_effect_of_a_merge(start, folder, fault, merged_at_restart):
    async with start() as first:
        number = await open_pull(first, folder)
        await first.call("POST", "/_demo/faults", {"match": {"path": "/merge$"}, "action": fault})
        with pytest.raises(aiohttp.ClientError):
            await first.call("PUT", MERGE, {"merge_method": "squash"})
        assert await first.process.wait() == -signal.SIGKILL
    async with start() as second:
        assert len(await second.merges()) == merged_at_restart
        status, body = await second.call("GET", f"/api/v3/repos/{REPOSITORY}/pulls/{number}")
        assert (status, body["merged"]) == (200, bool(merged_at_restart))
        again, _ = await second.call("PUT", MERGE, {"merge_method": "squash"})
        assert again == (405 if merged_at_restart else 200)
        (merged,) = await second.merges()
        _, ref = await second.call("GET", f"/api/v3/repos/{REPOSITORY}/git/ref/heads/main")
        assert ref["object"]["sha"] == merged["details"]["sha"]
        _, log = await second.call("GET", "/_demo/mutations")
        assert [entry["seq"] for entry in log] == list(range(1, len(log) + 1))


async def test_identities_tokens_limits_of_time_and_numbers_go_on(tmp_path, folder):
    data = tmp_path / "data"
    async with StandInGitHub(data, keep=True, mergeability_delay=0) as first:
        token = first.add_token("alice")
        await first.seed_repository(REPOSITORY, folder, permissions={"alice": "write"})
        issue = first.create_issue(REPOSITORY, "One", author="alice")
        first.forge.clock.stop()
        first.forge.clock.set(2_000_000_000)
        first.save()
    async with StandInGitHub(data, keep=True, mergeability_delay=0) as second:
        kept = second.forge.store.repositories[REPOSITORY].issues[issue.number]
        assert (kept.id, kept.author.login, kept.title) == (issue.id, "alice", "One")
        assert second.forge.store.tokens[token] is kept.author
        assert second.forge.clock.time() == 2_000_000_000
        assert second.create_issue(REPOSITORY, "Two", author="alice").number == issue.number + 1
        ids = [entity.database_id for entity in second.forge.store.nodes.values()]
        assert len(ids) == len(set(ids))
        lines = (data / "mutations.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == second.mutations


async def test_a_branch_that_moved_just_before_the_kill_is_followed(tmp_path, folder):
    data = tmp_path / "data"
    async with StandInGitHub(data, keep=True, mergeability_delay=0) as first:
        await first.seed_repository(REPOSITORY, folder, permissions={"agent": "write"})
        await first.act("agent", "push_commit", REPOSITORY, branch="x", files={"a.py": "1\n"})
        number = (await first.act("agent", "open_pull", REPOSITORY, head="x", title="T"))["number"]
        git = first.forge.store.repositories[REPOSITORY].git
        old = await git.branch("x")
        moved = await git.commit_tree(
            (await git.commit(old)).tree, (old,), "Unseen", author=(await git.commit(old)).author
        )
        assert await git.update_ref("refs/heads/x", moved, old)
    async with StandInGitHub(data, keep=True, mergeability_delay=0) as second:
        assert second.forge.store.repositories[REPOSITORY].pulls[number].head_ref_oid == moved
        assert second.mutations[-1]["kind"] == "pull_request.synchronized"


async def test_checks_that_were_running_run_again(tmp_path, folder, workflow):
    workflow("sleep 0.2")
    data = tmp_path / "data"
    async with StandInGitHub(data, keep=True, mergeability_delay=0) as first:
        repository = await first.seed_repository(REPOSITORY, folder, permissions={"agent": "write"})
        first.save()
        (run,) = repository.suites[0].latest_runs()
        assert run.status != "COMPLETED"
    async with StandInGitHub(data, keep=True, mergeability_delay=0) as second:
        await second.checks_settled()
        (run,) = second.forge.store.repositories[REPOSITORY].suites[0].latest_runs()
        assert (run.status, run.conclusion) == ("COMPLETED", "SUCCESS")


async def test_without_keep_nothing_of_an_earlier_run_is_left(tmp_path, folder):
    data = tmp_path / "data"
    async with StandInGitHub(data, keep=True) as first:
        await first.seed_repository(REPOSITORY, folder)
    async with StandInGitHub(data) as second:
        assert second.mutations == []
    async with StandInGitHub(data, keep=True) as third:
        assert third.mutations == []


async def test_a_snapshot_on_demand(tmp_path, folder, session):
    data = tmp_path / "data"
    async with StandInGitHub(data) as first:
        await first.seed_repository(REPOSITORY, folder)
        async with session.post(f"{first.url}/_demo/snapshot") as response:
            assert response.status == 204
        assert (data / "state.pickle").stat().st_mode & 0o777 == 0o600
    async with StandInGitHub(data, keep=True) as second:
        assert REPOSITORY in second.forge.store.repositories


async def test_a_stand_in_in_memory_has_nowhere_to_save():
    async with StandInGitHub(None) as server:
        with pytest.raises(Exception, match="no folder"):
            server.save()
