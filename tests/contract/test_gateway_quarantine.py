"""Protected paths: the real git program pushes through the gateway, which looks at every commit first."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from agent_runner.gateway import git_program, held_answer, room
from agent_runner.gateway.pkt_line import FLUSH, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent_runner.gateway.server import Gateway

from gateway_world import BRANCH, WORK_REF, ZERO, World, commit, git, open_world, start_process, stop_process

CI = ".github/workflows/ci.yml"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        await workflow(world, "base", world.base)
        yield world


async def workflow(world: World, content: str, parent: str, branch: str = "main") -> str:
    """Put a person's commit with a workflow on a branch of the forge."""
    blob = await world.forge.store(content)
    return await world.forge.commit_files(f"refs/heads/{branch}", parent, {CI: blob, "README": blob})


async def change(clone: Path, path: str, content: str | None = "evil") -> str:
    """Commit a change of one file; ``None``: its removal."""
    file = clone / path
    if content is None:
        file.unlink()
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    await git(clone, "add", "-A")
    await git(clone, "commit", "-q", "-m", f"change {path}")
    return (await git(clone, "rev-parse", "HEAD")).stdout.strip()


async def refused(world: World, gateway: Gateway, clone: Path, *said: str) -> str:
    """Push, which must be refused; return what git printed."""
    before = await world.forge.head()
    ran = await git(clone, "push", "--force", "origin", f"HEAD:{BRANCH}", check=False)
    assert ran.code == 1, ran
    assert "[remote rejected]" in ran.stderr
    for words in said:
        assert words in ran.stderr, ran.stderr
    assert await world.forge.head() == before
    assert gateway.ledger.pushes == ()
    assert not world.spy(), "a refused push must not reach the forge"
    assert not (world.folder / "scratch" / "quarantine" / "push").exists()
    return ran.stderr


async def allowed(world: World, clone: Path) -> str:
    head = (await git(clone, "rev-parse", "HEAD")).stdout.strip()
    await git(clone, "push", "--force", "origin", f"HEAD:{BRANCH}")
    assert await world.forge.head() == head
    assert not (world.folder / "scratch" / "quarantine" / "push").exists()
    return head


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


@pytest.mark.parametrize("filters", ["no trees", "none"])
async def test_forges_that_leave_nothing_out(world: World, filters: str) -> None:
    if filters == "none":
        await world.forge.git("config", "uploadpack.allowFilter", "false")
    else:
        await world.forge.git("config", "uploadpackfilter.tree.allow", "false")
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await allowed(world, clone)
    await change(clone, CI)
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert f"(protected paths: {CI})" in ran.stderr


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


# What goes wrong


async def hand_made(gateway: Gateway, new: str, pack: bytes) -> str:
    command = encode(f"{ZERO} {new} {WORK_REF}\0report-status".encode()) + FLUSH
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{gateway.url}/git/acme/widget.git/git-receive-pack",
            data=command + pack,
            headers={"Content-Type": "application/x-git-receive-pack-request"},
        )
        assert answer.status == 200
        return await answer.text()


EMPTY_PACK = bytes.fromhex("5041434b0000000200000000029d08823bd8a8eab510ad6ac75c823cfd3ed31e")


async def test_objects_that_are_missing_or_no_commit(world: World) -> None:
    gateway = await world.gateway()
    blob = await world.forge.store("a blob")
    await world.forge.commit_files("refs/heads/more", world.base, {"blob": blob})
    await world.forge.git("tag", "-a", "-m", "x", "v1", world.base)
    tag = await world.forge.git("rev-parse", "refs/tags/v1")
    for new, pack, said in (
        ("1" * 40, EMPTY_PACK, "the commit is missing"),
        (blob, EMPTY_PACK, "not a commit"),
        (tag, EMPTY_PACK, "not a commit"),
        (world.base, b"", "git refuses what was sent"),
        (world.base, b"PACK garbage", "git refuses what was sent"),
        (world.base, EMPTY_PACK[:-1] + b"x", "git refuses what was sent"),
    ):
        assert f"ng {WORK_REF} {said}" in await hand_made(gateway, new, pack), said
    assert not world.spy()
    assert f"ok {WORK_REF}" in await hand_made(gateway, world.base, EMPTY_PACK)


