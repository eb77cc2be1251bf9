"""What happens to an issue beside words and labels: assignment, locks, family, and a move to another repository."""

from __future__ import annotations

from typing import TYPE_CHECKING

from demo.github.errors import ApiError
from demo.github.forge import require, writable
from demo.github.issue_events import AssignedEvent, TransferredEvent, UnassignedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from demo.github.forge import Forge
    from demo.github.state import Issue, Repository, User


def set_assignees(forge: Forge, issue: Issue, actor: User, logins: Iterable[str]) -> None:
    """Replace those whom an issue is assigned to."""
    require(issue.repository, actor, "triage")
    chosen = [forge.store.user(login) for login in dict.fromkeys(logins)]
    for kind, people in (
        (UnassignedEvent, [user for user in issue.assignees if user not in chosen]),
        (AssignedEvent, [user for user in chosen if user not in issue.assignees]),
    ):
        for user in people:
            issue.timeline.append(forge.store.add(kind(issue=issue, actor=actor, assignee=user)))
    issue.assignees = chosen
    issue.touch()
    _record(forge, issue, actor, "issue.assigned", assignees=[user.login for user in chosen])


def set_locked(forge: Forge, issue: Issue, actor: User, locked: bool) -> None:
    """Lock the conversation of an issue, or unlock it: only people who may write comment on a locked one."""
    require(issue.repository, actor, "triage")
    issue.locked = locked
    issue.touch()
    _record(forge, issue, actor, "issue.locked" if locked else "issue.unlocked")


def add_sub_issue(forge: Forge, issue: Issue, actor: User, child: Issue) -> None:
    """Make ``child`` the last sub-issue of an issue.

    :raises ApiError: 422, it has a parent already, or would be its own.
    """
    require(issue.repository, actor, "triage")
    if child is issue or child.parent is not None:
        raise ApiError(422, "Sub issue may only have one parent, which is another issue")
    child.parent = issue
    issue.sub_issues.append(child)
    issue.touch()
    _record(forge, issue, actor, "issue.sub_issue_added", child=child.number)


def transfer(forge: Forge, issue: Issue, actor: User, target: Repository) -> Issue:
    """Move an issue to another repository, where it has a new number; everything on it gets a new node id."""
    require(issue.repository, actor, "write")
    require(target, actor, "write")
    writable(target)
    source, store = issue.repository, forge.store
    del source.issues[issue.number]
    number = issue.number
    for entity in (issue, *issue.timeline, *issue.comments):
        del store.nodes[entity.id]
    issue.repository, issue.number = target, target.next_number()
    target.issues[issue.number] = issue
    for entity in (issue, *issue.timeline, *issue.comments):
        store.add(entity)
    issue.timeline.append(store.add(TransferredEvent(issue=issue, actor=actor, from_repository=source)))
    issue.touch()
    _record(forge, issue, actor, "issue.transferred", source=f"{source.full_name}#{number}")
    return issue


def rename_repository(forge: Forge, repository: Repository, actor: User, name: str) -> None:
    """Give a repository another name; the old one leads to it until another repository takes it.

    :raises ApiError: 422, the name is taken.
    """
    require(repository, actor, "admin")
    store, old = forge.store, repository.full_name.lower()
    new = f"{repository.owner.login}/{name}".lower()
    if new in store.repositories:
        raise ApiError(422, f"{new} exists already.")
    del store.repositories[old]
    repository.name = name
    store.repositories[new] = repository
    store.redirects[old] = new
    forge.mutations.record("repository.renamed", repository.full_name, actor=actor.login, before=old)


def _record(forge: Forge, issue: Issue, actor: User, kind: str, **details: object) -> None:
    forge.mutations.record(
        kind, issue.repository.full_name, actor=actor.login, number=issue.number, **details
    )
