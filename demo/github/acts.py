"""Other people's deeds, for tests and demonstrations: a push, a review, a merge by somebody else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from demo.github import issues, pull_requests, reviews
from demo.github.errors import ApiError, not_found
from demo.github.forge import Forge
from demo.github.merging import MergeRequest, merge
from demo.github.pushes import move_branch, push_files
from demo.github.repositories import ZERO
from demo.github.state import (
    PERMISSIONS,
    BranchRules,
    CheckRun,
    CheckSuite,
    Issue,
    PullRequest,
    Repository,
    ReviewThread,
    Status,
    User,
    now,
)

Act = Callable[[Forge, Repository, User, dict[str, Any]], Awaitable[dict[str, Any]]]


async def act(forge: Forge, values: dict[str, Any]) -> dict[str, Any]:
    """Do something as somebody, with that person's own permissions.

    :param values: ``as`` (login), ``do`` (one of :data:`ACTS`), ``repository`` (``owner/name``), mostly
        ``number``, and what the deed needs; see the function of that name.
    :returns: facts about what was done, JSON-ready.
    :raises ApiError: as the same deed over the API would; 422 for an unknown one.
    """
    deed = ACTS.get(str(values.get("do")))
    if deed is None:
        raise ApiError(422, f"'do' is one of {', '.join(ACTS)}.")
    repository = forge.store.repository(str(values.get("repository")))
    if repository is None:
        raise not_found()
    login = str(values.get("as") or repository.owner.login)
    return await deed(forge, repository, forge.store.user(login), values)


def _pull(repository: Repository, values: dict[str, Any]) -> PullRequest:
    pull = repository.pulls.get(int(values.get("number") or 0))
    if pull is None:
        raise not_found()
    return pull


def _subject(repository: Repository, values: dict[str, Any]) -> Issue | PullRequest:
    subject = repository.subject(int(values.get("number") or 0))
    if subject is None:
        raise not_found()
    return subject


async def _sha(repository: Repository, values: dict[str, Any]) -> str:
    """Return ``sha``, or the head of the pull request ``number``, or the tip of ``branch``."""
    if sha := values.get("sha"):
        return str(sha)
    if branch := values.get("branch"):
        tip = await repository.git.branch(str(branch))
        if tip is None:
            raise not_found()
        return tip
    return _pull(repository, values).head_ref_oid


async def push_commit(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Commit ``files`` ({path: text or null}) to ``branch``, or to the branch of the pull request ``number``."""
    branch = str(values.get("branch") or _pull(repository, values).head_ref_name)
    files = values.get("files") or {"NOTES.md": f"Changed by {user.login} at {now().isoformat()}.\n"}
    message = str(values.get("message") or f"Change by {user.login}")
    start = values.get("start")
    sha = await push_files(forge, repository, user, branch, files, message, start=start)
    return {"sha": sha, "branch": branch}


