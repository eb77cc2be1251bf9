"""Clone and push of a large pack: through the gateway beside a direct connection, by turns.

``python -m tests.bench.gateway_git [--mb 200] [--rounds 3]``
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import os
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

import gateway_world
from gateway_world import BRANCH, WORK_REF, git

from tests.bench.table import Row, seconds, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from agent_runner.gateway.settings import Settings

TARGET = 0.9
"""Least throughput beside a direct connection."""
_FILE_BYTES = 8 << 20


async def measure(megabytes: int = 200, rounds: int = 3) -> list[Row]:
    """Return the rows for clone and push.

    :param megabytes: size of the pack, of data that does not compress.
    :param rounds: how often each way is taken.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with gateway_world.open_world(Path(folder)) as world, AsyncExitStack() as stack:
            world.stack = stack
            return await _measure(world, megabytes, rounds)


async def _measure(world: gateway_world.World, megabytes: int, rounds: int) -> list[Row]:
    await world.forge.git("config", "core.compression", "0")
    await world.forge.git("config", "gc.auto", "0")
    await world.forge.git("config", "receive.autogc", "false")
    log = world.folder / "gateway.log"
    await gateway_world.start_process(world, log, protected_paths=())
    plain = _url(world)
    inner = world.settings
    world.settings = lambda **config: _beside(inner(**config))  # type: ignore[method-assign]
    await gateway_world.start_process(world, log)
    judged = (world.folder / "url-judged").read_text().strip() + "/git/acme/widget.git"
    direct = world.forge.url.replace("://", f"://x-access-token:{world.forge.token}@") + "/acme/widget.git"

    work = world.folder / "work"
    await git(world.folder, "clone", "-q", direct, "work")
    await git(work, "switch", "-q", "-c", BRANCH)
    await git(work, "config", "core.compression", "0")
    for number in range(max(1, (megabytes << 20) // _FILE_BYTES)):
        (work / f"{number}.bin").write_bytes(os.urandom(_FILE_BYTES))
    await git(work, "add", "-A")
    await git(work, "commit", "-q", "-m", "large")

    async def push(url: str) -> None:
        await git(work, "push", "-q", url, f"HEAD:{WORK_REF}")

    async def forget() -> None:
        await world.forge.git("update-ref", "-d", WORK_REF)
        for pack in (world.forge.repository / "objects/pack").glob("*"):
            pack.unlink()

    ways = {"direct": direct, "plain": plain, "judged": judged}
    pushes = await _by_turns(ways, push, rounds, after=forget)
    await push(direct)

    async def clone(url: str) -> None:
        await git(world.folder, "clone", "-q", "--bare", "--single-branch", "--branch", BRANCH, url, "copy")

    async def remove() -> None:
        await asyncio.to_thread(shutil.rmtree, world.folder / "copy")

    clones = await _by_turns({"direct": direct, "plain": plain}, clone, rounds, after=remove)
    size = f"{megabytes} MB"
    return [
        _row(f"clone, {size}", clones["direct"], clones["plain"], TARGET),
        _row(f"push, {size}, nothing protected", pushes["direct"], pushes["plain"], TARGET),
        _row(f"push, {size}, looked at first", pushes["direct"], pushes["judged"], None),
    ]


def _url(world: gateway_world.World) -> str:
    return (world.folder / "url").read_text().strip() + "/git/acme/widget.git"


def _beside(settings: Settings) -> Settings:
    """Return settings for a second gateway beside the first."""
    folder = settings.scratch_dir.parent
    for name in ("scratch-judged", "ledger-judged"):
        (folder / name).mkdir(exist_ok=True)
    return dataclasses.replace(
        settings,
        scratch_dir=folder / "scratch-judged",
        ledger_dir=folder / "ledger-judged",
        url_file=folder / "url-judged",
        termination_log=folder / "termination-judged",
    )


async def _by_turns(
    ways: dict[str, str],
    act: Callable[[str], Awaitable[None]],
    rounds: int,
    *,
    after: Callable[[], Awaitable[None]],
) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, url in ways.items():
            started = time.perf_counter()
            await act(url)
            if number:  # the first round warms the caches
                taken[name].append(time.perf_counter() - started)
            await after()
    return taken


def _row(name: str, direct: Sequence[float], ours: Sequence[float], at_least: float | None) -> Row:
    return Row(
        name=name,
        direct=seconds(direct),
        ours=seconds(ours),
        measured=statistics.median(direct) / statistics.median(ours),
        unit="× throughput",
        at_least=at_least,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    show(asyncio.run(measure(given.mb, given.rounds)))


if __name__ == "__main__":
    main()
