"""Every act of landing, by the client that the operators use, at the stand-in GitHub."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.domain.review_remark import ReviewRemark
from airflow_provider_agents.exceptions import ForgeConflictError
from airflow_provider_agents.hooks import github_landing_calls, github_reruns
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_feedback import gather_feedback
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from airflow_provider_agents.domain.pull_request import PullRequestSnapshot

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the stand-in keeps repositories of git")

REPOSITORY = "acme/calc"
WORKFLOW = """
name: CI
on: push
jobs:
  test:
    steps:
      - run: "for i in $(seq 300); do echo line $i; done"
      - run: "echo '::error file=calc.py,line=2::it adds wrongly'; echo 'AssertionError: 3 != 4'; exit 1"
"""


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    """A repository of acme's, with a pull request of the agent's."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr(github_landing_calls, "MUTATION_PAUSE_SECONDS", 0)
    monkeypatch.setattr(github_reruns, "MUTATION_PAUSE_SECONDS", 0)
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    async with StandInGitHub(tmp_path / "data", mergeability_delay=0) as stand_in:
        for login in ("agent", "alice", "acme"):
            stand_in.add_token(login, f"token-of-{login}")
        permissions = {"agent": "write", "alice": "write"}
        await stand_in.seed_repository(REPOSITORY, seed, permissions=permissions)  # type: ignore[arg-type]
        await push(stand_in, "agent", "agents/1", "    return a + b\n")
        opened = {"head": "agents/1", "title": "Fix add()", "body": "It added wrongly."}
        await stand_in.act("agent", "open_pull", REPOSITORY, **opened)
        yield stand_in


async def push(server: StandInGitHub, who: str, branch: str, line: str, **more: str) -> None:
    files = {"calc.py": f"def add(a, b):\n{line}", **more}
    await server.act(who, "push_commit", REPOSITORY, branch=branch, files=files, message=f"By {who}")


@pytest.fixture
async def client(server: StandInGitHub) -> AsyncIterator[GitHubClient]:
    async with open_transport(github_urls(server.url), "token-of-agent") as transport:
        yield GitHubClient(transport)


async def snapshot(client: GitHubClient) -> PullRequestSnapshot:
    return await client.snapshot(REPOSITORY, 1)


async def test_a_comment_is_edited_in_place(server: StandInGitHub, client: GitHubClient) -> None:
    first = await client.comment_in_place(REPOSITORY, 1, "landing", "Waiting.")
    again = await client.comment_in_place(REPOSITORY, 1, "landing", "Waiting.")
    count = len(server.mutations)
    last = await client.comment_in_place(REPOSITORY, 1, "landing", "Merged.")
    assert (first.created, again.created, last.created) == (True, False, False)
    assert first.url == again.url == last.url
    assert first.node_id == last.node_id != ""
    assert len(server.mutations) == count + 1
    comments = [comment.body for comment in (await snapshot(client)).comments]
    assert comments == ["Merged.\n\n<!-- agents landing -->"]


async def test_labels_are_made_where_they_are_not_and_put_on_once(
    server: StandInGitHub, client: GitHubClient
) -> None:
    for _ in range(2):
        await client.add_labels(REPOSITORY, 1, ("by agent", "shop"))
    assert sorted((await snapshot(client)).labels) == ["by agent", "shop"]
    seen = await snapshot(client)
    await client.merge_pull_request(REPOSITORY, 1, seen.head_sha, "squash")
    await client.add_labels(REPOSITORY, 1, ("late",))
    assert "late" in (await snapshot(client)).labels


async def test_threads_are_answered_once_and_resolved(server: StandInGitHub, client: GitHubClient) -> None:
    remark = {"path": "calc.py", "line": 2, "body": "Why?"}
    await server.act(
        "alice", "review", REPOSITORY, number=1, event="REQUEST_CHANGES", body="No.", comments=[remark]
    )
    (thread,) = (await snapshot(client)).threads
    first = await client.reply_in_thread(thread.node_id, "Because.")
    again = await client.reply_in_thread(thread.node_id, "Because.")
    assert (first.created, again.created) == (True, False)
    assert first.url == again.url
    (thread,) = (await snapshot(client)).threads
    assert [comment.body.split("\n")[0] for comment in thread.comments] == ["Why?", "Because."]
    await client.resolve_thread(thread.node_id)
    await client.resolve_thread(thread.node_id)
    assert (await snapshot(client)).threads == ()


async def test_a_review_with_remarks_once_for_a_head(server: StandInGitHub, client: GitHubClient) -> None:
    seen = await snapshot(client)
    remarks = [ReviewRemark(path="calc.py", line=2, body="Right.")]
    async with open_transport(github_urls(server.url), "token-of-alice") as transport:
        alice = GitHubClient(transport)
        first = await alice.submit_review(seen.node_id, seen.head_sha, "REQUEST_CHANGES", "Look.", remarks)
        again = await alice.submit_review(seen.node_id, seen.head_sha, "APPROVE", "Fine.", [])
    assert (first.created, again.created) == (True, False)
    after = await snapshot(client)
    assert [(r.author, r.state, r.head_sha) for r in after.reviews] == [
        ("alice", "CHANGES_REQUESTED", seen.head_sha)
    ]
    assert [thread.comments[0].body for thread in after.threads] == ["Right."]


