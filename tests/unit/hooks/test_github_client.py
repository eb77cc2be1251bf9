"""Single reads and writes, and what makes the writes safe to repeat."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from aiohttp import web

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeUnavailableError,
    InvalidInputError,
)

API = "/api/v3/repos/acme/shop"
HEAD = "a" * 40


async def drop(request: web.Request) -> web.StreamResponse:
    request.transport.close()
    return web.Response()


def listed(number: int, state: str = "open", branch: str = "agents/7", **more: object) -> dict[str, object]:
    return {
        "number": number,
        "node_id": f"PR_{number}",
        "html_url": f"https://github.com/acme/shop/pull/{number}",
        "title": "t",
        "state": state,
        "head": {"sha": HEAD, "ref": branch},
        "base": {"ref": "main"},
        "merged_at": None,
        "draft": False,
    } | more


async def test_repository(client, stub) -> None:
    node = {
        "id": "R_1",
        "nameWithOwner": "acme/store",
        "url": "https://github.com/acme/store",
        "isArchived": False,
        "viewerPermission": "WRITE",
        "squashMergeAllowed": True,
        "mergeCommitAllowed": False,
        "rebaseMergeAllowed": True,
        "defaultBranchRef": {"name": "trunk"},
    }
    stub.on(
        "Repository",
        {"data": {"repository": node}},
        {"data": {"repository": node | {"defaultBranchRef": None}}},
    )
    found = await client.repository("acme/shop")
    assert (found.name_with_owner, found.default_branch, found.viewer_permission) == (
        "acme/store",
        "trunk",
        "WRITE",
    )
    assert (found.squash_allowed, found.merge_allowed, found.rebase_allowed) == (True, False, True)
    assert (await client.repository("acme/shop")).default_branch == ""


@pytest.mark.parametrize(
    "name", ["acme", "acme/shop/x", "../shop", "acme/..", "acme/sh op", "acme/shop?x=1", ""]
)
async def test_a_repository_is_owner_and_name(client, stub, name: str) -> None:
    for call in (client.repository(name), client.issue(name, 3), client.snapshot(name, 7)):
        with pytest.raises(InvalidInputError, match="owner/name"):
            await call
    assert stub.asked == []


async def test_branch_head(client, stub) -> None:
    stub.on(
        "BranchHead",
        {"data": {"repository": {"ref": {"target": {"oid": HEAD}}}}},
        {"data": {"repository": {"ref": None}}},
        {"data": {"repository": None}, "errors": [{"type": "NOT_FOUND", "message": "gone"}]},
    )
    assert await client.branch_head("acme/shop", "feature/ä#1") == HEAD
    assert stub.asked[0].body["variables"]["ref"] == "refs/heads/feature/ä#1"
    assert await client.branch_head("acme/shop", "main") is None
    with pytest.raises(ForgeAccessError, match="gone"):
        await client.branch_head("acme/shop", "main")


async def test_files_of_the_root(client, stub) -> None:
    listing = [
        {"name": "go.mod", "type": "file"},
        {"name": "requirements.txt", "type": "symlink"},
        {"name": "package.json", "type": "dir"},
        {"name": "Cargo.toml", "type": "submodule"},
        {"type": "file"},
        None,
    ]
    stub.on(f"GET {API}/contents", listing, {"name": "go.mod", "type": "file"})
    assert await client.root_files("acme/shop", HEAD) == {"go.mod", "requirements.txt"}
    assert stub.asked[-1].query == {"ref": HEAD}
    with pytest.raises(ForgeUnavailableError, match=f"the files of acme/shop at {HEAD[:12]} is no list"):
        await client.root_files("acme/shop", HEAD)


async def test_files_that_may_not_be_read_name_the_permission(client) -> None:
    with pytest.raises(ForgeAccessError, match="Contents: read"):
        await client.root_files("acme/shop", HEAD)


OWN_FILE = f"GET {API}/contents/.agents.yaml"


def content(text: bytes, **values: Any) -> dict[str, Any]:
    encoded = base64.encodebytes(text).decode()
    return {"type": "file", "size": len(text), "encoding": "base64", "content": encoded, **values}


async def test_a_text_file(client, stub) -> None:
    stub.on(OWN_FILE, content("lfs: no # ä\n".encode()))
    assert await client.text_file("acme/shop", ".agents.yaml", HEAD, most_bytes=100) == "lfs: no # ä\n"
    assert stub.asked[-1].query == {"ref": HEAD}


async def test_a_text_file_that_is_not_there(client, stub) -> None:
    stub.on(OWN_FILE, (404, {"message": "Not Found"}), (404, {"message": "No commit found for the ref x"}))
    assert await client.text_file("acme/shop", ".agents.yaml", HEAD, most_bytes=100) is None
    with pytest.raises(ForgeAccessError):
        await client.text_file("acme/shop", ".agents.yaml", HEAD, most_bytes=100)


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (content(b"x" * 101), ForgeConflictError, "has 101 bytes, at most 100"),
        (content(b"\xff"), ForgeConflictError, "is not UTF-8"),
        ([{"type": "file"}], ForgeConflictError, "is no file"),
        ({"type": "submodule"}, ForgeConflictError, "is no file"),
        (content(b"x", encoding="none", content=""), ForgeUnavailableError, "is incomplete"),
        (content(b"x", content="%%%%"), ForgeUnavailableError, "is incomplete"),
        ((403, {"message": "Resource not accessible"}), ForgeAccessError, "Contents: read"),
    ],
)
async def test_a_text_file_that_is_none(client, stub, answer: Any, error: Any, words: str) -> None:
    stub.on(OWN_FILE, answer)
    with pytest.raises(error, match=words):
        await client.text_file("acme/shop", ".agents.yaml", HEAD, most_bytes=100)


async def test_issue(client, stub) -> None:
    answer = {
        "number": 3,
        "node_id": "I_3",
        "title": "Broken",
        "body": None,
        "state": "closed",
        "html_url": "u",
        "user": None,
        "labels": [{"name": "bug"}, "plain", {"name": None}],
        "pull_request": {"url": "x"},
    }
    stub.on(f"GET {API}/issues/3", answer, {"number": 3})
    issue = await client.issue("acme/shop", 3)
    assert (issue.state, issue.body, issue.author, issue.labels) == ("CLOSED", "", "ghost", ("bug", "plain"))
    assert issue.is_pull_request
    with pytest.raises(ForgeUnavailableError, match="acme/shop#3 is incomplete"):
        await client.issue("acme/shop", 3)


@pytest.mark.parametrize(
    ("answer", "number", "state"),
    [
        ([], None, None),
        ([listed(9, "closed"), listed(8)], 8, "OPEN"),
        ([listed(4, "closed"), listed(9, "closed", merged_at="2026-01-01T00:00:00Z")], 9, "MERGED"),
        # GitHub ignores a filter it does not understand and lists everything.
        ([listed(9, branch="other"), listed(5, "closed")], 5, "CLOSED"),
    ],
)
async def test_find_pull_request(client, stub, answer, number, state) -> None:
    stub.on(f"GET {API}/pulls", answer)
    found = await client.find_pull_request("acme/shop", "agents/7", "main")
    assert (found and found.number, found and found.state) == (number, state)
    assert stub.asked[0].query["head"] == "acme:agents/7"
    assert stub.asked[0].query["state"] == "all"


async def test_create_pull_request(client, stub) -> None:
    stub.on(f"POST {API}/pulls", (201, listed(7)))
    assert (
        await client.create_pull_request("acme/shop", "agents/7", "main", "t", "b", draft=True)
    ).number == 7
    assert stub.asked[0].body == {
        "title": "t",
        "head": "agents/7",
        "base": "main",
        "body": "b",
        "draft": True,
    }


async def test_create_returns_the_pull_request_that_exists(client, stub) -> None:
    said = {
        "message": "Validation Failed",
        "errors": [{"message": "A pull request already exists for acme:agents/7."}],
    }
    stub.on(f"POST {API}/pulls", (422, said))
    stub.on(f"GET {API}/pulls", [listed(6, "closed"), listed(5)])
    assert (await client.create_pull_request("acme/shop", "agents/7", "main", "t", "b")).number == 5


async def test_create_without_commits_is_a_conflict(client, stub) -> None:
    stub.on(
        f"POST {API}/pulls",
        (422, {"message": "Validation Failed", "errors": [{"message": "No commits between"}]}),
    )
    stub.on(f"GET {API}/pulls", [listed(6, "closed")])
    with pytest.raises(ForgeConflictError, match="No commits between"):
        await client.create_pull_request("acme/shop", "agents/7", "main", "t", "b")


MERGE = f"PUT {API}/pulls/7/merge"


async def test_merge(client, stub) -> None:
    stub.on(MERGE, {"sha": "c" * 40, "merged": True})
    assert (
        await client.merge_pull_request("acme/shop", 7, HEAD, "squash", title="T", message="")
    ).sha == "c" * 40
    assert stub.asked[0].body == {
        "sha": HEAD,
        "merge_method": "squash",
        "commit_title": "T",
        "commit_message": "",
    }


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (409, "Head branch was modified. Review and try the merge again."),
        (405, "Pull Request is not mergeable"),
        (422, "Validation Failed"),
    ],
)
async def test_a_merge_that_github_declines_is_a_conflict(client, stub, status: int, said: str) -> None:
    stub.on(MERGE, (status, {"message": said}))
    with pytest.raises(ForgeConflictError, match=said):
        await client.merge_pull_request("acme/shop", 7, HEAD, "squash")
    assert stub.times(MERGE) == 1


@pytest.mark.parametrize("fault", [drop, (502, "bad gateway")])
async def test_a_merge_whose_answer_is_lost_is_sent_once(client, stub, fault) -> None:
    # The first request leaves a connection in the pool, on which clients like to repeat a PUT by themselves.
    stub.on(f"GET {API}/issues/3", {"number": 3, "state": "open"})
    await client.issue("acme/shop", 3)
    stub.on(MERGE, fault, {"sha": "c" * 40, "merged": True})
    with pytest.raises(ForgeUnavailableError):
        await client.merge_pull_request("acme/shop", 7, HEAD, "squash")
    assert stub.times(MERGE) == 1


@pytest.mark.parametrize("answer", [{}, {"sha": "c", "merged": False}, []])
async def test_an_unclear_answer_to_a_merge_is_no_merge(client, stub, answer) -> None:
    stub.on(MERGE, answer)
    with pytest.raises(ForgeUnavailableError, match="does not say"):
        await client.merge_pull_request("acme/shop", 7, HEAD, "squash")


def comments(*nodes: dict[str, object], before: str | None = None) -> dict[str, object]:
    page = {"hasPreviousPage": before is not None, "startCursor": before}
    inner = {"__typename": "Issue", "comments": {"pageInfo": page, "nodes": list(nodes)}}
    return {"data": {"repository": {"issueOrPullRequest": inner}}}


async def test_comment_once(client, stub) -> None:
    hidden = "<!-- agents run=a/b step=finish -->"
    forged = {"url": "forged", "body": hidden, "viewerDidAuthor": False}
    own = {"url": "own", "body": f"text\n\n{hidden}", "viewerDidAuthor": True}
    stub.on("Comments", comments(forged))
    stub.on(f"POST {API}/issues/3/comments", (201, {"html_url": "new"}))
    first = await client.comment_once("acme/shop", 3, "run=a/b step=finish", "text")
    assert (first.url, first.created) == ("new", True)
    assert stub.asked[-1].body == {"body": own["body"]}
    stub.on("Comments", comments(forged, before="page2"), comments(own))
    again = await client.comment_once("acme/shop", 3, "run=a/b step=finish", "text")
    assert (again.url, again.created) == ("own", False)
    assert stub.times(f"POST {API}/issues/3/comments") == 1
    assert stub.asked[-1].body["variables"]["before"] == "page2"


async def test_unreadable_comments_are_not_taken_for_none(client, stub) -> None:
    stub.on(
        "Comments", {"data": {"repository": {"issueOrPullRequest": None}}, "errors": [{"message": "oops"}]}
    )
    with pytest.raises(ForgeUnavailableError, match="oops"):
        await client.comment_once("acme/shop", 3, "m", "text")
    assert stub.times(f"POST {API}/issues/3/comments") == 0


@pytest.mark.parametrize("marker", ["", "a--b", "-->", "a\nb", "x" * 201])
async def test_a_marker_stays_inside_its_comment(client, marker: str) -> None:
    with pytest.raises(ValueError, match="not a marker"):
        await client.comment_once("acme/shop", 3, marker, "text")


async def test_close_issue(client, stub) -> None:
    stub.on(f"PATCH {API}/issues/3", {"state": "closed"})
    await client.close_issue("acme/shop", 3, "not_planned")
    assert stub.asked[0].body == {"state": "closed", "state_reason": "not_planned"}


async def test_delete_branch(client, stub) -> None:
    async def gone(request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    stub.on(f"DELETE {API}/git/refs/heads/agents/a#1", gone)
    await client.delete_branch("acme/shop", "agents/a#1")
    assert stub.asked[0].path.endswith("/git/refs/heads/agents/a#1")


@pytest.mark.parametrize("status", [404, 422])
async def test_deleting_a_branch_that_is_gone_is_fine(client, stub, status: int) -> None:
    stub.on(f"DELETE {API}/git/refs/heads/b", (status, {"message": "Reference does not exist"}))
    stub.on("BranchHead", {"data": {"repository": {"ref": None}}})
    await client.delete_branch("acme/shop", "b")
    stub.on("BranchHead", {"data": {"repository": {"ref": {"target": {"oid": HEAD}}}}})
    with pytest.raises((ForgeAccessError, ForgeConflictError), match="Reference does not exist"):
        await client.delete_branch("acme/shop", "b")


async def test_check_details(client, stub) -> None:
    note = {"path": "a.py", "start_line": 3, "annotation_level": "failure", "title": "E1", "message": "m"}
    stub.on(f"GET {API}/check-runs/5/annotations", [note, {"message": None}, "junk"])
    first, second = await client.check_annotations("acme/shop", 5, 20)
    assert (first.path, first.line, first.level, first.message) == ("a.py", 3, "failure", "E1: m")
    assert (second.path, second.line, second.message) == ("", 0, "")
    assert len(await client.check_annotations("acme/shop", 5, 1)) == 1
    stub.on(f"GET {API}/check-runs/5", {"output": {"summary": "s", "text": "t"}}, {"output": None})
    assert await client.check_summary("acme/shop", 5) == "s\n\nt"
    assert await client.check_summary("acme/shop", 5) == ""
