from __future__ import annotations

import pytest

from demo.github.workflows import WorkflowError, parse_workflow

REPOSITORY = "acme/calc"


async def runs(agent, ref="main"):
    return (await agent.repo("GET", f"/commits/{ref}/check-runs")).body["check_runs"]


@pytest.fixture
def pipeline(folder):
    """Give the repository a workflow: ``build``, then ``test`` and, whatever they come to, ``report``."""

    def write(build="true", test="true"):
        path = folder / ".github" / "workflows" / "ci.yml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            "name: CI\non: push\njobs:\n"
            f"  build: {{steps: [{{run: {build!r}}}]}}\n"
            f"  test: {{needs: build, steps: [{{run: {test!r}}}]}}\n"
            "  report: {needs: [build, test], if: always(), steps: [{run: 'true'}]}\n"
        )

    return write


async def test_jobs_with_needs_come_one_after_the_other(server, folder, pipeline, agent, tmp_path):
    gate = tmp_path / "gate"
    pipeline(build=f"while ! test -f {gate}; do sleep 0.02; done")
    repository = await server.seed_repository(REPOSITORY, folder)
    (suite,) = repository.suites
    assert [run["name"] for run in await runs(agent)] == ["build"]
    gate.touch()
    await server.checks_settled()
    assert [run["name"] for run in await runs(agent)] == ["build", "test", "report"]
    assert (suite.status, suite.conclusion) == ("COMPLETED", "SUCCESS")


async def test_suite_is_not_complete_between_two_jobs(server, folder, pipeline, agent):
    pipeline()
    query = """{repository(owner:"acme", name:"calc") {ref(qualifiedName:"main") {target {... on Commit {
      statusCheckRollup {state contexts(first: 5) {nodes {... on CheckRun {name status checkSuite {
        status conclusion checkRuns(first: 5) {totalCount} workflowRun {checkSuite {status}}}}}}}}}}}}"""
    repository = await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    (suite,) = repository.suites
    suite.waiting.append(suite.runs[1].work)
    del suite.runs[1:]
    rollup = (await agent.graphql(query))["data"]["repository"]["ref"]["target"]["statusCheckRollup"]
    (node,) = rollup["contexts"]["nodes"]
    assert (node["status"], node["checkSuite"]["status"]) == ("COMPLETED", "IN_PROGRESS")
    assert node["checkSuite"]["conclusion"] is None


async def test_what_needs_a_failed_job_is_skipped(server, folder, pipeline, agent):
    pipeline(build="exit 1")
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    found = {run["name"]: run["conclusion"] for run in await runs(agent)}
    assert found == {"build": "failure", "test": "skipped", "report": "success"}


@pytest.mark.parametrize(
    ("jobs", "text"),
    [
        ("{a: {needs: b, steps: [{run: 'true'}]}}", "unknown job 'b'"),
        (
            "{a: {needs: b, steps: [{run: 'true'}]}, b: {needs: a, steps: [{run: 'true'}]}}",
            "depend on each other",
        ),
    ],
)
def test_needs_that_can_never_be_met_are_told(jobs, text):
    with pytest.raises(WorkflowError, match=text):
        parse_workflow(f"on: push\njobs: {jobs}\n", "ci.yml")


async def test_rerun_of_failed_jobs_runs_them_and_what_needs_them(server, folder, pipeline, agent, tmp_path):
    flag = tmp_path / "flag"
    pipeline(test=f"test -f {flag} || {{ touch {flag}; exit 1; }}")
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    first = {run["name"]: run for run in await runs(agent)}
    assert first["test"]["conclusion"] == "failure"
    run_id = first["test"]["check_suite"]["id"]
    assert (await agent.repo("POST", f"/actions/runs/{run_id}/rerun-failed-jobs")).status == 201
    await server.checks_settled()
    second = {run["name"]: run for run in await runs(agent)}
    assert {name: run["conclusion"] for name, run in second.items()} == dict.fromkeys(second, "success")
    assert second["build"]["id"] == first["build"]["id"]
    assert second["report"]["id"] != first["report"]["id"]
    assert (await agent.repo("GET", f"/actions/runs/{run_id}")).body["run_attempt"] == 2
    job = (await agent.repo("GET", f"/actions/jobs/{second['test']['id']}")).body
    assert (job["run_attempt"], job["run_id"]) == (2, run_id)
    asked = [m for m in server.mutations if m["kind"] == "check.rerequested"]
    assert [(m["actor"], m["details"]["name"]) for m in asked] == [("agent", "test")]
    assert asked[0]["details"]["check_run_id"] == first["test"]["id"]


