"""``git http-backend`` behind Basic authentication on 127.0.0.1, the git program, and gateways between them."""

from __future__ import annotations

import asyncio
import base64
import os
import secrets
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from agent_runner import contract
from agent_runner.contract import GatewayConfig, Ledger
from agent_runner.gateway.server import Gateway
from agent_runner.gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ZERO = "0" * 40
BRANCH = "agents/42-fix"
POD = "agent-implement-1"
WORK_REF = f"refs/heads/{BRANCH}"


@dataclass
class Seen:
    """One request as the forge got it."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    bytes: int = 0


@dataclass
class Forge:
    """``git http-backend`` as a server on 127.0.0.1, with faults to order."""

    root: Path
    token: str
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    status: int | None = None
    """Answer everything with this status."""
    redirect_to: str | None = None
    lose_answers: int = 0
    """So many pushes are made, but their answer is cut off."""
    before_push: Callable[[], Awaitable[object]] | None = None
    """Runs when a push arrives, before it is made."""
    after_body: Callable[[], Awaitable[object]] | None = None
    """Runs once the whole body of a push is read."""

    @property
    def repository(self) -> Path:
        return self.root / "acme" / "widget.git"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        seen = Seen(request.method, request.path, request.query_string, dict(request.headers))
        self.seen.append(seen)
        if self.redirect_to is not None:
            return web.Response(status=301, headers={"Location": self.redirect_to + request.path_qs})
        if self.status is not None:
            return web.Response(
                status=self.status, text="upstream words", headers={"WWW-Authenticate": 'Basic realm="forge"'}
            )
        wanted = "Basic " + base64.b64encode(f"x-access-token:{self.token}".encode()).decode()
        if request.headers.get("Authorization") != wanted:
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="forge"'})
        if not (self.root / request.path.split(".git/")[0].strip("/")).with_suffix(".git").is_dir():
            return web.Response(status=404)
        pushing = request.path.endswith("/git-receive-pack")
        if pushing and self.before_push is not None:
            await self.before_push()
        return await self._run(request, seen, lose=pushing and self.lose_answers > 0)

    async def _run(self, request: web.Request, seen: Seen, *, lose: bool) -> web.StreamResponse:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REMOTE_USER": "agent",
            "REQUEST_METHOD": request.method,
            "PATH_INFO": request.path,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
        }
        for header in ("Content-Encoding", "Git-Protocol"):
            if header in request.headers:
                environment["HTTP_" + header.upper().replace("-", "_")] = request.headers[header]
        if "Content-Length" in request.headers:
            environment["CONTENT_LENGTH"] = request.headers["Content-Length"]
        process = await asyncio.create_subprocess_exec(
            "git",
            "http-backend",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        try:
            assert process.stdin
            assert process.stdout
            try:
                async for chunk in request.content.iter_any():
                    seen.bytes += len(chunk)
                    process.stdin.write(chunk)
                    await process.stdin.drain()
            except ConnectionError:
                pass
            if self.after_body is not None and request.path.endswith("/git-receive-pack"):
                await self.after_body()
            process.stdin.close()
            head = (await process.stdout.readuntil(b"\r\n\r\n")).decode()
            headers = dict(line.split(": ", 1) for line in head.strip().split("\r\n"))
            status = int(headers.pop("Status", "200").split()[0])
            if lose:
                await process.stdout.read()
                await process.wait()
                self.lose_answers -= 1
                assert request.transport
                request.transport.abort()
                return web.Response()
            response = web.StreamResponse(status=status, headers=headers)
            try:
                await response.prepare(request)
                while chunk := await process.stdout.read(65536):
                    await response.write(chunk)
            except ConnectionError:
                await process.stdout.read()
            await process.wait()
            return response
        finally:
            # The program that git starts for this goes round and round where the body is cut short.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()

    async def git(self, *arguments: str) -> str:
        return (await git(self.repository, *arguments)).stdout.strip()

    async def head(self, ref: str = WORK_REF) -> str | None:
        return (
            await git(self.repository, "rev-parse", "-q", "--verify", ref, check=False)
        ).stdout.strip() or None

    async def commit(self, ref: str, parent: str, note: str) -> str:
        """Put a person's commit on ``ref``."""
        tree = await self.git("rev-parse", f"{parent}^{{tree}}")
        commit = await self.git("commit-tree", tree, "-p", parent, "-m", note)
        await self.git("update-ref", ref, commit)
        return commit

    async def repository_of(self, name: str) -> str:
        """Make a further repository with one commit on ``main``; return the commit."""
        folder = self.root / f"{name}.git"
        folder.mkdir(parents=True)
        await git(folder, "init", "-q", "--bare", "-b", "main")
        blob = (await git(folder, "hash-object", "-w", "--stdin", stdin=name)).stdout.strip()
        tree = (await git(folder, "mktree", stdin=f"100644 blob {blob}\tNAME\n")).stdout.strip()
        first = (await git(folder, "commit-tree", tree, "-m", "first")).stdout.strip()
        await git(folder, "update-ref", "refs/heads/main", first)
        return first

    async def store(self, content: str) -> str:
        """Store a blob."""
        return (await git(self.repository, "hash-object", "-w", "--stdin", stdin=content)).stdout.strip()

    async def commit_files(self, ref: str, parent: str, entries: dict[str, str], mode: str = "100644") -> str:
        """Put a person's commit on ``ref`` that has only ``entries``: path → object."""
        index = {"GIT_INDEX_FILE": str(self.root / "index")}
        await git(self.repository, "read-tree", "--empty", **index)
        for path, entry in entries.items():
            await git(
                self.repository, "update-index", "--add", "--cacheinfo", f"{mode},{entry},{path}", **index
            )
        tree = (await git(self.repository, "write-tree", **index)).stdout.strip()
        commit = await self.git("commit-tree", tree, "-p", parent, "-m", "files")
        await self.git("update-ref", ref, commit)
        return commit


