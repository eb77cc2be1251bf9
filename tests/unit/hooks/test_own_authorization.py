"""A ``.netrc`` on the machine has no say in our requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from airflow_provider_agents.hooks.own_authorization import AUTHORIZATION, own_authorization

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """A server that says what it was told, on a machine whose ``.netrc`` has a password for every host."""
    netrc = tmp_path / "netrc"
    netrc.write_text("default login somebody password of-the-machine\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    async def tell(request: web.Request) -> web.Response:
        return web.json_response([value for key, value in request.headers.items() if "uthorization" in key])

    app = web.Application()
    app.router.add_get("/", tell)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    await runner.cleanup()


async def test_ours_is_what_is_sent(url: str) -> None:
    async with (
        aiohttp.ClientSession(trust_env=True, middlewares=(own_authorization,)) as session,
        session.get(url, headers={AUTHORIZATION: "Bearer ours"}) as answer,
    ):
        assert await answer.json() == ["Bearer ours"]


async def test_without_one_of_ours_none_is_sent(url: str) -> None:
    async with (
        aiohttp.ClientSession(trust_env=True, middlewares=(own_authorization,)) as session,
        session.get(url) as answer,
    ):
        assert await answer.json() == []


async def test_what_it_is_for(url: str) -> None:
    """Of aiohttp: it would send the machine's password, or refuse."""
    async with aiohttp.ClientSession(trust_env=True) as session:
        async with session.get(url) as answer:
            assert (await answer.json())[0].startswith("Basic ")
        with pytest.raises(ValueError, match="AUTHORIZATION"):
            await session.get(url, headers={"Authorization": "Bearer ours"})
