"""Every reading of landing, by the client that triggers and operators use, at the stand-in GitHub."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.domain.pull_request import PullRequestPulse, PullRequestSnapshot
from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks import github_transport
from airflow_provider_agents.hooks.github_authority import forget_people
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_queries import (
    BASE_BATCH,
    DOCUMENTS,
    PULSE_BATCH,
    PULSES,
    SNAPSHOT_BATCH,
    base_document,
    snapshot_document,
)
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.graphql_cost import query_cost
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the stand-in keeps repositories of git")

REPOSITORY = "acme/calc"
FIRST, SECOND = (REPOSITORY, 1), (REPOSITORY, 2)


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    """A repository of acme's, with two pull requests of the agent's and no checks."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_transport, "READ_RETRY_DELAYS", (0.0, 0.0))
    forget_people()
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    async with StandInGitHub(tmp_path / "data", mergeability_delay=0) as stand_in:
        for login in ("agent", "alice", "eve", "acme"):
            stand_in.add_token(login, f"token-of-{login}")
        permissions = {"agent": "write", "alice": "maintain", "eve": "read"}
        await stand_in.seed_repository(REPOSITORY, seed, permissions=permissions)  # type: ignore[arg-type]
        for number in (1, 2):
            branch = f"agents/{number}"
            files = {f"file{number}.py": "pass\n"}
            await stand_in.act("agent", "push_commit", REPOSITORY, branch=branch, files=files)
            await stand_in.act(
                "agent", "open_pull", REPOSITORY, head=branch, title="Fix", body="It was wrong."
            )
        yield stand_in


@pytest.fixture
async def client(server: StandInGitHub) -> AsyncIterator[GitHubClient]:
    async with open_transport(github_urls(server.url), "token-of-agent") as transport:
        yield GitHubClient(transport)


async def check(server: StandInGitHub, name: str, conclusion: str, **more: object) -> None:
    await server.act("alice", "check_run", REPOSITORY, name=name, conclusion=conclusion, **more)


async def test_several_pull_requests_and_one_that_is_not_there(client: GitHubClient) -> None:
    found = await client.snapshots([FIRST, SECOND, (REPOSITORY, 99)])
    first, second = found[FIRST], found[SECOND]
    assert isinstance(first, PullRequestSnapshot)
    assert isinstance(second, PullRequestSnapshot)
    assert (first.number, second.number) == (1, 2)
    assert (first.author, first.head_branch, first.base_branch) == ("agent", "agents/1", "main")
    assert first.base_sha == second.base_sha == await client.branch_head(REPOSITORY, "main")
    assert (first.missing, first.refused, first.degraded) == ((), (), ())
    assert isinstance(found[REPOSITORY, 99], ForgeAccessError)


async def test_pulses_and_the_budget(client: GitHubClient) -> None:
    snapshot = await client.snapshot(*FIRST)
    found = await client.pulses([snapshot.node_id, "PR_nothing", snapshot.node_id])
    pulse = found[snapshot.node_id]
    assert isinstance(pulse, PullRequestPulse)
    assert (pulse.repository, pulse.number, pulse.head_sha) == (REPOSITORY, 1, snapshot.head_sha)
    assert isinstance(found["PR_nothing"], ForgeAccessError)
    assert client.rate_limit is not None
    assert client.rate_limit.remaining == client.rate_limit.limit - client.rate_limit.used


async def test_a_change_shows_in_the_pulse(server: StandInGitHub, client: GitHubClient) -> None:
    node_id = (await client.snapshot(*FIRST)).node_id

    async def pulse() -> PullRequestPulse:
        found = (await client.pulses([node_id]))[node_id]
        assert isinstance(found, PullRequestPulse)
        return found

    before = await pulse()
    await check(server, "tests", "SUCCESS", number=1)
    passed = await pulse()
    assert (before.checks_state, passed.checks_state) == ("", "SUCCESS")
    await server.act("agent", "push_commit", REPOSITORY, branch="agents/1", files={"more.py": "pass\n"})
    assert (await pulse()).head_sha != passed.head_sha
    await server.act("alice", "close", REPOSITORY, number=1)
    assert (await pulse()).state == "CLOSED"


async def test_whose_commands_count(server: StandInGitHub, client: GitHubClient) -> None:
    for who in ("alice", "eve", "agent"):
        await server.act(who, "comment", REPOSITORY, number=1, body="/merge")
    await server.act("alice", "comment", REPOSITORY, number=1, body="Thank you")
    comments = (await client.snapshot(*FIRST)).comments
    assert [(c.author, c.can_write, c.own) for c in comments] == [
        ("alice", True, False),
        ("eve", False, False),
        ("agent", False, True),
        ("alice", False, False),
    ]
    assert all(c.node_id and c.created_at for c in comments)


async def test_what_fails_on_the_base_branch_too(server: StandInGitHub, client: GitHubClient) -> None:
    for where in ({"number": 1}, {"branch": "main"}):
        await check(server, "tests", "FAILURE", **where)
    await check(server, "docs", "FAILURE", number=1)
    snapshot = await client.snapshot(*FIRST)
    assert {c.name for c in snapshot.checks_in("failed")} == {"tests", "docs"}
    assert snapshot.failing_on_base == {"tests"}
    assert all(c.started_at and c.completed_at for c in snapshot.checks)
    assert (await client.snapshot(*SECOND)).failing_on_base is None


