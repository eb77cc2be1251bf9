"""The scenarios of the demo: their cues, their people, and what is said about them."""

from __future__ import annotations

from typing import Any

import pytest

from demo.director import Director
from demo.http_json import HttpError
from demo.model.script import Script
from demo.options import Options, OptionsError, read_options
from demo.scenario import SCRIPT
from demo.scenarios import PERSON, SCENARIOS, Deed, Scenario, Seen
from demo.summary import timeline

REPOSITORY = "acme/letters"


def entry(kind: str, at: str = "2026-01-02T12:00:00+00:00", **more: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "at": at,
        "repository": REPOSITORY,
        "number": 2,
        "actor": "agent",
        "details": {},
    } | more


class Stack:
    """A forge and an Airflow that write down what people do."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.log: list[dict[str, Any]] = []
        self.unasked = 0
        self.forge = self.airflow = self

    def mutations(self) -> list[dict[str, Any]]:
        return self.log

    def act(self, login: str, do: str, repository: str, **values: Any) -> None:
        self.done.append((login, do, repository, values))

    def answer(self, dag_id: str, run_id: str, task_id: str, option: str, fields: dict[str, Any]) -> None:
        if self.unasked:
            self.unasked -= 1
            raise HttpError("PATCH", "x", 404, "no question")
        self.done.append((task_id, option, fields))


def director(stack: Stack, *deeds: Deed, said: list[str] | None = None) -> Director:
    say = (said if said is not None else []).append
    return Director(stack, "coding_task", "r", REPOSITORY, deeds, say)  # type: ignore[arg-type]


PUSH = Deed(
    what="somebody pushes",
    when=lambda seen: seen.last("pull_request.opened") is not None,
    act="push_commit",
    values=lambda seen: {"branch": "main"},
)
ANSWER = Deed(
    what="somebody answers",
    when=lambda seen: seen.state("gate") == "deferred",
    answer=("gate", "Yes", {"a": 1}),
)


def test_a_deed_is_done_on_its_cue_and_once() -> None:
    stack, said = Stack(), []
    play = director(stack, PUSH, said=said)
    play.look([])
    assert stack.done == []
    stack.log.append(entry("pull_request.opened"))
    for _ in range(3):
        play.look([])
    assert stack.done == [(PERSON, "push_commit", REPOSITORY, {"branch": "main"})]
    assert said == ["  ✎ somebody pushes"]


def test_other_repositories_give_no_cue() -> None:
    stack = Stack()
    stack.log.append(entry("pull_request.opened", repository="acme/other"))
    director(stack, PUSH).look([])
    assert stack.done == []


def test_an_answer_is_tried_again_until_the_question_is_there() -> None:
    stack = Stack()
    stack.unasked = 2
    play = director(stack, ANSWER)
    for _ in range(4):
        play.look([{"task_id": "gate", "state": "deferred"}])
    assert stack.done == [("gate", "Yes", {"a": 1})]


def test_a_refused_answer_is_told() -> None:
    stack = Stack()

    def refuse(*values: Any) -> None:
        raise HttpError("PATCH", "x", 403, "no")

    stack.answer = refuse  # type: ignore[method-assign]
    with pytest.raises(HttpError):
        director(stack, ANSWER).look([{"task_id": "gate", "state": "deferred"}])


@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=lambda scenario: scenario.name)
def test_its_scenes_can_be_played_before_those_of_the_sample(scenario: Scenario) -> None:
    files = [file for file in (scenario.scenes, SCRIPT) if file is not None]
    scenes = Script.load(*files).scenes
    assert len({scene.name for scene in scenes}) == len(scenes)
    for deed in scenario.deeds:
        assert (deed.act is None) != (deed.answer is None)
        assert not deed.when(Seen([], {}))


def test_what_did_not_happen_in_its_order_is_a_fault() -> None:
    scenario = Scenario(name="x", title="x", needs=("push", "merge"))
    assert scenario.faults([entry("push"), entry("other"), entry("merge")]) == []
    assert scenario.faults([entry("merge"), entry("push")]) == ["There was no merge at its place."]


def test_the_timeline_is_in_the_order_of_time_and_begins_with_the_pull_request() -> None:
    entries = [
        entry("push", "2026-01-02T12:00:00+00:00"),
        entry("pull_request.opened", "2026-01-02T12:00:10+00:00"),
        entry("pull_request.merged", "2026-01-02T12:00:30+00:00"),
    ]
    decisions = [
        {
            "at": "2026-01-02T12:00:20.5+00:00",
            "task_id": "land.round_1.gate",
            "verdict": "merge",
            "reason": "green",
            "evidence": "All passed.",
        }
    ]
    _, *lines = timeline(entries, decisions)
    assert [line.split() for line in lines] == [
        ["0.0", "forge", "pull_request.opened", "#2", "by", "agent"],
        ["10.5", "round", "1", "merge", "(green):", "All", "passed."],
        ["20.0", "forge", "pull_request.merged", "#2", "by", "agent"],
    ]


def never() -> str | None:
    raise AssertionError("the sandbox was asked for")


def test_a_scenario_is_asked_for_by_name() -> None:
    assert read_options([], {"SCENARIO": "queue"}, never) == Options(scenario="queue")
    assert read_options([], {"SCENARIO": ""}, never) == Options()
    with pytest.raises(OptionsError, match="SCENARIO=review, SCENARIO=conflict"):
        read_options(["--scenario", "other"], {}, never)


@pytest.mark.parametrize("other", [{"AGENT": "codex"}, {"MODEL": "real", "ANTHROPIC_API_KEY": "k"}])
def test_a_scenario_is_a_play_with_fixed_roles(other: dict[str, str]) -> None:
    with pytest.raises(OptionsError, match="fixed roles"):
        read_options([], {"SCENARIO": "queue", **other}, never)
