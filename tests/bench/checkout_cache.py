"""Checkouts of a repository with a long history: with the cache claim, beside what git does by itself.

The forge is behind a link of a stated delay and rate that all share, as between a cluster and its forge; a
loopback without it measures how fast this machine unpacks. Everything else is real: gateways as processes, git
over HTTP, the runner's own checkout.

``python -m tests.bench.checkout_cache [--mb 240] [--rounds 3]``
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

import gateway_world
from gateway_world import git, stop_process
from mirror_world import REPOSITORY, spec_of

from agent_runner import contract
from tests.bench.table import Row, seconds, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LINK_BYTES_A_SECOND = 20 << 20
LINK_DELAY_SECONDS = 0.015
"""Each way."""
TIP_BYTES = 30 << 20
FILE_BYTES = 512 << 10
PODS = 10

_RUNNER = Path(__file__).with_name("checkout_runner.py")


@dataclass
class Link:
    """A connection to the forge that all share: delayed, and of a limited rate."""

    target: int
    free_at: float = 0.0
    port: int = 0
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, stack: AsyncExitStack) -> None:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        stack.push_async_callback(self._close, server)
        self.port = server.sockets[0].getsockname()[1]

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there = await asyncio.open_connection("127.0.0.1", self.target)
        for source, target in ((reader, there), (there_reader, writer)):
            task = asyncio.create_task(self._carry(source, target))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def read() -> None:
            while True:
                chunk = await source.read(65_536)
                now = time.monotonic()
                self.free_at = max(self.free_at, now) + len(chunk) / LINK_BYTES_A_SECOND
                await waiting.put((self.free_at + LINK_DELAY_SECONDS, chunk))
                if not chunk:
                    return

        reading = asyncio.create_task(read())
        try:
            while True:
                at, chunk = await waiting.get()
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                if not chunk:
                    return
                target.write(chunk)
                await target.drain()
        except ConnectionError:
            return
        finally:
            reading.cancel()
            target.close()


class Bench:
    """A forge, a link to it, and pods."""

    def __init__(self, world: gateway_world.World, link: Link) -> None:
        self._world = world
        self._folder: Path = world.folder
        self.url = f"http://127.0.0.1:{link.port}"
        self.direct = f"http://x-access-token:{world.forge.token}@127.0.0.1:{link.port}/{REPOSITORY}.git"
        self._count = 0

    def folder(self, name: str) -> Path:
        self._count += 1
        folder = self._folder / f"{name}-{self._count}"
        folder.mkdir()
        return folder

    async def clone(self, *options: str) -> float:
        """Return the seconds of a ``git clone`` without anything of ours."""
        folder = self.folder("clone")
        started = time.perf_counter()
        await git(folder, "clone", "-q", *options, self.direct, "copy")
        taken = time.perf_counter() - started
        await asyncio.to_thread(shutil.rmtree, folder)
        return taken

    async def checkouts(self, claim: Path, count: int) -> float:
        """Return the seconds until the last of ``count`` pods that start at once has its checkout."""
        pods = [await self._pod(claim) for _ in range(count)]
        started = time.perf_counter()
        for pod in pods:
            pod.go()
        await asyncio.gather(*(pod.done() for pod in pods))
        taken = time.perf_counter() - started
        for pod in pods:
            await pod.end()
        return taken

    async def whole(self, claim: Path) -> None:
        """Let the mirror get the whole history."""
        pod = await self._pod(claim, history_delay="0")
        pod.go()
        await pod.done()
        async with asyncio.timeout(120):
            while (claim / "next").exists() or not (claim / "current").exists() or _shallow(claim):
                await asyncio.sleep(0.1)
        await pod.end()

    async def _pod(self, claim: Path, history_delay: str = "3600") -> BenchPod:
        folder = self.folder("pod")
        for name in ("scratch", "ledger", "home", "tmp"):
            (folder / name).mkdir()
        config = self._world.settings(forge_url=self.url).config
        assert config
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(contract.__file__).parents[2]),
            contract.ENV_GATEWAY_URL_FILE: str(folder / "url"),
            contract.ENV_MIRROR_DIR: str(claim),
        }
        gateway = await asyncio.create_subprocess_exec(
            sys.executable, str(_RUNNER), "gateway", history_delay,
            env={
                **environment,
                contract.ENV_GATEWAY_CONFIG: config.to_json(),
                contract.ENV_SECRETS_DIR: str(self._folder / "secrets"),
                contract.ENV_SCRATCH_DIR: str(folder / "scratch"),
                contract.ENV_LEDGER_DIR: str(folder / "ledger"),
                contract.ENV_POD_NAME: folder.name,
            },
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        self._world.stack.push_async_callback(stop_process, gateway)
        async with asyncio.timeout(60):
            while not (folder / "url").exists():
                await asyncio.sleep(0.02)
        (folder / "spec").write_text(spec_of("implement", None).to_json())
        runner = await asyncio.create_subprocess_exec(
            sys.executable, str(_RUNNER), "checkout",
            env={
                **environment,
                contract.ENV_SPEC_FILE: str(folder / "spec"),
                contract.ENV_WORKSPACE: str(folder / "workspace"),
                contract.ENV_HOME: str(folder / "home"),
                "TMPDIR": str(folder / "tmp"),
            },
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert runner.stdout
        assert await runner.stdout.readline() == b"ready\n"
        return BenchPod(folder, gateway, runner)


@dataclass
class BenchPod:
    """A pod whose runner waits for the word to start."""

    folder: Path
    gateway: asyncio.subprocess.Process
    runner: asyncio.subprocess.Process

    def go(self) -> None:
        assert self.runner.stdin
        self.runner.stdin.write(b"go\n")

    async def done(self) -> None:
        async with asyncio.timeout(120):
            output, _ = await self.runner.communicate()
        said = output.decode()
        assert self.runner.returncode == 0, said
        assert "with borrowed objects" in said, said

    async def end(self) -> None:
        await stop_process(self.gateway)
        await asyncio.to_thread(shutil.rmtree, self.folder)


async def measure(megabytes: int = 240, rounds: int = 3) -> list[Row]:
    """Return the rows.

    :param megabytes: of the history, of data that does not compress.
    :param rounds: how often each is measured, by turns.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with gateway_world.open_world(Path(folder)) as world, AsyncExitStack() as stack:
            world.stack = stack
            await fill(world, megabytes)
            link = Link(int(world.forge.url.rpartition(":")[2]))
            await link.serve(stack)
            return await _measure(Bench(world, link), rounds)


