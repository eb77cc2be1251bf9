"""An agent that talks to the gateway's port in ways that no client does."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp import web
from attack_world import MODEL, OTHER, REPOSITORY, AttackWorld, message_body

from agent_runner.contract import Budget
from agent_runner.gateway import upstream
from agent_runner.gateway.model_proxy import ModelProxy

if TYPE_CHECKING:
    import pytest

MESSAGES = "/anthropic/v1/messages"
RESPONSES = "/openai/v1/responses"
CALLS = {MESSAGES: message_body(), RESPONSES: b'{"model": "gpt-5.5", "input": "x"}'}
SERVED = f"/git/{REPOSITORY}.git"


async def test_address_without_its_secret(world: AttackWorld) -> None:
    """A program that finds the port, by looking at all of them, still does not have the nonce."""
    gateway = await world.gateway()
    nonce = urlsplit(gateway.url).path
    guesses = [
        "",
        "/",
        "/x",
        nonce[:-1],
        nonce + "0",
        nonce.upper(),
        f"/{nonce}",
        f"/x/..{nonce}",
        f"/.{nonce}",
    ]
    guesses.append(nonce.replace("/", "/%", 1))
    for guess in guesses:
        for path in (f"{MESSAGES}", f"{SERVED}/info/refs?service=git-upload-pack", "/git/served"):
            method = "POST" if path == MESSAGES else "GET"
            status = await world.ask(gateway, f"{method} {guess}{path}", body=b"{}", nonce=False)
            assert status in (400, 404), (guess, path)
    assert world.model.seen == []
    assert world.forge.seen == []


async def test_control_with_the_secret_the_address_answers(world: AttackWorld) -> None:
    gateway = await world.gateway()
    assert await world.ask(gateway, f"POST {MESSAGES}", body=message_body()) == 200
    assert await world.ask(gateway, f"GET {SERVED}/info/refs?service=git-upload-pack") == 200


ESCAPES = [
    "/git/{other}.git", "/git/{own}.git/../{name}.git", "/git/{own}.git/../../{other}.git",
    "/git/{own}.git%2f..%2f{name}.git", "/git/{own}.git/%2e%2e/{name}.git", "/git/acme/../acme/{name}.git",
    "/git//{other}.git", "/git/./{other}.git", "/git/{own}.git/.git/../../{name}.git", "/git/{own}.git.git/..",
    "/git/acme%2f{name}.git", "/git/{own}.git\\..\\{name}.git", "/git/{own}.git;/../{name}.git",
    "/git/{own}.git/.git/{other}.git", "/git/{upper}.git", "/git/..%00/{other}.git", "/git/@evil/{other}.git",
    "/git/{own}.git@evil/..", "/git/%61cme/{name}.git", "/git/{other}", "/git/{own}.git//../{name}.git",
]  # fmt: skip


async def test_another_repository_by_its_path(world: AttackWorld) -> None:
    gateway = await world.gateway()
    name = OTHER.partition("/")[2]
    for escape in ESCAPES:
        place = escape.format(other=OTHER, own=REPOSITORY, name=name, upper=OTHER.upper())
        for end in ("/info/refs?service=git-upload-pack", "/HEAD", "/config", "/objects/info/packs"):
            status = await world.ask(gateway, f"GET {place}{end}")
            assert status in (400, 403, 404), (place, end)
        status = await world.ask(
            gateway,
            f"POST {place}/git-upload-pack",
            "Content-Type: application/x-git-upload-pack-request",
            body=b"0000",
        )
        assert status in (400, 403, 404), place
    assert world.forge.seen == []


OTHER_SERVICES = [
    "GET /info/refs", "GET /info/refs?service=git-upload-archive", "POST /git-upload-archive",
    "GET /info/refs?service=git-upload-pack&service=git-receive-pack",
    "GET /info/refs?service=git-upload-pack%00", "GET /HEAD", "GET /objects/info/packs", "GET /config",
    "PUT /info/refs?service=git-upload-pack", "DELETE /git-receive-pack", "POST /git-receive-pack?x=1",
    "POST /git-upload-pack/../git-receive-pack", "POST /%67it-receive-pack", "GET /../../api/v3/user",
    "PROPFIND /", "MKCOL /info/refs", "POST /info/lfs/locks", "POST /info/lfs/locks/verify",
    "PUT /info/lfs/objects/" + "0" * 64, "POST /info/lfs/objects", "POST /info/lfs/verify",
    "GET /info/lfs/objects/" + "A" * 32, "POST /info/lfs/objects/batch?x=1",
]  # fmt: skip


async def test_other_services_of_the_forge(world: AttackWorld) -> None:
    gateway = await world.gateway()
    for line in OTHER_SERVICES:
        method, _, path = line.partition(" ")
        status = await world.ask(gateway, f"{method} {SERVED}{path}")
        assert status in (400, 403, 404, 405), line
    assert world.forge.seen == []


async def test_upload_to_git_lfs(world: AttackWorld) -> None:
    gateway = await world.gateway()
    batch = {"operation": "upload", "transfers": ["basic"], "objects": [{"oid": "0" * 64, "size": 1}]}
    for operation in ("upload", "Upload", "verify", None, ["download"]):
        body = json.dumps({**batch, "operation": operation}).encode()
        status = await world.ask(gateway, f"POST {SERVED}/info/lfs/objects/batch", body=body)
        assert 400 <= status < 500, operation
    assert world.forge.seen == []


async def test_credential_asked_for_by_the_answer_of_the_forge(world: AttackWorld) -> None:
    """A redirect, and links of Git LFS, to the attacker's server: followed without the credential or not at all."""
    gateway = await world.gateway()
    world.forge.redirect_to = world.evil.url
    await world.ask(gateway, f"GET {SERVED}/info/refs?service=git-upload-pack")
    assert world.evil.seen == []
    world.forge.redirect_to = None

    async def batch(request: web.Request) -> web.StreamResponse:
        if not request.path.endswith("/batch"):
            raise web.HTTPFound(f"{world.evil.url}/from-the-forge")
        own = f"{world.forge.url}/{REPOSITORY}.git/info/lfs/objects/x"
        links = [{"oid": c * 64, "size": 1, "actions": {"download": {"href": href}}} for c, href in
                 (("a", f"{world.evil.url}/link"), ("b", own))]  # fmt: skip
        return web.json_response({"transfer": "basic", "objects": links})

    world.inner.answer = batch
    asked = {"operation": "download", "objects": [{"oid": c * 64, "size": 1} for c in "ab"]}
    async with aiohttp.ClientSession() as session:
        url = f"{gateway.url}{SERVED}/info/lfs/objects/batch"
        async with session.post(url, json=asked) as answer:
            text = await answer.text()
        world.seen.append(text)
        links = [each["actions"]["download"]["href"] for each in json.loads(text)["objects"]]
        assert all(link.startswith(gateway.url) for link in links)
        for link in links:
            async with session.get(link) as answer:
                world.seen.append(await answer.text())
    assert sorted(world.evil.paths) == ["GET /from-the-forge", "GET /link"]
    assert all("Authorization" not in request.headers for request in world.evil.seen)


