"""An agent that wants to change what another run checks out, or what its own next step borrows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))

from gateway_world import WORK_REF, git
from mirror_world import open_mirror_world

from agent_runner.gateway import mirror, mirror_service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mirror_world import MirrorWorld


@pytest.fixture
async def claimed(tmp_path: Path) -> AsyncIterator[MirrorWorld]:
    async with open_mirror_world(tmp_path) as world:
        yield world


SHA = "a" * 40


@pytest.mark.parametrize(
    "refs",
    [
        {"refs/tags/v1": SHA},
        {"refs/heads/../../../secrets": SHA},
        {"refs/heads/main:refs/heads/other": SHA},
        {"refs/heads/*": SHA},
        {"refs/heads/": SHA},
        {"+refs/heads/main": SHA},
        {"--upload-pack=/bin/sh": SHA},
        {"refs/heads/-x": SHA},
        {"refs/heads/a\nb": SHA},
        {"refs/pull/0/head": SHA},
        {"refs/pull/7/merge": SHA},
        {"refs/heads/main": "--all"},
        {"refs/heads/main": "main"},
        {"refs/heads/main": None},
        {"refs/heads/main": SHA + "\n"},
        {f"refs/heads/b{number}": SHA for number in range(5)},
        {},
        ["refs/heads/main"],
        "refs/heads/main",
    ],
)
async def test_ask_for_something_else(claimed: MirrorWorld, refs: Any) -> None:
    pod = await claimed.pod()
    before = len(claimed.forge.seen)
    async with aiohttp.ClientSession() as session:
        for path in ("mirror", "mirror/suspect"):
            answer = await session.post(f"{pod.gateway.url}/{path}", json={"refs": refs})
            assert answer.status == 400
    assert len(claimed.forge.seen) == before
    assert list(claimed.claim.iterdir()) == []


@pytest.mark.parametrize("path", ["mirror/../../x", "mirror/other/repository", "mirror?repository=a/b"])
async def test_ask_in_another_place(claimed: MirrorWorld, path: str) -> None:
    pod = await claimed.pod()
    url = f"{pod.gateway.url}/{path}"
    async with aiohttp.ClientSession() as session:
        answer = await session.post(url, json={"refs": {"refs/heads/main": claimed.forge_world.base}})
        assert answer.status == 404
        assert (await session.get(f"{pod.gateway.url}/mirror")).status == 404
        root = pod.gateway.url.rpartition("/")[0]
        assert (await session.post(f"{root}/mirror", json={"refs": {}})).status == 404
    assert list(claimed.claim.iterdir()) == []


async def test_ask_without_end(claimed: MirrorWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mirror_service, "MAX_FILLS", 3)
    pod = await claimed.pod()
    states = []
    async with aiohttp.ClientSession() as session:
        for number in range(5):
            refs = {"refs/heads/main": f"{number}" * 40}
            answer = await session.post(f"{pod.gateway.url}/mirror", json={"refs": refs})
            states.append(await answer.json())
        big = await session.post(f"{pod.gateway.url}/mirror", data=b"[" * 100_000)
        assert big.status == 400
    assert states[-1] == {"state": "unavailable", "reason": "the mirror was asked for 3 times"}


POISON = {
    "alternates": ("objects/info/alternates", "/tmp/poison/objects\n"),
    "http-alternates": ("objects/info/http-alternates", "http://127.0.0.1:9/poison\n"),
    "shallow": ("shallow", "{head}\n"),
    "garbage in shallow": ("shallow", "../../etc/passwd\n"),
    "grafts": ("info/grafts", "{head}\n"),
    "a folder for alternates": ("objects/info/alternates/x", "x"),
}


@pytest.mark.parametrize("what", list(POISON))
@pytest.mark.parametrize("cache", [True, False])
async def test_poison_what_the_next_step_borrows(
    claimed: MirrorWorld, monkeypatch: pytest.MonkeyPatch, what: str, cache: bool
) -> None:
    monkeypatch.setattr(mirror, "HISTORY_DELAY_SECONDS", 0.0)
    first = await claimed.pod(cache=cache)
    await first.prepare()
    if cache:
        await claimed.whole()
    (first.checkout / "file.txt").write_text("changed")
    await first.run("commit", "-a", "-m", "change")
    await first.run("push", "origin", f"HEAD:{WORK_REF}")
    head = await claimed.forge.head()
    name, text = POISON[what]
    file = first.checkout / ".git" / name
    if what == "a folder for alternates":
        file.parent.unlink(missing_ok=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.format(head=head))
    second = await claimed.pod(first, cache=cache)
    checkout = await second.prepare("fix", head)
    assert checkout.start_sha == head
    assert second.borrows is cache
    if cache:
        alternates = (second.checkout / ".git/objects/info/alternates").read_text()
        assert alternates == f"{claimed.current.objects}\n"
    assert not (second.checkout / ".git/objects/info/http-alternates").exists()
    assert not (second.checkout / ".git/info/grafts").exists()
    assert await second.run("merge-base", checkout.base_sha, head) == checkout.base_sha
    assert await second.run("status", "--porcelain") == ""


async def test_a_link_in_the_place_of_borrowed_files_writes_nowhere_else(
    claimed: MirrorWorld, tmp_path: Path
) -> None:
    first = await claimed.pod()
    await first.prepare()
    target = tmp_path / "target"
    target.write_text("mine")
    for name in ("objects/info/alternates", "shallow"):
        file = first.checkout / ".git" / name
        file.unlink(missing_ok=True)
        file.symlink_to(target)
    second = await claimed.pod(first)
    await second.prepare()
    assert target.read_text() == "mine"
    assert second.borrows


async def test_what_an_agent_pushes_changes_no_branch_of_the_mirror(claimed: MirrorWorld) -> None:
    pod = await claimed.pod()
    await pod.prepare()
    (pod.checkout / "file.txt").write_text("changed")
    await pod.run("commit", "-a", "-m", "change")
    await pod.run("push", "origin", f"HEAD:{WORK_REF}")
    head = await claimed.forge.head()
    async with aiohttp.ClientSession() as session:
        # The commit is a lie: the forge's own is what counts.
        refs = {"refs/heads/main": head}
        await session.post(f"{pod.gateway.url}/mirror", json={"refs": refs})
    shown = (await git(claimed.current.path, "for-each-ref", "--format=%(refname) %(objectname)")).stdout
    assert f"refs/asked/heads/main {claimed.forge_world.base}" in shown
    assert str(head) not in shown
