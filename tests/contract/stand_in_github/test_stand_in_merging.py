from __future__ import annotations

import pytest

REPOSITORY = "acme/calc"
STALE = "0123456789012345678901234567890123456789"


async def test_squash_makes_one_commit_with_the_words_given(seeded, pull, agent, head):
    await seeded.act("agent", "push_commit", REPOSITORY, number=pull, files={"b.txt": "b\n"}, message="More")
    body = {
        "sha": head(pull),
        "merge_method": "squash",
        "commit_title": "Fix add",
        "commit_message": "Because.",
    }
    before = (await agent.repo("GET", "/commits/main")).body["sha"]
    merged = await agent.repo("PUT", f"/pulls/{pull}/merge", body)
    assert merged.status == 200
    commit = (await agent.repo("GET", "/commits/main")).body
    assert commit["sha"] == merged.body["sha"]
    assert [parent["sha"] for parent in commit["parents"]] == [before]
    assert commit["commit"]["message"] == "Fix add\n\nBecause."
    assert commit["commit"]["author"]["name"] == "agent"
    files = {entry["name"] for entry in (await agent.repo("GET", "/contents/")).body}
    assert files == {"calc.py", "README.md", "b.txt"}


async def test_wrong_head_is_409_and_changes_nothing(seeded, pull, agent):
    count = len(seeded.mutations)
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", {"sha": STALE, "merge_method": "squash"})
    assert refused.status == 409
    assert refused.body["message"] == "Head branch was modified. Review and try the merge again."
    assert len(seeded.mutations) == count


async def test_merged_once(seeded, pull, agent, head):
    body = {"sha": head(pull), "merge_method": "squash"}
    assert (await agent.repo("PUT", f"/pulls/{pull}/merge", body)).status == 200
    again = await agent.repo("PUT", f"/pulls/{pull}/merge", body)
    assert (again.status, again.body["message"]) == (405, "Pull Request is not mergeable")
    assert [m["kind"] for m in seeded.mutations].count("pull_request.merged") == 1
    assert (await agent.repo("GET", f"/pulls/{pull}/merge")).status == 204


async def test_merge_commit_and_its_default_words(pull, agent, head):
    tip = head(pull)
    await agent.repo("PUT", f"/pulls/{pull}/merge", {})
    commit = (await agent.repo("GET", "/commits/main")).body
    assert len(commit["parents"]) == 2
    assert commit["parents"][1]["sha"] == tip
    assert commit["commit"]["message"] == f"Merge pull request #{pull} from acme/agents/1\n\nFix add()"


async def test_rebase_replays_each_commit_on_the_moved_base(seeded, pull, agent, git, remote, tmp_path):
    await seeded.act("agent", "push_commit", REPOSITORY, number=pull, files={"b.txt": "b\n"}, message="More")
    await seeded.act(
        "alice", "push_commit", REPOSITORY, branch="main", files={"c.txt": "c\n"}, message="Other"
    )
    merged = await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "rebase"})
    assert merged.status == 200
    await git("clone", "-q", remote(), str(tmp_path / "w"))
    _, log = await git("log", "--format=%s", cwd=tmp_path / "w")
    assert log.split("\n")[:4] == ["More", "Add", "Other", "Initial commit"]
    assert "a + b" in (tmp_path / "w" / "calc.py").read_text()


async def test_conflict_is_told_and_refused(seeded, pull, agent):
    other = "def add(a, b):\n    return sum([a, b])\n"
    await seeded.act("alice", "push_commit", REPOSITORY, branch="main", files={"calc.py": other})
    data = await agent.graphql(
        'query($n: Int!) {repository(owner:"acme", name:"calc")'
        "{pullRequest(number:$n){mergeable mergeStateStatus}}}",
        n=pull,
    )
    found = data["data"]["repository"]["pullRequest"]
    assert found == {"mergeable": "CONFLICTING", "mergeStateStatus": "DIRTY"}
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash"})
    assert (refused.status, refused.body["message"]) == (405, "Pull Request is not mergeable")