async def test_control_with_redirects_followed_the_credential_leaves(
    world: AttackWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attacker's server answers, where the credential is sent after a redirect on the same origin's word."""
    world.open_door = True
    gateway = await world.gateway()
    request = upstream.Upstream.request

    async def follow(self: Any, method: str, url: str, *, headers: Any, data: Any = None) -> Any:
        answer = await request(self, method, url, headers=headers, data=data)
        if answer.status == 301:
            return await request(self, method, answer.headers["Location"], headers=headers, data=data)
        return answer

    monkeypatch.setattr(upstream.Upstream, "request", follow)
    world.forge.redirect_to = world.evil.url
    await world.ask(gateway, f"GET {SERVED}/info/refs?service=git-upload-pack")
    assert "forge credential, encoded in the attacker's server" in await world.breaches()


NOT_SERVED = [
    "GET /anthropic/v1/models", "GET /anthropic/v1/files", "POST /anthropic/v1/files",
    "GET /anthropic/v1/files/file_1/content", "POST /anthropic/v1/messages/batches",
    "GET /anthropic/v1/messages/batches", "GET /anthropic/v1/organizations/api_keys",
    "POST /anthropic/v1/organizations/invites", "GET /anthropic/v1/organizations/usage_report/messages",
    "POST /anthropic/v1/complete", "GET /anthropic/v1/skills", "POST /anthropic/v1/messages/",
    "GET /anthropic/v1/messages", "PUT /anthropic/v1/messages", "DELETE /anthropic/v1/messages",
    "POST /anthropic/v1/messages/../files", "POST /anthropic/v1/messages/%2e%2e/files",
    "POST /anthropic/v1/messages%2f..%2ffiles", "POST /anthropic/v1/messages;/../files",
    "POST /anthropic//v1/messages", "POST /anthropic/./v1/messages", "POST /anthropic/v1/%6dessages",
    "POST /anthropic/V1/messages", "POST /anthropic/v1/messages%3fbeta=true", "POST /anthropic/v1/messages%00",
    "POST /anthropic/../anthropic/v1/files", "POST /anthropic/http://evil/v1/messages", "POST /anthropic",
    "POST /anthropic/@evil/v1/messages", "POST /Anthropic/v1/messages", "POST /anthropic%2fv1/messages",
    "GET /openai/v1/models", "POST /openai/v1/files", "GET /openai/v1/files", "POST /openai/v1/batches",
    "GET /openai/v1/organization/admin_api_keys", "POST /openai/v1/chat/completions", "POST /openai/v1/embeddings",
    "GET /openai/v1/responses/resp_1", "POST /openai/v1/responses/resp_1/cancel", "DELETE /openai/v1/responses/r",
    "POST /openai/v1/conversations", "POST /openai/v1/containers", "POST /openai/v1/vector_stores",
    "POST /openai/v1/realtime/sessions", "GET /openai/v1/responses", "POST /openai/v1/responses/",
    "POST /metrics", "GET /healthz", "POST /bedrock/v1/messages",
]  # fmt: skip


async def test_other_endpoints_of_the_model_api(world: AttackWorld) -> None:
    """Files, batches, administration: the key may be able to; the gateway is not."""
    gateway = await world.gateway()
    for line in NOT_SERVED:
        status = await world.ask(gateway, line, body=message_body())
        assert status in (400, 404), line
    assert world.model.seen == []


async def test_control_without_the_list_other_endpoints_are_reached(
    world: AttackWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.open_door = True
    gateway = await world.gateway()
    handle = ModelProxy.handle

    async def any_path(self: ModelProxy, request: web.Request, path: str) -> web.StreamResponse:
        self._api = dataclasses.replace(self._api, metered_path=path)
        return await handle(self, request, path)

    monkeypatch.setattr(ModelProxy, "handle", any_path)
    await world.ask(gateway, "POST /anthropic/v1/files", body=message_body())
    assert world.model.paths == ["POST /v1/files"]


async def test_headers_of_the_clients_own(world: AttackWorld) -> None:
    """Another credential, another account, a client's address, a method override: none of it arrives."""
    gateway = await world.gateway()
    evil = [
        "x-api-key: mine", "X-API-KEY: mine", "Authorization: Bearer mine", "Proxy-Authorization: Basic mine",
        "Cookie: session=mine", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Host: evil", "Forwarded: host=evil",
        "X-Original-URL: /v1/files", "X-Rewrite-URL: /v1/files", "X-HTTP-Method-Override: DELETE",
        "anthropic-organization-id: evil", "anthropic-workspace-id: evil", "OpenAI-Organization: evil",
        "OpenAI-Project: evil", "Connection: close, x-api-key, authorization", "TE: trailers", "Via: evil",
        "Accept-Encoding: gzip", "Range: bytes=0-1", "Expect: nothing", "anthropic-dangerous: 1",
    ]  # fmt: skip
    for path, body in CALLS.items():
        status = await world.ask(gateway, f"POST {path}", *[h for h in evil if "Expect" not in h], body=body)
        assert status == 200
    anthropic, openai = world.model.seen
    assert anthropic.headers.getall("x-api-key") == [world.canaries["Anthropic key"]]
    assert openai.headers.getall("Authorization") == [f"Bearer {world.canaries['OpenAI key']}"]
    for request in world.model.seen:
        text = str(request.headers).lower()
        assert "mine" not in text
        assert "evil" not in text
        assert set(request.headers) <= {
            "Host", "Content-Type", "Content-Length", "Accept-Encoding", "Accept", "x-api-key", "Authorization",
        }  # fmt: skip
    assert await world.ask(gateway, f"GET {SERVED}/info/refs?service=git-upload-pack", *evil[:8]) == 200
    (fetch,) = world.forge.seen
    assert set(fetch.headers) <= {"Host", "Authorization", "Accept-Encoding", "Accept", "Content-Length"}


async def test_header_lines_within_a_value(world: AttackWorld) -> None:
    gateway = await world.gateway()
    for value in ("a\r\n x-api-key: mine", "a\nx-api-key: mine", "a\rx-api-key: mine", "a\0b"):
        await world.ask(gateway, f"POST {MESSAGES}", f"anthropic-beta: {value}", body=message_body())
    for request in world.model.seen:
        assert request.headers.getall("x-api-key") == [world.canaries["Anthropic key"]]
        assert "\n" not in request.headers.get("anthropic-beta", "")
    big = "x" * 100_000
    assert await world.ask(gateway, f"POST {MESSAGES}", f"anthropic-beta: {big}", body=message_body()) == 400


SMUGGLED = "POST {nonce}/anthropic/v1/files HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"
FRAMES = {
    "both lengths": ("Content-Length: {size}", "Transfer-Encoding: chunked"),
    "two lengths": ("Content-Length: 0", "Content-Length: {size}"),
    "a signed length": ("Content-Length: +{size}",),
    "a list of lengths": ("Content-Length: 0, {size}",),
    "an unknown coding": ("Transfer-Encoding: xchunked",),
    "chunked, then not": ("Transfer-Encoding: chunked, identity",),
    "space before the colon": ("Transfer-Encoding : chunked",),
    "a folded line": ("X: y\r\n Transfer-Encoding: chunked",),
    "a bare line end": ("X: y\nTransfer-Encoding: chunked",),
}


async def test_request_smuggling(world: AttackWorld) -> None:
    """A second request within the body of the first, by every disagreement about where a body ends.

    The gateway may take it for a request of its own, which is judged like any other, but nothing of it goes on to
    the API as such.
    """
    gateway = await world.gateway()
    nonce = urlsplit(gateway.url).path
    hidden = SMUGGLED.format(nonce=nonce)
    for name, headers in FRAMES.items():
        body = f"0\r\n\r\n{hidden}"
        lines = [header.format(size=len(body)) for header in headers]
        head = "\r\n".join([f"POST {nonce}{MESSAGES} HTTP/1.1", "Host: x", *lines])
        await world.send(gateway, f"{head}\r\n\r\n{body}".encode())
        assert "POST /v1/files" not in world.model.paths, name
    assert set(world.model.paths) <= {"POST /v1/messages"}
    # What is passed on has a length, however it came.
    for request in world.model.seen:
        assert "Transfer-Encoding" not in request.headers


async def test_trailers_and_extensions_of_chunks(world: AttackWorld) -> None:
    gateway = await world.gateway()
    nonce, body = urlsplit(gateway.url).path, message_body()
    chunk = (
        f"{len(body):x};evil=1\r\n".encode()
        + body
        + b"\r\n0\r\nx-api-key: mine\r\nAuthorization: mine\r\n\r\n"
    )
    head = (
        f"POST {nonce}{MESSAGES} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        "Transfer-Encoding: chunked\r\nTrailer: x-api-key\r\n\r\n"
    )
    await world.send(gateway, head.encode() + chunk)
    for request in world.model.seen:
        assert "mine" not in str(request.headers)


async def test_gateway_as_a_proxy(world: AttackWorld) -> None:
    """CONNECT, whole URLs as the target, other hosts' names, and a change of protocol."""
    gateway = await world.gateway()
    nonce = urlsplit(gateway.url).path
    evil = urlsplit(world.evil.url).netloc
    body = message_body()
    length = f"Content-Length: {len(body)}\r\n".encode()
    for start in (
        f"CONNECT {evil} HTTP/1.1\r\nHost: {evil}\r\n",
        f"GET http://{evil}/ HTTP/1.1\r\nHost: {evil}\r\n",
        f"POST http://{evil}{nonce}{MESSAGES} HTTP/1.1\r\nHost: {evil}\r\n",
        f"POST http://{evil}{nonce}/anthropic/v1/files HTTP/1.1\r\nHost: {evil}\r\n",
        f"POST {nonce}{MESSAGES} HTTP/1.1\r\nHost: {evil}\r\nX-Forwarded-Host: {evil}\r\n",
        f"POST {nonce}{MESSAGES} HTTP/1.0\r\n",
        f"OPTIONS * HTTP/1.1\r\nHost: {evil}\r\n",
        f"GET //{evil}{nonce}/git/served HTTP/1.1\r\nHost: {evil}\r\n",
        f"GET {nonce}/git/served HTTP/1.1\r\nHost: {evil}\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n",
    ):
        await world.send(gateway, start.encode() + length + b"Connection: close\r\n\r\n" + body)
    assert world.evil.seen == []
    # Whatever it was taken for, it went to the API that the installation names.
    assert set(world.model.paths) <= {"POST /v1/messages"}


async def test_answer_that_redirects_or_sets_cookies(world: AttackWorld) -> None:
    gateway = await world.gateway()

    async def redirect(request: web.Request) -> web.StreamResponse:
        raise web.HTTPTemporaryRedirect(f"{world.evil.url}/v1/messages")

    world.model.answer = redirect
    assert await world.ask(gateway, f"POST {MESSAGES}", body=message_body()) == 400
    assert world.evil.seen == []

    async def cookie(request: web.Request) -> web.StreamResponse:
        headers = {"Set-Cookie": "a=b", "WWW-Authenticate": "Basic", "Alt-Svc": f'h2="{world.evil.url}"'}
        return web.json_response({"type": "message", "model": MODEL, "usage": {}}, headers=headers)

    world.model.answer = cookie
    head = f"POST {urlsplit(gateway.url).path}{MESSAGES} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2"
    answer = (await world.send(gateway, head.encode() + b"\r\n\r\n{}")).lower()
    assert b" 200 " in answer[:20]
    assert b"cookie" not in answer
    assert b"authenticate" not in answer
    assert b"alt-svc" not in answer


async def test_credential_in_an_error_of_the_api(world: AttackWorld) -> None:
    """An API, or something before it, that refuses a key and quotes it."""
    gateway = await world.gateway()

    async def quote(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": f"bad key {request.headers['x-api-key']}"}, status=401)

    world.model.answer = quote
    assert await world.ask(gateway, f"POST {MESSAGES}", body=message_body()) == 403


async def test_control_of_the_search_for_canaries(
    world: AttackWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same with the refusal passed on as it is."""
    world.open_door = True
    monkeypatch.setattr(ModelProxy, "_fault", lambda *_: None)
    gateway = await world.gateway()

    async def quote(request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": f"bad key {request.headers['x-api-key']}"}, status=401)

    world.model.answer = quote
    await world.ask(gateway, f"POST {MESSAGES}", body=message_body())
    assert await world.breaches() == ["Anthropic key in what the attacker was told"]


async def test_budget_spent_through_many_doors(world: AttackWorld) -> None:
    """Twenty calls at once, half of them at the other API, with money for less than one."""
    gateway = await world.gateway(budget=Budget(usd=0.000_001))
    statuses = await asyncio.gather(
        *(world.ask(gateway, f"POST {path}", body=body) for path, body in list(CALLS.items()) * 10)
    )
    assert set(statuses) <= {400, 402}
    assert world.model.seen == []


async def test_request_that_is_never_ended(world: AttackWorld) -> None:
    """Fifty connections that send a part and wait: others are served meanwhile."""
    gateway = await world.gateway()
    target = urlsplit(gateway.url)
    streams = [await asyncio.open_connection(target.hostname, target.port) for _ in range(50)]
    for _, writer in streams:
        writer.write(f"POST {target.path}{MESSAGES} HTTP/1.1\r\nContent-Length: 99\r\n\r\n".encode())
    assert await world.ask(gateway, f"POST {MESSAGES}", body=message_body()) == 200
    for _, writer in streams:
        writer.close()
