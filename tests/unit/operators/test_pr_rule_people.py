"""Asking people about a pull request of a rule, and carrying out what they chose."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskAwaitingInput, TaskDeferred
from fakes import FAILED, HEAD, NEXT_HEAD, Store, TaskInstance, context
from pr_rule_world import REPOSITORY, RULE, World, said

from airflow_provider_agents.domain.pools import RULES_POOL
from airflow_provider_agents.domain.pr_rule_choice import CLOSE, LEAVE, MERGE, CalledAbout, question_about
from airflow_provider_agents.domain.pr_rule_ledger import LEDGER_VARIABLE, Entry, Kind
from airflow_provider_agents.domain.risk import ChangedFile
from airflow_provider_agents.exceptions import InvalidInputError, TaskStoppedError
from airflow_provider_agents.operators.pr_rule_people import (
    AskAboutPullRequestOperator,
    CarryOutChoiceOperator,
)
from airflow_provider_agents.task_groups.pr_rule_escalation import pr_rule_escalation_dag

KEY = f"{REPOSITORY}#7"
LABEL = "needs-human-approval"


class People:
    """A run that asks people, after a rule called them about a protected path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World(monkeypatch)
        self.world.github.add(7)
        workflow = ChangedFile(path=".github/workflows/ci.yml", status="modified", additions=1, deletions=0)
        self.world.github.files = (workflow,)
        self.world.run({7: said("merge")})
        (call,) = self.world.called
        self.conf: dict[str, Any] = call["conf"]
        ledger = self.world.ledger
        (act,) = ledger.entry(KEY).acts
        earlier = dataclasses.replace(act, at=act.at - timedelta(minutes=10))
        self.world.variables.values[LEDGER_VARIABLE] = dataclasses.replace(
            ledger, entries={KEY: Entry(acts=(earlier,))}
        ).to_text()
        self.questions: list[dict[str, Any]] = []
        monkeypatch.setattr(
            "airflow.sdk.execution_time.hitl.upsert_hitl_detail",
            lambda **values: self.questions.append(values),
        )
        self.store = Store()
        self.asking = TaskInstance("ask", retries=3)
        self.asking.id = UUID(int=1)
        self.carrying = TaskInstance("carry_out", retries=3)
        self.world.github.done.clear()
        self.world.audit.clear()

    def _context(self, ti: TaskInstance) -> Any:
        return context(ti, self.store, dag_run=SimpleNamespace(conf=self.conf))

    def ask(self, event: dict[str, Any] | None = None) -> Any:
        operator = AskAboutPullRequestOperator(task_id="ask")
        run = self._context(self.asking)
        try:
            return operator.execute(run) if event is None else operator.resume(run, event)
        except (TaskAwaitingInput, AirflowSkipException) as end:
            return end

    def choose(self, option: str) -> dict[str, Any]:
        assert isinstance(self.ask(), TaskAwaitingInput)
        found: dict[str, Any] = self.ask(
            {
                "chosen_options": [option],
                "responded_by_user": {"id": "1", "name": "Olga"},
                "responded_at": datetime.now(UTC).isoformat(),
                "params_input": {},
            }
        )
        self.carrying._others = {"ask:return_value": found}
        return found

    def carry_out(self) -> Any:
        operator = CarryOutChoiceOperator(task_id="carry_out")
        try:
            return operator.execute(self._context(self.carrying))
        except TaskDeferred as end:
            return end


@pytest.fixture
def people(monkeypatch: pytest.MonkeyPatch) -> People:
    return People(monkeypatch)


def test_the_question_names_head_rule_guard_and_reason(people: People) -> None:
    assert isinstance(people.ask(), TaskAwaitingInput)
    (question,) = people.questions
    assert question["options"] == [MERGE, CLOSE, LEAVE]
    for part in (HEAD[:12], RULE, "protected_paths", "Because.", f"{REPOSITORY}"):
        assert part in question["body"]


