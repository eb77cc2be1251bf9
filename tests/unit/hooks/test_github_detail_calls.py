"""Files, commits, permissions and logs."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError, InvalidInputError

API = "/api/v3/repos/acme/shop"


def commit(number: int, login: str | None = "mona", message: str = "Mend\n\nAll of it") -> dict[str, Any]:
    author = {"name": "Mona L", "email": "mona@example.com"}
    return {
        "sha": f"{number:040}",
        "author": {"login": login} if login else None,
        "commit": {"message": message, "author": author},
    }


async def test_changed_files_of_all_pages(client, stub) -> None:
    file = {
        "filename": "b.py",
        "status": "renamed",
        "additions": 2,
        "deletions": 1,
        "previous_filename": "a.py",
    }
    stub.on(f"GET {API}/pulls/7/files", [file] * 100, [file | {"filename": "c.py", "status": "added"}])
    files = await client.changed_files("acme/shop", 7)
    assert len(files) == 101
    first = files[0]
    assert (first.path, first.status, first.additions, first.deletions, first.previous_path) == (
        "b.py",
        "renamed",
        2,
        1,
        "a.py",
    )
    assert files[-1].path == "c.py"
    assert [asked.query["page"] for asked in stub.asked] == ["1", "2"]


async def test_commits_of_a_pull_request(client, stub) -> None:
    signed = commit(1)
    signed["commit"]["verification"] = {"verified": True, "reason": "valid"}
    stub.on(f"GET {API}/pulls/7/commits", [signed, commit(2, login=None), {"sha": "x", "commit": None}])
    first, second, third = await client.pull_request_commits("acme/shop", 7)
    assert (first.author, first.title, first.message) == ("mona", "Mend", "Mend\n\nAll of it")
    assert (first.author_name, first.author_email) == ("Mona L", "mona@example.com")
    assert (first.login, first.verified) == ("mona", True)
    assert (second.author, second.login, second.verified) == ("Mona L", "", False)
    assert (third.author, third.title) == ("ghost", "")


async def test_commits_between_are_at_most_three_pages(client, stub) -> None:
    stub.on(f"GET {API}/compare/aaa...bbb", {"commits": [commit(1)] * 100})
    assert len(await client.commits_between("acme/shop", "aaa", "bbb")) == 300
    assert len(stub.asked) == 3
    stub.on(f"GET {API}/compare/aaa...bbb", (404, {"message": "Not Found"}))
    with pytest.raises(ForgeAccessError):
        await client.commits_between("acme/shop", "aaa", "bbb")


async def test_an_answer_that_is_no_list_is_not_taken_for_none(client, stub) -> None:
    stub.on(f"GET {API}/compare/aaa...bbb", {"message": "?"})
    with pytest.raises(ForgeUnavailableError):
        await client.commits_between("acme/shop", "aaa", "bbb")
    with pytest.raises(ForgeUnavailableError):
        await client.changed_on_both_sides("acme/shop", "aaa", "bbb")


async def test_changed_on_both_sides(client, stub) -> None:
    ours = [{"filename": "a.py"}, {"filename": "new.py", "previous_filename": "old.py"}, {"filename": "c.py"}]
    stub.on(f"GET {API}/compare/main...bbb", {"commits": [], "files": ours})
    theirs = [{"filename": "old.py"}, {"filename": "a.py"}, {"filename": "z.py"}]
    stub.on(f"GET {API}/compare/bbb...main", {"commits": [], "files": theirs})
    assert await client.changed_on_both_sides("acme/shop", "main", "bbb") == ("a.py", "old.py")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"permission": "write", "role_name": "maintain"}, "MAINTAIN"),
        ({"permission": "write", "role_name": "release manager"}, "WRITE"),
        ({"permission": "admin", "role_name": "admin"}, "ADMIN"),
        ({"permission": "read", "role_name": "triage"}, "TRIAGE"),
        ({"permission": "none", "role_name": ""}, None),
        ((404, {"message": "Not Found"}), None),
    ],
)
async def test_permission(client, stub, answer: Any, expected: str | None) -> None:
    stub.on(f"GET {API}/collaborators/mona/permission", answer)
    assert await client.permission("acme/shop", "mona") == expected


async def test_permission_of_a_bot_and_refusal(client, stub) -> None:
    stub.on(f"GET {API}/collaborators/app[bot]/permission", (403, {"message": "Must have push access"}))
    with pytest.raises(ForgeAccessError, match="Must have push access"):
        await client.permission("acme/shop", "app[bot]")
    with pytest.raises(InvalidInputError):
        await client.permission("acme", "mona")


async def test_viewer(client, stub) -> None:
    stub.on("Viewer", {"data": {"viewer": {"login": "app[bot]"}}}, {"data": {"viewer": None}})
    assert await client.viewer_login() == "app[bot]"
    with pytest.raises(ForgeAccessError):
        await client.viewer_login()


async def test_a_log_that_broke_off_is_read_from_its_beginning(client, stub) -> None:
    async def cut_short(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"error: one\n")
        request.transport.close()
        return response

    async def whole(_: web.Request) -> web.StreamResponse:
        return web.Response(text="error: one\nerror: two\n")

    stub.on(f"GET {API}/actions/jobs/5/logs", cut_short, whole)
    found = await client.check_log("acme/shop", 5)
    assert found is not None
    assert found.tail == "error: one\nerror: two"
    assert found.matches == ("error: one", "error: two")
