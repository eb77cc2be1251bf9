"""Asking a person inside a running task."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import TaskAwaitingInput, TaskDeferred
from airflow.triggers.testing import SuccessTrigger
from fakes import Store, TaskInstance, context

from airflow_provider_agents.domain.people import InputField, Option, Question
from airflow_provider_agents.operators.asking import answer_of, ask, form_link, store_answer, take_answer

AT = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
QUESTION = Question(
    key="one",
    subject="Go on?",
    body="**why**",
    options=(Option(name="Yes"), Option(name="No")),
    fields=(
        InputField(name="text", title="Text", kind="multiline", description="What."),
        InputField(name="flag", title="Flag", kind="boolean", default=True),
        InputField(name="way", title="Way", kind="choice", choices=("a", "b"), default="a"),
    ),
)
OTHER = Question(key="two", subject="Really?", options=(Option(name="Yes"), Option(name="No")))
TIMED_OUT = {"error": "The response timeout has passed", "error_type": "timeout"}


class World:
    """A task that asks, and the questions that Airflow was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ti = TaskInstance(retries=2)
        self.ti.id = UUID(int=1)  # type: ignore[attr-defined]
        self.store = Store()
        self.operator = BaseOperator(task_id="task", retries=2)
        self.written: list[dict[str, Any]] = []
        monkeypatch.setattr(
            "airflow.sdk.execution_time.hitl.upsert_hitl_detail", lambda **values: self.written.append(values)
        )

    @property
    def context(self) -> Any:
        return context(self.ti, self.store)

    def ask(self, question: Question = QUESTION, **how: Any) -> BaseException:
        with pytest.raises((TaskAwaitingInput, TaskDeferred)) as raised:
            ask(self.operator, self.context, question, method_name="resume", **how)
        return raised.value

    def take(self, event: Any, question: Question = QUESTION) -> Any:
        return take_answer(self.operator, self.context, event, question)

    def next_try(self) -> None:
        self.ti.retry()
        self.ti.id = UUID(int=self.ti.id.int + 1)  # type: ignore[attr-defined]

    def clear(self) -> None:
        self.ti.clear(2)
        self.ti.id = UUID(int=self.ti.id.int + 1)  # type: ignore[attr-defined]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def trigger() -> SuccessTrigger:
    return SuccessTrigger()  # type: ignore[no-untyped-call]


def event(option: str = "Yes", **values: Any) -> dict[str, Any]:
    facts = {
        "chosen_options": [option],
        "params_input": {"text": "be quick"},
        "responded_at": AT,
        "responded_by_user": {"id": "7", "name": "mona"},
        "timedout": False,
    }
    return facts | values


def test_the_question_is_written_with_its_form_and_without_defaults(world: World) -> None:
    parked = world.ask(look_again=timedelta(minutes=3))
    assert isinstance(parked, TaskAwaitingInput)
    assert (parked.method_name, parked.timeout) == ("resume", timedelta(minutes=3))
    (written,) = world.written
    assert written["ti_id"] == UUID(int=1)
    assert written["options"] == ["Yes", "No"]
    # With defaults a wait that ends would answer the question.
    assert written.get("defaults") is None
    assert {name: field["value"] for name, field in written["params"].items()} == {
        "text": "",
        "flag": True,
        "way": "a",
    }
    assert written["params"]["way"]["schema"]["enum"] == ["a", "b"]
    json.dumps(written["params"])


def test_looking_again_does_not_ask_again(world: World) -> None:
    world.ask()
    assert world.take(TIMED_OUT) is None
    world.ask()
    world.ask()
    assert len(world.written) == 1


def test_a_retry_and_a_clear_ask_anew(world: World) -> None:
    world.ask()
    world.next_try()
    world.ask()
    world.clear()
    world.ask()
    assert [written["ti_id"].int for written in world.written] == [1, 2, 3]


def test_another_question_is_written_over_the_answered_one(world: World) -> None:
    world.ask()
    assert world.take(event()).option == "Yes"
    world.ask(OTHER)
    assert [written["subject"] for written in world.written] == ["Go on?", "Really?"]
    assert world.take(event("No"), OTHER).option == "No"
    assert world.take(None).option == "Yes"


def test_the_same_question_put_again_after_an_answer_clears_it(world: World) -> None:
    world.ask()
    world.take(event())
    world.ask()
    assert len(world.written) == 2


def test_with_a_trigger_the_task_is_deferred(world: World) -> None:
    deferred = world.ask(trigger=trigger())
    assert isinstance(deferred, TaskDeferred)
    # Airflow would fail the task at the end of a deferral's timeout.
    assert deferred.timeout is None
    assert len(world.written) == 1


def test_a_trigger_has_its_own_deadline(world: World) -> None:
    with pytest.raises(ValueError, match="give the trigger a deadline"):
        ask(
            world.operator,
            world.context,
            QUESTION,
            method_name="resume",
            look_again=timedelta(1),
            trigger=trigger(),
        )
    assert world.written == []


def test_an_answer_is_stored_with_who_gave_it_before_anything_else(world: World) -> None:
    world.ask()
    found = world.take(event())
    assert (found.option, found.by, found.at, found.text("text")) == ("Yes", "mona", AT, "be quick")
    world.next_try()
    assert world.take(None) == found


