"""REST's representations of what the stand-in knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github.issues import association
from demo.github.merging import GITHUB, merge_state, mergeability
from demo.github.reviews import current_line
from demo.github.state import (
    PERMISSIONS,
    Comment,
    Issue,
    Label,
    PullRequest,
    Repository,
    Review,
    ReviewComment,
    Subject,
    User,
)

if TYPE_CHECKING:
    from datetime import datetime

    from demo.github.forge import Forge
    from demo.github.git_values import ChangedFile, Commit


def moment(value: datetime | None) -> str | None:
    """Return a time as GitHub writes it."""
    return value.strftime("%Y-%m-%dT%H:%M:%SZ") if value else None


def api(forge: Forge, *parts: object) -> str:
    """Return an address of the REST API."""
    return forge.link("api", "v3", *parts)


def user_json(forge: Forge, user: User) -> dict[str, Any]:
    return {
        "login": user.login,
        "id": user.database_id,
        "node_id": user.id,
        "type": "Bot" if user.is_bot else "User",
        "site_admin": False,
        "url": api(forge, "users", user.login),
        "html_url": forge.link(user.login),
    }


def repository_json(forge: Forge, repository: Repository, user: User | None) -> dict[str, Any]:
    name = repository.full_name
    rank = PERMISSIONS.index(repository.permission_of(user) or "read")
    words = {"pull": 0, "triage": 1, "push": 2, "maintain": 3, "admin": 4}
    return {
        "id": repository.database_id,
        "node_id": repository.id,
        "name": repository.name,
        "full_name": name,
        "owner": user_json(forge, repository.owner),
        "private": repository.is_private,
        "visibility": "private" if repository.is_private else "public",
        "description": repository.description,
        "fork": False,
        "archived": repository.is_archived,
        "disabled": False,
        "default_branch": repository.default_branch,
        "url": api(forge, "repos", name),
        "html_url": forge.link(name),
        "clone_url": forge.link(f"{name}.git"),
        "has_issues": True,
        "allow_merge_commit": repository.merge_commit_allowed,
        "allow_squash_merge": repository.squash_merge_allowed,
        "allow_rebase_merge": repository.rebase_merge_allowed,
        "allow_auto_merge": repository.auto_merge_allowed,
        "delete_branch_on_merge": repository.delete_branch_on_merge,
        "open_issues_count": sum(not subject.closed for subject in _subjects(repository)),
        "permissions": {word: rank >= needed for word, needed in words.items()},
        "created_at": moment(repository.created_at),
        "updated_at": moment(repository.updated_at),
        "pushed_at": moment(repository.pushed_at or repository.created_at),
    }


def _subjects(repository: Repository) -> list[Subject]:
    return [*repository.issues.values(), *repository.pulls.values()]


def label_json(forge: Forge, repository: Repository, label: Label) -> dict[str, Any]:
    return {
        "id": label.database_id,
        "node_id": label.id,
        "name": label.name,
        "color": label.color,
        "description": label.description,
        "default": label.is_default,
        "url": api(forge, "repos", repository.full_name, "labels", label.name),
    }


def issue_json(forge: Forge, issue: Issue | PullRequest) -> dict[str, Any]:
    """Return an issue, or a pull request in the form in which the issue endpoints show it."""
    name = issue.repository.full_name
    pull = isinstance(issue, PullRequest)
    reason = None if isinstance(issue, PullRequest) else issue.state_reason
    body: dict[str, Any] = {
        "id": issue.database_id,
        "node_id": issue.id,
        "number": issue.number,
        "title": issue.title,
        "body": issue.body or None,
        "state": "closed" if issue.closed else "open",
        "state_reason": reason.lower() if reason else None,
        "user": user_json(forge, issue.author),
        "author_association": association(issue.repository, issue.author),
        "labels": [label_json(forge, issue.repository, label) for label in issue.labels],
        "assignees": [],
        "locked": False,
        "comments": len(issue.comments),
        "created_at": moment(issue.created_at),
        "updated_at": moment(issue.updated_at),
        "closed_at": moment(issue.closed_at),
        "url": api(forge, "repos", name, "issues", issue.number),
        "repository_url": api(forge, "repos", name),
        "comments_url": api(forge, "repos", name, "issues", issue.number, "comments"),
        "html_url": forge.link(name, "pull" if pull else "issues", issue.number),
    }
    if isinstance(issue, PullRequest):
        body["draft"] = issue.is_draft
        body["pull_request"] = {
            "url": api(forge, "repos", name, "pulls", issue.number),
            "html_url": forge.link(name, "pull", issue.number),
            "merged_at": moment(issue.merged_at),
        }
    return body


def comment_json(forge: Forge, comment: Comment) -> dict[str, Any]:
    repository = comment.subject.repository
    page = "pull" if isinstance(comment.subject, PullRequest) else "issues"
    number = comment.subject.number
    return {
        "id": comment.database_id,
        "node_id": comment.id,
        "user": user_json(forge, comment.author),
        "author_association": association(repository, comment.author),
        "body": comment.body,
        "created_at": moment(comment.created_at),
        "updated_at": moment(comment.updated_at),
        "url": api(forge, "repos", repository.full_name, "issues", "comments", comment.database_id),
        "issue_url": api(forge, "repos", repository.full_name, "issues", number),
        "html_url": f"{forge.link(repository.full_name, page, number)}#issuecomment-{comment.database_id}",
    }


def pull_json(forge: Forge, pull: PullRequest) -> dict[str, Any]:
    """Return a pull request as lists show it."""
    repository, name = pull.repository, pull.repository.full_name

    def side(branch: str, sha: str) -> dict[str, Any]:
        owner = repository.owner
        return {
            "label": f"{owner.login}:{branch}",
            "ref": branch,
            "sha": sha,
            "user": user_json(forge, owner),
            "repo": repository_json(forge, repository, owner),
        }

    shared = ("comments", "comments_url", "state_reason", "repository_url", "pull_request")
    common = {key: value for key, value in issue_json(forge, pull).items() if key not in shared}
    return {
        **common,
        "url": api(forge, "repos", name, "pulls", pull.number),
        "issue_url": api(forge, "repos", name, "issues", pull.number),
        "diff_url": f"{forge.link(name, 'pull', pull.number)}.diff",
        "head": side(pull.head_ref_name, pull.head_ref_oid),
        "base": side(pull.base_ref_name, pull.base_ref_oid),
        "draft": pull.is_draft,
        "merged_at": moment(pull.merged_at),
        "merge_commit_sha": pull.merge_commit_oid,
        "auto_merge": _auto_merge_json(forge, pull),
        "requested_reviewers": [],
    }


def _auto_merge_json(forge: Forge, pull: PullRequest) -> dict[str, Any] | None:
    asked = pull.auto_merge
    if asked is None:
        return None
    return {
        "enabled_by": user_json(forge, asked.enabled_by),
        "merge_method": asked.merge_method.lower(),
        "commit_title": asked.commit_headline,
        "commit_message": asked.commit_body,
    }


async def full_pull_json(forge: Forge, pull: PullRequest) -> dict[str, Any]:
    """Return a pull request with what GitHub computes only when it is asked for one alone."""
    git = pull.repository.git
    files = await git.changed_files(pull.base_ref_oid, pull.head_ref_oid)
    mergeable = await mergeability(pull)
    return {
        **pull_json(forge, pull),
        "merged": pull.merged,
        "mergeable": {"MERGEABLE": True, "CONFLICTING": False}.get(mergeable),
        "mergeable_state": (await merge_state(pull)).lower(),
        "rebaseable": {"MERGEABLE": True, "CONFLICTING": False}.get(mergeable),
        "merged_by": user_json(forge, pull.merged_by) if pull.merged_by else None,
        "comments": len(pull.comments),
        "review_comments": sum(len(thread.comments) for thread in pull.threads),
        "commits": await git.count(pull.base_ref_oid, pull.head_ref_oid),
        "additions": sum(file.additions for file in files),
        "deletions": sum(file.deletions for file in files),
        "changed_files": len(files),
        "maintainer_can_modify": False,
    }


async def file_json(repository: Repository, base: str, head: str, file: ChangedFile) -> dict[str, Any]:
    """Return a file that differs between the merge base of two commits and the second of them."""
    git = repository.git
    diff = await git.diff(base, head, file.path)
    start = diff.find("\n@@")
    oid = await git.entry(head, file.path, "blob")
    body: dict[str, Any] = {
        "sha": oid,
        "filename": file.path,
        "status": file.status,
        "additions": file.additions,
        "deletions": file.deletions,
        "changes": file.additions + file.deletions,
    }
    if file.previous_path:
        body["previous_filename"] = file.previous_path
    if start >= 0:
        body["patch"] = diff[start + 1 :].rstrip("\n")
    return body


def commit_json(forge: Forge, repository: Repository, commit: Commit) -> dict[str, Any]:
    name = repository.full_name

    def person(signature: Any, date: datetime) -> dict[str, Any]:
        return {
            "name": signature.name,
            "email": signature.email,
            "date": date.isoformat().replace("+00:00", "Z"),
        }

    def account(email: str) -> dict[str, Any] | None:
        users = (user for user in forge.store.users.values() if user.email == email)
        user = next(users, None)
        return user_json(forge, user) if user else None

    def verification(commit: Commit) -> dict[str, Any]:
        # GitHub signs what it, or a bot through its API, commits.
        users = {user.email: user for user in forge.store.users.values()}
        committer = users.get(commit.committer.email)
        signed = commit.committer == GITHUB or (committer is not None and committer.is_bot)
        return {
            "verified": signed,
            "reason": "valid" if signed else "unsigned",
            "signature": None,
            "payload": None,
        }

    return {
        "sha": commit.oid,
        "url": api(forge, "repos", name, "commits", commit.oid),
        "html_url": forge.link(name, "commit", commit.oid),
        "commit": {
            "message": commit.message,
            "tree": {"sha": commit.tree},
            "author": person(commit.author, commit.authored_date),
            "committer": person(commit.committer, commit.committed_date),
            "verification": verification(commit),
        },
        "author": account(commit.author.email),
        "committer": account(commit.committer.email),
        "parents": [{"sha": oid, "url": api(forge, "repos", name, "commits", oid)} for oid in commit.parents],
    }


def review_json(forge: Forge, review: Review) -> dict[str, Any]:
    pull = review.pull_request
    page = forge.link(pull.repository.full_name, "pull", pull.number)
    return {
        "id": review.database_id,
        "node_id": review.id,
        "user": user_json(forge, review.author),
        "author_association": association(pull.repository, review.author),
        "body": review.body,
        "state": review.state,
        "commit_id": review.commit_oid,
        "submitted_at": moment(review.submitted_at),
        "html_url": f"{page}#pullrequestreview-{review.database_id}",
        "pull_request_url": api(forge, "repos", pull.repository.full_name, "pulls", pull.number),
    }


async def review_comment_json(forge: Forge, comment: ReviewComment) -> dict[str, Any]:
    thread = comment.thread
    pull, name = thread.pull_request, thread.pull_request.repository.full_name
    body = {
        "id": comment.database_id,
        "node_id": comment.id,
        "pull_request_review_id": comment.review.database_id,
        "user": user_json(forge, comment.author),
        "author_association": association(pull.repository, comment.author),
        "body": comment.body,
        "path": thread.path,
        "line": await current_line(thread),
        "original_line": thread.original_line,
        "side": "RIGHT",
        "commit_id": pull.head_ref_oid,
        "original_commit_id": thread.commit_oid,
        "created_at": moment(comment.created_at),
        "updated_at": moment(comment.updated_at),
        "url": api(forge, "repos", name, "pulls", "comments", comment.database_id),
        "html_url": f"{forge.link(name, 'pull', pull.number)}#discussion_r{comment.database_id}",
        "pull_request_url": api(forge, "repos", name, "pulls", pull.number),
    }
    if comment is not thread.comments[0]:
        body["in_reply_to_id"] = thread.comments[0].database_id
    return body
