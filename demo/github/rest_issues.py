"""REST: users, repositories, issues, comments and labels."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from demo.github import issues
from demo.github.errors import invalid, not_found
from demo.github.forge import require
from demo.github.pull_requests import close_pull_request, reopen_pull_request
from demo.github.rest import Call, Endpoint, answer, nothing, pages, strings
from demo.github.rest_views import (
    comment_json,
    issue_json,
    label_json,
    repository_json,
    user_json,
)
from demo.github.state import Comment, Issue, PullRequest

if TYPE_CHECKING:
    from aiohttp import web


async def get_viewer(call: Call) -> web.StreamResponse:
    user = call.user
    return answer({**user_json(call.forge, user), "name": user.name, "email": None})


async def get_rate_limit(call: Call) -> web.StreamResponse:
    limits = call.limits
    core, graphql = limits.describe(call.user, "core"), limits.describe(call.user, "graphql")
    return answer({"resources": {"core": core, "graphql": graphql}, "rate": core})


async def get_repository(call: Call) -> web.StreamResponse:
    return answer(repository_json(call.forge, call.repository, call.user))


async def get_permission(call: Call) -> web.StreamResponse:
    repository = call.repository
    require(repository, call.user, "read")
    user = call.forge.store.users.get(call.request.match_info["login"])
    if user is None:
        raise not_found()
    held = repository.permission_of(user)
    coarse = {"triage": "read", "maintain": "write"}.get(held or "", held or "none")
    facts = {"permission": coarse, "role_name": held or "none", "user": user_json(call.forge, user)}
    return answer(facts)


async def get_team_membership(call: Call) -> web.StreamResponse:
    info = call.request.match_info
    members = call.forge.store.teams.get(f"{info['organisation']}/{info['team']}".lower(), {})
    state = members.get(info["login"].lower())
    if state is None:
        raise not_found()
    return answer({"state": state, "role": "member"})


async def list_issues(call: Call) -> web.StreamResponse:
    repository = call.repository
    state, wanted = call.query("state", "open"), {n.lower() for n in call.query("labels").split(",") if n}
    since, creator = call.query("since"), call.query("creator")
    found: list[Issue | PullRequest] = []
    subjects: list[Issue | PullRequest] = [*repository.issues.values()]
    subjects += repository.pulls.values()
    for subject in subjects:
        if state != "all" and subject.closed != (state == "closed"):
            continue
        if wanted - {label.name.lower() for label in subject.labels}:
            continue
        if creator and subject.author.login != creator:
            continue
        if since and subject.updated_at < _time(since):
            continue
        found.append(subject)
    key = "updated_at" if call.query("sort") == "updated" else "number"
    found.sort(key=lambda s: (getattr(s, key), s.number), reverse=call.query("direction", "desc") != "asc")
    return pages(call, found, lambda subject: issue_json(call.forge, subject))


def _time(text: str) -> datetime:
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        value = None
    if value is None or value.tzinfo is None:
        raise invalid("Issue", "since")
    return value


async def create_issue(call: Call) -> web.StreamResponse:
    body = await call.body()
    labels = strings(body.get("labels"))
    issue = issues.create_issue(
        call.forge, call.repository, call.user, body.get("title"), body.get("body"), labels
    )
    return answer(issue_json(call.forge, issue), 201)


async def get_issue(call: Call) -> web.StreamResponse:
    return answer(issue_json(call.forge, call.subject))


async def edit_issue(call: Call) -> web.StreamResponse:
    body, subject = await call.body(), call.subject
    issues.edit_text(call.forge, subject, call.user, body)
    if "labels" in body:
        issues.set_labels(call.forge, subject, call.user, strings(body["labels"]))
    state, reason = body.get("state"), body.get("state_reason")
    if state not in (None, "open", "closed"):
        raise invalid("Issue", "state")
    if reason not in (None, "completed", "not_planned", "duplicate", "reopened"):
        raise invalid("Issue", "state_reason")
    if state and isinstance(subject, Issue):
        word = reason.upper() if reason else None
        issues.set_issue_state(call.forge, subject, call.user, state.upper(), word)
    elif state == "closed" and isinstance(subject, PullRequest):
        close_pull_request(call.forge, subject, call.user)
    elif state == "open" and isinstance(subject, PullRequest):
        await reopen_pull_request(call.forge, subject, call.user)
    return answer(issue_json(call.forge, subject))


async def list_comments(call: Call) -> web.StreamResponse:
    return pages(call, call.subject.comments, lambda comment: comment_json(call.forge, comment))


async def create_comment(call: Call) -> web.StreamResponse:
    body = await call.body()
    comment = issues.add_comment(call.forge, call.subject, call.user, body.get("body"))
    return answer(comment_json(call.forge, comment), 201)


async def get_comment(call: Call) -> web.StreamResponse:
    return answer(comment_json(call.forge, call.entity(Comment)))


async def edit_comment(call: Call) -> web.StreamResponse:
    body, comment = await call.body(), call.entity(Comment)
    issues.edit_comment(call.forge, comment, call.user, body.get("body"))
    return answer(comment_json(call.forge, comment))


async def delete_comment(call: Call) -> web.StreamResponse:
    issues.delete_comment(call.forge, call.entity(Comment), call.user)
    return nothing()


async def list_labels(call: Call) -> web.StreamResponse:
    subject = call.subject
    return pages(call, subject.labels, lambda label: label_json(call.forge, subject.repository, label))


async def add_labels(call: Call) -> web.StreamResponse:
    body, subject = await call.body(), call.subject
    names = [label.name for label in subject.labels]
    issues.set_labels(call.forge, subject, call.user, [*names, *strings(body.get("labels"))])
    return answer([label_json(call.forge, subject.repository, label) for label in subject.labels])


async def remove_label(call: Call) -> web.StreamResponse:
    subject, name = call.subject, call.request.match_info["label"].lower()
    names = [label.name for label in subject.labels]
    if name not in (held.lower() for held in names):
        raise not_found()
    issues.set_labels(call.forge, subject, call.user, [held for held in names if held.lower() != name])
    return answer([label_json(call.forge, subject.repository, label) for label in subject.labels])


_REPOSITORY = "/repos/{owner}/{repo}"
_ISSUE = _REPOSITORY + "/issues/{number:\\d+}"
_COMMENT = _REPOSITORY + "/issues/comments/{id:\\d+}"

ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    ("GET", "/user", get_viewer),
    ("GET", "/rate_limit", get_rate_limit),
    ("GET", "/orgs/{organisation}/teams/{team}/memberships/{login}", get_team_membership),
    ("GET", _REPOSITORY, get_repository),
    ("GET", _REPOSITORY + "/collaborators/{login}/permission", get_permission),
    ("GET", _REPOSITORY + "/issues", list_issues),
    ("POST", _REPOSITORY + "/issues", create_issue),
    ("GET", _ISSUE, get_issue),
    ("PATCH", _ISSUE, edit_issue),
    ("GET", _ISSUE + "/comments", list_comments),
    ("POST", _ISSUE + "/comments", create_comment),
    ("GET", _COMMENT, get_comment),
    ("PATCH", _COMMENT, edit_comment),
    ("DELETE", _COMMENT, delete_comment),
    ("GET", _ISSUE + "/labels", list_labels),
    ("POST", _ISSUE + "/labels", add_labels),
    ("DELETE", _ISSUE + "/labels/{label}", remove_label),
)
