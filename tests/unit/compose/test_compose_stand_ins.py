"""The stand-ins where others than this machine's programs reach them, as in a container."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest

from demo.github.__main__ import parse_arguments
from demo.github.server import StandInGitHub
from demo.model.script import Script
from demo.model.server import StandInModel

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "127.0.0.2"
TIMEOUT = aiohttp.ClientTimeout(total=5)


async def status(url: str, **headers: str) -> int:
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.get(url, headers=headers) as answer:
        return answer.status


async def test_github_listens_where_it_is_told_and_tells_what_it_is_told(tmp_path: Path):
    async with StandInGitHub(tmp_path, host=OTHER, url="http://172.30.98.10:3000/") as server:
        assert server.url == "http://172.30.98.10:3000"
        assert server._runner is not None
        port = server._runner.addresses[0][1]
        assert await status(f"http://{OTHER}:{port}/api/v3/meta") < 500
        with pytest.raises(aiohttp.ClientConnectorError):
            await status(f"http://127.0.0.1:{port}/api/v3/meta")
        # Its levers answer to loopback names only.
        assert await status(f"http://{OTHER}:{port}/_demo/mutations") == 403


async def test_github_tells_its_own_address_where_no_other_is_given(tmp_path: Path):
    async with StandInGitHub(tmp_path, host=OTHER) as server:
        assert server.url.startswith(f"http://{OTHER}:")


async def test_the_model_listens_where_it_is_told():
    async with StandInModel(Script([]), host=OTHER) as model:
        assert model.url.startswith(f"http://{OTHER}:")
        assert await status(f"{model.url}/_demo/bill") == 200
        with pytest.raises(aiohttp.ClientConnectorError):
            await status(f"{model.url.replace(OTHER, '127.0.0.1')}/_demo/bill")


def test_loopback_is_the_default():
    given = parse_arguments(["--data", "/data", "--ready-file", "/ready"])
    assert given.host == "127.0.0.1"
    assert given.url == ""
