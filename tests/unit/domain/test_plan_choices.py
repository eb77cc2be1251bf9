"""What a plan leaves to people."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain import plan_choices
from airflow_provider_agents.domain.plan_choices import (
    boxes,
    decisions,
    defaults,
    fields,
    from_boxes,
    from_form,
)

DATABASE: dict[str, Any] = {
    "key": "Data base",
    "question": "Which database?",
    "options": [
        {"key": "pg", "label": "PostgreSQL"},
        {"key": "lite", "label": "SQLite", "recommended": True},
        {"key": "none", "label": "None at all"},
    ],
}


def groups(*choices: Any) -> tuple[plan_choices.ChoiceGroup, ...]:
    return plan_choices.plan_groups({"choices": list(choices)}, run_tests=True)


def test_a_group_is_read() -> None:
    (group,) = groups(DATABASE)
    assert group.key == "data-base"
    assert group.recommended == "lite"
    assert decisions([group], {"data-base": "pg"}) == ["Which database? PostgreSQL"]


def test_without_a_recommendation_the_first_option_is_it() -> None:
    (group,) = groups({**DATABASE, "options": [{"key": "a", "label": "A"}, {"key": "b", "label": "B"}]})
    assert defaults([group]) == {"data-base": "a"}


@pytest.mark.parametrize(
    "value",
    [
        "text",
        {},
        {**DATABASE, "question": ""},
        {**DATABASE, "options": "x"},
        {**DATABASE, "options": [{"key": "a", "label": "A"}]},
        {**DATABASE, "options": [{"key": "a", "label": "A"}, {"key": "a", "label": "B"}]},
        {**DATABASE, "options": [{"key": "a", "label": "A"}, {"key": "b", "label": "A"}]},
        {**DATABASE, "options": [{"key": "a", "label": "A"}, {"key": "b", "label": "<!-- B -->"}]},
        {**DATABASE, "key": "run_tests"},
    ],
)
def test_what_is_malformed_is_left_out(value: Any) -> None:
    assert groups(value) == ()


@pytest.mark.parametrize("output", [None, "text", {}, {"choices": {"a": 1}}])
def test_a_plan_without_choices_has_none(output: Any) -> None:
    assert plan_choices.plan_groups(output, run_tests=True) == ()


def test_groups_and_options_are_bounded() -> None:
    many = [{"key": str(i), "label": f"way {i}"} for i in range(50)]
    found = groups(*[{**DATABASE, "key": f"k{i}", "options": many} for i in range(50)])
    assert len(found) == plan_choices.MOST_GROUPS
    assert all(len(group.options) == plan_choices.MOST_OPTIONS for group in found)


def test_mentions_in_a_label_call_nobody() -> None:
    (group,) = groups({**DATABASE, "question": "Ask @mona?"})
    assert "@mona" not in group.question


@pytest.mark.parametrize(
    ("wanted", "proposed", "offered"), [(True, False, True), (True, True, False), (False, False, False)]
)
def test_tests_are_a_choice_only_where_the_plan_would_do_without(
    wanted: bool, proposed: bool, offered: bool
) -> None:
    assert bool(plan_choices.plan_groups({"run_tests": proposed}, run_tests=wanted)) is offered


@pytest.mark.parametrize(("option", "wants"), [("yes", True), ("no", False)])
def test_what_was_chosen_about_tests(option: str, wants: bool) -> None:
    assert plan_choices.wants_tests({"run-tests": option}) is wants
    assert plan_choices.wants_tests({}) is None


def test_boxes_come_back_as_they_were_written() -> None:
    found = groups(DATABASE)
    for key in ("pg", "lite", "none"):
        body = "\n".join(boxes(found, {"data-base": key}))
        assert from_boxes(found, body) == ({"data-base": key}, ())


def test_the_box_that_a_person_ticks_beside_the_recommended_one_counts() -> None:
    found = groups(DATABASE)
    body = "\n".join(boxes(found)).replace("- [ ] PostgreSQL", "- [X] PostgreSQL")
    assert from_boxes(found, body) == ({"data-base": "pg"}, ())


def test_two_boxes_of_people_are_unclear() -> None:
    found = groups(DATABASE)
    body = "\n".join(boxes(found)).replace("- [ ]", "- [x]")
    assert from_boxes(found, body) == ({}, ("data-base",))


def test_no_box_chooses_nothing() -> None:
    found = groups(DATABASE)
    assert from_boxes(found, "\r\n".join(boxes(found)).replace("[x]", "[ ]")) == ({}, ())
    assert from_boxes(found, "- [x] other <!-- choose data-base=oracle -->") == ({}, ())


def test_boxes_survive_the_line_ends_of_web_forms() -> None:
    found = groups(DATABASE)
    assert from_boxes(found, "\r\n".join(boxes(found, {"data-base": "pg"}))) == ({"data-base": "pg"}, ())


def test_the_form_chooses_by_label() -> None:
    found = groups(DATABASE)
    (field,) = fields(found)
    assert (field.kind, field.default) == ("choice", "SQLite")
    assert from_form(found, {field.name: "PostgreSQL"}) == {"data-base": "pg"}
    assert from_form(found, {field.name: "Oracle"}) == {}
    assert from_form(found, {}) == {}
