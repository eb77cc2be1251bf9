"""Tells Airflow's scheduler that there is something to decide for a rule, so that runs exist only then."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import sys
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow.sdk.exceptions import AirflowRuntimeError
from airflow.triggers.base import BaseEventTrigger, TriggerEvent

from airflow_provider_agents.domain.pr_rule import Selector
from airflow_provider_agents.domain.pr_rule_scope import RuleScope
from airflow_provider_agents.domain.pr_rule_selector import differs, fits, visible
from airflow_provider_agents.exceptions import ForgeUnavailableError
from airflow_provider_agents.hooks.github_owners import open_owners
from airflow_provider_agents.hooks.github_scope import rule_scope
from airflow_provider_agents.triggers import pr_rule_memory as memory
from airflow_provider_agents.triggers.open_pull_requests_poll import OpenPullRequestsPoll, Watcher, Watchers
from airflow_provider_agents.triggers.wake_variable import wakened

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping, Sequence

    from airflow.sdk import Asset

    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pr_rule import PullRequestRule
    from airflow_provider_agents.triggers.open_pull_requests_poll import ListingRound, Reader

WATCH_ASSET_PREFIX = "agents_rule__"
"""Of the name of a rule's asset."""
QUIET_SECONDS = 5.0
"""No event in this time after the start: a triggerer that starts has first to take up what waits."""
SETTLE_SECONDS = 2.0
"""Time from a change to its event, in which further changes join it."""
GAP_SECONDS = 10.0
"""Shortest time between two events of one rule."""
PERSISTED_SECONDS = 5.0
"""Time in which Airflow takes an event into its database, a few times over; before it does, a restart loses it."""
LOOK_AT_SECONDS = 15.0
"""Time between two readings of the moment at which the rule wants to look."""
MOST_TOLD = 50
_CLIENT_MODULES = ("aiohttp", "airflow_provider_agents.hooks.github_client")

Why = Literal["changed", "look_at", "new rule"]


