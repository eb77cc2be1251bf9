"""Git LFS through the gateway, over plain HTTP, against a scripted LFS server and storage."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import random
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from aiohttp import web

from agent_runner.gateway import lfs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from agent_runner.gateway.server import Gateway

from gateway_world import World, open_world

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

CONTENT = random.Random(1).randbytes(300_000)
OID = hashlib.sha256(CONTENT).hexdigest()
BATCH = "/acme/widget.git/info/lfs/objects/batch"


@dataclass
class Storage:
    """A server beside the forge that gives objects to whoever has the header of the link."""

    url: str = ""
    seen: list[dict[str, str]] = field(default_factory=list)
    status: int = 200
    redirect_to: str | None = None
    cut_off: bool = False

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(dict(request.headers))
        if self.redirect_to is not None and not request.path.startswith("/moved"):
            return web.Response(status=302, headers={"Location": self.redirect_to})
        if self.status != 200:
            return web.Response(status=self.status, text="secret words of the storage")
        if self.cut_off:
            response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
            await response.prepare(request)
            await response.write(CONTENT[:1000])
            assert request.transport
            request.transport.abort()
            return response
        start = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        return web.Response(
            status=206 if start else 200,
            body=CONTENT[start:],
            headers={"Set-Cookie": "a=b", "X-Amz-Id": "canary-of-the-storage"},
        )


@dataclass
class Lfs:
    """The LFS part of the forge: answers batches as it is told."""

    world: World
    storage: Storage
    asked: list[Any] = field(default_factory=list)
    answer: Any = None
    status: int = 200

    async def handle(self, request: web.Request) -> web.StreamResponse:
        wanted = "Basic " + base64.b64encode(f"x-access-token:{self.world.forge.token}".encode()).decode()
        if request.path == "/acme/widget.git/stored":
            self.storage.seen.append(dict(request.headers))
            return web.Response(body=CONTENT if request.headers.get("Authorization") == wanted else b"no")
        if request.path != BATCH:
            return await self.world.forge.handle(request)
        if request.headers.get("Authorization") != wanted:
            return web.Response(status=401)
        assert request.headers["Content-Type"] == request.headers["Accept"] == lfs.MEDIA_TYPE
        self.asked.append(json.loads(await request.read()))
        body = self.answer if isinstance(self.answer, str) else json.dumps(self.answer)
        return web.Response(status=self.status, text=body, content_type=lfs.MEDIA_TYPE)

    def link(self, **action: Any) -> None:
        action = {
            "href": f"{self.storage.url}/o?signature=canary-of-the-link",
            "header": {"Authorization": "RemoteAuth canary-of-the-link"},
            "expires_in": 600,
            **action,
        }
        self.answer = {
            "transfer": "basic",
            "objects": [{"oid": OID, "size": len(CONTENT), "actions": {"download": action}}],
        }


async def serve(world: World, handle: Any) -> str:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    world.stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with open_world(tmp_path) as world:
        yield world


@pytest.fixture
async def server(world: World) -> Lfs:
    storage = Storage()
    storage.url = await serve(world, storage.handle)
    server = Lfs(world, storage)
    server.link()
    world.answer = server.handle
    return server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def wish(**values: Any) -> dict[str, Any]:
    return {
        "operation": "download",
        "transfers": ["lfs-standalone-file", "basic", "ssh"],
        "ref": {"name": "refs/heads/main"},
        "objects": [{"oid": OID, "size": len(CONTENT)}],
        **values,
    }


async def ask(
    session: aiohttp.ClientSession, gateway: Gateway, body: Any, path: str = BATCH
) -> tuple[int, Any]:
    answer = await session.post(
        f"{gateway.url}/git{path}",
        data=body if isinstance(body, bytes) else json.dumps(body),
        headers={"Content-Type": lfs.MEDIA_TYPE, "Accept": lfs.MEDIA_TYPE, "Authorization": "Basic mine"},
    )
    assert answer.content_type == lfs.MEDIA_TYPE
    return answer.status, json.loads(await answer.text())


async def link(session: aiohttp.ClientSession, gateway: Gateway) -> str:
    status, told = await ask(session, gateway, wish())
    assert status == 200, told
    href: str = told["objects"][0]["actions"]["download"]["href"]
    return href


async def test_download_through_the_gateway(
    world: World, server: Lfs, session: aiohttp.ClientSession
) -> None:
    gateway = await world.gateway(push=False)
    status, told = await ask(session, gateway, wish())
    assert status == 200
    assert server.asked == [
        {
            "operation": "download",
            "transfers": ["basic"],
            "hash_algo": "sha256",
            "objects": [{"oid": OID, "size": len(CONTENT)}],
            "ref": {"name": "refs/heads/main"},
        }
    ]
    (found,) = told["objects"]
    download = found["actions"]["download"]
    assert download["href"].startswith(f"{gateway.url}/git/acme/widget.git/info/lfs/objects/")
    assert 590 <= download["expires_in"] <= 600
    assert "header" not in download
    assert found["authenticated"] is True
    assert "canary" not in json.dumps(told)
    answer = await session.get(download["href"])
    assert await answer.read() == CONTENT
    assert "canary" not in str(answer.headers)
    assert "Set-Cookie" not in answer.headers
    (seen,) = server.storage.seen
    assert seen["Authorization"] == "RemoteAuth canary-of-the-link"
    assert world.forge.token not in str(seen)
    # Again, and the rest of a download that broke off.
    answer = await session.get(download["href"], headers={"Range": "bytes=299000-"})
    assert answer.status == 206
    assert await answer.read() == CONTENT[299_000:]


async def test_link_to_the_forge_itself_takes_its_credential(
    world: World, server: Lfs, session: aiohttp.ClientSession
) -> None:
    server.link(href=f"{world.forge.url}/acme/widget.git/stored", header={})
    gateway = await world.gateway()
    answer = await session.get(await link(session, gateway))
    assert await answer.read() == CONTENT


async def test_redirects_lose_what_was_for_the_first_place(
    world: World, server: Lfs, session: aiohttp.ClientSession
) -> None:
    elsewhere = Storage()
    elsewhere.url = await serve(world, elsewhere.handle)
    server.storage.redirect_to = f"{elsewhere.url}/moved"
    gateway = await world.gateway()
    answer = await session.get(await link(session, gateway), headers={"Range": "bytes=5-"})
    assert await answer.read() == CONTENT[5:]
    (seen,) = elsewhere.seen
    assert "Authorization" not in seen
    assert seen["Range"] == "bytes=5-"
    for target in (server.storage.url + "/round", "ftp://127.0.0.1/x", "http://a:b@127.0.0.1/x", "//["):
        server.storage.redirect_to = target
        answer = await session.get(await link(session, gateway))
        assert answer.status == 502
        assert "redirects" in (await answer.json(content_type=None))["message"]


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (wish(operation="upload"), 403, "may only be downloaded here"),
        (wish(operation=["download"]), 403, "may only be downloaded here"),
        (b"", 422, "not a JSON object"),
        (b"[]", 422, "not a JSON object"),
        (b"[" * 100_000, 422, "not a JSON object"),
        (wish(objects=[]), 422, "between 1 and 1,000 objects"),
        (wish(objects={}), 422, "between 1 and 1,000 objects"),
        (wish(objects=[{"oid": "../x", "size": 1}]), 422, "a SHA-256 and a size"),
        (wish(objects=[{"oid": OID, "size": -1}]), 422, "a SHA-256 and a size"),
        (wish(objects=[{"oid": OID, "size": True}]), 422, "a SHA-256 and a size"),
        (wish(objects=[OID]), 422, "a SHA-256 and a size"),
        (b'"' + b"x" * (1 << 20) + b'"', 413, "more than"),
    ],
)
async def test_requests_that_are_refused(
    world: World, server: Lfs, session: aiohttp.ClientSession, body: Any, status: int, said: str
) -> None:
    gateway = await world.gateway()
    got, told = await ask(session, gateway, body)
    assert (got, said in told["message"]) == (status, True), told
    assert server.asked == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/acme/widget.git/info/lfs/locks/verify", 404),
        ("POST", "/acme/widget.git/info/lfs/locks", 404),
        ("GET", "/acme/widget.git/info/lfs/locks", 404),
        ("PUT", f"/acme/widget.git/info/lfs/objects/{OID}", 403),
        ("GET", f"/acme/widget.git/info/lfs/objects/{OID}", 403),
        ("GET", f"/acme/widget.git/info/lfs/objects/{'a' * 32}", 404),
        ("POST", "/acme/widget.git/info/lfs/verify", 403),
        ("POST", "/acme/widget.git/info/lfs/objects/batch?x=1", 403),
        ("POST", "/acme/other.git/info/lfs/objects/batch", 403),
    ],
)
async def test_all_else_is_not_there(
    world: World, server: Lfs, session: aiohttp.ClientSession, method: str, path: str, status: int
) -> None:
    gateway = await world.gateway()
    answer = await session.request(method, f"{gateway.url}/git{path}", data=b"{}")
    assert answer.status == status
    assert server.asked == []


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ({"href": "file:///etc/passwd"}, 502),
        ({"href": "http://u:p@127.0.0.1/"}, 502),
        ({"href": "http://[/"}, 502),
        ({"href": "http:///x"}, 502),
        ({"href": ["x"]}, 502),
        ({"href": "http://127.0.0.1/ä"}, 502),
        ({"header": {"X": "a\r\nHost: b"}}, 502),
        ({"header": {"X Y": "a"}}, 502),
        ({"header": {"X": 1}}, 502),
        ({"header": ["X"]}, 502),
    ],
)
async def test_links_that_cannot_be_used(
    world: World, server: Lfs, session: aiohttp.ClientSession, action: dict[str, Any], code: int
) -> None:
    server.link(**action)
    gateway = await world.gateway()
    status, told = await ask(session, gateway, wish())
    assert status == 200
    assert told["objects"][0]["error"] == {"code": code, "message": "the forge gives no usable link for it"}
    assert "actions" not in told["objects"][0]


async def test_objects_of_the_answer_that_are_odd(
    world: World, server: Lfs, session: aiohttp.ClientSession
) -> None:
    server.answer = {
        "objects": [
            {"oid": OID, "size": 5, "error": {"code": 404, "message": "not\nthere"}},
            {"oid": "f" * 64, "size": 5},
            {"oid": [OID]},
            None,
            {"oid": OID, "size": "5", "error": {"code": "x"}},
            {"oid": OID, "actions": []},
        ]
    }
    gateway = await world.gateway()
    _, told = await ask(session, gateway, wish())
    assert [each["error"] for each in told["objects"]] == [
        {"code": 404, "message": "not?there"},
        {"code": 500, "message": "no reason given"},
        {"code": 502, "message": "the forge gives no usable link for it"},
    ]


@pytest.mark.parametrize(
    ("status", "answer", "got", "said"),
    [
        (404, "", 404, "the forge has no Git LFS for acme/widget"),
        (403, "", 403, "the forge refused the credential"),
        (500, "", 502, "answered HTTP 500"),
        (200, "[]", 502, "not a JSON object"),
        (200, '{"transfer": "tus"}', 502, "no plain download"),
    ],
)
async def test_faults_of_the_forge(
    world: World, server: Lfs, session: aiohttp.ClientSession, status: int, answer: str, got: int, said: str
) -> None:
    server.status, server.answer = status, answer
    gateway = await world.gateway()
    found, told = await ask(session, gateway, wish())
    assert (found, said in told["message"]) == (got, True), told


async def test_faults_of_the_storage(world: World, server: Lfs, session: aiohttp.ClientSession) -> None:
    gateway = await world.gateway()
    href = await link(session, gateway)
    for status, got in ((404, 404), (403, 502), (500, 502)):
        server.storage.status = status
        answer = await session.get(href)
        assert answer.status == got
        assert (await answer.json(content_type=None))["message"].endswith(f"answered HTTP {status}")
    server.storage.status = 200
    server.storage.cut_off = True
    answer = await session.get(href)
    with pytest.raises(aiohttp.ClientError):
        await answer.read()
    server.link(href="http://127.0.0.1:1/x")
    answer = await session.get(await link(session, gateway))
    assert answer.status == 502
    assert "the storage 127.0.0.1 cannot be reached" in await answer.text()


async def test_links_end(
    world: World, server: Lfs, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lfs, "MAX_LINKS", 2)
    gateway = await world.gateway(read_repositories=("acme/library",))
    hrefs = [await link(session, gateway) for _ in range(3)]
    assert [(await session.get(href)).status for href in hrefs] == [404, 200, 200]
    elsewhere = hrefs[2].replace("acme/widget", "acme/library")
    assert (await session.get(elsewhere)).status == 404
    server.link(expires_in=0.01)
    href = await link(session, gateway)
    await asyncio.sleep(0.02)
    assert (await session.get(href)).status == 410
    assert (await session.get(href)).status == 404


async def test_a_forge_with_tls_gives_no_link_without(world: World) -> None:
    assert lfs._web_url("http://a/b", secure=True) is None
    assert lfs._web_url("https://a/b", secure=True) is not None
