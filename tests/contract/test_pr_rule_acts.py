"""What rules do, over HTTP at the stand-in GitHub: the guards' readings, each act, and the whole task ``act``."""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import Connection

from airflow_provider_agents.domain.pr_rule import Guards, PullRequestRule
from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision, RuleAnswer
from airflow_provider_agents.domain.pr_rule_guards import PlatformGuards
from airflow_provider_agents.domain.pr_rule_ledger import RuleLedger
from airflow_provider_agents.exceptions import ForgeConflictError
from airflow_provider_agents.hooks.github import AgentsGitHubHook
from airflow_provider_agents.hooks.github_client import GitHubClient
from airflow_provider_agents.hooks.github_transport import open_transport
from airflow_provider_agents.hooks.github_urls import github_urls
from airflow_provider_agents.operators import pr_rule_single_act
from airflow_provider_agents.operators.pr_rule_single_act import SingleAct
from demo.github.server import StandInGitHub

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="the stand-in keeps repositories of git")

REPOSITORY = "acme/calc"
RULE = "staging"
LABEL = "needs-human-approval"


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StandInGitHub]:
    """A repository of acme's, with a pull request of alice's."""
    monkeypatch.setenv("NO_PROXY", "*")
    seed = tmp_path / "seed"
    seed.mkdir()
    (seed / "calc.py").write_text("def add(a, b):\n    return a - b\n")
    async with StandInGitHub(tmp_path / "data", mergeability_delay=0) as stand_in:
        for login in ("agent", "alice", "acme"):
            stand_in.add_token(login, f"token-of-{login}")
        permissions = {"agent": "write", "alice": "write"}
        await stand_in.seed_repository(REPOSITORY, seed, permissions=permissions)  # type: ignore[arg-type]
        await push(stand_in, "fix", {"calc.py": "def add(a, b):\n    return a + b\n"})
        opened = {"head": "fix", "title": "Fix add()", "body": "It added wrongly."}
        await stand_in.act("alice", "open_pull", REPOSITORY, **opened)
        connection = Connection(
            conn_id="github_default", conn_type="github", host=stand_in.url, password="token-of-agent"
        )
        monkeypatch.setattr(AgentsGitHubHook, "get_connection", lambda hook, name: connection)
        yield stand_in


async def push(server: StandInGitHub, branch: str, files: dict[str, str]) -> None:
    await server.act("alice", "push_commit", REPOSITORY, branch=branch, files=files, message="Change")


@pytest.fixture
async def client(server: StandInGitHub) -> AsyncIterator[GitHubClient]:
    async with open_transport(github_urls(server.url), "token-of-agent") as transport:
        yield GitHubClient(transport)


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> list[RuleLedger]:
    """Keep the ledger here; return its states, the newest last."""
    states = [RuleLedger()]
    monkeypatch.setattr(pr_rule_single_act, "read_ledger", lambda: RuleLedger.from_text(states[-1].to_text()))
    monkeypatch.setattr(pr_rule_single_act, "write_ledger", states.append)
    return states


async def carry_out(
    client: GitHubClient, action: str, *, since: datetime | None = None, **values: Any
) -> PullRequestDecision:
    """Let the rule answer, and carry that out in a thread of its own, as a worker does."""
    s = await client.snapshot(REPOSITORY, 1)
    rule = PullRequestRule(
        instruction="Merge what is green.",
        actions=("merge", "close", "escalate", "comment", "label", "request_review", "update_branch"),
        labels=("stale",),
        reviewers=("acme", "agent", "nobody"),
        guards=Guards(
            no_checks="merge", no_checks_grace_seconds=0, settle_seconds=0, **values.pop("guards", {})
        ),
        dry_run=values.pop("dry_run", False),
    )
    answer = RuleAnswer(action=action, reason="It is fine.", confidence=0.9, **values)  # type: ignore[arg-type]
    decision = PullRequestDecision(
        rule=RULE,
        version=rule.version,
        repository=REPOSITORY,
        number=1,
        url=s.url,
        head_sha=s.head_sha,
        context_hash="c",
        decided_at=datetime.now(UTC),
        answer=answer,
        action=answer.action,
    )
    one = SingleAct(
        rule_name=RULE,
        rule=rule,
        connection="github_default",
        platform=PlatformGuards(),
        since=since or datetime.now(UTC),
    )
    return await asyncio.to_thread(one.carry_out, decision, answer, s, s.read_at, base="main")


async def test_a_merge(client: GitHubClient, kept: list[RuleLedger]) -> None:
    done = await carry_out(client, "merge")
    assert (done.outcome, done.action) == ("done", "merge"), done.message
    assert (await client.snapshot(REPOSITORY, 1)).state == "MERGED"
    assert [state.entry(done.key).acts[0].state for state in kept[1:]] == ["intended", "done"]
    again = await carry_out(client, "merge")
    assert again.outcome == "done"
    assert len(kept) == 3


