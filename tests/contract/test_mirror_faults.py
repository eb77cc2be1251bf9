"""Faults of the cache claim and of the mirror: each is recovered from, or ends in a plain checkout and a warning."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from gateway_world import git
from mirror_world import damage_packs, open_mirror_world

from agent_runner.cache_locks import take
from agent_runner.gateway import mirror, room
from agent_runner.gateway.mirror_store import FILLING, HISTORY
from agent_runner.gateway.server import Gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mirror_world import MirrorWorld, Pod

    from agent_runner.gateway.mirror_store import Generation

WARNING = "WARNING: made without the cache, which takes longer"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[MirrorWorld]:
    async with open_mirror_world(tmp_path) as world:
        yield world


async def new_commit(world: MirrorWorld) -> str:
    blob = await world.forge.store("new\n")
    return await world.forge.commit_files("refs/heads/main", "main", {"new.txt": blob})


async def prepared(world: MirrorWorld, capsys: pytest.CaptureFixture[str]) -> tuple[Pod, str]:
    """Make a checkout of ``main``; return its pod and the log."""
    capsys.readouterr()
    pod = await world.pod()
    checkout = await pod.prepare()
    assert checkout.start_sha == await world.forge.head("refs/heads/main")
    assert await pod.run("status", "--porcelain") == ""
    return pod, capsys.readouterr().out


# The claim


async def test_full_from_the_start(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "MIN_FREE_BYTES", 1 << 60)
    pod, said = await prepared(world, capsys)
    assert not pod.borrows
    assert f"{WARNING}: the cache claim is full: enlarge it" in said
    assert list(world.claim.glob("g-*")) == []
    assert world.store.current() is None


async def test_full_when_the_file_system_says_so(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_space(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("agent_runner.gateway.mirror_store.replace", no_space)
    pod, said = await prepared(world, capsys)
    assert not pod.borrows
    assert "the cache claim is full" in said


async def test_full_with_an_old_mirror_which_still_spares_most(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.warmed(monkeypatch)
    await new_commit(world)
    monkeypatch.setattr(room, "MIN_FREE_BYTES", 1 << 60)
    pod, said = await prepared(world, capsys)
    assert pod.borrows
    assert "the mirror is not fresh, which takes longer: the cache claim is full" in said
    assert await pod.run("fsck", "--connectivity-only", "--no-dangling") == ""


@pytest.mark.parametrize("fault", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("warm", [True, False])
async def test_read_only(
    world: MirrorWorld,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: int,
    warm: bool,
) -> None:
    """An old mirror is borrowed from all the same; without one the checkout is a plain one."""
    if warm:
        await world.warmed(monkeypatch)
        await new_commit(world)

    def unwritable(*_: Any, **__: Any) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(mirror, "take", unwritable)
    pod, said = await prepared(world, capsys)
    assert pod.borrows is warm
    assert ("the mirror is not fresh" if warm else WARNING) in said
    assert f"the gateway cannot write the cache claim ({os.strerror(fault)}): mount it read-write" in said


async def test_the_mount_is_missing_in_one_of_the_containers(
    world: MirrorWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    pod = await world.pod(cache=False)
    pod.mirror = world.claim
    await pod.prepare()
    assert f"{WARNING}: the gateway has no folder for the mirror" in capsys.readouterr().out
    pod = await world.pod()
    pod.mirror = world.claim / "elsewhere"
    await pod.prepare()
    assert "this container does not see what the gateway has fetched" in capsys.readouterr().out
    assert not pod.borrows


# Locks


async def test_lock_held_by_a_pod_that_hangs(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(mirror, "LOCK_SECONDS", 0.2)
    with take(world.claim / FILLING, exclusive=True) or pytest.fail("the lock is free"):
        pod, said = await prepared(world, capsys)
    assert not pod.borrows
    assert f"{WARNING}: another pod has kept the mirror locked for 0 s: it is slow or hangs" in said


async def test_lock_held_by_a_pod_that_hangs_and_a_mirror_from_before(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.warmed(monkeypatch)
    monkeypatch.setattr(mirror, "LOCK_SECONDS", 0.2)
    with take(world.claim / FILLING, exclusive=True) or pytest.fail("the lock is free"):
        pod, said = await prepared(world, capsys)
        assert pod.borrows
        assert "not fresh" not in said  # what it needs is there: no lock is needed
        await new_commit(world)
        pod, said = await prepared(world, capsys)
    assert pod.borrows
    assert "the mirror is not fresh, which takes longer: another pod has kept the mirror locked" in said


async def test_locks_left_behind(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the gateway: only files. Of git: removed by who holds the gateway's."""
    await world.warmed(monkeypatch)
    for name in ("packed-refs.lock", "shallow.lock", "HEAD.lock", "refs/asked/heads/main.lock"):
        lock = world.current.path / name
        lock.parent.mkdir(parents=True, exist_ok=True)
        lock.touch()
    leftover = world.current.path / "objects/pack/tmp_pack_aB3dEf"
    leftover.write_bytes(b"half")
    await new_commit(world)
    pod, said = await prepared(world, capsys)
    assert pod.borrows
    assert "WARNING" not in said
    assert not leftover.exists()


