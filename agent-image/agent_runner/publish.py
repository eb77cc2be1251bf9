"""From what the agent left in its checkout to the work branch on the forge."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_runner.checkout import UNFINISHED, Checkout, head_moved, remove_locks
from agent_runner.console import one_line, say
from agent_runner.draft import MAX_FILES, Draft
from agent_runner.failure import failed
from agent_runner.history import reach_merge_base
from agent_runner.leftovers import commit_leftovers

if TYPE_CHECKING:
    from agent_runner.contract import Outcome, StepSpec
    from agent_runner.git import Git

_MARKER = re.compile(rb"^(.*):\d+: leftover conflict marker\.?$")
_REFUSED = re.compile(r"^!\t[^\t]*\t\[(?P<kind>[a-z ]+)\](?: \((?P<reason>.*)\))?$", re.MULTILINE)
_MAX_SUBJECT = 72
_NO_MERGE_BASE = 1
UNFINISHED_PREFIX = "WIP: "
"""Starts the message of a commit of unfinished work."""


def publish(
    git: Git, spec: StepSpec, checkout: Checkout, draft: Draft, *, unfinished: bool = False
) -> Outcome:
    """Commit what is uncommitted, check the work, and push it.

    The agent may have committed, rebased, left another branch checked out, or pushed by itself.

    :param draft: gets commits, changed files and the new head, once they are on the forge.
    :param unfinished: the agent did not come to its end; what is committed for it says so.
    :return: ``succeeded``, or ``no_changes`` where the agent changed nothing.
    :raises StepFailed: an operation is unfinished, conflict markers are left, the history does not follow
        from where the step began, or the push was refused.
    """
    git.restore_config(spec.work_branch)
    remove_locks(git.directory)
    draft.head_sha = checkout.start_sha
    _refuse_unfinished(git)
    commit_leftovers(git, (UNFINISHED_PREFIX if unfinished else "") + _message(spec, draft))
    remote = git.remote_heads(spec.base_branch, spec.work_branch)
    on_forge = remote.get(spec.work_branch)
    base = remote.get(spec.base_branch, checkout.base_sha)
    # A mirror without history may have the commit, and not what it follows from.
    if git.commit_id(base) is None or not (git.trusts_alternates or base == checkout.base_sha):
        git.fetch(spec.base_branch)
    reach_merge_base(git, {spec.base_branch: f"refs/heads/{spec.base_branch}"}, base, checkout.start_sha)
    tip = _tip(git, spec, checkout, base)
    if tip is None:
        if on_forge not in (spec.expected_head, checkout.start_sha):
            raise head_moved(spec, on_forge)
        return "no_changes"
    work = _measure(git, base, tip)
    _refuse_markers(git, work)
    if on_forge == tip:
        say(f"publish: {tip[:12]} is on {spec.work_branch} already")
    else:
        _push(git, spec, tip, on_forge)
        say(
            f"publish: pushed {tip[:12]} to {spec.work_branch}: {work.commits} commits, {len(work.files)} files"
        )
    draft.commits = work.commits
    draft.files_changed = work.files
    draft.head_sha = tip
    return "succeeded"


@dataclass(frozen=True, slots=True)
class _Work:
    """The commits of a branch beside its base."""

    fork: str
    tip: str
    commits: int
    files: tuple[str, ...]


def _refuse_unfinished(git: Git) -> None:
    for name, operation in UNFINISHED.items():
        if (git.directory / name).exists():
            raise failed("unfinished_rebase", f"The agent left a {operation} unfinished.")
    unmerged = git.fields("ls-files", "--unmerged", "-z")
    if unmerged:
        names = sorted({entry.partition("\t")[2] for entry in unmerged})
        raise failed(
            "unfinished_rebase",
            f"The agent left files with unresolved conflicts: {', '.join(names[:10])}.",
        )


def _message(spec: StepSpec, draft: Draft) -> str:
    if spec.commit_message and spec.commit_message.strip():
        return spec.commit_message
    title = (draft.output or {}).get("title")
    words = title if isinstance(title, str) and title.strip() else draft.summary.strip().partition("\n")[0]
    return one_line(words, _MAX_SUBJECT) or f"Change {spec.work_branch}"


def _tip(git: Git, spec: StepSpec, checkout: Checkout, base: str) -> str | None:
    """Return the commit to publish, or ``None`` where nothing was changed.

    It is what is checked out; where that holds nothing new, the local work branch.

    :param base: commit of the base branch now.
    """
    left = [git.commit_id("HEAD"), git.commit_id(f"refs/heads/{spec.work_branch}")]
    for tip in filter(None, left):
        if tip == checkout.start_sha or git.is_ancestor(tip, base):
            continue
        contains_start = git.is_ancestor(checkout.start_sha, tip)
        if contains_start and git.attempt("diff", "--quiet", "--no-ext-diff", checkout.start_sha, tip).ok:
            continue  # empty commits only
        if contains_start or git.is_ancestor(checkout.base_sha, tip):
            return tip
        raise failed(
            "unrelated_history",
            f"The agent left {tip[:12]}, which contains neither the commit it started from"
            f" ({checkout.start_sha[:12]}) nor the base branch.",
        )
    lost = all(git.is_ancestor(tip, base) for tip in filter(None, left))
    if lost and not git.is_ancestor(checkout.start_sha, base):
        raise failed(
            "work_discarded",
            f"The agent reset {spec.work_branch} to the base branch, which would throw its work away.",
        )
    return None


def _measure(git: Git, base: str, tip: str) -> _Work:
    arguments = ("merge-base", base, tip)
    found = git.attempt(*arguments)
    if found.returncode == _NO_MERGE_BASE:
        raise failed(
            "head_moved",
            f"The base branch was replaced: {base[:12]} has no commit in common with {tip[:12]}, the step's work.",
        )
    if not found.ok:
        raise git.error(arguments, found)
    fork = found.text.partition("\n")[0]
    names = git.fields("diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", fork, tip)
    return _Work(
        fork=fork,
        tip=tip,
        commits=int(git.run("rev-list", "--count", f"{base}..{tip}")),
        files=tuple(names),
    )


def _refuse_markers(git: Git, work: _Work) -> None:
    """Raise where a changed file holds conflict markers.

    ``git diff --check`` also takes a heading underlined with seven ``=`` for one, so that a file counts only
    if it has an opening or closing marker too.
    """
    checked = git.attempt("diff", "--check", "--no-ext-diff", "--no-textconv", work.fork, work.tip).stdout
    suspects = {match[1] for line in checked.split(b"\n") if (match := _MARKER.match(line))}
    if not suspects:
        return
    paths = [f":(literal){path.decode(errors='surrogateescape')}" for path in sorted(suspects)[:MAX_FILES]]
    found = git.attempt("grep", "-l", "-z", "-E", "^(<<<<<<<|>>>>>>>) ", work.tip, "--", *paths).stdout
    names = [name.partition(b":")[2].decode(errors="replace") for name in found.split(b"\0") if name]
    if names:
        raise failed("conflict_markers", f"The agent left conflict markers in {', '.join(names[:10])}.")


def _push(git: Git, spec: StepSpec, tip: str, on_forge: str | None) -> None:
    """Push ``tip``, if the work branch on the forge still is what the agent knew."""
    if on_forge not in (spec.expected_head, None) and git.commit_id(str(on_forge)) is None:
        raise head_moved(spec, on_forge)
    ref = f"refs/heads/{spec.work_branch}"
    output = git.network(
        lambda: [
            "push",
            "--porcelain",
            "--no-verify",
            "--no-follow-tags",
            "--recurse-submodules=no",
            f"--force-with-lease={ref}:{on_forge or ''}",
            git.url,
            f"{tip}:{ref}",
        ],
        check=False,
    )
    # A push may have arrived although its answer was lost.
    if output.ok or git.remote_heads(spec.work_branch).get(spec.work_branch) == tip:
        return
    refused = _REFUSED.search(output.text)
    if refused is None:
        raise git.error(["push"], output)
    if refused["kind"] == "rejected" and refused["reason"] == "stale info":
        raise head_moved(spec, git.remote_heads(spec.work_branch).get(spec.work_branch))
    said = " / ".join(
        line.removeprefix("remote: ").strip()
        for line in output.stderr.splitlines()
        if line.startswith("remote: ") and line.removeprefix("remote: ").strip()
    )
    raise failed(
        "push_refused",
        f"The push to {spec.work_branch} was refused: {refused['reason'] or refused['kind']}"
        + (f" ({one_line(said)})" if said else ""),
    )