async def test_mergeability_is_unknown_for_a_while(seeded, agent):
    seeded.forge.settings = type(seeded.forge.settings)(mergeability_delay=60)
    await seeded.act("agent", "push_commit", REPOSITORY, branch="agents/2", files={"d.txt": "d"})
    made = await seeded.act("agent", "open_pull", REPOSITORY, head="agents/2", title="D")
    pull = seeded.forge.store.repositories[REPOSITORY].pulls[made["number"]]
    path = f"/pulls/{pull.number}"
    body = (await agent.repo("GET", path)).body
    assert (body["mergeable"], body["mergeable_state"]) == (None, "unknown")
    pull.mergeable_known_at = 0
    body = (await agent.repo("GET", path)).body
    assert (body["mergeable"], body["mergeable_state"]) == (True, "clean")
    await seeded.act("alice", "push_commit", REPOSITORY, branch="main", files={"e.txt": "e"})
    assert (await agent.repo("GET", path)).body["mergeable"] is None


@pytest.mark.parametrize(
    ("body", "closes"),
    [
        ("Closes #1", True),
        ("This fixes: acme/calc#1.", True),
        ("RESOLVED #1", True),
        ("See #1", False),
        ("Closes other/repo#1", False),
        ("Discloses #1", False),
    ],
)
async def test_closing_keywords(seeded, pull, agent, body, closes):
    await agent.repo("PATCH", f"/pulls/{pull}", {"body": body})
    await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash", "commit_message": ""})
    assert (await agent.repo("GET", "/issues/1")).body["state"] == ("closed" if closes else "open")


async def test_keywords_count_only_towards_the_default_branch(seeded, agent):
    first = seeded.mutations[0]["details"]["sha"]
    await agent.repo("POST", "/git/refs", {"ref": "refs/heads/release", "sha": first})
    await seeded.act("agent", "push_commit", REPOSITORY, branch="agents/3", files={"d.txt": "d"})
    made = await seeded.act(
        "agent", "open_pull", REPOSITORY, head="agents/3", base="release", title="D", body="Closes #1"
    )
    assert (await agent.repo("PUT", f"/pulls/{made['number']}/merge", {})).status == 200
    assert (await agent.repo("GET", "/issues/1")).body["state"] == "open"


async def test_draft_is_refused_until_ready(seeded, pull, agent):
    await seeded.act("agent", "edit", REPOSITORY, number=pull, draft=True)
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", {})
    assert (refused.status, refused.body["message"]) == (405, "Pull Request is still a draft")
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["mergeable_state"] == "draft"
    await seeded.act("agent", "edit", REPOSITORY, number=pull, draft=False)
    assert (await agent.repo("PUT", f"/pulls/{pull}/merge", {})).status == 200


async def test_method_that_is_off_is_refused(seeded, pull, agent):
    await seeded.act("acme", "configure", REPOSITORY, squash_merge_allowed=False)
    refused = await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash"})
    assert (refused.status, refused.body["message"]) == (
        405,
        "Squash merges are not allowed on this repository.",
    )
    assert (await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "octopus"})).status == 422


async def test_required_checks_and_approvals_block(seeded, pull, agent):
    rules = {"main": {"required_checks": ["test"], "required_approvals": 1}}
    await seeded.act("acme", "configure", REPOSITORY, rules=rules)

    async def state():
        return (await agent.repo("GET", f"/pulls/{pull}")).body["mergeable_state"]

    async def refusal():
        return (await agent.repo("PUT", f"/pulls/{pull}/merge", {})).body["message"]

    assert await state() == "blocked"
    assert await refusal() == (
        'Required status check "test" is expected. At least 1 approving review is required by reviewers with'
        " write access."
    )
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="test", status="in_progress")
    await seeded.act("alice", "review", REPOSITORY, number=pull, event="APPROVE")
    assert await refusal() == 'Required status check "test" is in progress.'
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion="failure")
    assert await refusal() == 'Required status check "test" is failing.'
    await seeded.act("alice", "check_run", REPOSITORY, number=pull, name="test", conclusion="success")
    assert await state() == "clean"
    await seeded.act("alice", "status", REPOSITORY, number=pull, context="lint", state="failure")
    assert await state() == "unstable"
    assert (await agent.repo("PUT", f"/pulls/{pull}/merge", {})).status == 200


async def test_branch_is_deleted_after_the_merge_where_wanted(seeded, pull, agent):
    await seeded.act("acme", "configure", REPOSITORY, delete_branch_on_merge=True)
    await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash"})
    assert (await agent.repo("GET", "/git/ref/heads/agents/1")).status == 404
    body = (await agent.repo("GET", f"/pulls/{pull}")).body
    assert body["merged"] is True


async def test_commit_message_on_the_default_branch_closes(seeded, agent):
    await seeded.act("alice", "push_commit", REPOSITORY, branch="main", message="Rework\n\nFixes #1")
    assert (await agent.repo("GET", "/issues/1")).body["state"] == "closed"