async def reset_branch(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Force ``branch`` to the commit ``sha``."""
    sha = await repository.git.resolve(str(values.get("sha")))
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {values.get('sha')}")
    await move_branch(forge, repository, user, str(values["branch"]), sha)
    return {"sha": sha}


async def delete_branch(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Delete ``branch``, or the branch of the pull request ``number``."""
    branch = str(values.get("branch") or _pull(repository, values).head_ref_name)
    await move_branch(forge, repository, user, branch, ZERO)
    return {"branch": branch}


async def open_pull(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Open a pull request of ``head`` into ``base`` with ``title``, ``body`` and ``draft``."""
    pull = await pull_requests.open_pull_request(
        forge,
        repository,
        user,
        title=values.get("title"),
        body=values.get("body", ""),
        head=values.get("head"),
        base=values.get("base") or repository.default_branch,
        draft=bool(values.get("draft")),
    )
    return {"number": pull.number, "node_id": pull.id, "sha": pull.head_ref_oid}


async def comment(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Comment ``body`` on the issue or pull request ``number``."""
    made = issues.add_comment(forge, _subject(repository, values), user, values.get("body"))
    return {"id": made.database_id, "node_id": made.id}


async def review(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Review with ``event`` (``APPROVE``, ``REQUEST_CHANGES``, ``COMMENT``), ``body`` and ``comments``."""
    pull = _pull(repository, values)
    made = await reviews.submit_review(
        forge,
        pull,
        user,
        event=values.get("event", "COMMENT"),
        body=values.get("body", ""),
        comments=values.get("comments"),
    )
    threads = [thread.id for thread in pull.threads if thread.comments[0].review is made]
    return {"id": made.database_id, "node_id": made.id, "threads": threads}


async def reply(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Answer ``body`` in the review ``thread`` (node id)."""
    made = reviews.reply(
        forge, forge.node(str(values.get("thread")), ReviewThread, user), user, values.get("body")
    )
    return {"id": made.database_id}


async def resolve(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Resolve the review ``thread`` (node id), or open it again with ``resolved: false``."""
    thread = forge.node(str(values.get("thread")), ReviewThread, user)
    reviews.set_resolved(forge, thread, user, values.get("resolved", True) is True)
    return {"resolved": thread.is_resolved}


async def merge_pull(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Merge the pull request ``number`` by ``method``."""
    method = str(values.get("method") or "squash")
    return {"sha": await merge(forge, _pull(repository, values), user, MergeRequest(method=method))}


async def close(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Close the issue or pull request ``number``; for an issue with a ``reason``."""
    subject = _subject(repository, values)
    if isinstance(subject, Issue):
        issues.set_issue_state(forge, subject, user, "CLOSED", values.get("reason"))
    else:
        pull_requests.close_pull_request(forge, subject, user)
    return {"state": subject.state}


async def reopen(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Open the issue or pull request ``number`` again."""
    subject = _subject(repository, values)
    if isinstance(subject, Issue):
        issues.set_issue_state(forge, subject, user, "OPEN")
    else:
        await pull_requests.reopen_pull_request(forge, subject, user)
    return {"state": subject.state}


async def edit(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Change ``title``, ``body``, ``labels``, ``draft`` or ``base`` of the issue or pull request ``number``."""
    subject = _subject(repository, values)
    issues.edit_text(forge, subject, user, values)
    if "labels" in values:
        issues.set_labels(forge, subject, user, values["labels"])
    if isinstance(subject, PullRequest) and "draft" in values:
        pull_requests.set_draft(forge, subject, user, bool(values["draft"]))
    if isinstance(subject, PullRequest) and "base" in values:
        await pull_requests.retarget(forge, subject, user, values["base"])
    return {"number": subject.number}


async def status(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Set the commit status ``context`` to ``state`` (``success``, …) on a head."""
    made = Status(
        repository=repository,
        sha=await _sha(repository, values),
        context=str(values.get("context") or "default"),
        state=str(values.get("state") or "success").upper(),
        description=values.get("description"),
        target_url=values.get("target_url"),
        creator=user,
    )
    repository.statuses.append(forge.store.add(made))
    forge.mutations.record(
        "status.created",
        repository.full_name,
        actor=user.login,
        context=made.context,
        state=made.state,
        sha=made.sha,
    )
    return {"sha": made.sha}


async def check_run(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Report a check of the app ``app`` called ``name`` on a head: ``status``, ``conclusion``, ``title``,
    ``summary``. The same name on the same head is the same check.
    """
    sha, app = await _sha(repository, values), forge.store.app(str(values.get("app") or "external-ci"))
    suites = (s for s in repository.suites if s.app is app and s.head_sha == sha)
    suite = next(suites, None)
    if suite is None:
        branch = str(values.get("branch") or "")
        suite = forge.store.add(CheckSuite(repository=repository, head_sha=sha, branch=branch, app=app))
        repository.suites.append(suite)
    name = str(values.get("name") or "check")
    run = next((run for run in suite.runs if run.name == name), None)
    if run is None:
        run = forge.store.add(CheckRun(suite=suite, name=name, started_at=now()))
        suite.runs.append(run)
    run.conclusion = str(values["conclusion"]).upper() if values.get("conclusion") else None
    run.status = "COMPLETED" if run.conclusion else str(values.get("status") or "in_progress").upper()
    run.completed_at = now() if run.conclusion else None
    run.title, run.summary = values.get("title"), values.get("summary")
    if run.conclusion:
        forge.mutations.record(
            "check.completed",
            repository.full_name,
            actor=f"{app.slug}[bot]",
            name=name,
            sha=sha,
            event="app",
            conclusion=run.conclusion,
            check_run_id=run.database_id,
        )
    return {"id": run.database_id, "sha": sha}


async def configure(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Change settings: ``archived``, ``private``, ``delete_branch_on_merge``, ``permissions`` ({login:
    permission or null}) and ``rules`` ({branch: {required_checks, required_approvals,
    dismiss_stale_reviews}}).
    """
    for key in ("archived", "private"):
        if key in values:
            setattr(repository, f"is_{key}", bool(values[key]))
    for key in (
        "delete_branch_on_merge",
        "squash_merge_allowed",
        "merge_commit_allowed",
        "rebase_merge_allowed",
    ):
        if key in values:
            setattr(repository, key, bool(values[key]))
    for login, permission in (values.get("permissions") or {}).items():
        if permission is None:
            repository.permissions.pop(login, None)
        elif permission in PERMISSIONS:
            repository.permissions[forge.store.user(login).login] = permission
        else:
            raise ApiError(422, f"A permission is one of {', '.join(PERMISSIONS)}.")
    for branch, rules in (values.get("rules") or {}).items():
        repository.rules[branch] = branch_rules(rules)
    return {"repository": repository.full_name}


def branch_rules(values: dict[str, Any]) -> BranchRules:
    """Read the rules of a branch from JSON."""
    return BranchRules(
        required_checks=tuple(values.get("required_checks") or ()),
        required_approvals=int(values.get("required_approvals") or 0),
        dismiss_stale_reviews=bool(values.get("dismiss_stale_reviews")),
    )


ACTS: dict[str, Act] = {
    "push_commit": push_commit,
    "reset_branch": reset_branch,
    "delete_branch": delete_branch,
    "open_pull": open_pull,
    "comment": comment,
    "review": review,
    "reply": reply,
    "resolve": resolve,
    "merge": merge_pull,
    "close": close,
    "reopen": reopen,
    "edit": edit,
    "status": status,
    "check_run": check_run,
    "configure": configure,
}
