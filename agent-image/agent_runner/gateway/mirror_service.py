"""What the runner asks the gateway about the mirror: ``POST …/mirror`` and ``POST …/mirror/suspect``.

The runner is not trusted, and neither is the agent, who knows the address too: a request names branches and
pull requests of the step's own repository and their commits, nothing else, and a pod gets a bounded number of
answers that cost work.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

from aiohttp import web

from agent_runner.contract import SHA_PATTERN, branch_fault
from agent_runner.gateway.mirror import Mirror, MirrorUnavailableError, Ready
from agent_runner.gateway.own_url import own_root

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.contract import GatewayConfig

MAX_BODY_BYTES = 4_096
MAX_REFS = 4
MAX_FILLS = 20
"""Most different questions of one pod that are looked into."""
ANSWER_SECONDS = 5.0
"""After this an answer says that the mirror is still at work; the runner asks again."""

_PULL_REQUEST = re.compile(r"refs/pull/[1-9][0-9]{0,9}/head")
_BRANCHES = "refs/heads/"


class MirrorService:
    """Answers for the mirror of ``config.repository``.

    :param folder: the repository's folder on the cache claim; ``None``: there is none.
    :param home: folder of the gateway's own.
    """

    def __init__(self, config: GatewayConfig, folder: Path | None, home: Path) -> None:
        self._path = f"git/{config.repository}.git"
        self._mirror: Mirror | None = None
        if folder is not None:
            origin = f"{config.forge_url.rstrip('/')}/{config.repository}".lower()
            self._mirror = Mirror(folder, origin, home)
        self._asked: dict[tuple[tuple[str, str], ...], asyncio.Task[Ready]] = {}

    async def handle(self, request: web.Request, path: str) -> web.Response:
        """Answer a request.

        :param path: what comes below ``…/mirror``, without the slash.
        """
        if request.method != "POST" or path not in ("", "suspect") or request.query_string:
            return _refuse(404, "only POST …/mirror and …/mirror/suspect are served")
        if self._mirror is None:
            return _answer(state="unavailable", reason="the gateway has no folder for the mirror")
        body = await request.content.read(MAX_BODY_BYTES + 1)
        while len(body) <= MAX_BODY_BYTES and (more := await request.content.read(MAX_BODY_BYTES)):
            body += more
        refs = asked_refs(body)
        if isinstance(refs, str):
            return _refuse(400, refs)
        url = f"{own_root(request)}/{self._path}"
        if path == "suspect":
            return _answer(state="accepted" if self._mirror.suspect(refs, url) else "known")
        return await self._ready(self._mirror, refs, url)

    async def close(self) -> None:
        """End all work on the mirror."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)
        if self._mirror is not None:
            await self._mirror.close()

    async def _ready(self, mirror: Mirror, refs: dict[str, str], url: str) -> web.Response:
        key = tuple(sorted(refs.items()))
        task = self._asked.get(key)
        if task is None:
            if len(self._asked) >= MAX_FILLS:
                return _answer(state="unavailable", reason=f"the mirror was asked for {MAX_FILLS} times")
            task = self._asked[key] = asyncio.create_task(mirror.ready(refs, url))
        done, _ = await asyncio.wait([task], timeout=ANSWER_SECONDS)
        if not done:
            return _answer(state="waiting")
        try:
            ready = task.result()
        except MirrorUnavailableError as error:
            return _answer(state="unavailable", reason=str(error))
        return _answer(state="ready", generation=ready.generation, warning=ready.warning)


def asked_refs(body: bytes) -> dict[str, str] | str:
    """Return full name of a ref → commit as a request has them, or say what is wrong with it."""
    if len(body) > MAX_BODY_BYTES:
        return f"the request is longer than {MAX_BODY_BYTES} bytes"
    try:
        refs: Any = json.loads(body)["refs"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 'the request is not {"refs": {name: commit}}'
    if not isinstance(refs, dict) or not 0 < len(refs) <= MAX_REFS:
        return f"one to {MAX_REFS} refs may be named"
    for ref, commit in refs.items():
        named = _PULL_REQUEST.fullmatch(ref) or (
            ref.startswith(_BRANCHES) and branch_fault(ref.removeprefix(_BRANCHES)) is None
        )
        if not named or not isinstance(commit, str) or not SHA_PATTERN.fullmatch(commit):
            return "a ref is no branch and no pull request, or its commit is none"
    return refs


def _answer(**values: str) -> web.Response:
    return web.json_response(values)


def _refuse(status: int, reason: str) -> web.Response:
    return web.json_response({"state": "unavailable", "reason": reason}, status=status)
