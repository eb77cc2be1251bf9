"""The task ``act`` after a clear of its run: answers of the questions from before the clear are not carried out."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from fakes import NEXT_HEAD
from pr_rule_world import World, said

if TYPE_CHECKING:
    from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    made = World(monkeypatch)
    made.github.add(7)
    return made


def leave(world: World, decision: PullRequestDecision) -> None:
    """Leave an answer under a map index that the look of now has no question for: Airflow keeps its XCom."""
    world.ti._others["decide:return_value"].append(decision.to_dict())


def earlier(world: World, **values: Any) -> PullRequestDecision:
    item = world._item(7, world.rule.version if world.rule else "", said("close"), False, datetime.now(UTC))
    return dataclasses.replace(world._decision(item, said("close"), datetime.now(UTC)), **values)


@pytest.mark.parametrize("old", [{"context_hash": "before"}, {"head_sha": NEXT_HEAD}, {"version": "0" * 12}])
def test_an_answer_about_other_facts_is_not_carried_out(world: World, old: dict[str, Any]) -> None:
    world.begin({7: said("merge")})
    leave(world, earlier(world, **old))
    world.act()
    assert [(each.action, each.outcome) for each in world.audit] == [("merge", "done")]


def test_beside_an_answer_that_stands_no_question_of_before_the_clear_counts(world: World) -> None:
    world.begin({7: said("merge")}, standing=[7])
    leave(world, earlier(world))
    world.act()
    assert [(each.action, each.asked) for each in world.audit] == [("merge", False)]