class PullRequestRuleTrigger(BaseEventTrigger):
    """Watches the open pull requests of a rule, for ever.

    It fires when what the rule can see of one that fits is not what it was at the last event, when the moment has
    come that the rule's last run left under ``look_at`` in the asset's state store, and once for another wording of
    the rule. An event says no more than that it is worth to look: ``{"rule": …, "pull_requests": ["owner/name#7", …],
    "why": "changed" | "look_at" | "new rule"}``, with at most :data:`MOST_TOLD` names.

    All rules of one connection in a triggerer share one poll, see
    :class:`~airflow_provider_agents.triggers.open_pull_requests_poll.OpenPullRequestsPoll`. What changed while no
    triggerer ran is found by what the trigger left in the asset's state store. Two triggerers may tell the same twice,
    which costs an idle run.

    :param rule: its name.
    :param version: of its wording.
    :param github_conn_id: the connection.
    :param names: ``owner/name`` of the repositories that are named.
    :param patterns: ``owner/pattern`` of further ones.
    :param interval: seconds between two looks at each repository.
    :param selector: a :class:`~airflow_provider_agents.domain.pr_rule.Selector` as a dictionary.
    """

    supports_triggerer_queue = True

    def __init__(
        self,
        *,
        rule: str,
        version: str,
        github_conn_id: str,
        names: Sequence[str] = (),
        patterns: Sequence[str] = (),
        interval: float = 30.0,
        selector: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self.rule = rule
        self.version = version
        self.github_conn_id = github_conn_id
        self.names = list(names)
        self.patterns = list(patterns)
        self.interval = interval
        self.selector = dict(selector or {})
        self._scope = RuleScope(connection=github_conn_id, names=tuple(names), patterns=tuple(patterns))

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, JSON-ready."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "rule": self.rule,
                "version": self.version,
                "github_conn_id": self.github_conn_id,
                "names": self.names,
                "patterns": self.patterns,
                "interval": self.interval,
                "selector": self.selector,
            },
        )

    def shared_stream_key(self) -> Hashable:
        """Return what all rules of one connection have in common."""
        return _stream_key(self.github_conn_id)

    @classmethod
    async def open_shared_stream(cls, kwargs: dict[str, Any]) -> AsyncIterator[ListingRound]:
        """Yield what each round of the poll read, for ever."""
        conn_id = kwargs["github_conn_id"]
        async with aclosing(_rounds(_watchers(_stream_key(conn_id)), conn_id)) as rounds:
            async for round_ in rounds:
                yield round_

    async def filter_shared_stream(
        self, shared_stream: AsyncIterator[ListingRound]
    ) -> AsyncIterator[TriggerEvent]:
        """Watch as one of many; it ends by being cancelled."""
        watchers = _watchers(_stream_key(self.github_conn_id))
        async with aclosing(self._events(watchers, shared_stream)) as events:
            async for event in events:
                yield event

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch alone, where Airflow offers no shared stream; it ends by being cancelled."""
        watchers = Watchers()
        async with (
            aclosing(_rounds(watchers, self.github_conn_id)) as rounds,
            aclosing(self._events(watchers, rounds)) as events,
        ):
            async for event in events:
                yield event

    async def _events(
        self, watchers: Watchers, rounds: AsyncIterator[ListingRound]
    ) -> AsyncGenerator[TriggerEvent, None]:
        loop = asyncio.get_running_loop()
        earliest = loop.time() + QUIET_SECONDS
        seen = _Seen(self.version, await self._valid_selector(), await memory.recall(self.asset_state_store))
        watcher = Watcher(scope=self._scope, interval=self.interval, first_look=loop.time())
        watchers.join(watcher)
        tasks = [asyncio.create_task(self._take(rounds, seen)), asyncio.create_task(self._look_at(seen))]
        try:
            while True:
                await _either(seen.news, tasks)
                seen.news.clear()
                if not seen.why():
                    continue
                await asyncio.sleep(max(SETTLE_SECONDS, earliest - loop.time()))
                if not (why := seen.why()):
                    continue
                keys = seen.told()
                earliest = loop.time() + (
                    max(GAP_SECONDS, self.interval) if why == "look_at" else GAP_SECONDS
                )
                self.log.info("Rule %s: %s, %d pull requests", self.rule, why, len(keys))
                payload = {"rule": self.rule, "pull_requests": keys[:MOST_TOLD], "why": why}
                yield TriggerEvent(payload)  # type: ignore[no-untyped-call]
                await asyncio.sleep(PERSISTED_SECONDS)
                await memory.remember(self.asset_state_store, self.version, seen.digests)
        finally:
            watchers.leave(watcher)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _valid_selector(self) -> Selector:
        """Return the selector; waits to be replaced where another release of this package wrote it.

        Not in the constructor: what that raises ends the triggerer, with all that runs in it. And not as an error: Airflow
        would start the trigger anew each second.
        """
        try:
            return Selector.model_validate(self.selector)
        except ValueError as error:
            self.log.error(
                "Rule %s is not watched until the DAG processor has read it anew with this release: %s",
                self.rule,
                error,
            )
        await asyncio.Event().wait()
        raise AssertionError("nobody ends the wait")

    async def _take(self, rounds: AsyncIterator[ListingRound], seen: _Seen) -> None:
        """Compare what each round brought; ends where the stream does, by its error."""
        async for round_ in rounds:
            known = round_.scopes.get(self._scope)
            if known is None:
                continue
            seen.forget_others(known)
            for repository in known & round_.listed.keys():
                seen.take(repository, round_.listed[repository])
                # Rules that share the poll compare by turns.
                await asyncio.sleep(0)

    async def _look_at(self, seen: _Seen) -> None:
        """Notice when the moment has come that the rule's last run left."""
        told = ""
        while True:
            left = await memory.look_at(self.asset_state_store)
            if left != told and _has_come(left):
                told = left
                seen.look_at_has_come()
            await asyncio.sleep(LOOK_AT_SECONDS)


