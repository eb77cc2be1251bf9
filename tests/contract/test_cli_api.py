"""The commands for runs against a real Airflow api-server, from an environment without a database."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.contract.airflow_api_world import DAG, AirflowApiWorld

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = """\
apiVersion: agents.wearn.dev/v1alpha1
kind: CodingTask
metadata: {name: fix-it}
spec:
  source: {type: chat, chat: {sessionId: s1, userId: kim}}
  repository: {url: https://github.com/acme/shop.git}
  prompt: Fix it
  maxRetries: 1
"""
PLAN, IMPLEMENT, TEST = "plan.round_1.plan", "build.attempt_1.implement", "build.attempt_1.test"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AirflowApiWorld]:
    with AirflowApiWorld(tmp_path_factory.mktemp("airflow")) as started:
        yield started


def shown(world: AirflowApiWorld, *line: str, code: int = 0) -> Any:
    ended = world.call(*line, "-o", "json")
    assert ended.code == code, ended.err
    return json.loads(ended.out)


def done(minute: int, state: str = "success") -> dict[str, Any]:
    return {
        "state": state,
        "try_number": 1,
        "start_date": f"2026-11-21T10:{minute:02}:00+00:00",
        "end_date": f"2026-11-21T10:{minute:02}:30+00:00",
    }


def start(world: AirflowApiWorld, number: int) -> str:
    return str(shown(world, "run", "--repository", "acme/shop", "--issue", str(number))[0]["run"])


def implementing(world: AirflowApiWorld, number: int) -> str:
    """Start a run, and write what it would have done until it implements."""
    run_id = start(world, number)
    later = [task for task in states(world, run_id) if task.startswith(("plan.round_2", "plan.round_3"))]
    before = ("accept", "admit", "workspace", PLAN, "plan.round_1.approve")
    known = states(world, run_id)
    world.write(
        run_id,
        values={"state": "running", "start_date": "2026-11-21T10:00:00+00:00"},
        tasks={
            **{task: done(minute) for minute, task in enumerate(before) if task in known},
            **{task: done(6, "skipped") for task in later},
            IMPLEMENT: {"state": "deferred", "try_number": 1, "start_date": "2026-11-21T10:07:00+00:00"},
        },
        xcoms={
            PLAN: {
                "return_value": {"outcome": "succeeded", "pod_name": "agent-plan-1", "summary": "Planned."}
            },
            IMPLEMENT: {"pod_name": "agent-implement-1"},
        },
    )
    return run_id


def states(world: AirflowApiWorld, run_id: str) -> dict[str, str | None]:
    return {task["task_id"]: task["state"] for task in world.client.task_instances(DAG, run_id)}


def test_no_database_is_needed(world: AirflowApiWorld, tmp_path: Path) -> None:
    """The real program, with a database that cannot be opened."""
    started = world.cli("run", "-f", "-", "-o", "json", stdin="repository: acme/shop\nprompt: From a pipe\n")
    assert started.returncode == 0, started.stderr
    run_id = json.loads(started.stdout)[0]["run"]
    assert world.client.run(DAG, run_id)["conf"] == {"repository": "acme/shop", "prompt": "From a pipe"}
    looked = world.cli("status", run_id)
    assert looked.returncode == 0, looked.stderr
    assert "Phase:        Pending" in looked.stdout
    assert not list((world.folder / "client").rglob("*.db"))


def test_a_manifest_is_applied_once(world: AirflowApiWorld, tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    file.write_text(MANIFEST)
    (first,) = shown(world, "run", "-f", str(file))
    (again,) = shown(world, "run", "-f", str(file))
    assert (first["result"], again["result"]) == ("started", "unchanged")
    assert first["run"] == again["run"]
    run = world.client.run(DAG, first["run"])
    assert run["conf"]["max_attempts"] == 2
    assert run["note"] == "chat s1 of kim"

    file.write_text(MANIFEST.replace("Fix it", "Fix it well"))
    refused = world.call("run", "-f", str(file))
    assert refused.code == 1
    assert f"cancel {first['run']}" in refused.err


def test_the_run_of_a_ticket_that_a_source_brought(world: AirflowApiWorld, tmp_path: Path) -> None:
    file = tmp_path / "task.yaml"
    for key in ("acme/shop#41", "acme/shop#410", "ENG-41"):
        file.write_text(
            f"repository: acme/shop\nticket_source: shop\nticket_id: 'id-{key}'\nticket_key: '{key}'\n"
        )
        (started,) = shown(world, "run", "-f", str(file))
        for reference in (key, key.lower(), f"id-{key}"):
            status = shown(world, "status", reference)
            assert (status["run"], status["ticket"]) == (started["run"], key)


def test_airflow_itself_refuses_a_param(world: AirflowApiWorld) -> None:
    ended = world.call("run", "--repository", "acme/shop", "--prompt", "x", "--param", "max_rounds=99")
    assert ended.code == 2, ended.err
    assert "max_rounds" in ended.err


def test_status_logs_cancel_and_retry(world: AirflowApiWorld) -> None:
    run_id = implementing(world, 7)
    status = shown(world, "status", "acme/shop#7")
    assert (status["run"], status["phase"], status["task"]) == (run_id, "Implementing", IMPLEMENT)
    steps = {step["step"]: step for step in status["steps"]}
    assert steps[PLAN]["pod"] == "agent-plan-1"
    assert steps[PLAN]["output"] == "Planned."
    assert (steps[IMPLEMENT]["pod"], steps[IMPLEMENT]["phase"]) == ("agent-implement-1", "Running")
    listed = world.call("status", "-o", "yaml")
    assert run_id in [row["run"] for row in yaml.safe_load(listed.out)]

    world.write_log(
        run_id, PLAN, ['{"timestamp":"2026-11-21T10:03:01Z","event":"read 3 files","level":"info"}']
    )
    read = world.call("logs", run_id, "plan")
    assert read.code == 0, read.err
    assert read.out.splitlines()[0] == f"── {PLAN}, try 1"
    assert read.out.splitlines()[1].endswith("read 3 files")

    assert shown(world, "cancel", "#7", "--reason", "test")["result"] == "cancelled"
    after = states(world, run_id)
    assert (after[IMPLEMENT], after[TEST], after["finish"]) == ("failed", "skipped", "failed")
    assert after[PLAN] == "success"
    assert world.client.run(DAG, run_id)["note"].endswith(": test")
    # What a scheduler makes of it when the tasks that tidy up are done.
    assert world.settled(run_id) == "failed"
    cancelled = shown(world, "status", run_id, code=1)
    assert (cancelled["phase"], cancelled["message"]) == (
        "Failed",
        "Cancelled by `airflow agents cancel`: test",
    )

    retried = shown(world, "retry", "acme/shop#7")
    assert retried["from"] == [IMPLEMENT]
    after = states(world, run_id)
    assert (after[PLAN], after["plan.round_2.plan"]) == ("success", "skipped")
    assert (after[IMPLEMENT], after[TEST], after["finish"], after["report"]) == (None, None, None, None)
    assert world.client.run(DAG, run_id)["state"] == "queued"


def test_a_run_that_airflows_page_marks_as_failed_alone_would_end_green(world: AirflowApiWorld) -> None:
    """Why ``cancel`` fails ``finish`` first; when this fails, Airflow has changed, and the care may go."""
    run_id = start(world, 8)
    world.client.request("PATCH", f"/dags/{DAG}/dagRuns/{run_id}", {"state": "failed"})
    assert world.settled(run_id) == "success"


def test_priority_and_queue(world: AirflowApiWorld) -> None:
    assert shown(world, "priority", "acme/shop#99", "50")["priority"] == 50
    assert shown(world, "priority", "acme/shop#98", "7")["priority"] == 7
    assert shown(world, "priority", "acme/shop#99", "default")["before"] == 50
    assert json.loads(world.client.request("GET", "/variables/agents_priorities")["value"]) == {
        "acme/shop#98": 7
    }
    assert shown(world, "queue") == []


def test_who_may_only_look(world: AirflowApiWorld) -> None:
    run_id = start(world, 9)
    looks = world.call("status", run_id, user="vic", password="watches")
    assert looks.code == 0, looks.err
    ended = world.call("cancel", run_id, user="vic", password="watches")
    assert ended.code == 1
    assert "this user may not PATCH" in ended.err
    assert world.client.run(DAG, run_id)["state"] == "queued"
    refused = world.call("status", user="vic", password="guess")
    assert refused.code == 1
    assert "refuses the credential" in refused.err


def test_several_at_once(world: AirflowApiWorld) -> None:
    first, second = start(world, 20), start(world, 21)
    rows = shown(world, "cancel-active", "--repository", "acme/shop", "--yes")
    assert {first, second} <= {row["run"] for row in rows}
    assert {row["result"] for row in rows} == {"cancelled"}
    assert shown(world, "retry-failed", "--yes") == [], "what a person cancelled is not retried by the way"
