"""The real git program through the gateway: reading, pushing, restarts."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from agent_runner.contract import DEFAULT_PROTECTED_PATHS, Push
from agent_runner.gateway import forge as forge_module

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

from gateway_world import BRANCH, WORK_REF, ZERO, World, commit, git, open_world, start_process, stop_process

either_way = pytest.mark.parametrize(
    "protected_paths", [(), DEFAULT_PROTECTED_PATHS], ids=["streamed", "held"]
)
"""Pushes pass through as they come, or wait on disk while they are looked at."""

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


# Reading


async def test_clone_speaks_protocol_v2_with_the_credential_added(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    assert (await git(clone, "rev-parse", "HEAD")).stdout.strip() == world.base
    assert [seen.headers.get("Git-Protocol") for seen in world.forge.seen] == ["version=2"] * 3
    assert {seen.headers["Accept-Encoding"] for seen in world.forge.seen} == {"identity"}
    assert all(seen.headers["User-Agent"].startswith("git/") for seen in world.forge.seen)


async def test_shallow_deepened_and_blobless_clones(world: World) -> None:
    gateway = await world.gateway()
    shallow = await world.clone(gateway, "--depth=1", name="shallow")
    assert (await git(shallow, "rev-list", "--count", "HEAD")).stdout.strip() == "1"
    await git(shallow, "fetch", "-q", "--deepen=2")
    assert (await git(shallow, "rev-list", "--count", "HEAD")).stdout.strip() == "3"
    blobless = await world.clone(gateway, "--filter=blob:none", name="blobless")
    assert (await git(blobless, "rev-list", "--count", "HEAD")).stdout.strip() == "4"


@pytest.mark.parametrize("version", ["0", "1"])
async def test_older_protocols(world: World, version: str) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway, "-c", f"protocol.version={version}")
    assert (await git(clone, "rev-parse", "HEAD")).stdout.strip() == world.base


async def test_gzipped_fetch_is_forwarded_as_it_is(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    for number in range(60):
        await world.forge.commit(f"refs/heads/topic-{number}", world.base, f"t{number}")
    await git(clone, "fetch", "-q")
    compressed = [s for s in world.spy(end="/git-upload-pack") if s.headers.get("Content-Encoding") == "gzip"]
    assert compressed
    assert (await git(clone, "rev-parse", "origin/topic-59")).code == 0


@either_way
async def test_large_objects_both_ways(world: World, protected_paths: tuple[str, ...]) -> None:
    gateway = await world.gateway(protected_paths=protected_paths)
    clone = await world.branch(gateway)
    large = os.urandom(3 << 20)
    head = await commit(clone, "large", large)
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == head
    probe, push = world.spy()[-2:] if len(world.spy()) > 1 else (None, world.spy()[-1])
    assert probe is None, "the probe is answered here"
    assert push.headers.get("Transfer-Encoding") == "chunked"
    assert push.bytes > len(large)
    other = await world.clone(gateway, "--branch", BRANCH, name="other")
    assert (other / "large.txt").read_bytes() == large


# Further repositories


async def test_further_repositories_may_be_read_only(world: World) -> None:
    library = await world.forge.repository_of("acme/Library")
    gateway = await world.gateway(read_repositories=("acme/Library",))
    for name in ("acme/Library", "Acme/library"):
        await git(world.folder, "clone", "-q", f"{gateway.url}/git/{name}.git", name.replace("/", "-"))
    clone = world.folder / "acme-Library"
    assert (await git(clone, "rev-parse", "HEAD")).stdout.strip() == library
    assert {seen.path.split(".git/")[0] for seen in world.forge.seen} == {"/acme/Library"}
    await commit(clone, "one")
    seen = len(world.forge.seen)
    ran = await git(clone, "push", "origin", "HEAD:main", check=False)
    assert ran.code == 128
    assert "remote: agent gateway: acme/Library may only be read here; this step may push to" in ran.stderr
    assert len(world.forge.seen) == seen
    assert gateway.ledger.refusals[-1] == "push: acme/Library may only be read"
    ran = await git(world.folder, "ls-remote", f"{gateway.url}/git/acme/other.git", check=False)
    assert "only the repositories acme/Library, acme/widget can be reached here" in ran.stderr


async def test_push_takes_the_name_as_it_is(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    ran = await git(clone, "push", f"{gateway.url}/git/Acme/Widget.git", BRANCH, check=False)
    assert ran.code == 128
    assert not world.spy()


async def test_push_to_a_repository_to_read_without_its_list_of_refs(world: World) -> None:
    await world.forge.repository_of("acme/library")
    gateway = await world.gateway(read_repositories=("acme/library",))
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{gateway.url}/git/acme/library.git/git-receive-pack",
            data=b"0000",
            headers={"Content-Type": "application/x-git-receive-pack-request"},
        )
        assert answer.status == 403
        assert "acme/library may only be read here" in await answer.text()
    assert world.forge.seen == []


async def test_gateway_says_what_it_serves(world: World) -> None:
    gateway = await world.gateway(read_repositories=("acme/library", "acme/Widget"))
    async with aiohttp.ClientSession() as session:
        answer = await session.get(f"{gateway.url}/git/served")
        assert await answer.json() == {
            "forge": world.forge.url,
            "repositories": ["acme/library", "acme/widget"],
        }


async def test_forge_that_has_no_further_repository(world: World) -> None:
    gateway = await world.gateway(read_repositories=("acme/gone",))
    ran = await git(world.folder, "ls-remote", f"{gateway.url}/git/acme/gone.git", check=False)
    assert "the forge has no repository acme/gone for the credential in key github-token" in ran.stderr


# Pushing


@either_way
async def test_push_creates_the_branch_and_is_in_the_ledger(
    world: World, protected_paths: tuple[str, ...]
) -> None:
    gateway = await world.gateway(protected_paths=protected_paths)
    clone = await world.branch(gateway)
    head = await commit(clone, "two")
    ran = await git(clone, "push", "origin", BRANCH)
    assert "[new branch]" in ran.stderr
    assert await world.forge.head() == head
    assert gateway.ledger.pushes == (Push(ref=WORK_REF, old=ZERO, new=head),)
    assert world.termination() == gateway.ledger


@either_way
async def test_second_push_and_force_push_over_own_commits(
    world: World, protected_paths: tuple[str, ...]
) -> None:
    gateway = await world.gateway(protected_paths=protected_paths)
    clone = await world.branch(gateway)
    await git(clone, "push", "-q", "origin", BRANCH)
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    await git(clone, "reset", "-q", "--hard", "HEAD~2")
    third = await commit(clone, "three")
    await git(clone, "push", "-q", "--force-with-lease", "origin", BRANCH)
    assert await world.forge.head() == third
    assert [(push.old, push.new) for push in gateway.ledger.pushes][1:] == [
        (gateway.ledger.pushes[0].new, second),
        (second, third),
    ]


async def test_push_from_the_expected_head(world: World) -> None:
    expected = await world.forge.commit(WORK_REF, world.base, "earlier round")
    gateway = await world.gateway(expected_head=expected)
    clone = await world.clone(gateway, "--branch", BRANCH)
    head = await commit(clone, "fix")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == head


async def test_push_over_a_commit_of_somebody_else_is_refused(world: World) -> None:
    expected = await world.forge.commit(WORK_REF, world.base, "earlier round")
    gateway = await world.gateway(expected_head=expected)
    clone = await world.clone(gateway, "--branch", BRANCH)
    await commit(clone, "fix")
    person = await world.forge.commit(WORK_REF, expected, "a person's")
    await git(clone, "fetch", "-q")
    for arguments in (["--force"], [f"--force-with-lease={BRANCH}:{person}"]):
        ran = await git(clone, "push", *arguments, "origin", BRANCH, check=False)
        assert ran.code == 1
        assert "[remote rejected]" in ran.stderr
        assert f"(stale: the branch is at {person[:12]}, which this step did not push" in ran.stderr
        assert f"remote: agent gateway: Somebody else has pushed to {BRANCH}." in ran.stderr
    # Neither merging it in first makes it this step's branch again.
    await git(clone, "rebase", "-q", f"origin/{BRANCH}")
    assert (await git(clone, "push", "origin", BRANCH, check=False)).code == 1
    assert await world.forge.head() == person
    assert gateway.ledger.pushes == ()
    assert len(gateway.ledger.refusals) == 3
    assert not world.spy(), "a refused push must not reach the forge"


@either_way
async def test_push_races_with_a_person_after_the_advertisement(
    world: World, protected_paths: tuple[str, ...]
) -> None:
    gateway = await world.gateway(protected_paths=protected_paths)
    clone = await world.branch(gateway)
    person = ""

    async def race() -> None:
        nonlocal person
        person = await world.forge.commit(WORK_REF, world.base, "a person's")

    world.forge.before_push = race
    ran = await git(clone, "push", "--force", "origin", BRANCH, check=False)
    assert ran.code == 1
    assert "[remote rejected]" in ran.stderr
    assert await world.forge.head() == person
    assert gateway.ledger.pushes == ()
    world.forge.before_push = None
    ran = await git(clone, "push", "--force", "origin", BRANCH, check=False)
    assert "it did not exist" in ran.stderr
    assert await world.forge.head() == person


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["HEAD:main"], f"only {WORK_REF} may be pushed"),
        (["HEAD:refs/heads/other"], f"only {WORK_REF} may be pushed"),
        (["HEAD:refs/tags/v1"], f"only {WORK_REF} may be pushed"),
        (["HEAD:refs/for/main"], f"only {WORK_REF} may be pushed"),
        ([f":{BRANCH}"], "the work branch may not be deleted"),
        ([f"HEAD:{BRANCH}", "HEAD:other"], "not pushed: another ref of this push was refused"),
    ],
)
async def test_refused_pushes_say_why(world: World, arguments: list[str], reason: str) -> None:
    expected = await world.forge.commit(WORK_REF, world.base, "earlier round")
    before = await world.forge.git("for-each-ref")
    gateway = await world.gateway(expected_head=expected)
    clone = await world.clone(gateway, "--branch", BRANCH)
    await commit(clone, "one", os.urandom(2 << 20))
    ran = await git(clone, "push", "origin", *arguments, check=False)
    assert ran.code == 1
    assert "[remote rejected]" in ran.stderr
    assert reason in ran.stderr
    assert f"remote: agent gateway: This step may only push commits to the branch {BRANCH}." in ran.stderr
    assert await world.forge.git("for-each-ref") == before
    assert reason in gateway.ledger.refusals[0]


async def test_reading_steps_may_not_push(world: World) -> None:
    gateway = await world.gateway(push=False)
    clone = await world.branch(gateway)
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code == 128
    assert "remote: agent gateway: this step only reads the repository; it may not push" in ran.stderr
    assert await world.forge.head() is None


async def test_push_options_and_certificates_are_not_offered(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    ran = await git(clone, "push", "-o", "ci.skip", "origin", BRANCH, check=False)
    assert "the receiving end does not support push options" in ran.stderr
    ran = await git(clone, "push", "--signed", "origin", BRANCH, check=False)
    assert "the receiving end does not support --signed push" in ran.stderr
    assert not world.spy()


@either_way
async def test_answer_lost_on_the_way_is_settled_by_asking(
    world: World, protected_paths: tuple[str, ...]
) -> None:
    gateway = await world.gateway(protected_paths=protected_paths)
    clone = await world.branch(gateway)
    world.forge.lose_answers = 1
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code == 0, ran
    head = await world.forge.head()
    assert [push.new for push in gateway.ledger.pushes] == [head]
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == second


@either_way
async def test_forge_fails_before_it_has_made_the_push(
    world: World, protected_paths: tuple[str, ...]
) -> None:
    gateway = await world.gateway(protected_paths=protected_paths)
    clone = await world.branch(gateway)

    async def fail() -> None:
        raise web.HTTPBadGateway

    world.forge.before_push = fail
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code == 1
    assert "(the forge did not take it)" in ran.stderr
    assert "remote: agent gateway: the forge 127.0.0.1 answered HTTP 502" in ran.stderr
    assert gateway.ledger.pushes == ()
    world.forge.before_push = None
    await git(clone, "push", "-q", "origin", BRANCH)
    assert len(gateway.ledger.pushes) == 1


async def test_forge_that_loses_an_answer_and_does_not_tell_its_refs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forge_module, "ASK_SECONDS", 0.3)
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    ask = asyncio.Event()

    async def stall(request: web.Request) -> web.StreamResponse:
        if request.method == "GET" and not ask.is_set() and world.spy():
            await ask.wait()
        return await world.forge.handle(request)

    world.answer = stall
    world.forge.lose_answers = 1
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code == 1
    assert "(the forge did not take it)" in ran.stderr
    assert gateway.ledger.pushes == ()
    ask.set()
    # It had taken it all the same; that is found out as soon as it matters.
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == second
    assert [push.new for push in gateway.ledger.pushes][1:] == [second]


# Restart


async def test_kill_and_restart_between_pushes_forgets_nothing(world: World) -> None:
    log = world.folder / "gateway.log"
    process = await start_process(world, log)
    url = (world.folder / "url").read_text()
    await git(world.folder, "clone", "-q", f"{url}/git/acme/widget.git", "clone")
    clone = world.folder / "clone"
    await git(clone, "switch", "-q", "-c", BRANCH)
    first = await commit(clone, "one")
    await git(clone, "push", "-q", "origin", BRANCH)
    await stop_process(process)
    assert [push.new for push in world.termination().pushes] == [first], "kept up to date without an end"
    with (world.ledger_file).open("ab") as ledger:
        ledger.write(b'{"event":"push","ref":"refs/he')

    process = await start_process(world, log)
    assert (world.folder / "url").read_text() == url, "the agent has read the address already"
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == second
    assert await stop_process(process, signal.SIGTERM) == 0
    assert [push.new for push in world.termination().pushes] == [first, second]
    lines = (world.ledger_file).read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in lines if line.endswith(b"}")] == ["push_sent", "push"] * 2
    printed = log.read_text()
    assert f"pushed {WORK_REF}" in printed
    assert world.forge.token not in printed
    assert url.rsplit("/", 1)[1] not in printed


@either_way
async def test_killed_while_the_forge_works_on_a_push(world: World, protected_paths: tuple[str, ...]) -> None:
    log = world.folder / "gateway.log"
    process = await start_process(world, log, protected_paths=protected_paths)
    url = (world.folder / "url").read_text()
    await git(world.folder, "clone", "-q", f"{url}/git/acme/widget.git", "clone")
    clone = world.folder / "clone"
    await git(clone, "switch", "-q", "-c", BRANCH)
    first = await commit(clone, "one")

    async def kill() -> None:
        await stop_process(process)

    world.forge.after_body = kill
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code != 0
    world.forge.after_body = None
    async with asyncio.timeout(10):
        while await world.forge.head() != first:
            await asyncio.sleep(0.05)
    await start_process(world, log, protected_paths=protected_paths)
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == second
    assert [push.new for push in world.termination().pushes] == [first, second]
