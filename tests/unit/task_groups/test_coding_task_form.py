"""The trigger form: one param a field, with the request's own checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk.exceptions import ParamValidationError

from airflow_provider_agents.domain.coding_task_request import Bounds, CodingTaskRequest, parse_request
from airflow_provider_agents.task_groups.coding_task_form import (
    installed_bounds,
    installed_defaults,
    request_params,
)

if TYPE_CHECKING:
    from pathlib import Path

    from airflow.sdk import Param

SECTIONS = {
    "Ticket of a source",
    "Agent",
    "Branches",
    "Budget",
    "Checks",
    "Merge",
    "People",
    "Pod",
    "Pull request",
    "Review",
    "Tests",
}
TICKET = {"repository", "issue_number", "prompt", "priority"}
FIELDS = list(CodingTaskRequest.model_fields)


def params(bounds: Bounds | None = None, **defaults: Any) -> dict[str, Param]:
    return request_params(bounds or Bounds(), defaults)


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_in_the_form_with_section_title_and_description(name: str) -> None:
    param = params()[name]
    # What a person must fill in has no section: the form shows it first and unfolded.
    assert param.schema.get("section") in ({None} if name in TICKET else SECTIONS)
    assert param.schema["title"]
    assert param.schema["description_md"]
    assert param.schema["type"]


def test_the_form_has_nothing_else() -> None:
    assert list(params()) == FIELDS


@pytest.mark.parametrize("name", [name for name in FIELDS if name != "repository"])
def test_each_default_is_a_value_of_its_field(name: str) -> None:
    params()[name].resolve()


def test_a_repository_must_be_given() -> None:
    with pytest.raises(ParamValidationError):
        params()["repository"].resolve()
    assert params()["repository"].resolve("acme/shop") == "acme/shop"


def test_the_defaults_of_the_form_are_those_of_the_request() -> None:
    values = {name: param.value for name, param in params().items() if name != "repository"}
    given, faults = parse_request({**values, "repository": "acme/shop", "prompt": "p"}, Bounds())
    assert faults == []
    assert given == CodingTaskRequest(repository="acme/shop", prompt="p")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plan_turns", 0),
        ("plan_turns", 501),
        ("plan_turns", "15"),
        ("max_attempts", 4),
        ("max_attempts", 0),
        ("max_rounds", 6),
        ("max_rounds", -1),
        ("cpu", "many"),
        ("memory", "8GB"),
        ("merge_method", "force"),
        ("effort", "enormous"),
        ("plan_model", "--bad"),
        ("issue_number", 0),
        ("land_timeout", 0),
        ("step_timeout", 1_441),
        ("draft", "yes"),
    ],
)
def test_the_form_refuses_what_the_request_refuses(name: str, value: Any) -> None:
    with pytest.raises(ParamValidationError):
        params()[name].resolve(value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("effort", None),
        ("effort", "max"),
        ("issue_number", None),
        ("issue_number", 7),
        ("prompt", "{{ 7*7 }}\nx"),
        ("land_timeout", 0.5),
    ],
)
def test_the_form_takes_what_the_request_takes(name: str, value: Any) -> None:
    assert params()[name].resolve(value) == value


LISTS = ["read_repositories", "hold_labels", "freeze", "ticket_asks"]


@pytest.mark.parametrize("name", LISTS)
def test_a_list_that_is_emptied_in_the_form_has_no_items(name: str) -> None:
    # Airflow's form sends null for a list that a person emptied, and an empty line as an empty text.
    assert params()[name].resolve(None) is None
    for emptied in (None, [], [" "]):
        request, faults = parse_request({"repository": "acme/shop", "prompt": "p", name: emptied}, Bounds())
        assert request is not None, faults
        assert not getattr(request, name)


def test_all_lists_are_known_to_the_test() -> None:
    assert [name for name, param in params().items() if "array" in param.schema["type"]] == sorted(
        LISTS, key=FIELDS.index
    )


def test_an_empty_line_is_no_item() -> None:
    given = {
        "repository": "acme/shop",
        "prompt": "p",
        "hold_labels": ["wip", ""],
        "read_repositories": ["a/b", ""],
    }
    request, faults = parse_request(given, Bounds())
    assert request is not None, faults
    assert (request.hold_labels, request.read_repositories) == (("wip",), ("a/b",))


def test_the_form_of_choices_is_a_menu() -> None:
    schema = params()["effort"].schema
    assert set(schema["enum"]) == {None, "low", "medium", "high", "xhigh", "max"}
    assert set(schema["type"]) == {"string", "null"}
    assert params()["prompt"].schema["format"] == "multiline"


@pytest.mark.parametrize(("bounds", "attempts", "rounds"), [(Bounds(1, 0), 1, 0), (Bounds(9, 9), 3, 5)])
def test_bounds_limit_the_form(bounds: Bounds, attempts: int, rounds: int) -> None:
    made = params(bounds)
    assert (made["max_attempts"].value, made["max_rounds"].value) == (attempts, rounds)
    assert made["max_attempts"].schema["maximum"] == bounds.max_attempts
    with pytest.raises(ParamValidationError):
        made["max_rounds"].resolve(bounds.max_rounds + 1)


def test_bounds_come_from_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_bounds() == Bounds(3, 5)
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_ATTEMPTS", "7")
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_ROUNDS", "0")
    assert installed_bounds() == Bounds(7, 0)
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_ATTEMPTS", "0")
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_ROUNDS", "-3")
    assert installed_bounds() == Bounds(1, 0)


# The defaults of an installation


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    return tmp_path / "repositories.yaml"


def test_without_a_folder_or_a_file_there_are_no_defaults(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert installed_defaults() == {}
    monkeypatch.delenv("AIRFLOW__AGENTS__CONFIG_PATH")
    assert installed_defaults() == {}


def test_the_file_sets_what_stands_in_the_form(file: Path) -> None:
    file.write_text(
        "defaults:\n  repository: acme/shop\n  plan_turns: 20\n  auto_merge: false\n  implement_model: m-1\n"
        "  max_rounds: 9\n  paused: true\n  freeze: [2026-12-20/2027-01-04]\n  limits: {plan_turns: 30}\n"
        "repositories:\n  acme/shop: {plan_turns: 25}\n"
    )
    made = request_params(Bounds(), installed_defaults())
    assert made["repository"].resolve() == "acme/shop"
    assert made["plan_turns"].value == 20
    assert made["auto_merge"].value is False
    assert made["implement_model"].value == "m-1"
    assert made["max_rounds"].value == 5  # no more than the graph has
    assert made["fix_turns"].value == 50
    assert made["freeze"].value == ["2026-12-20/2027-01-04"]
    assert list(made) == FIELDS


def test_an_empty_file_sets_nothing(file: Path) -> None:
    file.write_text("# nothing yet\n")
    assert installed_defaults() == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n- b\n", "repositories.yaml:1: the top is a list"),
        ("just text", "repositories.yaml:1: the top is a single value"),
        (
            "defaults:\n  plan_turn: 3\n  secret: x\n",
            "2: defaults.plan_turn: unknown key; did you mean `plan_turns`?\nrepositories.yaml:3: defaults.secret: unknown",
        ),
    ],
)
def test_a_bad_file_is_named(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(ValueError, match=r"repositories\.yaml") as caught:
        installed_defaults()
    assert words in str(caught.value)


def test_the_former_file_is_an_import_error(file: Path) -> None:
    file.with_name("coding_task.yaml").write_text("plan_turns: 3\n")
    with pytest.raises(ValueError, match="is not read any more; put its lines, indented by two spaces"):
        installed_defaults()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("plan_turns", "many"),
        ("plan_turns", 0),
        ("max_attempts", "three"),
        ("max_rounds", None),
        ("merge_method", "force"),
        ("cpu", 4),
    ],
)
def test_a_bad_default_is_named(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"Default of {name}: "):
        params(**{name: value})


@pytest.mark.parametrize(
    ("name", "words"),
    [("effort", "default of the program"), ("image_preset", "found from the repository's files")],
)
def test_an_empty_choice_says_what_it_means(name: str, words: str) -> None:
    param = params()[name]
    assert param.schema["enum"][0] is None
    assert param.schema["values_display"] == {"null": words}
