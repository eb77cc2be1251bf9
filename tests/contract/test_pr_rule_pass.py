"""Whole passes of a rule over real HTTP: a stand-in GitHub, a stand-in model, and the tasks as Airflow runs them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from pr_rule_pass_world import KEY, PEOPLE, SHOP, Killed, PassWorld, Run

from airflow_provider_agents.exceptions import ForgeUnavailableError
from demo.github.server import StandInGitHub
from demo.model.script import Script
from demo.model.server import StandInModel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PassWorld]:
    script = Script.of({"scenes": [{"name": "x", "when": {"matches": "."}, "turns": [{"text": "x"}]}]})
    async with (
        StandInGitHub(None, mergeability_delay=0) as github,
        StandInModel(script, api_key=KEY) as model,
    ):
        await github.seed_synthetic(SHOP, {"a.py": "1\n"}, permissions=PEOPLE)
        made = PassWorld(tmp_path, monkeypatch, github, model)
        made.write()
        made.says()
        yield made


async def test_what_is_green_is_merged_once_and_then_nobody_is_asked_again(world: PassWorld) -> None:
    number = await world.open()
    run = await world.run()
    assert run.failures == {}
    assert world.outcomes() == [(number, "merge", "", "done")]
    assert world.pull(number).state == "MERGED"
    assert (world.asked, world.deeds) == (1, ["pull_request.merged"])
    again = await world.run()
    assert (again.failures, world.asked) == ({}, 1)
    (record,) = world.audit
    assert (record.tokens.input > 0, record.usd > 0, record.model != "") == (True, True, True)
    assert world.state().spent(record.decided_at.date().isoformat()) == pytest.approx(record.usd, abs=1e-5)


async def test_a_dry_run_decides_and_shows_and_does_nothing(world: PassWorld) -> None:
    world.write(dry_run=True)
    number = await world.open()
    for _ in range(3):
        assert (await world.run()).failures == {}
    assert world.outcomes() == [(number, "merge", "", "dry_run")]
    assert (world.deeds, world.asked) == ([], 1)
    assert "agents_rule_acts" not in world.variables


async def test_five_passes_over_one_that_is_escalated_write_one_comment(world: PassWorld) -> None:
    world.says(action="escalate", reason="A person has to look.")
    number = await world.open()
    asked = []
    for _ in range(5):
        run = await world.run()
        assert run.failures == {}
        asked += run.xcoms["act", "return_value"]
    assert len(asked) == 1
    assert len(world.pull(number).comments) == 1
    assert "needs-human-approval" in [label.name for label in world.pull(number).labels]
    assert world.asked == 1


@pytest.mark.parametrize("state", ["failure", "error"])
async def test_a_model_that_always_says_merge_merges_nothing_that_is_red(
    world: PassWorld, state: str
) -> None:
    number = await world.open()
    await world.check(number, state)
    for _ in range(3):
        await world.run()
    assert world.pull(number).state == "OPEN"
    assert [(guard != "", outcome) for _, _, guard, outcome in world.outcomes()] == [(True, "guarded")]
    assert world.asked == 1
    await world.check(number, "success")
    await world.run()
    assert world.pull(number).state == "MERGED"


async def test_while_checks_run_it_is_neither_asked_about_nor_merged_and_then_both_once(
    world: PassWorld,
) -> None:
    number = await world.open(green=False)
    for _ in range(3):
        await world.run()
        world.pass_time(minutes=1)
    assert (world.asked, world.audit) == (0, [])
    await world.check(number, "success")
    await world.run()
    assert (world.asked, world.pull(number).state) == (1, "MERGED")


async def test_what_settling_puts_off_is_merged_later_without_asking_again(world: PassWorld) -> None:
    world.write(guards={"settle_seconds": 60})
    number = await world.open()
    await world.run()
    assert world.pull(number).state == "OPEN"
    retry_at = world.state().look_at
    assert retry_at is not None
    assert world.assets.values["look_at"] == retry_at.isoformat()
    world.pass_time(minutes=2)
    await world.run()
    assert (world.pull(number).state, world.asked) == ("MERGED", 1)


async def test_a_push_after_the_answer_voids_it(world: PassWorld) -> None:
    world.write(guards={"settle_seconds": 600})
    number = await world.open()
    await world.run()
    await world.github.act("alice", "push_commit", SHOP, number=number, files={"more.py": "1\n"})
    await world.check(number, "success")
    await world.run()
    assert (world.asked, world.pull(number).state) == (2, "OPEN")


async def test_a_push_between_the_answer_and_the_act_voids_it(world: PassWorld) -> None:
    number = await world.open()
    run = Run(world, "staging")
    await run.look()
    await run.decide()
    await world.github.act("alice", "push_commit", SHOP, number=number, files={"more.py": "1\n"})
    await world.check(number, "success")
    await run.act()
    assert (world.pull(number).state, world.deeds) == ("OPEN", [])
    assert [outcome for *_, outcome in world.outcomes()] != ["done"]
    await world.run()
    assert (world.pull(number).state, world.asked) == ("MERGED", 2)


# The model


@pytest.mark.parametrize(
    ("turn", "fault"),
    [
        ({"text": "Sure, I merge it!"}, "malformed"),
        ({"text": "No.", "stop_reason": "refusal"}, "refused"),
        (
            {
                "calls": [{"tool": "StructuredOutput", "input": {"action": "merge"}}],
                "stop_reason": "max_tokens",
            },
            "truncated",
        ),
        ({"error": {"status": 529, "type": "overloaded_error", "message": "Overloaded"}}, "overloaded"),
        (
            {
                "error": {
                    "status": 429,
                    "type": "rate_limit_error",
                    "message": "Slow down",
                    "headers": {"retry-after": "600"},
                }
            },
            "rate_limited",
        ),
    ],
)
async def test_a_model_without_an_answer_about_one_keeps_nobody_else_from_theirs(
    world: PassWorld, turn: dict[str, Any], fault: str
) -> None:
    world.write(model={"timeout": 20})
    world.says([{"matches": "poison", **turn}])
    poisoned = await world.open(1, title="poison")
    good = await world.open(2)
    run = await world.run()
    assert run.failures == {}
    assert {each.number: each.fault for each in world.audit} == {poisoned: fault, good: ""}
    assert (world.pull(poisoned).state, world.pull(good).state) == ("OPEN", "MERGED")
    state = world.state()
    assert state.errors == {"ai": 1}
    assert state.look_at is not None
    asked = world.asked
    await world.run()
    assert world.asked == asked
    world.pass_time(minutes=11)
    world.says()
    await world.run()
    assert world.pull(poisoned).state == "MERGED"


async def test_an_answer_that_drips_for_minutes_ends_with_the_rule_s_time(world: PassWorld) -> None:
    world.write(model={"timeout": 5})
    answer = {"action": "merge", "reason": "Slowly.", "confidence": 1}
    world.says(
        [
            {
                "matches": "Slow change",
                "drip_seconds": 10,
                "calls": [{"tool": "StructuredOutput", "input": answer}],
            }
        ]
    )
    await world.open(1, title="Slow change")
    await world.run()
    (record,) = world.audit
    assert (record.fault, record.seconds < 10, record.usd > 0) == ("timeout", True, True)


async def test_answers_that_are_of_no_use_five_times_call_a_person_once(world: PassWorld) -> None:
    world.says([{"matches": ".", "text": "Merge!"}])
    number = await world.open()
    for _ in range(8):
        await world.run()
        world.pass_time(minutes=61)
    assert world.asked == 5
    assert len(world.pull(number).comments) == 1
    assert [label.name for label in world.pull(number).labels] == ["needs-human-approval"]
    assert world.outcomes()[-1] == (number, "escalate", "model_gave_up", "guarded")


async def test_a_key_that_is_refused_fails_the_question_with_the_remedy_and_costs_nothing(
    world: PassWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {"conn_type": "anthropic", "host": world.model.url, "password": "wrong"}
    monkeypatch.setenv("AIRFLOW_CONN_ANTHROPIC_DEFAULT", json.dumps(connection))
    await world.open()
    run = await world.run()
    assert list(run.failures) == ["decide[0]"]
    assert "anthropic_default" in str(run.failures["decide[0]"])
    assert [each.fault for each in world.audit] == ["denied"]
    assert world.state().usd == {}


# What changes while it runs


async def test_a_rule_that_is_edited_between_look_and_question_is_not_asked_with(world: PassWorld) -> None:
    await world.open()
    run = Run(world, "staging")
    await run.look()
    world.write(instruction="Close everything.")
    await run.decide()
    await run.act()
    assert (world.asked, world.deeds) == (0, [])
    assert [outcome for *_, outcome in world.outcomes()] == ["superseded"]


async def test_a_rule_that_is_edited_between_answer_and_act_does_nothing_and_asks_again(
    world: PassWorld,
) -> None:
    number = await world.open()
    run = Run(world, "staging")
    await run.look()
    await run.decide()
    world.write(instruction="Merge only what is green and small.")
    await run.act()
    assert (world.deeds, world.pull(number).state) == ([], "OPEN")
    await world.run()
    assert (world.asked, world.pull(number).state) == (2, "MERGED")


async def test_two_rules_on_one_pull_request_act_once(world: PassWorld) -> None:
    world.write("other", instruction="Merge what is green, too.")
    number = await world.open()
    first, second = Run(world, "staging"), Run(world, "other")
    for run in (first, second):
        await run.look()
        await run.decide()
    for run in (first, second):
        await run.act()
        assert run.failures == {}
    assert (world.pull(number).state, world.deeds) == ("MERGED", ["pull_request.merged"])


async def test_two_rules_that_escalate_write_one_comment_each_and_put_the_label_on_once(
    world: PassWorld,
) -> None:
    world.says(action="escalate", reason="A person has to look.")
    world.write("other", instruction="Escalate it, too.")
    number = await world.open()
    for _ in range(2):
        for rule in ("staging", "other"):
            await world.run(rule)
    assert len(world.pull(number).comments) <= 2
    assert world.deeds.count("issue.labeled") <= 1


# Crashes


async def test_a_worker_that_dies_after_the_look_costs_what_was_set_aside_and_nothing_else(
    world: PassWorld,
) -> None:
    number = await world.open()
    died = Run(world, "staging")
    await died.look()
    reserved = sum(world.state().reserved.values())
    assert reserved > 0
    await world.run()
    assert world.pull(number).state == "MERGED"
    state = world.state()
    assert sum(state.reserved.values()) == pytest.approx(reserved)


async def test_a_worker_that_dies_before_it_remembers_acts_once(world: PassWorld) -> None:
    number = await world.open()
    run = Run(world, "staging")
    await run.look()
    await run.decide()

    def die(key: str) -> None:
        if key.startswith("agents_rule__"):
            raise Killed

    world.on_write = die
    with pytest.raises(Killed):
        await run.act()
    world.on_write = lambda key: None
    await run.act()
    assert (world.pull(number).state, world.deeds) == ("MERGED", ["pull_request.merged"])
    assert world.state().reserved == {}
    assert world.state().last_pass is not None


async def test_a_task_that_ends_twice_counts_once(world: PassWorld) -> None:
    await world.open()
    run = await world.run()
    before = world.state()
    await run.act()
    after = world.state()
    assert (after.usd, after.processed, after.actions) == (before.usd, before.processed, before.actions)


# Faults of GitHub


async def test_a_github_that_is_away_fails_the_look_and_the_end_says_so(world: PassWorld) -> None:
    await world.open()
    world.github.faults.add({"match": {}, "times": None, "action": {"status": 502}})
    run = Run(world, "staging")
    await run.look()
    assert isinstance(run.failures["look[-1]"], ForgeUnavailableError)
    await run.act()
    assert "nothing to act on" in str(run.failures["act[-1]"])
    state = world.state()
    assert (state.errors, bool(state.last_error), state.look_at is not None) == ({"github": 1}, True, True)


async def test_a_repository_that_is_gone_stops_no_other_one(world: PassWorld) -> None:
    world.write(repositories=[SHOP, "acme/gone"])
    number = await world.open()
    assert (await world.run()).failures == {}
    assert world.pull(number).state == "MERGED"
    assert world.state().errors == {"github": 1}
    assert any("acme/gone" in text for text in world.state().last_pass.faults)  # type: ignore[union-attr]


async def test_a_pull_request_of_a_deleted_author_and_one_without_checks_stop_nobody(
    world: PassWorld,
) -> None:
    ghost = await world.open(1, who="bob")
    bare, good = [await world.open(number) for number in (2, 3)]
    await world.github.act("bob", "delete_account", SHOP)
    found = world.github.forge.store.repository(SHOP)
    assert found is not None
    found.statuses[:] = [each for each in found.statuses if each.sha != world.pull(bare).head_ref_oid]
    run = await world.run()
    assert run.failures == {}
    assert [world.pull(number).state for number in (ghost, bare, good)] == ["OPEN", "OPEN", "MERGED"]


# Many


async def test_more_than_a_run_takes_come_in_turn_and_each_is_asked_about_once(world: PassWorld) -> None:
    world.write(max_pull_requests=3)
    world.says(action="wait", reason="Not yet.")
    numbers = [await world.open(number) for number in range(1, 9)]
    seen: list[int] = []
    for _ in range(4):
        run = await world.run()
        seen += [item["entry"]["number"] for item in run.xcoms["look", "return_value"]]
    assert sorted(seen) == numbers
    assert world.asked == 8
