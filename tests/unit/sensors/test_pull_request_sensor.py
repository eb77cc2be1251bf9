from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseHook
from airflow.sdk.exceptions import (
    AirflowFailException,
    AirflowNotFoundException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferred,
)

from airflow_provider_agents.domain.pull_request import Check, PullRequestSnapshot
from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.links import PullRequestLink
from airflow_provider_agents.sensors.pull_request import PullRequestSensor
from airflow_provider_agents.triggers.pull_request import PullRequestTrigger

URL = "https://github.com/acme/shop/pull/7"
HEAD = "a" * 40


class Forge:
    """Stands in for GitHub: one entry a look, the last one repeated."""

    def __init__(self) -> None:
        self.looks: list[Any] = [{}]
        self.asked: list[tuple[str, int]] = []

    async def snapshot(self, repository: str, number: int) -> PullRequestSnapshot:
        self.asked.append((repository, number))
        look = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(look, Exception):
            raise look
        facts: dict[str, Any] = {
            "repository": repository,
            "number": number,
            "node_id": "PR_1",
            "url": URL,
            "title": "t",
            "state": "OPEN",
            "head_sha": HEAD,
            "head_branch": "agents/7",
            "base_branch": "main",
            "read_at": datetime.now(UTC),
            "mergeable": "MERGEABLE",
            "checks": (Check(name="tests", state="pending", kind="check_run"),),
        }
        return PullRequestSnapshot(**facts | look)


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    forge = Forge()
    monkeypatch.setattr(AgentsGitHubHook, "run", lambda hook, work: asyncio.run(work(forge)))
    return forge


class Store(dict):
    """A task state store."""

    def set(self, key: str, value: Any, *, retention: timedelta | None = None) -> None:
        assert retention is not None
        self[key] = value


class TaskInstance(SimpleNamespace):
    max_tries = 2

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed = {**getattr(self, "pushed", {}), key: value}


def context(store: Store | None = None, max_tries: int = 2) -> Any:
    return {"ti": TaskInstance(max_tries=max_tries), "task_state_store": store}


def sensor(**values: Any) -> PullRequestSensor:
    arguments: dict[str, Any] = {"task_id": "wait", "repository": "acme/shop", "pull_request_number": 7}
    return PullRequestSensor(**arguments | values)


MERGED = {"state": "MERGED", "merge_commit_sha": "c" * 40}
RESULT = {"state": "MERGED", "head_sha": HEAD, "url": URL, "merge_commit_sha": "c" * 40}


def test_defaults() -> None:
    task = sensor()
    assert (task.until, task.deferrable, task.poke_interval, task.retries) == ("merged", True, 30, 2)
    assert task.timeout == timedelta(days=7).total_seconds()
    assert PullRequestSensor.template_fields == ("repository", "pull_request_number", "github_conn_id")


def test_default_args_of_the_dag_hold() -> None:
    with DAG("d", schedule=None, default_args={"retries": 9, "poke_interval": 60}):
        task = sensor()
    assert (task.retries, task.poke_interval) == (9, 60)


def test_an_unknown_condition_is_refused_at_parse_time() -> None:
    with pytest.raises(ValueError, match="until must be one of merged, closed"):
        sensor(until="soon")


def test_what_holds_already_needs_no_trigger(forge: Forge) -> None:
    forge.looks = [MERGED]
    used = context()
    assert sensor().execute(used) == RESULT
    assert used["ti"].pushed == {"pull_request_url": URL}


def test_it_looks_once_and_defers_with_a_deadline(forge: Forge) -> None:
    with pytest.raises(TaskDeferred) as caught:
        sensor(pull_request_number=" #7 ", until="green", poke_interval=10, timeout=600).execute(context())
    assert forge.asked == [("acme/shop", 7)]
    trigger = caught.value.trigger
    assert isinstance(trigger, PullRequestTrigger)
    assert trigger.node_id == "PR_1"
    assert (trigger.number, trigger.until, trigger.poll_interval, trigger.policy) == (7, "green", 10, None)
    left = datetime.fromisoformat(trigger.deadline) - datetime.now(UTC)
    assert timedelta(seconds=590) < left <= timedelta(seconds=600)
    assert caught.value.timeout > left
    assert caught.value.method_name == "execute_complete"


@pytest.mark.parametrize("fault", [ForgeUnavailableError("502"), ForgeRateLimitedError("limit")])
def test_a_passing_fault_at_the_first_look_is_left_to_the_trigger(forge: Forge, fault: Exception) -> None:
    forge.looks = [fault]
    with pytest.raises(TaskDeferred):
        sensor().execute(context())


@pytest.mark.parametrize("fault", [ForgeAccessError("404"), InvalidInputError(["no connection"])])
def test_a_lasting_fault_at_the_first_look_fails_the_try(forge: Forge, fault: Exception) -> None:
    forge.looks = [fault]
    with pytest.raises(type(fault)):
        sensor().execute(context())


