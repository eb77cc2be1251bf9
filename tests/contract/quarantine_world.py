"""Pushes with protected paths: making commits, and what refusing or letting them through must look like."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.gateway.server import Gateway

from gateway_world import BRANCH, World, git

CI = ".github/workflows/ci.yml"


async def workflow(world: World, content: str, parent: str, branch: str = "main") -> str:
    """Put a person's commit with a workflow on a branch of the forge."""
    blob = await world.forge.store(content)
    return await world.forge.commit_files(f"refs/heads/{branch}", parent, {CI: blob, "README": blob})


async def change(clone: Path, path: str, content: str | None = "evil") -> str:
    """Commit a change of one file; ``None``: its removal."""
    file = clone / path
    if content is None:
        file.unlink()
    else:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    await git(clone, "add", "-A")
    await git(clone, "commit", "-q", "-m", f"change {path}")
    return (await git(clone, "rev-parse", "HEAD")).stdout.strip()


async def refused(world: World, gateway: Gateway, clone: Path, *said: str) -> str:
    """Push, which must be refused; return what git printed."""
    before = await world.forge.head()
    ran = await git(clone, "push", "--force", "origin", f"HEAD:{BRANCH}", check=False)
    assert ran.code == 1, ran
    assert "[remote rejected]" in ran.stderr
    for words in said:
        assert words in ran.stderr, ran.stderr
    assert await world.forge.head() == before
    assert gateway.ledger.pushes == ()
    assert not world.spy(), "a refused push must not reach the forge"
    assert not (world.folder / "scratch" / "quarantine" / "push").exists()
    return ran.stderr


async def allowed(world: World, clone: Path) -> str:
    head = (await git(clone, "rev-parse", "HEAD")).stdout.strip()
    await git(clone, "push", "--force", "origin", f"HEAD:{BRANCH}")
    assert await world.forge.head() == head
    assert not (world.folder / "scratch" / "quarantine" / "push").exists()
    return head
