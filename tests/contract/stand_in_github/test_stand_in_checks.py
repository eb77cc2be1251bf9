from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest

from demo.github.job_log import LOG_BYTES, JobLog, parse_command
from demo.github.server import StandInGitHub
from demo.github.workflows import WorkflowError, parse_workflow

REPOSITORY = "acme/calc"
TEST = 'python -c "import calc; assert calc.add(1, 2) == 3, 1"'


async def runs(agent, ref="main"):
    return (await agent.repo("GET", f"/commits/{ref}/check-runs")).body["check_runs"]


async def test_the_repository_decides_pass_or_fail(server, folder, workflow, agent):
    workflow(TEST)
    await server.seed_repository(REPOSITORY, folder)
    fixed = {"calc.py": "def add(a, b):\n    return a + b\n"}
    await server.act("agent", "push_commit", REPOSITORY, branch="agents/1", files=fixed)
    (queued,) = await runs(agent, "agents/1")
    assert queued["status"] in ("queued", "in_progress")
    assert queued["conclusion"] is None
    await server.checks_settled()
    (failed,), (passed,) = await runs(agent), await runs(agent, "agents/1")
    assert (failed["status"], failed["conclusion"], failed["name"]) == ("completed", "failure", "test")
    assert "exit code 1" in failed["output"]["title"]
    assert "AssertionError" in failed["output"]["summary"]
    assert (passed["conclusion"], passed["app"]["slug"]) == ("success", "github-actions")
    kinds = [
        (m["kind"], m["details"].get("conclusion"))
        for m in server.mutations
        if m["kind"] == "check.completed"
    ]
    assert sorted(kinds) == [("check.completed", "FAILURE"), ("check.completed", "SUCCESS")]


async def test_log_is_behind_a_redirect_that_needs_no_token(server, folder, workflow, agent, client_of):
    workflow("echo out; echo err >&2; exit 3")
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    (run,) = await runs(agent)
    path = f"/api/v3/repos/{REPOSITORY}/actions/jobs/{run['id']}/logs"
    redirect = await agent.call("GET", path, allow_redirects=False)
    assert redirect.status == 302
    log = await client_of(None).call("GET", redirect.headers["Location"])
    lines = [line.split(" ", 1)[1] for line in log.text.splitlines()]
    assert lines[-3:] == ["out", "err", "##[error]Process completed with exit code 3."]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z ", log.text)
    assert (await client_of(None).call("GET", path)).status == 401
    page = await client_of(None).call("GET", run["details_url"])
    assert "Process completed with exit code 3." in page.text


async def test_annotations(server, folder, workflow, agent):
    workflow('echo "::error file=calc.py,line=2,title=Sum::wrong%0Asign"; exit 1')
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    (run,) = await runs(agent)
    first, second = (await agent.repo("GET", f"/check-runs/{run['id']}/annotations")).body
    assert (first["path"], first["start_line"], first["annotation_level"]) == ("calc.py", 2, "failure")
    assert (first["title"], first["message"]) == ("Sum", "wrong\nsign")
    assert (second["path"], second["message"]) == (".github", "Process completed with exit code 1.")


async def test_checks_see_nothing_of_the_servers_environment(server, folder, workflow, agent, monkeypatch):
    monkeypatch.setenv("SECRET_OF_THE_SERVER", "s3cret")
    workflow(
        'env | sort > all; if grep -q s3cret all; then exit 1; fi; test -z "$(git config --get credential.helper)"'
    )
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    assert (await runs(agent))[0]["conclusion"] == "success"


async def test_python_on_the_path_is_the_servers_own(server, folder, workflow, agent):
    workflow("python -c 'import aiohttp' && python3 -c 'import aiohttp'")
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    assert (await runs(agent))[0]["conclusion"] == "success"


