from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from demo.github.server import StandInGitHub

REPOSITORY = "acme/calc"
ROOT = Path(__file__).resolve().parents[4]
EVIL = "<script>alert(1)</script>\"'&"


async def test_mutations_are_logged_in_order(seeded, pull, agent, head):
    tip = head(pull)
    await agent.repo("PUT", f"/pulls/{pull}/merge", {"merge_method": "squash", "sha": tip})
    log = (await agent.call("GET", "/_demo/mutations")).body
    assert [entry["seq"] for entry in log] == list(range(1, len(log) + 1))
    assert [entry["kind"] for entry in log] == [
        "repository.created",
        "issue.opened",
        "push",
        "pull_request.opened",
        "pull_request.merged",
        "issue.closed",
        "push",
    ]
    merged = log[4]
    assert (merged["number"], merged["actor"], merged["details"]["head_sha"]) == (pull, "agent", tip)
    lines = (seeded.forge.data_dir / "mutations.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == log
    assert (await agent.call("GET", "/_demo/mutations?after=6")).body == log[6:]


async def test_requests_are_counted_without_credentials(seeded, agent, git, remote, tmp_path):
    await agent.repo("GET", "/issues/1")
    await agent.graphql("query Pulse {viewer{login}}")
    await git("clone", "-q", remote(), str(tmp_path / "w"))
    found = await agent.call("GET", "/_demo/requests")
    counts = found.body["counts"]
    assert counts["GET /api/v3/repos/{owner}/{repo}/issues/{number}"] == 1
    assert counts["graphql Pulse"] == 1
    assert counts["POST /{owner}/{repo}/git-upload-pack"] == 2
    assert found.body["graphql_points"] == 1
    assert found.body["points"] == {"Pulse": 1}
    line = next(line for line in found.body["requests"] if line.get("operation") == "Pulse")
    assert (line["user"], line["status"], line["points"]) == ("agent", 200, 1)
    assert "token-of-agent" not in found.text


async def test_pages_escape_what_people_wrote(seeded, pull, client_of):
    await seeded.act("alice", "edit", REPOSITORY, number=pull, title=EVIL, body=EVIL)
    await seeded.act("alice", "comment", REPOSITORY, number=pull, body=EVIL)
    await seeded.act("alice", "review", REPOSITORY, number=pull, event="REQUEST_CHANGES", body=EVIL)
    await seeded.act(
        "alice", "check_run", REPOSITORY, number=pull, name=EVIL, conclusion="failure", title=EVIL
    )
    await seeded.act("alice", "push_commit", REPOSITORY, number=pull, files={"x.html": EVIL}, message=EVIL)
    issue = seeded.create_issue(REPOSITORY, EVIL, EVIL, labels=[EVIL])
    browser = client_of(None)
    for path in ("", f"/pull/{pull}", f"/issues/{issue.number}"):
        page = await browser.call("GET", f"/{REPOSITORY}{path}")
        assert page.status == 200
        assert "<script" not in page.text
        assert "&lt;script&gt;" in page.text
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


async def test_pages_and_control_answer_only_to_loopback_names(seeded, agent):
    for path in ("/_demo/mutations", f"/{REPOSITORY}"):
        answer = await agent.call("GET", path, headers={"Host": "evil.example:80"})
        assert answer.status == 403
    form = await agent.call("POST", "/_demo/act", data="{}", headers={"Content-Type": "text/plain"})
    assert form.status == 415


async def test_control_seeds_and_opens_issues(server, folder, agent):
    body = {"name": REPOSITORY, "folder": str(folder), "rules": {"main": {"required_checks": ["test"]}}}
    made = await agent.call("POST", "/_demo/repositories", json=body)
    assert made.status == 201
    assert (await agent.repo("GET", "/git/ref/heads/main")).body["object"]["sha"] == made.body["sha"]
    assert (await agent.call("POST", "/_demo/repositories", json=body)).status == 422
    bad = await agent.call("POST", "/_demo/repositories", json={"name": "a/../b", "folder": str(folder)})
    assert bad.status == 422
    missing = await agent.call("POST", "/_demo/repositories", json={"name": "a/b"})
    assert (missing.status, missing.body["message"]) == (422, "'folder' is missing.")
    issue = {"repository": REPOSITORY, "title": "T", "labels": ["agent"]}
    opened = await agent.call("POST", "/_demo/issues", json=issue)
    assert (opened.status, opened.body["number"]) == (201, 1)
    protection = (await agent.repo("GET", "/branches/main")).body["protection"]
    assert protection["required_status_checks"]["contexts"] == ["test"]


async def test_acts_hold_to_the_persons_permission(seeded, pull, agent):
    push = {"as": "reader", "do": "push_commit", "repository": REPOSITORY, "number": pull}
    assert (await agent.call("POST", "/_demo/act", json=push)).status == 403
    assert (await agent.call("POST", "/_demo/act", json={**push, "as": "stranger"})).status == 404
    assert (await agent.call("POST", "/_demo/act", json={**push, "as": "alice"})).status == 200
    unknown = await agent.call("POST", "/_demo/act", json={**push, "do": "fly"})
    assert (unknown.status, "push_commit" in unknown.body["message"]) == (422, True)


async def test_permission_of_a_person(seeded, agent):
    for login, permission in (
        ("acme", "admin"),
        ("alice", "write"),
        ("reader", "read"),
        ("stranger", "none"),
    ):
        body = (await agent.repo("GET", f"/collaborators/{login}/permission")).body
        assert body["permission"] == permission


async def test_unknown_endpoint_is_404_in_githubs_form(server, agent):
    answer = await agent.call("GET", "/api/v3/none")
    assert answer.status == 404
    assert set(answer.body) == {"message", "documentation_url", "status"}
    assert answer.headers["x-github-request-id"]


async def test_data_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("Years of work")
    with pytest.raises(FileExistsError, match="folder of its own"):
        StandInGitHub(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


async def test_second_start_in_the_same_folder_begins_anew(tmp_path, folder):
    for _ in range(2):
        async with StandInGitHub(tmp_path / "data") as server:
            await server.seed_repository(REPOSITORY, folder)
            assert len(server.mutations) == 1


async def test_command_announces_itself_and_stops_on_sigterm(tmp_path, session):
    ready = tmp_path / "ready.json"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "demo.github", "--data", str(tmp_path / "d"), "--ready-file", str(ready),
        "--token", "bob=one", "--token", "two",
        cwd=ROOT, env={"PATH": os.environ["PATH"]},
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            while not ready.exists():
                assert process.returncode is None
                await asyncio.sleep(0.02)
        facts = json.loads(ready.read_text())
        assert set(facts) == {"url"}
        assert stat.S_IMODE(ready.stat().st_mode) == 0o600
        for token, login in (("one", "bob"), ("two", "agent")):
            headers = {"Authorization": f"token {token}"}
            async with session.get(f"{facts['url']}/api/v3/user", headers=headers) as response:
                assert (await response.json())["login"] == login
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
