from __future__ import annotations

import asyncio

import pytest

REPOSITORY = "acme/calc"
CHECKS = """query($n: Int!) {repository(owner:"acme", name:"calc") {pullRequest(number:$n) {mergeStateStatus
  statusCheckRollup {state contexts(first: 20) {nodes {__typename
    ... on CheckRun {name status conclusion startedAt completedAt title checkSuite {status app {slug}
      workflowRun {event workflow {name}}}}
    ... on StatusContext {context state createdAt description}}}}}}}"""


async def checks(agent, number):
    body = await agent.graphql(CHECKS, n=number)
    assert "errors" not in body, body["errors"]
    rollup = body["data"]["repository"]["pullRequest"]["statusCheckRollup"]
    return (
        {node.get("name") or node["context"]: node for node in rollup["contexts"]["nodes"]} if rollup else {}
    )


@pytest.fixture
def clock(seeded):
    """The stand-in's clock, standing still."""
    seeded.forge.clock.stop()
    return seeded.forge.clock


async def passes(clock, seconds):
    """Let time pass, and what is due at its end happen."""
    clock.advance(seconds)
    for _ in range(10):
        await asyncio.sleep(0)


async def test_queued_then_in_progress_then_done(seeded, pull, agent, clock):
    await seeded.act(
        "ci",
        "check_run",
        REPOSITORY,
        number=pull,
        name="slow",
        starts_after=60,
        completes_after=600,
        conclusion="success",
    )
    node = (await checks(agent, pull))["slow"]
    assert (node["status"], node["conclusion"], node["startedAt"]) == ("QUEUED", None, None)
    await passes(clock, 59)
    assert (await checks(agent, pull))["slow"]["status"] == "QUEUED"
    await passes(clock, 1)
    started = (await checks(agent, pull))["slow"]
    assert (started["status"], started["startedAt"] is None) == ("IN_PROGRESS", False)
    await passes(clock, 540)
    done = (await checks(agent, pull))["slow"]
    assert (done["conclusion"], done["startedAt"]) == ("SUCCESS", started["startedAt"])
    assert done["completedAt"] > done["startedAt"]
    assert [m["details"]["name"] for m in seeded.mutations if m["kind"] == "check.completed"] == ["slow"]


async def test_check_that_appears_late(seeded, pull, agent, clock):
    await seeded.act("ci", "check_run", REPOSITORY, number=pull, name="first", conclusion="success")
    late = {"name": "late", "appears_after": 30, "conclusion": "failure"}
    await seeded.act("ci", "check_run", REPOSITORY, number=pull, **late)
    assert set(await checks(agent, pull)) == {"first"}
    await passes(clock, 30)
    found = await checks(agent, pull)
    assert {name: node["conclusion"] for name, node in found.items()} == {
        "first": "SUCCESS",
        "late": "FAILURE",
    }


async def test_a_set_that_grows(seeded, pull, agent, clock):
    for number in range(3):
        values = {"name": f"c{number}", "appears_after": 10 * number, "status": "in_progress"}
        await seeded.act("ci", "check_run", REPOSITORY, number=pull, **values)
    sizes = []
    for _ in range(3):
        sizes.append(len(await checks(agent, pull)))
        await passes(clock, 10)
    assert sizes == [1, 2, 3]


async def test_status_that_comes_late(seeded, pull, agent, clock):
    for state, after in (("pending", 0), ("error", 20)):
        await seeded.act("ci", "status", REPOSITORY, number=pull, context="lint", state=state, after=after)
    assert (await checks(agent, pull))["lint"]["state"] == "PENDING"
    await passes(clock, 20)
    assert (await checks(agent, pull))["lint"]["state"] == "ERROR"
    states = [m["details"]["state"] for m in seeded.mutations if m["kind"] == "status.created"]
    assert states == ["PENDING", "ERROR"]


async def test_announced_jobs_keep_the_suite_open(seeded, pull, agent):
    values = {"number": pull, "workflow": "CI", "name": "build", "conclusion": "success"}
    await seeded.act("ci", "check_run", REPOSITORY, more_to_come=True, **values)
    node = (await checks(agent, pull))["build"]
    assert node["checkSuite"] == {
        "status": "IN_PROGRESS",
        "app": {"slug": "github-actions"},
        "workflowRun": {"event": "push", "workflow": {"name": "CI"}},
    }
    await seeded.act("ci", "check_run", REPOSITORY, more_to_come=False, **{**values, "name": "test"})
    assert (await checks(agent, pull))["build"]["checkSuite"]["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "conclusion",
    [
        "action_required",
        "cancelled",
        "failure",
        "neutral",
        "skipped",
        "stale",
        "startup_failure",
        "timed_out",
    ],
)
async def test_every_conclusion(seeded, pull, agent, conclusion):
    await seeded.act("ci", "check_run", REPOSITORY, number=pull, name="x", conclusion=conclusion)
    assert (await checks(agent, pull))["x"]["conclusion"] == conclusion.upper()


