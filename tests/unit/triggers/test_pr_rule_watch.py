"""The watcher of a rule, in faked time."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from airflow.dag_processing.collection import AssetModelOperation
from airflow.models.trigger import Trigger
from airflow.sdk import DAG, AssetWatcher
from airflow.serialization.decoders import smart_decode_trigger_kwargs
from airflow.serialization.encoders import encode_trigger
from airflow.serialization.serialized_objects import DagSerialization, LazyDeserializedDAG
from airflow.triggers.base import BaseEventTrigger
from pr_rule_watch_world import BEGIN, DOCS, SHOP, FakeStore, World, entry, now, trigger_of

from airflow_provider_agents.domain.pr_rule import LabelSelector, PullRequestRule, Selector
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github_models import RateLimit
from airflow_provider_agents.triggers import pr_rule_memory
from airflow_provider_agents.triggers.pr_rule_watch import PullRequestRuleTrigger, rule_asset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = [pytest.mark.asyncio, pytest.mark.looptime(start=0, end=10_000_000)]

ONE = f"{SHOP}#1"


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    made = World(monkeypatch)
    made.github.put(entry(1))
    yield made
    await made.stop()


async def started(world: World, **values: Any) -> FakeStore:
    """Let a rule watch for a minute; return its store."""
    store = FakeStore()
    world.rule(store=store, **values)
    await world.until(60)
    return store


# What is told


async def test_the_first_look_tells_what_fits_after_a_quiet_start(world: World) -> None:
    world.github.put(entry(2, draft=True))
    world.rule()
    ((at, rule, keys, why),) = await world.until(3_600)
    assert (at, rule, sorted(keys), why) == (5.0, "staging", [ONE, f"{SHOP}#2"], "new rule")


async def test_a_first_look_at_nothing_that_fits_tells_nothing(world: World) -> None:
    world.rule(selector={"labels": {"include": ["staging"]}})
    assert await world.until(600) == []
    world.github.change(labels=("Staging",))
    ((_, _, keys, why),) = await world.until(1_200)
    assert (keys, why) == ([ONE], "new rule")


@pytest.mark.parametrize(
    "change",
    [
        {"head_sha": "b" * 40},
        {"title": "Mend that"},
        {"labels": ("staging",)},
        {"draft": True},
        {"base_branch": "release"},
        {"review_decision": "APPROVED"},
        {"checks_state": "FAILURE"},
        {"mergeable": "CONFLICTING", "merge_state": "DIRTY"},
        {"merge_state": "BLOCKED"},
        {"fork": True},
        {"updated_at": BEGIN + timedelta(seconds=1)},
    ],
)
async def test_what_the_rule_can_see_is_told_once_when_it_changes(
    world: World, change: dict[str, Any]
) -> None:
    world.github.put(entry(2))
    await started(world)
    world.github.change(**change)
    ((at, _, keys, why),) = await world.until(3_600)
    assert (keys, why) == ([ONE], "changed")
    assert 60 <= at <= 60 + 30 + 3


async def test_what_does_not_fit_changes_unheard(world: World) -> None:
    await started(world, selector={"authors": ["bob"]})
    world.github.change(title="Mend that")
    assert await world.until(3_600) == []


async def test_mergeability_that_is_worked_out_anew_is_no_change(world: World) -> None:
    await started(world)
    world.github.change(mergeable="UNKNOWN", merge_state="UNKNOWN")
    assert await world.until(200) == []
    world.github.change(mergeable="MERGEABLE", merge_state="CLEAN")
    assert await world.until(400) == []
    world.github.change(mergeable="UNKNOWN", merge_state="UNKNOWN")
    await world.until(600)
    world.github.change(mergeable="CONFLICTING", merge_state="DIRTY")
    ((_, _, keys, _),) = await world.until(800)
    assert keys == [ONE]


async def test_after_a_push_it_is_told_again_when_mergeability_is_known(world: World) -> None:
    await started(world)
    world.github.change(head_sha="b" * 40, mergeable="UNKNOWN", merge_state="UNKNOWN")
    assert len(await world.until(200)) == 1
    # As before the push: but what the run in between saw was "unknown".
    world.github.change(mergeable="MERGEABLE", merge_state="CLEAN")
    assert len(await world.until(400)) == 1


async def test_a_closed_one_is_nothing_to_tell_and_a_reopened_one_is(world: World) -> None:
    world.github.put(entry(2))
    await started(world)
    world.github.drop(2)
    assert await world.until(200) == []
    world.github.put(entry(2))
    ((_, _, keys, _),) = await world.until(400)
    assert keys == [f"{SHOP}#2"]


async def test_no_more_than_fifty_are_named(world: World) -> None:
    world.github.put(*(entry(number) for number in range(1, 120)))
    world.rule()
    ((_, _, keys, _),) = await world.until(60)
    assert len(keys) == len(set(keys)) == 50


async def test_changes_join_and_events_keep_their_distance(world: World) -> None:
    world.rule(interval=10.0)
    await world.until(60)
    for n in range(60):
        world.github.change(title=f"No. {n}")
        world.marks.append((60.0 + n, {ONE: n}))
        await asyncio.sleep(1)
    moments = [at for at, _, _, _ in await world.until(200)]
    assert all(later - earlier >= 10 for earlier, later in pairwise(moments))
    assert 5 <= len(moments) <= 8


# look_at


async def test_the_moment_that_the_last_run_left_is_told_when_it_comes(world: World) -> None:
    store = await started(world)
    store.values["look_at"] = (BEGIN + timedelta(seconds=300)).isoformat()
    ((at, _, keys, why),) = await world.until(3_600)
    assert (keys, why) == ([], "look_at")
    assert 300 <= at <= 300 + 15 + 3
    store.values["look_at"] = (now() + timedelta(seconds=100)).isoformat()
    ((_, _, _, why),) = await world.until(7_200)
    assert why == "look_at"


@pytest.mark.parametrize("value", ["", "soon", 7, None, "2025-01-01T00:00:00", ["x"]])
async def test_a_moment_that_is_none_is_nothing(world: World, value: Any) -> None:
    store = await started(world)
    store.values["look_at"] = value
    assert await world.until(600) == []


async def test_a_moment_that_is_always_now_does_not_run_hot(world: World) -> None:
    store = await started(world, interval=60.0)
    for n in range(600):
        store.values["look_at"] = (now() - timedelta(microseconds=n)).isoformat()
        await asyncio.sleep(1)
    assert len(await world.until(661)) <= 11


async def test_the_moment_is_read_no_more_than_every_fifteen_seconds(world: World) -> None:
    store = await started(world)
    moments = [at for at, key in store.reads if key == "look_at"]
    assert len(moments) <= 5
    assert all(later - earlier >= 15 for earlier, later in pairwise(moments))


# What is kept


async def test_a_new_triggerer_tells_only_what_changed_meanwhile(world: World) -> None:
    world.github.put(entry(2))
    store = await started(world)
    await world.stop()
    world.github.change(2, head_sha="b" * 40)
    world.rule(store=store)
    ((_, _, keys, why),) = await world.until(600)
    assert (keys, why) == ([f"{SHOP}#2"], "changed")
    await world.stop()
    world.rule(store=store)
    assert await world.until(1_200) == []


async def test_an_event_that_airflow_may_not_have_taken_yet_is_told_again(world: World) -> None:
    store = await started(world)
    world.github.change(title="Mend that")
    moment = 61
    while not await world.until(moment):
        moment += 1
    await world.stop()
    world.rule(store=store)
    assert len(await world.until(200)) == 1
    await world.stop()
    world.rule(store=store)
    assert await world.until(300) == []


async def test_another_wording_is_told_once(world: World) -> None:
    store = await started(world)
    await world.stop()
    world.rule(store=store, version="v2")
    ((_, _, keys, why),) = await world.until(600)
    assert (keys, why) == ([ONE], "new rule")


@pytest.mark.parametrize(
    "stored", [None, "text", 7, {"layout": 99}, {"layout": 1}, {"layout": 1, "version": "v1", "parts": "x"}]
)
async def test_what_was_kept_and_is_broken_costs_one_event(world: World, stored: Any) -> None:
    store = FakeStore({"watch": stored})
    world.rule(store=store)
    assert len(await world.until(600)) == 1
    await world.stop()
    world.rule(store=store)
    assert await world.until(1_200) == []


async def test_a_store_that_fails_ends_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    store = FakeStore(fault=RuntimeError("no store"))
    world.rule(store=store)
    assert len(await world.until(600)) == 1
    world.github.change(title="Mend that")
    assert len(await world.until(1_200)) == 1
    assert caplog.text.count("could not be kept") == 2
    assert "no store" in caplog.text


async def test_thousands_of_pull_requests_are_kept_in_small_values(world: World) -> None:
    world.github.put(*(entry(number, "acme/" + "long-name-" * 9) for number in range(5_000)))
    names = ("acme/" + "long-name-" * 9,)
    store = FakeStore()
    world.rule(store=store, names=names)
    await world.until(60)
    sizes = [len(json.dumps(value)) for key, value in store.values.items() if key.startswith("watch_")]
    assert len(sizes) >= 3
    assert max(sizes) <= 50_000
    await world.stop()
    world.rule(store=store, names=names)
    assert await world.until(600) == []


async def test_what_is_beyond_all_bounds_is_told_again_and_not_stored() -> None:
    store = FakeStore()
    digests = {f"acme/r{n}": dict.fromkeys(range(2_000), "0123456789ab:0123") for n in range(100)}
    await pr_rule_memory.remember(store, "v1", digests)
    assert len(store.values) == pr_rule_memory.MOST_PARTS
    found = await pr_rule_memory.recall(store)
    assert found is not None
    assert found[0] == "v1"
    assert all(
        digests[name][number] == digest for name, of in found[1].items() for number, digest in of.items()
    )


# When it looks


async def test_every_interval_a_look_and_a_webhook_looks_at_once(world: World) -> None:
    await started(world)
    await world.until(100)
    moments = [at for at, _ in world.github.asked]
    assert all(29 <= later - earlier <= 31 for earlier, later in pairwise(moments[1:]))
    before = len(moments)
    world.marks = [(100, {})]
    await world.until(104)
    world.github.change(title="Mend that")
    world.marks.append((104, {"Acme/Shop#1": 1}))
    ((at, _, keys, _),) = await world.until(119)
    assert keys == [ONE]
    assert at <= 118
    assert len(world.github.asked) - before <= 2


async def test_a_repository_with_an_event_every_second_is_not_looked_at_every_second(world: World) -> None:
    await started(world, interval=600.0)
    before = len(world.github.asked)
    world.marks = [(60 + n, {SHOP: n}) for n in range(600)]
    await world.until(660)
    assert 50 <= len(world.github.asked) - before <= 61


async def test_rules_of_one_connection_share_their_looks(world: World) -> None:
    for n in range(20):
        world.rule(f"rule-{n}", interval=30.0 if n % 2 else 120.0)
    assert len(await world.until(60)) == 20
    alone = len(world.github.asked)
    assert alone <= 4
    assert await world.until(660) == []
    assert len(world.github.asked) - alone == 20
    assert world.github.sessions == 1


async def test_each_repository_is_looked_at_at_the_shortest_interval_of_its_rules(world: World) -> None:
    world.github.put(entry(1, DOCS))
    world.rule("fast", names=(SHOP,), interval=10.0)
    world.rule("slow", names=(SHOP, DOCS), interval=100.0)
    await world.until(1_000)
    asked = [name for _, names in world.github.asked for name in names]
    assert 98 <= asked.count(SHOP) <= 103
    assert 10 <= asked.count(DOCS) <= 12


async def test_a_rule_that_comes_later_looks_at_once_and_one_that_left_is_not_looked_for(
    world: World,
) -> None:
    world.github.put(entry(7, DOCS))
    await started(world)
    number = world.rule("late", names=(DOCS,), interval=30.0)
    ((at, rule, keys, _),) = await world.until(90)
    assert (at, rule, keys) == (65.0, "late", [f"{DOCS}#7"])
    await world.stop(number)
    world.github.asked.clear()
    await world.until(300)
    assert {names for _, names in world.github.asked} == {(SHOP,)}


async def test_patterns_follow_the_owners_repositories(world: World) -> None:
    world.github.owned = {"acme": (SHOP,)}
    world.rule(names=(), patterns=("acme/*",))
    assert len(await world.until(60)) == 1
    world.github.owned = {"acme": (SHOP, DOCS)}
    world.github.put(entry(3, DOCS))
    assert await world.until(590) == []
    ((_, _, keys, _),) = await world.until(1_200)
    assert keys == [f"{DOCS}#3"]
    assert len(world.github.organizations) <= 3


async def test_rules_for_one_owner_share_its_list(world: World) -> None:
    world.github.owned = {"acme": (SHOP, DOCS)}
    world.github.put(entry(3, DOCS))
    for n in range(10):
        world.rule(f"rule-{n}", names=(), patterns=(f"acme/{'*' * (n + 1)}",))
    assert len(await world.until(60)) == 10
    await world.until(1_260)
    assert len(world.github.organizations) == 3


# What goes wrong


async def test_one_broken_repository_stops_no_other_and_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.github.errors[DOCS] = ForgeAccessError("no access to docs")
    world.rule(names=(SHOP, DOCS))
    with caplog.at_level("INFO"):
        await world.until(60)
        world.github.change(title="Mend that")
        assert len(await world.until(120)) == 1
        await world.until(3_600)
        asked = [at for at, names in world.github.asked if DOCS in names]
        assert 10 <= len(asked) <= 25
        assert caplog.text.count("no access to docs") == 1
        del world.github.errors[DOCS]
        world.github.put(entry(5, DOCS))
        ((_, _, keys, _),) = await world.until(4_200)
        assert keys == [f"{DOCS}#5"]
        assert caplog.text.count(f"{DOCS} can be listed again") == 1


@pytest.mark.parametrize(
    "error",
    [
        ForgeUnavailableError("GitHub is out"),
        InvalidInputError(["GitHub is out"]),
        RuntimeError("GitHub is out"),
    ],
)
async def test_an_outage_ends_nothing_and_is_logged_once(
    world: World, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    await started(world)
    world.github.outage = error
    world.github.asked.clear()
    with caplog.at_level("WARNING"):
        assert await world.until(3_660) == []
    assert sum("cannot be listed" in record.message for record in caplog.records) == 1
    assert 10 <= len(world.github.asked) <= 25
    world.github.outage = None
    world.github.change(title="Mend that")
    assert len(await world.until(4_300)) == 1


async def test_a_repository_that_never_answers_keeps_no_other_waiting(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    names = (SHOP, DOCS, *(f"acme/r{n}" for n in range(6)))
    world.github.put(*(entry(1, name) for name in names))
    world.github.slow = frozenset({DOCS})
    world.rule(names=names)
    with caplog.at_level("WARNING"):
        told = await world.until(3_600)
    assert {key for _, _, keys, _ in told for key in keys} == {f"{name}#1" for name in names if name != DOCS}
    assert caplog.text.count(f"{DOCS} cannot be listed") == 1
    world.github.change(title="Mend that")
    assert len(await world.until(4_300)) == 1
    world.github.slow = frozenset()
    assert [keys for _, _, keys, _ in await world.until(5_000)] == [[f"{DOCS}#1"]]


async def test_a_rate_limit_is_waited_out(world: World) -> None:
    await started(world)
    world.github.outage = ForgeRateLimitedError("used up", retry_at=BEGIN + timedelta(seconds=2_000))
    world.github.asked.clear()
    await world.until(1_990)
    assert len(world.github.asked) == 1
    world.github.outage = None
    world.github.change(title="Mend that")
    assert len(await world.until(2_100)) == 1


async def test_a_low_rate_limit_slows_it_down(world: World) -> None:
    await started(world)
    reset = BEGIN + timedelta(seconds=3_600)
    world.github.rate_limit = RateLimit(limit=5_000, remaining=270, reset_at=reset, used=4_730)
    world.github.asked.clear()
    await world.until(3_500)
    # Twenty points above the reserve for an hour.
    assert 10 <= len(world.github.asked) <= 22


async def test_an_organisation_that_cannot_be_listed_keeps_what_was_known(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.github.owned = {"acme": (SHOP,)}
    world.rule(names=(), patterns=("acme/*",))
    await world.until(60)
    world.github.errors["acme"] = ForgeUnavailableError("no list")
    with caplog.at_level("WARNING"):
        await world.until(2_000)
    assert caplog.text.count("no list") == 1
    world.github.change(title="Mend that")
    assert len(await world.until(2_100)) == 1


async def test_a_name_that_is_none_stops_no_other_rule(world: World) -> None:
    world.rule("broken", names=("no-owner",))
    world.rule("fine")
    assert [rule for _, rule, _, _ in await world.until(60)] == ["fine"]


async def test_a_selector_of_another_release_ends_neither_the_triggerer_nor_other_rules(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    # Whatever but a TypeError comes from a trigger's constructor ends the triggerer.
    world.rule("from the future", selector={"milestone": "2.0"})
    world.rule("fine")
    assert [rule for _, rule, _, _ in await world.until(3_600)] == ["fine"]
    assert capsys.readouterr().out.count("from the future is not watched until") == 1


async def test_it_watches_alone_where_there_are_no_shared_streams(world: World) -> None:
    trigger = trigger_of()
    trigger.asset_state_store = FakeStore()  # type: ignore[assignment]
    async with asyncio.timeout(60), aclosing(trigger.run()) as events:  # type: ignore[type-var]
        event = await anext(events)
    assert event.payload == {"rule": "staging", "pull_requests": [ONE], "why": "new rule"}


# The asset


def rule_of(**values: Any) -> PullRequestRule:
    return PullRequestRule(**{"instruction": "Merge.", "repositories": (SHOP,), **values})


async def test_the_asset_of_a_rule_has_one_watcher() -> None:
    asset = rule_asset("staging", rule_of(interval=45, connection="mine"))
    assert (asset.name, asset.uri) == ("agents_rule__staging", "agents-rule://staging/")
    (watcher,) = asset.watchers
    assert isinstance(watcher, AssetWatcher)
    trigger = watcher.trigger
    assert isinstance(trigger, PullRequestRuleTrigger)
    assert isinstance(trigger, BaseEventTrigger)
    assert (trigger.github_conn_id, trigger.names, trigger.interval) == ("mine", [SHOP], 45)
    _, kwargs = trigger.serialize()
    assert PullRequestRuleTrigger(**json.loads(json.dumps(kwargs))).serialize() == trigger.serialize()


async def test_another_wording_is_another_trigger_and_the_same_is_the_same() -> None:
    def key(**values: Any) -> str:
        return json.dumps(
            encode_trigger(rule_asset("staging", rule_of(**values)).watchers[0].trigger), default=str
        )

    assert key() == key()
    assert len({key(), key(instruction="Wait."), key(interval=60), key(dry_run=True)}) == 4
    selector = Selector(labels=LabelSelector(include=("staging",)))
    assert key(selector=selector) != key()


async def test_airflow_takes_a_trigger_that_it_stored_for_the_one_in_the_dag() -> None:
    # It would make it anew each time that it parses the DAG, and every watch would begin anew with it.
    selector = Selector(
        labels=LabelSelector(include=("staging",)), title_pattern="^Bump ü", authors=("alice",)
    )
    asset = rule_asset("staging", rule_of(repositories=(SHOP, "acme/x-*"), selector=selector))
    data = json.loads(json.dumps(DagSerialization.to_dict(DAG("pr_rule__staging", schedule=[asset]))))
    (parsed,) = AssetModelOperation.collect(
        {"pr_rule__staging": LazyDeserializedDAG(data=data)}
    ).assets.values()
    found = encode_trigger(parsed.watchers[0].trigger)
    stored = Trigger(classpath=found["classpath"], kwargs=found["kwargs"])
    decode: Callable[[Any], Any] = smart_decode_trigger_kwargs
    assert BaseEventTrigger.hash(**found) == BaseEventTrigger.hash(stored.classpath, stored.kwargs)
    again = PullRequestRuleTrigger(**{key: decode(each) for key, each in stored.kwargs.items()})
    assert again.serialize() == asset.watchers[0].trigger.serialize()


async def test_a_rule_for_no_repository_names_the_options() -> None:
    with pytest.raises(InvalidInputError, match="rules_organization or rules_repositories"):
        rule_asset("staging", rule_of(repositories=()))


async def test_the_options_fill_in_what_a_rule_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def scope_of_trigger() -> tuple[list[str], list[str]]:
        trigger = rule_asset("a", rule_of(repositories=())).watchers[0].trigger
        assert isinstance(trigger, PullRequestRuleTrigger)
        return trigger.names, trigger.patterns

    monkeypatch.setenv("AIRFLOW__AGENTS__RULES_ORGANIZATION", "acme")
    assert scope_of_trigger() == ([], ["acme/*"])
    monkeypatch.setenv("AIRFLOW__AGENTS__RULES_REPOSITORIES", "web-*, globex/site shop")
    assert scope_of_trigger() == (["globex/site", "acme/shop"], ["acme/web-*"])
