"""A place to attack: a real git server, a model API and a server of the attacker's, and the real gateway between.

What an attacker must not get is counted: credentials that turn up where an agent or a person can read them
(*canaries*), refs of the forge other than the work branch, and programs of the attacker's that somebody else ran.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web

from agent_runner import contract

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
sys.path.insert(0, str(Path(__file__).parents[1] / "contract/runner"))

import gateway_world
import pod as stand_ins
from gateway_world import BRANCH, WORK_REF, Ran, git

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from agent_runner.gateway.server import Gateway

OTHER = "acme/other"
"""A repository that the forge's credential may read and write, and the step may not."""
REPOSITORY = "acme/widget"
MODEL = "claude-haiku-4-5"
USAGE = {"input_tokens": 10, "output_tokens": 5}

TOTALS = {"worlds": 0, "canaries": 0, "refs": 0, "traps": 0}
"""Sums of the whole session, worlds without a defence left out."""


@dataclass
class Recorder:
    """An HTTP server on 127.0.0.1 that keeps what comes."""

    url: str = ""
    seen: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    answer: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        if self.answer is not None:
            return await self.answer(request)
        message = {"id": "m", "type": "message", "model": MODEL, "content": [], "usage": USAGE}
        return web.json_response(message)

    @property
    def paths(self) -> list[str]:
        return [f"{request.method} {request.raw_path}" for request in self.seen]

    @property
    def text(self) -> str:
        """All that came, for a search."""
        heads = [f"{request.method} {request.raw_path} {dict(request.headers)}" for request in self.seen]
        return "\n".join([*heads, *(body.decode(errors="replace") for body in self.bodies)])


@dataclass
class AttackWorld:
    """One attack."""

    inner: gateway_world.World
    model: Recorder
    evil: Recorder
    """What the attacker listens on."""
    folder: Path
    canaries: dict[str, str]
    refs: dict[str, str]
    """The forge's refs as they were, by repository and name."""
    seen: list[str] = field(default_factory=list)
    """What the attacker was told."""
    logs: Callable[[], str] = str
    open_door: bool = False
    """A defence was taken away: what is lost then is no breach."""

    # The defended side

    @property
    def forge(self) -> gateway_world.Forge:
        return self.inner.forge

    @property
    def base(self) -> str:
        return self.inner.base

    async def gateway(self, **config: object) -> Gateway:
        urls = {"anthropic_url": self.model.url, "openai_url": self.model.url}
        return await self.inner.gateway(**{**urls, **config})

    @property
    def pushed(self) -> bool:
        """Whether any push reached the forge."""
        return bool(self.inner.spy())

    # The attacker's side

    async def git(self, folder: Path, *arguments: str, **variables: str) -> Ran:
        """Run git as the attacker, who reads what it prints."""
        ran = await git(folder, *arguments, check=False, **variables)
        self.seen.append(ran.stdout + ran.stderr)
        return ran

    async def clone(self, gateway: Gateway) -> Path:
        """Return a clone with one commit on the work branch that is not pushed."""
        return await self.inner.branch(gateway)

    async def send(self, gateway: Gateway, *parts: bytes) -> bytes:
        """Send bytes to the gateway's port and return all that comes back until it closes, or is silent."""
        target = urlsplit(gateway.url)
        reader, writer = await asyncio.open_connection(target.hostname, target.port)
        answer = b""
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
            async with asyncio.timeout(1.5):
                while chunk := await reader.read(65_536):
                    answer += chunk
        except (TimeoutError, ConnectionError):
            pass
        finally:
            writer.close()
        self.seen.append(answer.decode(errors="replace"))
        return answer

    async def ask(
        self,
        gateway: Gateway,
        line: str,
        *headers: str,
        body: bytes = b"",
        nonce: bool = True,
        host: str = "127.0.0.1",
    ) -> int:
        """Send one request, as it is written; return the status.

        :param line: method and path below the nonce.
        """
        method, _, path = line.partition(" ")
        prefix = urlsplit(gateway.url).path if nonce else ""
        head = "\r\n".join(
            [
                f"{method} {prefix}{path} HTTP/1.1",
                f"Host: {host}",
                f"Content-Length: {len(body)}",
                "Connection: close",
                *headers,
            ]
        )
        answer = await self.send(gateway, head.encode() + b"\r\n\r\n" + body)
        return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/") else 0

    def trap(self) -> tuple[Path, Path]:
        """Return a program that leaves a trace when anything runs it, and the trace."""
        program, trace = self.folder / "trap", self.folder / "sprung"
        program.write_text(f'#!/bin/sh\necho "$0 $*" >> {trace}\ntimeout 2 cat\n')
        program.chmod(0o755)
        return program, trace

    # The runner

    def pod(self, gateway: Gateway) -> stand_ins.Pod:
        """Return a pod whose runner works through ``gateway``."""
        root = self.folder / "pod"
        for name in ("workspace", "home", "tmp"):
            (root / name).mkdir(parents=True, exist_ok=True)
        (root / "gateway-url").write_text(gateway.url + "\n")
        return stand_ins.Pod(root, None, bare=self.forge.repository)  # type: ignore[arg-type]

    async def run_agent(
        self, pod: stand_ins.Pod, script: str, step: str = "implement", **changes: Any
    ) -> stand_ins.Ran:
        """Run a step whose agent is a Python script."""
        file = self.folder / "agent.py"
        file.write_text(script)
        pod.variables["AGENT_COMMAND"] = f"exec {sys.executable} {file}"
        agent = contract.AgentSettings(program="command")
        spec = pod.spec(step, **{"repository": REPOSITORY, "work_branch": BRANCH, "agent": agent, **changes})
        ran = await asyncio.to_thread(pod.run, spec, 60)
        self.seen.append(ran.log)
        return ran

    # The verdict

    async def breaches(self) -> list[str]:
        """Say what the attacker got that it must not get."""
        found = [
            f"ref {name}"
            for name, value in (await forge_refs(self.forge)).items()
            if self._moved(name, value)
        ]
        now = await forge_refs(self.forge)
        found += [f"ref {name} is gone" for name in self.refs if name not in now]
        for name, value in self.canaries.items():
            found += [f"{name} in {place}" for place, text in self._places() if value in text]
        if (self.folder / "sprung").exists():
            found.append("trap: " + (self.folder / "sprung").read_text()[:200])
        return found

    def _moved(self, name: str, value: str) -> bool:
        return name != f"{REPOSITORY} {WORK_REF}" and self.refs.get(name) != value

    def _places(self) -> list[tuple[str, str]]:
        root = self.folder / "pod"
        files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
        return [
            ("what the attacker was told", "\n".join(self.seen)),
            ("the attacker's server", self.evil.text),
            ("the gateway's log", self.logs()),
            *((str(path), path.read_bytes().decode(errors="replace")) for path in files),
        ]