class _Seen:
    """What a rule saw, and what of it was told.

    :param version: of the rule's wording.
    :param selector: of the rule.
    :param stored: version and digests of the last event, where there is one.
    """

    def __init__(self, version: str, selector: Selector, stored: tuple[str, memory.Digests] | None) -> None:
        self._selector = selector
        told, self.digests = stored or ("", {})
        self._new_rule = told != version
        self._entries: dict[str, tuple[OpenPullRequest, ...]] = {}
        self._latest: memory.Digests = {}
        self._keys: dict[tuple[str, int], str] = {}
        self._look_at = False
        self.news = asyncio.Event()
        """Set when there may be something to tell."""

    def take(self, repository: str, entries: tuple[OpenPullRequest, ...]) -> None:
        """Take a fresh listing of a repository."""
        if self._entries.get(repository) is entries:
            return
        self._entries[repository] = entries
        told, latest = self.digests.get(repository, {}), {}
        for entry in entries:
            if fits(entry, self._selector):
                latest[entry.number] = visible(entry)
                self._keys[repository, entry.number] = entry.key
        self._latest[repository] = latest
        # What is closed or fits no more is nothing to tell, and new where it comes back.
        self.digests[repository] = {number: told[number] for number in told.keys() & latest.keys()}
        for key in [key for key in self._keys if key[0] == repository and key[1] not in latest]:
            del self._keys[key]
        self.news.set()

    def forget_others(self, repositories: frozenset[str]) -> None:
        """Drop the repositories that the rule is not for any more."""
        for name in [name for name in self._entries if name not in repositories]:
            del self._entries[name], self._latest[name]
            self.digests.pop(name, None)

    def look_at_has_come(self) -> None:
        """Note that the rule wanted to look now."""
        self._look_at = True
        self.news.set()

    def why(self) -> Why | None:
        """Return what there is to tell now."""
        if self._new_rule and any(self._latest.values()):
            return "new rule"
        if self._changed():
            return "changed"
        return "look_at" if self._look_at else None

    def told(self) -> list[str]:
        """Return the pull requests that changed, and count them as told."""
        changed = self._changed()
        for repository, number in changed:
            self.digests.setdefault(repository, {})[number] = self._latest[repository][number]
        self._new_rule = self._look_at = False
        return list(dict.fromkeys(self._keys[place] for place in changed))

    def _changed(self) -> list[tuple[str, int]]:
        return [
            (repository, number)
            for repository, latest in self._latest.items()
            for number, digest in latest.items()
            if self._new_rule or differs(self.digests.get(repository, {}).get(number), digest)
        ]


def rule_asset(name: str, rule: PullRequestRule) -> Asset:
    """Return the asset that a rule's DAG is scheduled on, to run when there is something to decide.

    Its watcher follows the rule's wording: another one makes another trigger.

    :param name: of the rule; the asset is called ``agents_rule__<name>``.
    :raises InvalidInputError: the rule is for no repository; names the options that help.
    """
    from airflow.sdk import Asset, AssetWatcher

    scope = rule_scope(rule)
    trigger = PullRequestRuleTrigger(
        rule=name,
        version=rule.version,
        github_conn_id=scope.connection,
        names=scope.names,
        patterns=scope.patterns,
        interval=rule.interval,
        selector=rule.selector.model_dump(mode="json"),
    )
    return Asset(
        name=f"{WATCH_ASSET_PREFIX}{name}",
        uri=f"agents-rule://{name}/",
        watchers=[AssetWatcher(name="watch", trigger=trigger)],
    )


_lists: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[Hashable, Watchers]] = (
    WeakKeyDictionary()
)
"""Held by their polls and members: a poll that runs keeps its list between its last member and the next."""


def _watchers(key: Hashable) -> Watchers:
    """Return the list of the poll ``key`` in the running event loop, the same one while anybody holds it."""
    lists = _lists.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    found = lists.get(key)
    if found is None:
        found = lists[key] = Watchers()
    return found


def _stream_key(conn_id: str) -> Hashable:
    return "airflow_provider_agents.open_pull_requests", conn_id


async def _rounds(watchers: Watchers, conn_id: str) -> AsyncGenerator[ListingRound, None]:
    poll = OpenPullRequestsPoll(watchers, lambda: _connected(conn_id), _now)
    async with wakened(watchers), aclosing(poll.rounds()) as rounds:
        async for round_ in rounds:
            yield round_


@asynccontextmanager
async def _connected(conn_id: str) -> AsyncGenerator[Reader, None]:
    """Open a session with the connection as it is now.

    :raises InvalidInputError: the connection is missing or unusable.
    :raises ForgeUnavailableError: Airflow could not give it now.
    """
    if not sys.modules.keys() >= set(_CLIENT_MODULES):
        # Half a second the first time, which no other trigger of this process is to wait for.
        for name in _CLIENT_MODULES:
            await asyncio.to_thread(importlib.import_module, name)
    try:
        async with open_owners(conn_id) as client:
            yield client
    except AirflowRuntimeError as failure:
        raise ForgeUnavailableError(f"Airflow could not give the connection now: {failure}") from failure


async def _either(news: asyncio.Event, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for news; raise what a task ended with."""
    waiting = asyncio.create_task(news.wait())
    try:
        await asyncio.wait([waiting, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
                raise RuntimeError("the shared poll of open pull requests ended")
    finally:
        waiting.cancel()


def _has_come(text: str) -> bool:
    with contextlib.suppress(ValueError):
        moment = datetime.fromisoformat(text)
        return moment.tzinfo is not None and moment <= _now()
    return False


def _now() -> datetime:
    return datetime.now(UTC)
