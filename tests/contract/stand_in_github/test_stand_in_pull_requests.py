from __future__ import annotations

import pytest

REPOSITORY = "acme/calc"


async def test_create_answers_as_github(seeded, agent):
    await seeded.act("agent", "push_commit", REPOSITORY, branch="agents/1", files={"calc.py": "x = 1\n"})
    made = await agent.repo(
        "POST", "/pulls", {"title": "Fix", "head": "acme:agents/1", "base": "main", "body": "Closes #1"}
    )
    assert made.status == 201
    assert made.body["number"] == 2
    assert made.body["head"]["ref"] == "agents/1"
    assert made.body["mergeable"] is True
    assert made.body["changed_files"] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"title": "T", "head": "agents/1", "base": "main"},
            "A pull request already exists for acme:agents/1.",
        ),
        ({"title": "T", "head": "same", "base": "main"}, "No commits between main and same"),
    ],
)
async def test_what_cannot_be_opened_says_why(seeded, pull, agent, body, message):
    first = seeded.mutations[0]["details"]["sha"]
    assert (await agent.repo("POST", "/git/refs", {"ref": "refs/heads/same", "sha": first})).status == 201
    refused = await agent.repo("POST", "/pulls", body)
    assert refused.status == 422
    assert refused.body["message"] == "Validation Failed"
    assert refused.body["errors"][0]["message"] == message


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"title": "T", "head": "nowhere", "base": "main"}, "head"),
        ({"title": "T", "head": "other:agents/1", "base": "main"}, "head"),
        ({"title": "T", "head": "agents/1", "base": "nowhere"}, "base"),
        ({"title": " ", "head": "agents/1", "base": "main"}, "title"),
    ],
)
async def test_bad_fields_are_named(pull, agent, body, field):
    refused = await agent.repo("POST", "/pulls", body)
    assert refused.status == 422
    assert refused.body["errors"][0]["field"] == field


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("?head=acme:agents/1", 1),
        ("?head=acme:other", 0),
        ("?head=acme:agents/1&base=main&state=all", 1),
        ("?base=other", 0),
        ("?state=closed", 0),
    ],
)
async def test_list_filters(pull, agent, query, found):
    assert len((await agent.repo("GET", f"/pulls{query}")).body) == found


async def test_head_follows_pushes(seeded, pull, agent):
    pushed = await seeded.act("alice", "push_commit", REPOSITORY, number=pull)
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["head"]["sha"] == pushed["sha"]


async def test_closed_when_its_branch_is_deleted_and_not_reopened(seeded, pull, agent):
    assert (await agent.repo("DELETE", "/git/refs/heads/agents/1")).status == 204
    assert (await agent.repo("GET", f"/pulls/{pull}")).body["state"] == "closed"
    assert (await agent.repo("PATCH", f"/pulls/{pull}", {"state": "open"})).status == 422
    kinds = [m["kind"] for m in seeded.mutations[-2:]]
    assert kinds == ["branch.deleted", "pull_request.closed"]


async def test_close_and_reopen(pull, agent):
    assert (await agent.repo("PATCH", f"/pulls/{pull}", {"state": "closed"})).body["state"] == "closed"
    assert (await agent.repo("PATCH", f"/pulls/{pull}", {"state": "open"})).body["state"] == "open"


async def test_merged_by_a_direct_push_of_its_commits(seeded, pull, agent, git, remote, head, tmp_path):
    work = tmp_path / "w"
    await git("clone", "-q", remote(), str(work))
    code, out = await git("push", "-q", "origin", "origin/agents/1:refs/heads/main", cwd=work)
    assert code == 0, out
    body = (await agent.repo("GET", f"/pulls/{pull}")).body
    assert (body["state"], body["merged"], body["merge_commit_sha"]) == ("closed", True, head(pull))
    assert (await agent.repo("GET", "/issues/1")).body["state"] == "closed"


async def test_closed_when_forced_back_onto_its_base(seeded, pull, agent):
    first = seeded.mutations[0]["details"]["sha"]
    await seeded.act("alice", "reset_branch", REPOSITORY, branch="agents/1", sha=first)
    body = (await agent.repo("GET", f"/pulls/{pull}")).body
    assert (body["state"], body["merged"]) == ("closed", False)


async def test_files_and_commits(pull, agent):
    (file,) = (await agent.repo("GET", f"/pulls/{pull}/files")).body
    assert (file["filename"], file["status"], file["additions"]) == ("calc.py", "modified", 1)
    assert "+    return a + b" in file["patch"]
    (commit,) = (await agent.repo("GET", f"/pulls/{pull}/commits")).body
    assert commit["commit"]["message"] == "Add"


async def test_reader_sees_but_does_not_change(pull, client_of):
    reader = client_of("token-of-reader")
    assert (await reader.repo("GET", f"/pulls/{pull}")).status == 200
    for method, path, body in (
        ("PUT", f"/pulls/{pull}/merge", {}),
        ("PATCH", f"/pulls/{pull}", {"title": "Mine"}),
        ("DELETE", "/git/refs/heads/agents/1", None),
        ("POST", "/pulls", {"title": "T", "head": "agents/1", "base": "main"}),
    ):
        answer = await reader.repo(method, path, body)
        assert answer.status == 403, path
        assert answer.body["status"] == "403"