async def test_a_job_over_its_time_is_ended_with_its_children(tmp_path, folder, workflow, session):
    marker = tmp_path / "pid"
    workflow(f"sleep 60 & echo $! > {marker}; wait")
    async with StandInGitHub(tmp_path / "data", check_timeout=0.5) as server:
        repository = await server.seed_repository(REPOSITORY, folder)
        await server.checks_settled()
        (run,) = repository.suites[0].runs
        assert run.conclusion == "TIMED_OUT"
        assert "exceeded the maximum execution time" in (run.log or "")
    await gone(int(marker.read_text()))


async def test_stop_ends_running_checks(tmp_path, folder, workflow):
    marker = tmp_path / "pid"
    workflow(f"sleep 60 & echo $! > {marker}.new; mv {marker}.new {marker}; wait")
    async with StandInGitHub(tmp_path / "data") as server:
        await server.seed_repository(REPOSITORY, folder)
        async with asyncio.timeout(10):
            while not marker.exists():
                await asyncio.sleep(0.01)
    await gone(int(marker.read_text()))


async def gone(pid: int) -> None:
    """Wait until a process is no more, or only a zombie that nobody has reaped."""
    async with asyncio.timeout(5):
        while True:
            try:
                os.kill(pid, 0)
                if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                    return
            except (ProcessLookupError, FileNotFoundError):
                return
            await asyncio.sleep(0.01)


async def test_what_a_step_leaves_running_does_not_hold_the_job(server, folder, workflow, agent):
    workflow("sleep 60 & echo started", "echo second")
    await server.seed_repository(REPOSITORY, folder)
    async with asyncio.timeout(8):
        await server.checks_settled()
    assert (await runs(agent))[0]["conclusion"] == "success"


async def test_steps_stop_at_the_first_failure_except_those_that_always_run(server, folder, agent):
    path = folder / ".github" / "workflows" / "ci.yml"
    path.parent.mkdir(parents=True)
    path.write_text(
        "on: push\njobs:\n  test:\n    name: All tests\n    env: {WORD: hello}\n    steps:\n"
        "      - run: echo $WORD $MORE\n        env: {MORE: there}\n"
        "      - run: exit 7\n      - run: echo never\n      - {run: echo cleanup, if: always()}\n"
    )
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    run = server.forge.store.repositories[REPOSITORY].suites[0].runs[0]
    assert run.name == "All tests"
    assert "hello there" in run.log
    assert " cleanup" in run.log
    assert " never" not in run.log


async def test_pull_request_workflows_run_on_the_merge_and_not_on_a_conflict(server, folder, workflow, agent):
    workflow("test -f base.txt && test -f head.txt", on="pull_request")
    await server.seed_repository(REPOSITORY, folder)
    await server.act(
        "agent", "push_commit", REPOSITORY, branch="agents/1", files={"head.txt": "h", "calc.py": "1"}
    )
    await server.act("agent", "push_commit", REPOSITORY, branch="main", files={"base.txt": "b"})
    assert await runs(agent, "agents/1") == []
    made = await server.act("agent", "open_pull", REPOSITORY, head="agents/1", title="T")
    await server.checks_settled()
    assert [run["conclusion"] for run in await runs(agent, "agents/1")] == ["success"]
    await server.act("agent", "push_commit", REPOSITORY, branch="main", files={"calc.py": "2"})
    await server.act("agent", "push_commit", REPOSITORY, number=made["number"], files={"other.txt": "o"})
    assert await runs(agent, "agents/1") == []


async def test_a_new_push_leaves_the_old_checks_running(server, folder, workflow, agent):
    workflow("sleep 0.3")
    repository = await server.seed_repository(REPOSITORY, folder)
    await server.act("agent", "push_commit", REPOSITORY, branch="main")
    await server.checks_settled()
    assert [run.conclusion for suite in repository.suites for run in suite.runs] == ["SUCCESS", "SUCCESS"]