def test_what_outsiders_wrote_stands_in_code_and_calls_nobody(people: People) -> None:
    title = "Bump\n\n# Merge it, @olga [x](http://evil) Fixes #3"
    about = CalledAbout.from_conf(
        {**people.conf, "title": title, "message": "It changes @olga/x.", "found": "Yes, @olga."}
    )
    question = question_about(about)
    outside = [
        line for line in question.body.splitlines() if any(word in line for word in ("evil", "olga", "Yes"))
    ]
    assert len(outside) == 3
    assert all(re.fullmatch(r"- \w+: (`+) ?[^`].*?[^`] ?\1", line) for line in outside)
    assert "@olga" not in question.body
    assert "@olga" not in question.subject
    assert "\n" not in question.subject


def test_a_merge_in_spite_of_the_protected_path(people: People) -> None:
    people.choose(MERGE)
    done = people.carry_out()
    assert (done["outcome"], done["action"], done["by"], done["person"]) == (
        "done",
        "merge",
        "person",
        "Olga",
    )
    assert people.world.acts == [
        f"merge #7 {HEAD} squash",
        f"unlabel #7: {LABEL}",
        f"comment #7 pr-rule={RULE}",
    ]
    assert [each.person for each in people.world.audit] == ["Olga"]
    consent = people.world.ledger.entry(KEY).consent(HEAD, "main")
    assert consent is not None
    assert (consent.choice, consent.person) == ("merge", "Olga")
    assert people.world.github.pulls[7].labels == ()  # type: ignore[union-attr]


def test_a_retry_merges_nothing_twice(people: People) -> None:
    people.choose(MERGE)
    people.carry_out()
    people.carrying.retry()
    done = people.carry_out()
    assert done["outcome"] == "done"
    assert len([entry for entry in people.world.acts if entry.startswith("merge")]) == 1


def test_what_no_person_overrides_is_waited_for(people: People) -> None:
    people.world.github.change(7, checks=(FAILED,))
    people.choose(MERGE)
    assert isinstance(people.carry_out(), TaskDeferred)
    assert people.world.acts == []
    people.world.github.add(7, labels=(LABEL,))
    assert people.carry_out()["outcome"] == "done"


def test_waiting_ends(people: People) -> None:
    found = people.choose(MERGE)
    people.world.github.change(7, draft=True)
    late = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    people.carrying._others = {"ask:return_value": {**found, "at": late}}
    with pytest.raises(TaskStoppedError, match="not possible within"):
        people.carry_out()
    (record,) = people.world.audit
    assert (record.outcome, record.guard) == ("failed", "draft")
    assert "not possible within" in people.world.github.comments[f"7 pr-rule={RULE}"]
    assert people.world.github.pulls[7].labels == (LABEL,)  # type: ignore[union-attr]


def test_a_fork_is_not_merged_by_any_choice(people: People) -> None:
    people.world.github.change(7, fork=True)
    people.choose(MERGE)
    with pytest.raises(TaskStoppedError, match="fork"):
        people.carry_out()
    assert people.world.acts == [f"comment #7 pr-rule={RULE}"]
    assert "It was not done" in people.world.github.comments[f"7 pr-rule={RULE}"]
    assert [each.person for each in people.world.audit] == ["Olga"]
    about = CalledAbout.from_conf({**people.conf, "guard": "fork"})
    assert question_about(about).option_names == (CLOSE, LEAVE)


def test_a_choice_is_void_for_another_head(people: People) -> None:
    people.choose(MERGE)
    people.world.github.change(7, head_sha=NEXT_HEAD)
    done = people.carry_out()
    assert (done["outcome"], done["guard"]) == ("superseded", "head_moved")
    assert people.world.acts == [f"unlabel #7: {LABEL}"]


def test_a_choice_is_void_for_another_branch(people: People) -> None:
    """The author of a pull request may have it go into another branch at any time, with the same head."""
    people.choose(MERGE)
    people.world.github.change(7, base_branch="release")
    done = people.carry_out()
    assert (done["outcome"], done["guard"]) == ("superseded", "base_moved")
    assert people.world.acts == [f"unlabel #7: {LABEL}"]
    people.world.github.change(7, labels=())
    found = people.world.run({7: said("merge")}, at=datetime.now(UTC))
    assert [each.outcome for each in found] == ["superseded"]


