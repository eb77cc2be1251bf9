"""Protected paths: hostile pushes, no room, no time, kills, and memory."""

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

from agent_runner.gateway import git_program, quarantine, room
from agent_runner.gateway.pkt_line import FLUSH, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from agent_runner.gateway.server import Gateway

from gateway_world import BRANCH, WORK_REF, ZERO, World, commit, git, open_world, start_process, stop_process
from quarantine_world import allowed, refused, workflow

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        await workflow(world, "base", world.base)
        yield world


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
    monkeypatch.setattr(quarantine, "EXAMINE_SECONDS", 0.01)
    await refused(world, gateway, clone, "(the push could not be checked)", "Push fewer commits.")
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
