"""Submodules: the runner's git checks them out through a real gateway."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from agent_runner import submodules
from agent_runner.deadline import Deadline
from agent_runner.environment import Environment
from agent_runner.failure import StepFailed
from agent_runner.gateway_address import GatewayAddress
from agent_runner.git import Git
from agent_runner.process import Supervision
from agent_runner.reaper import Reaper
from agent_runner.stop import StopRequest
from agent_runner.submodules import Submodules, checkout_submodules

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent_runner.gateway.server import Gateway

from gateway_world import World, git, open_world

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        world.library = await world.forge.repository_of("acme/library")  # type: ignore[attr-defined]
        yield world


async def with_modules(
    world: World, modules: dict[str, tuple[str, str]], repository: str = "acme/widget", extra: str = ""
) -> str:
    """Put a commit on ``main`` that has submodules: path → address and commit."""
    folder = world.forge.root / f"{repository}.git"
    index = {"GIT_INDEX_FILE": str(world.forge.root / "index")}
    text = "".join(
        f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n{extra}' for path, (url, _) in modules.items()
    )
    await git(folder, "read-tree", "--empty", **index)
    blob = (await git(folder, "hash-object", "-w", "--stdin", stdin=text)).stdout.strip()
    entries = [f"100644,{blob},.gitmodules", *(f"160000,{sha},{path}" for path, (_, sha) in modules.items())]
    for entry in entries:
        await git(folder, "update-index", "--add", "--cacheinfo", entry, **index)
    tree = (await git(folder, "write-tree", **index)).stdout.strip()
    parent = (await git(folder, "rev-parse", "main")).stdout.strip()
    commit = (await git(folder, "commit-tree", tree, "-p", parent, "-m", "modules")).stdout.strip()
    await git(folder, "update-ref", "refs/heads/main", commit)
    return commit


class Runner:
    """The runner's checkout of ``main``, and what it said."""

    def __init__(self, world: World) -> None:
        self.said: list[str] = []
        root = world.folder
        for name in ("workspace", "home", "tmp"):
            (root / name).mkdir(exist_ok=True)
        environment = Environment(
            spec_file=root / "spec",
            gateway_url_file=root / "url",
            workspace=root / "workspace",
            home=root / "home",
            temporary=root / "tmp",
            toolchain={},
        )
        stop = StopRequest()
        address = GatewayAddress(root / "url", stop)
        address.refresh()
        supervision = Supervision(stop, Reaper(), Deadline.after(60))
        self.git = Git(environment, supervision, address, "acme/widget")
        self.folder = environment.checkout

    def prepare(self) -> None:
        if not self.folder.exists():
            self.git.init("main")
        self.git.fetch("main")
        self.git.run("checkout", "--quiet", "--force", "-B", "work", "refs/remotes/origin/main")

    def run(self, gateway: Gateway) -> Submodules:
        return checkout_submodules(self.git, gateway.url, self.said.append)

    async def all(self, gateway: Gateway) -> Submodules:
        await asyncio.to_thread(self.prepare)
        return await asyncio.to_thread(self.run, gateway)


async def test_served_ones_are_there_and_the_others_are_said(world: World) -> None:
    library: str = world.library  # type: ignore[attr-defined]
    await with_modules(
        world,
        {
            "lib/one": ("../library.git", library),
            "two": (f"{world.forge.url}/acme/library", library),
            "three": ("git@127.0.0.1:acme/library.git", library),
            "far": ("https://git.example.org/acme/library.git", library),
            "other": ("../other.git", library),
            "local": ("file:///etc", library),
            "helper": ("ext::sh -c touch% /tmp/x", library),
        },
        extra="\tupdate = merge\n\tbranch = none\n",
    )
    gateway = await world.gateway(read_repositories=("acme/library",))
    runner = Runner(world)
    result = await runner.all(gateway)
    assert set(result.checked_out) == {"lib/one", "two", "three"}
    assert {path for path, _ in result.left_out} == {"far", "other", "local", "helper"}
    for path in result.checked_out:
        assert (runner.folder / path / "NAME").read_text() == "acme/library"
    assert not any((runner.folder / "far").iterdir())
    assert f"submodule two: acme/library at {library[:12]}" in runner.said
    assert "submodule far: left out, it lies on another server, git.example.org" in runner.said
    # The checkout is clean, and the agent's own git knows them.
    assert (await git(runner.folder, "status", "--porcelain")).stdout == ""
    listed = (await git(runner.folder, "submodule", "status", "two")).stdout
    assert listed.split()[:2] == [library, "two"]
    await git(runner.folder, "submodule", "update", "two")
    assert {seen.path.split(".git/")[0] for seen in world.forge.seen} == {"/acme/widget", "/acme/library"}


