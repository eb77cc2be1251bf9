"""Decisions as they are kept: bounded, complete, without repetition; and as numbers over a real UDP socket."""

from __future__ import annotations

import json
import socket
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk._shared.observability.metrics import stats as stats_module
from airflow.sdk._shared.observability.metrics import statsd_logger
from hypothesis import given
from hypothesis import strategies as st
from statsd import StatsClient

from agent_runner.contract import Tokens
from airflow_provider_agents.domain import pr_rule_metrics
from airflow_provider_agents.domain.pr_rule_audit import (
    MOST_BYTES,
    MOST_EVENTS,
    audit_record,
    is_worth_keeping,
    records_of,
)
from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision, RuleAnswer
from airflow_provider_agents.domain.pr_rule_metrics import decision_metrics
from airflow_provider_agents.domain.pr_rule_state import Pass
from airflow_provider_agents.operators.pr_rule_audit import (
    count_error,
    decisions_outlet,
    record_decisions,
    send,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow.sdk import AssetAlias

NOW = datetime(2026, 11, 21, 10, tzinfo=UTC)
ANSWER = RuleAnswer(action="merge", reason="All checks are green.", confidence=0.9)


def decision(**values: Any) -> PullRequestDecision:
    facts: dict[str, Any] = {
        "rule": "staging",
        "version": "0123456789ab",
        "repository": "acme/shop",
        "number": 7,
        "url": "https://github.com/acme/shop/pull/7",
        "head_sha": "a" * 40,
        "context_hash": "f" * 16,
        "decided_at": NOW,
        "answer": ANSWER,
        "model": "claude-opus-4-8",
        "tokens": Tokens(input=1200, output=80),
        "usd": 0.0123,
        "action": "merge",
        "outcome": "done",
    }
    return PullRequestDecision(**{**facts, **values})


# What is kept


def test_the_record_tells_the_story() -> None:
    found = audit_record(decision(guard="freeze", action="wait", outcome="guarded", message="Frozen."))
    assert found["answer"]["action"] == "merge"
    assert (found["action"], found["guard"], found["outcome"]) == ("wait", "freeze", "guarded")
    assert (found["rule"], found["version"], found["head_sha"]) == ("staging", "0123456789ab", "a" * 40)
    assert (found["context_hash"], found["model"], found["usd"]) == ("f" * 16, "claude-opus-4-8", 0.0123)
    assert found["usage"] == {"input": 1200, "output": 80, "cache_read": 0, "cache_write": 0}


_TEXT = st.text(max_size=3_000)
_ANSWERS = st.builds(
    RuleAnswer,
    action=st.sampled_from(["merge", "wait", "label"]),
    reason=_TEXT,
    confidence=st.floats(0, 1),
    comment=_TEXT,
    labels=st.lists(st.text(max_size=50), max_size=20).map(tuple),
    reviewers=st.lists(st.text(max_size=140), max_size=20).map(tuple),
)


@given(
    answer=st.none() | _ANSWERS,
    message=_TEXT,
    detail=_TEXT,
    url=_TEXT,
    model=_TEXT,
    request_id=_TEXT,
    person=_TEXT,
)
def test_a_record_is_small_whatever_is_in_it(answer: RuleAnswer | None, **texts: str) -> None:
    found = decision(answer=answer, rule="r" * 63, repository="o" * 39 + "/" + "n" * 100, **texts)
    text = json.dumps(audit_record(found), sort_keys=True)
    assert len(text) <= MOST_BYTES


def test_the_worst_record_is_small() -> None:
    worst = "\U0001f600" * 3_000
    labels = tuple("\U0001f600" * 49 + str(number) for number in range(20))
    answer = RuleAnswer(action="label", reason=worst, confidence=1, labels=labels, reviewers=labels)
    found = audit_record(
        decision(
            answer=answer,
            message=worst,
            detail=worst,
            person=worst,
            url=worst,
            model=worst,
            request_id=worst,
            rule="r" * 63,
            repository="o" * 39 + "/" + "n" * 100,
        )
    )
    assert len(json.dumps(found)) <= MOST_BYTES
    assert found["answer"]["reason"].startswith("\U0001f600" * 8)


def test_what_nobody_sees_is_not_kept() -> None:
    found = audit_record(
        decision(answer=RuleAnswer(action="merge", reason="a\x1b[31m\u202eb\nc", confidence=1))
    )
    assert found["answer"]["reason"] == "ab c"


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({}, True),
        ({"asked": False, "outcome": "done"}, True),
        ({"asked": False, "outcome": "dry_run"}, True),
        ({"asked": False, "outcome": "failed"}, True),
        ({"asked": False, "outcome": "guarded", "acted_at": NOW}, True),
        ({"asked": False, "outcome": "waiting", "by": "person", "person": "olga"}, True),
        # What was recorded when it was decided, and is held back once more.
        ({"asked": False, "outcome": "guarded", "guard": "freeze"}, False),
        ({"asked": False, "outcome": "waiting"}, False),
        ({"asked": False, "outcome": "superseded"}, False),
    ],
)
def test_what_is_worth_keeping(values: dict[str, Any], kept: bool) -> None:
    assert is_worth_keeping(decision(**values)) is kept


class _Events:
    def __init__(self) -> None:
        self.found: list[tuple[str, dict[str, Any]]] = []

    def __getitem__(self, alias: AssetAlias) -> _Events:
        assert alias.name == "agents_decisions"
        return self

    def add(self, asset: Any, extra: dict[str, Any]) -> None:
        self.found.append((asset.name, extra))


class _Task:
    task_id = "act"

    def __init__(self, *outlets: Any) -> None:
        self.outlets = list(outlets)