async def test_rerun_of_all_jobs(server, folder, pipeline, agent):
    pipeline()
    repository = await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    before = await runs(agent)
    path = f"/actions/runs/{repository.suites[0].database_id}"
    assert (await agent.repo("POST", f"{path}/rerun")).status == 201
    await server.checks_settled()
    after = await runs(agent)
    assert [run["conclusion"] for run in after] == ["success"] * 3
    assert not {run["id"] for run in before} & {run["id"] for run in after}
    refused = await agent.repo("POST", f"{path}/rerun-failed-jobs")
    assert (refused.status, refused.body["message"]) == (403, "This workflow run cannot be retried")


async def test_no_rerun_while_the_workflow_runs(server, folder, pipeline, agent, tmp_path, client_of):
    gate = tmp_path / "gate"
    pipeline(test=f"while ! test -f {gate}; do sleep 0.02; done")
    await server.seed_repository(REPOSITORY, folder)
    build = server.forge.store.repositories[REPOSITORY].suites[0].runs[0]
    for path in (f"jobs/{build.database_id}/rerun", f"runs/{build.suite.database_id}/rerun-failed-jobs"):
        refused = await agent.repo("POST", f"/actions/{path}")
        assert (refused.status, "already running" in refused.body["message"]) == (403, True)
    gate.touch()
    await server.checks_settled()
    path = f"/actions/jobs/{build.database_id}/rerun"
    await server.act("acme", "configure", REPOSITORY, permissions={"reader": "read"})
    assert (await client_of("token-of-reader").repo("POST", path)).status == 403
    assert (await agent.repo("POST", path)).status == 201
    await server.checks_settled()


async def test_flaky_check_by_script(server, folder, workflow, agent):
    workflow("true")
    await server.seed_repository(REPOSITORY, folder)
    await server.checks_settled()
    outcomes = [
        {"conclusion": "failure", "title": "1 failed", "log": "E  ConnectionResetError\n::error::Boom\n"},
        {"conclusion": "timed_out"},
    ]
    await server.act("acme", "script_check", REPOSITORY, name="test", outcomes=outcomes)
    found = []
    for _ in range(3):
        (run,) = await runs(agent)
        assert (await agent.repo("POST", f"/actions/jobs/{run['id']}/rerun")).status == 201
        await server.checks_settled()
        (run,) = await runs(agent)
        found.append(run)
    assert [run["conclusion"] for run in found] == ["failure", "timed_out", "success"]
    log = await agent.repo("GET", f"/actions/jobs/{found[0]['id']}/logs")
    assert "ConnectionResetError" in log.text
    (annotation,) = (await agent.repo("GET", f"/check-runs/{found[0]['id']}/annotations")).body
    assert (annotation["message"], found[0]["output"]["title"]) == ("Boom", "1 failed")


async def test_check_of_another_app_waits_for_that_app(seeded, pull, agent):
    first = await seeded.act(
        "ci", "check_run", REPOSITORY, number=pull, name="cov", conclusion="failure", title="60 %"
    )
    assert (await agent.repo("POST", f"/check-runs/{first['id']}/rerequest")).status == 201
    (run,) = await runs(agent, "agents/1")
    assert (run["id"] != first["id"], run["status"]) == (True, "queued")
    refused = await agent.repo("POST", f"/check-runs/{run['id']}/rerequest")
    assert (refused.status, refused.body["message"]) == (422, "This check run is not rerequestable")
    await seeded.act("ci", "check_run", REPOSITORY, number=pull, name="cov", conclusion="success")
    (done,) = await runs(agent, "agents/1")
    assert (done["id"], done["conclusion"]) == (run["id"], "success")
    await seeded.act("acme", "script_check", REPOSITORY, name="cov", conclusion="neutral", times=1)
    await seeded.act("agent", "rerun", REPOSITORY, number=pull, name="cov")
    await seeded.checks_settled()
    (again,) = await runs(agent, "agents/1")
    assert again["conclusion"] == "neutral"


async def test_jobs_end_points_know_only_actions(seeded, pull, agent):
    made = await seeded.act("ci", "check_run", REPOSITORY, number=pull, name="cov", conclusion="failure")
    for path in (f"/actions/jobs/{made['id']}/rerun", f"/actions/runs/{made['suite']}/rerun-failed-jobs"):
        assert (await agent.repo("POST", path)).status == 404
