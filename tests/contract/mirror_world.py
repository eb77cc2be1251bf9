"""A forge, a cache claim, and pods that make their checkouts with it: real gateways, real git."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import gateway_world
from gateway_world import BRANCH, git

from agent_runner import contract
from agent_runner.checkout import Checkout, prepare
from agent_runner.contract import StepSpec
from agent_runner.deadline import Deadline
from agent_runner.environment import Environment
from agent_runner.gateway import mirror
from agent_runner.gateway.mirror_store import MirrorStore
from agent_runner.gateway.server import Gateway
from agent_runner.gateway_address import GatewayAddress
from agent_runner.git import Git
from agent_runner.process import Supervision
from agent_runner.reaper import Reaper
from agent_runner.stop import StopRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest
    from aiohttp import web

    from agent_runner.gateway.mirror_store import Generation

REPOSITORY = "acme/widget"
FETCH = "/git-upload-pack"


@dataclass
class Pod:
    """One pod: a gateway, and the runner's side of a checkout."""

    world: MirrorWorld
    folder: Path
    gateway: Gateway
    mirror: Path | None
    said: list[str] = field(default_factory=list)

    @property
    def checkout(self) -> Path:
        return self.folder / "workspace/repo"

    def git(self, seconds: float = 60.0) -> Git:
        (self.folder / "url").write_text(self.gateway.url)
        environment = Environment(
            spec_file=self.folder / "spec",
            gateway_url_file=self.folder / "url",
            workspace=self.folder / "workspace",
            home=self.folder / "home",
            temporary=self.folder / "tmp",
            toolchain={"PATH": os.environ["PATH"]},
            mirror=self.mirror,
        )
        stop = StopRequest()
        address = GatewayAddress(environment.gateway_url_file, stop)
        address.refresh()
        return Git(environment, Supervision(stop, Reaper(), Deadline.after(seconds)), address, REPOSITORY)

    async def prepare(self, step: str = "implement", head: str | None = None) -> Checkout:
        spec = spec_of(step, head)
        return await asyncio.to_thread(prepare, self.git(), spec)

    async def run(self, *arguments: str) -> str:
        return (await git(self.checkout, *arguments)).stdout.strip()

    async def history(self) -> int:
        return int(await self.run("rev-list", "--count", "HEAD"))

    @property
    def borrows(self) -> bool:
        return (self.checkout / ".git/objects/info/alternates").exists()


