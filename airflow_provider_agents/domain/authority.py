"""Who may say what about a pull request: the one place where authority is defined.

Authority is the right to push to the repository. It is never inferred from a label, a mention, or being a
member of the organisation (agent-operator obeyed whoever wrote a comment).

=========== ==========================================================================
may         who
=========== ==========================================================================
object      people and apps with write access, other than those that we write as
approve     people with write access, other than those that we write as
command     the same people; a bot's comment is never a command, nor is our own, nor
            one that somebody other than its author edited last
=========== ==========================================================================

An app with write access may object, since the owner of the repository gave it that right and an objection
is the safe direction. It may not command: two bots that answer each other would never end. Since apps and
people with write access may edit the comments of others, an edited comment is no longer its author's word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    from collections.abc import Set

    from airflow_provider_agents.domain.pull_request import Comment, Review, ReviewThread

Permission = Literal["READ", "TRIAGE", "WRITE", "MAINTAIN", "ADMIN"]
"""A person's right to a repository, in GitHub's words, weakest first."""
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

_BOTS = frozenset(
    {"dependabot", "renovate", "github-actions", "github-merge-queue", "copilot", "web-flow", "ghost"}
)
"""Logins that GitHub shows without the suffix ``[bot]`` in GraphQL. ``ghost`` is a deleted account."""


def at_least(permission: str | None, wanted: Permission) -> bool:
    """Tell whether ``permission`` includes ``wanted``; one that is unknown includes nothing."""
    known = (permission or "").upper()
    return any(known == name for name in PERMISSIONS[PERMISSIONS.index(wanted) :])


def may_write(permission: str | None) -> bool:
    """Tell whether somebody with ``permission`` may push, and so has a say."""
    return at_least(permission, "WRITE")


def is_bot(login: str) -> bool:
    """Tell whether an account is an app or stands for nobody."""
    name = login.casefold()
    return not name or name.endswith("[bot]") or name in _BOTS


def is_ours(author: str, own: bool, ours: Set[str]) -> bool:
    """Tell whether we wrote it: with the reading credential, or as one of the logins ``ours``."""
    return own or author.casefold() in {login.casefold() for login in ours}


def may_command(comment: Comment, ours: Set[str] = frozenset()) -> bool:
    """Tell whether a comment may be a command."""
    if not comment.can_write or comment.edited_by:
        return False
    return not is_ours(comment.author, comment.own, ours) and not is_bot(comment.author)


def objects(review: Review, ours: Set[str] = frozenset()) -> bool:
    """Tell whether a review stands against the merge."""
    told = review.state == "CHANGES_REQUESTED" and review.can_write
    return told and not is_ours(review.author, review.own, ours)


def approves(review: Review, ours: Set[str] = frozenset()) -> bool:
    """Tell whether a review is a person's yes: not the code's own author's, and no bot's."""
    told = review.state == "APPROVED" and review.can_write
    return told and not is_ours(review.author, review.own, ours) and not is_bot(review.author)


def asks(thread: ReviewThread, ours: Set[str] = frozenset()) -> bool:
    """Tell whether an unresolved thread stands against the merge: somebody with write access opened it.

    Threads of the review agent do not: its verdict on the head counts instead, and it never resolves them.
    """
    if not thread.started_by_writer:
        return False
    first = thread.comments[0]
    return not is_ours(first.author, first.own, ours)
