"""Checkouts with the cache claim and without: what they hold, and what the forge is asked for."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

sys.path.insert(0, str(Path(__file__).parent))


from gateway_world import BRANCH, WORK_REF, git
from mirror_world import REPOSITORY, open_mirror_world, spec_of

from agent_runner.checkout import prepare
from agent_runner.contract import StepSpec
from agent_runner.draft import Draft
from agent_runner.failure import StepFailed
from agent_runner.gateway import mirror, mirror_history
from agent_runner.instructions import instructions_for
from agent_runner.publish import publish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mirror_world import MirrorWorld

ALL = 7
"""Commits of the repository."""


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MirrorWorld]:
    async with open_mirror_world(tmp_path) as world:
        yield world


async def test_the_first_checkout_borrows_what_was_fetched_for_it(world: MirrorWorld) -> None:
    pod = await world.pod()
    checkout = await pod.prepare()
    assert checkout.start_sha == world.forge_world.base
    assert (pod.checkout / "file.txt").read_text().startswith("content 2\n")
    assert pod.borrows
    assert await pod.history() == 1
    assert world.fetched() == 3  # the step's list of refs, the mirror's, and one pack
    assert not list((pod.checkout / ".git/objects/pack").glob("*.pack"))


async def test_the_whole_history_follows_and_the_next_checkout_downloads_nothing(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.warmed(monkeypatch)
    before = world.fetched()
    pod = await world.pod()
    await pod.prepare()
    assert pod.borrows
    assert await pod.history() == ALL
    assert world.fetched() == before + 1  # one list of refs
    assert await pod.run("fsck", "--connectivity-only") == ""


async def test_a_new_commit_is_fetched_into_the_mirror_alone(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.warmed(monkeypatch)
    blob = await world.forge.store("new\n")
    new = await world.forge.commit_files("refs/heads/main", world.forge_world.base, {"new.txt": blob})
    pod = await world.pod()
    assert (await pod.prepare()).start_sha == new
    assert await pod.history() == ALL + 1
    assert not list((pod.checkout / ".git/objects/pack").glob("*.pack"))


async def test_two_steps_that_start_at_once_fetch_once(world: MirrorWorld) -> None:
    pods = [await world.pod() for _ in range(4)]
    done = await asyncio.gather(*(pod.prepare() for pod in pods))
    assert {checkout.start_sha for checkout in done} == {world.forge_world.base}
    assert all(pod.borrows for pod in pods)
    assert len(list(world.claim.glob("g-*"))) == 1
    # Each lists refs; one lists them once more, and fetches.
    assert world.fetched() == 4 + 2


async def test_a_fix_reaches_the_merge_base_with_a_mirror_that_has_no_history_yet(world: MirrorWorld) -> None:
    head = await world.forge.commit(WORK_REF, f"{world.forge_world.base}~2", "work")
    pod = await world.pod()
    checkout = await pod.prepare("fix", head)
    assert checkout.start_sha == head
    assert pod.borrows
    assert await pod.run("merge-base", checkout.base_sha, head)


@pytest.mark.parametrize("filters", [True, False])
async def test_without_a_cache_a_fix_gets_history_without_its_files(
    world: MirrorWorld, filters: bool
) -> None:
    await world.forge.git("config", "uploadpack.allowFilter", str(filters).lower())
    head = await world.forge.commit(WORK_REF, f"{world.forge_world.base}~2", "work")
    pod = await world.pod(cache=False)
    checkout = await pod.prepare("fix", head)
    assert await pod.run("merge-base", checkout.base_sha, head)
    missing = await pod.run("rev-list", "--objects", "--all", "--missing=print", "--quiet")
    left_out = [line for line in missing.splitlines() if line.startswith("?")]
    assert bool(left_out) is filters
    # The agent's git fetches them when it looks at them.
    assert "content 1" in await pod.run("log", "-p", "--all")


async def test_without_a_cache_the_first_step_gets_one_commit(world: MirrorWorld) -> None:
    pod = await world.pod(cache=False)
    await pod.prepare()
    assert await pod.history() == 1
    assert await pod.run("rev-list", "--objects", "--all", "--missing=print", "--quiet") == ""
    await pod.run("fetch", "--unshallow", "origin")
    assert await pod.history() == ALL


@pytest.mark.parametrize("cache", [True, False])
async def test_the_agent_gets_older_commits_where_it_needs_them(world: MirrorWorld, cache: bool) -> None:
    """By the command that its instructions name."""
    pod = await world.pod(cache=cache)
    await pod.prepare()
    assert await pod.history() == 1
    said = instructions_for(spec_of("implement", None), {}, cut_off=True)
    found = re.search(r"`git (fetch [^`]+)`", said)
    assert found
    await pod.run(*found[1].split())
    assert await pod.history() == ALL
    assert "content 1" in await pod.run("log", "-p")
    assert "git fetch" not in instructions_for(spec_of("implement", None), {})


@pytest.mark.parametrize("cache", [True, False])
async def test_what_is_committed_in_such_a_checkout_can_be_pushed(world: MirrorWorld, cache: bool) -> None:
    pod = await world.pod(cache=cache)
    await pod.prepare()
    (pod.checkout / "file.txt").write_text("content 2\n" * 99)
    await pod.run("commit", "-a", "-m", "change")
    await pod.run("push", "origin", f"HEAD:{WORK_REF}")
    assert await world.forge.head() == await pod.run("rev-parse", "HEAD")


async def test_the_next_step_of_a_run_goes_on_with_the_checkout_that_borrows(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    first = await world.pod()
    await first.prepare()
    (first.checkout / "file.txt").write_text("changed")
    await first.run("commit", "-a", "-m", "change")
    await first.run("push", "origin", f"HEAD:{WORK_REF}")
    await world.warmed(monkeypatch)  # a generation of its own
    capsys.readouterr()
    second = await world.pod(first)
    head = await world.forge.head()
    checkout = await second.prepare("fix", head)
    assert checkout.start_sha == head
    assert await second.history() == ALL + 1
    assert "reused with borrowed objects" in capsys.readouterr().out


async def test_a_run_goes_on_without_the_cache_and_with_it_again(world: MirrorWorld) -> None:
    pod = await world.pod()
    await pod.prepare()
    without = await world.pod(pod, cache=False)
    await without.prepare()
    assert not without.borrows
    assert await without.run("fsck", "--connectivity-only") == ""
    again = await world.pod(without)
    await again.prepare()
    assert again.borrows


async def test_branches_that_are_forced_or_deleted_upstream(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.forge.commit("refs/heads/other", world.forge_world.base, "other")
    await world.warmed(monkeypatch)
    await world.forge.git("update-ref", "-d", "refs/heads/other")
    tree = await world.forge.git("rev-parse", "main^{tree}")
    forced = await world.forge.git("commit-tree", tree, "-m", "another root")
    await world.forge.git("update-ref", "refs/heads/main", forced)
    monkeypatch.setattr(mirror, "HISTORY_DELAY_SECONDS", 0.0)
    pod = await world.pod()
    assert (await pod.prepare()).start_sha == forced
    assert await pod.history() == 1
    async with asyncio.timeout(20):
        while (
            "refs/forge/heads/other"
            in (await git(world.current.path, "for-each-ref", "--format=%(refname)")).stdout
        ):
            await asyncio.sleep(0.05)


async def test_history_that_was_begun_is_gone_on_with(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first gateway ends after a part of it."""
    monkeypatch.setattr(mirror, "HISTORY_DELAY_SECONDS", 0.0)
    monkeypatch.setattr(mirror_history, "PARTS", ("--depth=2", "--bad-option"))
    pod = await world.pod()
    await pod.prepare()
    async with asyncio.timeout(20):
        while pod.gateway._mirror._mirror._background["history"].done() is False:  # type: ignore[union-attr]
            await asyncio.sleep(0.02)
    begun = world.store.next()
    assert begun is not None
    assert not begun.whole
    await pod.gateway.stop()
    # The part that is there is not fetched again.
    monkeypatch.setattr(mirror_history, "PARTS", ("--bad-option", "--unshallow"))
    await (await world.pod()).prepare()
    await world.whole()
    assert world.current == begun
    assert len(list(world.claim.glob("g-*"))) == 2  # the first one is in use


