"""``airflow agents rules``: how rules fare, what stands, what was decided; asked of a fake API over real HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.cli import api_access, api_client
from airflow_provider_agents.domain.pr_rule_audit import audit_record
from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision, RuleAnswer
from airflow_provider_agents.domain.pr_rule_state import Pass, RuleState, Seen
from tests.unit.cli.command_line import Ended, call_line
from tests.unit.cli.fake_airflow import TOKEN, FakeAirflow, Fault

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = datetime.now(UTC).replace(microsecond=0)
FAULT = "rules/broken.yaml:4: instruction: there is no `pr.tile`; did you mean `pr.title`?"


class FakeRules(FakeAirflow):
    """An Airflow with rules."""

    def __init__(self) -> None:
        super().__init__()
        self.dags: list[dict[str, Any]] = []
        self.events: list[dict[str, Any]] = []
        self.import_errors: list[dict[str, Any]] = []
        self.page = 100

    def add_rule(self, name: str, state: RuleState | None = None, **values: Any) -> None:
        moment = (NOW + timedelta(minutes=50)).isoformat()
        self.dags.append(
            {
                "dag_id": f"pr_rule__{name}",
                "is_paused": False,
                "tags": [{"name": "agents"}, {"name": "rules"}],
                "description": "Decides about pull requests",
                "next_dagrun_run_after": moment,
                **values,
            }
        )
        if state is not None:
            self.variables[f"agents_rule__{name}"] = state.to_text()

    def add_decision(self, number: int, days_ago: float = 0.0, **values: Any) -> None:
        moment = NOW - timedelta(days=days_ago)
        found = decision(number, decided_at=moment, **values)
        self.events.append(
            {
                "id": len(self.events),
                "name": f"agents_decisions__{found.rule}",
                "timestamp": moment.isoformat(),
                "extra": audit_record(found),
                "source_dag_id": f"pr_rule__{found.rule}",
                "source_run_id": f"run-{len(self.events)}",
            }
        )

    def _routes(self) -> list[tuple[str, Any]]:
        return [
            (r"GET /dags", lambda n, q, b: self._listed("dags", self.dags, q)),
            (r"GET /dags/(?P<dag>pr_rule__[^/]+)", self._dag),
            (
                r"GET /importErrors",
                lambda n, q, b: self._listed("import_errors", self.import_errors, q),
            ),
            (r"GET /assets/events", self._events),
            *super()._routes(),
        ]

    def _dag(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        found = [dag for dag in self.dags if dag["dag_id"] == named["dag"]]
        return (200, found[0]) if found else (404, {"detail": "The Dag was not found"})

    def _events(self, named: dict[str, str], query: dict[str, Any], body: Any) -> tuple[int, Any]:
        found = [
            event
            for event in self.events
            if event["name"].startswith(query["name_prefix_pattern"])
            and datetime.fromisoformat(event["timestamp"]) >= datetime.fromisoformat(query["timestamp_gte"])
        ]
        assert query["order_by"] == "-timestamp"
        found.sort(key=lambda event: str(event["timestamp"]), reverse=True)
        return self._listed("asset_events", found, query)


def decision(number: int, **values: Any) -> PullRequestDecision:
    facts: dict[str, Any] = {
        "rule": "staging",
        "version": "0123456789ab",
        "repository": "acme/shop",
        "number": number,
        "url": f"https://github.com/acme/shop/pull/{number}",
        "head_sha": f"{number:040x}",
        "context_hash": "f" * 16,
        "decided_at": NOW,
        "answer": RuleAnswer(action="merge", reason="All is green.", confidence=0.9),
        "model": "claude-opus-4-8",
        "usd": 0.0123,
        "action": "merge",
        "outcome": "done",
    }
    return PullRequestDecision(**{**facts, **values})


def seen(**values: Any) -> Seen:
    return Seen(**{"seen_at": NOW, "head_sha": "a" * 40, **values})


STATE = RuleState(
    pull_requests={
        "acme/shop#12": seen(
            answer=RuleAnswer(action="merge", reason="All is green.", confidence=0.9),
            answered_at=NOW - timedelta(minutes=2),
            guard="freeze",
            outcome="guarded",
            retry_at=NOW + timedelta(hours=3),
        ),
        "acme/shop#7": seen(unsettled_since=NOW - timedelta(minutes=9)),
        "acme/shop#9": seen(fault="overloaded", failures=2, retry_at=NOW + timedelta(minutes=5)),
        "acme/shop#3": seen(seen_at=NOW - timedelta(days=3)),
    },
    last_pass=Pass(at=NOW, run_id="r1", ended_at=NOW, repositories=2, listed=40, matched=3, asked=2, left=1),
    last_error="acme/shop#9: overloaded: try later",
    last_error_at=NOW - timedelta(minutes=1),
    processed=11,
    actions={"merge": 4, "wait": 5, "escalate": 1, "comment": 1},
    errors={"ai": 2},
    usd={NOW.date().isoformat(): 0.5},
    reserved={f"{NOW.date().isoformat()}/r9": 0.25},
    look_at=NOW + timedelta(minutes=5),
)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeRules]:
    with FakeRules() as fake:
        monkeypatch.setenv(api_access.URL, fake.url)
        monkeypatch.setenv(api_access.TOKEN, TOKEN)
        monkeypatch.delenv("AIRFLOW__AGENTS__CONFIG_PATH", raising=False)
        monkeypatch.setattr(api_client, "_PAUSES", (0.0, 0.0))
        yield fake


def shown(*line: str) -> Any:
    ended = call_line("rules", *line, "-o", "json")
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def table(*line: str) -> Ended:
    ended = call_line("rules", *line)
    assert ended.code == 0, ended.err
    return ended


# All rules


def test_every_rule_with_what_it_did(airflow: FakeRules) -> None:
    airflow.add_rule("staging", STATE)
    airflow.add_rule("stale", is_paused=True)
    airflow.add_rule("trial", description="Decides about pull requests by rules/trial.yaml (dry run)")
    airflow.add_rule(
        "broken", tags=[{"name": "rules"}, {"name": "broken"}], description=FAULT, next_dagrun_run_after=None
    )
    rows = {row["rule"]: row for row in shown()}
    staging = rows["staging"]
    assert (staging["state"], staging["matched"], staging["processed"]) == ("on", 3, 11)
    assert [staging[each] for each in ("merge", "close", "escalate", "wait")] == [4, 0, 1, 5]
    assert staging["usd_today"] == 0.75  # what is set aside counts as spent
    assert staging["next_pass"] == (NOW + timedelta(minutes=5)).isoformat()
    assert staging["last_error"] == "acme/shop#9: overloaded: try later"
    assert (rows["stale"]["state"], rows["stale"]["next_pass"], rows["stale"]["last_pass"]) == (
        "paused",
        None,
        None,
    )
    assert rows["trial"]["state"] == "dry run"
    assert (rows["broken"]["state"], rows["broken"]["last_error"]) == ("broken", FAULT)
    text = table().out
    assert "NEXT PASS" in text
    assert "in 4m" in text or "in 5m" in text


def test_the_next_pass_of_a_rule_that_wants_nothing_is_its_sweep(airflow: FakeRules) -> None:
    airflow.add_rule("staging", RuleState())
    assert shown()[0]["next_pass"] == (NOW + timedelta(minutes=50)).isoformat()


def test_the_limit_of_the_day_where_the_files_are_at_hand(
    airflow: FakeRules, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "staging.yaml").write_text(
        "repositories: [acme/shop]\ninstruction: Merge it.\nlimits: {usd_per_day: 2}\n"
    )
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    airflow.add_rule("staging", STATE)
    assert shown()[0]["usd_per_day"] == 2
    assert "0.7500 of 2" in table().out


def test_faults_of_files_that_have_no_dag_are_told_beside(airflow: FakeRules) -> None:
    airflow.import_errors = [
        {
            "filename": "pr_rules_faults.py",
            "stack_trace": f"Traceback …\nInvalidInputError: {FAULT}\nrules/Bad.yaml:1: name it bad.yaml\n",
        },
        {"filename": "other.py", "stack_trace": "rules/other.yaml:9: not ours"},
    ]
    ended = table()
    assert ended.out == "There are no rules.\n"
    assert ended.err.splitlines() == [FAULT, "rules/Bad.yaml:1: name it bad.yaml"]


def test_a_damaged_memory_hides_no_rule(airflow: FakeRules) -> None:
    airflow.add_rule("staging")
    airflow.variables["agents_rule__staging"] = '{"version": 1}'
    ended = table()
    assert "staging" in ended.out
    assert "agents_rule__staging is damaged" in ended.err


def test_who_may_not_read_variables_is_told(airflow: FakeRules) -> None:
    airflow.add_rule("staging", STATE)
    airflow.faults.append(Fault("GET /api/v2/variables", 403, times=2))
    for line in ((), ("staging",)):
        ended = table(*line)
        assert "staging" in ended.out
        assert "may not read Variables" in ended.err


# One rule


def test_what_stands_about_each_pull_request(airflow: FakeRules) -> None:
    airflow.add_rule("staging", STATE)
    document = shown("staging")
    rows = {row["pull_request"]: row for row in document["pull_requests"]}
    # In order of their numbers; what the last pass did not find is gone.
    assert list(rows) == ["acme/shop#7", "acme/shop#9", "acme/shop#12"]
    assert (rows["acme/shop#12"]["stands"], rows["acme/shop#12"]["guard"]) == ("merge", "freeze")
    assert rows["acme/shop#12"]["why"] == "All is green."
    assert rows["acme/shop#9"]["stands"] == "no answer"
    assert "2 times in a row" in rows["acme/shop#9"]["why"]
    assert rows["acme/shop#7"]["stands"] == "not asked"
    assert document["errors"] == {"ai": 2}
    text = table("show", "staging").out
    assert "Decisions:     11: 1 comment, 1 escalate, 4 merge, 5 wait" in text
    assert "freeze" in text


def test_a_rule_that_is_not_there(airflow: FakeRules) -> None:
    ended = call_line("rules", "nothing")
    assert (ended.code, "knows no rule 'nothing'" in ended.err) == (1, True)


# Decisions


def test_the_newest_decisions_come_first(airflow: FakeRules) -> None:
    airflow.add_decision(7, days_ago=2)
    airflow.add_decision(8, days_ago=1, action="wait", guard="freeze", outcome="guarded", message="Frozen.")
    airflow.add_decision(9, days_ago=100)
    airflow.add_decision(10, rule="staging-two")
    assert [each["number"] for each in shown("decisions")] == [10, 8, 7]
    assert [each["number"] for each in shown("decisions", "staging")] == [8, 7]
    assert [each["number"] for each in shown("decisions", "--since", "200d")] == [10, 8, 7, 9]
    assert [each["number"] for each in shown("decisions", "--action", "wait")] == [8]
    assert [each["number"] for each in shown("decisions", "--pull-request", "7")] == [7]
    assert [each["number"] for each in shown("decisions", "--pull-request", "ACME/shop#8")] == [8]
    assert shown("decisions", "--repository", "acme/other") == []
    assert shown("decisions", "staging")[0]["run_id"] == "run-1"
    text = table("decisions").out
    assert "Frozen. [All is green.]" in text


def test_what_is_said_once_is_shown_once(airflow: FakeRules) -> None:
    airflow.add_decision(7, outcome="dry_run", message="Would merge it. All is green.")
    assert table("decisions").out.count("All is green.") == 1


def test_no_more_is_read_than_is_shown(airflow: FakeRules) -> None:
    for number in range(1, 251):
        airflow.add_decision(number, days_ago=number / 100)
    assert [each["number"] for each in shown("decisions", "--limit", "3")] == [1, 2, 3]
    assert sum("/assets/events" in request for request in airflow.requests) == 1
    assert len(shown("decisions", "--limit", "230")) == 230
    assert len(shown("decisions")) == 50


def test_decisions_that_share_an_event(airflow: FakeRules) -> None:
    airflow.add_decision(1)
    records = [audit_record(decision(number)) for number in (2, 3, 4)]
    airflow.add_decision(5, days_ago=1)
    airflow.events[-1]["extra"] = {"format": 1, "decisions": records}
    assert [each["number"] for each in shown("decisions")] == [1, 4, 3, 2]
    assert [each["number"] for each in shown("decisions", "--pull-request", "3")] == [3]


def test_what_somebody_else_wrote_to_the_asset_is_left_out(airflow: FakeRules) -> None:
    airflow.add_decision(7)
    airflow.events.append({**airflow.events[0], "extra": {"from": "a person"}})
    airflow.events.append({**airflow.events[0], "extra": None})
    assert len(shown("decisions")) == 1


def test_a_person_is_named(airflow: FakeRules) -> None:
    airflow.add_decision(7, by="person", person="olga", asked=False, answer=None)
    assert "olga" in table("decisions").out


# How it ends


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (("one", "two"), "two is one too many"),
        (("show",), "write: rules show RULE"),
        (("decisions", "a", "b"), "b is one too many"),
        (("decisions", "--since", "soon"), "write it as 30m, 24h or 7d"),
        (("decisions", "--pull-request", "x"), "write it as 7, or acme/shop#7"),
        (("decisions", "--limit", "0"), "from 1"),
        (("decisions", "--repository", "a/b", "--pull-request", "c/d#1"), "two repositories"),
        (("staging", "--since", "7d"), "--since is for `rules decisions`"),
    ],
)
def test_wrong_usage(airflow: FakeRules, line: tuple[str, ...], why: str) -> None:
    ended = call_line("rules", *line)
    assert (ended.code, ended.out) == (2, "")
    assert why in ended.err


def test_an_airflow_that_is_down(airflow: FakeRules) -> None:
    airflow.faults.append(Fault("GET", 503, times=99))
    assert call_line("rules").code == 3
    assert call_line("rules", "decisions").code == 3