async def test_stranger_finds_nothing(pull, client_of):
    stranger = client_of("token-of-stranger")
    for path in ("", f"/pulls/{pull}", "/issues/1", "/contents/calc.py"):
        assert (await stranger.repo("GET", path)).status == 404


@pytest.mark.parametrize(
    ("token", "message"), [("wrong", "Bad credentials"), (None, "Requires authentication")]
)
async def test_wrong_or_missing_token_is_401(seeded, client_of, token, message):
    for path in ("/api/v3/user", f"/api/v3/repos/{REPOSITORY}"):
        answer = await client_of(token).call("GET", path)
        assert (answer.status, answer.body["message"]) == (401, message)
    answer = await client_of(token).call("POST", "/api/graphql", json={"query": "{viewer{login}}"})
    assert (answer.status, answer.body["message"]) == (401, message)


async def test_branch_names_with_slashes(pull, agent, head):
    for path, read in (
        ("/git/ref/heads/agents/1", lambda body: body["object"]["sha"]),
        ("/branches/agents/1", lambda body: body["commit"]["sha"]),
        ("/commits/agents/1", lambda body: body["sha"]),
        ("/commits/agents/1/status", lambda body: body["sha"]),
    ):
        assert read((await agent.repo("GET", path)).body) == head(pull), path


async def test_contents(pull, agent):
    file = (await agent.repo("GET", "/contents/calc.py?ref=agents/1")).body
    assert file["encoding"] == "base64"
    raw = await agent.repo("GET", "/contents/calc.py", headers={"Accept": "application/vnd.github.raw+json"})
    assert "a - b" in raw.text
    assert {entry["name"] for entry in (await agent.repo("GET", "/contents/")).body} == {
        "calc.py",
        "README.md",
    }
    assert (await agent.repo("GET", "/contents/none.py")).status == 404
    assert (await agent.repo("GET", "/contents/calc.py?ref=nowhere")).status == 404


async def test_issues_are_listed_by_label_and_pages_are_linked(seeded, agent):
    for index in range(4):
        seeded.create_issue(REPOSITORY, f"Issue {index}", labels=["agent"])
    found = await agent.repo("GET", "/issues?labels=agent&per_page=3")
    assert [issue["number"] for issue in found.body] == [5, 4, 3]
    following = found.headers["Link"].split(">")[0].removeprefix("<")
    assert [issue["number"] for issue in (await agent.call("GET", following)).body] == [2]


async def test_comments_are_edited_in_place(seeded, agent, client_of):
    made = await agent.repo("POST", "/issues/1/comments", {"body": "Working on it"})
    assert made.status == 201
    path = f"/issues/comments/{made.body['id']}"
    assert (await client_of("token-of-reader").repo("PATCH", path, {"body": "x"})).status == 403
    assert (await agent.repo("PATCH", path, {"body": "Done"})).body["body"] == "Done"
    assert [c["body"] for c in (await agent.repo("GET", "/issues/1/comments")).body] == ["Done"]
    assert (await agent.repo("DELETE", path)).status == 204
    assert (await agent.repo("POST", "/issues/1/comments", {"body": " "})).status == 422
    assert (await agent.repo("POST", "/issues/1/comments", {"body": "x" * 65_537})).status == 422


async def test_issue_is_closed_with_its_reason(seeded, agent):
    body = (await agent.repo("PATCH", "/issues/1", {"state": "closed", "state_reason": "not_planned"})).body
    assert (body["state"], body["state_reason"]) == ("closed", "not_planned")
    assert seeded.mutations[-1]["kind"] == "issue.closed"
    await agent.repo("PATCH", "/issues/1", {"state": "closed"})
    assert [m["kind"] for m in seeded.mutations].count("issue.closed") == 1


async def test_unchanged_answer_is_304_and_free(seeded, agent):
    first = await agent.repo("GET", "/issues/1")
    again = await agent.repo("GET", "/issues/1", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, again.text) == (304, "")
    assert again.headers["x-ratelimit-remaining"] == first.headers["x-ratelimit-remaining"]
    await seeded.act("alice", "comment", REPOSITORY, number=1, body="News")
    changed = await agent.repo("GET", "/issues/1", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status == 200


async def test_rate_limit_counts_down_and_runs_out(seeded, agent):
    first = await agent.repo("GET")
    second = await agent.repo("GET")
    left = "x-ratelimit-remaining"
    assert int(first.headers[left]) - int(second.headers[left]) == 1
    assert (await agent.call("GET", "/api/v3/rate_limit")).body["rate"]["remaining"] == int(
        second.headers[left]
    )
    seeded.limits.configure({"core": 2})
    spent = await agent.repo("GET")
    assert (spent.status, spent.headers[left]) == (403, "0")
    assert "rate limit exceeded" in spent.body["message"]


async def test_broken_json_is_400(seeded, agent):
    answer = await agent.repo("POST", "/issues", data=b"{")
    assert (answer.status, answer.body["message"]) == (400, "Problems parsing JSON")
