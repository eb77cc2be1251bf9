"""A look of a rule: what is read, what is asked, what is paid, and what one broken thing leaves the others."""

from __future__ import annotations

import dataclasses
import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import AirflowRuntimeError
from pr_rule_turns_world import COST, PRICE, RULE, SHOP, START, VARIABLE, TurnsWorld, answered, fault

from airflow_provider_agents.domain import pr_rule_facts
from airflow_provider_agents.domain.argocd_application import ApplicationReading
from airflow_provider_agents.domain.pull_request import Check
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.operators import pr_rule_look_pass
from airflow_provider_agents.task_groups.pr_rule import MOST_QUESTIONS

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule_state import RuleState

RUNNING = (Check(name="test", state="pending", kind="check_run"),)
PASSED = (Check(name="test", state="passed", kind="check_run"),)
DAY = "2026-03-05"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> TurnsWorld:
    return TurnsWorld(monkeypatch)


def spent(state: RuleState) -> float:
    return round(state.spent(DAY), 6)


def test_what_fits_is_read_asked_about_and_then_left_alone(world: TurnsWorld) -> None:
    world.edit(selector={"labels": {"include": ["staging"]}})
    world.open(1, labels=("Staging",))
    world.open(2)
    assert world.run() == ["acme/shop#1"]
    reads = len(world.reads)
    for _ in range(10):
        world.clock.pass_minutes(1)
        assert world.run() == []
    assert (len(world.reads), len(world.model.asked)) == (reads, 1)
    last = world.state.last_pass
    assert last is not None
    assert (last.listed, last.matched, last.asked, last.left) == (2, 1, 0, 0)


def test_an_hour_of_a_hundred_unchanged_ones_asks_once_each_and_reads_once_each(world: TurnsWorld) -> None:
    world.edit(interval=30)
    world.model.answers = lambda prompt: answered("wait")
    for number in range(100):
        world.open(number)
    world.run()
    assert len(world.model.asked) == 100
    for _ in range(119):
        world.clock.pass_minutes(0.5)
        world.run()
    assert len(world.model.asked) == 100
    assert len(world.reads) == 100
    assert world.listings == 120


def test_a_change_is_asked_about_and_one_that_the_rule_cannot_see_is_not(world: TurnsWorld) -> None:
    world.open(1)
    world.model.answers = lambda prompt: answered("wait")
    world.run()
    world.clock.pass_minutes(1)
    world.change(1, body="Something else")  # the rule does not ask for the description
    assert world.run() == []
    assert len(world.reads) == 2
    world.change(1, labels=("staging",))
    assert world.run() == ["acme/shop#1"]


def test_while_checks_run_nobody_is_asked_and_then_once(world: TurnsWorld) -> None:
    world.open(1, checks=RUNNING)
    for _ in range(5):
        assert world.run() == []
        world.clock.pass_minutes(1)
    assert len(world.reads) == 1
    world.change(1, checks=PASSED)
    assert world.run() == ["acme/shop#1"]


def test_checks_that_run_for_six_hours_are_not_waited_for(world: TurnsWorld) -> None:
    world.open(1, checks=RUNNING)
    assert world.run() == []
    assert world.state.look_at == START.replace(hour=18)
    world.clock.pass_minutes(6 * 60)
    assert world.run() == ["acme/shop#1"]


def test_a_rule_may_ask_while_checks_run(world: TurnsWorld) -> None:
    world.edit(ask_while_checks_run=True)
    world.open(1, checks=RUNNING)
    assert world.run() == ["acme/shop#1"]


def test_with_the_label_of_a_person_it_is_neither_asked_about_nor_acted_on(world: TurnsWorld) -> None:
    world.open(1, labels=("needs-human-approval",))
    assert world.run() == []
    assert world.standing == []
    assert world.reads == []


