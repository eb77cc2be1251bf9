"""Acts about issues as such: who they are assigned to, where they are, who may still comment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github import issue_changes, issues
from demo.github.act_subjects import comment_of, subject_of
from demo.github.errors import ApiError, not_found
from demo.github.state import Issue

if TYPE_CHECKING:
    from demo.github.act_subjects import Act
    from demo.github.forge import Forge
    from demo.github.state import Repository, User


def issue_of(repository: Repository, values: dict[str, Any], name: str = "number") -> Issue:
    """Return the issue whose number is under ``name``; 404 where there is none."""
    found = subject_of(repository, {"number": values.get(name)})
    if not isinstance(found, Issue):
        raise not_found()
    return found


async def open_issue(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Open an issue with ``title``, ``body`` and ``labels``."""
    made = issues.create_issue(
        forge, repository, user, values.get("title"), values.get("body", ""), values.get("labels") or ()
    )
    return {"number": made.number, "node_id": made.id}


async def assign(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Assign the issue ``number`` to ``to`` (a list of logins) alone."""
    issue_changes.set_assignees(forge, issue_of(repository, values), user, values.get("to") or ())
    return {"assignees": list(values.get("to") or ())}


async def lock(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Lock the issue ``number``, or unlock it with ``locked: false``."""
    locked = values.get("locked", True) is True
    issue_changes.set_locked(forge, issue_of(repository, values), user, locked)
    return {"locked": locked}


async def add_sub_issue(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Make the issue ``child`` the last sub-issue of the issue ``number``."""
    child = issue_of(repository, values, "child")
    issue_changes.add_sub_issue(forge, issue_of(repository, values), user, child)
    return {"child": child.number}


async def transfer(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Move the issue ``number`` to the repository ``to``."""
    target = forge.store.repository(str(values.get("to")))
    if target is None:
        raise not_found()
    moved = issue_changes.transfer(forge, issue_of(repository, values), user, target)
    return {"number": moved.number, "node_id": moved.id}


async def rename_repository(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Give the repository the name ``to``."""
    issue_changes.rename_repository(forge, repository, user, str(values.get("to")))
    return {"repository": repository.full_name}


async def delete_comment(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Delete a comment (see :func:`~demo.github.act_subjects.comment_of`)."""
    found = comment_of(forge, repository, user, values)
    issues.delete_comment(forge, found, user)
    return {"node_id": found.id}


async def delete_account(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Delete the account of who acts; what it wrote stays, without an author."""
    if forge.store.users.pop(user.login, None) is None:
        raise ApiError(422, f"{user.login} has no account.")
    user.is_deleted = True
    forge.mutations.record("account.deleted", repository.full_name, actor=user.login)
    return {"login": user.login}


async def join_team(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Make who acts a member of ``team`` (``organisation/team``); with ``pending`` only invited."""
    team = str(values.get("team")).lower()
    state = "pending" if values.get("pending") else "active"
    forge.store.teams.setdefault(team, {})[user.login.lower()] = state
    return {"team": team, "state": state}


ACTS: dict[str, Act] = {
    "open_issue": open_issue,
    "assign": assign,
    "lock": lock,
    "add_sub_issue": add_sub_issue,
    "transfer": transfer,
    "rename_repository": rename_repository,
    "delete_comment": delete_comment,
    "delete_account": delete_account,
    "join_team": join_team,
}