async def _measure(bench: Bench, rounds: int) -> list[Row]:
    warm = bench.folder("claim")
    await bench.whole(warm)

    async def cold(count: int) -> float:
        claim = bench.folder("claim")
        taken = await bench.checkouts(claim, count)
        await asyncio.to_thread(shutil.rmtree, claim)
        return taken

    ways: dict[str, Callable[[], Awaitable[float]]] = {
        "full": bench.clone,
        "shallow": lambda: bench.clone("--depth=1"),
        "first": lambda: cold(1),
        "ten": lambda: cold(PODS),
        "second": lambda: bench.checkouts(warm, 1),
        "ten warm": lambda: bench.checkouts(warm, PODS),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            taken[name].append(await way())
    return [
        _row("second checkout, beside a full clone", taken["full"], taken["second"], 0.1),
        _row("first checkout, beside clone --depth 1", taken["shallow"], taken["first"], 1.2),
        _row(f"{PODS} first ones at once, beside one", taken["first"], taken["ten"], 1.5),
        _row(f"{PODS} second ones at once, beside one", taken["second"], taken["ten warm"], None),
    ]


def _row(name: str, direct: list[float], ours: list[float], at_most: float | None) -> Row:
    middle = [sorted(values)[len(values) // 2] for values in (ours, direct)]
    return Row(
        name=name,
        direct=seconds(direct),
        ours=seconds(ours),
        measured=middle[0] / middle[1],
        unit="× time",
        at_most=at_most,
    )


async def fill(world: gateway_world.World, megabytes: int) -> None:
    """Give the repository a history in which a tip of :data:`TIP_BYTES` changes file by file."""
    files = TIP_BYTES // FILE_BYTES
    commits = max(files, (megabytes << 20) // FILE_BYTES)
    process = await asyncio.create_subprocess_exec(
        "git", "-c", "core.compression=0", "-c", "fastimport.unpackLimit=1", "fast-import", "--quiet", "--force",
        cwd=world.forge.repository, stdin=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    for number in range(commits):
        who = f"committer A <a@example.org> {1_700_000_000 + number} +0000"
        process.stdin.write(f"commit refs/heads/main\n{who}\ndata 1\nc".encode())
        process.stdin.write(f"\nM 100644 inline {number % files}.bin\ndata {FILE_BYTES}\n".encode())
        process.stdin.write(os.urandom(FILE_BYTES) + b"\n")
        await process.stdin.drain()
    process.stdin.close()
    assert await process.wait() == 0
    world.base = await world.forge.git("rev-parse", "main")


def _shallow(claim: Path) -> bool:
    return (claim / (claim / "current").read_text() / "shallow").exists()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=240)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    show(asyncio.run(measure(given.mb, given.rounds)))


if __name__ == "__main__":
    main()
