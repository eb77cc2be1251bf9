"""The checkout of a step: made, or brought back to a known state, at the commit that the step starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_runner.borrowing import borrow, borrows, cut_off
from agent_runner.console import say
from agent_runner.failure import StepCancelled, StepFailed, failed
from agent_runner.files import remove
from agent_runner.git import Git, GitError
from agent_runner.history import reach_merge_base
from agent_runner.mirror_request import Mirror, MirrorRequest, NoMirrorError
from agent_runner.setup_script import clean_arguments, kept_paths

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.contract import StepSpec

UNFINISHED = {
    "rebase-merge": "rebase",
    "rebase-apply": "rebase",
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
"""Files of ``.git`` that stand for an operation which was begun and not ended."""


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout as the step found it."""

    path: Path
    base_sha: str
    """Commit of the base branch."""
    start_sha: str
    """Commit that is checked out: of the work branch, or of the base branch where that does not exist yet."""
    kept: tuple[str, ...] = ()
    """Ignored paths that the set-up script made, and that cleaning leaves alone."""
    lfs: bool = False
    """True where there are files in Git LFS, and git treats them as what they are."""
    mirror: Mirror | None = None
    """Where its objects are borrowed from."""


def prepare(git: Git, spec: StepSpec) -> Checkout:
    """Check out the work branch, or the base branch where the work branch is to be made.

    Objects are borrowed from the repository's mirror, where there is one. Without it, or where that fails, the
    checkout has its own: the commits that are needed, and of their history as much as shows where the work
    branch comes from.

    :raises StepFailed: the base branch is missing, the work branch is not at ``spec.expected_head``, or the
        forge cannot be read.
    """
    git.checkout.parent.mkdir(parents=True, exist_ok=True)
    wanted = _wanted(git, spec)
    if git.mirror_folder is not None:
        checkout = _prepare_with_mirror(git, spec, wanted, git.mirror_folder)
        if checkout is not None:
            return checkout
    return _prepare(git, spec, wanted, None)


def _prepare_with_mirror(git: Git, spec: StepSpec, wanted: _Wanted, folder: Path) -> Checkout | None:
    """Return the checkout, or ``None`` where it has to be made without the mirror."""
    request = MirrorRequest(folder, git.gateway, wanted.commits)
    try:
        mirror = request.wait(git.supervision.deadline, git.supervision.stop)
    except NoMirrorError as error:
        say(f"checkout: WARNING: made without the cache, which takes longer: {error}")
        return None
    try:
        return _prepare(git, spec, wanted, mirror)
    except StepCancelled:
        raise
    except GitError as error:
        if error.failure.code != "git_failed":
            raise
        say(
            "checkout: WARNING: made without the cache, which takes longer: what was borrowed from the mirror"
            f" does not do, the gateway checks it ({error})"
        )
        request.suspect()
    return None


def _prepare(git: Git, spec: StepSpec, wanted: _Wanted, mirror: Mirror | None) -> Checkout:
    git.partial = mirror is None
    # One without history gets commits without theirs after this checkout was told where it is cut off.
    git.trusts_alternates = mirror is None or not cut_off(mirror.path)
    how = " with borrowed objects" if mirror is not None else ""
    # One that has all of its objects does not become one that borrows, nor the other way round.
    if _is_ours(git, spec) and borrows(git.directory) == (mirror is not None):
        try:
            checkout = _check_out(git, spec, wanted, mirror)
        except StepCancelled:
            raise
        except (GitError, OSError) as error:
            say(f"checkout: the one in the workspace cannot be used again, making a new one ({error})")
        else:
            say(f"checkout: {spec.repository} at {checkout.start_sha[:12]}, reused{how}")
            return checkout
    remove(git.checkout)
    git.init(spec.work_branch)
    checkout = _check_out(git, spec, wanted, mirror, fresh=True)
    say(f"checkout: {spec.repository} at {checkout.start_sha[:12]}{how}")
    return checkout


