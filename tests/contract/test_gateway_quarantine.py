"""Protected paths: the real git program pushes through the gateway, which looks at every commit first."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from agent_runner.gateway import held_answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


from gateway_world import BRANCH, WORK_REF, World, commit, git, open_world
from quarantine_world import CI, allowed, change, refused, workflow

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        await workflow(world, "base", world.base)
        yield world


# What is refused


async def test_a_change_of_a_workflow_is_refused_with_a_way_out(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    bad = await change(clone, CI)
    printed = await refused(world, gateway, clone, f"(protected paths: {CI})")
    assert "remote: agent gateway: This step may not change these files" in printed
    assert f"They are changed by {bad[:12]}." in printed
    assert gateway.ledger.refusals[-1].startswith(f"protected_paths: push {WORK_REF} ")
    assert CI in gateway.ledger.refusals[-1]
    # The way out that it names works.
    await git(clone, "reset", "-q", "--soft", f"{bad}^")
    await git(clone, "restore", "--staged", "--worktree", f"--source={bad}^", CI)
    await commit(clone, "without")
    await allowed(world, clone)


async def test_a_change_that_is_taken_back_later_is_refused(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    bad = await change(clone, CI)
    await change(clone, "src/app.py", "fine")
    await change(clone, CI, "base")
    assert (await git(clone, "diff", "--name-only", "origin/main", "HEAD", "--", ".github")).stdout == ""
    printed = await refused(world, gateway, clone, f"(protected paths: {CI})")
    assert bad[:12] in printed


async def test_new_removed_and_renamed_files_and_modes(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    start = (await git(clone, "rev-parse", "HEAD")).stdout.strip()
    await change(clone, CI, None)
    await refused(world, gateway, clone, f"(protected paths: {CI})")
    await git(clone, "reset", "-q", "--hard", start)
    await git(clone, "mv", CI, "elsewhere.yml")
    await git(clone, "commit", "-q", "-m", "renamed")
    await refused(world, gateway, clone, f"(protected paths: {CI})")
    await git(clone, "reset", "-q", "--hard", start)
    await git(clone, "mv", "README", ".github/workflows/README")
    await git(clone, "commit", "-q", "-m", "renamed")
    await refused(world, gateway, clone, "(protected paths: .github/workflows/README)")
    await git(clone, "reset", "-q", "--hard", start)
    await git(clone, "update-index", "--chmod=+x", CI)
    await git(clone, "commit", "-q", "-m", "mode")
    await refused(world, gateway, clone, f"(protected paths: {CI})")


async def test_many_files_are_counted(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    for number in range(5):
        (clone / f".github/workflows/{number}.yml").write_text("x")
    await commit(clone, "five")
    names = ", ".join(f".github/workflows/{number}.yml" for number in range(3))
    await refused(world, gateway, clone, f"(protected paths: {names} (+2 more))")


@pytest.mark.parametrize("target", [".github", ".github/workflows"])
async def test_a_link_in_the_place_of_the_folder(world: World, target: str) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    shutil.rmtree(clone / target)
    (clone / "mine").mkdir()
    (clone / "mine" / "ci.yml").write_text("evil")
    (clone / target).symlink_to("mine" if target == ".github" else "../mine")
    await commit(clone, "link")
    await refused(world, gateway, clone, "protected paths: ")


async def test_a_link_where_no_folder_was(world: World) -> None:
    gateway = await world.gateway(protected_paths=("ops/deploy/**",))
    clone = await world.branch(gateway)
    (clone / "ops").symlink_to("mine")
    await commit(clone, "link")
    await refused(world, gateway, clone, "(protected paths: ops)")


async def test_a_submodule_in_the_place_of_the_folder(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await git(clone, "rm", "-rqf", ".github")
    await git(clone, "update-index", "--add", "--cacheinfo", f"160000,{world.base},.github")
    await git(clone, "commit", "-q", "-m", "gitlink")
    await refused(world, gateway, clone, "protected paths: .github")


@pytest.mark.parametrize(
    "path", [".GitHub/Workflows/x.yml", ".github/WORKFLOWS/new\nline.yml", '.github/workflows/"q".yml']
)
async def test_spellings_of_a_protected_path(world: World, path: str) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    blob = (await git(clone, "rev-parse", "HEAD:README")).stdout.strip()
    await git(clone, "update-index", "--add", "--cacheinfo", f"100644,{blob},{path}")
    await git(clone, "commit", "-q", "-m", "spelling")
    await refused(world, gateway, clone, f"(protected paths: {path.replace(chr(10), '?')})")


async def test_names_that_look_like_the_words_of_git(world: World) -> None:
    """A path cannot pass for the start of another record."""
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    head = (await git(clone, "rev-parse", "HEAD")).stdout.strip()
    for name in (head, ":100644 100644 a b M", "\udcff".encode("utf-8", "surrogateescape").decode("latin-1")):
        (clone / name).write_text("x")
    await commit(clone, "odd")
    await allowed(world, clone)
    await change(clone, CI)
    ran = await git(clone, "push", "origin", f"HEAD:{BRANCH}", check=False)
    assert f"(protected paths: {CI})" in ran.stderr


async def test_a_history_of_its_own(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await git(clone, "switch", "-q", "--orphan", "fresh")
    await change(clone, CI, "base")
    await refused(world, gateway, clone, f"(protected paths: {CI})")


# Merges


async def test_base_may_be_merged_with_its_workflows(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await allowed(world, clone)
    main = await world.forge.head("refs/heads/main")
    await workflow(world, "newer", main or "")
    await git(clone, "fetch", "-q")
    await git(clone, "merge", "-q", "--no-edit", "origin/main")
    assert (clone / CI).read_text() == "newer"
    await allowed(world, clone)


async def test_rebase_onto_a_base_with_other_workflows(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await allowed(world, clone)
    main = await world.forge.head("refs/heads/main")
    await workflow(world, "newer", main or "")
    await git(clone, "fetch", "-q")
    await git(clone, "rebase", "-q", "origin/main")
    await allowed(world, clone)


async def test_commits_of_the_base_that_the_client_does_not_know_to_be_there(world: World) -> None:
    """The base has moved on since: git sends its older commits again, as if they were new."""
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    main = await world.forge.head("refs/heads/main") or ""
    for number in range(3):
        main = await workflow(world, f"newer {number}", main)
    await git(clone, "fetch", "-q")
    await git(clone, "rebase", "-q", "origin/main")
    await workflow(world, "newest", main)
    await allowed(world, clone)


async def test_a_merge_that_changes_a_workflow_itself(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await workflow(world, "newer", await world.forge.head("refs/heads/main") or "")
    await git(clone, "fetch", "-q")
    await git(clone, "merge", "-q", "--no-commit", "origin/main")
    (clone / CI).write_text("evil")
    await git(clone, "add", "-A")
    await git(clone, "commit", "-q", "-m", "merge")
    await refused(world, gateway, clone, f"(protected paths: {CI})")


@pytest.mark.parametrize("order", ["ours", "theirs"])
async def test_a_merge_that_keeps_an_older_workflow(world: World, order: str) -> None:
    """It equals one parent, but landing it would undo what the base has done."""
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await workflow(world, "newer", await world.forge.head("refs/heads/main") or "")
    await git(clone, "fetch", "-q")
    if order == "ours":
        await git(clone, "merge", "-q", "--no-edit", "-s", "ours", "origin/main")
    else:
        work = (await git(clone, "rev-parse", "HEAD")).stdout.strip()
        tree = (await git(clone, "rev-parse", "HEAD^{tree}")).stdout.strip()
        merge = await git(clone, "commit-tree", tree, "-p", "origin/main", "-p", work, "-m", "merge")
        await git(clone, "reset", "-q", "--hard", merge.stdout.strip())
    await refused(world, gateway, clone, f"(protected paths: {CI})", "A merge has to take the base branch's")


async def test_an_octopus_merge(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    main = await world.forge.head("refs/heads/main") or ""
    other, base = await world.forge.store("other"), await world.forge.store("base")
    await world.forge.commit_files(
        "refs/heads/topic", main, {CI: await world.forge.store("topic"), "README": base}
    )
    await world.forge.commit_files("refs/heads/other", main, {"other": other, CI: base, "README": base})
    await git(clone, "fetch", "-q")
    await git(clone, "merge", "-q", "--no-edit", "origin/topic", "origin/other")
    assert len((await git(clone, "rev-list", "--parents", "-1", "HEAD")).stdout.split()) == 4
    await allowed(world, clone)


async def test_a_change_hidden_in_the_second_parent(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await git(clone, "switch", "-q", "-c", "side")
    bad = await change(clone, CI)
    await git(clone, "switch", "-q", BRANCH)
    await git(clone, "merge", "-q", "--no-edit", "-s", "ours", "side")
    printed = await refused(world, gateway, clone, f"(protected paths: {CI})")
    assert bad[:12] in printed


# How it works


async def test_files_beside_the_protected_are_free(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await change(clone, ".github/dependabot.yml", "fine")
    await change(clone, "docs/.github/workflows/x.yml", "fine")
    await allowed(world, clone)


async def test_without_patterns_nothing_is_held(world: World) -> None:
    gateway = await world.gateway(protected_paths=())
    clone = await world.branch(gateway)
    await change(clone, CI)
    await allowed(world, clone)
    assert not (world.folder / "scratch" / "quarantine").exists()


async def test_a_forge_that_leaves_nothing_out(world: World) -> None:
    await world.forge.git("config", "uploadpack.allowFilter", "false")
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await allowed(world, clone)
    await change(clone, CI)
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert f"(protected paths: {CI})" in ran.stderr


async def test_a_push_that_is_a_delta_to_a_file_and_its_folder(world: World) -> None:
    """Such a thin pack needs both from the forge; asked for at once, git's server leaves out the file."""
    text = "\n".join(f"line {n} of a file that is worth a delta" for n in range(400))
    await git(world.folder, "clone", "-q", str(world.forge.repository), "person")
    person = world.folder / "person"
    for name in ("deep/folder/long.txt", *(f"deep/folder/other-{n}.txt" for n in range(60))):
        (person / name).parent.mkdir(parents=True, exist_ok=True)
        (person / name).write_text(text)
    await git(person, "add", ".")
    await git(person, "commit", "-q", "-m", "many files")
    await git(person, "push", "-q", "origin", "HEAD:main")
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await change(clone, "deep/folder/long.txt", text + "\none more line")
    await allowed(world, clone)


