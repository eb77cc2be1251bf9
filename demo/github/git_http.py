"""git's smart HTTP protocol, by ``git http-backend`` on the real repositories."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from typing import IO, TYPE_CHECKING

from aiohttp import web

from demo.github.access import git_user
from demo.github.git_program import git_environment
from demo.github.pushes import branches_moved
from demo.github.requests_log import FACTS

if TYPE_CHECKING:
    from demo.github.forge import Forge
    from demo.github.state import Repository, User

TIMEOUT_SECONDS = 300.0
MAX_BODY_BYTES = 1 << 30
CHUNK_BYTES = 65_536
HEADER_BYTES = 16_384

SERVICES = ("git-upload-pack", "git-receive-pack")


class GitService:
    """The three endpoints of the protocol for every repository."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge

    def routes(self) -> list[web.RouteDef]:
        base = "/{owner}/{repo}"
        return [
            web.get(f"{base}/info/refs", self._advertise),
            web.post(f"{base}/git-upload-pack", self._upload_pack),
            web.post(f"{base}/git-receive-pack", self._receive_pack),
        ]

    async def _advertise(self, request: web.Request) -> web.StreamResponse:
        service = request.query.get("service", "")
        if service not in SERVICES:
            return _plain(403, "Please upgrade your git client.")
        admitted = self._admit(request, writes=service == "git-receive-pack")
        if isinstance(admitted, web.Response):
            return admitted
        return await _backend(request, admitted[0], admitted[1], "/info/refs", None)

    async def _upload_pack(self, request: web.Request) -> web.StreamResponse:
        admitted = self._admit(request, writes=False)
        if isinstance(admitted, web.Response):
            return admitted
        with tempfile.TemporaryFile() as body:
            await _spool(request, body)
            return await _backend(request, admitted[0], admitted[1], "/git-upload-pack", body)

    async def _receive_pack(self, request: web.Request) -> web.StreamResponse:
        admitted = self._admit(request, writes=True)
        if isinstance(admitted, web.Response):
            return admitted
        repository, user = admitted
        assert user is not None
        with tempfile.TemporaryFile() as body:
            await _spool(request, body)
            async with repository.lock:
                before = await repository.git.refs()
                # The pusher hears of the end only when the pull requests know of it too.
                response = await _backend(request, repository, user, "/git-receive-pack", body, hold=True)
                repository.git.heads_changed()
                await branches_moved(self._forge, repository, user, before, await repository.git.refs())
        return response

    def _admit(self, request: web.Request, *, writes: bool) -> tuple[Repository, User | None] | web.Response:
        """Return the repository and who asks, or the refusal, in the words that git shows."""
        owner, name = request.match_info["owner"], request.match_info["repo"].removesuffix(".git")
        header = request.headers.get("Authorization")
        user = git_user(self._forge.store, header)
        repository = self._forge.store.repository(f"{owner}/{name}")
        FACTS.get().user = user
        public = repository is not None and not repository.is_private
        if user is None and (header or writes or not public):
            response = _plain(401, "Invalid username or token. Password authentication is not supported.")
            response.headers["WWW-Authenticate"] = 'Basic realm="GitHub"'
            return response
        if repository is None or repository.permission_of(user) is None:
            return _plain(404, "Repository not found.")
        if writes and repository.is_archived:
            return _plain(403, "This repository was archived so it is read-only.")
        if writes and not repository.allows(user, "write"):
            login = user.login if user else "anonymous"
            return _plain(403, f"Permission to {repository.full_name}.git denied to {login}.")
        return repository, user


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=f"{text}\n", content_type="text/plain")


async def _spool(request: web.Request, body: IO[bytes]) -> None:
    """Write the request's body, still as it is encoded, into a file.

    :raises web.HTTPRequestEntityTooLarge: it is larger than a gibibyte.
    """
    size = 0
    async with asyncio.timeout(TIMEOUT_SECONDS):
        async for chunk in request.content.iter_chunked(CHUNK_BYTES):
            size += len(chunk)
            if size > MAX_BODY_BYTES:
                raise web.HTTPRequestEntityTooLarge(max_size=MAX_BODY_BYTES, actual_size=size)
            body.write(chunk)
    body.seek(0)


async def _backend(
    request: web.Request,
    repository: Repository,
    user: User | None,
    path: str,
    body: IO[bytes] | None,
    *,
    hold: bool = False,
) -> web.StreamResponse:
    """Run ``git http-backend`` and return its answer: as it comes, or whole with ``hold``."""
    folder = repository.git.path
    environment = git_environment(
        {
            "GIT_PROJECT_ROOT": str(folder.parent),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{folder.name}{path}",
            "REQUEST_METHOD": request.method,
            "QUERY_STRING": request.query_string,
            "CONTENT_TYPE": request.headers.get("Content-Type", ""),
            "HTTP_CONTENT_ENCODING": request.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": request.headers.get("Git-Protocol", ""),
            "REMOTE_USER": user.login if user else "",
            "REMOTE_ADDR": "127.0.0.1",
        }
    )
    if body is not None:
        environment["CONTENT_LENGTH"] = str(body.seek(0, 2))
        body.seek(0)
    process = await asyncio.create_subprocess_exec(
        "git",
        "http-backend",
        stdin=body if body is not None else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            status, headers = await _read_head(process.stdout)
            if hold:
                answer = await process.stdout.read()
                await process.wait()
                return web.Response(status=status, headers=headers, body=answer)
            response = web.StreamResponse(status=status, headers=headers)
            await response.prepare(request)
            while chunk := await process.stdout.read(CHUNK_BYTES):
                await response.write(chunk)
            await process.wait()
            await response.write_eof()
            return response
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()


async def _read_head(stream: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    """Read the CGI headers; ``Status`` among them is the status."""
    status, headers, size = 200, {}, 0
    while (line := await stream.readline()).strip():
        size += len(line)
        if size > HEADER_BYTES:
            return 502, {}
        name, _, value = line.decode(errors="replace").partition(":")
        if name.lower() == "status":
            status = int(value.split()[0])
        else:
            headers[name] = value.strip()
    return status, headers
