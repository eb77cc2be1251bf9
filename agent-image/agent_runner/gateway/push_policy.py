"""Which pushes are let through. A decision about values: no network, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent_runner.gateway.push_request import Command, PushRequest, printable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from agent_runner.contract import GatewayConfig
    from agent_runner.gateway.pushed_changes import Violation


@dataclass(frozen=True, slots=True)
class Verdict:
    """Why a push is refused."""

    reasons: tuple[str, ...]
    """One line for each command, in their order; git prints it beside the ref."""
    advice: str
    """What the pusher can do instead; git prints it with ``remote:``."""


def judge(request: PushRequest, config: GatewayConfig, own_commits: Collection[str]) -> Verdict | None:
    """Return why ``request`` is refused, or ``None`` where it may pass.

    One bad command refuses the whole push: a part of it may make no sense without the rest.

    :param own_commits: commits that this gateway itself has put on the work branch. Together with
        ``config.expected_head`` they are what the branch may be moved away from, so that no commit of
        anyone else is ever overwritten or built upon unseen.
    """
    if request.has_options:
        return _all(request, "push options are not allowed", "Push again without --push-option.")
    faults = [_fault(command, config, own_commits) for command in request.commands]
    if not any(faults):
        return None
    reasons = tuple(fault or "not pushed: another ref of this push was refused" for fault in faults)
    if not config.push:
        advice = "This step only reads the repository. Do not try to push."
    elif any(fault and fault.startswith(_MOVED) for fault in faults):
        advice = (
            f"Somebody else has pushed to {config.work_branch}. Your commits stay in the local repository; "
            "do not try to overwrite the branch. Stop and report that the branch has moved."
        )
    else:
        advice = f"This step may only push commits to the branch {config.work_branch}."
    return Verdict(reasons, advice)


_MOVED = "stale:"
_MOST_NAMED = 5
"""A push may name thousands of refs, and each of them is the agent's text."""
_SHOWN = 3
"""Paths and commits that a refusal names."""


def _fault(command: Command, config: GatewayConfig, own_commits: Collection[str]) -> str | None:
    if not config.push:
        return "this step may not push"
    if command.ref != f"refs/heads/{config.work_branch}":
        return f"only refs/heads/{config.work_branch} may be pushed"
    if command.is_delete:
        return "the work branch may not be deleted"
    if command.is_create:
        if config.expected_head is None:
            return None
        return f"{_MOVED} the branch is gone from the forge, it was at {config.expected_head[:12]}"
    if command.old == config.expected_head or command.old in own_commits:
        return None
    found = f"the branch is at {command.old[:12]}, which this step did not push"
    if config.expected_head is None:
        return f"{_MOVED} {found}; it did not exist"
    return f"{_MOVED} {found}; expected {config.expected_head[:12]}"


def _all(request: PushRequest, reason: str, advice: str) -> Verdict:
    return Verdict((reason,) * len(request.commands), advice)


def protected_paths_verdict(found: Sequence[Violation]) -> Verdict:
    """Return the refusal of a push of one ref that changes protected paths.

    :param found: at least one.
    """
    paths = list(dict.fromkeys(violation.path for violation in found))
    shown = [printable(path, 80) for path in paths[:_SHOWN]]
    more = f" (+{len(paths) - len(shown)} more)" if len(paths) > len(shown) else ""
    commits = list(dict.fromkeys(violation.commit[:12] for violation in found))
    named = ", ".join(commits[:_SHOWN]) + (" and others" if len(commits) > _SHOWN else "")
    advice = (
        "This step may not change these files, not even for a while: no commit of a push may touch them.\n"
        f"They are changed by {named}.\n"
        "Make these commits anew without them: `git reset --soft` to the commit before the first of these, "
        "`git restore --staged --worktree --source=<that commit>` for the files, then commit again and push.\n"
        "A merge has to take the base branch's version of them. If the task cannot be done without changing "
        "them, stop and say so."
    )
    return Verdict((f"protected paths: {', '.join(shown)}{more}",), advice)


def refusal_text(request: PushRequest, verdict: Verdict) -> str:
    """Return one line for the ledger that names the first refs and why each was refused."""
    pairs = list(zip(request.commands, verdict.reasons, strict=True))
    texts = [
        f"push {printable(command.ref, 80)} {command.old[:12]}..{command.new[:12]}: {reason}"
        for command, reason in pairs[:_MOST_NAMED]
    ]
    if more := len(pairs) - _MOST_NAMED:
        texts += [f"and {more} more refs"] if more > 0 else []
    return "; ".join(texts)