@pytest.mark.parametrize(
    ("action", "guard", "expected"),
    [("escalate", "", ["acme/shop#1"]), ("merge", "risk", ["acme/shop#1"]), ("merge", "", [])],
)
def test_a_call_for_people_that_was_cut_off_after_the_label_is_made_up_for(
    world: TurnsWorld, action: str, guard: str, expected: list[str]
) -> None:
    world.model.answers = lambda prompt: answered(action)
    world.open(1)
    world.run(outcome="failed", guard=guard, retry_at=START.replace(minute=1))
    world.change(1, labels=("needs-human-approval",))
    world.clock.pass_minutes(2)
    assert world.run() == expected
    assert world.run() == []


def test_one_that_a_person_took_over_brings_no_run_after_run(world: TurnsWorld) -> None:
    world.open(1)
    soon = START.replace(minute=1)
    world.run(outcome="guarded", guard="settling", retry_at=soon)
    assert world.state.look_at == soon
    world.change(1, labels=("needs-human-approval",))
    world.clock.pass_minutes(5)
    assert world.run() == []
    assert world.state.look_at is None


def test_checks_that_go_on_for_days_are_asked_about_every_six_hours_and_not_at_each_step(
    world: TurnsWorld,
) -> None:
    world.model.answers = lambda prompt: answered("wait")
    world.open(1, checks=RUNNING)
    for minutes in range(0, 13 * 60, 10):
        world.change(1, checks=(*RUNNING, Check(name=f"step {minutes}", state="failed", kind="check_run")))
        world.run()
        world.clock.pass_minutes(10)
    assert len(world.model.asked) == 2


def test_what_a_guard_put_off_is_carried_out_later_without_asking_again(world: TurnsWorld) -> None:
    world.open(1)
    later = START.replace(hour=14)
    world.run(outcome="guarded", guard="freeze", retry_at=later)
    assert world.state.look_at == later
    world.clock.pass_minutes(60)
    assert world.run() == []
    assert world.standing == []
    world.clock.pass_minutes(60)
    assert world.look() == []
    (item,) = world.standing
    assert (item.key, item.standing.action if item.standing else "") == ("acme/shop#1", "merge")
    decision = item.standing_decision()
    assert (decision.asked, decision.head_sha, decision.decided_at) == (False, f"{1:040x}", START)
    world.act([])
    assert world.state.pull_requests["acme/shop#1"].outcome == "done"
    world.clock.pass_minutes(60)
    assert world.look() == []
    assert world.standing == []
    assert len(world.model.asked) == 1


def test_an_answer_that_stands_is_void_once_the_head_moves_or_the_rule_is_edited(world: TurnsWorld) -> None:
    for number in (1, 2):
        world.open(number)
    world.run(outcome="guarded", guard="freeze")
    world.change(1, head_sha="b" * 40, updated_at=START.replace(hour=13))
    assert world.run(outcome="guarded") == ["acme/shop#1"]
    assert world.standing == []
    world.edit(instruction="Close it.")
    assert sorted(world.run()) == ["acme/shop#1", "acme/shop#2"]


def test_a_head_that_moves_between_listing_and_reading_is_the_one_that_is_asked_about(
    world: TurnsWorld,
) -> None:
    ref = world.open(1)
    world.moved[ref] = {"head_sha": "b" * 40}
    (item,) = world.look()
    assert item["entry"]["head_sha"] == "b" * 40
    assert item["facts"]["pr"]["headSha"] == "b" * 40


def test_one_that_was_merged_meanwhile_is_left_alone(world: TurnsWorld) -> None:
    ref = world.open(1)
    world.moved[ref] = {"state": "MERGED"}
    assert world.look() == []


def test_a_pull_request_that_cannot_be_read_stops_no_other_one(world: TurnsWorld) -> None:
    world.open(1)
    world.broken[world.open(2)] = ForgeUnavailableError("it always breaks")
    assert world.run() == ["acme/shop#1"]
    assert world.state.errors == {"github": 1}
    assert "it always breaks" in world.state.last_error
    assert world.state.look_at == START.replace(minute=5)
    world.clock.pass_minutes(5)
    world.run()
    assert world.reads[2:] == [(SHOP, 2)]


