"""Rules at the same pull requests at the same time, tasks that die at every place, edits while they run: one effect each.

Whole passes over real HTTP; the acts run in threads of their own, each with its event loop. The pool ``agents_rules`` has
one slot: what it protects is shown by leaving it out.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest
from pr_rule_pass_world import KEY, PEOPLE, SHOP, Killed, PassWorld, Run

from airflow_provider_agents.domain.pr_rule_ledger import LEDGER_VARIABLE, RuleLedger
from airflow_provider_agents.hooks.github_client import GitHubClient
from demo.github.server import StandInGitHub
from demo.model.script import Script
from demo.model.server import StandInModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

LABEL = "needs-human-approval"
ALL = ["merge", "close", "escalate", "comment", "label", "request_review", "update_branch"]
RULE: dict[str, Any] = {"actions": ALL, "labels": ["stale"], "reviewers": ["bob"]}
ANSWERS: dict[str, dict[str, Any]] = {
    "merge": {},
    "close": {},
    "escalate": {},
    "comment": {"comment": "Please rebase."},
    "label": {"labels": ["stale"]},
    "request_review": {"reviewers": ["bob"]},
}


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PassWorld]:
    script = Script.of({"scenes": [{"name": "x", "when": {"matches": "."}, "turns": [{"text": "x"}]}]})
    async with (
        StandInGitHub(None, mergeability_delay=0) as github,
        StandInModel(script, api_key=KEY) as model,
    ):
        await github.seed_synthetic(SHOP, {"a.py": "1\n"}, permissions=PEOPLE)
        made = PassWorld(tmp_path, monkeypatch, github, model)
        made.write(**RULE)
        made.says()
        yield made


def says(world: PassWorld, action: str) -> None:
    """Have the model want an action of all pull requests."""
    world.says(action=action, reason="It is due.", **ANSWERS[action])


async def decided(world: PassWorld, *rules: str) -> list[Run]:
    """Return runs that have looked and asked, and are about to act."""
    runs = [Run(world, rule) for rule in rules]
    for run in runs:
        await run.look()
        await run.decide()
    return runs


@asynccontextmanager
async def _one_slot(slot: asyncio.Lock) -> AsyncIterator[None]:
    async with slot:
        yield


async def act_together(*runs: Run, pool: bool) -> None:
    """Let runs act at the same time.

    :param pool: whether there is the pool of one slot.
    """
    slot = asyncio.Lock()

    async def act(run: Run) -> None:
        around: AbstractAsyncContextManager[None] = _one_slot(slot) if pool else nullcontext()
        async with around:
            await run.act()

    await asyncio.gather(*(act(run) for run in runs))
    assert [run.failures for run in runs] == [{} for _ in runs]


def effects(world: PassWorld, number: int) -> dict[str, Any]:
    """Return all that was done to a pull request, and how often."""
    pull = world.pull(number)
    return {
        "state": pull.state,
        "comments": len(pull.comments),
        "labels": sorted(label.name for label in pull.labels),
        "asked for a review": asked_for_review(world) > 0,
        **{kind: world.deeds.count(kind) for kind in ("pull_request.merged", "pull_request.closed")},
    }


def asked_for_review(world: PassWorld) -> int:
    """Return how often people were asked for a review; to ask somebody again changes nothing at GitHub."""
    counts: dict[str, int] = world.github.requests.describe()["counts"]
    return sum(count for route, count in counts.items() if route.endswith("/requested_reviewers"))


def ledger(world: PassWorld) -> RuleLedger:
    """Return what the ledger says."""
    return RuleLedger.from_text(world.variables[LEDGER_VARIABLE])


# Two rules


@pytest.mark.parametrize("pool", [True, False], ids=["pool", "no pool"])
async def test_two_rules_that_merge_at_the_same_time_merge_once(world: PassWorld, pool: bool) -> None:
    """GitHub itself sees to that: a merge names the head, and what is merged is not merged again."""
    world.write("other", **RULE)
    number = await world.open()
    await act_together(*await decided(world, "staging", "other"), pool=pool)
    assert effects(world, number) == {
        "state": "MERGED",
        "comments": 0,
        "labels": [],
        "asked for a review": False,
        "pull_request.merged": 1,
        "pull_request.closed": 0,
    }


@pytest.mark.parametrize("first", ["merge", "close"])
async def test_of_two_rules_that_disagree_the_first_one_decides(world: PassWorld, first: str) -> None:
    second = "close" if first == "merge" else "merge"
    world.write(first, instruction=f"Always {first}.", **RULE)
    world.write(second, instruction=f"Always {second}.", **RULE)
    number = await world.open()
    runs = []
    for action in (first, second):
        says(world, action)
        runs += await decided(world, action)
    await act_together(*runs, pool=True)
    done = effects(world, number)
    assert done["state"] == ("MERGED" if first == "merge" else "CLOSED")
    assert done["pull_request.merged"] + done["pull_request.closed"] == 1
    assert sorted(outcome for *_, outcome in world.outcomes()) == ["done", "superseded"]


@pytest.mark.parametrize("action", ["close", "escalate", "label", "request_review"])
async def test_two_rules_that_want_the_same_do_it_once(world: PassWorld, action: str) -> None:
    world.write("other", **RULE)
    says(world, action)
    number = await world.open()
    runs = await decided(world, "staging", "other")
    await act_together(*runs, pool=True)
    done = effects(world, number)
    assert done["comments"] == (action in ("close", "escalate"))
    assert done["labels"] == {"escalate": [LABEL], "label": ["stale"]}.get(action, [])
    assert sorted(outcome for *_, outcome in world.outcomes()) in (
        ["done", "guarded"],
        ["done", "superseded"],
    )
    assert sum(len(run.xcoms["act", "return_value"]) for run in runs) == (action == "escalate")


async def test_rules_with_labels_of_their_own_call_one_person(world: PassWorld) -> None:
    world.write("other", **RULE, escalation_label="ask-the-others")
    says(world, "escalate")
    number = await world.open()
    await act_together(*await decided(world, "staging", "other"), pool=True)
    for rule in ("other", "staging"):
        await world.run(rule)
    done = effects(world, number)
    assert (done["comments"], len(done["labels"])) == (1, 1)


async def test_a_rule_that_dies_at_a_merge_and_never_comes_back_keeps_no_other_one_from_it(
    world: PassWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its intent stands in the ledger: whether it merged, GitHub will show within the hour."""
    world.write("other", **RULE)
    number = await world.open()
    died, other = await decided(world, "staging", "other")
    with monkeypatch.context() as deadly:

        async def die(client: GitHubClient, *args: Any, **kwargs: Any) -> Any:
            raise Killed

        deadly.setattr(GitHubClient, "merge_pull_request", die)
        with pytest.raises(Killed):
            await died.act()
    (world._rules / "staging.yaml").unlink()
    await other.act()
    assert (world.pull(number).state, world.audit[-1].guard) == ("OPEN", "done_by_rule")
    due = world.state("other").look_at
    assert due is not None
    world.pass_time(minutes=50)
    await world.run("other")
    assert world.pull(number).state == "OPEN"
    world.pass_time(minutes=15)
    assert due <= world.now()
    await world.run("other")
    assert world.pull(number).state == "MERGED"


