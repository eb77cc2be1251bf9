"""Git LFS: the large files of a checkout, where the image has the program for it.

The gateway gives them and takes none: what an agent changes in such a file cannot be published.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.console import one_line
from agent_runner.failure import StepCancelled, StepFailed

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_runner.git import Git

FILTER = {
    "clean": "git-lfs clean -- %f",
    "smudge": "git-lfs smudge --skip -- %f",
    "process": "git-lfs filter-process --skip",
    "required": "true",
}
"""Settings of ``filter.lfs``: without them git would take the content of a large file for a change of it."""


def use_lfs(git: Git, say: Callable[[str], None], *, content: bool) -> bool:
    """Let git know large files, and put their content in the place of their pointers; a failure is only said.

    Takes at most :data:`~agent_runner.git.LOCAL_SECONDS`.

    :param content: whether their content is wanted at all.
    :return: whether there are such files and git treats them as what they are from now on.
    :raises StepCancelled: a stop was asked for.
    """
    paths = (".gitattributes", ":(glob)**/.gitattributes")
    if not git.attempt("grep", "--quiet", "--fixed-strings", "filter=lfs", "HEAD", "--", *paths).ok:
        return False
    if not git.has_program("git-lfs"):
        say("checkout: files in Git LFS stay pointers: git-lfs is not on the PATH of the image")
        return False
    git.configure(
        f"lfs.url={git.url}/info/lfs",
        "lfs.locksverify=false",
        *(f"filter.lfs.{name}={value}" for name, value in FILTER.items()),
    )
    if not content:
        say("checkout: files in Git LFS stay pointers, as the run asks for")
        return True
    try:
        output = git.attempt("lfs", "pull")
    except StepCancelled:
        raise
    except StepFailed as error:
        say(f"checkout: files in Git LFS stay pointers: {error}")
    else:
        if output.ok:
            say("checkout: files in Git LFS are there")
        else:
            say(f"checkout: some files in Git LFS stay pointers: {one_line(output.stderr, 300)}")
    return True
