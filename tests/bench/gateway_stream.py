"""Streamed answers of a model: through the gateway beside a direct connection, by turns.

``python -m tests.bench.gateway_stream [--events 20000] [--streams 200]``
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

import gateway_world

from agent_runner import contract
from tests.bench.table import Row, seconds, show

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MOST_ADDED_MS = 5.0
"""Most that the gateway may add to the time to the first byte, in the median."""
LEAST_THROUGHPUT = 0.9
_TURNS = 5


async def measure(events: int = 20_000, streams: int = 200) -> list[Row]:
    """Return the rows for the first byte of small streams and for one long stream.

    :param events: of the long stream.
    :param streams: how many small ones each way.
    """
    with tempfile.TemporaryDirectory() as folder:
        async with gateway_world.open_world(Path(folder)) as world, _model() as model:
            (world.folder / "secrets" / contract.SECRET_KEY_ANTHROPIC).write_text("key\n")
            await gateway_world.start_process(world, world.folder / "log", anthropic_url=model)
            gateway = (world.folder / "url").read_text().strip() + "/anthropic"
            async with aiohttp.ClientSession() as session:
                return await _measure(session, model, gateway, events, streams)


async def _measure(
    session: aiohttp.ClientSession, model: str, gateway: str, events: int, streams: int
) -> list[Row]:
    first: dict[str, list[float]] = {model: [], gateway: []}
    for number in range(streams + 20):
        for url, taken in first.items():
            byte, _ = await _stream(session, url, 20)
            if number >= 20:
                taken.append(byte)
    whole: dict[str, list[float]] = {model: [], gateway: []}
    for number in range(_TURNS + 1):
        for url, taken in whole.items():
            _, end = await _stream(session, url, events)
            if number:
                taken.append(end)
    direct, ours = statistics.median(first[model]), statistics.median(first[gateway])
    return [
        Row(
            name=f"first byte, {streams} streams",
            direct=seconds(first[model]),
            ours=seconds(first[gateway]),
            measured=(ours - direct) * 1_000,
            unit="ms more",
            at_most=MOST_ADDED_MS,
        ),
        Row(
            name=f"{events:,} events",
            direct=seconds(whole[model]),
            ours=seconds(whole[gateway]),
            measured=statistics.median(whole[model]) / statistics.median(whole[gateway]),
            unit="× throughput",
            at_least=LEAST_THROUGHPUT,
        ),
    ]


async def _stream(session: aiohttp.ClientSession, url: str, events: int) -> tuple[float, float]:
    """Return the seconds to the first byte of the answer's body, and to its end."""
    body = json.dumps({"model": "claude-haiku-4-5", "max_tokens": events, "stream": True})
    started = time.perf_counter()
    async with session.post(
        f"{url}/v1/messages", data=body, headers={"Content-Type": "application/json"}
    ) as answer:
        assert answer.status == 200, await answer.text()
        await answer.content.readany()
        first = time.perf_counter() - started
        while await answer.content.readany():
            pass
    return first, time.perf_counter() - started


@asynccontextmanager
async def _model() -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.bench.model_server",
        cwd=Path(__file__).parents[2],
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdin
    try:
        async with asyncio.timeout(20):
            port = int(await process.stdout.readline())
        yield f"http://127.0.0.1:{port}"
    finally:
        process.stdin.close()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--streams", type=int, default=200)
    given = parser.parse_args()
    show(asyncio.run(measure(given.events, given.streams)))


if __name__ == "__main__":
    main()
