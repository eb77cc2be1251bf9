"""``agent-runner gateway``: the native sidecar of an agent's pod."""

from __future__ import annotations

import asyncio
import hmac
import logging
import signal
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aiohttp import web

from agent_runner.contract import Ledger
from agent_runner.gateway.address import Address, listen, write_atomically
from agent_runner.gateway.anthropic_api import ANTHROPIC
from agent_runner.gateway.attachments import ImageService
from agent_runner.gateway.budget import BudgetGate
from agent_runner.gateway.call_book import CallBook
from agent_runner.gateway.credentials import Credentials
from agent_runner.gateway.forge import Forge
from agent_runner.gateway.git_proxy import GitProxy, text
from agent_runner.gateway.journal import Journal, JournalError, ledger_file
from agent_runner.gateway.mcp_proxy import McpProxy
from agent_runner.gateway.mirror_service import MirrorService
from agent_runner.gateway.model_proxy import MAX_BODY_BYTES, ModelProxy
from agent_runner.gateway.openai_api import OPENAI
from agent_runner.gateway.pricing import PriceBook
from agent_runner.gateway.settings import Settings, SettingsError
from agent_runner.gateway.settlement import settle
from agent_runner.gateway.upstream import Upstream
from agent_runner.start_up import process_seconds

if TYPE_CHECKING:
    from types import TracebackType

    from agent_runner.contract import GatewayConfig
    from agent_runner.gateway.model_api import ModelApi

log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 10.0
"""How long running requests may go on after the end was asked for. The agent has ended by then; what runs
is the reading of answers whose use is still to be metered."""


_APIS = {api.name: api for api in (ANTHROPIC, OPENAI)}


class Gateway:
    """One gateway, to be started and stopped, or used as an async context manager.

    It always starts: with an unusable configuration, a missing credential or an unwritable ledger it answers
    each request with an error that names the fault.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._fault = settings.fault
        self._journal: Journal | None = None
        self._upstream: Upstream | None = None
        self._git: GitProxy | None = None
        self._mirror: MirrorService | None = None
        self._images: ImageService | None = None
        self._mcp: McpProxy | None = None
        self._models: dict[str, ModelProxy] = {}
        self._runner: web.AppRunner | None = None
        self._address: Address | None = None
        self._settling: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT/NONCE``.

        :raises RuntimeError: before :meth:`start`.
        """
        if self._address is None:
            raise RuntimeError("the gateway is not started")
        return self._address.url

    @property
    def ledger(self) -> Ledger:
        """The totals so far, those of earlier processes on the same ledger included."""
        return self._journal.ledger if self._journal else Ledger()

    async def start(self) -> None:
        """Listen, then write the address to its file.

        :raises OSError: if no port is free or the address cannot be written.
        """
        settings = self._settings
        self._upstream = Upstream()
        if settings.config is not None:
            try:
                self._journal = Journal(
                    ledger_file(settings.ledger_dir, settings.pod_name), settings.termination_log
                )
            except JournalError as error:
                self._fault = str(error)
            else:
                self._serve(settings.config, self._journal, self._upstream)
        if self._fault:
            log.error("every request will be refused: %s", self._fault)
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_route("*", "/{path:.*}", self._handle)
        # Bodies stay as they are: what git compressed is forwarded compressed.
        self._runner = web.AppRunner(
            app, access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        listener, self._address = listen(Address.load(settings.scratch_dir))
        await web.SockSite(self._runner, listener).start()
        self._address.keep(settings.scratch_dir)
        write_atomically(settings.url_file, self._address.url, 0o644)
        log.info("listening on 127.0.0.1:%d, %.2f s after its start", self._address.port, process_seconds())

    def _serve(self, config: GatewayConfig, journal: Journal, upstream: Upstream) -> None:
        settings = self._settings
        credentials = Credentials(settings.secrets_dir, config.secret_name)
        forge = Forge(config, credentials, upstream)
        self._git = GitProxy(config, forge, journal, scratch=settings.scratch_dir)
        self._mirror = MirrorService(config, settings.mirror_dir, settings.scratch_dir)
        self._images = ImageService(config, credentials)
        self._mcp = McpProxy(config.mcp_servers, credentials, upstream, journal)
        gate = BudgetGate(settle(config.budget, settings.ledger_dir, journal), journal.spent)
        prices = PriceBook(config.prices)
        urls = {ANTHROPIC.name: config.anthropic_url, OPENAI.name: config.openai_url}
        self._models = {
            name: ModelProxy(api, urls[name], credentials, upstream, CallBook(api, prices, gate, journal))
            for name, api in _APIS.items()
        }
        if journal.unsettled:
            self._settling = asyncio.create_task(self._git.pushes.settle())

    async def stop(self) -> None:
        """Let running requests end, for :data:`SHUTDOWN_SECONDS` at most, and close the ledger."""
        if self._settling is not None:
            self._settling.cancel()
            await asyncio.gather(self._settling, return_exceptions=True)
        if self._mirror is not None:
            await self._mirror.close()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._images is not None:
            await self._images.close()
        if self._upstream is not None:
            await self._upstream.close()
        if self._journal is not None:
            self._journal.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if self._address is None:
            raise RuntimeError("a request before the start")
        _, nonce, service, path = (*request.rel_url.raw_path.split("/", 3), "", "", "")[:4]
        if not hmac.compare_digest(nonce.encode(), self._address.nonce.encode()):
            return web.Response(status=404, text="not found\n")
        try:
            match service:
                case "git":
                    return await self._git.handle(request, path) if self._git else self._faulty_git()
                case "mirror":
                    return await self._mirror.handle(request, path) if self._mirror else self._faulty_git()
                case "attachments" if self._images is not None:
                    return await self._images.handle(request, path)
                case "mcp":
                    return await self._mcp.handle(request, path) if self._mcp else self._faulty_git()
                case name if (api := _APIS.get(name)) is not None:
                    proxy = self._models.get(name)
                    return await proxy.handle(request, path) if proxy else self._faulty_model(api)
        except (ConnectionError, TimeoutError) as error:
            log.info("%s: the client went away: %s", service, type(error).__name__)
            return web.Response(status=400)
        except Exception as error:
            # The kind and place alone: the text may quote what was sent.
            log.error("%s: %s at %s", service, type(error).__name__, _place(error))
            return text(500, f"internal error: {type(error).__name__}; see the log of the gateway container")
        return web.Response(status=404, text="not found\n")

    def _faulty_git(self) -> web.Response:
        return text(403, f"unusable: {self._fault}")

    def _faulty_model(self, api: ModelApi) -> web.Response:
        return api.error("unusable", f"unusable: {self._fault}")


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


async def _serve(settings: Settings) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with Gateway(settings):
        await ended.wait()
        log.info("ending")


def main() -> int:
    """Serve until SIGTERM; return the exit code: 0, or 78 where the environment names no address file."""
    logging.basicConfig(
        stream=sys.stdout, level=logging.INFO, format="%(asctime)s gateway %(levelname)s %(message)s"
    )
    # aiohttp reports malformed requests with a part of their bytes.
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)
    try:
        settings = Settings.from_environment()
    except SettingsError as error:
        log.error("%s", error)
        return 78
    asyncio.run(_serve(settings))
    return 0