async def test_a_shallow_clone_pushes(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway, "--depth=1")
    await change(clone, "src/app.py", "fine")
    await allowed(world, clone)
    await change(clone, CI)
    ran = await git(clone, "push", "origin", f"HEAD:{BRANCH}", check=False)
    assert f"(protected paths: {CI})" in ran.stderr


async def test_git_that_works_here_holds_no_credential(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await allowed(world, clone)
    kept = [path for path in (world.folder / "scratch").rglob("*") if path.is_file()]
    assert any(path.name == "config" for path in kept)
    assert not any(world.forge.token.encode() in path.read_bytes() for path in kept)


async def test_client_sees_life_while_it_waits(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_answer, "BEAT_SECONDS", 0.05)
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    start = (await git(clone, "rev-parse", "HEAD")).stdout.strip()

    async def slow(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/git-upload-pack"):
            await asyncio.sleep(0.2)
        return await world.forge.handle(request)

    world.answer = slow
    traced = {"GIT_TRACE_PACKET": "1"}
    ran = await git(clone, "push", "origin", BRANCH, **traced)
    assert await world.forge.head() == start
    assert [push.new for push in gateway.ledger.pushes] == [start]
    assert ran.stderr.count("sideband< \\1") > 3
    await change(clone, CI)
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code == 1
    assert f"(protected paths: {CI})" in ran.stderr
    assert "remote: agent gateway: This step may not change these files" in ran.stderr
    # A forge that fails after the answer was begun.
    await git(clone, "reset", "-q", "--hard", start)
    await commit(clone, "two")

    async def fail() -> None:
        raise web.HTTPBadGateway

    world.forge.before_push = fail
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert "(the forge did not take it)" in ran.stderr
