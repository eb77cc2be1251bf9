"""Rules for pull requests in a real Airflow: what is decided, what is done, what people see of it, and what is not done."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from demo.processes import wait_for
from tests.e2e.helpers import watch
from tests.e2e.rules import (
    BOT,
    ESCALATION_DAG,
    INTERVAL,
    Rule,
    asked,
    definition,
    example,
    labels_of,
    merges,
    open_pull,
    report,
    ruling,
    seed,
    wait_until_merged,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.stack import DemoStack
    from tests.e2e.commands import Commands

DEPENDENCIES, PRODUCTION, GUARDED = "acme/rules-bot", "acme/rules-people", "acme/rules-guarded"
TWINS, EDITED = "acme/rules-twins", "acme/rules-edited"
RED, GREEN, LATER = 1, 2, 3
SECONDS = 120
"""In all but one repository there is one pull request, which has the number 1."""


@pytest.fixture(scope="module")
def rules(stack: DemoStack) -> Iterator[dict[str, Rule]]:
    """All rules, and the pull requests that they find; most tests ask what became of one of them."""
    for repository in (DEPENDENCIES, PRODUCTION, GUARDED, TWINS, EDITED):
        seed(stack, repository)
    bumped = {"package.json": '{"dependencies": {"letters": "1.2.1"}}\n'}
    open_pull(
        stack,
        DEPENDENCIES,
        "Bump letters from 1.2.0 to 1.2.1",
        by=BOT,
        labels=("dependencies",),
        files=bumped,
    )
    open_pull(stack, PRODUCTION, "To production", labels=("production",))
    open_pull(stack, GUARDED, "Red", check="failure")
    open_pull(stack, GUARDED, "Green", labels=("shown",))
    open_pull(stack, GUARDED, "Later", check="pending")
    open_pull(stack, TWINS, "Wanted twice")
    with ruling(
        stack,
        dependabot=example("dependabot", DEPENDENCIES),
        production_approval=example("production-approval", PRODUCTION),
        guarded=definition(GUARDED, selector={"labels": {"exclude": ["shown"]}}),
        dry=definition(GUARDED, selector={"labels": {"include": ["shown"]}}, dry_run=True),
        twin_a=definition(TWINS),
        twin_b=definition(TWINS),
        edited=definition(EDITED),
    ) as made:
        yield made


def test_an_update_by_dependabot_is_merged_once(
    stack: DemoStack, rules: dict[str, Rule], airflow_agents: Commands
) -> None:
    rule = rules["dependabot"]
    merged = wait_until_merged(stack, DEPENDENCIES, 1)
    head = stack.forge.get(f"/repos/{DEPENDENCIES}/pulls/1")["head"]["sha"]
    assert (merged["details"]["head_sha"], merged["actor"]) == (head, "agent")
    record = rule.record(1, "done")
    assert (record["action"], record["guard"], record["head_sha"]) == ("merge", "", head)
    assert sum(each["usd"] for each in rule.records()) > 0

    told = len(rule.records())
    assert rule.pass_now()["state"] == "success"
    assert len(merges(stack, DEPENDENCIES)) == 1
    assert (asked(stack, "a rule about a dependency"), len(rule.records())) == (1, told)
    (line,) = (each for each in airflow_agents("rules") if each["rule"] == rule.name)
    assert (line["merge"], line["last_error"]) == (1, None)
    decisions = airflow_agents("rules", "decisions", rule.name)
    assert [each["outcome"] for each in decisions].count("done") == 1


def test_a_broken_rule_shows_where_it_is_broken_and_takes_no_other_along(
    stack: DemoStack, rules: dict[str, Rule]
) -> None:
    text = "repositories: [acme/rules-guarded]\ninstruction: |\n  Merge.\n  {{ pr.titel }}\n"
    with ruling(stack, broken=text) as made:
        error = wait_for(lambda: next(iter(stack.airflow.import_errors()), None), what="an error", seconds=60)
        assert "rules/broken.yaml:4: " in error["stack_trace"]
        assert "did you mean `pr.title`?" in error["stack_trace"]
        assert rules["dry"].pass_now()["state"] == "success"
        dags = {dag["dag_id"]: dag for dag in stack.airflow.request("GET", "/dags?limit=100")["dags"]}
        assert {rule.dag_id for rule in rules.values()} <= set(dags)
        assert not any(dag["has_import_errors"] for dag in dags.values())
        made["broken"].write(definition(GUARDED, selector={"labels": {"include": ["nothing"]}}))
        wait_for(lambda: None if stack.airflow.import_errors() else True, what="no error", seconds=60)


def test_a_merge_of_what_fails_is_not_made_whatever_the_model_says(
    stack: DemoStack, rules: dict[str, Rule]
) -> None:
    record = rules["guarded"].record(RED, "guarded")
    assert (record["answer"]["action"], record["action"]) == ("merge", "wait")
    assert record["guard"] == "checks_failed"
    assert RED not in {each["number"] for each in merges(stack, GUARDED)}


def test_a_dry_run_shows_what_it_would_do(stack: DemoStack, rules: dict[str, Rule]) -> None:
    record = rules["dry"].record(GREEN, "dry_run")
    assert (record["action"], record["message"].partition(".")[0]) == ("merge", "Would merge")
    run = rules["dry"].runs()[0]
    assert f"{GUARDED}#{GREEN} merge: dry_run. Would merge." in stack.task_log(
        rules["dry"].dag_id, run["dag_run_id"], "act"
    )
    deeds = [each for each in stack.mutations() if each["repository"] == GUARDED and each["number"] == GREEN]
    assert "agent" not in {each["actor"] for each in deeds}


def test_two_rules_for_one_pull_request_merge_it_once(stack: DemoStack, rules: dict[str, Rule]) -> None:
    ended = {name: wait_for_records(rules[name])[-1] for name in ("twin-a", "twin-b")}
    assert [each["answer"]["action"] for each in ended.values()] == ["merge", "merge"]
    assert sorted(each["outcome"] for each in ended.values()) == ["done", "superseded"]
    assert len(merges(stack, TWINS)) == 1


def test_a_person_decides_what_goes_to_production(
    stack: DemoStack, rules: dict[str, Rule], airflow_agents: Commands
) -> None:
    rule = rules["production-approval"]
    assert rule.record(1, "done")["action"] == "escalate"
    (comment,) = stack.forge.get(f"/repos/{PRODUCTION}/issues/1/comments")
    assert "It goes to production and is ready for a person." in comment["body"]
    assert "needs-human-approval" in labels_of(stack, PRODUCTION, 1)
    (question,) = stack.airflow.runs(ESCALATION_DAG)
    run_id = question["dag_run_id"]
    assert f"/runs/{run_id}/tasks/ask/required_actions" in comment["body"]
    stack.airflow.wait_for_task(ESCALATION_DAG, run_id, "ask", {"awaiting_input"}, SECONDS)
    # Nothing changed: it is asked no second time, and said no second time.
    rule.pass_now()
    assert merges(stack, PRODUCTION) == []
    stack.airflow.answer(ESCALATION_DAG, run_id, "ask", "Merge this head", {})

    assert stack.wait_for_run(ESCALATION_DAG, run_id, SECONDS)["state"] == "success"
    assert len(merges(stack, PRODUCTION)) == 1
    assert "needs-human-approval" not in labels_of(stack, PRODUCTION, 1)
    (edited,) = stack.forge.get(f"/repos/{PRODUCTION}/issues/1/comments")
    assert edited["id"] == comment["id"]
    assert "chose to merge" in edited["body"]
    assert asked(stack, "a rule about production") == 1
    assert len(stack.airflow.runs(ESCALATION_DAG)) == 1
    decisions = airflow_agents("rules", "decisions", rule.name)
    (consent,) = (each for each in decisions if each["by"] == "person")
    assert (consent["action"], consent["outcome"]) == ("merge", "done")
    assert consent["person"] in edited["body"]


def test_an_answer_to_a_text_that_was_edited_meanwhile_is_not_carried_out(
    stack: DemoStack, rules: dict[str, Rule]
) -> None:
    rule = rules["edited"]
    number = open_pull(stack, EDITED, "Slow change")
    wait_for(lambda: asked(stack, "a rule, slowly") or None, what="a question", seconds=SECONDS)
    rule.change(instruction="Merge what is green and small: {{ pr.ciStatus }}.")
    before = rule.record(number, "superseded")
    after = rule.record(number, "done")
    assert (before["answer"]["action"], before["action"]) == ("merge", "wait")
    assert after["version"] != before["version"]
    assert len(merges(stack, EDITED)) == 1
    assert asked(stack, "a rule, slowly") == 2


def test_a_run_exists_only_when_something_changed(stack: DemoStack, rules: dict[str, Rule]) -> None:
    rule = rules["guarded"]
    # The sweep's first, and one for a rule that is new to the watcher; nothing since, whatever the time.
    first = rule.runs()
    assert [run["run_type"] for run in first] == ["scheduled", "asset_triggered"]
    quiet = (datetime.now(UTC) - datetime.fromisoformat(first[-1]["start_date"])).total_seconds()
    assert {len(runs) for runs in watch(rule.runs, seconds=max(1, 3 * INTERVAL - quiet), interval=2)} == {2}
    assert not [each for each in rule.records() if each["number"] == LATER], "asked while its check runs"

    report(stack, GUARDED, LATER, "success")
    wait_until_merged(stack, GUARDED, LATER)
    assert rule.record(LATER, "done")["asked"] is True
    assert len([each for each in rule.records() if each["number"] == LATER]) == 1
    assert [run["run_type"] for run in rule.runs()] == ["scheduled", "asset_triggered", "asset_triggered"]


def wait_for_records(rule: Rule) -> list[dict[str, Any]]:
    return wait_for(lambda: rule.records() or None, what=f"a record of {rule.name}", seconds=SECONDS)