@pytest.mark.parametrize("change", [{"head_sha": NEXT_HEAD}, {"base_branch": "release"}])
def test_an_old_question_leaves_the_label_of_a_newer_call(people: People, change: dict[str, Any]) -> None:
    people.ask()
    people.world.github.change(7, **change)
    ledger = people.world.ledger
    (call,) = ledger.entry(KEY).acts
    newer = dataclasses.replace(
        call, **{{"base_branch": "base"}.get(name, name): value for name, value in change.items()}
    )
    people.world.variables.values[LEDGER_VARIABLE] = ledger.intending(KEY, newer).to_text()
    assert isinstance(people.ask({}), AirflowSkipException)
    assert people.world.acts == []


def test_what_a_rule_did_meanwhile_does_not_pass_for_the_choice(people: People) -> None:
    people.choose(MERGE)
    ledger = people.world.ledger
    (call,) = ledger.entry(KEY).acts
    now = datetime.now(UTC)
    others: tuple[tuple[Kind, str], ...] = (("comment", RULE), ("merge", "other"))
    for kind, rule in others:
        ledger = ledger.intending(
            KEY, dataclasses.replace(call, kind=kind, rule=rule, at=now, base="", detail="")
        )
    comment = ledger.entry(KEY).of("comment")[0]
    people.world.variables.values[LEDGER_VARIABLE] = ledger.ended(KEY, comment, "done").to_text()
    done = people.carry_out()
    assert (done["action"], done["outcome"]) == ("merge", "done")
    assert f"merge #7 {HEAD} squash" in people.world.acts


def test_close(people: People) -> None:
    people.choose(CLOSE)
    done = people.carry_out()
    assert (done["action"], done["outcome"]) == ("close", "done")
    assert people.world.github.pulls[7].state == "CLOSED"  # type: ignore[union-attr]


def test_to_leave_it_keeps_the_label(people: People) -> None:
    people.choose(LEAVE)
    people.carry_out()
    assert people.world.acts == [f"comment #7 pr-rule={RULE}"]
    assert people.world.github.pulls[7].labels == (LABEL,)  # type: ignore[union-attr]


def test_a_new_head_voids_the_question_and_frees_the_rule(people: People) -> None:
    people.ask()
    people.world.github.change(7, head_sha=NEXT_HEAD)
    end = people.ask({})
    assert isinstance(end, AirflowSkipException)
    assert people.world.acts == [f"unlabel #7: {LABEL}"]


def test_a_pull_request_that_is_closed_needs_no_answer(people: People) -> None:
    people.world.github.change(7, state="MERGED")
    assert isinstance(people.ask(), AirflowSkipException)
    assert people.questions == []


def test_nobody_answers(people: People) -> None:
    people.ask()
    people.store.values["asked_since_0"] = (datetime.now(UTC) - timedelta(days=8)).isoformat()
    end = people.ask({})
    assert isinstance(end, AirflowSkipException)
    assert "label stays" in str(end)
    assert people.world.acts == []


@pytest.mark.parametrize(
    "change",
    [{"number": "7"}, {"number": True}, {"head_sha": None}, {"head_sha": NEXT_HEAD}, {"reason": "fork"}],
)
def test_a_run_that_no_rule_started_asks_nobody(people: People, change: dict[str, Any]) -> None:
    people.conf = {**people.conf, **change}
    with pytest.raises(InvalidInputError, match="started by the DAGs of rules"):
        people.ask()
    assert people.questions == []


def test_a_run_without_conf(people: People) -> None:
    people.conf = None  # type: ignore[assignment]
    with pytest.raises(InvalidInputError, match="rule: must be a text"):
        people.ask()


def test_the_dag() -> None:
    dag = pr_rule_escalation_dag()
    assert dag.dag_id == "pr_rule_escalation"
    assert dag.is_paused_upon_creation is False
    assert dag.get_task("carry_out").upstream_task_ids == {"ask"}
    assert dag.get_task("carry_out").pool == RULES_POOL
    assert dag.get_task("ask").pool != RULES_POOL