async def test_jobs_that_are_to_come(server: StandInGitHub, client: GitHubClient) -> None:
    await check(server, "build", "SUCCESS", number=1, workflow="CI", more_to_come=True)
    snapshot = await client.snapshot(*FIRST)
    assert [(c.name, c.state) for c in snapshot.checks] == [
        ("build", "passed"),
        ("CI: further jobs", "pending"),
    ]
    await check(server, "test", "SUCCESS", number=1, workflow="CI", more_to_come=False)
    snapshot = await client.snapshot(*FIRST)
    assert [(c.name, c.state) for c in snapshot.checks] == [("build", "passed"), ("test", "passed")]


async def test_rules_and_merge_methods(server: StandInGitHub, client: GitHubClient) -> None:
    assert (await client.snapshot(*FIRST)).required_checks == frozenset()
    settings = {"rules": {"main": {"required_checks": ["tests"]}}, "merge_commit_allowed": False}
    await server.act("acme", "configure", REPOSITORY, **settings)
    snapshot = await client.snapshot(*FIRST)
    assert snapshot.required_checks == {"tests"}
    assert snapshot.allowed_methods == ("squash", "rebase")
    assert snapshot.merge_state == "BLOCKED"


async def test_the_merge_queue(server: StandInGitHub, client: GitHubClient) -> None:
    rules = {"main": {"merge_queue": True, "required_checks": ["tests"]}}
    await server.act("acme", "configure", REPOSITORY, rules=rules)
    await check(server, "tests", "SUCCESS", number=1)
    before = await client.snapshot(*FIRST)
    assert (before.has_merge_queue, before.queue_entry, before.queue_removals) == (True, None, ())
    await server.act("alice", "enqueue", REPOSITORY, number=1)
    queued = await client.snapshot(*FIRST)
    assert queued.queue_entry is not None
    assert queued.queue_entry.position == 1
    pulse = (await client.pulses([before.node_id]))[before.node_id]
    assert isinstance(pulse, PullRequestPulse)
    assert pulse.queued is True
    await server.act("alice", "dequeue", REPOSITORY, number=1)
    after = await client.snapshot(*FIRST)
    assert after.queue_entry is None
    assert [(r.reason, r.actor) for r in after.queue_removals] == [("manual", "alice")]


async def test_auto_merge(server: StandInGitHub, client: GitHubClient) -> None:
    rules = {"main": {"required_checks": ["tests"]}}
    await server.act("acme", "configure", REPOSITORY, rules=rules, auto_merge_allowed=True)
    before = await client.snapshot(*FIRST)
    assert (before.auto_merge_allowed, before.auto_merge_on) == (True, False)
    await server.act("alice", "enable_auto_merge", REPOSITORY, number=1, method="squash")
    assert (await client.snapshot(*FIRST)).auto_merge_on is True


@pytest.mark.parametrize(
    ("field", "part", "where"),
    [
        ("labels", "labels", "refused"),
        ("statusCheckRollup", "checks", "refused"),
        ("baseRef", "rules", "degraded"),
    ],
)
async def test_a_part_of_one_pull_request_that_is_refused(
    server: StandInGitHub, client: GitHubClient, field: str, part: str, where: str
) -> None:
    action = {"partial": ["pull1", "pullRequest", field], "type": "FORBIDDEN", "message": "not accessible"}
    server.faults.add({"match": {"operation": "PullRequestSnapshot"}, "action": action})
    first, second = (await client.snapshots([FIRST, SECOND])).values()
    assert isinstance(first, PullRequestSnapshot)
    assert isinstance(second, PullRequestSnapshot)
    assert (first.missing, first.refused, first.degraded) == ((), (), ())
    assert getattr(second, where) == (f"{part}: not accessible",)


@pytest.mark.parametrize(
    ("document", "points"),
    [
        (PULSES, 1),
        (snapshot_document(1), 1),
        (snapshot_document(5), 1),
        (snapshot_document(SNAPSHOT_BATCH), 3),
        (base_document(BASE_BATCH), 1),
        *((document, 1) for name, document in DOCUMENTS.items() if name != "PullRequestSnapshot"),
    ],
)
def test_points_of_each_query(document: str, points: int) -> None:
    """The figures in the docstring of ``github_queries``, by GitHub's formula."""
    assert query_cost(document, {"ids": ["PR_1"] * PULSE_BATCH}) == points


async def test_files_of_the_root_at_a_commit(server: StandInGitHub, client: GitHubClient) -> None:
    before = await client.branch_head(REPOSITORY, "main")
    files = {"go.mod": "module calc\n", "lib/package.json": "{}\n"}
    await server.act("agent", "push_commit", REPOSITORY, branch="agents/go", files=files)
    after = await client.branch_head(REPOSITORY, "agents/go")
    assert before is not None
    assert after is not None
    assert await client.root_files(REPOSITORY, before) == {"calc.py"}
    assert await client.root_files(REPOSITORY, after) == {"calc.py", "go.mod"}
    with pytest.raises(ForgeAccessError):
        await client.root_files(REPOSITORY, "f" * 40)