@dataclass
class Ran:
    code: int
    stdout: str
    stderr: str


async def git(
    folder: Path, *arguments: str, check: bool = True, stdin: str | None = None, **extra: str
) -> Ran:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder.parent),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "A",
        "GIT_AUTHOR_EMAIL": "a@example.org",
        "GIT_COMMITTER_NAME": "A",
        "GIT_COMMITTER_EMAIL": "a@example.org",
        "LC_ALL": "C",
        **extra,
    }
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate(None if stdin is None else stdin.encode())
    finally:
        if process.returncode is None:
            process.kill()
    ran = Ran(process.returncode or 0, out.decode(errors="replace"), err.decode(errors="replace"))
    assert not check or ran.code == 0, f"git {' '.join(arguments)}: {ran}"
    return ran


@dataclass
class World:
    """A forge with a repository, and gateways to it."""

    forge: Forge
    folder: Path
    base: str
    stack: AsyncExitStack
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]]
    """What the forge does with a request; a test may put its own in place."""

    def settings(self, **config: object) -> Settings:
        values = {
            "repository": "acme/widget",
            "work_branch": BRANCH,
            "forge_url": self.forge.url,
            "anthropic_url": "http://127.0.0.1:9",
            **config,
        }
        return Settings(
            config=GatewayConfig(**values),  # type: ignore[arg-type]
            secrets_dir=self.folder / "secrets",
            scratch_dir=self.folder / "scratch",
            ledger_dir=self.folder / "ledger",
            pod_name=POD,
            url_file=self.folder / "url",
            termination_log=self.folder / "termination",
        )

    async def gateway(self, **config: object) -> Gateway:
        return await self.stack.enter_async_context(Gateway(self.settings(**config)))

    async def clone(self, gateway: Gateway, *options: str, name: str = "clone") -> Path:
        await git(self.folder, "clone", "-q", *options, f"{gateway.url}/git/acme/widget.git", name)
        return self.folder / name

    async def branch(self, gateway: Gateway, name: str = "clone") -> Path:
        """A clone with one commit on the work branch."""
        clone = await self.clone(gateway, name=name)
        await git(clone, "switch", "-q", "-c", BRANCH)
        await commit(clone, "one")
        return clone

    def spy(self, verb: str = "POST", end: str = "/git-receive-pack") -> list[Seen]:
        return [seen for seen in self.forge.seen if seen.method == verb and seen.path.endswith(end)]

    @property
    def ledger_file(self) -> Path:
        return self.folder / "ledger" / f"{POD}.jsonl"

    def termination(self) -> Ledger:
        return Ledger.from_json((self.folder / "termination").read_text())


async def commit(clone: Path, note: str, data: bytes | None = None) -> str:
    (clone / f"{note}.txt").write_bytes(note.encode() if data is None else data)
    await git(clone, "add", "-A")
    await git(clone, "commit", "-q", "-m", note)
    return (await git(clone, "rev-parse", "HEAD")).stdout.strip()


async def start_process(world: World, log: Path, **config: object) -> asyncio.subprocess.Process:
    settings = world.settings(**config)
    assert settings.config
    settings.url_file.unlink(missing_ok=True)
    with log.open("ab") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "agent_runner",
            "gateway",
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(contract.__file__).parents[1]),
                contract.ENV_GATEWAY_CONFIG: settings.config.to_json(),
                contract.ENV_GATEWAY_URL_FILE: str(settings.url_file),
                contract.ENV_SECRETS_DIR: str(settings.secrets_dir),
                contract.ENV_SCRATCH_DIR: str(settings.scratch_dir),
                contract.ENV_LEDGER_DIR: str(settings.ledger_dir),
                contract.ENV_POD_NAME: settings.pod_name,
                contract.ENV_TERMINATION_LOG: str(settings.termination_log),
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    world.stack.push_async_callback(stop_process, process)
    async with asyncio.timeout(20):
        while not settings.url_file.exists():
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.02)
    return process


async def stop_process(process: asyncio.subprocess.Process, number: int = signal.SIGKILL) -> int:
    if process.returncode is None:
        process.send_signal(number)
    async with asyncio.timeout(15):
        return await process.wait()


@asynccontextmanager
async def open_world(tmp_path: Path) -> AsyncIterator[World]:
    """A forge with a repository of four commits, and a secret volume that holds its token."""
    forge = Forge(tmp_path / "forge", "canary" + secrets.token_hex(8))
    forge.repository.mkdir(parents=True)
    await git(forge.repository, "init", "-q", "--bare", "-b", "main")
    for key in ("http.receivepack", "uploadpack.allowFilter", "receive.advertisePushOptions"):
        await forge.git("config", key, "true")
    await forge.git("config", "receive.certNonceSeed", "seed")
    tree = await forge.git("hash-object", "-t", "tree", "-w", "--stdin")
    base = await forge.git("commit-tree", tree, "-m", "first")
    for number in range(3):
        base = await forge.commit("refs/heads/main", base, f"c{number}")
    async with AsyncExitStack() as stack:
        app = web.Application()
        world: World

        async def handle(request: web.Request) -> web.StreamResponse:
            return await world.answer(request)

        app.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        forge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        for name in ("secrets", "ledger", "scratch"):
            (tmp_path / name).mkdir()
        (tmp_path / "secrets" / contract.SECRET_KEY_FORGE).write_text(forge.token + "\n")
        world = World(forge, tmp_path, base, stack, forge.handle)
        yield world
