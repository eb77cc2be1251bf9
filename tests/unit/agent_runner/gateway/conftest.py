from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiohttp
import pytest
from model_world import KEY, Api

from agent_runner import contract
from agent_runner.contract import GatewayConfig
from agent_runner.gateway.server import Gateway
from agent_runner.gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def api(stack: AsyncExitStack) -> Api:
    api = Api(stack)
    await api.start()
    return api


@pytest.fixture
def settings(tmp_path: Path, api: Api) -> Settings:
    for name in ("secrets", "scratch", "ledger"):
        (tmp_path / name).mkdir()
    (tmp_path / "secrets" / contract.SECRET_KEY_ANTHROPIC).write_text(KEY + "\n")
    config = GatewayConfig(
        repository="o/n", work_branch="w", anthropic_url=api.url, openai_url=api.url, forge_url=api.url
    )
    return Settings(
        config=config,
        secrets_dir=tmp_path / "secrets",
        scratch_dir=tmp_path / "scratch",
        ledger_dir=tmp_path / "ledger",
        pod_name="pod",
        url_file=tmp_path / "url",
        termination_log=tmp_path / "message",
    )


@pytest.fixture
async def gateway(settings: Settings, stack: AsyncExitStack) -> Gateway:
    return await stack.enter_async_context(Gateway(settings))


@pytest.fixture
async def client(stack: AsyncExitStack) -> aiohttp.ClientSession:
    return await stack.enter_async_context(aiohttp.ClientSession(auto_decompress=False))
