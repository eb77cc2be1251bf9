"""The real git program through the gateway, against ``git http-backend`` behind Basic authentication."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import os
import secrets
import shutil
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from agent_runner import contract
from agent_runner.contract import GatewayConfig, Ledger, Push
from agent_runner.gateway.pkt_line import FLUSH, encode
from agent_runner.gateway.server import Gateway
from agent_runner.gateway.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ZERO = "0" * 40
BRANCH = "agents/42-fix"
WORK_REF = f"refs/heads/{BRANCH}"
PUSH_TYPE = "application/x-git-receive-pack-request"

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
pytestmark = needs_git


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
        )
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


@dataclass
class Ran:
    code: int
    stdout: str
    stderr: str


async def git(folder: Path, *arguments: str, check: bool = True, **extra: str) -> Ran:
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
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(60):
            out, err = await process.communicate()
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
            ledger_dir=self.folder / "ledger",
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

    def termination(self) -> Ledger:
        return Ledger.from_json((self.folder / "termination").read_text())


async def commit(clone: Path, note: str, data: bytes | None = None) -> str:
    (clone / f"{note}.txt").write_bytes(note.encode() if data is None else data)
    await git(clone, "add", "-A")
    await git(clone, "commit", "-q", "-m", note)
    return (await git(clone, "rev-parse", "HEAD")).stdout.strip()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
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
        app.router.add_route("*", "/{path:.*}", forge.handle)
        runner = web.AppRunner(app, auto_decompress=False, shutdown_timeout=1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        forge.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        for name in ("secrets", "ledger"):
            (tmp_path / name).mkdir()
        (tmp_path / "secrets" / contract.SECRET_KEY_FORGE).write_text(forge.token + "\n")
        yield World(forge, tmp_path, base, stack)


# Reading


async def test_clone_speaks_protocol_v2_with_the_credential_added(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    assert (await git(clone, "rev-parse", "HEAD")).stdout.strip() == world.base
    assert [seen.headers.get("Git-Protocol") for seen in world.forge.seen] == ["version=2"] * 3
    assert {seen.headers["Accept-Encoding"] for seen in world.forge.seen} == {"identity"}
    assert all(seen.headers["User-Agent"].startswith("git/") for seen in world.forge.seen)


async def test_shallow_deepened_and_blobless_clones(world: World) -> None:
    gateway = await world.gateway()
    shallow = await world.clone(gateway, "--depth=1", name="shallow")
    assert (await git(shallow, "rev-list", "--count", "HEAD")).stdout.strip() == "1"
    await git(shallow, "fetch", "-q", "--deepen=2")
    assert (await git(shallow, "rev-list", "--count", "HEAD")).stdout.strip() == "3"
    blobless = await world.clone(gateway, "--filter=blob:none", name="blobless")
    assert (await git(blobless, "rev-list", "--count", "HEAD")).stdout.strip() == "4"


@pytest.mark.parametrize("version", ["0", "1"])
async def test_older_protocols(world: World, version: str) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway, "-c", f"protocol.version={version}")
    assert (await git(clone, "rev-parse", "HEAD")).stdout.strip() == world.base


async def test_gzipped_fetch_is_forwarded_as_it_is(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    for number in range(60):
        await world.forge.commit(f"refs/heads/topic-{number}", world.base, f"t{number}")
    await git(clone, "fetch", "-q")
    compressed = [s for s in world.spy(end="/git-upload-pack") if s.headers.get("Content-Encoding") == "gzip"]
    assert compressed
    assert (await git(clone, "rev-parse", "origin/topic-59")).code == 0


async def test_large_objects_both_ways(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    large = os.urandom(3 << 20)
    head = await commit(clone, "large", large)
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == head
    probe, push = world.spy()[-2:] if len(world.spy()) > 1 else (None, world.spy()[-1])
    assert probe is None, "the probe is answered here"
    assert push.headers.get("Transfer-Encoding") == "chunked"
    assert push.bytes > len(large)
    other = await world.clone(gateway, "--branch", BRANCH, name="other")
    assert (other / "large.txt").read_bytes() == large


# Pushing


async def test_push_creates_the_branch_and_is_in_the_ledger(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    head = await commit(clone, "two")
    ran = await git(clone, "push", "origin", BRANCH)
    assert "[new branch]" in ran.stderr
    assert await world.forge.head() == head
    assert gateway.ledger.pushes == (Push(ref=WORK_REF, old=ZERO, new=head),)
    assert world.termination() == gateway.ledger


async def test_second_push_and_force_push_over_own_commits(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await git(clone, "push", "-q", "origin", BRANCH)
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    await git(clone, "reset", "-q", "--hard", "HEAD~2")
    third = await commit(clone, "three")
    await git(clone, "push", "-q", "--force-with-lease", "origin", BRANCH)
    assert await world.forge.head() == third
    assert [(push.old, push.new) for push in gateway.ledger.pushes][1:] == [
        (gateway.ledger.pushes[0].new, second),
        (second, third),
    ]


async def test_push_from_the_expected_head(world: World) -> None:
    expected = await world.forge.commit(WORK_REF, world.base, "earlier round")
    gateway = await world.gateway(expected_head=expected)
    clone = await world.clone(gateway, "--branch", BRANCH)
    head = await commit(clone, "fix")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == head


async def test_push_over_a_commit_of_somebody_else_is_refused(world: World) -> None:
    expected = await world.forge.commit(WORK_REF, world.base, "earlier round")
    gateway = await world.gateway(expected_head=expected)
    clone = await world.clone(gateway, "--branch", BRANCH)
    await commit(clone, "fix")
    person = await world.forge.commit(WORK_REF, expected, "a person's")
    await git(clone, "fetch", "-q")
    for arguments in (["--force"], [f"--force-with-lease={BRANCH}:{person}"]):
        ran = await git(clone, "push", *arguments, "origin", BRANCH, check=False)
        assert ran.code == 1
        assert "[remote rejected]" in ran.stderr
        assert f"(stale: the branch is at {person[:12]}, which this step did not push" in ran.stderr
        assert f"remote: agent gateway: Somebody else has pushed to {BRANCH}." in ran.stderr
    # Neither merging it in first makes it this step's branch again.
    await git(clone, "rebase", "-q", f"origin/{BRANCH}")
    assert (await git(clone, "push", "origin", BRANCH, check=False)).code == 1
    assert await world.forge.head() == person
    assert gateway.ledger.pushes == ()
    assert len(gateway.ledger.refusals) == 3
    assert not world.spy(), "a refused push must not reach the forge"


async def test_push_races_with_a_person_after_the_advertisement(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    person = ""

    async def race() -> None:
        nonlocal person
        person = await world.forge.commit(WORK_REF, world.base, "a person's")

    world.forge.before_push = race
    ran = await git(clone, "push", "--force", "origin", BRANCH, check=False)
    assert ran.code == 1
    assert "[remote rejected]" in ran.stderr
    assert await world.forge.head() == person
    assert gateway.ledger.pushes == ()
    world.forge.before_push = None
    ran = await git(clone, "push", "--force", "origin", BRANCH, check=False)
    assert "it did not exist" in ran.stderr
    assert await world.forge.head() == person


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["HEAD:main"], f"only {WORK_REF} may be pushed"),
        (["HEAD:refs/heads/other"], f"only {WORK_REF} may be pushed"),
        (["HEAD:refs/tags/v1"], f"only {WORK_REF} may be pushed"),
        (["HEAD:refs/for/main"], f"only {WORK_REF} may be pushed"),
        ([f":{BRANCH}"], "the work branch may not be deleted"),
        ([f"HEAD:{BRANCH}", "HEAD:other"], "not pushed: another ref of this push was refused"),
    ],
)
async def test_refused_pushes_say_why(world: World, arguments: list[str], reason: str) -> None:
    expected = await world.forge.commit(WORK_REF, world.base, "earlier round")
    before = await world.forge.git("for-each-ref")
    gateway = await world.gateway(expected_head=expected)
    clone = await world.clone(gateway, "--branch", BRANCH)
    await commit(clone, "one", os.urandom(2 << 20))
    ran = await git(clone, "push", "origin", *arguments, check=False)
    assert ran.code == 1
    assert "[remote rejected]" in ran.stderr
    assert reason in ran.stderr
    assert f"remote: agent gateway: This step may only push commits to the branch {BRANCH}." in ran.stderr
    assert await world.forge.git("for-each-ref") == before
    assert reason in gateway.ledger.refusals[0]


async def test_reading_steps_may_not_push(world: World) -> None:
    gateway = await world.gateway(push=False)
    clone = await world.branch(gateway)
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code == 128
    assert "remote: agent gateway: this step only reads the repository; it may not push" in ran.stderr
    assert await world.forge.head() is None


async def test_push_options_and_certificates_are_not_offered(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    ran = await git(clone, "push", "-o", "ci.skip", "origin", BRANCH, check=False)
    assert "the receiving end does not support push options" in ran.stderr
    ran = await git(clone, "push", "--signed", "origin", BRANCH, check=False)
    assert "the receiving end does not support --signed push" in ran.stderr
    assert not world.spy()


async def test_answer_lost_on_the_way_is_settled_by_asking(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    world.forge.lose_answers = 1
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code == 0, ran
    head = await world.forge.head()
    assert [push.new for push in gateway.ledger.pushes] == [head]
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == second


async def test_forge_fails_before_it_has_made_the_push(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)

    async def fail() -> None:
        raise web.HTTPBadGateway

    world.forge.before_push = fail
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code == 1
    assert "(the forge did not take it)" in ran.stderr
    assert "remote: agent gateway: the forge 127.0.0.1 answered HTTP 502" in ran.stderr
    assert gateway.ledger.pushes == ()
    world.forge.before_push = None
    await git(clone, "push", "-q", "origin", BRANCH)
    assert len(gateway.ledger.pushes) == 1


# Restart


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
                contract.ENV_LEDGER_DIR: str(settings.ledger_dir),
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


async def test_kill_and_restart_between_pushes_forgets_nothing(world: World) -> None:
    log = world.folder / "gateway.log"
    process = await start_process(world, log)
    url = (world.folder / "url").read_text()
    await git(world.folder, "clone", "-q", f"{url}/git/acme/widget.git", "clone")
    clone = world.folder / "clone"
    await git(clone, "switch", "-q", "-c", BRANCH)
    first = await commit(clone, "one")
    await git(clone, "push", "-q", "origin", BRANCH)
    await stop_process(process)
    assert [push.new for push in world.termination().pushes] == [first], "kept up to date without an end"
    with (world.folder / "ledger" / "ledger.jsonl").open("ab") as ledger:
        ledger.write(b'{"event":"push","ref":"refs/he')

    process = await start_process(world, log)
    assert (world.folder / "url").read_text() == url, "the agent has read the address already"
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == second
    assert await stop_process(process, signal.SIGTERM) == 0
    assert [push.new for push in world.termination().pushes] == [first, second]
    lines = (world.folder / "ledger" / "ledger.jsonl").read_bytes().splitlines()
    assert [json.loads(line)["event"] for line in lines if line.endswith(b"}")] == ["push_sent", "push"] * 2
    printed = log.read_text()
    assert f"pushed {WORK_REF}" in printed
    assert world.forge.token not in printed
    assert url.rsplit("/", 1)[1] not in printed


async def test_killed_while_the_forge_works_on_a_push(world: World) -> None:
    log = world.folder / "gateway.log"
    process = await start_process(world, log)
    url = (world.folder / "url").read_text()
    await git(world.folder, "clone", "-q", f"{url}/git/acme/widget.git", "clone")
    clone = world.folder / "clone"
    await git(clone, "switch", "-q", "-c", BRANCH)
    first = await commit(clone, "one")

    async def kill() -> None:
        await stop_process(process)

    world.forge.after_body = kill
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert ran.code != 0
    world.forge.after_body = None
    async with asyncio.timeout(10):
        while await world.forge.head() != first:
            await asyncio.sleep(0.05)
    await start_process(world, log)
    second = await commit(clone, "two")
    await git(clone, "push", "-q", "origin", BRANCH)
    assert await world.forge.head() == second
    assert [push.new for push in world.termination().pushes] == [first, second]


# Credentials


async def test_token_is_nowhere_but_at_the_forge(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    traced = {"GIT_TRACE": "1", "GIT_CURL_VERBOSE": "1", "GIT_TRACE_PACKET": "1", "GIT_TRACE_REDACT": "0"}
    ran = [
        await git(clone, "push", "origin", BRANCH, **traced),
        await git(clone, "fetch", "origin", **traced),
        await git(clone, "push", "origin", "HEAD:main", check=False, **traced),
    ]
    world.forge.status = 403
    ran.append(await git(clone, "fetch", "origin", check=False, **traced))
    output = "".join(r.stdout + r.stderr for r in ran) + caplog.text
    basic = base64.b64encode(f"x-access-token:{world.forge.token}".encode()).decode()
    assert "git-receive-pack" in output
    for canary in (world.forge.token, basic):
        assert canary not in output
        for folder in (clone, world.folder / "ledger"):
            files = [path for path in folder.rglob("*") if path.is_file()]
            assert files
            assert not any(canary.encode() in path.read_bytes() for path in files)
        assert canary not in (world.folder / "termination").read_text()
    assert basic in str(world.forge.seen[0].headers)
    assert "www-authenticate" not in output.lower()


async def test_authorization_of_the_client_is_dropped(world: World) -> None:
    gateway = await world.gateway()
    clone = world.folder / "clone"
    url = gateway.url.replace("http://", "http://somebody:else@")
    await git(
        world.folder, "-c", "http.extraHeader=Cookie: a=b", "-c", "http.extraHeader=X-Evil: 1",
        "clone", "-q", f"{url}/git/acme/widget.git", "clone",
    )  # fmt: skip
    assert (clone / ".git").is_dir()
    for seen in world.forge.seen:
        assert "Cookie" not in seen.headers
        assert "X-Evil" not in seen.headers


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (
            lambda path: path.unlink(),
            "no credential: key github-token of secret agent-secrets does not exist",
        ),
        (
            lambda path: path.write_text(" \n"),
            "no credential: key github-token of secret agent-secrets is empty",
        ),
        (lambda path: path.write_text("two\nlines"), "is not one line of ASCII"),
        (
            lambda path: path.write_text("wrong"),
            "the forge refused the credential in key github-token of secret agent-secrets (HTTP 401)",
        ),
    ],
)
async def test_missing_or_wrong_credential_is_said_and_can_be_mended(
    world: World, prepare: Callable[[Path], object], said: str
) -> None:
    path = world.folder / "secrets" / contract.SECRET_KEY_FORGE
    prepare(path)
    gateway = await world.gateway()
    ran = await git(world.folder, "ls-remote", f"{gateway.url}/git/acme/widget.git", check=False)
    assert ran.code == 128
    assert "remote: agent gateway: " in ran.stderr
    assert said in ran.stderr
    assert "Username" not in ran.stderr
    path.write_text(world.forge.token)
    await git(world.folder, "ls-remote", f"{gateway.url}/git/acme/widget.git")


async def test_credential_that_expires_between_the_requests(world: World) -> None:
    gateway = await world.gateway()
    clone = await world.branch(gateway)
    await world.forge.commit("refs/heads/main", world.base, "more")
    world.forge.token += "-renewed"
    for service in ("git-upload-pack", "git-receive-pack"):
        async with aiohttp.ClientSession() as session:
            body = encode(f"{ZERO} {world.base} {WORK_REF}\0report-status side-band-64k".encode()) + FLUSH
            answer = await session.post(
                f"{gateway.url}/git/acme/widget.git/{service}",
                data=body,
                headers={"Content-Type": f"application/x-{service}-request"},
            )
            text = await answer.text()
            assert answer.status == 200
            assert "the forge refused the credential in key github-token" in text
    (world.folder / "secrets" / contract.SECRET_KEY_FORGE).write_text(world.forge.token)
    await git(clone, "push", "-q", "origin", BRANCH)


@pytest.mark.parametrize("version", ["0", "2"])
async def test_git_shows_the_text_of_a_failed_fetch(world: World, version: str) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    await world.forge.commit("refs/heads/main", world.base, "more")
    original = Forge._run

    async def fail(self: Forge, request: web.Request, seen: Seen, *, lose: bool) -> web.StreamResponse:
        if request.method == "POST":
            return web.Response(status=403)
        return await original(self, request, seen, lose=lose)

    Forge._run = fail  # type: ignore[method-assign]
    try:
        ran = await git(clone, "-c", f"protocol.version={version}", "fetch", check=False)
    finally:
        Forge._run = original  # type: ignore[method-assign]
    assert ran.code == 128
    assert "remote error: the forge refused the credential in key github-token" in ran.stderr


async def test_redirects_are_not_followed(world: World) -> None:
    caught: list[str] = []

    async def catch(request: web.Request) -> web.Response:
        caught.append(request.path)
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", catch)
    runner = web.AppRunner(app)
    await runner.setup()
    world.stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    world.forge.redirect_to = f"http://127.0.0.1:{runner.addresses[0][1]}/elsewhere"
    gateway = await world.gateway()
    ran = await git(world.folder, "ls-remote", f"{gateway.url}/git/acme/widget.git", check=False)
    assert ran.code == 128
    assert (
        "remote: agent gateway: the forge moved acme/widget to 127.0.0.1/elsewhere/acme/widget.git"
        in ran.stderr
    )
    assert caught == []


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (404, "the forge has no repository acme/widget for the credential in key github-token"),
        (429, "the forge limits the rate of requests"),
        (503, "the forge 127.0.0.1 answered HTTP 503"),
    ],
)
async def test_other_answers_of_the_forge_are_said(world: World, status: int, said: str) -> None:
    world.forge.status = status
    gateway = await world.gateway()
    ran = await git(world.folder, "ls-remote", f"{gateway.url}/git/acme/widget.git", check=False)
    assert ran.code == 128
    assert said in ran.stderr


async def test_unreachable_forge_is_said(world: World) -> None:
    gateway = await world.gateway(forge_url="http://127.0.0.1:1")
    ran = await git(world.folder, "ls-remote", f"{gateway.url}/git/acme/widget.git", check=False)
    assert "the forge 127.0.0.1 cannot be reached: Connection refused" in ran.stderr


# Only what git needs exists


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/{wrong}/git/acme/widget.git/info/refs?service=git-upload-pack", 404),
        ("GET", "/", 404),
        ("GET", "/{nonce}", 404),
        ("GET", "/{nonce}/other/x", 404),
        ("GET", "/{nonce}/git/acme/other.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/{nonce}/git/acme/widget.git/../other.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/{nonce}/git/acme%2Fwidget.git/info/refs?service=git-upload-pack", 403),
        ("GET", "/{nonce}/git/acme/widget.git/info/refs", 403),
        ("GET", "/{nonce}/git/acme/widget.git/info/refs?service=git-upload-pack&x=1", 403),
        ("GET", "/{nonce}/git/acme/widget.git/info/refs?service=git-upload-archive", 403),
        ("GET", "/{nonce}/git/acme/widget.git/HEAD", 403),
        ("GET", "/{nonce}/git/acme/widget.git/objects/info/packs", 403),
        ("GET", "/{nonce}/git/acme/widget.git/git-upload-pack", 403),
        ("POST", "/{nonce}/git/acme/widget.git/info/lfs/objects/batch", 403),
        ("POST", "/{nonce}/git/acme/widget.git/git-upload-pack", 415),
        ("DELETE", "/{nonce}/git/acme/widget.git/git-receive-pack", 403),
    ],
)
async def test_all_else_is_not_there(world: World, method: str, path: str, status: int) -> None:
    gateway = await world.gateway()
    nonce = gateway.url.rsplit("/", 1)[1]
    port = int(gateway.url.split(":")[2].split("/")[0])
    target = path.format(nonce=nonce, wrong=nonce[:-1] + ("0" if nonce[-1] != "0" else "1"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    )
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert int(answer.split()[1]) == status
    assert world.forge.seen == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "said"),
    [
        (b"zzzz", {}, 403, "is not a packet length"),
        (b"0000", {}, 200, ""),
        (b"", {}, 403, "ends before its list of refs"),
        (b"0000PACK", {}, 403, "no ref is named"),
        (encode(b"push-cert\0report-status") + FLUSH, {}, 403, "a push certificate is not supported"),
        (encode(f"{ZERO} {'a' * 40} {WORK_REF}\0side-band-64k".encode()) + FLUSH, {}, 403, "report-status"),
        (gzip.compress(b"0000"), {"Content-Encoding": "gzip"}, 415, "compressed"),
        (b"0000", {"Content-Type": "text/plain"}, 415, "Content-Type"),
        (
            encode(f"{ZERO} {'a' * 40} {WORK_REF}\0report-status push-options=1".encode()) + FLUSH,
            {},
            200,
            f"ng {WORK_REF} push options are not allowed",
        ),
    ],
)
async def test_hand_made_pushes(
    world: World, body: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    gateway = await world.gateway()
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{gateway.url}/git/acme/widget.git/git-receive-pack",
            data=body,
            headers={"Content-Type": PUSH_TYPE, **headers},
        )
        assert answer.status == status
        assert said in await answer.text()
        assert "WWW-Authenticate" not in answer.headers
    assert world.forge.seen == []


async def test_push_broken_off_by_the_client_is_not_taken_for_made(world: World) -> None:
    """A half push whose new commit a person then puts on the branch does not become this step's commit."""
    person = await world.forge.commit("refs/heads/elsewhere", world.base, "a person's")
    gateway = await world.gateway()
    arrived = asyncio.Event()

    async def note() -> None:
        arrived.set()
        await world.forge.git("update-ref", WORK_REF, person)

    world.forge.before_push = note
    port = int(gateway.url.split(":")[2].split("/")[0])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    body = encode(f"{ZERO} {person} {WORK_REF}\0report-status".encode()) + FLUSH
    path = "/" + gateway.url.split("/", 3)[3] + "/git/acme/widget.git/git-receive-pack"
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: {PUSH_TYPE}\r\nContent-Length: 5000\r\n\r\n"
    writer.write(head.encode() + body)
    await asyncio.wait_for(arrived.wait(), 10)
    writer.transport.abort()
    ledger = world.folder / "ledger" / "ledger.jsonl"
    async with asyncio.timeout(10):
        while "push_rejected" not in ledger.read_text():
            await asyncio.sleep(0.02)
    assert gateway.ledger.pushes == ()
    world.forge.before_push = None
    clone = await world.clone(gateway, "--branch", BRANCH)
    await commit(clone, "on top")
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert "which this step did not push" in ran.stderr
    assert await world.forge.head() == person
