"""What a change is told to webhooks: events and their payloads, with the fields that receivers use."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from demo.github.check_state import CheckRun, CheckSuite
from demo.github.state import Comment, Issue, PullRequest, Review, ReviewComment

if TYPE_CHECKING:
    from demo.github.check_state import Status
    from demo.github.forge import Forge
    from demo.github.mutations import Entry
    from demo.github.state import Repository, User

Payload = dict[str, Any]
Event = tuple[str, Payload]

PULL_REQUEST_ACTIONS = {
    "pull_request.opened": "opened",
    "pull_request.closed": "closed",
    "pull_request.merged": "closed",
    "pull_request.reopened": "reopened",
    "pull_request.synchronized": "synchronize",
    "pull_request.retargeted": "edited",
    "pull_request.edited": "edited",
    "pull_request.ready_for_review": "ready_for_review",
    "pull_request.converted_to_draft": "converted_to_draft",
    "merge_queue.entered": "enqueued",
    "merge_queue.left": "dequeued",
    "auto_merge.enabled": "auto_merge_enabled",
    "auto_merge.disabled": "auto_merge_disabled",
}
"""Kind of change → action of the event ``pull_request``."""

ISSUE_ACTIONS = {
    "issue.opened": "opened",
    "issue.edited": "edited",
    "issue.closed": "closed",
    "issue.reopened": "reopened",
    "issue.assigned": "assigned",
    "issue.locked": "locked",
    "issue.unlocked": "unlocked",
}
"""Kind of change → action of the event ``issues``; those of labels have one event for each label."""

DEQUEUE_REASONS = {"failed_checks": "CI_FAILURE", "closed": "PULL_REQUEST_CLOSED"}
"""The queue's word for why → that of the event, where it is not the same in capitals."""

EVENTS = frozenset(
    {
        "pull_request",
        "pull_request_review",
        "pull_request_review_comment",
        "pull_request_review_thread",
        "issues",
        "issue_comment",
        "check_run",
        "check_suite",
        "status",
        "push",
        "merge_group",
        "ping",
    }
)


def events_of(forge: Forge, entry: Entry) -> list[Event]:
    """Return the events that one entry of the mutation log stands for, most often one or none."""
    repository = forge.store.repository(str(entry["repository"]))
    maker = _maker(str(entry["kind"]))
    if repository is None or maker is None:
        return []
    sender = forge.store.user(str(entry["actor"]))
    common = {"repository": repository_view(forge, repository), "sender": user_view(sender)}
    return [
        (event, {**payload, **common}) for event, payload in maker(forge, repository, dict(entry), sender)
    ]


Maker = Callable[["Forge", "Repository", dict[str, Any], "User"], Iterator[Event]]


def _maker(kind: str) -> Maker | None:
    if kind in ISSUE_ACTIONS:
        return _issue
    return _pull_request if kind in PULL_REQUEST_ACTIONS else _MAKERS.get(kind)


def _pull_request(
    forge: Forge, repository: Repository, entry: dict[str, Any], sender: User
) -> Iterator[Event]:
    pull = repository.pulls[entry["number"]]
    payload: Payload = {
        "action": PULL_REQUEST_ACTIONS[entry["kind"]],
        "number": pull.number,
        "pull_request": pull_view(forge, pull),
    }
    if payload["action"] == "synchronize":
        payload |= {"before": entry["details"].get("before"), "after": entry["details"].get("sha")}
    if payload["action"] == "dequeued":
        reason = str(entry["details"]["reason"])
        payload["reason"] = DEQUEUE_REASONS.get(reason, reason.upper())
    elif "reason" in entry["details"]:
        payload["reason"] = entry["details"]["reason"]
    yield "pull_request", payload
    if payload["action"] == "dequeued" and entry["details"].get("group_sha"):
        yield "merge_group", _destroyed(pull, entry["details"])