@pytest.mark.parametrize("pool", [True, False], ids=["pool", "no pool"])
async def test_a_limit_holds_over_rules_because_of_the_pool(world: PassWorld, pool: bool) -> None:
    """Two tasks that read the ledger at the same moment both see room for one merge: that is what one slot is for."""
    numbers: list[int] = []
    for name in ("one", "two"):
        selector = {"labels": {"include": [name]}}
        world.write(name, selector=selector, limits={"merges_per_hour": 1})
        numbers.append(await world.open(len(numbers) + 1, labels=[name]))
    runs = await decided(world, "one", "two")
    if not pool:
        both = threading.Barrier(2, timeout=10)
        met: set[int] = set()

        def meet(key: str) -> None:
            # Each has read the ledger, and neither has written it.
            if key == LEDGER_VARIABLE and threading.get_ident() not in met:
                met.add(threading.get_ident())
                both.wait()

        world.on_write = meet
    await act_together(*runs, pool=pool)
    merged = [number for number in numbers if world.pull(number).state == "MERGED"]
    assert len(merged) == (1 if pool else 2)
    if pool:
        assert {guard for *_, guard, _ in world.outcomes()} == {"", "merge_limit"}
    assert world.deeds.count("pull_request.merged") == len(merged)


# Two schedulers


@pytest.mark.parametrize("action", sorted(ANSWERS))
async def test_two_acts_of_the_same_decisions_are_one(world: PassWorld, action: str) -> None:
    """The task was started a second time, as by a scheduler that took it for dead."""
    says(world, action)
    number = await world.open()
    (run,) = await decided(world, "staging")
    await act_together(run, run, pool=True)
    done = effects(world, number)
    assert done["comments"] == (action in ("close", "escalate", "comment"))
    assert done["pull_request.merged"] == (action == "merge")
    assert done["pull_request.closed"] == (action == "close")
    assert {outcome for *_, outcome in world.outcomes()} == {"done"}
    (entry,) = ledger(world).entries.values()
    assert [(each.kind, each.state, each.calls) for each in entry.acts] == [(action, "done", 1)]
    assert (world.state().processed, sum(world.state().actions.values())) == (1, 1)


async def test_two_runs_of_a_rule_at_the_same_time_merge_once(world: PassWorld) -> None:
    number = await world.open()
    runs = await decided(world, "staging", "staging")
    await act_together(*runs, pool=True)
    assert (world.pull(number).state, world.deeds) == ("MERGED", ["pull_request.merged"])
    assert world.state().reserved == {}


# Tasks that die


CALLS = [
    ("merge", "merge_pull_request"),
    ("close", "comment_in_place"),
    ("close", "close_pull_request"),
    ("escalate", "ensure_label"),
    ("escalate", "comment_in_place"),
    ("escalate", "add_labels"),
    ("comment", "comment_in_place"),
    ("label", "add_labels"),
    ("request_review", "request_reviewers"),
]


