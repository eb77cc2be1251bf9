"""Issues, labels and the conversation below issues and pull requests."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from demo.github.errors import ApiError, forbidden, invalid
from demo.github.forge import Forge, require, writable
from demo.github.issue_events import LabeledEvent, RenamedTitleEvent, UnlabeledEvent, UserContentEdit
from demo.github.state import Comment, Issue, Label, PullRequest, Repository, User, now

if TYPE_CHECKING:
    from collections.abc import Iterable

BODY_LIMIT = 65_536
"""Characters that a body may have."""

_CLOSING = re.compile(
    r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+(?P<repository>[\w.-]+/[\w.-]+)?#(?P<number>\d+)\b",
    re.IGNORECASE,
)


def closing_references(repository: Repository, text: str) -> list[Issue]:
    """Return the issues of ``repository`` that ``text`` closes by keyword, e.g. "Fixes #3"."""
    issues = []
    for match in _CLOSING.finditer(text):
        named = match["repository"]
        if named is None or named.lower() == repository.full_name.lower():
            issues.append(repository.issues.get(int(match["number"])))
    return list(dict.fromkeys(issue for issue in issues if issue is not None))


def check_text(resource: str, field: str, text: object, *, required: bool = False) -> str:
    """Return ``text`` if GitHub would take it.

    :raises ApiError: 422, it is no string, is too long, or is blank where it is required.
    """
    if text is None and not required:
        return ""
    if not isinstance(text, str):
        raise invalid(resource, field, "missing_field" if text is None else "invalid")
    if required and not text.strip():
        raise invalid(resource, field, "missing_field")
    if len(text) > BODY_LIMIT:
        raise ApiError(
            422,
            "Validation Failed",
            errors=[
                {
                    "resource": resource,
                    "code": "custom",
                    "field": field,
                    "message": f"{field} is too long (maximum is {BODY_LIMIT} characters)",
                }
            ],
        )
    return text.replace("\x00", "")


def labels_named(forge: Forge, repository: Repository, names: Iterable[str]) -> list[Label]:
    """Return the labels of those names, made on first sight as GitHub does."""
    found = []
    for name in dict.fromkeys(names):
        key = name.lower()
        if key not in repository.labels:
            repository.labels[key] = forge.store.add(Label(name=name))
        found.append(repository.labels[key])
    return found


def create_issue(
    forge: Forge,
    repository: Repository,
    actor: User,
    title: object,
    body: object = "",
    labels: Iterable[str] = (),
) -> Issue:
    """Open an issue; labels of people without triage permission are dropped, as GitHub does."""
    require(repository, actor, "read")
    writable(repository)
    issue = Issue(
        repository=repository,
        number=repository.next_number(),
        title=check_text("Issue", "title", title, required=True),
        body=check_text("Issue", "body", body),
        author=actor,
    )
    if repository.allows(actor, "triage"):
        issue.labels = labels_named(forge, repository, labels)
        _tell_labels(forge, issue, actor, [])
    repository.issues[issue.number] = forge.store.add(issue)
    forge.mutations.record(
        "issue.opened", repository.full_name, actor=actor.login, number=issue.number, title=issue.title
    )
    return issue


def set_issue_state(
    forge: Forge, issue: Issue, actor: User, state: str, reason: str | None = None, **details: object
) -> None:
    """Close or reopen an issue; nothing happens where it is so already.

    :param state: ``OPEN`` or ``CLOSED``.
    :param reason: ``COMPLETED`` (default), ``NOT_PLANNED`` or ``DUPLICATE``.
    """
    may_edit(issue, actor)
    if issue.state == state:
        return
    issue.state = state
    issue.touch()
    if state == "CLOSED":
        issue.closed_at, issue.state_reason = now(), reason or "COMPLETED"
    else:
        issue.closed_at, issue.state_reason = None, "REOPENED"
    forge.mutations.record(
        "issue.closed" if state == "CLOSED" else "issue.reopened",
        issue.repository.full_name,
        actor=actor.login,
        number=issue.number,
        reason=issue.state_reason,
        **details,
    )


def close_linked_issues(
    forge: Forge, repository: Repository, actor: User, text: str, **details: object
) -> list[Issue]:
    """Close the open issues that ``text`` closes by keyword; the caller knows that it may."""
    closed = [issue for issue in closing_references(repository, text) if issue.state == "OPEN"]
    for issue in closed:
        issue.state, issue.state_reason, issue.closed_at = "CLOSED", "COMPLETED", now()
        issue.touch()
        forge.mutations.record(
            "issue.closed",
            repository.full_name,
            actor=actor.login,
            number=issue.number,
            reason="COMPLETED",
            **details,
        )
    return closed


def may_edit(subject: Issue | PullRequest, actor: User) -> None:
    """Hold that ``actor`` may edit: authors their own, and people with triage permission."""
    require(subject.repository, actor, "read")
    writable(subject.repository)
    if subject.author is not actor:
        require(subject.repository, actor, "triage")


def edit_text(forge: Forge, subject: Issue | PullRequest, actor: User, changes: dict[str, object]) -> None:
    """Set ``title`` and ``body``, whichever are in ``changes``."""
    wanted = {key: changes[key] for key in ("title", "body") if key in changes}
    if not wanted:
        return
    may_edit(subject, actor)
    kind = "PullRequest" if isinstance(subject, PullRequest) else "Issue"
    before = (subject.title, subject.body)
    if "title" in wanted:
        subject.title = check_text(kind, "title", wanted["title"], required=True)
    if "body" in wanted:
        subject.body = check_text(kind, "body", wanted["body"])
    subject.touch()
    if isinstance(subject, Issue):
        _tell_edits(forge, subject, actor, *before)
    noun = "pull_request" if isinstance(subject, PullRequest) else "issue"
    forge.mutations.record(
        f"{noun}.edited",
        subject.repository.full_name,
        actor=actor.login,
        number=subject.number,
        fields=sorted(wanted),
    )


def set_labels(forge: Forge, subject: Issue | PullRequest, actor: User, names: Iterable[str]) -> None:
    """Replace the labels of an issue or a pull request."""
    require(subject.repository, actor, "triage")
    before, subject.labels = subject.labels, labels_named(forge, subject.repository, names)
    if isinstance(subject, Issue):
        _tell_labels(forge, subject, actor, before)
    subject.touch()
    forge.mutations.record(
        "labels.changed",
        subject.repository.full_name,
        actor=actor.login,
        number=subject.number,
        labels=[label.name for label in subject.labels],
        added=[label.name for label in subject.labels if label not in before],
        removed=[label.name for label in before if label not in subject.labels],
    )


def _tell_labels(forge: Forge, issue: Issue, actor: User, before: list[Label]) -> None:
    """Write into the timeline of an issue how its labels changed."""
    for label in before:
        if label not in issue.labels:
            issue.timeline.append(forge.store.add(UnlabeledEvent(issue=issue, actor=actor, label=label)))
    for label in issue.labels:
        if label not in before:
            issue.timeline.append(forge.store.add(LabeledEvent(issue=issue, actor=actor, label=label)))


def _tell_edits(forge: Forge, issue: Issue, actor: User, title: str, body: str) -> None:
    """Keep who changed title and body; the first edit of a body brings the body as it was written."""
    if issue.title != title:
        event = RenamedTitleEvent(issue=issue, actor=actor, previous_title=title, current_title=issue.title)
        issue.timeline.append(forge.store.add(event))
    if issue.body != body:
        if not issue.edits:
            written = UserContentEdit(issue=issue, editor=issue.author, edited_at=issue.created_at)
            issue.edits.append(forge.store.add(written))
        issue.edits.append(forge.store.add(UserContentEdit(issue=issue, editor=actor)))


def add_comment(forge: Forge, subject: Issue | PullRequest, actor: User, body: object) -> Comment:
    """Add to the conversation of an issue or a pull request."""
    require(subject.repository, actor, "read")
    writable(subject.repository)
    if isinstance(subject, Issue) and subject.locked and not subject.repository.allows(actor, "write"):
        raise forbidden("Unable to create comment because issue is locked.")
    text = check_text("IssueComment", "body", body, required=True)
    comment = forge.store.add(Comment(subject=subject, author=actor, body=text))
    subject.comments.append(comment)
    subject.touch()
    forge.mutations.record(
        "comment.created",
        subject.repository.full_name,
        actor=actor.login,
        number=subject.number,
        comment_id=comment.database_id,
        body=text[:500],
    )
    return comment


def edit_comment(forge: Forge, comment: Comment, actor: User, body: object) -> None:
    """Replace the text of a comment: its author, and people with write permission."""
    _may_moderate(comment, actor)
    comment.body = check_text("IssueComment", "body", body, required=True)
    comment.updated_at = now()
    comment.editor = actor
    comment.subject.touch()
    record_comment(forge, "comment.edited", comment, actor, body=comment.body[:500])


def delete_comment(forge: Forge, comment: Comment, actor: User) -> None:
    """Remove a comment: its author, and people with write permission."""
    _may_moderate(comment, actor)
    comment.subject.comments.remove(comment)
    for entity in (*comment.reactions, comment):
        del forge.store.nodes[entity.id]
    record_comment(forge, "comment.deleted", comment, actor)


def _may_moderate(comment: Comment, actor: User) -> None:
    repository = comment.subject.repository
    require(repository, actor, "read")
    writable(repository)
    if comment.author is not actor and not repository.allows(actor, "write"):
        raise forbidden()


def record_comment(forge: Forge, kind: str, comment: Comment, actor: User, **details: object) -> None:
    """Log what was done to a comment."""
    subject = comment.subject
    forge.mutations.record(
        kind,
        subject.repository.full_name,
        actor=actor.login,
        number=subject.number,
        comment_id=comment.database_id,
        **details,
    )


def association(repository: Repository, user: User) -> str:
    """Return GitHub's word for what ``user`` is to the repository (``authorAssociation``)."""
    if user is repository.owner:
        return "OWNER"
    if user.login in repository.permissions:
        return "COLLABORATOR"
    if any(pull.author is user and pull.merged for pull in repository.pulls.values()):
        return "CONTRIBUTOR"
    return "NONE"
