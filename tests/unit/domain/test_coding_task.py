"""What a person may ask for: every fault is named, with its field."""

from __future__ import annotations

from typing import Any

import pytest
from fakes import coding_task
from hypothesis import given
from hypothesis import strategies as st

from agent_runner.contract import branch_fault
from airflow_provider_agents.domain.coding_task import CodingTask, Ticket
from airflow_provider_agents.domain.coding_task_request import Bounds, CodingTaskRequest, parse_request

GOOD = {"repository": "acme/shop", "prompt": "Mend the basket"}


def faults(bounds: Bounds = Bounds(), **changes: Any) -> list[str]:  # noqa: B008 - a frozen value
    request, found = parse_request(GOOD | changes, bounds)
    assert (request is None) == bool(found)
    return found


def request(**changes: Any) -> CodingTaskRequest:
    parsed, found = parse_request(GOOD | changes, Bounds())
    assert parsed is not None, found
    return parsed


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        (
            {"surprise": 1},
            "surprise",
            "unknown key; known keys are agent, auto_merge, auto_merge_max_risk, base_branch",
        ),
        (
            {"repository": "https://github.com/acme/shop"},
            "repository",
            "must be owner/name, not a URL or a path",
        ),
        ({"repository": "git@github.com:acme/shop.git"}, "repository", "must be owner/name"),
        ({"repository": "shop"}, "repository", "must be owner/name"),
        ({"repository": "acme/shop/tree"}, "repository", "must be owner/name"),
        ({"repository": "acme/.."}, "repository", "must be owner/name"),
        ({"repository": "acme/."}, "repository", "must be owner/name"),
        ({"repository": "acme/shop\n/x"}, "repository", "must be owner/name"),
        ({"repository": "{{ x }}/y"}, "repository", "must be owner/name"),
        ({"repository": "a/" + "b" * 200}, "repository", "at most 140 characters"),
        ({"repository": ""}, "repository", "is missing"),
        ({"repository": None}, "repository", "is missing"),
        ({"base_branch": "my branch"}, "base_branch", "has characters other than"),
        ({"base_branch": "a..b"}, "base_branch", "is not a valid git branch name"),
        ({"work_branch": "../main"}, "work_branch", "is not a valid git branch name"),
        ({"work_branch": "x;rm -rf"}, "work_branch", "has characters other than"),
        ({"work_branch": "HEAD"}, "work_branch", "would be taken for a commit"),
        ({"work_branch": "main"}, "conf", "work_branch must differ from base_branch"),
        ({"prompt": ""}, "conf", "give an issue_number or a prompt (both are empty)"),
        ({"prompt": " \n\t"}, "conf", "give an issue_number or a prompt"),
        ({"prompt": "x" * 1_048_576}, "prompt", "has 1,048,576 bytes, at most 100,000"),
        ({"prompt": "é" * 60_000}, "prompt", "has 120,000 bytes"),
        ({"issue_number": 0}, "issue_number", "greater than or equal to 1"),
        ({"issue_number": "seven"}, "issue_number", "valid integer"),
        ({"max_attempts": 4}, "max_attempts", "is over the bound 3 ([agents] max_attempts"),
        ({"max_attempts": "4"}, "max_attempts", "is over the bound 3"),
        ({"max_attempts": 4.0}, "max_attempts", "is over the bound 3"),
        ({"max_attempts": 0}, "max_attempts", "greater than or equal to 1"),
        ({"max_rounds": 6}, "max_rounds", "is over the bound 5 ([agents] max_rounds"),
        ({"max_rounds": "1_0"}, "max_rounds", "is over the bound 5"),
        ({"max_rounds": -1}, "max_rounds", "greater than or equal to 0"),
        ({"plan_model": "--dangerous"}, "plan_model", "match pattern"),
        ({"fix_model": "a b"}, "fix_model", "match pattern"),
        ({"effort": "enormous"}, "effort", "'low', 'medium'"),
        ({"plan_turns": 501}, "plan_turns", "less than or equal to 500"),
        ({"merge_method": "force"}, "merge_method", "'squash', 'merge' or 'rebase'"),
        ({"no_checks": "ignore"}, "no_checks", "'escalate', 'merge' or 'wait'"),
        ({"land_timeout": 0}, "land_timeout", "greater than 0"),
        ({"step_timeout": 1_441}, "step_timeout", "less than or equal to 1440"),
        ({"step_timeout": float("nan")}, "step_timeout", "finite number"),
        ({"image": "-v /:/host"}, "image", "match pattern"),
        ({"cpu": "0"}, "cpu", "match pattern"),
        ({"cpu": "0.0"}, "cpu", "match pattern"),
        ({"cpu": "4 cores"}, "cpu", "match pattern"),
        ({"memory": "8GB"}, "memory", "match pattern"),
        ({"memory": "8K"}, "memory", "match pattern"),
        ({"memory": "0"}, "memory", "match pattern"),
        ({"run_tests": "perhaps"}, "run_tests", "valid boolean"),
        ({"test_command": "x" * 2_001}, "test_command", "at most 2000 characters"),
    ],
)
def test_a_fault_is_named_with_its_field(changes: dict[str, Any], field: str, words: str) -> None:
    found = faults(**changes)
    assert len(found) == 1, found
    assert found[0].startswith(f"{field}: ")
    assert words in found[0]


