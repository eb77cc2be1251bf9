"""The GitHub of one history: the stand-in in this process, its time, its faults, and who dies when."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar
from unittest.mock import patch

import structlog
import time_machine
from landing_history_plan import CI, GOOD, History

from airflow_provider_agents.hooks import github_reruns, github_transport
from airflow_provider_agents.hooks.github import AgentsGitHubHook, GitHubCredential
from airflow_provider_agents.hooks.github_transport import GitHubTransport
from airflow_provider_agents.hooks.github_urls import github_urls
from airflow_provider_agents.operators import landing_acts
from demo.github.clock import Clock
from demo.github.errors import ApiError
from demo.github.in_memory import URL, InMemoryGitHub
from demo.github.persistence import pack, reconcile, unpack
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from demo.github.state import PullRequest, Repository

T = TypeVar("T")

REPOSITORY = "acme/shop"
BRANCH = "ai/issue-3"
FILE = "shop.py"
START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC).timestamp()
"""A Monday."""
PERMISSIONS = {"agent": "write", "olga": "write", "igor": "write", "eve": "read"}


class WorkerDied(BaseException):
    """The process of the worker is gone."""


class Forge:
    """The stand-in and everything that touches it. To be entered as a context."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(_AtOnce(max_workers=1))
        self.clock = Clock(lambda: START)
        self.clock.stop()
        self.sends: list[Callable[[str, str, Any], None]] = []
        """Told of each exchange of the gate before it: method, path or name of the operation, body."""
        self.moved: Callable[[], None] = lambda: None
        """Told whenever something may have changed."""
        self.gate_runs = False
        self.dies_in: int | None = None
        """Calls of the gate until its worker dies."""
        self.ambushes: list[tuple[int, Callable[[], Awaitable[None]]]] = []
        self.worst_staleness = 0.0
        self._seen_heads: list[str] = []
        self._seen_groups: set[str] = set()
        self._stack = contextlib.ExitStack()
        self._server: StandInGitHub | None = None
        self._network: InMemoryGitHub | None = None

    def __enter__(self) -> Forge:
        self._traveller = self._stack.enter_context(time_machine.travel(START, tick=False))
        self._stack.enter_context(patch("aiohttp.client.TCPConnector", lambda **_: self.network.connector()))
        self._stack.enter_context(patch.object(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0)))
        self._stack.enter_context(patch.object(github_reruns, "MUTATION_PAUSE_SECONDS", 0.0))
        self._stack.enter_context(patch.object(landing_acts, "_BETWEEN_CHANGES_SECONDS", 0.0))
        credential = GitHubCredential(urls=github_urls(URL), token="token-of-agent")
        self._stack.enter_context(patch.object(AgentsGitHubHook, "get_conn", lambda hook: credential))
        self._stack.enter_context(patch.object(AgentsGitHubHook, "run", self._run_of_hook()))
        self._stack.enter_context(patch.object(GitHubTransport, "_exchange", self._watched_exchange()))
        self._stack.enter_context(_silence())
        asyncio.set_event_loop(self.loop)
        self.wait_for(self._begin())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.gate_runs = False
            self.wait_for(self.network.__aexit__())
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self._stack.close()
            asyncio.set_event_loop(None)
            self.loop.close()

    # State

    @property
    def server(self) -> StandInGitHub:
        assert self._server is not None
        return self._server

    @property
    def network(self) -> InMemoryGitHub:
        assert self._network is not None
        return self._network

    @property
    def repository(self) -> Repository:
        found = self.server.forge.store.repository(REPOSITORY)
        assert found is not None
        return found

    @property
    def pull(self) -> PullRequest:
        return self.repository.pulls[1]

    @property
    def now(self) -> datetime:
        return self.clock.now()

    # Doing

    def wait_for(self, work: Coroutine[Any, Any, T]) -> T:
        """Do ``work`` on the loop of this history."""
        return self.loop.run_until_complete(work)

    async def act(self, who: str, do: str, **values: Any) -> dict[str, Any] | None:
        """Let somebody do something; ``None`` where GitHub refuses."""
        try:
            return await self.server.act(who, do, REPOSITORY, **{"number": 1} | values)
        except ApiError:
            return None

    def advance(self, seconds: float) -> None:
        """Let time pass, and everything happen that is due."""
        self.clock.advance(seconds)
        self._traveller.move_to(self.clock.now())
        self.wait_for(self.settle())

    async def settle(self) -> None:
        """Start the checks of new heads, and let what follows from anything come to rest."""
        for _ in range(3):
            for _ in range(4):
                await asyncio.sleep(0)
            await self.server.checks_settled()
            if not await self._start_checks():
                break
        self.moved()

    def restart(self) -> None:
        """Kill the stand-in and start it anew with what it had saved."""
        self.wait_for(self._restart())

    def point(self) -> None:
        """A place where the worker of the gate may die."""
        if self.gate_runs and self.dies_in is not None:
            self.dies_in -= 1
            if self.dies_in <= 0:
                self.dies_in = None
                raise WorkerDied

    async def _begin(self) -> None:
        self._server = StandInGitHub(None, mergeability_delay=self.history.mergeability, clock=self.clock)
        for login in PERMISSIONS:
            self.server.add_token(login, f"token-of-{login}")
        await self.server.seed_synthetic(
            REPOSITORY,
            {FILE: "1\n2\n3\n"},
            permissions=PERMISSIONS,  # type: ignore[arg-type]
        )
        await self.act(
            "acme",
            "configure",
            rules={"main": self.history.rules},
            auto_merge_allowed=self.history.auto_merge_allowed,
        )
        await self.act("acme", "check_run", branch="main", name="tests", conclusion="success", workflow="CI")
        await self.act("agent", "push_commit", branch=BRANCH, files={FILE: "1\n2 mended\n3\n"}, start="main")
        await self.act("agent", "open_pull", head=BRANCH, title="Mend the shop", body="It was broken.")
        self._network = InMemoryGitHub(self.server)
        await self._network.__aenter__()
        await self.settle()

    async def _restart(self) -> None:
        old = self.server
        store, log = unpack(pack(old.forge.store)), list(old.mutations)
        await self.network.__aexit__()
        self._server = StandInGitHub(None, mergeability_delay=self.history.mergeability, clock=self.clock)
        self.server.forge.store = store
        self.server.forge.mutations.restore(log)
        self.server.forge.mergeability_delays.update(old.forge.mergeability_delays)
        self._network = InMemoryGitHub(self.server)
        await self._network.__aenter__()
        await reconcile(self.server.forge)
        await self.server.forge.checks.resume()
        await self.settle()

    # Checks

    async def _start_checks(self) -> bool:
        """Start the planned checks of a head, or of a group of the queue, that has none yet; say whether."""
        pull, started = self.pull, False
        if pull.head_ref_oid not in self._seen_heads and pull.state == "OPEN":
            plan = self.history.ci[len(self._seen_heads) :]
            self._seen_heads.append(pull.head_ref_oid)
            await self.start_checks(pull.head_ref_oid, plan[0] if plan else GOOD)
            started = True
        entry = pull.merge_queue_entry
        if entry is not None and entry.group_oid and entry.group_oid not in self._seen_groups:
            plan_of_queue = self.history.queue[len(self._seen_groups) :]
            self._seen_groups.add(entry.group_oid)
            ends = plan_of_queue[0] if plan_of_queue else "success"
            for name in self.repository.rules_of("main").required_checks:
                await self.start_checks(entry.group_oid, (CI(name, ends),))
            started = True
        return started

    async def start_checks(self, sha: str, checks: tuple[CI, ...]) -> None:
        """Report checks on a commit."""
        for check in checks:
            values: dict[str, Any] = {"sha": sha, "name": check.name, "log": check.log or None}
            values |= {"workflow": "CI"} if check.actions else {"app": "other-ci"}
            if check.ends is not None:
                values |= {"conclusion": check.ends}
                values |= {"completes_after": check.appears + check.takes} if check.takes else {}
            if check.appears:
                values["appears_after"] = check.appears
            values = {key: value for key, value in values.items() if value is not None}
            await self.act("acme", "check_run", **values)
            self.repository.scripts.pop(check.name, None)
            await self.act(
                "acme", "script_check", name=check.name, conclusion=check.again, seconds=check.takes
            )

    # What the gate sees of the network

    def _run_of_hook(self) -> Any:
        forge = self

        def run(hook: AgentsGitHubHook, work: Callable[[Any], Awaitable[T]]) -> T:
            async def session() -> T:
                async with hook.opened(hook.get_conn()) as client:
                    return await work(client)

            forge.point()
            return forge.wait_for(session())

        return run

    def _watched_exchange(self) -> Any:
        send = GitHubTransport._exchange
        forge = self

        async def exchange(
            transport: GitHubTransport, method: str, url: Any, operation: Any, body: Any = None, **more: Any
        ) -> Any:
            if not forge.gate_runs:
                return await send(transport, method, url, operation, body, **more)
            for ambush in list(forge.ambushes):
                forge.ambushes.remove(ambush)
                left, deed = ambush
                if left <= 1:
                    await deed()
                else:
                    forge.ambushes.append((left - 1, deed))
            forge.point()
            for told in forge.sends:
                told(method, url.path, body)
            answer = await send(transport, method, url, operation, body, **more)
            forge.point()
            return answer

        return exchange


class _AtOnce(ThreadPoolExecutor):
    """Does at once what others leave to a thread, e.g. aiohttp the search for a proxy."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        done: Future[T] = Future()
        try:
            done.set_result(fn(*args, **kwargs))
        except Exception as error:
            done.set_exception(error)
        return done


def json_copy(value: T) -> T:
    """Return what comes out of Airflow's database when ``value`` was put in."""
    copied: T = json.loads(json.dumps(value))
    return copied


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Log nothing: it would take half of the time."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
        cache_logger_on_first_use=False,
    )
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)
        structlog.configure(**before)