def _labels(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    if pull := repository.pulls.get(entry["number"]):
        # GitHub sends one event for each label; the log has one entry for them all.
        view = pull_view(forge, pull)
        yield "pull_request", {"action": "labeled", "number": pull.number, "pull_request": view}
    if issue := repository.issues.get(entry["number"]):
        for action, names in (
            ("labeled", entry["details"]["added"]),
            ("unlabeled", entry["details"]["removed"]),
        ):
            for name in names:
                yield "issues", {"action": action, "issue": issue_view(forge, issue), "label": {"name": name}}


def _issue(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    if issue := repository.issues.get(entry["number"]):
        yield "issues", {"action": ISSUE_ACTIONS[entry["kind"]], "issue": issue_view(forge, issue)}


def _review(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    pull = repository.pulls[entry["number"]]
    dismissed = entry["kind"] == "review.dismissed"
    author = entry["details"].get("of") if dismissed else sender.login
    reviews = [review for review in pull.reviews if review.author.login == author]
    if reviews:
        action = "dismissed" if dismissed else "submitted"
        view = review_view(forge, reviews[-1])
        yield (
            "pull_request_review",
            {"action": action, "review": view, "pull_request": pull_view(forge, pull)},
        )
        if not dismissed:
            yield from _remarks(forge, pull, reviews[-1])


def _remarks(forge: Forge, pull: PullRequest, review: Review) -> Iterator[Event]:
    for comment in (c for thread in pull.threads for c in thread.comments if c.review is review):
        yield "pull_request_review_comment", _remark(forge, comment)


def _reply(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    pull = repository.pulls[entry["number"]]
    remarks = [c for thread in pull.threads for c in thread.comments if c.author is sender]
    if remarks:
        newest = max(remarks, key=lambda comment: comment.database_id)
        yield "pull_request_review_comment", _remark(forge, newest)


def _remark(forge: Forge, comment: ReviewComment) -> Payload:
    pull = comment.thread.pull_request
    view = {
        "id": comment.database_id,
        "node_id": comment.id,
        "body": comment.body,
        "path": comment.thread.path,
        "line": comment.thread.original_line,
        "commit_id": comment.thread.commit_oid,
        "user": user_view(comment.author),
    }
    return {"action": "created", "comment": view, "pull_request": pull_view(forge, pull)}


def _thread(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    pull = repository.pulls[entry["number"]]
    action = entry["kind"].partition(".")[2]
    view = pull_view(forge, pull)
    yield (
        "pull_request_review_thread",
        {"action": action, "pull_request": view, "thread": {"path": entry["details"].get("path")}},
    )


def _comment(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    subject = repository.subject(entry["number"])
    if subject is None or not subject.comments:
        return
    action = {"created": "created", "edited": "edited", "deleted": "deleted"}[entry["kind"].partition(".")[2]]
    said = entry["details"].get("comment_id")
    chosen = next((c for c in subject.comments if c.database_id == said), subject.comments[-1])
    yield (
        "issue_comment",
        {"action": action, "issue": issue_view(forge, subject), "comment": comment_view(chosen)},
    )


def _push(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    details, deleted = entry["details"], entry["kind"] == "branch.deleted"
    yield (
        "push",
        {
            "ref": f"refs/heads/{details['branch']}",
            "before": details["sha"] if deleted else details["before"],
            "after": "0" * 40 if deleted else details["sha"],
            "created": bool(details.get("created")),
            "deleted": deleted,
            "forced": bool(details.get("forced")),
            "pusher": {"name": sender.login, "email": sender.email},
        },
    )


def _check(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    run = forge.store.find(CheckRun, int(entry["details"].get("check_run_id") or 0))
    if run is None:
        return
    word = entry["kind"].partition(".")[2]
    yield "check_run", {"action": word, "check_run": check_view(forge, run)}
    if word == "completed" and run.suite.status == "COMPLETED":
        yield "check_suite", {"action": "completed", "check_suite": suite_view(forge, run.suite)}


def _status(forge: Forge, repository: Repository, entry: dict[str, Any], sender: User) -> Iterator[Event]:
    found = [
        status
        for status in repository.latest_statuses(entry["details"]["sha"])
        if status.context == entry["details"]["context"]
    ]
    for status in found:
        yield "status", status_view(status)


def _merge_group(
    forge: Forge, repository: Repository, entry: dict[str, Any], sender: User
) -> Iterator[Event]:
    details = entry["details"]
    group = {
        "head_sha": details["sha"],
        "head_ref": f"refs/heads/{details['branch']}",
        "base_sha": details["base_sha"],
        "base_ref": f"refs/heads/{repository.pulls[entry['number']].base_ref_name}",
    }
    yield "merge_group", {"action": "checks_requested", "merge_group": group}


def _destroyed(pull: PullRequest, details: dict[str, Any]) -> Payload:
    merged = details["reason"] == "merge"
    group = {"head_sha": details["group_sha"], "base_ref": f"refs/heads/{pull.base_ref_name}"}
    return {
        "action": "destroyed",
        "reason": "merged" if merged else "dequeued",
        "merge_group": group,
    }


_MAKERS: dict[str, Maker] = {
    "labels.changed": _labels,
    "review.submitted": _review,
    "review.dismissed": _review,
    "thread.replied": _reply,
    "thread.resolved": _thread,
    "thread.unresolved": _thread,
    "comment.created": _comment,
    "comment.edited": _comment,
    "comment.deleted": _comment,
    "push": _push,
    "branch.deleted": _push,
    "check.completed": _check,
    "check.rerequested": _check,
    "status.created": _status,
    "merge_group.checks_requested": _merge_group,
}


def user_view(user: User) -> Payload:
    return {"login": user.login, "id": user.database_id, "type": "Bot" if user.is_bot else "User"}


def repository_view(forge: Forge, repository: Repository) -> Payload:
    return {
        "id": repository.database_id,
        "node_id": repository.id,
        "name": repository.name,
        "full_name": repository.full_name,
        "private": repository.is_private,
        "owner": user_view(repository.owner),
        "html_url": forge.link(repository.full_name),
        "default_branch": repository.default_branch,
    }


def pull_view(forge: Forge, pull: PullRequest) -> Payload:
    return {
        "id": pull.database_id,
        "node_id": pull.id,
        "number": pull.number,
        "state": "open" if pull.state == "OPEN" else "closed",
        "title": pull.title,
        "body": pull.body,
        "draft": pull.is_draft,
        "merged": pull.merged,
        "merge_commit_sha": pull.merge_commit_oid,
        "user": user_view(pull.author),
        "labels": [{"name": label.name} for label in pull.labels],
        "head": {"ref": pull.head_ref_name, "sha": pull.head_ref_oid},
        "base": {"ref": pull.base_ref_name, "sha": pull.base_ref_oid},
        "html_url": forge.link(pull.repository.full_name, "pull", pull.number),
    }


def issue_view(forge: Forge, subject: Issue | PullRequest) -> Payload:
    view: Payload = {
        "id": subject.database_id,
        "node_id": subject.id,
        "number": subject.number,
        "state": "open" if subject.state == "OPEN" else "closed",
        "title": subject.title,
        "user": user_view(subject.author),
    }
    if isinstance(subject, Issue):
        view["labels"] = [{"name": label.name} for label in subject.labels]
    if isinstance(subject, PullRequest):
        view["pull_request"] = {"html_url": forge.link(subject.repository.full_name, "pull", subject.number)}
    return view


def comment_view(comment: Comment) -> Payload:
    return {
        "id": comment.database_id,
        "node_id": comment.id,
        "body": comment.body,
        "user": user_view(comment.author),
    }


def review_view(forge: Forge, review: Review) -> Payload:
    return {
        "id": review.database_id,
        "node_id": review.id,
        "state": review.state.lower(),
        "body": review.body or None,
        "commit_id": review.commit_oid,
        "user": user_view(review.author),
    }


def check_view(forge: Forge, run: CheckRun) -> Payload:
    return {
        "id": run.database_id,
        "node_id": run.id,
        "name": run.name,
        "head_sha": run.suite.head_sha,
        "status": run.status.lower(),
        "conclusion": run.conclusion.lower() if run.conclusion else None,
        "check_suite": {"id": run.suite.database_id, "head_sha": run.suite.head_sha},
        "app": {"slug": run.suite.app.slug},
        "pull_requests": _pulls_at(forge, run.suite),
    }


def suite_view(forge: Forge, suite: CheckSuite) -> Payload:
    return {
        "id": suite.database_id,
        "node_id": suite.id,
        "head_sha": suite.head_sha,
        "head_branch": suite.branch,
        "status": suite.status.lower(),
        "conclusion": suite.conclusion.lower() if suite.conclusion else None,
        "app": {"slug": suite.app.slug},
        "pull_requests": _pulls_at(forge, suite),
    }


def status_view(status: Status) -> Payload:
    return {
        "id": status.database_id,
        "sha": status.sha,
        "context": status.context,
        "state": status.state.lower(),
        "description": status.description,
        "target_url": status.target_url,
        "branches": [],
    }


def _pulls_at(forge: Forge, suite: CheckSuite) -> list[Payload]:
    open_here = (pull for pull in suite.repository.open_pulls() if pull.head_ref_oid == suite.head_sha)
    return [
        {
            "id": pull.database_id,
            "number": pull.number,
            "head": {"ref": pull.head_ref_name, "sha": pull.head_ref_oid},
            "base": {"ref": pull.base_ref_name, "sha": pull.base_ref_oid},
        }
        for pull in open_here
    ]