def test_all_faults_are_named_at_once() -> None:
    found = faults(repository="x", base_branch="a b", cpu="many", max_attempts=9, surprise=1, plan_turns="x")
    assert {fault.split(":")[0] for fault in found} == {
        "repository",
        "base_branch",
        "cpu",
        "max_attempts",
        "surprise",
        "plan_turns",
    }


def test_a_long_value_is_not_repeated_in_its_fault() -> None:
    (fault,) = faults(prompt="x" * 1_048_576)
    assert len(fault) < 200


def test_nothing_at_all_names_what_is_missing() -> None:
    _, found = parse_request({}, Bounds())
    assert "repository: is missing" in found


def test_bounds_are_those_of_the_installation() -> None:
    assert faults(Bounds(max_attempts=7, max_rounds=9), max_attempts=7, max_rounds=9) == []
    small = Bounds(max_attempts=1, max_rounds=0)
    parsed, found = parse_request(GOOD, small)
    assert found == []
    assert parsed is not None
    assert (parsed.max_attempts, parsed.max_rounds) == (1, 0)
    assert len(faults(small, max_attempts=2, max_rounds=1)) == 2


@pytest.mark.parametrize("text", ["{{ 7*7 }}", "{% raw %}x{% endraw %}", "{# no #}", "$HOME `id`", "a\nb"])
def test_text_is_kept_verbatim(text: str) -> None:
    assert request(prompt=text).prompt == text


def test_empty_form_fields_mean_unset() -> None:
    parsed = request(work_branch="", plan_model=" ", test_command="", image="", effort="")
    assert parsed.work_branch is None
    assert parsed.plan_model is None
    assert parsed.test_command is None
    assert parsed.image is None
    assert parsed.effort is None


@pytest.mark.parametrize("cpu", ["4", "500m", "0.5", "1.5", "0.05"])
def test_cpu_quantities(cpu: str) -> None:
    assert request(cpu=cpu).cpu == cpu


@pytest.mark.parametrize("memory", ["8Gi", "512Mi", "1.5Gi", "2G", "100k", "1000000000"])
def test_memory_quantities(memory: str) -> None:
    assert request(memory=memory).memory == memory


def test_a_lone_surrogate_is_a_fault_not_a_crash() -> None:
    assert faults(prompt="x\ud800")[0].startswith("prompt: ")


@given(
    st.dictionaries(
        st.sampled_from([*CodingTaskRequest.model_fields, "surprise"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats()
        | st.text(max_size=20)
        | st.lists(st.integers()),
    )
)
def test_any_conf_is_read_or_refused_with_reasons(conf: dict[str, Any]) -> None:
    parsed, found = parse_request(conf, Bounds())
    assert (parsed is None) == bool(found)
    assert all(": " in fault for fault in found)
    if parsed is not None:
        assert parsed.max_attempts <= 3
        assert parsed.max_rounds <= 5


def test_a_draft_is_never_merged_by_us() -> None:
    assert request(auto_merge=True).policy.auto_merge
    assert not request(auto_merge=True, draft=True).policy.auto_merge
    policy = request(merge_method="rebase", no_checks="wait", max_rounds=2).policy
    assert (policy.merge_method, policy.no_checks, policy.max_rounds) == ("rebase", "wait", 2)


def test_names_have_no_text_of_the_ticket_in_them() -> None:
    ticket = Ticket(number=3, title="x; rm -rf / --no-preserve-root", body="$(id)")
    task = coding_task(issue_number=3, ticket=ticket)
    assert task.name.startswith("issue-3-")
    assert task.work_branch == f"ai/{task.name}"
    assert branch_fault(task.work_branch) is None
    assert task.title == ticket.title


def test_a_task_of_a_prompt_is_named_by_its_first_line() -> None:
    task = coding_task(prompt="\n\nMend the basket\nand more")
    assert task.title == "Mend the basket"
    assert task.name.startswith("task-")


def test_each_run_has_a_branch_of_its_own_and_each_retry_the_same() -> None:
    parsed = request()

    def branch(run_key: str) -> str:
        return CodingTask.accept(parsed, run_key=run_key, base_sha="", ticket=None).work_branch

    assert branch("d/run_1") == branch("d/run_1")
    assert branch("d/run_1") != branch("d/run_2")


def test_a_given_branch_is_used() -> None:
    assert coding_task(work_branch="topic/x").work_branch == "topic/x"


def test_a_task_comes_back_from_xcom() -> None:
    task = coding_task(issue_number=3)
    assert CodingTask.model_validate(task.model_dump(mode="json")) == task


@pytest.mark.parametrize("name", CodingTaskRequest.model_fields)
def test_every_field_is_described_for_the_form(name: str) -> None:
    schema = CodingTaskRequest.model_json_schema()["properties"][name]
    assert schema["description"].endswith(".")
    assert schema["section"]
    assert schema["title"]