@pytest.mark.parametrize("number", ["", "seven", "0", "-1", "7.0", None, "{{ x }}"])
def test_the_number_must_be_one(forge: Forge, number: Any) -> None:
    with pytest.raises(InvalidInputError, match="pull_request_number"):
        sensor(pull_request_number=number).execute(context())
    assert forge.asked == []


def deadline_of(task: PullRequestSensor, used: Any) -> str:
    with pytest.raises(TaskDeferred) as caught:
        task.execute(used)
    return caught.value.trigger.deadline


def test_a_retry_keeps_the_deadline_and_a_clear_does_not(forge: Forge) -> None:
    store = Store()
    first = deadline_of(sensor(), context(store))
    assert deadline_of(sensor(), context(store)) == first
    assert deadline_of(sensor(), context(store, max_tries=5)) > first


def test_a_deadline_that_passed_before_a_retry(forge: Forge) -> None:
    store = Store({"deadline_0": (datetime.now(UTC) - timedelta(seconds=1)).isoformat()})
    with pytest.raises(AirflowSensorTimeout, match=r"acme/shop#7 was not merged within 7 days"):
        sensor().execute(context(store))
    with pytest.raises(AirflowSkipException, match="was not merged"):
        sensor(soft_fail=True).execute(context(store))
    forge.looks = [MERGED]
    assert sensor().execute(context(store)) == RESULT


def test_the_impossible_fails_without_a_retry_or_skips(forge: Forge) -> None:
    forge.looks = [{"state": "CLOSED"}]
    with pytest.raises(AirflowFailException, match=r"Waiting until merged ended: .* closed without a merge"):
        sensor().execute(context())
    with pytest.raises(AirflowSkipException, match="closed without a merge"):
        sensor(soft_fail=True).execute(context())
    with pytest.raises(AirflowSkipException, match="closed without a merge"):
        sensor(never_fail=True).execute(context())


def test_never_fail_skips_on_other_faults_too(forge: Forge) -> None:
    forge.looks = [ForgeAccessError("404")]
    with pytest.raises(AirflowSkipException):
        sensor(never_fail=True).execute(context())


def resume(task: PullRequestSensor, event: dict[str, Any]) -> Any:
    return task.resume_execution("execute_complete", {"event": event}, context())


def test_the_event_of_a_met_condition_is_the_result() -> None:
    assert resume(sensor(), {"status": "met", "message": "m", **RESULT}) == RESULT


@pytest.mark.parametrize(
    ("event", "kind", "words"),
    [
        ({"status": "impossible", "message": "closed"}, AirflowFailException, "closed"),
        (
            {"status": "deadline", "message": "It is open."},
            AirflowSensorTimeout,
            "was not merged within 7 days. When last seen: It is open.",
        ),
        ({"status": "error", "kind": "ForgeAccessError", "message": "404"}, ForgeAccessError, "404"),
    ],
)
def test_other_events_fail_or_skip(event: dict[str, Any], kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        resume(sensor(), event)
    with pytest.raises(AirflowSkipException):
        resume(sensor(soft_fail=True), event)


def test_poke_mode(forge: Forge) -> None:
    forge.looks = [{}, ForgeUnavailableError("502"), MERGED]
    assert sensor(deferrable=False, poke_interval=0).execute(context()) == RESULT
    assert len(forge.asked) == 3


def test_poke_mode_fails_or_skips_on_the_impossible(forge: Forge) -> None:
    forge.looks = [{"state": "CLOSED"}]
    with pytest.raises(AirflowFailException):
        sensor(deferrable=False, poke_interval=0).execute(context())
    with pytest.raises(AirflowSkipException):
        sensor(deferrable=False, poke_interval=0, soft_fail=True).execute(context())


def test_poke_mode_times_out(forge: Forge) -> None:
    with pytest.raises(AirflowSensorTimeout):
        sensor(deferrable=False, poke_interval=0, timeout=0).execute(context())


def test_a_missing_connection_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(conn_id: str) -> None:
        raise AirflowNotFoundException("no")

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(missing))
    with pytest.raises(InvalidInputError, match="there is no connection 'gh'"):
        sensor(github_conn_id="gh").execute(context())


def test_the_link_reads_what_the_task_pushed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def get_value(**values: Any) -> str | None:
        asked.update(values)
        return URL if values["ti_key"] == "known" else None

    monkeypatch.setattr("airflow.sdk.execution_time.xcom.XCom.get_value", get_value)
    link = PullRequestLink()
    assert link.get_link(sensor(), ti_key="known") == URL  # type: ignore[arg-type]
    assert asked["key"] == link.xcom_key == "pull_request_url"
    assert link.get_link(sensor(), ti_key="new") == ""  # type: ignore[arg-type]


def test_the_sensor_survives_serialization() -> None:
    from airflow.serialization.serialized_objects import DagSerialization

    with DAG("d", schedule=None) as dag:
        sensor(timeout=timedelta(hours=1))
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("wait")
    assert again.operator_extra_link_dict["Pull request"].xcom_key == "pull_request_url"
