"""A rollback in a real Airflow: a commit makes an application ill, and what was good before comes back by a pull request."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from demo.airflow_client import surely
from demo.environment import base_environment
from demo.http_json import call
from demo.processes import Parts, wait_for
from tests.e2e.helpers import mutations, on_main, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.stack import DemoStack

REPOSITORY, APPLICATION, DAG_ID = "acme/rollback", "rollback-staging", "rollback__shop"
CONNECTION = "argocd_default"
SECONDS = 120
DEFINITION = {
    "application": APPLICATION,
    "repository": REPOSITORY,
    "timings": {"poll": 5, "readings": 2},
    "guards": {"settle_seconds": 0, "max_risk": None},
}


@pytest.fixture
def argocd(stack: DemoStack, tmp_path: Path) -> Iterator[str]:
    """A stand-in for Argo CD whose application follows a repository; its address. The rollback is on."""
    seed = tmp_path / "seed"
    (seed / "deploy").mkdir(parents=True)
    (seed / "deploy" / "app.yaml").write_text("replicas: 2\n")
    people = {"agent": "write", "mona": "write", "ci": "write"}
    stack.forge.seed_repository(REPOSITORY, seed, permissions=people)
    ready, parts = tmp_path / "argocd.json", Parts(tmp_path)
    command = [sys.executable, "-m", "demo.argocd", "--ready-file", str(ready)]
    part = parts.add("argocd", command, base_environment(tmp_path), ready_file=ready)
    part.start()
    file = stack.folder / "agents" / "rollbacks" / "shop.yaml"
    try:
        told = part.wait_ready(30)
        api = f"{stack.forge.url}/api/v3"
        follow = {"api": api, "token": stack.token, "repository": REPOSITORY, "interval": 1}
        application = {
            "repo_url": f"https://github.com/{REPOSITORY}.git",
            "follow": {**follow, "broken_file": "deploy/BROKEN"},
        }
        call("PUT", f"{told['url']}/_demo/applications/{APPLICATION}", application)
        connection = {"connection_id": CONNECTION, "conn_type": "argocd", "host": told["url"]}
        stack.airflow.request("POST", "/connections", {**connection, "password": told["token"]})
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump(DEFINITION))
        stack.wait_for_dag(DAG_ID)
        yield told["url"]
    finally:
        file.unlink(missing_ok=True)
        parts.stop()
        surely(lambda: stack.airflow.request("DELETE", f"/connections/{CONNECTION}"))


def test_what_made_an_application_ill_is_taken_back(stack: DemoStack, argocd: str) -> None:
    good = passed(stack, "main")
    assert health(argocd) == "Healthy"
    bad = stack.forge.act("mona", "push_commit", REPOSITORY, branch="main", files={"deploy/BROKEN": "yes\n"})
    pull = opened(stack, REPOSITORY)
    passed(stack, f"pull/{pull['number']}")
    run = wait_for(lambda: next(iter(stack.airflow.runs(DAG_ID)), None), what="a run", seconds=SECONDS)
    ended = stack.wait_for_run(DAG_ID, run["dag_run_id"], SECONDS)
    assert (ended["run_type"], ended["state"]) == ("asset_triggered", "success")

    (merged,) = mutations(stack, REPOSITORY, "pull_request.merged")
    title = stack.forge.get(f"/repos/{REPOSITORY}/pulls/{merged['number']}")["title"]
    assert title == f"Roll back {APPLICATION} to {good[:12]}"
    assert bad["sha"] != good
    assert [each["name"] for each in stack.forge.get(f"/repos/{REPOSITORY}/contents/deploy")] == ["app.yaml"]
    assert on_main(stack, REPOSITORY, "deploy/app.yaml") == "replicas: 2\n"
    assert health(argocd) == "Healthy"
    states = {task["task_id"]: task["state"] for task in stack.task_instances(DAG_ID, run["dag_run_id"])}
    assert states.pop("call_person") == "skipped"
    assert set(states.values()) == {"success"}


def passed(stack: DemoStack, place: str) -> str:
    """Have the checks pass of what a branch, or a pull request, is at, and return its commit."""
    if place.startswith("pull/"):
        number = place.removeprefix("pull/")
        sha = stack.forge.get(f"/repos/{REPOSITORY}/pulls/{number}")["head"]["sha"]
    else:
        sha = stack.forge.get(f"/repos/{REPOSITORY}/branches/{place}")["commit"]["sha"]
    stack.forge.act("ci", "status", REPOSITORY, sha=sha, context="ci", state="success")
    return str(sha)


def health(argocd: str) -> Any:
    """Return what Argo CD calls the application's health."""
    reading = call("GET", f"{argocd}/_demo/applications/{APPLICATION}")
    return reading["status"]["health"]["status"]
