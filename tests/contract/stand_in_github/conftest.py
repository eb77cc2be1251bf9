from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

REPOSITORY = "acme/calc"
TOKEN = "token-of-agent"
READER = "token-of-reader"
STRANGER = "token-of-stranger"
OWNER = "token-of-acme"

CALC = "def add(a, b):\n    return a - b\n\n\ndef double(a):\n    return a * 2\n"
FIXED = CALC.replace("a - b", "a + b")


class Answer:
    """Status, body and headers of one HTTP answer."""

    def __init__(self, status: int, text: str, body: Any, headers: Any) -> None:
        self.status, self.text, self.body, self.headers = status, text, body, headers


class Client:
    """A user of the stand-in over real HTTP."""

    def __init__(self, server: StandInGitHub, session: aiohttp.ClientSession, token: str | None) -> None:
        self.server = server
        self._session = session
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **kwargs: Any
    ) -> Answer:
        url = path if path.startswith("http") else self.server.url + path
        sent = {**self._headers, **(headers or {})}
        async with self._session.request(
            method, url, headers=sent, timeout=aiohttp.ClientTimeout(total=20), **kwargs
        ) as response:
            text = await response.text()
            body = await response.json() if response.content_type == "application/json" else None
            return Answer(response.status, text, body, response.headers)

    async def repo(self, method: str, path: str = "", json: Any = None, **kwargs: Any) -> Answer:
        return await self.call(method, f"/api/v3/repos/{REPOSITORY}{path}", json=json, **kwargs)

    async def graphql(self, query: str, **variables: Any) -> Any:
        body = {"query": query, "variables": variables}
        return (await self.call("POST", "/api/graphql", json=body)).body


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files of a repository without checks."""
    path = tmp_path / "seed"
    path.mkdir()
    (path / "calc.py").write_text(CALC)
    (path / "README.md").write_text("# Calc\n")
    return path


@pytest.fixture
def workflow(folder: Path) -> Callable[..., None]:
    """Give the repository a workflow of one job, whose steps run the scripts."""

    def write(*scripts: str, on: str = "push", job: str = "test") -> None:
        steps = "".join(f"      - run: {script!r}\n" for script in scripts)
        text = f"name: CI\non: {on}\njobs:\n  {job}:\n    steps:\n      - uses: actions/checkout@v4\n{steps}"
        path = folder / ".github" / "workflows" / "ci.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[StandInGitHub]:
    stand_in = StandInGitHub(tmp_path / "data", mergeability_delay=0, check_timeout=10)
    for login, token in (("agent", TOKEN), ("reader", READER), ("stranger", STRANGER), ("acme", OWNER)):
        stand_in.add_token(login, token)
    async with stand_in:
        yield stand_in


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async def once(request: Any, handler: Any) -> Any:
        try:
            return await handler(request)
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
            # On these two aiohttp itself sends a GET or PUT a second time.
            raise aiohttp.ClientConnectionError(str(error)) from None

    async with aiohttp.ClientSession(middlewares=(once,)) as made:
        yield made


@pytest.fixture
def client_of(server: StandInGitHub, session: aiohttp.ClientSession) -> Callable[[str | None], Client]:
    return lambda token: Client(server, session, token)


@pytest.fixture
def agent(client_of: Callable[[str | None], Client]) -> Client:
    """A user who may write."""
    return client_of(TOKEN)


@pytest.fixture
async def seeded(server: StandInGitHub, folder: Path) -> StandInGitHub:
    """A private repository with one issue, and another person who may write, alice."""
    permissions = {"agent": "write", "alice": "write", "reader": "read"}
    await server.seed_repository(REPOSITORY, folder, permissions=permissions)  # type: ignore[arg-type]
    server.create_issue(REPOSITORY, "add() subtracts", "It should add.", labels=["bug"])
    return server


@pytest.fixture
async def pull(seeded: StandInGitHub) -> int:
    """Number of an open pull request that fixes the issue, of the branch agents/1."""
    await seeded.act(
        "agent", "push_commit", REPOSITORY, branch="agents/1", files={"calc.py": FIXED}, message="Add"
    )
    made = await seeded.act(
        "agent", "open_pull", REPOSITORY, head="agents/1", title="Fix add()", body="Closes #1"
    )
    return int(made["number"])


@pytest.fixture
def head(seeded: StandInGitHub) -> Callable[[int], str]:
    """Return the head SHA of a pull request."""
    return lambda number: seeded.forge.store.repositories[REPOSITORY].pulls[number].head_ref_oid


async def run_git(*arguments: str, cwd: Path | None = None) -> tuple[int, str]:
    """Run the real git program as a user would, without this machine's configuration."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": "/nonexistent",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_AUTHOR_NAME": "Agent",
        "GIT_AUTHOR_EMAIL": "agent@example.com",
        "GIT_COMMITTER_NAME": "Agent",
        "GIT_COMMITTER_EMAIL": "agent@example.com",
    }
    process = await asyncio.create_subprocess_exec(
        "git",
        *arguments,
        cwd=cwd,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(20):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.fixture
def git() -> Any:
    return run_git


@pytest.fixture
def remote(server: StandInGitHub) -> Callable[..., str]:
    """Return a clone address with a token in it."""

    def address(token: str | None = TOKEN, name: str = REPOSITORY) -> str:
        who = f"x-access-token:{token}@" if token else ""
        return server.url.replace("http://", f"http://{who}") + f"/{name}.git"

    return address
