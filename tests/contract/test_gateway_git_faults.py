"""The real git program through the gateway: credentials, faults of the forge, and what does not exist."""

from __future__ import annotations

import asyncio
import base64
import gzip
import logging
import shutil
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from agent_runner import contract
from agent_runner.gateway.pkt_line import FLUSH, encode

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

from gateway_world import BRANCH, WORK_REF, ZERO, World, commit, git, open_world

PUSH_TYPE = "application/x-git-receive-pack-request"

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


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

    async def fail(request: web.Request) -> web.StreamResponse:
        return web.Response(status=403) if request.method == "POST" else await world.forge.handle(request)

    world.answer = fail
    ran = await git(clone, "-c", f"protocol.version={version}", "fetch", check=False)
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
        ("GET", "/{nonce}/git/served?x=1", 403),
        ("POST", "/{nonce}/git/served", 403),
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
        (gzip.compress(b"0000", mtime=0), {"Content-Encoding": "gzip"}, 415, "compressed"),
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
    gateway = await world.gateway(protected_paths=())
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
    async with asyncio.timeout(10):
        while "push_rejected" not in world.ledger_file.read_text():
            await asyncio.sleep(0.02)
    assert gateway.ledger.pushes == ()
    world.forge.before_push = None
    clone = await world.clone(gateway, "--branch", BRANCH)
    await commit(clone, "on top")
    ran = await git(clone, "push", "origin", BRANCH, check=False)
    assert "which this step did not push" in ran.stderr
    assert await world.forge.head() == person