def test_one_that_nobody_foresaw_stops_no_other_one(
    world: TurnsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts_of(snapshot: Any, *args: Any, **values: Any) -> Any:
        if snapshot.number == 2:
            raise AttributeError("nobody foresaw it")
        return pr_rule_facts.facts_of(snapshot, *args, **values)

    monkeypatch.setattr(pr_rule_look_pass, "facts_of", facts_of)
    world.open(1)
    world.open(2)
    assert world.run() == ["acme/shop#1"]
    assert "nobody foresaw it" in world.state.last_error


def test_the_only_one_that_changed_may_be_the_broken_one(world: TurnsWorld) -> None:
    world.broken[world.open(1)] = ForgeUnavailableError("it always breaks")
    assert world.run() == []
    assert world.state.errors == {"github": 1}


def test_a_repository_that_cannot_be_listed_stops_no_other_one_and_loses_nothing(world: TurnsWorld) -> None:
    world.edit(repositories=[SHOP, "acme/docs"])
    world.open(1)
    world.open(2, "acme/docs")
    world.run(outcome="guarded", guard="freeze")
    world.unlisted["acme/docs"] = ForgeAccessError("no right")
    world.change(1, title="Other")
    assert world.run() == ["acme/shop#1"]
    assert world.state.errors == {"github": 1}
    assert world.state.pull_requests["acme/docs#2"].answer is not None
    assert world.state.last_pass is not None
    assert any("acme/docs: no right" in text for text in world.state.last_pass.faults)
    assert world.state.look_at is None
    world.unlisted["acme/docs"] = ForgeUnavailableError("away")
    assert world.run() == []
    assert world.state.look_at == START.replace(minute=5)
    del world.unlisted["acme/docs"]
    assert world.run() == []


@pytest.mark.parametrize(
    "error", [ForgeUnavailableError("away"), ForgeRateLimitedError("used up"), ForgeAccessError("no")]
)
def test_a_github_that_is_away_fails_the_look_and_changes_nothing(world: TurnsWorld, error: Any) -> None:
    world.open(1)
    world.outage = error
    with pytest.raises(type(error)):
        world.look()
    assert world.variables == {}


def test_all_repositories_that_fail_are_an_outage(world: TurnsWorld) -> None:
    world.unlisted[SHOP] = ForgeUnavailableError("away")
    with pytest.raises(ForgeUnavailableError):
        world.look()


def test_a_rate_limit_in_the_middle_leaves_the_others_to_the_next_run_after_it(world: TurnsWorld) -> None:
    for number in range(60):
        world.open(number)
    until = START.replace(minute=40)
    world.no_more = ForgeRateLimitedError("used up", retry_at=until)
    assert len(world.run()) == 50
    assert world.look_found.left == 10
    assert world.state.look_at == until
    world.no_more = None
    assert len(world.run()) == 10


def test_the_longest_waiting_come_first_and_the_rest_in_the_next_run(world: TurnsWorld) -> None:
    world.edit(max_pull_requests=4)
    for number in range(1, 11):
        world.open(number)  # the higher the number, the older
    assert world.run() == [f"acme/shop#{number}" for number in (10, 9, 8, 7)]
    assert world.state.look_at == START
    world.clock.pass_minutes(1)
    assert world.run() == [f"acme/shop#{number}" for number in (6, 5, 4, 3)]
    world.clock.pass_minutes(1)
    assert world.run() == ["acme/shop#2", "acme/shop#1"]
    assert world.state.look_at is None


def test_no_run_asks_more_than_it_has_time_for_or_than_airflow_can_map(
    world: TurnsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.edit(max_pull_requests=1000, model={"timeout": 600})
    for number in range(60):
        world.open(number)
    assert MOST_QUESTIONS == pr_rule_look_pass.AT_A_TIME
    longest = len(world.look()) / MOST_QUESTIONS * 600
    assert 3600 < longest < 2 * 3600
    monkeypatch.setenv("AIRFLOW__CORE__MAX_MAP_LENGTH", "7")
    assert len(world.look()) == 7
    assert world.look_found.left == 53


# Money


def test_what_is_set_aside_is_in_the_books_before_anybody_is_asked(world: TurnsWorld) -> None:
    world.open(1)
    items = world.look()
    assert spent(world.state) == PRICE
    assert world.model.asked == []
    world.act([world.decide(item) for item in items])
    assert spent(world.state) == COST
    assert world.state.reserved == {}


def test_what_a_run_that_died_set_aside_counts_as_spent(world: TurnsWorld) -> None:
    world.edit(limits={"usd_per_day": 2.2 * PRICE})
    world.open(1)
    assert len(world.look()) == 1  # and the worker dies
    assert len(world.look()) == 1
    assert world.look() == []
    assert world.look_found.unpaid == 1
    assert spent(world.state) == 2 * PRICE


def test_over_the_budget_it_waits_for_tomorrow_and_says_so(
    world: TurnsWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.edit(limits={"usd_per_day": PRICE / 2})
    world.open(1)
    assert world.run() == []
    assert "usd_per_day" in world.state.last_error
    assert "usd_per_day" in capsys.readouterr().out
    assert world.state.look_at == START.replace(day=6, hour=0)
    reads = len(world.reads)
    world.clock.pass_minutes(60)
    assert world.run() == []
    assert len(world.reads) == reads
    world.edit(limits={"usd_per_day": 5})
    assert world.run() == ["acme/shop#1"]


def test_with_tomorrow_the_money_comes_back(world: TurnsWorld) -> None:
    world.edit(limits={"usd_per_day": PRICE})
    world.open(2)
    assert world.run() == ["acme/shop#2"]
    world.open(1)
    assert world.run() == []
    world.clock.pass_minutes(12 * 60)
    assert world.run() == ["acme/shop#1"]


def test_what_is_only_set_aside_for_others_is_free_again_in_the_next_run(world: TurnsWorld) -> None:
    world.edit(limits={"usd_per_day": 2.5 * PRICE})
    for number in (1, 2, 3):
        world.open(number)
    assert world.run() == ["acme/shop#3", "acme/shop#2"]
    assert world.state.look_at == START
    assert world.run() == ["acme/shop#1"]


def test_without_anything_to_ask_no_model_is_needed(
    world: TurnsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(rule: Any) -> Any:
        raise InvalidInputError(["there is no connection"])

    world.open(1)
    world.run()
    monkeypatch.setattr(pr_rule_look_pass, "rule_model", missing)
    assert world.run() == []
    world.change(1, title="Other")
    with pytest.raises(InvalidInputError, match="no connection"):
        world.look()


# Argo CD


def reading(health: Any, fault: str = "") -> ApplicationReading:
    kind: Any = "unavailable" if fault else ""
    return ApplicationReading(name="shop", observed_at=START, health=health, fault=fault, fault_kind=kind)


def test_the_health_of_its_application_is_a_change_too_and_is_looked_for(world: TurnsWorld) -> None:
    world.edit(argocd={"enabled": True}, interval=90)
    world.open(1, labels=("staging",))
    world.applications[SHOP, "staging"] = reading("Progressing")
    world.model.answers = lambda prompt: answered("wait")
    assert world.run() == ["acme/shop#1"]
    assert world.state.look_at is not None
    assert (world.state.look_at - START).total_seconds() == 90
    assert world.run() == []
    world.applications[SHOP, "staging"] = reading("Degraded")
    assert world.run() == ["acme/shop#1"]


def test_an_argo_cd_that_is_away_for_a_moment_is_nobody_s_question_and_stops_nobody(
    world: TurnsWorld,
) -> None:
    world.edit(argocd={"enabled": True})
    world.open(1, labels=("staging",))
    world.open(2, labels=("production",))
    world.applications[SHOP, "staging"] = reading("Unknown", "Argo CD is away")
    world.applications[SHOP, "production"] = reading("Healthy")
    assert world.run() == ["acme/shop#2"]
    assert world.state.errors == {"argocd": 1}
    assert world.state.look_at == START.replace(minute=1)
    world.applications[SHOP, "staging"] = reading("Degraded")
    assert world.run() == ["acme/shop#1"]
    for health, why in (("Unknown", "Argo CD is away"), ("Degraded", "")):
        world.clock.pass_minutes(5)
        world.applications[SHOP, "staging"] = reading(health, why)
        assert world.run() == []


def test_an_application_that_never_can_be_read_is_asked_about_as_unknown(world: TurnsWorld) -> None:
    world.edit(argocd={"enabled": True})
    world.open(1, labels=("staging",))
    missing = dataclasses.replace(reading("Unknown", "there is none of that name"), fault_kind="missing")
    world.applications[SHOP, "staging"] = missing
    assert world.run() == ["acme/shop#1"]
    world.open(2, labels=("production",))
    world.applications[SHOP, "production"] = reading("Unknown", "Argo CD is away")
    assert world.run() == []
    world.clock.pass_minutes(6 * 60)
    assert world.run() == ["acme/shop#2"]


# The memory


def test_a_damaged_memory_begins_anew_and_says_so(
    world: TurnsWorld, caplog: pytest.LogCaptureFixture
) -> None:
    world.open(1)
    world.run()
    world.variables[VARIABLE] = world.variables[VARIABLE][:-9]
    with caplog.at_level(logging.ERROR):
        assert world.run() == ["acme/shop#1"]
    assert VARIABLE in caplog.text


def test_an_airflow_that_does_not_answer_is_no_empty_memory(world: TurnsWorld) -> None:
    world.open(1)
    world.run()
    world.airflow_down = True
    with pytest.raises(AirflowRuntimeError):
        world.look()


def test_a_thousand_leave_the_memory_and_the_xcoms_bounded(world: TurnsWorld) -> None:
    world.edit(limits={"usd_per_day": 1000})
    world.model.answers = lambda prompt: answered("wait", reason="x" * 500)
    for number in range(1000):
        world.open(number, title="t" * 256, labels=tuple(f"label-{i}" for i in range(20)))
    asked = 0
    for _ in range(10):
        items = world.look()
        assert len(items) == 100
        assert max(len(json.dumps(item["facts"])) for item in items) < 10_000
        assert len(json.dumps(items)) < 1_000_000
        assert len(json.dumps(world.xcoms["look"])) < 200_000
        asked += len(items)
        world.act([world.decide(item) for item in items])
        world.clock.pass_minutes(1)
    assert asked == 1000
    assert world.run() == []
    assert len(world.variables[VARIABLE]) < 1_500_000


def test_the_log_says_what_is_done_with_each_and_why(
    world: TurnsWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.open(1)
    world.open(2, checks=RUNNING)
    world.open(3, labels=("needs-human-approval",), title="Third\n{{ 7 * 7 }}")
    world.look()
    lines = {
        line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("acme/")
    }
    assert "ask" in lines["acme/shop#1"]
    assert "Checks run: test." in lines["acme/shop#2"]
    assert "needs-human-approval" in lines["acme/shop#3"]


def test_a_broken_rule_fails_the_look_with_file_and_line(world: TurnsWorld) -> None:
    world.rule = None
    with pytest.raises(InvalidInputError, match=rf"rules/{RULE}.yaml:3"):
        world.look()


def test_the_model_that_always_fails_for_one_keeps_nobody_else_from_their_turn(world: TurnsWorld) -> None:
    world.open(1, title="poison")
    world.model.answers = lambda prompt: fault("malformed") if "poison" in prompt.facts else answered("wait")
    asked = []
    for minute in range(120):
        if minute % 10 == 0:
            world.open(100 + minute)
        asked += world.run()
        world.clock.pass_minutes(1)
    assert asked.count("acme/shop#1") == 5  # at 0, 1, 6, 21 and 81 minutes
    assert all(asked.count(f"acme/shop#{100 + minute}") == 1 for minute in range(0, 120, 10))
