from __future__ import annotations

import pytest

REPOSITORY = "acme/calc"


async def test_clone_commit_push(seeded, git, remote, tmp_path):
    work = tmp_path / "work"
    code, out = await git("clone", "--quiet", remote(), str(work))
    assert code == 0, out
    (work / "calc.py").write_text("def add(a, b):\n    return a + b\n")
    await git("checkout", "-q", "-b", "agents/1", cwd=work)
    await git("commit", "-q", "-a", "-m", "Add", cwd=work)
    code, out = await git("push", "-q", "origin", "agents/1", cwd=work)
    assert code == 0, out
    _, sha = await git("rev-parse", "HEAD", cwd=work)
    pushed = seeded.mutations[-1]
    assert (pushed["kind"], pushed["actor"]) == ("push", "agent")
    assert pushed["details"]["sha"] == sha.strip()
    assert pushed["details"]["branch"] == "agents/1"


async def test_partial_and_shallow_clones_are_served(seeded, git, remote, tmp_path):
    await seeded.act("alice", "push_commit", REPOSITORY, branch="main", files={"a.txt": "a"})
    code, out = await git(
        "clone", "-q", "--depth=1", "--filter=blob:none", "--no-checkout", remote(), str(tmp_path / "w")
    )
    assert code == 0, out
    _, count = await git("rev-list", "--count", "HEAD", cwd=tmp_path / "w")
    assert count.strip() == "1"


async def test_any_commit_may_be_fetched_by_its_sha(seeded, git, remote, tmp_path):
    first = seeded.mutations[0]["details"]["sha"]
    await seeded.act("alice", "push_commit", REPOSITORY, branch="main", files={"a.txt": "a"})
    await git("init", "-q", str(tmp_path / "w"))
    code, out = await git("fetch", "-q", "--depth=1", remote(), first, cwd=tmp_path / "w")
    assert code == 0, out


@pytest.mark.parametrize("token", ["wrong", None])
async def test_wrong_or_missing_token_is_401(seeded, git, remote, tmp_path, client_of, token):
    code, _ = await git("clone", remote(token), str(tmp_path / "w"))
    assert code == 128
    answer = await client_of(None).call("GET", f"/{REPOSITORY}.git/info/refs?service=git-upload-pack")
    assert answer.status == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic")


async def test_hidden_repository_is_not_found(seeded, git, remote, tmp_path):
    code, out = await git("clone", remote("token-of-stranger"), str(tmp_path / "w"))
    assert code == 128
    assert "not found" in out


async def test_reader_clones_but_may_not_push(seeded, git, remote, tmp_path):
    work = tmp_path / "w"
    code, _ = await git("clone", "-q", remote("token-of-reader"), str(work))
    assert code == 0
    code, out = await git("push", "origin", "HEAD:refs/heads/mine", cwd=work)
    assert code == 128
    assert "Permission to acme/calc.git denied to reader" in out


async def test_archived_repository_takes_no_push(seeded, git, remote, tmp_path):
    work = tmp_path / "w"
    await git("clone", "-q", remote(), str(work))
    await seeded.act("acme", "configure", REPOSITORY, archived=True)
    code, out = await git("push", "origin", "HEAD:refs/heads/mine", cwd=work)
    assert code == 128
    assert "archived" in out


async def test_public_repository_is_read_without_a_token(seeded, git, remote, tmp_path):
    await seeded.act("acme", "configure", REPOSITORY, private=False)
    code, out = await git("clone", "-q", remote(None), str(tmp_path / "w"))
    assert code == 0, out


async def test_pull_request_refs_are_served_and_cannot_be_pushed(seeded, pull, git, remote, head, tmp_path):
    work = tmp_path / "w"
    await git("clone", "-q", remote(), str(work))
    await git("fetch", "-q", "origin", f"refs/pull/{pull}/head", cwd=work)
    _, fetched = await git("rev-parse", "FETCH_HEAD", cwd=work)
    assert fetched.strip() == head(pull)
    code, out = await git("push", "origin", f"HEAD:refs/pull/{pull}/head", cwd=work)
    assert code == 1
    assert "hidden ref" in out


async def test_non_fast_forward_is_refused_unless_forced(seeded, pull, git, remote, head, tmp_path):
    work = tmp_path / "w"
    await git("clone", "-q", remote(), str(work))
    await git("commit", "-q", "--allow-empty", "-m", "Other", cwd=work)
    code, _ = await git("push", "origin", "HEAD:refs/heads/agents/1", cwd=work)
    assert code == 1
    code, out = await git("push", "-q", "--force", "origin", "HEAD:refs/heads/agents/1", cwd=work)
    assert code == 0, out
    push = next(m for m in reversed(seeded.mutations) if m["kind"] == "push")
    assert push["details"]["forced"] is True
    assert head(pull) == push["details"]["sha"]


async def test_large_push_in_chunks_arrives(seeded, git, remote, tmp_path):
    work = tmp_path / "w"
    await git("clone", "-q", remote(), str(work))
    (work / "big.bin").write_bytes(bytes(i * i % 251 for i in range(3_000_000)))
    await git("add", ".", cwd=work)
    await git("commit", "-q", "-m", "Big", cwd=work)
    code, out = await git(
        "-c", "http.postBuffer=65536", "-c", "core.compression=0", "push", "-q", "origin", "main", cwd=work
    )
    assert code == 0, out
    assert seeded.mutations[-1]["kind"] == "push"