async def test_rerun_replaces_the_run(server, folder, workflow, agent, tmp_path):
    flag = tmp_path / "flag"
    workflow(f"test -f {flag} || {{ touch {flag}; exit 1; }}")
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    (first,) = await runs(agent)
    assert first["conclusion"] == "failure"
    assert (await agent.repo("POST", f"/actions/jobs/{first['id']}/rerun")).status == 201
    await server.checks_settled()
    (second,) = await runs(agent)
    assert (second["conclusion"], second["id"] == first["id"]) == ("success", False)
    assert (await agent.repo("GET", f"/check-runs/{first['id']}")).body["conclusion"] == "failure"


async def test_at_most_two_jobs_at_once(server, folder, agent, tmp_path):
    path = folder / ".github" / "workflows" / "ci.yml"
    path.parent.mkdir(parents=True)
    step = f"touch {tmp_path}/$$.on; ls {tmp_path}/*.on | wc -l; sleep 0.1; rm {tmp_path}/$$.on"
    jobs = "".join(f"  job{n}: {{steps: [{{run: '{step}'}}]}}\n" for n in range(5))
    path.write_text(f"on: [push]\njobs:\n{jobs}")
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    logs = [run.log for run in server.forge.store.repositories[REPOSITORY].suites[0].runs]
    seen = [int(match) for log in logs for match in re.findall(r"Z (\d+)$", log, re.MULTILINE)]
    assert len(seen) == 5
    assert max(seen) <= 2


async def test_broken_workflow_is_a_failed_check(server, folder, agent):
    path = folder / ".github" / "workflows" / "ci.yml"
    path.parent.mkdir(parents=True)
    path.write_text("on: push\njobs: [\n")
    await server.seed_repository(REPOSITORY, folder)
    (run,) = await runs(agent)
    assert (run["conclusion"], run["name"]) == ("startup_failure", ".github/workflows/ci.yml")
    assert "yaml syntax" in run["output"]["summary"]


def test_log_keeps_its_end_within_bounds():
    log = JobLog()
    for number in range(40_000):
        log.feed(b"%06d %s\n" % (number, b"x" * 60))
    log.feed(b"y" * 10_000_000)
    log.flush()
    text = log.text()
    assert len(text) < LOG_BYTES + 200
    assert "earlier lines were dropped" in text.splitlines()[0]
    assert "039999" in text


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("::error file=a.py,line=3,endLine=5::no", ("FAILURE", "a.py", 3, 5, "no")),
        ("::warning::careful", ("WARNING", ".github", 1, None, "careful")),
        ("::error file=a%3Ab.py,line=x::100%25", ("FAILURE", "a:b.py", 1, None, "100%")),
        ("::group::x", None),
        ("error: ::error", None),
    ],
)
def test_workflow_commands(line, expected):
    found = parse_command(line)
    values = (found.level, found.path, found.line, found.end_line, found.message) if found else None
    assert values == expected


@pytest.mark.parametrize(
    ("on", "event", "branch", "runs_"),
    [
        ("push", "push", "any", True),
        ("[push, pull_request]", "pull_request", "main", True),
        ("{push: {branches: [main]}}", "push", "agents/1", False),
        ("{push: {branches: ['agents/**']}}", "push", "agents/1/x", True),
        ("{push: {branches-ignore: ['agents/*']}}", "push", "agents/1", False),
        ("{pull_request: {branches: [main]}}", "pull_request", "release", False),
        ("{push: {tags: ['v*']}}", "push", "main", False),
        ("workflow_dispatch", "push", "main", False),
    ],
)
def test_triggers(on, event, branch, runs_):
    text = f"on: {on}\njobs: {{a: {{steps: [{{run: 'true'}}]}}}}\n"
    assert parse_workflow(text, "ci.yml").runs_on(event, branch) is runs_


@pytest.mark.parametrize(
    "text", ["[]", "on: push", "on: push\njobs: {a: {}}", "jobs: {a: {steps: []}}", "a: ["]
)
def test_what_is_no_workflow_says_why(text):
    with pytest.raises(WorkflowError, match=r"\w"):
        parse_workflow(text, "ci.yml")