def discard_changes(git: Git, checkout: Checkout) -> None:
    """Undo everything that was done in the checkout since :func:`prepare`, commits excepted."""
    git.run("reset", "--hard", "--quiet", checkout.start_sha)
    git.run("clean", "-ffdx", "--quiet", *clean_arguments(checkout.kept))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the step needs of the forge."""

    branches: dict[str, str]
    """Branch → ref."""
    commits: dict[str, str]
    """Ref → commit."""


def _wanted(git: Git, spec: StepSpec) -> _Wanted:
    """Return what to fetch; raise where the forge's branches are not as the step needs them."""
    base = f"refs/heads/{spec.base_branch}"
    work = (
        f"refs/heads/{spec.work_branch}"
        if spec.pull_request is None
        else f"refs/pull/{spec.pull_request}/head"
    )
    found = git.remote_refs(base, work)
    if base not in found:
        raise failed("base_branch_missing", f"{spec.repository} has no branch {spec.base_branch}.")
    actual = found.get(work)
    reads_base_only = spec.expected_head is None and spec.step in ("plan", "test")
    if actual != spec.expected_head and not reads_base_only:
        raise head_moved(spec, actual)
    branches = {spec.base_branch: base} | ({spec.work_branch: work} if spec.expected_head else {})
    return _Wanted(branches, {ref: found[ref] for ref in branches.values()})


def head_moved(spec: StepSpec, actual: str | None) -> StepFailed:
    """Return the failure for a work branch that is at ``actual`` instead of ``spec.expected_head``."""
    what = spec.work_branch if spec.pull_request is None else f"Pull request #{spec.pull_request}"
    return failed(
        "head_moved",
        f"{what} is at {actual or 'no commit (it does not exist)'}, expected was "
        f"{spec.expected_head or 'no commit (not to exist)'}: somebody else changed the branch.",
    )


def _check_out(
    git: Git, spec: StepSpec, wanted: _Wanted, mirror: Mirror | None, *, fresh: bool = False
) -> Checkout:
    """Fetch and check out.

    :param fresh: the checkout is empty.
    """
    git.restore_config(spec.work_branch)
    _forget_leftovers(git.directory)
    borrow(git.directory, mirror)
    if fresh and mirror is None:
        # With all files, which would be fetched in a moment anyway.
        git.fetch_refs(wanted.branches, "--depth=1", "--no-filter")
    elif mirror is None or not _found_in_mirror(git, wanted):
        git.fetch_history(wanted.branches)
    base = git.commit_id(f"refs/remotes/origin/{spec.base_branch}")
    if base is None:
        raise GitError(failed("git_failed", f"{spec.base_branch} was not fetched.").failure)
    start = base
    if spec.expected_head:
        start = git.commit_id(f"refs/remotes/origin/{spec.work_branch}") or ""
        if start != spec.expected_head:
            raise head_moved(spec, start or None)
        reach_merge_base(git, wanted.branches, base, start)
    git.run("checkout", "--quiet", "--force", "--no-track", "-B", spec.work_branch, start)
    kept = kept_paths(git, spec, base)
    if not fresh:
        git.run("clean", "-ffdx", "--quiet", *clean_arguments(kept))
    return Checkout(path=git.checkout, base_sha=base, start_sha=start, kept=kept, mirror=mirror)


def _found_in_mirror(git: Git, wanted: _Wanted) -> bool:
    """Point the remote branches to the commits that the forge named, if the mirror has them; say whether it does.

    Asking the forge for them again would cost a fetch that brings nothing.
    """
    lines = "".join(
        f"update refs/remotes/origin/{branch} {wanted.commits[ref]}\n"
        for branch, ref in wanted.branches.items()
    )
    # Refused as a whole where one of the commits is not there.
    return git.attempt("update-ref", "--no-deref", "--stdin", stdin=lines.encode()).ok


def _is_ours(git: Git, spec: StepSpec) -> bool:
    """Say whether the workspace holds a checkout of the step's repository."""
    if git.checkout.is_symlink() or git.directory.is_symlink() or not git.directory.is_dir():
        return False
    return git.origin().endswith(f"/git/{spec.repository}.git")


def _forget_leftovers(directory: Path) -> None:
    """Remove what an earlier step left: operations begun, locks, hooks, the index with its hidden bits."""
    for name in (*UNFINISHED, "index", "hooks", "info"):
        remove(directory / name)
    remove_locks(directory)


def remove_locks(directory: Path) -> None:
    """Remove the locks of git processes that were killed; none may be running.

    :param directory: the ``.git`` folder.
    """
    for lock in (*directory.glob("*.lock"), *directory.glob("refs/**/*.lock")):
        remove(lock)