async def test_a_protected_path_is_a_persons_to_merge(
    server: StandInGitHub, client: GitHubClient, kept: list[RuleLedger]
) -> None:
    await push(server, "fix", {".github/CODEOWNERS": "* @alice\n"})
    done = await carry_out(client, "merge")
    assert (done.action, done.guard, done.outcome) == ("escalate", "protected_paths", "guarded")
    s = await client.snapshot(REPOSITORY, 1)
    assert (s.state, s.labels) == ("OPEN", (LABEL,))
    (comment,) = s.comments
    assert "needs a person" in comment.body
    assert "`protected_paths`" in comment.body
    again = await carry_out(client, "merge")
    assert again.guard == "escalated"
    await client.remove_label(REPOSITORY, 1, LABEL)
    await client.remove_label(REPOSITORY, 1, LABEL)
    again = await carry_out(client, "merge")
    assert (again.action, again.guard) == ("wait", "protected_paths")
    s = await client.snapshot(REPOSITORY, 1)
    assert (s.labels, len(s.comments)) == ((), 1)


async def test_a_dry_run_changes_nothing(
    server: StandInGitHub, client: GitHubClient, kept: list[RuleLedger]
) -> None:
    before = len(server.mutations)
    done = await carry_out(client, "merge", dry_run=True)
    assert (done.outcome, done.action) == ("dry_run", "merge")
    assert (len(server.mutations), len(kept)) == (before, 1)


async def test_a_close_is_honoured_when_somebody_opens_it_again(
    server: StandInGitHub, client: GitHubClient, kept: list[RuleLedger]
) -> None:
    done = await carry_out(client, "close")
    assert done.outcome == "done", done.message
    s = await client.snapshot(REPOSITORY, 1)
    assert (s.state, len(s.comments)) == ("CLOSED", 1)
    assert await client.reopened_by(REPOSITORY, 1) == ""
    await server.act("alice", "reopen", REPOSITORY, number=1)
    assert await client.reopened_by(REPOSITORY, 1) == "alice"
    again = await carry_out(client, "close")
    assert (again.guard, again.action) == ("reopened", "wait")
    kept.append(RuleLedger())
    again = await carry_out(client, "close")
    assert (again.guard, again.message) == ("reopened", "alice opened it again.")


async def test_a_comment_is_edited_in_place(client: GitHubClient, kept: list[RuleLedger]) -> None:
    for text in ("Please rebase.", "Please rebase again, @alice."):
        assert (await carry_out(client, "comment", comment=text)).outcome == "done"
    (comment,) = (await client.snapshot(REPOSITORY, 1)).comments
    assert "again" in comment.body
    assert "@alice" not in comment.body


async def test_labels_and_reviewers(
    server: StandInGitHub, client: GitHubClient, kept: list[RuleLedger]
) -> None:
    assert (await carry_out(client, "label", labels=("stale",))).outcome == "done"
    assert (await client.snapshot(REPOSITORY, 1)).labels == ("stale",)
    assert (await carry_out(client, "request_review", reviewers=("acme",))).outcome == "done"
    refused = await carry_out(client, "request_review", reviewers=("nobody",))
    assert (refused.outcome, kept[-1].entry(refused.key).of("request_review")[-1].state) == (
        "failed",
        "refused",
    )


async def test_a_label_is_made_once_with_its_description(client: GitHubClient) -> None:
    assert await client.ensure_label(REPOSITORY, "needs person/now?", "A rule asks") is True
    assert await client.ensure_label(REPOSITORY, "Needs Person/Now?", "A rule asks") is False
    with pytest.raises(ForgeConflictError):
        await client.request_reviewers(REPOSITORY, 1, ["alice"])


async def test_a_merge_whose_answer_is_lost_happens_once(
    server: StandInGitHub, client: GitHubClient, kept: list[RuleLedger], monkeypatch: pytest.MonkeyPatch
) -> None:
    merge = GitHubClient.merge_pull_request

    async def lost(self: GitHubClient, *args: Any, **kwargs: Any) -> Any:
        from airflow_provider_agents.exceptions import ForgeUnavailableError

        await merge(self, *args, **kwargs)
        raise ForgeUnavailableError("connection reset")

    monkeypatch.setattr(GitHubClient, "merge_pull_request", lost)
    done = await carry_out(client, "merge")
    assert (done.outcome, done.action) == ("done", "merge")


async def test_a_head_that_moves_between_reading_and_merge_is_refused_by_github(
    server: StandInGitHub, client: GitHubClient, kept: list[RuleLedger], monkeypatch: pytest.MonkeyPatch
) -> None:
    merge = GitHubClient.merge_pull_request

    async def late(self: GitHubClient, *args: Any, **kwargs: Any) -> Any:
        await push(server, "fix", {"calc.py": "import os\n"})
        return await merge(self, *args, **kwargs)

    monkeypatch.setattr(GitHubClient, "merge_pull_request", late)
    done = await carry_out(client, "merge")
    assert (done.outcome, done.action) == ("failed", "merge")
    assert (await client.snapshot(REPOSITORY, 1)).state == "OPEN"
    assert kept[-1].entry(done.key).acts[0].state == "refused"
