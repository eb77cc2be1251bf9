"""Bad input ends before any model is paid, with a message that names the fault and the remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from demo.http_json import HttpError, call
from tests.e2e.helpers import states

if TYPE_CHECKING:
    from demo.stack import DemoStack

SECONDS = 120


def test_what_the_form_knows_is_refused_at_once(stack: DemoStack, repository: str) -> None:
    with pytest.raises(HttpError, match="HTTP 400") as refused:
        stack.trigger("coding_task", {"repository": repository, "prompt": "x", "max_rounds": 99})
    assert "99" in refused.value.body


def test_every_fault_of_the_conf_is_named(stack: DemoStack, repository: str) -> None:
    before = call("GET", f"{stack.model_url}/_demo/requests")["count"]
    runs = {
        "unknown": {"repository": repository, "prompt": "x", "colour": "red", "work_branch": "a b/../c"},
        "missing": {"repository": "acme/no-such-repository", "prompt": "x"},
        "empty": {"repository": repository, "prompt": "  "},
        "huge": {"repository": repository, "prompt": "x" * 1_000_000},
        "base": {
            "repository": repository,
            "prompt": "x",
            "base_branch": "no-such-branch",
            "issue_number": 77,
        },
    }
    words = {
        "unknown": ["colour: unknown key", "work_branch: 'a b/../c' has characters other than letters"],
        "missing": ["acme/no-such-repository"],
        "empty": ["give an issue_number or a prompt"],
        "huge": ["prompt: has 1,000,000 bytes, at most 100,000"],
        "base": ["has no branch no-such-branch; its default branch is main", "issue_number: "],
    }
    run_ids = {name: stack.trigger("coding_task", conf) for name, conf in runs.items()}
    for name, run_id in run_ids.items():
        assert stack.wait_for_run("coding_task", run_id, SECONDS)["state"] == "failed"
        found = states(stack, "coding_task", run_id)
        assert (found["accept"], found["finish"]) == ("failed", "failed")
        for task in ("accept", "finish"):
            log = stack.task_log("coding_task", run_id, task)
            for text in words[name]:
                assert text in log, f"{name}: {task} does not say {text!r}"
    assert call("GET", f"{stack.model_url}/_demo/requests")["count"] == before


def test_missing_secret_and_missing_connection_are_named(stack: DemoStack, repository: str) -> None:
    words = {
        "fault_secret": "no-such-secret",
        "fault_connection": "there is no connection 'no_such_connection'",
    }
    run_ids = {dag_id: stack.trigger(dag_id, {"repository": repository}) for dag_id in words}
    for dag_id, run_id in run_ids.items():
        assert stack.wait_for_run(dag_id, run_id, SECONDS)["state"] == "failed"
        (task,) = stack.task_instances(dag_id, run_id)
        assert task["try_number"] <= 2, "a wrong input was tried again and again"
        assert words[dag_id] in stack.task_log(dag_id, run_id, "plan")