def context(*outlets: Any) -> Any:
    return {"task": _Task(*outlets), "outlet_events": _Events()}


def test_each_decision_is_an_event_of_the_rules_asset() -> None:
    found = context(decisions_outlet())
    record_decisions(
        found, "staging", [decision(), decision(number=8), decision(asked=False, outcome="waiting")]
    )
    assert [(name, extra["number"]) for name, extra in found["outlet_events"].found] == [
        ("agents_decisions__staging", 7),
        ("agents_decisions__staging", 8),
    ]


def test_a_thousand_decisions_are_a_hundred_events_and_none_is_lost() -> None:
    found = context(decisions_outlet())
    record_decisions(found, "staging", [decision(number=number) for number in range(1, 1_001)])
    extras = [extra for _, extra in found["outlet_events"].found]
    assert len(extras) == MOST_EVENTS
    numbers = [record["number"] for extra in extras for record in reversed(records_of(extra))]
    assert numbers == list(range(1, 1_001))
    assert max(len(json.dumps(extra)) for extra in extras) <= 10 * MOST_BYTES + 100


@pytest.mark.parametrize("extra", [None, {}, {"from": "a person"}, {"format": 1, "decisions": ["x"]}, [1]])
def test_events_of_others_hold_no_record(extra: Any) -> None:
    assert records_of(extra) == []


def test_the_page_names_the_metrics_and_the_command() -> None:
    page = (Path(__file__).parents[3] / "docs" / "rules.md").read_text()
    for name, value in vars(pr_rule_metrics).items():
        if name.isupper() and isinstance(value, str):
            assert f"| `{value}` |" in page
    assert "airflow db clean --tables asset_event --clean-before-timestamp" in page


def test_a_task_without_the_outlet_says_so(caplog: pytest.LogCaptureFixture) -> None:
    """Airflow drops the events of an alias that is no outlet without a word."""
    record_decisions(context(), "staging", [decision()])
    assert "has no outlet 'agents_decisions'" in caplog.text


# Numbers


@pytest.fixture
def statsd() -> Iterator[socket.socket]:
    """A listener, and Airflow's statistics set to it as a task process sets them."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind(("127.0.0.1", 0))
    listener.settimeout(2)
    state = {name: getattr(stats_module, name) for name in ("_factory", "_backend", "_export_legacy_names")}
    stats_module.initialize(
        factory=lambda: statsd_logger.get_statsd_logger(
            stats_class=StatsClient,
            host="127.0.0.1",
            port=listener.getsockname()[1],
            prefix="airflow",
            influxdb_tags_enabled=True,
            statsd_influxdb_enabled=True,
        ),  # type: ignore[arg-type, return-value]
        export_legacy_names=True,
    )
    yield listener
    for name, value in state.items():
        setattr(stats_module, name, value)
    listener.close()


def received(listener: socket.socket, count: int) -> list[str]:
    found = [listener.recv(4096).decode() for _ in range(count)]
    listener.settimeout(0.05)
    with pytest.raises(TimeoutError):
        listener.recv(4096)
    return sorted(found)


def test_decisions_over_the_wire(statsd: socket.socket) -> None:
    send(
        decision_metrics(
            "staging",
            [decision(), decision(number=8, action="wait", usd=0.0077), decision(number=9)],
            Counter(github=2),
        )
    )
    assert received(statsd, 10) == [
        "airflow.agents.actions,rule=staging,action=merge:2|c",
        "airflow.agents.actions,rule=staging,action=wait:1|c",
        "airflow.agents.actions.staging.merge:2|c",
        "airflow.agents.actions.staging.wait:1|c",
        "airflow.agents.errors,rule=staging,type=github:2|c",
        "airflow.agents.errors.staging.github:2|c",
        "airflow.agents.prs_processed,rule=staging:3|c",
        "airflow.agents.prs_processed.staging:3|c",
        "airflow.agents.rule_cost_usd,rule=staging:0.0323|c",
        "airflow.agents.rule_cost_usd.staging:0.0323|c",
    ]


def test_a_pass_over_the_wire(statsd: socket.socket, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "good.yaml").write_text("repositories: [acme/shop]\ninstruction: Merge it.\n")
    (tmp_path / "rules" / "bad.yaml").write_text("instruction: [\n")
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))
    one = Pass(at=NOW, ended_at=NOW + timedelta(seconds=12.5))
    record_decisions(context(decisions_outlet()), "good", [], one)
    assert received(statsd, 6) == [
        "airflow.agents.rule_pass_seconds,rule=good:12.5|g",
        "airflow.agents.rule_pass_seconds.good:12.5|g",
        "airflow.agents.rule_passes,rule=good:1|c",
        "airflow.agents.rule_passes.good:1|c",
        "airflow.agents.rules:1|g",
        "airflow.agents.rules_broken:1|g",
    ]


def test_only_names_with_tags_where_the_others_are_off(
    statsd: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__METRICS__LEGACY_NAMES_ON", "False")
    count_error("staging", "github")
    assert received(statsd, 1) == ["airflow.agents.errors,rule=staging,type=github:1|c"]


def test_a_fault_of_the_model_is_an_error_of_type_ai() -> None:
    faulty = decision(answer=None, fault="overloaded", action="wait", outcome="waiting")
    errors = [each for each in decision_metrics("staging", [faulty]) if each.name == "agents.errors"]
    assert [(each.value, each.tags["type"]) for each in errors] == [(1, "ai")]


def test_a_backend_that_fails_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr("airflow.sdk.observability.stats.Stats.incr", fail)
    found = context(decisions_outlet())
    record_decisions(found, "staging", [decision()])
    assert len(found["outlet_events"].found) == 1
    assert "no network" in caplog.text
