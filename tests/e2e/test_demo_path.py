"""The demo's path: the sample issue becomes a merged pull request, and nothing leaks on the way."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from demo import scenario
from demo.stack import NAMESPACE, DemoStack
from tests.e2e.conftest import MODEL_KEY, WEBHOOK_SECRET
from tests.e2e.helpers import mutations, processes, states
from tests.e2e.syncs import comments, run_of, syncing

if TYPE_CHECKING:
    from collections.abc import Iterator

DAG_ID = "coding_task"
REPOSITORY = "acme/demo-path"
SECONDS = 300


@dataclass
class Run:
    """One run of the pipeline, and what was seen of its pods while it was on."""

    run_id: str
    issue: int
    specifications: list[dict[str, Any]] = field(default_factory=list)
    environments: dict[str, bytes] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module")
def run(stack: DemoStack) -> Iterator[Run]:
    people = {"agent": "write", "mona": "write"}
    stack.forge.seed_repository(REPOSITORY, scenario.REPOSITORY, permissions=people)
    title, body = scenario.issue()
    issue = stack.forge.create_issue(REPOSITORY, title, body)["number"]
    stack.forge.act("mona", "label", REPOSITORY, number=issue, labels=["agent"])
    with syncing(stack, demo={"source": "github", "repositories": [REPOSITORY], "every": 10}) as syncs:
        run = Run(run_of(stack, f"{REPOSITORY}#{issue}"), issue)
        syncs["demo"].rest()
        over = threading.Event()
        observer = threading.Thread(target=observe, args=(stack, run, over))
        observer.start()
        try:
            stack.wait_for_run(DAG_ID, run.run_id, SECONDS)
        finally:
            over.set()
            observer.join()
        yield run


def observe(stack: DemoStack, run: Run, over: threading.Event) -> None:
    """Collect specifications of pods, and environments and files of agents, while there are any."""
    while not over.is_set():
        for pod in stack.pods():
            # Pods of other runs are kept.
            if REPOSITORY not in pod["metadata"]["annotations"].get(SPEC_ANNOTATION, ""):
                continue
            name = pod["metadata"]["name"]
            if name not in {known["metadata"]["name"] for known in run.specifications}:
                run.specifications.append(pod)
            try:
                for pid in processes(stack, pod, "base"):
                    environment = Path(f"/proc/{pid}/environ").read_bytes()
                    run.environments[f"{name}/{pid}"] = (
                        environment + Path(f"/proc/{pid}/cmdline").read_bytes()
                    )
                collect(stack.folder / "pods" / "claims", run.files)
                for volume in ("tmp", "spec", "gateway-url"):
                    collect(
                        stack.folder / "pods" / "pods" / pod["metadata"]["uid"] / "volumes" / volume,
                        run.files,
                    )
            except (OSError, ValueError):
                pass  # it ended while we looked
        time.sleep(0.3)


def collect(folder: Path, files: dict[str, bytes]) -> None:
    for file in folder.rglob("*"):
        if file.is_file() and not file.is_symlink():  # whatever its size: the database grows with each test
            files[str(file)] = file.read_bytes()


def test_ends_with_one_pull_request_one_merge_and_a_closed_issue(stack: DemoStack, run: Run) -> None:
    assert stack.run(DAG_ID, run.run_id)["state"] == "success"
    (opened,) = mutations(stack, REPOSITORY, "pull_request.opened")
    (merged,) = mutations(stack, REPOSITORY, "pull_request.merged")
    (closed,) = mutations(stack, REPOSITORY, "issue.closed")
    assert closed["number"] == run.issue
    assert opened["number"] == merged["number"]
    checks = {
        check["details"]["name"]: check["details"]["conclusion"]
        for check in mutations(stack, REPOSITORY, "check.completed")
        if check["details"]["sha"] == merged["details"]["head_sha"]
    }
    assert checks == {"tests": "SUCCESS", "docs": "SUCCESS"}


def test_the_ticket_has_one_comment_that_tells_all(stack: DemoStack, run: Run) -> None:
    created = mutations(stack, REPOSITORY, "comment.created")
    edited = mutations(stack, REPOSITORY, "comment.edited")
    assert [each["number"] for each in created] == [run.issue]
    assert {each["number"] for each in edited} == {run.issue}
    assert len(edited) >= 3
    (comment,) = comments(stack, REPOSITORY, run.issue)
    (opened,) = stack.forge.pull_requests(REPOSITORY)
    cost = stack.xcom(DAG_ID, run.run_id, "report")["cost_usd"]
    for words in (
        "● accepted → ● plan → ● build → ● pull request → ● checks → ● merged",
        "Merged. This ticket is done.",
        "Leave the error for missing values as it is.",
        f"Pull request: {opened['html_url']}",
        "2 attempts · 1 fix round",
        f"cost ${cost:.2f}",
        run.run_id,
    ):
        assert words in comment


def test_main_has_the_squash_commit_and_passes_its_tests(stack: DemoStack, run: Run, tmp_path: Path) -> None:
    remote = (
        stack.forge.url.replace("http://", f"http://x-access-token:{stack.token}@") + f"/{REPOSITORY}.git"
    )
    subprocess.run(["git", "clone", "--quiet", remote, str(tmp_path / "main")], check=True, timeout=30)
    log = subprocess.run(
        ["git", "log", "--format=%s"], cwd=tmp_path / "main", check=True, capture_output=True, text=True
    ).stdout.splitlines()
    assert len(log) == 2
    assert log[0].startswith("Print guests' text as they typed it")
    for target in ("test", "docs"):
        subprocess.run(["make", target], cwd=tmp_path / "main", check=True, capture_output=True, timeout=60)


def test_used_and_unused_tasks(stack: DemoStack, run: Run) -> None:
    found = states(stack, DAG_ID, run.run_id)
    used = [f"build.attempt_{n}.{task}" for n in (1, 2) for task in ("implement", "test", "gate")]
    used += [
        "accept",
        "admit",
        "workspace",
        "release_workspace",
        "plan.round_1.plan",
        "plan.round_1.approve",
        "open_pull_request",
        "finish",
        "report",
    ]
    used += ["land.round_1.gate", "land.round_1.fix", "land.round_2.gate"]
    assert {task: state for task, state in found.items() if state == "success"} == dict.fromkeys(
        used, "success"
    )
    assert {state for task, state in found.items() if task not in used} == {"skipped"}


def test_results_tell_program_cost_and_verdicts(stack: DemoStack, run: Run) -> None:
    def result(task_id: str) -> dict[str, Any]:
        return dict(stack.xcom(DAG_ID, run.run_id, task_id))

    plan, fix = result("plan.round_1.plan"), result("land.round_1.fix")
    assert plan["output"]["steps"]
    assert plan["agent_version"] == fix["agent_version"] != ""
    assert result("build.attempt_1.test")["failure"]["category"] == "tests"
    assert result("build.attempt_2.test")["test"]["exit_code"] == 0
    for step in (plan, fix):
        assert step["ledger"]["model_calls"] > 0
        assert step["cost_usd"] == step["ledger"]["usd"] > 0
    report = result("report")
    assert (report["outcome"], report["attempts"], report["rounds"]) == ("merged", 2, 1)
    assert report["cost_usd"] == pytest.approx(
        sum(result(t)["cost_usd"] for t in ("plan.round_1.plan", "build.attempt_1.implement",
                                            "build.attempt_2.implement", "land.round_1.fix"))
    )  # fmt: skip


def test_agent_events_are_readable_in_the_task_log(stack: DemoStack, run: Run) -> None:
    log = stack.task_log(DAG_ID, run.run_id, "build.attempt_1.implement")
    assert "Bash" in log
    assert "::agents-result::" not in log
    assert "Step implement: succeeded" in log


def test_issue_text_arrives_as_it_is_written(stack: DemoStack, run: Run) -> None:
    annotations = [pod["metadata"]["annotations"]["agents.airflow/spec"] for pod in run.specifications]
    assert any("signed up as `{{ 7*7 }}`" in text for text in annotations)


def test_links_lead_to_the_pull_request_and_the_pod(stack: DemoStack, run: Run) -> None:
    def links(task_id: str) -> dict[str, str]:
        path = f"/dags/{DAG_ID}/dagRuns/{run.run_id}/taskInstances/{task_id}/links"
        return dict(stack.airflow.request("GET", path)["extra_links"])

    assert links("land.round_1.gate")["Pull request"].endswith(f"/{REPOSITORY}/pull/2")
    assert links("finish")["Pull request"].endswith(f"/{REPOSITORY}/pull/2")
    assert links("plan.round_1.plan")["Pod"].startswith(f"http://pods.example/{NAMESPACE}/agent-plan-")


def test_credentials_are_nowhere_but_in_the_gateway(stack: DemoStack, run: Run) -> None:
    """Canaries: the forge's token, the secret of webhooks, the model's key, and the token of the cluster."""
    cluster = json.loads(stack.kubernetes.kubeconfig.read_text())["users"][0]["user"]["token"]
    canaries = {
        "forge token": stack.token.encode(),
        "webhook secret": WEBHOOK_SECRET.encode(),
        "model key": MODEL_KEY.encode(),
        "cluster token": cluster.encode(),
    }
    places: dict[str, bytes] = {
        f"specification of {p['metadata']['name']}": repr(p).encode() for p in run.specifications
    }
    places |= {f"environment of {name}": data for name, data in run.environments.items()}
    places |= {f"agent's file {name}": data for name, data in run.files.items()}
    # Task logs; and in the database: XComs, rendered fields, task state, triggers, the serialized DAG.
    collect(stack.folder / "airflow", places)
    collect(stack.folder / "logs", places)

    assert len(run.specifications) == 6, "plan, 2 x implement, 2 x test, fix"
    assert run.environments
    assert any("/workspace/" in name for name in run.files)
    assert any(name.endswith("airflow.db") for name in places)
    found = [
        f"{canary} in {place}"
        for place, data in places.items()
        for canary, value in canaries.items()
        if value in data
    ]
    assert not found


def test_housekeeping_takes_what_runs_left(stack: DemoStack, run: Run) -> None:
    """With nothing to be kept any longer; runs that go on, and the cache that is in its caps, stay."""
    conf = {"pod_keep_hours": 0, "failed_pod_keep_hours": 0, "claim_keep_minutes": 0}
    kept = stack.trigger("agents_maintenance", conf)
    assert stack.wait_for_run("agents_maintenance", kept, 150)["state"] == "success"
    report = stack.xcom("agents_maintenance", kept, "report")
    assert report["tasks"] == {"sweep": "success", "branches": "success", "cache": "success"}
    assert report["dry_run"] is False
    swept = stack.xcom("agents_maintenance", kept, "sweep")
    assert report["freed"]["pods"] == swept["pods"]["deleted"]
    of_steps = [
        pod
        for pod in stack.pods()
        if "agents.airflow/step" in pod["metadata"]["labels"]
        and pod["metadata"]["labels"].get("already_checked") == "True"
    ]
    assert of_steps == []
    cache = stack.xcom("agents_maintenance", kept, "cache")
    mirrors = [entry for entry in cache["entries"] if entry["path"].endswith(f"/{REPOSITORY}")]
    assert [entry["action"] for entry in mirrors if entry["path"].startswith("mirrors/")] == ["kept"]
    assert cache["bytes_after"] == cache["bytes_before"] > 0