def test_a_clear_forgets_the_answer(world: World) -> None:
    world.ask()
    world.take(event())
    world.clear()
    assert world.take(None) is None


def test_an_answer_is_for_its_own_question(world: World) -> None:
    world.ask()
    world.take(event())
    assert world.take(None, OTHER) is None


def test_an_answer_of_the_forge_counts_too(world: World) -> None:
    given = answer_of(event(), QUESTION)
    assert given is not None
    store_answer(world.operator, world.context, given)
    assert world.take(TIMED_OUT) == given


@pytest.mark.parametrize(
    "unusable",
    [
        None,
        {},
        TIMED_OUT,
        {"status": "spoken"},
        event(chosen_options=[]),
        event(chosen_options=["Yes", "No"]),
        event("Maybe"),
        event(timedout=True),
        event(responded_by_user=None),
    ],
)
def test_what_no_person_chose_is_no_answer(unusable: Any) -> None:
    assert answer_of(unusable, QUESTION) is None


def test_fields_that_were_not_asked_for_are_left_out() -> None:
    found = answer_of(event(params_input={"text": "x", "other": "y"}), QUESTION)
    assert found is not None
    assert found.fields == {"text": "x"}


def test_a_trigger_gives_the_moment_as_text() -> None:
    found = answer_of(event(responded_at=AT.isoformat()), QUESTION)
    assert found is not None
    assert found.at == AT


def test_an_answer_counts_once(world: World) -> None:
    world.ask()
    given = event()
    assert world.take(given) is not None
    # Its carrying out led to another question; the same event does not answer that.
    assert world.take(given, OTHER) is None


@pytest.mark.parametrize("unusable", [event("Maybe"), event(responded_by_user=None)])
def test_an_unusable_answer_is_cleared_or_it_would_resume_the_task_for_ever(
    world: World, unusable: Any
) -> None:
    world.ask()
    assert world.take(unusable) is None
    world.ask()
    assert len(world.written) == 2


class TestConsent:
    """An answer that consents to something counts for what its author was shown."""

    @staticmethod
    def question(facts: str) -> Question:
        options = (Option(name="Yes", binding=True), Option(name="No"))
        return Question(key=f"q:{facts}", subject="Merge?", body="This head?", options=options, facts=facts)

    def test_the_page_has_the_code_and_a_field_for_a_newer_one(self, world: World) -> None:
        world.ask(self.question("head 1"))
        assert self.question("head 1").code in world.written[0]["body"]
        assert "confirm" in world.written[0]["params"]

    def test_what_the_page_shows_can_be_consented_to(self, world: World) -> None:
        world.ask(self.question("head 1"))
        assert world.take(event(), self.question("head 1")).option == "Yes"

    def test_facts_that_came_back_while_others_were_asked_about_are_asked_about_again(
        self, world: World
    ) -> None:
        world.ask(self.question("head 1"))
        world.ask(self.question("head 2"))
        assert world.take(event(), self.question("head 1")) is None

    def test_an_answer_that_came_as_the_facts_moved_is_refused_and_asked_again(self, world: World) -> None:
        world.ask(self.question("head 1"))
        assert world.take(event(), self.question("head 2")) is None
        world.ask(self.question("head 2"))
        assert len(world.written) == 2

    @pytest.mark.parametrize("how", ["same try", "retry", "clear"])
    def test_a_page_that_shows_older_facts_needs_the_code_of_the_newest(self, world: World, how: str) -> None:
        first, second = self.question("head 1"), self.question("head 2")
        world.ask(first)
        if how == "retry":
            world.next_try()
        if how == "clear":
            world.clear()
        world.ask(second)
        assert world.take(event(), second) is None
        world.ask(second)
        assert world.take(event(params_input={"confirm": first.code}), second) is None
        world.ask(second)
        assert world.take(event(params_input={"confirm": second.code}), second).option == "Yes"

    def test_facts_that_came_back_are_those_of_the_page(self, world: World) -> None:
        for facts in ("head 1", "head 2", "head 1"):
            world.ask(self.question(facts))
        assert world.take(event(), self.question("head 1")).option == "Yes"

    def test_an_option_that_consents_to_nothing_always_counts(self, world: World) -> None:
        world.ask(self.question("head 1"))
        assert world.take(event("No"), self.question("head 2")).option == "No"


class TestLink:
    @pytest.fixture(autouse=True)
    def base_url(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://airflow.example/root/")

    def test_it_chooses_the_option_as_the_page_reads_it(self, world: World) -> None:
        world.ti.run_id = "manual__2026-01-01T00:00:00+00:00"
        link = form_link(world.context, "Yes", {"text": "a b"})
        assert link is not None
        parts = urlsplit(link)
        assert parts.path == (
            "/root/dags/coding_task/runs/manual__2026-01-01T00%3A00%3A00%2B00%3A00/tasks/task/required_actions"
        )
        query = parse_qs(parts.query)
        assert json.loads(query["_options"][0]) == ["Yes"]
        assert query["text"] == ["a b"]

    def test_a_mapped_task_is_named(self, world: World) -> None:
        world.ti.map_index = 3
        assert str(form_link(world.context)).endswith("/required_actions?map_index=3")


def test_without_an_address_there_is_no_link(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("airflow_provider_agents.operators.asking.conf.get", lambda *names, **more: None)
    assert form_link(world.context, "Yes") is None
