"""The question about one pull request: its record, its faults, and that no try asks twice."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from pr_rule_turns_world import COST, PRICE, START, Store, TurnsWorld, answered, fault

from airflow_provider_agents.domain.pull_request import Comment
from airflow_provider_agents.domain.risk import ChangedFile
from airflow_provider_agents.exceptions import ForgeUnavailableError, InvalidInputError
from airflow_provider_agents.hooks.github_rule_material import Changes
from airflow_provider_agents.operators import pr_rule_material, pr_rule_question


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> TurnsWorld:
    return TurnsWorld(monkeypatch)


@pytest.fixture
def item(world: TurnsWorld) -> dict[str, Any]:
    world.open(7, title="Bump it {{ 7 * 7 }}")
    (found,) = world.look()
    return found


def test_an_answer_is_a_record_without_an_outcome(world: TurnsWorld, item: dict[str, Any]) -> None:
    world.model.answers = lambda prompt: answered("close", reason="It is stale.")
    found = world.decide(item)
    assert found.answer is not None
    assert (found.answer.action, found.action, found.outcome, found.asked) == ("close", "close", "", True)
    assert (found.repository, found.number, found.head_sha) == ("acme/shop", 7, f"{7:040x}")
    assert (found.usd, found.tokens.input, found.model, found.failures) == (COST, 900, "claude-test", 0)
    assert (found.context_hash, found.version) == (item["context_hash"], item["version"])
    assert world.labels == ["acme/shop#7: close"]


@pytest.mark.parametrize(
    ("call", "failures", "minutes"),
    [
        (fault("malformed"), 0, 1),
        (fault("refused"), 1, 5),
        (fault("truncated"), 2, 15),
        (fault("timeout"), 3, 60),
        (fault("overloaded"), 9, 60),
        (fault("rate_limited", retry_after=120.0), 0, 2),
        (fault("rate_limited", retry_after=1e9), 0, 60),
    ],
)
def test_a_fault_of_the_model_is_a_decision_to_wait(
    world: TurnsWorld, item: dict[str, Any], call: Any, failures: int, minutes: int
) -> None:
    world.model.answers = lambda prompt: call
    found = world.decide({**item, "failures": failures})
    assert (found.answer, found.fault, found.action, found.failures) == (
        None,
        call.fault,
        "wait",
        failures + 1,
    )
    assert found.retry_at == START + timedelta(minutes=minutes)
    assert world.labels == [f"acme/shop#7: {call.fault}"]


def test_a_model_that_may_not_be_asked_fails_the_task_and_leaves_the_record(
    world: TurnsWorld, item: dict[str, Any]
) -> None:
    world.model.answers = lambda prompt: fault("denied", detail="Store a valid key in the connection.")
    with pytest.raises(InvalidInputError, match="Store a valid key"):
        world.decide(item)
    record = world.xcoms["return_value"]
    assert (record["fault"], record["usd"], record["answer"]) == ("denied", 0.0, None)


def test_a_try_after_an_answer_takes_it_over(world: TurnsWorld, item: dict[str, Any]) -> None:
    store = Store()
    first = world.decide(item, store)
    world.model.answers = lambda prompt: answered("close")
    assert world.decide(item, store) == first
    assert len(world.model.asked) == 1


def test_a_try_after_one_that_died_while_it_asked_does_not_ask_again_in_this_run(
    world: TurnsWorld, item: dict[str, Any]
) -> None:
    store = Store()
    world.model.dies = True
    with pytest.raises(KeyboardInterrupt):
        world.decide(item, store)
    world.model.dies = False
    found = world.decide(item, store)
    assert (found.fault, found.usd, len(world.model.asked)) == ("unavailable", PRICE, 1)
    assert found.retry_at == START + timedelta(minutes=1)


def test_after_a_clear_it_is_asked_again(world: TurnsWorld, item: dict[str, Any]) -> None:
    store = Store()
    world.decide(item, store)
    world.decide(item, store, max_tries=5)
    assert len(world.model.asked) == 2


def test_what_is_stored_about_another_pull_request_is_not_taken(
    world: TurnsWorld, item: dict[str, Any]
) -> None:
    store = Store()
    world.decide(item, store)
    world.open(8)
    (other,) = [each for each in world.look() if each["entry"]["number"] == 8]
    assert world.decide(other, store).number == 8
    assert len(world.model.asked) == 2


def test_a_rule_that_was_edited_meanwhile_is_not_asked_with(world: TurnsWorld, item: dict[str, Any]) -> None:
    world.edit(instruction="Close it.")
    found = world.decide(item)
    assert (found.outcome, found.asked, found.answer, found.usd) == ("superseded", False, None, 0.0)
    assert world.model.asked == []


def test_a_rule_that_was_broken_or_deleted_meanwhile_is_not_asked_with(
    world: TurnsWorld, item: dict[str, Any]
) -> None:
    world.rule = None
    found = world.decide(item)
    assert (found.outcome, "rules/staging.yaml:3" in found.message) == ("superseded", True)


def test_the_log_has_the_facts_the_answer_and_the_cost_and_no_whole_text(
    world: TurnsWorld, capsys: pytest.CaptureFixture[str]
) -> None:
    world.edit(context=["body"])
    world.open(7, body="line\n" * 500)
    (found,) = world.look()
    world.decide(found)
    out = capsys.readouterr().out
    assert 'pr.ciStatus="SUCCESS"' in out
    assert "merge, 90 % sure: Because." in out
    assert "900 tokens in" in out
    assert "0.0100 USD" in out
    assert out.count("line") < 60


# Material


def test_what_the_rule_asks_for_is_read_and_shown(world: TurnsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    async def changes(client: Any, repository: str, number: int) -> Changes:
        file = ChangedFile(path="shop/cart.py", status="modified", additions=1, deletions=2)
        return Changes((file,), "diff --git a/shop/cart.py b/shop/cart.py\n+1")

    monkeypatch.setattr(pr_rule_material, "read_changes", changes)
    world.edit(context=["files", "diff", "comments"])
    world.open(7, comments=(Comment(author="eve", body="Please merge."),))
    (found,) = world.look()
    world.decide(found)
    (prompt,) = world.model.asked
    for text in ("shop/cart.py", "diff --git", "Please merge."):
        assert text in prompt.facts
        assert text not in prompt.rule


def test_material_that_cannot_be_read_is_nobody_s_question(world: TurnsWorld) -> None:
    world.edit(context=["comments"])
    world.open(7)
    (found,) = world.look()
    world.material_fault = ForgeUnavailableError("away")
    decision = world.decide(found)
    assert (decision.fault, decision.model, decision.usd) == ("unavailable", "", 0.0)
    assert world.model.asked == []


def test_a_text_that_does_not_fit_the_facts_is_nobody_s_question(
    world: TurnsWorld, item: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any) -> Any:
        raise ValueError("no such value")

    monkeypatch.setattr(pr_rule_question, "build_prompt", broken)
    decision = world.decide(item)
    assert (decision.fault, decision.usd, world.model.asked) == ("malformed", 0.0, [])


@pytest.mark.parametrize(
    "texts",
    [
        {"path": "x" * 4000, "diff": "+" + "x" * 100_000, "comment": "x" * 9000},
        {"path": "\u00e4\u20ac" * 500, "diff": "<untrusted>" * 9000, "comment": "<untrusted" * 900},
        {"path": '"\\' * 500, "diff": "\u27e6\u27e7" * 30_000, "comment": "\u27e6" * 3000},
        {"path": "\x00" * 500, "diff": "diff --git a b\n" * 5000, "comment": "\x1b[0m" * 3000},
    ],
)
def test_no_material_makes_a_prompt_longer_than_what_was_set_aside_for(
    world: TurnsWorld, monkeypatch: pytest.MonkeyPatch, texts: dict[str, str]
) -> None:
    async def changes(client: Any, repository: str, number: int) -> Changes:
        files = tuple(
            ChangedFile(
                path=f"{i}{texts['path']}",
                status="renamed",
                additions=9**9,
                deletions=9**9,
                previous_path=texts["path"],
            )
            for i in range(300)
        )
        return Changes(files, texts["diff"])

    monkeypatch.setattr(pr_rule_material, "read_changes", changes)
    sizes: list[int] = []

    def most_usd(prompt: Any) -> float:
        sizes.append(len(prompt.facts.encode()))
        return PRICE

    monkeypatch.setattr(world.model, "most_usd", most_usd)
    world.edit(context=["files", "diff", "comments"])
    world.open(7, comments=tuple(Comment(author="eve", body=texts["comment"]) for _ in range(20)))
    (found,) = world.look()
    world.decide(found)
    (prompt,) = world.model.asked
    assert len(prompt.facts.encode(errors="replace")) <= sizes[0]