@pytest.mark.parametrize("made", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize(("action", "call"), CALLS)
async def test_an_act_that_dies_at_a_call_is_one_act(
    world: PassWorld, monkeypatch: pytest.MonkeyPatch, action: str, call: str, made: bool
) -> None:
    """Its intent is in the ledger, what came of it is not: the next try finds out at GitHub."""
    says(world, action)
    number = await world.open()
    (run,) = await decided(world, "staging")
    original = getattr(GitHubClient, call)

    async def deadly(client: GitHubClient, *args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(GitHubClient, call, original)
        if made:
            await original(client, *args, **kwargs)
        raise Killed

    monkeypatch.setattr(GitHubClient, call, deadly)
    with pytest.raises(Killed):
        await run.act()
    assert [each.state for each in ledger(world).entry(f"{SHOP}#{number}").acts] == ["intended"]
    await _same_as_undisturbed(world, run, action, number)


@pytest.mark.parametrize("action", sorted(ANSWERS))
@pytest.mark.parametrize("write", [1, 2, 3], ids=["no intent", "no record", "no memory"])
async def test_an_act_that_dies_at_a_write_is_one_act(world: PassWorld, action: str, write: int) -> None:
    """Before the intent is in the ledger, before what came of it is, before the rule remembers it."""
    says(world, action)
    number = await world.open()
    (run,) = await decided(world, "staging")
    writes: list[str] = []

    def die(key: str) -> None:
        writes.append(key)
        if len(writes) == write:
            raise Killed

    world.on_write = die
    with pytest.raises(Killed):
        await run.act()
    world.on_write = lambda key: None
    assert writes == [LEDGER_VARIABLE, LEDGER_VARIABLE, "agents_rule__staging"][:write]
    await _same_as_undisturbed(world, run, action, number)


async def _same_as_undisturbed(world: PassWorld, run: Run, action: str, number: int) -> None:
    """Try again as Airflow does, look once more, and compare with what one undisturbed try does."""
    world.pass_time(seconds=20)
    asked = await run.act()
    assert run.failures == {}
    assert world.outcomes() == [(number, action, "", "done")]
    assert len(asked) == (action == "escalate")
    done = effects(world, number)
    assert done == {
        "state": {"merge": "MERGED", "close": "CLOSED"}.get(action, "OPEN"),
        "comments": int(action in ("close", "escalate", "comment")),
        "labels": {"escalate": [LABEL], "label": ["stale"]}.get(action, []),
        "asked for a review": action == "request_review",
        "pull_request.merged": int(action == "merge"),
        "pull_request.closed": int(action == "close"),
    }
    assert [(each.kind, each.state) for each in ledger(world).entry(f"{SHOP}#{number}").acts] == [
        (action, "done")
    ]
    before = list(world.deeds)
    again = await world.run()
    assert (again.failures, world.deeds, effects(world, number)) == ({}, before, done)
    assert world.state().processed >= 1


# Edits


async def test_an_edit_between_answer_and_act_voids_the_answer_of_that_rule_alone(world: PassWorld) -> None:
    for name in ("one", "two"):
        world.write(name, selector={"labels": {"include": [name]}})
    first, second = [await world.open(n, labels=[name]) for n, name in enumerate(("one", "two"), 1)]
    runs = await decided(world, "one", "two")
    world.write("one", selector={"labels": {"include": ["one"]}}, instruction="Merge nothing.")
    await act_together(*runs, pool=True)
    assert [world.pull(number).state for number in (first, second)] == ["OPEN", "MERGED"]


async def test_an_edit_while_it_acts_voids_what_it_has_not_come_to(
    world: PassWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have hundreds to carry out; each batch is by the rule as it is then."""
    says(world, "label")
    world.write(**RULE, limits={"pull_requests_per_hour": 100})
    numbers = [await world.open(number) for number in range(1, 26)]
    (run,) = await decided(world, "staging")
    add = GitHubClient.add_labels

    async def edited(client: GitHubClient, *args: Any, **kwargs: Any) -> Any:
        world.write(**RULE, limits={"pull_requests_per_hour": 100}, instruction="Label nothing.")
        return await add(client, *args, **kwargs)

    monkeypatch.setattr(GitHubClient, "add_labels", edited)
    await run.act()
    labelled = [number for number in numbers if world.pull(number).labels]
    assert 1 <= len(labelled) <= 10
    assert [outcome for *_, outcome in world.outcomes()].count("superseded") == 25 - len(labelled)


async def test_a_rule_that_is_deleted_before_it_acts_does_nothing(world: PassWorld) -> None:
    number = await world.open()
    (run,) = await decided(world, "staging")
    (world._rules / "staging.yaml").unlink()
    await run.act()
    assert (run.failures, world.deeds, world.pull(number).state) == ({}, [], "OPEN")
    assert [outcome for *_, outcome in world.outcomes()] == ["superseded"]
