"""``airflow agents run``: what is started, once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.cli import run as run_module
from tests.unit.cli.fake_airflow import FakeAirflow, Fault

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.unit.cli.conftest import Call

MANIFEST = """\
apiVersion: agents.wearn.dev/v1alpha1
kind: CodingTask
metadata: {name: fix-it}
spec:
  source: {type: chat, chat: {sessionId: s1, userId: kim}}
  repository: {url: https://github.com/acme/shop.git}
  prompt: Fix it
"""


@pytest.fixture
def manifest(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "task.yaml").write_text(text)
        return str(tmp_path / "task.yaml")

    return write


def posted(airflow: FakeAirflow) -> list[dict[str, object]]:
    return [body for body in airflow.bodies if "dag_run_id" in body]


def test_a_manifest_starts_one_run_however_often_it_is_applied(
    airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]
) -> None:
    file = manifest(MANIFEST)
    first = call("run", "-f", file, "-o", "json")
    again = call("run", "-f", file, "-o", "json")
    assert (first.code, again.code) == (0, 0)
    (started,), (unchanged,) = json.loads(first.out), json.loads(again.out)
    assert (started["result"], unchanged["result"]) == ("started", "unchanged")
    assert started["run"] == unchanged["run"]
    assert "unchanged" in again.err
    (body,) = posted(airflow)
    assert body["conf"] == {"repository": "acme/shop", "prompt": "Fix it", "work_branch": "ai/fix-it"}
    assert body["note"] == "chat s1 of kim"


def test_a_changed_manifest_is_another_run_and_says_so(
    airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]
) -> None:
    call("run", "-f", manifest(MANIFEST))
    (run_id,) = airflow.runs
    airflow.runs[run_id]["state"] = "success"
    ended = call("run", "-f", manifest(MANIFEST.replace("Fix it", "Fix it well")))
    assert ended.code == 0
    assert f"changed since run {run_id}; a new run is started" in ended.err
    assert len(airflow.runs) == 2


def test_a_changed_manifest_waits_for_the_run_at_work(
    airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]
) -> None:
    call("run", "-f", manifest(MANIFEST))
    (run_id,) = airflow.runs
    ended = call("run", "-f", manifest(MANIFEST.replace("Fix it", "Fix it well")))
    assert ended.code == 1
    assert f"airflow agents cancel {run_id}" in ended.err
    assert len(airflow.runs) == 1


def test_a_name_that_begins_like_another_is_not_taken_for_it(
    airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]
) -> None:
    call("run", "-f", manifest(MANIFEST.replace("fix-it", "fix-it-2")))
    ended = call("run", "-f", manifest(MANIFEST))
    assert (ended.code, len(airflow.runs)) == (0, 2)
    assert "changed" not in ended.err


def test_a_fault_anywhere_starts_nothing(
    airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]
) -> None:
    file = manifest(f"{MANIFEST}---\nrepository: acme/shop\nprompts: x\n")
    ended = call("run", "-f", file)
    assert ended.code == 2
    assert f"{file}:10: prompts: unknown key; did you mean `prompt`?" in ended.err
    assert airflow.runs == {}


def test_from_the_standard_input(airflow: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class Input:
        buffer = io.BytesIO(b"repository: acme/shop\npromt: x\n")

    monkeypatch.setattr("sys.stdin", Input())
    ended = call("run", "-f", "-")
    assert ended.code == 2
    assert "stdin:2: promt: unknown key" in ended.err


@pytest.mark.parametrize("content", [b"\xff\xfe", None])
def test_a_file_that_cannot_be_read(
    airflow: FakeAirflow, call: Call, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "x.yaml"
    if content:
        file.write_bytes(content)
    ended = call("run", "-f", str(file))
    assert ended.code == 2
    assert str(file) in ended.err


def test_the_installations_own_values_are_asked_for(
    airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]
) -> None:
    airflow.params["max_attempts"]["schema"]["maximum"] = 5
    airflow.connections["github_default"] = {"host": "https://ghes.example.com/api/v3"}
    airflow.paused = True
    elsewhere = call("run", "-f", manifest(MANIFEST))
    assert elsewhere.code == 2
    assert "is on github.com; this installation works with ghes.example.com" in elsewhere.err

    text = MANIFEST.replace("github.com", "ghes.example.com") + "  maxRetries: 3\n"
    ended = call("run", "-f", manifest(text))
    assert ended.code == 0
    assert "paused" in ended.err
    assert posted(airflow)[0]["conf"]["max_attempts"] == 4  # type: ignore[index]


def test_a_connection_that_may_not_be_seen_is_no_fault(
    airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]
) -> None:
    airflow.faults = [Fault("GET /api/v2/connections", 403, times=9)]
    assert call("run", "-f", manifest(MANIFEST)).code == 0


def test_flags(airflow: FakeAirflow, call: Call) -> None:
    line = ["--repository", "acme/shop", "--issue", "7", "--prompt", "Now"]
    params = ["max_rounds=2", "draft=true", "image=a:1", "hold_labels=[x, y]", "test_command=make: test"]
    ended = call("run", *line, *(part for param in params for part in ("--param", param)))
    assert ended.code == 0, ended.err
    (body,) = posted(airflow)
    assert body["conf"] == {
        "repository": "acme/shop", "issue_number": 7, "prompt": "Now", "max_rounds": 2, "draft": True,
        "image": "a:1", "hold_labels": ["x", "y"], "test_command": "make: test",
    }  # fmt: skip
    assert call("run", *line).code == 0
    assert len(airflow.runs) == 2, "asked for twice by hand is twice"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ([], "give --file"),
        (["--repository", "a/b"], "give --prompt, --issue or both"),
        (["--prompt", "x"], "give --file, or --repository"),
        (["-f", "x.yaml", "--prompt", "x"], "--prompt does not go with --file"),
        (["-f", "x.yaml", "--param", "x=1"], "--param does not go with --file"),
        (["--repository", "a/b", "--prompt", "x", "--param", "max_round=1"], "did you mean `max_rounds`"),
        (["--repository", "a/b", "--prompt", "x", "--param", "max_rounds"], "write it as name=value"),
        (["--repository", "a/b", "--prompt", "x", "--param", "prompt=y"], "give it as --prompt"),
        (["--repository", "a/b", "--prompt", "x", "--param", "hold_labels=[x"], "is not YAML"),
        (
            ["--repository", "a/b", "--prompt", "x", "--param", "max_rounds=1", "--param", "max_rounds=2"],
            "is there twice",
        ),
        (["--repository", "a/b", "--issue", "seven"], "invalid int"),
    ],
)
def test_wrong_usage(airflow: FakeAirflow, call: Call, line: list[str], words: str) -> None:
    ended = call("run", *line)
    assert ended.code == 2
    assert words in ended.err
    assert airflow.runs == {}


def test_a_lost_answer_is_looked_into(airflow: FakeAirflow, call: Call) -> None:
    airflow.faults = [Fault("POST /api", -1)]
    ended = call("run", "--repository", "a/b", "--prompt", "x")
    assert ended.code == 0
    assert len(airflow.runs) == 1
    assert next(iter(airflow.runs)) in ended.out


def test_a_lost_request_is_not_sent_again(airflow: FakeAirflow, call: Call) -> None:
    airflow.faults = [Fault("POST /api", 0)]
    ended = call("run", "--repository", "a/b", "--prompt", "x")
    assert ended.code == 3
    assert airflow.runs == {}
    assert len(posted(airflow)) == 1


def test_somebody_else_applies_the_same_manifest_at_the_same_moment(
    airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]
) -> None:
    file = manifest(MANIFEST)
    call("run", "-f", file)
    (run_id,) = airflow.runs
    # The look before does not see it yet.
    airflow.faults = [
        Fault(f"GET .*/dagRuns/{run_id}", 404),
        Fault("GET .*run_id_prefix", 200, body=b'{"dag_runs": []}'),
    ]
    ended = call("run", "-f", file, "-o", "json")
    assert ended.code == 0
    assert json.loads(ended.out)[0]["run"] == run_id
    assert len(airflow.runs) == 1


def test_what_airflow_refuses_is_the_callers_fault(airflow: FakeAirflow, call: Call) -> None:
    airflow.faults = [Fault("POST /api", 400, body=b'{"detail": "Invalid input for param max_rounds"}')]
    ended = call("run", "--repository", "a/b", "--prompt", "x")
    assert ended.code == 2
    assert "Invalid input for param max_rounds" in ended.err


def test_a_dag_that_is_not_there(airflow: FakeAirflow, call: Call, manifest: Callable[[str], str]) -> None:
    ended = call("run", "-f", manifest(MANIFEST), "--dag", "other")
    assert ended.code == 1
    assert "has no DAG other" in ended.err


@pytest.mark.parametrize(("state", "code"), [("success", 0), ("failed", 1), (None, 1)])
def test_waiting_for_the_end(
    airflow: FakeAirflow, call: Call, monkeypatch: pytest.MonkeyPatch, state: str | None, code: int
) -> None:
    looks: list[float] = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        (run_id,) = airflow.runs
        if len(looks) == 3:
            if state is None:
                del airflow.runs[run_id]
            else:
                airflow.runs[run_id]["state"] = state

    monkeypatch.setattr(run_module.time, "sleep", pause)
    ended = call("run", "--repository", "a/b", "--prompt", "x", "--wait")
    assert (ended.code, len(looks)) == (code, 3)
    assert (state or "deleted") in ended.err
