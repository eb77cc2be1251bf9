"""The steps of agents, as a script: what a fix step does to the branch, and what a review step says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from landing_forge import BRANCH, FILE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from landing_forge import Forge


class Agent:
    """Plays one step after the other.

    A fix step is one of:

    ``good``
        pushes a commit, and resolves a conflict.
    ``leaves``
        pushes a commit that leaves a conflict.
    ``nothing``
        pushes nothing.
    ``dies``
        pushes, and fails.
    """

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._fixes = list(forge.history.fixes)
        self._reviews = list(forge.history.reviews)
        self._count = 0

    def fix(self, feedback: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Play a fix step; ``None`` where it fails."""
        mode = self._fixes.pop(0) if self._fixes else "good"
        if mode != "nothing":
            self._forge.wait_for(self._push(resolve=mode == "good"))
        self._forge.advance(30)
        if mode == "dies":
            return None
        labels = (feedback or {}).get("threads") or {}
        replies = [{"thread": label, "reply": f"Done as {label} says."} for label in labels]
        head = self._forge.wait_for(self._forge.repository.git.branch(BRANCH))
        return {"head_sha": head, "output": {"thread_replies": replies}}

    def review(self, head_sha: str) -> dict[str, Any] | None:
        """Play a review step; ``None`` where the head moved on meanwhile."""
        verdict = self._reviews.pop(0) if self._reviews else "approve"
        self._forge.advance(30)
        if self._forge.pull.head_ref_oid != head_sha:
            return None
        return {"head_sha": head_sha, "verdict": verdict, "summary": f"I say {verdict}."}

    async def _push(self, *, resolve: bool) -> None:
        self._count += 1
        files = {FILE: f"1\nround {self._count}\n3\n"}
        pull = self._forge.pull
        base = await self._forge.repository.git.branch(pull.base_ref_name)
        assert base is not None
        conflict = (await self._forge.repository.git.merge_tree(base, pull.head_ref_oid)).conflicts
        if conflict and resolve:
            await self._forge.act("agent", "force_push", files=files)
        elif conflict:
            files = {"other.py": f"{self._count}\n"}
            await self._forge.act("agent", "push_commit", files=files)
        else:
            await self._forge.act("agent", "push_commit", files=files)
