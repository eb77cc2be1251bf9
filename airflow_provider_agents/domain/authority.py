"""Who may do what: the one place where authority is defined.

What an installation wrote down (:class:`.authority_rules.AuthorityRules`) is held against what a person is
(:class:`.authority_rules.Standing`): :func:`may`. By default the right to push to the repository is needed for
everything. Authority is never inferred from a label or a mention (agent-operator obeyed whoever wrote a comment).

=========== ==========================================================================
may         who
=========== ==========================================================================
start …     whom the rule of the action names (:func:`may`); a bot only by its login, a
            deleted account never
command     whom the rule of the command's action names, other than those that we write
            as, and nobody where somebody other than its author edited the comment last
object      people and apps with write access, other than those that we write as
approve     people with write access, other than those that we write as (a review)
=========== ==========================================================================

Reviews are GitHub's own right and no rule changes it. An app with write access may object, since the owner of
the repository gave it that right and an objection is the safe direction. It may not command unless a rule lists
it: two bots that answer each other would never end. Since apps and people with write access may edit the comments
of others, an edited comment is no longer its author's word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing

if TYPE_CHECKING:
    from collections.abc import Sequence, Set

    from airflow_provider_agents.domain.authority_rules import Action, PermissionName, Who
    from airflow_provider_agents.domain.pull_request import Comment, Review, ReviewThread

Permission = Literal["READ", "TRIAGE", "WRITE", "MAINTAIN", "ADMIN"]
"""A person's right to a repository, in GitHub's words, weakest first."""
PERMISSIONS: tuple[Permission, ...] = get_args(Permission)

_BOTS = frozenset(
    {"dependabot", "renovate", "github-actions", "github-merge-queue", "copilot", "web-flow", "ghost"}
)
"""Logins that GitHub shows without the suffix ``[bot]`` in GraphQL. ``ghost`` is a deleted account."""


BY_WRITERS = AuthorityRules()
"""What holds where nothing is written down."""

_DELETED = "ghost"
_ACTIONS: tuple[Action, ...] = ("start", "approve", "steer", "merge", "context")
_ASSOCIATIONS = {
    "owner": "the owner",
    "member": "members",
    "collaborator": "collaborators",
    "contributor": "contributors",
}
_MOST_NAMED = 5
"""Users whom a refusal names; it goes where everybody reads it."""


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


def admits(who: Who, standing: Standing) -> bool:
    """Tell whether ``who`` names somebody of this standing.

    A bot is named by its login or another of its names only. A deleted account is nobody.
    """
    names = {name.casefold() for name in (standing.login, *standing.names) if name}
    if not standing.login or standing.login.casefold() == _DELETED:
        return False
    if names & {user.casefold() for user in who.users}:
        return True
    if standing.is_bot or is_bot(standing.login):
        return False
    if who.permission is not None and at_least(standing.permission, _in_capitals(who.permission)):
        return True
    if {team.casefold() for team in standing.teams} & {team.casefold() for team in who.teams}:
        return True
    return standing.association is not None and standing.association in who.association


def may(standing: Standing, action: Action, rules: AuthorityRules) -> bool:
    """Tell whether somebody may do something under these rules."""
    return admits(_who(action, rules), standing)


def who_may(action: Action, rules: AuthorityRules) -> str:
    """Return in words who may do something, to stand behind "is for": ``people with write access``."""
    who = _who(action, rules)
    parts = []
    if who.permission is not None:
        parts.append(f"people with {who.permission} access")
    if who.teams:
        parts.append(f"members of {_either(who.teams)}")
    parts += [_ASSOCIATIONS[name] for name in dict.fromkeys(who.association)]
    if who.users:
        parts.append(_either(who.users) if len(who.users) <= _MOST_NAMED else "those whom its settings list")
    return _either(parts) if parts else "nobody"


def named_teams(rules: AuthorityRules) -> frozenset[str]:
    """Return the teams of all rules: those that a :class:`.Standing` has to tell of."""
    return frozenset(team for action in _ACTIONS for team in _who(action, rules).teams)


def standing_of(comment: Comment) -> Standing:
    """Return what the author of a comment is; where that was not asked, whether he may push is all that is known."""
    if comment.standing is not None:
        return comment.standing
    return Standing(login=comment.author, permission="write" if comment.can_write else None)


def may_command(
    comment: Comment,
    ours: Set[str] = frozenset(),
    *,
    action: Action = "steer",
    rules: AuthorityRules = BY_WRITERS,
) -> bool:
    """Tell whether a comment may be a command.

    :param action: what the command does.
    """
    if comment.edited_by or is_ours(comment.author, comment.own, ours):
        return False
    return may(standing_of(comment), action, rules)


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


def _who(action: Action, rules: AuthorityRules) -> Who:
    who: Who = getattr(rules, action)
    return who


def _in_capitals(permission: PermissionName) -> Permission:
    return next(name for name in PERMISSIONS if name == permission.upper())


def _either(names: Sequence[str]) -> str:
    return " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