async def test_what_nobody_uses_any_more_is_removed(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.warmed(monkeypatch)
    (world.claim / "g-0123456789abcdef").mkdir()
    using = await world.pod()
    await using.prepare()
    assert {path.name for path in world.claim.glob("g-*")} == {world.current.name}


async def test_many_packs_are_put_together_while_a_reader_reads(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.warmed(monkeypatch)
    reader = await world.pod()
    await reader.prepare()
    for number in range(6):
        base = await world.forge.commit("refs/heads/main", "main", f"more {number}")
        pod = await world.pod()
        assert (await pod.prepare()).start_sha == base
        await pod.gateway.stop()
    packs = world.current.packs()
    assert packs > 6
    monkeypatch.setattr(mirror_history, "MOST_PACKS", 3)
    monkeypatch.setattr(mirror, "HISTORY_DELAY_SECONDS", 0.0)
    process = await asyncio.create_subprocess_exec(
        "git", "cat-file", "--batch", cwd=reader.checkout,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout

    async def read(name: str) -> bytes:
        assert process.stdin
        assert process.stdout
        process.stdin.write(f"{name}\n".encode())
        head = (await process.stdout.readline()).split()
        return await process.stdout.readexactly(int(head[2]) + 1)

    assert await read("HEAD")
    await (await world.pod()).prepare()
    async with asyncio.timeout(20):
        while world.current.packs() >= packs:
            await asyncio.sleep(0.02)
    assert b"content 0" in await read("HEAD~2:file.txt")
    process.stdin.close()
    await process.wait()
    assert await reader.run("fsck", "--connectivity-only", "--no-dangling") == ""


async def test_a_pull_request_is_asked_for_by_its_own_ref(world: MirrorWorld) -> None:
    head = await world.forge.commit("refs/pull/7/head", world.forge_world.base, "from a fork")
    pod = await world.pod()
    spec = StepSpec(
        step="review",
        repository=REPOSITORY,
        base_branch="main",
        work_branch=BRANCH,
        expected_head=head,
        pull_request=7,
        prompt="Review it.",
    )
    checkout = await asyncio.to_thread(prepare, pod.git(), spec)
    assert checkout.start_sha == head
    assert pod.borrows


async def test_a_base_that_moved_while_the_agent_worked_without_a_cache(world: MirrorWorld) -> None:
    """What the step publishes is measured from where it left the base, of which it has one commit."""
    pod = await world.pod(cache=False)
    checkout = await pod.prepare()
    (pod.checkout / "file.txt").write_text("changed")
    await world.forge.commit("refs/heads/main", world.forge_world.base, "meanwhile")
    draft = Draft()
    outcome = await asyncio.to_thread(publish, pod.git(), spec_of("implement", None), checkout, draft)
    assert (outcome, draft.commits, draft.files_changed) == ("succeeded", 1, ("file.txt",))
    assert await world.forge.head() == draft.head_sha


@pytest.mark.parametrize("agent", ["fetches", "fetches all history first", "only works"])
async def test_a_base_that_moved_and_that_another_step_has_fetched_without_its_history(
    world: MirrorWorld, agent: str
) -> None:
    """What a mirror without history gets later is no proof that its parents can be borrowed too."""
    pod = await world.pod()
    runner = pod.git()
    checkout = await asyncio.to_thread(prepare, runner, spec_of("implement", None))
    (pod.checkout / "mine.txt").write_text("mine")
    if agent == "fetches all history first":
        await pod.run("fetch", "--unshallow", "origin")
    for number in range(3):
        moved = await world.forge.commit("refs/heads/main", "main", f"meanwhile {number}")
    other = await world.pod()
    assert (await other.prepare()).start_sha == moved
    assert other.borrows
    if agent == "fetches":
        await pod.run("add", "--all")
        await pod.run("commit", "-m", "mine")
        await pod.run("fetch", "origin", "main")
        await pod.run("rebase", "origin/main")
    draft = Draft()
    outcome = await asyncio.to_thread(publish, runner, spec_of("implement", None), checkout, draft)
    assert (outcome, draft.commits, draft.files_changed) == ("succeeded", 1, ("mine.txt",))
    assert await world.forge.head() == draft.head_sha


async def test_a_base_that_was_forced_while_the_agent_worked_without_a_cache(world: MirrorWorld) -> None:
    pod = await world.pod(cache=False)
    runner = pod.git()
    checkout = await asyncio.to_thread(prepare, runner, spec_of("implement", None))
    (pod.checkout / "mine.txt").write_text("mine")
    await world.forge.commit("refs/heads/main", f"{world.forge_world.base}~2", "forced")
    draft = Draft()
    outcome = await asyncio.to_thread(publish, runner, spec_of("implement", None), checkout, draft)
    assert (outcome, draft.commits) == ("succeeded", 3)
    assert set(draft.files_changed) == {"mine.txt", "file.txt"}


@pytest.mark.parametrize("cache", [True, False])
async def test_a_base_that_got_another_root_while_the_agent_worked(world: MirrorWorld, cache: bool) -> None:
    pod = await world.pod(cache=cache)
    runner = pod.git()
    checkout = await asyncio.to_thread(prepare, runner, spec_of("implement", None))
    (pod.checkout / "mine.txt").write_text("mine")
    tree = await world.forge.git("rev-parse", "main^{tree}")
    forced = await world.forge.git("commit-tree", tree, "-m", "another root")
    await world.forge.git("update-ref", "refs/heads/main", forced)
    with pytest.raises(StepFailed, match="base branch was replaced") as stopped:
        await asyncio.to_thread(publish, runner, spec_of("implement", None), checkout, Draft())
    assert stopped.value.failure.code == "head_moved"
