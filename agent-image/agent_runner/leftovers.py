"""What an agent left uncommitted: put into a commit, without running anything that it configured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from agent_runner.console import say

if TYPE_CHECKING:
    from agent_runner.git import Git

_GITLINK = "160000"


def commit_leftovers(git: Git, message: str) -> None:
    """Commit what is uncommitted, on whatever is checked out.

    Repositories inside the checkout that are no submodules are left out. Of a submodule only the commit that
    it is at is looked at: for more, git would run what the submodule's own configuration names.
    """
    submodules = _populated_submodules(git)
    git.run("add", "--all", "--", ".", *(f":(exclude,literal){path}" for path in submodules))
    for path in submodules:
        _record(git, path)
    fields = git.fields("diff", "--cached", "--raw", "--no-abbrev", "--no-renames", "-z")
    changes = list(zip(fields[::2], fields[1::2], strict=False))
    nested = [name for modes, name in changes if modes.split()[:2] == [":000000", _GITLINK]]
    for name in nested:
        say(f"publish: {name} is a repository of its own and is left out")
        git.run("rm", "--cached", "--force", "--quiet", "--", f":(literal){name}")
    if len(changes) == len(nested):
        return
    git.run(
        "commit",
        "--quiet",
        "--no-verify",
        "--no-gpg-sign",
        "--file=-",
        stdin=message.encode(errors="replace"),
    )
    say("publish: committed what the agent had left uncommitted")


def _populated_submodules(git: Git) -> list[str]:
    """Return the folders of the submodules that are checked out."""
    entries = (entry.partition("\t") for entry in git.fields("ls-files", "--stage", "-z"))
    paths = [path for facts, _, path in entries if facts.startswith(f"{_GITLINK} ")]
    return [path for path in paths if os.path.lexists(git.checkout / path / ".git")]


def _record(git: Git, path: str) -> None:
    """Put the commit that a submodule is at into the index."""
    commit = git.head_of(git.checkout / path / ".git")
    if commit is not None:
        git.run("update-index", "--cacheinfo", f"{_GITLINK},{commit},{path}")
