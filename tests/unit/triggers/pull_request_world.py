"""A GitHub that changes by the clock of the event loop, and the waits that look at it."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.landing_policy import LandingPolicy
from airflow_provider_agents.domain.pull_request import Check, PullRequestPulse, PullRequestSnapshot
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_models import RateLimit
from airflow_provider_agents.triggers import pull_request as module
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    import pytest

    from airflow_provider_agents.exceptions import ForgeError


START = datetime(2026, 1, 1, tzinfo=UTC)
HEAD = "a" * 40
SHOP = "acme/shop"

Key = tuple[str, int]
State = dict[str, Any] | Exception


def time() -> float:
    return asyncio.get_running_loop().time()


def now() -> datetime:
    return START + timedelta(seconds=time())


def check(name: str = "tests", state: str = "passed") -> Check:
    return Check(name=name, state=state, kind="check_run")  # type: ignore[arg-type]


RUNNING: dict[str, Any] = {"checks": (check(state="pending"),)}
FAILED: dict[str, Any] = {"checks": (check(state="failed"),)}
GREEN: dict[str, Any] = {}
MERGED: dict[str, Any] = {"state": "MERGED"}


def node_id(key: Key) -> str:
    return f"PR_{key[0]}_{key[1]}"


def snapshot(key: Key, **values: Any) -> PullRequestSnapshot:
    facts: dict[str, Any] = {
        "repository": key[0],
        "number": key[1],
        "node_id": node_id(key),
        "url": f"https://github.com/{key[0]}/pull/{key[1]}",
        "title": "t",
        "state": "OPEN",
        "head_sha": HEAD,
        "head_branch": f"agents/{key[1]}",
        "base_branch": "main",
        "read_at": now(),
        "mergeable": "MERGEABLE",
        "merge_state": "CLEAN",
        "checks": (check(),),
    }
    return PullRequestSnapshot(**facts | values)


def rollup(snapshot: PullRequestSnapshot) -> str:
    """Return what GitHub's rollup says: one failure outweighs what runs."""
    if snapshot.checks_in("failed"):
        return "FAILURE"
    if snapshot.checks_in("pending"):
        return "PENDING"
    return "SUCCESS" if snapshot.checks else ""


def pulse(snapshot: PullRequestSnapshot, updated_at: str) -> PullRequestPulse:
    return PullRequestPulse(
        node_id=snapshot.node_id,
        repository=snapshot.repository,
        number=snapshot.number,
        state=snapshot.state,
        head_sha=snapshot.head_sha,
        checks_state=rollup(snapshot),
        mergeable=snapshot.mergeable,
        merge_state=snapshot.merge_state,
        review_decision=snapshot.review_decision or "",
        draft=snapshot.draft,
        queued=snapshot.queue_entry is not None,
        updated_at=updated_at,
    )


