"""Rules that watch a GitHub of this process, in faked time, through Airflow's own shared streams."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.triggers.shared_stream import SharedStreamManager

from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError
from airflow_provider_agents.triggers import pr_rule_watch, wake_variable
from airflow_provider_agents.triggers.pr_rule_watch import PullRequestRuleTrigger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    import pytest

    from airflow_provider_agents.hooks.github_models import RateLimit

SHOP, DOCS = "acme/shop", "acme/docs"
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def time() -> float:
    return asyncio.get_running_loop().time()


def now() -> datetime:
    return BEGIN + timedelta(seconds=time())


def entry(number: int = 1, repository: str = SHOP, **values: Any) -> OpenPullRequest:
    """Return an open pull request with what is given changed."""
    facts: dict[str, Any] = {
        "node_id": f"PR_{repository}_{number}",
        "repository": repository,
        "number": number,
        "url": f"https://github.com/{repository}/pull/{number}",
        "title": "Mend it",
        "author": "alice",
        "author_is_bot": False,
        "labels": (),
        "base_branch": "main",
        "head_branch": f"work-{number}",
        "head_sha": "a" * 40,
        "fork": False,
        "draft": False,
        "mergeable": "MERGEABLE",
        "merge_state": "CLEAN",
        "review_decision": "",
        "checks_state": "SUCCESS",
        "created_at": BEGIN,
        "updated_at": BEGIN,
    }
    return OpenPullRequest(**facts | values)


@dataclass
class FakeGitHub:
    """What the listing shows, and what was asked."""

    pulls: dict[str, tuple[OpenPullRequest, ...]] = field(default_factory=dict)
    owned: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: dict[str, ForgeError] = field(default_factory=dict)
    """By repository or organisation."""
    outage: Exception | None = None
    rate_limit: RateLimit | None = None
    asked: list[tuple[float, tuple[str, ...]]] = field(default_factory=list)
    organizations: list[float] = field(default_factory=list)
    slow: frozenset[str] = frozenset()
    """Repositories that no answer comes about."""
    sessions: int = 0

    def put(self, *entries: OpenPullRequest) -> None:
        """Let these be there, as they are given."""
        for one in entries:
            others = tuple(each for each in self.pulls.get(one.repository, ()) if each.number != one.number)
            self.pulls[one.repository] = (*others, one)

    def change(self, number: int = 1, repository: str = SHOP, **values: Any) -> None:
        """Change an entry."""
        (one,) = [each for each in self.pulls[repository] if each.number == number]
        self.put(replace(one, **values))

    def drop(self, number: int, repository: str = SHOP) -> None:
        """Close one."""
        self.pulls[repository] = tuple(each for each in self.pulls[repository] if each.number != number)

    async def organization_repositories(self, organization: str) -> tuple[str, ...]:
        self.organizations.append(time())
        if organization in self.errors:
            raise self.errors[organization]
        return self.owned.get(organization, ())

    async def open_pull_requests(self, repositories: Sequence[str], labels: Any = None) -> dict[str, Any]:
        self.asked.append((time(), tuple(repositories)))
        if self.rate_limit is not None:
            self.rate_limit = replace(self.rate_limit, remaining=self.rate_limit.remaining - 1)
        await asyncio.sleep(100_000 if self.slow & set(repositories) else 0.1)
        if self.outage is not None:
            raise self.outage
        missing = ForgeAccessError("there is no such repository")
        return {
            name: self.errors.get(name) or self.pulls.get(name.casefold(), missing) for name in repositories
        }


@dataclass
class FakeStore:
    """The state store of a rule's asset."""

    values: dict[str, Any] = field(default_factory=dict)
    fault: Exception | None = None
    reads: list[tuple[float, str]] = field(default_factory=list)

    async def aget(self, key: str, default: Any = None) -> Any:
        self.reads.append((time(), key))
        if self.fault is not None:
            raise self.fault
        return self.values.get(key, default)

    async def aset(self, key: str, value: Any) -> None:
        if self.fault is not None:
            raise self.fault
        text = json.dumps(value)
        assert len(text) <= 65_536
        self.values[key] = json.loads(text)


class World:
    """One triggerer: its shared streams, the rules in it, and what they told."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.github = FakeGitHub()
        self.events: list[tuple[float, str, list[str], str]] = []
        """When, rule, pull requests, why."""
        self.marks: list[tuple[float, dict[str, int]]] = []
        """What the wake Variable says from when on."""
        self._manager = SharedStreamManager()
        self._tasks: dict[int, asyncio.Task[None]] = {}

        @asynccontextmanager
        async def connected(conn_id: str) -> AsyncIterator[FakeGitHub]:
            self.github.sessions += 1
            yield self.github

        async def read_variable(name: str) -> str | None:
            value = next((marks for at, marks in reversed(self.marks) if at <= time()), None)
            return None if value is None else json.dumps(value)

        monkeypatch.setattr(pr_rule_watch, "_connected", connected)
        monkeypatch.setattr(pr_rule_watch, "_now", now)
        monkeypatch.setattr(wake_variable, "read_variable", read_variable)

    def rule(self, name: str = "staging", store: FakeStore | None = None, **values: Any) -> int:
        """Let a rule watch; return its number."""
        trigger = trigger_of(name, **values)
        trigger.asset_state_store = store or FakeStore()  # type: ignore[assignment]
        number = len(self._tasks)
        self._tasks[number] = asyncio.create_task(self._watch(number, trigger))
        return number

    async def stop(self, *numbers: int) -> None:
        """End rules, all without numbers, as a triggerer does."""
        tasks = [self._tasks[number] for number in numbers or self._tasks]
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in ended} <= {asyncio.CancelledError}, ended

    async def _watch(self, number: int, trigger: PullRequestRuleTrigger) -> None:
        key = trigger.shared_stream_key()
        stream = self._manager.subscribe(trigger_id=number, trigger=trigger, key=key)
        try:
            async for event in trigger.filter_shared_stream(stream):
                told = event.payload
                self.events.append((round(time(), 1), told["rule"], told["pull_requests"], told["why"]))
            raise AssertionError("a watcher never ends by itself")
        finally:
            await self._manager.unsubscribe(number, key)

    async def until(self, moment: float) -> list[tuple[float, str, list[str], str]]:
        """Let time pass until then; return and forget what was told meanwhile."""
        await asyncio.sleep(moment - time())
        told, self.events = self.events, []
        return told


def trigger_of(name: str = "staging", **values: Any) -> PullRequestRuleTrigger:
    """Return the watcher of a rule for one repository, with what is given changed."""
    facts: dict[str, Any] = {"version": "v1", "github_conn_id": "github", "names": (SHOP,), "interval": 30.0}
    return PullRequestRuleTrigger(rule=name, **facts | values)