async def test_a_remark_beside_the_diff_goes_into_the_body(
    server: StandInGitHub, client: GitHubClient
) -> None:
    seen = await snapshot(client)
    remarks = [ReviewRemark(path="other.py", line=3, body="Far away.")]
    async with open_transport(github_urls(server.url), "token-of-alice") as transport:
        await GitHubClient(transport).submit_review(
            seen.node_id, seen.head_sha, "REQUEST_CHANGES", "Look.", remarks
        )
    (review,) = (await snapshot(client)).reviews
    assert review.body.startswith("Look.\n\n- `other.py:3`: Far away.")


async def test_ones_own_work_is_not_approved(client: GitHubClient) -> None:
    seen = await snapshot(client)
    with pytest.raises(ForgeConflictError, match="approve your own"):
        await client.submit_review(seen.node_id, seen.head_sha, "APPROVE", "Good.", [])


async def test_a_branch_behind_its_base_is_updated(server: StandInGitHub, client: GitHubClient) -> None:
    await server.act("alice", "push_commit", REPOSITORY, branch="main", files={"new.txt": "x"}, message="New")
    seen = await snapshot(client)
    with pytest.raises(ForgeConflictError):
        await client.update_branch(REPOSITORY, 1, "0" * 40)
    await client.update_branch(REPOSITORY, 1, seen.head_sha)
    assert (await snapshot(client)).head_sha != seen.head_sha


async def test_the_merge_queue(server: StandInGitHub, client: GitHubClient) -> None:
    rules = {"main": {"required_checks": ["test"], "merge_queue": True, "queue_method": "squash"}}
    await server.act("acme", "configure", REPOSITORY, rules=rules)
    await server.act("alice", "check_run", REPOSITORY, number=1, name="test", conclusion="success")
    seen = await snapshot(client)
    with pytest.raises(ForgeConflictError):
        await client.enqueue(seen.node_id, "0" * 40)
    for _ in range(2):
        await client.enqueue(seen.node_id, seen.head_sha)
    assert (await snapshot(client)).queue_entry is not None
    for _ in range(2):
        await client.dequeue(seen.node_id)
    assert (await snapshot(client)).queue_entry is None


async def test_auto_merge(server: StandInGitHub, client: GitHubClient) -> None:
    seen = await snapshot(client)
    with pytest.raises(ForgeConflictError):
        await client.enable_auto_merge(seen.node_id, seen.head_sha, "squash")
    rules = {"main": {"required_checks": ["test"]}}
    await server.act("acme", "configure", REPOSITORY, rules=rules, auto_merge_allowed=True)
    for _ in range(2):
        await client.enable_auto_merge(seen.node_id, seen.head_sha, "squash", "Fix (#1)", "Why")
    assert (await snapshot(client)).auto_merge_on
    for _ in range(2):
        await client.disable_auto_merge(seen.node_id)
    assert not (await snapshot(client)).auto_merge_on


async def test_drafts_and_closing(server: StandInGitHub, client: GitHubClient) -> None:
    await server.act("agent", "draft", REPOSITORY, number=1)
    seen = await snapshot(client)
    assert seen.draft
    for _ in range(2):
        await client.mark_ready(seen.node_id)
    assert not (await snapshot(client)).draft
    for _ in range(2):
        await client.close_pull_request(REPOSITORY, 1)
    assert (await snapshot(client)).state == "CLOSED"


async def test_details(server: StandInGitHub, client: GitHubClient) -> None:
    own = (await snapshot(client)).head_sha
    await push(server, "alice", "agents/1", "    return a + b  # by hand\n", **{"more.txt": "x"})
    seen = await snapshot(client)
    files = await client.changed_files(REPOSITORY, 1)
    assert [(file.path, file.status) for file in files] == [("calc.py", "modified"), ("more.txt", "added")]
    assert [c.title for c in await client.pull_request_commits(REPOSITORY, 1)] == ["By agent", "By alice"]
    assert [c.title for c in await client.commits_between(REPOSITORY, own, seen.head_sha)] == ["By alice"]
    assert await client.permission(REPOSITORY, "alice") == "WRITE"
    assert await client.permission(REPOSITORY, "nobody-knows") is None
    assert await client.viewer_login() == "agent"


async def test_a_failure_is_told_run_again_and_answered(server: StandInGitHub, client: GitHubClient) -> None:
    own = (await snapshot(client)).head_sha
    await push(server, "alice", "agents/1", "    return b + a\n", **{".github/workflows/ci.yml": WORKFLOW})
    await server.checks_settled()
    seen = await snapshot(client)
    found = await gather_feedback(client, seen, "checks_failed", own_heads=frozenset({own}), since=own)
    (failing,) = found.failing_checks
    assert failing.log_matches == ("##[error]it adds wrongly", "AssertionError: 3 != 4")
    assert [note.message for note in failing.annotations if note.path == "calc.py"] == ["it adds wrongly"]
    assert [commit.title for commit in found.pushed_by_others] == ["By alice"]
    assert found.missing == ()
    assert await client.rerun_checks(REPOSITORY, seen.checks_in("failed")) == ("test",)
    await server.checks_settled()
    again = await snapshot(client)
    assert again.head_sha == seen.head_sha
    assert [check.database_id for check in again.checks] != [check.database_id for check in seen.checks]


async def test_a_conflict_names_its_files(server: StandInGitHub, client: GitHubClient) -> None:
    await push(server, "alice", "main", "    return sum((a, b))\n", **{"other.txt": "x"})
    seen = await snapshot(client)
    assert seen.mergeable == "CONFLICTING"
    found = await gather_feedback(client, seen, "conflict")
    assert (found.conflicts_with, found.conflict_files) == ("main", ("calc.py",))
