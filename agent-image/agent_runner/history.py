"""How much of the history a checkout has: what a merge needs, fetched a part at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.console import say

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_runner.git import Git

PARTS = ("--depth=50", "--depth=500", "--unshallow")
"""How far the history goes, part by part, until it is enough."""


def reach_merge_base(git: Git, branches: Mapping[str, str], base: str, tip: str) -> None:
    """Fetch history until it shows where two commits come from, or there is no more of it.

    :param branches: name in ``refs/remotes/origin`` → full name of the ref at the forge, as for
        :meth:`~agent_runner.git.Git.fetch_refs`.
    :raises GitError: the forge does not give it.
    """
    for part in PARTS:
        if not (git.directory / "shallow").exists() or git.attempt("merge-base", base, tip).ok:
            return
        git.fetch_history(branches, part)
        say(f"checkout: fetched more of the history ({part.removeprefix('--')})")