@dataclass
class MirrorWorld:
    """A forge with a repository, and its folder on the cache claim."""

    forge_world: gateway_world.World
    claim: Path
    pods: list[Pod] = field(default_factory=list)

    @property
    def forge(self) -> gateway_world.Forge:
        return self.forge_world.forge

    @property
    def store(self) -> MirrorStore:
        return MirrorStore(self.claim, f"{self.forge.url}/{REPOSITORY}")

    @property
    def current(self) -> Generation:
        current = self.store.current()
        assert current is not None
        return current

    async def pod(self, workspace: Pod | None = None, *, cache: bool = True, **config: Any) -> Pod:
        """Start a gateway.

        :param workspace: the pod before it in the same run, which has ended.
        """
        folder = self.forge_world.folder / f"pod-{len(self.pods)}"
        for name in ("home", "tmp", "scratch", "ledger", "workspace"):
            (folder / name).mkdir(parents=True)
        if workspace is not None:
            (folder / "workspace").rmdir()
            workspace.checkout.parent.rename(folder / "workspace")
        settings = dataclasses.replace(
            self.forge_world.settings(**config),
            scratch_dir=folder / "scratch",
            ledger_dir=folder / "ledger",
            url_file=folder / "url",
            termination_log=folder / "termination",
            mirror_dir=self.claim if cache else None,
        )
        gateway = await self.forge_world.stack.enter_async_context(Gateway(settings))
        pod = Pod(self, folder, gateway, self.claim if cache else None)
        self.pods.append(pod)
        return pod

    async def killed_while_it_fetches(self) -> None:
        """Start a gateway as a process, and kill it with all of its children in the middle of its fetch."""
        folder = self.forge_world.folder / "killed"
        for name in ("scratch", "ledger"):
            (folder / name).mkdir(parents=True)
        asked_for_objects = asyncio.Event()
        answer = self.forge_world.answer

        async def hold(request: web.Request) -> web.StreamResponse:
            if request.method == "POST" and (self.claim / "filling").exists():
                asked_for_objects.set()
                await asyncio.sleep(60)
            return await answer(request)

        self.forge_world.answer = hold
        settings = self.forge_world.settings()
        assert settings.config
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "agent_runner", "gateway",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(contract.__file__).parents[2]),
                contract.ENV_GATEWAY_CONFIG: settings.config.to_json(),
                contract.ENV_GATEWAY_URL_FILE: str(folder / "url"),
                contract.ENV_SECRETS_DIR: str(settings.secrets_dir),
                contract.ENV_SCRATCH_DIR: str(folder / "scratch"),
                contract.ENV_LEDGER_DIR: str(folder / "ledger"),
                contract.ENV_POD_NAME: "killed",
                contract.ENV_MIRROR_DIR: str(self.claim),
            },
            stdin=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            async with asyncio.timeout(20):
                while not (folder / "url").exists():
                    await asyncio.sleep(0.02)
                url = (folder / "url").read_text().strip()
                refs = {"refs/heads/main": self.forge_world.base}
                async with aiohttp.ClientSession() as session:
                    asking = asyncio.create_task(session.post(f"{url}/mirror", json={"refs": refs}))
                    await asked_for_objects.wait()
                    process.send_signal(signal.SIGKILL)
                    await process.wait()
                    await asyncio.gather(asking, return_exceptions=True)
        finally:
            self.forge_world.answer = answer
            if process.returncode is None:
                process.kill()

    def fetched(self) -> int:
        """How many requests for objects the forge has had."""
        return sum(1 for seen in self.forge.seen if seen.method == "POST" and seen.path.endswith(FETCH))

    async def whole(self) -> None:
        """Wait until the mirror has the whole history."""
        async with asyncio.timeout(30):
            while not ((found := self.store.current()) and found.whole):
                await asyncio.sleep(0.02)

    async def warmed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Fill the mirror, with the whole history."""
        with monkeypatch.context() as patch:
            patch.setattr(mirror, "HISTORY_DELAY_SECONDS", 0.0)
            pod = await self.pod()
            await pod.prepare("plan")
            await self.whole()
            await pod.gateway.stop()


def spec_of(step: str, head: str | None) -> StepSpec:
    return StepSpec(
        step=step,  # type: ignore[arg-type]
        repository=REPOSITORY,
        base_branch="main",
        work_branch=BRANCH,
        expected_head=head,
        prompt="Do it.",
    )


@asynccontextmanager
async def open_mirror_world(folder: Path) -> AsyncIterator[MirrorWorld]:
    """Open a forge whose repository has a few commits with files, and an empty claim."""
    async with gateway_world.open_world(folder) as world:
        for number in range(3):
            blob = await world.forge.store(f"content {number}\n" * 100)
            world.base = await world.forge.commit_files(
                "refs/heads/main", world.base, {"file.txt": blob}, "100644"
            )
        claim = folder / "claim"
        claim.mkdir()
        yield MirrorWorld(world, claim)


def damage_packs(generation: Generation, how: str) -> None:
    """Break every pack: ``truncate``, ``remove``, or ``flip`` bytes in the middle."""
    for pack in (generation.path / "objects/pack").glob("*.pack"):
        pack.chmod(0o644)
        data = bytearray(pack.read_bytes())
        match how:
            case "truncate":
                pack.write_bytes(data[: len(data) // 2])
            case "remove":
                pack.unlink()
            case "flip":
                for place in range(12, len(data) - 20):
                    data[place] ^= 0xFF
                pack.write_bytes(data)