async def forge_refs(forge: gateway_world.Forge) -> dict[str, str]:
    """Return all refs of the forge's repositories."""
    found = {}
    for repository in (REPOSITORY, OTHER):
        listed = await git(
            forge.root / f"{repository}.git", "for-each-ref", "--format=%(refname) %(objectname)"
        )
        for line in listed.stdout.splitlines():
            name, _, value = line.partition(" ")
            found[f"{repository} {name}"] = value
    return found


async def _listen(world: gateway_world.World, recorder: Recorder) -> None:
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", recorder.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.2)
    await runner.setup()
    world.stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"


@asynccontextmanager
async def open_attack_world(tmp_path: Path) -> AsyncIterator[AttackWorld]:
    """Open a world with a second repository, a tag and a person's branch, and credentials that are canaries."""
    async with gateway_world.open_world(tmp_path) as inner:
        model, evil = Recorder(), Recorder()
        await _listen(inner, model)
        await _listen(inner, evil)
        other = inner.forge.root / f"{OTHER}.git"
        await git(inner.forge.root, "clone", "-q", "--bare", str(inner.forge.repository), str(other))
        await git(other, "config", "http.receivepack", "true")
        await inner.forge.git("update-ref", "refs/heads/release", inner.base)
        await inner.forge.git("update-ref", "refs/tags/v1", inner.base)
        canaries = {"forge credential": inner.forge.token}
        for name, key in (
            ("Anthropic key", contract.SECRET_KEY_ANTHROPIC),
            ("OpenAI key", contract.SECRET_KEY_OPENAI),
        ):
            canaries[name] = f"sk-canary-{secrets.token_hex(8)}"
            (tmp_path / "secrets" / key).write_text(canaries[name] + "\n")
        basic = f"x-access-token:{inner.forge.token}"
        canaries["forge credential, encoded"] = base64.b64encode(basic.encode()).decode()
        refs = await forge_refs(inner.forge)
        yield AttackWorld(inner, model, evil, tmp_path, canaries, refs)


def message_body(**changes: Any) -> bytes:
    """Return the body of a small call of the Messages API."""
    call = {"model": MODEL, "max_tokens": 16, "messages": [{"role": "user", "content": "x"}]}
    return json.dumps({**call, **changes}).encode()


def environment() -> dict[str, str]:
    """Return the least environment that programs need."""
    return {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}


async def create(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> None:
    """Create an object at the API of a cluster."""
    async with session.post(url, json=body) as answer:
        assert answer.status == 201, await answer.text()


async def ended(session: aiohttp.ClientSession, url: str, seconds: float = 60.0) -> None:
    """Wait until a pod has ended."""
    async with asyncio.timeout(seconds):
        while True:
            async with session.get(url) as answer:
                phase = (await answer.json())["status"]["phase"]
            if phase in ("Succeeded", "Failed"):
                return
            await asyncio.sleep(0.1)