async def test_what_another_pod_fetches_in_the_background_is_no_leftover(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    await world.warmed(monkeypatch)
    others = [world.current.path / name for name in ("objects/pack/tmp_pack_aB3dEf", "refs/forge/new.lock")]
    for file in others:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    own = world.current.path / "refs/asked/heads/main.lock"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.touch()
    await new_commit(world)
    with take(world.claim / HISTORY, exclusive=True) or pytest.fail("the lock is free"):
        pod, said = await prepared(world, capsys)
    assert pod.borrows
    assert "WARNING" not in said
    assert all(file.exists() for file in others)


async def test_killed_during_the_fetch(world: MirrorWorld, capsys: pytest.CaptureFixture[str]) -> None:
    await world.killed_while_it_fetches()
    halves = list(world.claim.glob("g-*"))
    assert len(halves) == 1
    assert world.store.current() is None  # half a mirror is not trusted
    pod, said = await prepared(world, capsys)
    assert pod.borrows
    assert "WARNING" not in said
    assert not halves[0].exists()


# A mirror that is not to be trusted


async def spoil(world: MirrorWorld, how: str) -> None:
    current = world.current.path
    ref = "refs/forge/heads/main"
    match how:
        case "truncate" | "remove":
            damage_packs(world.current, how)
        case "no objects":
            for file in (current / "objects/pack").iterdir():
                file.unlink()
        case "ref to nothing":
            (current / ref).parent.mkdir(parents=True, exist_ok=True)
            (current / ref).write_text("1" * 40 + "\n")
        case "empty ref":
            (current / ref).parent.mkdir(parents=True, exist_ok=True)
            (current / ref).write_text("")
        case "garbage packed refs":
            (current / "packed-refs").write_bytes(b"\x00\xff garbage\n")
        case "garbage shallow":
            (current / "shallow").write_text("garbage\n")
        case "another origin":
            file = current / "mirror.json"
            file.write_text(file.read_text().replace("widget", "gadget"))
        case "empty origin":
            (current / "mirror.json").write_text("")
        case "pointer to nothing":
            (world.claim / "current").write_text("g-ffffffffffffffff")
        case "empty pointer":
            (world.claim / "current").write_text("")
        case "pointer out":
            (world.claim / "current").write_text("../../elsewhere")


@pytest.mark.parametrize(
    "how",
    [
        "truncate", "remove", "no objects", "ref to nothing", "empty ref", "garbage packed refs", "garbage shallow",
        "another origin", "empty origin", "pointer to nothing", "empty pointer", "pointer out",
    ],
)  # fmt: skip
async def test_corrupt_and_rebuilt(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    await world.warmed(monkeypatch)
    old = world.current
    await spoil(world, how)
    pod, said = await prepared(world, capsys)
    assert pod.borrows
    assert "WARNING" not in said
    assert world.current != old
    assert await pod.run("fsck", "--connectivity-only", "--no-dangling") == ""


@pytest.mark.parametrize("name", ["HEAD", "config"])
async def test_corrupt_files_that_are_written_anew(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    await world.warmed(monkeypatch)
    (world.current.path / name).write_bytes(b"\x00garbage[")
    await new_commit(world)
    pod, _ = await prepared(world, capsys)
    assert pod.borrows
    assert (await git(world.current.path, "rev-parse", "--is-bare-repository")).stdout == "true\n"


async def test_corrupt_where_only_a_checkout_sees_it(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bytes within a pack: the checkout fails and is made anew, and the gateway rebuilds the mirror."""
    await world.warmed(monkeypatch)
    old = world.current
    for pack in (old.path / "objects/pack").glob("*.pack"):
        damage_blobs(pack)
    pod, said = await prepared(world, capsys)
    assert not pod.borrows
    assert f"{WARNING}: what was borrowed from the mirror does not do, the gateway checks it" in said
    async with asyncio.timeout(20):
        while world.store.current() in (None, old):
            await asyncio.sleep(0.02)
    pod, said = await prepared(world, capsys)
    assert pod.borrows
    assert "WARNING" not in said


async def test_suspicion_without_a_reason_changes_nothing(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="agent_runner")
    await world.warmed(monkeypatch)
    old = world.current
    pod = await world.pod()
    service = pod.gateway._mirror
    assert service
    assert service._mirror
    base = world.forge_world.base
    asked = {"refs/heads/main": base}, f"{pod.gateway.url}/git/acme/widget.git"
    assert service._mirror.suspect(*asked)
    assert not service._mirror.suspect(*asked)  # once for a pod
    await service._mirror._background["check"]
    assert world.current == old
    assert "all of its objects are sound" in caplog.text


async def test_borrowed_objects_that_are_gone(world: MirrorWorld, capsys: pytest.CaptureFixture[str]) -> None:
    """The mirror was swept between two steps of a run."""
    first = await world.pod()
    await first.prepare()
    await first.gateway.stop()
    for generation in world.claim.glob("g-*"):
        await asyncio.to_thread(shutil.rmtree, generation)
    second = await world.pod(first)
    checkout = await second.prepare()
    assert checkout.start_sha == world.forge_world.base
    assert second.borrows
    assert await second.run("status", "--porcelain") == ""


def damage_blobs(pack: Path) -> None:
    """Break compressed data near the end of a pack, where blobs are, and keep the pack's checksum."""
    pack.chmod(0o644)
    data = bytearray(pack.read_bytes())
    for place in range(len(data) // 2, len(data) - 20):
        data[place] ^= 0xFF
    pack.write_bytes(data)


async def test_a_gateway_that_comes_back_keeps_what_its_checkout_borrows(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    pod = await world.pod()
    await pod.prepare()
    await pod.gateway.stop()
    async with Gateway(pod.gateway._settings):
        await world.warmed(monkeypatch)  # another generation counts now
        await (await world.pod()).prepare()
        assert await pod.run("status", "--porcelain") == ""
        assert await pod.run("fsck", "--connectivity-only", "--no-dangling") == ""


async def killed_before_the_cut_was_noted(generation: Generation, *fetch: str) -> None:
    """Fetch as git does that is killed once the pack is in its place, before ``shallow`` and the refs are."""
    notes = {name: generation.path / name for name in ("shallow", "packed-refs")}
    before = {name: file.read_bytes() if file.exists() else None for name, file in notes.items()}
    refs = generation.path / "refs"
    kept = generation.path.with_name("kept-refs")
    shutil.copytree(refs, kept)
    await git(generation.path, "-c", "fetch.unpackLimit=1", "fetch", "--quiet", *fetch)
    for name, content in before.items():
        if content is None:
            notes[name].unlink(missing_ok=True)
        else:
            notes[name].write_bytes(content)
    shutil.rmtree(refs)
    kept.rename(refs)


async def test_killed_between_the_pack_and_the_note_where_history_is_cut(
    world: MirrorWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    pod, _ = await prepared(world, capsys)
    await new_commit(world)
    new = await new_commit(world)
    url = f"{pod.gateway.url}/git/acme/widget.git"
    await killed_before_the_cut_was_noted(
        world.current, "--depth=1", url, "+refs/heads/main:refs/asked/heads/main"
    )
    pod, said = await prepared(world, capsys)
    assert pod.borrows
    assert "WARNING" not in said
    assert await pod.history() == 1
    assert new in (pod.checkout / ".git/shallow").read_text()


async def test_history_that_was_killed_before_its_cut_was_noted_is_not_taken_for_the_whole(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = world.store.make()
    world.store.set_next(begun)
    url = f"{(await world.pod()).gateway.url}/git/acme/widget.git"
    await killed_before_the_cut_was_noted(begun, "--depth=2", url, "+refs/heads/*:refs/forge/heads/*")
    assert begun.packs() == 1
    await world.warmed(monkeypatch)
    assert world.current == begun
    pod, _ = await prepared(world, capsys)
    assert await pod.run("fsck", "--connectivity-only", "--no-dangling") == ""
    assert await pod.history() == 7


async def test_what_a_step_borrows_stays_while_its_gateway_is_away(
    world: MirrorWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway crashed, and comes back in a moment."""
    pod = await world.pod()
    checkout = await pod.prepare()
    await pod.gateway.stop()
    await world.warmed(monkeypatch)  # another generation counts now
    await (await world.pod()).prepare()
    assert len(list(world.claim.glob("g-*"))) == 2
    assert await pod.run("fsck", "--connectivity-only", "--no-dangling") == ""
    del checkout  # the step ends
    await world.pods[-1].gateway.stop()
    await (await world.pod()).prepare()
    assert list(world.claim.glob("g-*")) == [world.current.path]