async def test_objects_that_git_refuses(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    blob = (await git(clone, "rev-parse", "HEAD:README")).stdout.strip()
    tree = await git(clone, "mktree", stdin=f"100644 blob {blob}\t.git\n")
    bad = await git(clone, "commit-tree", tree.stdout.strip(), "-p", "HEAD", "-m", "bad")
    await git(clone, "reset", "-q", "--soft", bad.stdout.strip())
    await refused(world, gateway, clone, "(git refuses what was sent)", "hasDotgit")


async def test_a_parent_that_nobody_has(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    raw = (await git(clone, "cat-file", "commit", "HEAD")).stdout
    parent = (await git(clone, "rev-parse", "HEAD^")).stdout.strip()
    broken = await git(
        clone, "hash-object", "-t", "commit", "-w", "--stdin", stdin=raw.replace(parent, "2" * 40)
    )
    new = broken.stdout.strip()
    pack = await git(clone, "pack-objects", "pack", stdin=new + "\n")
    data = (clone / f"pack-{pack.stdout.strip()}.pack").read_bytes()
    assert "the push could not be checked" in await hand_made(gateway, new, data)
    assert not world.spy()


async def test_too_large_a_push(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_BYTES", 3 << 20)
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    start = (await git(clone, "rev-parse", "HEAD")).stdout.strip()
    await commit(clone, "large", os.urandom(5 << 20))
    printed = await refused(world, gateway, clone, "(the push is too large to be checked)")
    assert "the push takes more than 3 MiB" in printed
    assert "the push is too large to be checked" in gateway.ledger.refusals[-1]
    assert not gateway.ledger.refusals[-1].startswith("protected_paths: ")
    await git(clone, "reset", "-q", "--hard", start)
    await allowed(world, clone)


async def test_too_large_once_it_is_unpacked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pack of repeated objects, which git writes again with the objects that it builds on."""
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await commit(clone, "large", os.urandom(1 << 20))
    taken = room._taken

    def taken_by(folder: Path) -> int:
        return taken(folder) * (3000 if folder.name == "objects" else 1)

    monkeypatch.setattr(room, "_taken", taken_by)
    await refused(world, gateway, clone, "(the push is too large to be checked)", "what the push unpacks to")


async def test_a_volume_without_room(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    monkeypatch.setattr(room, "MIN_FREE_BYTES", 1 << 60)
    await refused(world, gateway, clone, "(the push is too large to be checked)", "has no room left")


async def test_a_volume_that_cannot_be_written(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    (world.folder / "scratch" / "quarantine").write_text("in the way")
    await refused(world, gateway, clone, "(the push could not be checked)", "volume does not work")


async def test_a_history_too_large_to_be_fetched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.forge.git("config", "uploadpack.allowFilter", "false")
    blob = await world.forge.store(os.urandom(4 << 20).hex())
    await world.forge.commit_files("refs/heads/huge", world.base, {"huge": blob})
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    monkeypatch.setattr(room, "MAX_BYTES", 2 << 20)
    await refused(
        world, gateway, clone, "(the push is too large to be checked)", "the history of the repository"
    )
    monkeypatch.undo()
    await allowed(world, clone)


async def test_git_without_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    monkeypatch.setattr(git_program, "SECONDS", 0.0)
    await refused(world, gateway, clone, "(the push could not be checked)", "took longer than 0 s")
    monkeypatch.undo()
    await allowed(world, clone)


async def test_forge_that_does_not_give_its_history(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)

    async def fail(request: web.Request) -> web.StreamResponse:
        if request.path.endswith("/git-upload-pack") or "upload-pack" in request.query_string:
            return web.Response(status=503)
        return await world.forge.handle(request)

    world.answer = fail
    await refused(
        world, gateway, clone, "(the push could not be checked)", "the forge 127.0.0.1 answered HTTP 503"
    )
    world.answer = world.forge.handle
    await allowed(world, clone)


async def test_killed_while_it_looks_at_a_push(world: World) -> None:
    log = world.folder / "gateway.log"
    process = await start_process(world, log)
    url = (world.folder / "url").read_text()
    await git(world.folder, "clone", "-q", f"{url}/git/acme/widget.git", "clone")
    clone = world.folder / "clone"
    await git(clone, "switch", "-q", "-c", BRANCH)
    await commit(clone, "one")
    push = world.folder / "scratch" / "quarantine" / "push"

    async def kill(request: web.Request) -> web.StreamResponse:
        if push.exists():
            await stop_process(process)
        return await world.forge.handle(request)

    world.answer = kill
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code != 0
    assert push.exists(), "killed while it was there"
    assert await world.forge.head() is None
    world.answer = world.forge.handle
    process = await start_process(world, log)
    assert not push.exists()
    head = await allowed(world, clone)
    events = [json.loads(line)["event"] for line in world.ledger_file.read_text().splitlines()]
    assert events == ["push_sent", "push"]
    assert [push.new for push in world.termination().pushes] == [head]


async def test_client_that_goes_away_leaves_nothing(world: World) -> None:
    gateway = await world.gateway()
    port = int(gateway.url.split(":")[2].split("/")[0])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    body = encode(f"{ZERO} {world.base} {WORK_REF}\0report-status".encode()) + FLUSH
    path = "/" + gateway.url.split("/", 3)[3] + "/git/acme/widget.git/git-receive-pack"
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-git-receive-pack-request\r\n"
        "Content-Length: 5000\r\n\r\n"
    )
    writer.write(head.encode() + body)
    push = world.folder / "scratch" / "quarantine" / "push"
    async with asyncio.timeout(10):
        while not push.exists():
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while push.exists():
            await asyncio.sleep(0.01)
    assert not world.spy()
    assert gateway.ledger.pushes == ()
    clone = await world.branch(gateway)
    await allowed(world, clone)


# Memory


async def test_an_object_that_claims_to_be_huge(world: World) -> None:
    """A delta of a few bytes whose result is said to have eight gibibytes."""
    gateway = await world.gateway()

    def entry(kind: int, data: bytes, between: bytes = b"") -> bytes:
        return bytes([kind << 4 | len(data)]) + between + zlib.compress(data)

    base = entry(3, b"base")
    size = b"".join(bytes([0x80 | (8 << 30) >> shift & 0x7F]) for shift in (0, 7, 14, 21)) + b"\x20"
    delta = entry(6, b"\x04" + size + b"\x90\x04", bytes([len(base)]))
    pack = b"PACK" + (2).to_bytes(4, "big") + (2).to_bytes(4, "big") + base + delta
    pack += hashlib.sha1(pack).digest()
    assert "the push is too large to be checked" in await hand_made(gateway, "1" * 40, pack)
    assert "ut of memory" in gateway.ledger.refusals[-1]


@pytest.mark.parametrize("protected_paths", [(), (".github/workflows/**",)], ids=["streamed", "held"])
async def test_large_packs_do_not_fill_the_memory(world: World, protected_paths: tuple[str, ...]) -> None:
    size = 128 << 20
    process = await start_process(world, world.folder / "log", protected_paths=protected_paths)
    url = f"{(world.folder / 'url').read_text()}/git/acme/widget.git"
    await git(world.folder, "clone", "-q", url, "clone")
    clone = world.folder / "clone"
    await git(clone, "switch", "-q", "-c", BRANCH)
    # Random bytes that need no compressing, and no time to be made.
    await git(clone, "config", "core.compression", "0")
    block = os.urandom(1 << 20)
    with (clone / "large").open("wb") as file:
        for number in range(size >> 20):
            file.write(number.to_bytes(4, "big") + block[4:])
    await git(clone, "add", "-A")
    await git(clone, "commit", "-q", "-m", "large")
    before = peak_memory(process.pid)
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head()
    assert world.spy()[-1].bytes > size
    await world.forge.git("config", "core.compression", "0")
    await git(world.folder, "clone", "-q", "--no-checkout", "--branch", BRANCH, url, "other")
    assert peak_memory(process.pid) - before < 64 << 20


def peak_memory(pid: int) -> int:
    with Path(f"/proc/{pid}/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) << 10