async def test_update_commands_are_never_run(world: World) -> None:
    trace = world.folder / "sprung"
    library: str = world.library  # type: ignore[attr-defined]
    await with_modules(
        world, {"lib": ("../library.git", library)}, extra=f"\tupdate = !touch {trace}\n\tignore = all\n"
    )
    gateway = await world.gateway(read_repositories=("acme/library",))
    runner = Runner(world)
    assert (await runner.all(gateway)).checked_out == ("lib",)
    assert (runner.folder / "lib" / "NAME").is_file()
    assert not trace.exists()


async def test_submodules_within_submodules(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    deep = await world.forge.repository_of("acme/deep")
    library = await with_modules(world, {"deep": ("../deep.git", deep)}, "acme/library")
    await with_modules(world, {"lib": ("../library.git", library)})
    gateway = await world.gateway(read_repositories=("acme/library", "acme/deep"))
    runner = Runner(world)
    result = await runner.all(gateway)
    assert result.checked_out == ("lib", "lib/deep")
    assert (runner.folder / "lib" / "deep" / "NAME").read_text() == "acme/deep"
    monkeypatch.setattr(submodules, "MAX_DEPTH", 1)
    result = await runner.all(gateway)
    assert result == Submodules(("lib",), (("lib/deep", "more than 1 levels of submodules"),))
    monkeypatch.setattr(submodules, "MAX_SUBMODULES", 0)
    assert (await runner.all(gateway)).left_out == (("lib", "more than 0 submodules"),)


async def test_what_the_agent_left_there_is_gone(world: World) -> None:
    library: str = world.library  # type: ignore[attr-defined]
    await with_modules(world, {"lib": ("../library.git", library)})
    gateway = await world.gateway(read_repositories=("acme/library",))
    runner = Runner(world)
    await runner.all(gateway)
    config = runner.folder / "lib" / ".git" / "config"
    trace = world.folder / "sprung"
    config.write_text(config.read_text() + f"[core]\n\tfsmonitor = touch {trace}\n")
    (runner.folder / "lib" / "NAME").write_text("changed")
    (runner.folder / "lib" / "more").write_text("x")
    await runner.all(gateway)
    assert "fsmonitor" not in config.read_text()
    assert sorted(path.name for path in (runner.folder / "lib").iterdir()) == [".git", "NAME"]
    assert (runner.folder / "lib" / "NAME").read_text() == "acme/library"
    # A link in the place of the folder is not followed.
    outside = world.folder / "outside"
    outside.mkdir()
    (outside / "kept").write_text("x")
    shutil.rmtree(runner.folder / "lib")
    (runner.folder / "lib").symlink_to(outside)
    await asyncio.to_thread(runner.run, gateway)
    assert (outside / "kept").exists()
    assert (runner.folder / "lib" / "NAME").is_file()
    assert not trace.exists()


async def test_a_path_that_leads_through_a_link(world: World) -> None:
    library: str = world.library  # type: ignore[attr-defined]
    await with_modules(world, {"a/lib": ("../library.git", library)})
    gateway = await world.gateway(read_repositories=("acme/library",))
    runner = Runner(world)
    await asyncio.to_thread(runner.prepare)
    outside = world.folder / "outside"
    outside.mkdir()
    shutil.rmtree(runner.folder / "a")
    (runner.folder / "a").symlink_to(outside)
    result = await asyncio.to_thread(runner.run, gateway)
    assert result.left_out == (("a/lib", "its path leads through something that is no folder"),)
    assert not any(outside.iterdir())


async def test_without_submodules_nothing_is_asked(world: World) -> None:
    gateway = await world.gateway()
    runner = Runner(world)
    await asyncio.to_thread(runner.prepare)
    seen = len(world.forge.seen)
    assert await asyncio.to_thread(runner.run, gateway) == Submodules()
    # Not even of a gateway that does not answer.
    assert checkout_submodules(runner.git, "http://127.0.0.1:1/x", runner.said.append) == Submodules()
    assert len(world.forge.seen) == seen
    assert runner.said == []


@pytest.mark.parametrize("content", ["[submodule", "\x00\ufffd", '[submodule ""]\n\tpath = lib\n', ""])
async def test_a_list_that_is_garbage(world: World, content: str) -> None:
    library: str = world.library  # type: ignore[attr-defined]
    runner = Runner(world)
    gateway = await world.gateway(read_repositories=("acme/library",))
    blob = await world.forge.store(content)
    await world.forge.commit_files("refs/heads/main", "main", {".gitmodules": blob})
    assert await runner.all(gateway) == Submodules()
    await with_modules(world, {"lib": ("../library.git", library)})
    assert (await runner.all(gateway)).checked_out == ("lib",)


async def test_a_commit_that_its_repository_does_not_have(world: World) -> None:
    await with_modules(world, {"lib": ("../library.git", "1" * 40)})
    gateway = await world.gateway(read_repositories=("acme/library",))
    runner = Runner(world)
    with pytest.raises(StepFailed) as caught:
        await runner.all(gateway)
    failure = caught.value.failure
    assert failure.code == "git_failed"
    assert failure.message == f"Submodule lib: acme/library has no commit {'1' * 40} on a branch or a tag."
    assert "set `submodules` to false" in failure.remedy


async def test_a_server_that_gives_branches_only(world: World) -> None:
    library: str = world.library  # type: ignore[attr-defined]
    folder = world.forge.root / "acme" / "library.git"
    tree = (await git(folder, "rev-parse", "main^{tree}")).stdout.strip()
    newer = (await git(folder, "commit-tree", tree, "-p", library, "-m", "newer")).stdout.strip()
    await git(folder, "update-ref", "refs/heads/main", newer)
    await with_modules(world, {"lib": ("../library.git", library)})
    gateway = await world.gateway(read_repositories=("acme/library",))
    runner = Runner(world)
    # With version 0 of the protocol a server gives what it advertises, and nothing else.
    await asyncio.to_thread(runner.prepare)
    runner.git.configure("protocol.version=0")
    assert (await asyncio.to_thread(runner.run, gateway)).checked_out == ("lib",)


async def test_a_listed_repository_that_the_forge_does_not_give(world: World) -> None:
    await with_modules(world, {"lib": ("../gone.git", "1" * 40)})
    gateway = await world.gateway(read_repositories=("acme/gone",))
    runner = Runner(world)
    with pytest.raises(StepFailed) as caught:
        await runner.all(gateway)
    assert "the forge has no repository acme/gone" in caught.value.failure.message
    assert caught.value.failure.code in ("forge_refused", "repository_not_found")


async def test_a_gateway_that_does_not_answer(world: World) -> None:
    await with_modules(world, {"lib": ("../library.git", "1" * 40)})
    await world.gateway()
    runner = Runner(world)
    await asyncio.to_thread(runner.prepare)
    with pytest.raises(StepFailed) as caught:
        checkout_submodules(runner.git, "http://127.0.0.1:1/x", runner.said.append)
    assert caught.value.failure.code == "gateway_unreachable"
    assert caught.value.failure.retryable


def test_importing_the_gateways_side_is_not_needed() -> None:
    """The runner starts quickly: this module brings no event loop and no HTTP server along."""
    code = (
        "import sys, agent_runner.submodules; sys.exit('aiohttp' in sys.modules or 'asyncio' in sys.modules)"
    )
    import sys
    from pathlib import Path

    path = str(Path(submodules.__file__).parents[1])
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": path}, timeout=30).returncode == 0