@pytest.mark.parametrize("status", ["queued", "in_progress", "waiting", "pending", "requested"])
async def test_every_status_never_reports(seeded, pull, agent, status):
    await seeded.act("ci", "check_run", REPOSITORY, number=pull, name="x", status=status)
    node = (await checks(agent, pull))["x"]
    assert (node["status"], node["conclusion"], node["completedAt"]) == (status.upper(), None, None)


@pytest.mark.parametrize(
    ("do", "values"),
    [
        ("check_run", {"conclusion": "fine"}),
        ("check_run", {"status": "maybe"}),
        ("status", {"state": "green"}),
        ("script_check", {"conclusion": "fine"}),
        ("script_check", {"on": "schedule"}),
    ],
)
async def test_other_words_are_refused(seeded, pull, agent, do, values):
    body = {"as": "ci", "do": do, "repository": REPOSITORY, "number": pull, **values}
    answer = await agent.call("POST", "/_demo/act", json=body)
    assert answer.status == 422
    assert "is one of" in answer.body["message"]
    assert await checks(agent, pull) == {}


async def test_log_and_annotations_of_a_reported_job(seeded, pull, agent):
    annotations = [{"path": "calc.py", "line": 2, "level": "failure", "message": "wrong"}]
    made = await seeded.act(
        "ci",
        "check_run",
        REPOSITORY,
        number=pull,
        workflow="CI",
        name="test",
        conclusion="failure",
        log="AssertionError\n",
        annotations=annotations,
    )
    assert "AssertionError" in (await agent.repo("GET", f"/actions/jobs/{made['id']}/logs")).text
    (annotation,) = (await agent.repo("GET", f"/check-runs/{made['id']}/annotations")).body
    assert (annotation["path"], annotation["start_line"], annotation["message"]) == ("calc.py", 2, "wrong")


async def test_another_report_takes_the_place_of_a_plan(seeded, pull, agent, clock):
    values = {"number": pull, "name": "slow", "conclusion": "failure"}
    await seeded.act("ci", "check_run", REPOSITORY, completes_after=60, **values)
    await seeded.act("ci", "check_run", REPOSITORY, **{**values, "conclusion": "success"})
    await passes(clock, 60)
    assert (await checks(agent, pull))["slow"]["conclusion"] == "SUCCESS"
    assert [m["kind"] for m in seeded.mutations].count("check.completed") == 1


async def test_plans_and_jobs_go_on_after_an_interruption(server, folder, workflow, agent, tmp_path):
    gate = tmp_path / "gate"
    workflow(f"while ! test -f {gate}; do sleep 0.02; done")
    repository = await server.seed_repository(REPOSITORY, folder)
    sha = server.mutations[0]["details"]["sha"]
    server.forge.clock.stop()
    await server.act(
        "ci", "check_run", REPOSITORY, sha=sha, name="slow", completes_after=60, conclusion="success"
    )
    await server.forge.checks.stop()
    gate.touch()
    await server.forge.checks.resume()
    await passes(server.forge.clock, 60)
    await server.checks_settled()
    found = {run.name: run.conclusion for run in repository.check_runs(sha)}
    assert found == {"test": "SUCCESS", "slow": "SUCCESS"}


async def test_scripted_run_takes_its_time(seeded, pull, agent, clock):
    values = {"number": pull, "workflow": "CI", "name": "test"}
    await seeded.act("ci", "check_run", REPOSITORY, conclusion="failure", **values)
    outcomes = [{"conclusion": "success", "log": "fine\n", "seconds": 90}]
    await seeded.act("acme", "script_check", REPOSITORY, name="test", outcomes=outcomes)
    again = await seeded.act("agent", "rerun", REPOSITORY, number=pull, name="test")
    log = f"/actions/jobs/{again['id']}/logs"
    assert (await checks(agent, pull))["test"]["status"] == "IN_PROGRESS"
    assert (await agent.repo("GET", log)).status == 404
    await passes(clock, 90)
    assert (await checks(agent, pull))["test"]["conclusion"] == "SUCCESS"
    assert "fine" in (await agent.repo("GET", log)).text


async def test_a_later_plan_takes_the_place_of_an_earlier_one(seeded, pull, agent, clock):
    values = {"number": pull, "name": "slow", "conclusion": "success"}
    for seconds in (60, 120):
        await seeded.act("ci", "check_run", REPOSITORY, completes_after=seconds, **values)
    await passes(clock, 60)
    assert (await checks(agent, pull))["slow"]["status"] == "IN_PROGRESS"
    await passes(clock, 60)
    assert (await checks(agent, pull))["slow"]["status"] == "COMPLETED"