@dataclass
class Forge:
    """Stands in for GitHub.

    A pull request is what the last entry of its history says whose time has come; an exception there is
    its own failure. An outage is the failure of every call in its time; ``hang`` makes calls last for ever.
    """

    histories: dict[Key, list[tuple[float, State]]] = field(default_factory=dict)
    unseen: dict[Key, list[tuple[float, State]]] = field(default_factory=dict)
    """Like ``histories``, for what no pulse shows."""
    outages: list[tuple[float, float, Exception]] = field(default_factory=list)
    hangs: list[tuple[float, float]] = field(default_factory=list)
    rate_limit: RateLimit | None = None
    app: bool = False
    out_of_reach: set[str] = field(default_factory=set)
    """Repositories that a token cannot be made for."""
    poisons: dict[Key, Exception] = field(default_factory=dict)
    """Pull requests that make a whole call of full readings fail."""
    connection: Exception | None = None
    pulse_calls: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    snapshot_calls: list[tuple[float, tuple[Key, ...]]] = field(default_factory=list)
    sessions: list[tuple[str, ...]] = field(default_factory=list)
    open: int = 0

    def has(self, *states: tuple[float, State], number: int = 7, repository: str = SHOP) -> None:
        """Set the history of a pull request."""
        self.histories[repository, number] = list(states)

    def state(self, key: Key) -> tuple[PullRequestSnapshot | Exception, str]:
        entries = self.histories.get(key, [(0, GREEN)])
        index, state = max((i, s) for i, (at, s) in enumerate(entries) if at <= time() or not i)
        if isinstance(state, Exception):
            return state, ""
        hidden = {
            k: v
            for at, s in self.unseen.get(key, [])
            if at <= time()
            for k, v in s.items()  # type: ignore[union-attr]
        }
        return snapshot(key, **state | hidden), str(index)

    async def _serve(self) -> None:
        for start, end in self.hangs:
            if start <= time() < end:
                await asyncio.sleep(1_000_000)
        for start, end, error in self.outages:
            if start <= time() < end:
                raise error

    async def pulses(self, node_ids: Sequence[str]) -> Mapping[str, Any]:
        self.pulse_calls.append((time(), tuple(node_ids)))
        await self._serve()
        found: dict[str, Any] = {}
        for each in node_ids:
            _, repository, number = each.split("_")
            seen, updated_at = self.state((repository, int(number)))
            found[each] = seen if isinstance(seen, Exception) else pulse(seen, updated_at)
        return found

    async def snapshots(self, refs: Sequence[Key]) -> Mapping[Key, Any]:
        self.snapshot_calls.append((time(), tuple(refs)))
        await self._serve()
        for ref in refs:
            if ref in self.poisons:
                raise self.poisons[ref]
        return {ref: self.state(ref)[0] for ref in refs}

    def read_at(self, number: int = 7, repository: str = SHOP) -> list[float]:
        """Return when a pull request was read in full."""
        return [at for at, refs in self.snapshot_calls if (repository, number) in refs]

    def pulsed_at(self, number: int = 7, repository: str = SHOP) -> list[float]:
        return [at for at, ids in self.pulse_calls if node_id((repository, number)) in ids]

    @property
    def requests(self) -> int:
        return len(self.pulse_calls) + len(self.snapshot_calls)

    @property
    def points(self) -> int:
        return len(self.pulse_calls) + len(self.snapshot_calls)

    def has_left(self, remaining: int, reset_in: float = 3_600.0) -> None:
        """Let so much of the hourly 5,000 points be left; what is asked from now on is taken from it."""
        self.rate_limit = RateLimit(
            limit=5_000,
            remaining=remaining + self.points,
            used=0,
            reset_at=START + timedelta(seconds=time() + reset_in),
        )

    def limit_now(self) -> RateLimit | None:
        limit = self.rate_limit
        if limit is None:
            return None
        remaining = limit.remaining - self.points
        return dataclasses.replace(limit, remaining=max(0, remaining), used=limit.limit - remaining)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Put it in place of GitHub and of the connection."""
        forge = self

        async def aget_conn(hook: AgentsGitHubHook) -> Any:
            if forge.connection is not None:
                raise forge.connection
            return SimpleNamespace(app="app" if forge.app else None)

        @asynccontextmanager
        async def client(hook: AgentsGitHubHook) -> AsyncIterator[Any]:
            await aget_conn(hook)
            repositories = tuple(hook.repositories or ())
            forge.sessions.append(repositories)
            forge.open += 1
            try:
                yield _Session(forge, repositories)
            finally:
                forge.open -= 1

        monkeypatch.setattr(AgentsGitHubHook, "aget_conn", aget_conn)
        monkeypatch.setattr(AgentsGitHubHook, "client", client)
        monkeypatch.setattr(module, "_now", now)
        # Loading it takes a thread, which a faked clock does not wait for.
        monkeypatch.setattr(module, "_CLIENT_MODULES", frozenset())


class _Session:
    def __init__(self, forge: Forge, repositories: tuple[str, ...]) -> None:
        self._forge = forge
        self._repositories = repositories

    @property
    def rate_limit(self) -> RateLimit | None:
        return self._forge.limit_now()

    def _token(self) -> None:
        from airflow_provider_agents.exceptions import ForgeAccessError

        if found := self._forge.out_of_reach.intersection(self._repositories):
            raise ForgeAccessError(f"the App is not installed on {', '.join(sorted(found))}")

    async def pulses(self, node_ids: Sequence[str]) -> Mapping[str, PullRequestPulse | ForgeError]:
        self._token()
        return await self._forge.pulses(node_ids)

    async def snapshots(self, refs: Sequence[Key]) -> Mapping[Key, PullRequestSnapshot | ForgeError]:
        self._token()
        return await self._forge.snapshots(refs)


def trigger(number: int = 7, **values: Any) -> PullRequestTrigger:
    arguments: dict[str, Any] = {"repository": SHOP, "number": number, "poll_interval": 30.0}
    if "until" not in values:
        arguments["policy"] = LandingPolicy(settle_seconds=0).to_dict()
    arguments |= values
    arguments.setdefault("node_id", node_id((arguments["repository"], number)))
    return PullRequestTrigger(**arguments)


async def alone(trigger: PullRequestTrigger) -> tuple[float, dict[str, Any]]:
    """Run a trigger as one of its own; return its one event with its time."""
    events = [(time(), event.payload) async for event in trigger.run()]
    assert len(events) == 1
    return events[0]


class Triggerer:
    """Airflow's own manager of shared streams, with triggers in it."""

    def __init__(self, **options: Any) -> None:
        from airflow.triggers.shared_stream import SharedStreamManager

        self.manager = SharedStreamManager(**options)
        self._ids = 0

    def start(self, trigger: PullRequestTrigger) -> asyncio.Task[tuple[float, dict[str, Any]]]:
        self._ids += 1
        return asyncio.create_task(self._run(self._ids, trigger))

    async def _run(self, trigger_id: int, trigger: PullRequestTrigger) -> tuple[float, dict[str, Any]]:
        key = trigger.shared_stream_key()
        stream = self.manager.subscribe(trigger_id=trigger_id, trigger=trigger, key=key)
        try:
            events = [(time(), event.payload) async for event in trigger.filter_shared_stream(stream)]
        finally:
            await self.manager.unsubscribe(trigger_id, key)
        assert len(events) == 1
        return events[0]
