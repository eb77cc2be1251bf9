"""An agent that pushes what, or where, it must not: the real git program, and requests that git would not make."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from attack_world import OTHER, REPOSITORY, AttackWorld
from gateway_world import BRANCH, WORK_REF, ZERO, commit

from agent_runner.gateway import git_push
from agent_runner.gateway.pkt_line import FLUSH, encode

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from agent_runner.gateway.server import Gateway

CI = ".github/workflows/ci.yml"
CAPABILITIES = b"report-status side-band-64k agent=git/2.39.5"
RECEIVE = f"/git/{REPOSITORY}.git/git-receive-pack"

ELSEWHERE: dict[str, list[str]] = {
    "main": ["HEAD:main"],
    "another branch": ["HEAD:release"],
    "a new branch": ["HEAD:refs/heads/agents/43-other"],
    "the work branch in capitals": [f"HEAD:{BRANCH.upper()}"],
    "a branch below the work branch": [f"HEAD:{WORK_REF}/deeper"],
    "a tag": ["HEAD:refs/tags/v2"],
    "a tag that exists": ["--force", "HEAD:refs/tags/v1"],
    "for review": ["HEAD:refs/for/main"],
    "a pull request's ref": ["HEAD:refs/pull/1/head"],
    "notes": ["HEAD:refs/notes/commits"],
    "main beside the work branch": [f"HEAD:{BRANCH}", "HEAD:main"],
    "everything": ["--mirror"],
    "with tags that follow": ["--tags", f"HEAD:{BRANCH}"],
}


async def test_push_beside_the_work_branch(world: AttackWorld) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    await world.git(clone, "tag", "v3")
    for name, arguments in ELSEWHERE.items():
        options = [part for part in arguments if part.startswith("--")]
        refs = [part for part in arguments if not part.startswith("--")]
        ran = await world.git(clone, "push", *options, "origin", *refs)
        assert ran.code == 1, name
        assert f"only {WORK_REF} may be pushed" in ran.stderr, name
    assert not world.pushed


async def test_control_without_the_policy_main_is_overwritten(
    world: AttackWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.open_door = True
    monkeypatch.setattr(git_push, "judge", lambda *_: None)
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    await world.git(clone, "push", "origin", "HEAD:main")
    assert f"ref {REPOSITORY} refs/heads/main" in await world.breaches()


async def test_delete_a_ref(world: AttackWorld) -> None:
    head = await world.forge.commit(WORK_REF, world.base, "earlier round")
    gateway = await world.gateway(expected_head=head)
    clone = await world.clone(gateway)
    for ref in (WORK_REF, "refs/heads/main", "refs/tags/v1"):
        ran = await world.git(clone, "push", "origin", f":{ref}")
        assert ran.code == 1
        assert "may not be deleted" in ran.stderr or "may be pushed" in ran.stderr
    assert await world.forge.head() == head
    assert not world.pushed


@pytest.mark.parametrize("how", ["--force", "--force-with-lease", "rebase", "lied"])
async def test_overwrite_a_persons_commit(world: AttackWorld, how: str) -> None:
    """By force, with a fresh lease, after rebasing on it, and by naming a false old commit."""
    start = await world.forge.commit(WORK_REF, world.base, "earlier round")
    gateway = await world.gateway(expected_head=start)
    clone = await world.inner.clone(gateway, "--branch", BRANCH)
    await commit(clone, "fix")
    person = await world.forge.commit(WORK_REF, start, "a person's")
    if how == "lied":
        new = (await world.git(clone, "rev-parse", "HEAD")).stdout.strip()
        pack = await pack_of(world, clone, new, start)
        answer = await push_raw(world, gateway, command(start, new, WORK_REF) + FLUSH + pack)
        assert b"ng refs/heads/" in answer
    else:
        await world.git(clone, "fetch", "-q")
        if how == "rebase":
            await world.git(clone, "rebase", "-q", f"origin/{BRANCH}")
        ran = await world.git(clone, "push", how if how != "rebase" else "-q", "origin", BRANCH)
        assert ran.code == 1
        assert "which this step did not push" in ran.stderr
        assert not world.pushed
    assert await world.forge.head() == person


async def test_control_without_the_policy_a_persons_commit_is_lost(
    world: AttackWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.open_door = True
    monkeypatch.setattr(git_push, "judge", lambda *_: None)
    start = await world.forge.commit(WORK_REF, world.base, "earlier round")
    gateway = await world.gateway(expected_head=start)
    clone = await world.inner.clone(gateway, "--branch", BRANCH)
    mine = await commit(clone, "fix")
    await world.forge.commit(WORK_REF, start, "a person's")
    await world.git(clone, "fetch", "-q")
    await world.git(clone, "push", "--force", "origin", BRANCH)
    assert await world.forge.head() == mine


async def test_push_options(world: AttackWorld) -> None:
    """They make some forges merge, or run pipelines with variables."""
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    ran = await world.git(clone, "push", "--push-option=merge_request.merge", "origin", BRANCH)
    assert ran.code != 0
    assert "does not support push options" in ran.stderr
    new = (await world.git(clone, "rev-parse", "HEAD")).stdout.strip()
    body = encode(f"{ZERO} {new} {WORK_REF}\0".encode() + CAPABILITIES + b" push-options\n") + FLUSH
    body += encode(b"merge_request.merge") + FLUSH + await pack_of(world, clone, new, world.base)
    assert b"push options are not allowed" in await push_raw(world, gateway, body)
    assert not world.pushed


async def test_push_of_a_step_that_only_reads(world: AttackWorld) -> None:
    gateway = await world.gateway(push=False)
    clone = await world.clone(gateway)
    assert (await world.git(clone, "push", "origin", BRANCH)).code != 0
    new = (await world.git(clone, "rev-parse", "HEAD")).stdout.strip()
    pack = await pack_of(world, clone, new, world.base)
    answer = await push_raw(world, gateway, command(ZERO, new, WORK_REF) + FLUSH + pack)
    assert b"this step may not push" in answer
    assert not world.pushed


FORGED: dict[str, Callable[[str], bytes]] = {
    "no report": lambda new: encode(f"{ZERO} {new} {WORK_REF}\0side-band-64k".encode()) + FLUSH,
    "a second list": lambda new: command(ZERO, new, WORK_REF) + FLUSH + command(ZERO, new, "refs/heads/x") + FLUSH,
    "one ref twice": lambda new: command(ZERO, new, WORK_REF) + encode(f"{ZERO} {new} {WORK_REF}".encode()) + FLUSH,
    "a NUL in the name": lambda new: encode(
        f"{ZERO} {new} {WORK_REF}\0".encode() + CAPABILITIES
    ) + encode(f"{ZERO} {new} refs/heads/main\0{WORK_REF}".encode()) + FLUSH,
    "a line end in the name": lambda new: command(ZERO, new, f"refs/heads/main\n{WORK_REF}") + FLUSH,
    "capital ids": lambda new: command(ZERO, new.upper(), WORK_REF) + FLUSH,
    "a certificate": lambda new: encode(b"push-cert\0" + CAPABILITIES) + encode(
        f"{ZERO} {new} refs/heads/main\n".encode()
    ) + encode(b"push-cert-end\n") + FLUSH,
    "a length that lies": lambda new: b"0005" + command(ZERO, new, WORK_REF) + FLUSH,
    "a special length": lambda new: b"0001" + command(ZERO, new, WORK_REF) + FLUSH,
    "no end": lambda new: command(ZERO, new, WORK_REF),
}  # fmt: skip


async def test_forged_push_request(world: AttackWorld) -> None:
    """Requests that a laxer reader than the gateway could read in another way than it does."""
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    new = (await world.git(clone, "rev-parse", "HEAD")).stdout.strip()
    pack = await pack_of(world, clone, new, world.base)
    for name, forged in FORGED.items():
        answer = await push_raw(world, gateway, forged(new) + pack)
        assert b" 403 " in answer[:20] or b"ng refs/heads/" in answer, (name, answer[:500])
        assert await world.forge.head() is None, name


async def test_flood_the_gateways_log(world: AttackWorld) -> None:
    gateway = await world.gateway()
    refs = b"".join(encode(f"{ZERO} {world.base} refs/heads/{n}".encode()) for n in range(3_000))
    await push_raw(world, gateway, command(ZERO, world.base, WORK_REF) + refs + FLUSH)
    assert max(map(len, world.logs().splitlines())) < 4_096
    assert len(world.inner.termination().to_json()) < 4_096


async def test_commands_hidden_behind_the_pack(world: AttackWorld) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    new = (await world.git(clone, "rev-parse", "HEAD")).stdout.strip()
    pack = await pack_of(world, clone, new, world.base)
    hidden = command(ZERO, new, "refs/heads/hidden") + FLUSH + pack
    answer = await push_raw(world, gateway, command(ZERO, new, WORK_REF) + FLUSH + pack + hidden)
    assert b"ng refs/heads/" in answer
    assert await world.forge.head() is None


WORKFLOWS: dict[str, list[tuple[str, str | None]]] = {
    "taken back later": [(CI, "evil"), (CI, None)],
    "in other letters": [(".GitHub/Workflows/ci.yml", "evil")],
    "deep below": [(".github/workflows/deep/er.yml", "evil")],
    "a file in the folder's place": [(".github/workflows", "evil")],
}


async def test_workflow_in_a_middle_commit(world: AttackWorld) -> None:
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    for name, changes in WORKFLOWS.items():
        await world.git(clone, "switch", "-q", "-C", BRANCH, world.base)
        for path, content in changes:
            await change(world, clone, path, content)
        await commit(clone, "last")
        ran = await world.git(clone, "push", "origin", BRANCH)
        assert ran.code == 1, name
        assert "protected paths" in ran.stderr, name
    assert not world.pushed


async def test_workflow_folder_that_leads_elsewhere(world: AttackWorld) -> None:
    """A link to a folder of harmless names, whose content would be the workflows."""
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    for place in (".github", ".github/workflows"):
        await world.git(clone, "switch", "-q", "-C", BRANCH, world.base)
        (clone / place).parent.mkdir(exist_ok=True)
        (clone / place).symlink_to("elsewhere")
        await change(world, clone, "elsewhere/workflows/ci.yml", "evil")
        ran = await world.git(clone, "push", "origin", BRANCH)
        assert ran.code == 1
        assert "protected paths" in ran.stderr
    assert not world.pushed


async def test_control_without_protected_paths_the_workflow_arrives(world: AttackWorld) -> None:
    world.open_door = True
    gateway = await world.gateway(protected_paths=())
    clone = await world.clone(gateway)
    await change(world, clone, CI, "evil")
    await world.git(clone, "push", "-q", "origin", BRANCH)
    assert CI in await world.forge.git("ls-tree", "-r", "--name-only", WORK_REF)


async def test_push_to_another_repository(world: AttackWorld) -> None:
    """With the same credential it would be allowed; in other letters it is another name for the forge, too."""
    gateway = await world.gateway(read_repositories=(OTHER,))
    clone = await world.clone(gateway)
    for name in (OTHER, OTHER.upper(), "acme/unknown", REPOSITORY.upper()):
        ran = await world.git(clone, "push", f"{gateway.url}/git/{name}.git", f"HEAD:{BRANCH}")
        assert ran.code != 0
        assert "may only be read here" in ran.stderr or "can be reached here" in ran.stderr
    new = (await world.git(clone, "rev-parse", "HEAD")).stdout.strip()
    body = command(ZERO, new, WORK_REF) + FLUSH + await pack_of(world, clone, new, world.base)
    assert b" 403 " in (await push_raw(world, gateway, body, f"/git/{OTHER}.git/git-receive-pack"))[:20]
    assert not world.pushed


async def test_race_of_two_pushes(world: AttackWorld) -> None:
    """Two at once: the second is judged when the first is done, by what that has made of the branch."""
    gateway = await world.gateway()
    clone = await world.clone(gateway)
    first = (await world.git(clone, "rev-parse", "HEAD")).stdout.strip()
    second = await commit(clone, "two")
    pack = await pack_of(world, clone, second, world.base)
    answers = await asyncio.gather(
        *(
            push_raw(world, gateway, command(ZERO, new, WORK_REF) + FLUSH + pack)
            for new in (first, second, first, second)
        )
    )
    assert sum(b"ok refs/heads/" in answer for answer in answers) == 1
    assert await world.forge.head() in (first, second)
    assert len(gateway.ledger.pushes) == 1


# How requests are made


def command(old: str, new: str, ref: str) -> bytes:
    return encode(f"{old} {new} {ref}\0".encode() + CAPABILITIES)


async def pack_of(world: AttackWorld, clone: Path, new: str, old: str) -> bytes:
    """Return a pack with what ``new`` has beside ``old``."""
    process = await asyncio.create_subprocess_exec(
        "git", "-C", str(clone), "pack-objects", "--stdout", "--revs", "-q",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(20):
        pack, _ = await process.communicate(f"{new}\n^{old}\n".encode())
    assert pack.startswith(b"PACK")
    return pack


async def push_raw(world: AttackWorld, gateway: Gateway, body: bytes, path: str = RECEIVE) -> bytes:
    head = (
        f"POST {urlsplit(gateway.url).path}{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        f"Content-Type: application/x-git-receive-pack-request\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return await world.send(gateway, head.encode() + body)


async def change(world: AttackWorld, clone: Path, path: str, content: str | None) -> None:
    """Commit a change of one file; ``None``: its removal."""
    file = clone / path
    if content is None:
        file.unlink()
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    await world.git(clone, "add", "-A")
    ran = await world.git(clone, "commit", "-q", "-m", f"change {path}")
    assert ran.code == 0, ran
