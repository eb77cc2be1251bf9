"""Other people's deeds, for tests and demonstrations: a push, a review, a merge by somebody else.

Those about checks are in :mod:`demo.github.act_checks`, those about what is said in
:mod:`demo.github.act_conversation`, those about merges in :mod:`demo.github.act_landing`.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from demo.github import (
    act_checks,
    act_conversation,
    act_forks,
    act_issues,
    act_landing,
    issues,
    pull_requests,
    reviews,
)
from demo.github.act_subjects import Act, pull_of, subject_of
from demo.github.errors import ApiError, not_found
from demo.github.forge import Forge, signature
from demo.github.git_values import ZERO
from demo.github.merging import METHODS, MergeRequest, merge
from demo.github.pushes import move_branch, push_files
from demo.github.state import (
    PERMISSIONS,
    BranchRules,
    Issue,
    Permission,
    PullRequest,
    Repository,
    User,
    now,
)


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


async def push_commit(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Commit ``files`` ({path: text or null}) to ``branch``, or to the branch of the pull request ``number``;
    with ``from_fork`` as whose fork the branch is of, which needs no permission here.
    """
    branch = str(values.get("branch") or pull_of(repository, values).head_ref_name)
    files = values.get("files") or {"NOTES.md": f"Changed by {user.login} at {now().isoformat()}.\n"}
    message = str(values.get("message") or f"Change by {user.login}")
    start = values.get("start")
    permission: Permission = "read" if values.get("from_fork") else "write"
    sha = await push_files(
        forge, repository, user, branch, files, message, start=start, permission=permission
    )
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
    branch = str(values.get("branch") or pull_of(repository, values).head_ref_name)
    await move_branch(forge, repository, user, branch, ZERO)
    return {"branch": branch}


async def open_pull(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Open a pull request of ``head`` into ``base`` with ``title``, ``body`` and ``draft``; with ``from_fork`` as one of
    the person's fork, which needs no permission here.
    """
    fork = act_forks.fork_of(forge, repository, user) if values.get("from_fork") else None
    pull = await pull_requests.open_pull_request(
        forge,
        repository,
        user,
        title=values.get("title"),
        body=values.get("body", ""),
        head=values.get("head"),
        base=values.get("base") or repository.default_branch,
        draft=bool(values.get("draft")),
        fork=fork,
    )
    return {"number": pull.number, "node_id": pull.id, "sha": pull.head_ref_oid}


async def review(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Review with ``event`` (``APPROVE``, ``REQUEST_CHANGES``, ``COMMENT``), ``body`` and ``comments``."""
    pull = pull_of(repository, values)
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


async def merge_pull(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Merge the pull request ``number`` by ``method``."""
    method = str(values.get("method") or "squash")
    return {"sha": await merge(forge, pull_of(repository, values), user, MergeRequest(method=method))}


async def close(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Close the issue or pull request ``number``; for an issue with a ``reason``."""
    subject = subject_of(repository, values)
    if isinstance(subject, Issue):
        issues.set_issue_state(forge, subject, user, "CLOSED", values.get("reason"))
    else:
        pull_requests.close_pull_request(forge, subject, user)
    return {"state": subject.state}


async def reopen(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Open the issue or pull request ``number`` again."""
    subject = subject_of(repository, values)
    if isinstance(subject, Issue):
        issues.set_issue_state(forge, subject, user, "OPEN")
    else:
        await pull_requests.reopen_pull_request(forge, subject, user)
    return {"state": subject.state}


async def edit(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Change ``title``, ``body``, ``labels``, ``draft`` or ``base`` of the issue or pull request ``number``."""
    subject = subject_of(repository, values)
    issues.edit_text(forge, subject, user, values)
    if "labels" in values:
        issues.set_labels(forge, subject, user, values["labels"])
    if isinstance(subject, PullRequest) and "draft" in values:
        pull_requests.set_draft(forge, subject, user, bool(values["draft"]))
    if isinstance(subject, PullRequest) and "base" in values:
        await pull_requests.retarget(forge, subject, user, values["base"])
    return {"number": subject.number}


async def dismiss(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Dismiss the latest opinion of ``of`` (login) on the pull request ``number``."""
    found = [
        r
        for r in pull_of(repository, values).latest_opinionated_reviews()
        if r.author.login == values.get("of")
    ]
    if not found:
        raise not_found()
    reviews.dismiss(forge, found[0], user)
    return {"id": found[0].database_id}


async def approve(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Approve the pull request ``number``."""
    return await review(forge, repository, user, {**values, "event": "APPROVE"})


async def label(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Add ``labels`` to the issue or pull request ``number``."""
    subject = subject_of(repository, values)
    held = [label.name for label in subject.labels]
    issues.set_labels(forge, subject, user, [*held, *values.get("labels", [])])
    return {"labels": [label.name for label in subject.labels]}


async def unlabel(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Take ``labels`` from the issue or pull request ``number``."""
    subject = subject_of(repository, values)
    gone = {name.lower() for name in values.get("labels", [])}
    kept = [label.name for label in subject.labels if label.name.lower() not in gone]
    issues.set_labels(forge, subject, user, kept)
    return {"labels": kept}


async def ready(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Mark the pull request ``number`` as ready for review."""
    return await edit(forge, repository, user, {"number": values.get("number"), "draft": False})


async def draft(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Turn the pull request ``number`` into a draft."""
    return await edit(forge, repository, user, {"number": values.get("number"), "draft": True})


async def retarget(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Choose the branch ``base`` as that of the pull request ``number``."""
    return await edit(forge, repository, user, {"number": values.get("number"), "base": values.get("base")})


async def force_push(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Replace ``branch``, or the branch of the pull request ``number``, by one commit of ``files`` on ``onto``
    (a branch or a commit, by default the default branch).
    """
    branch = str(values.get("branch") or pull_of(repository, values).head_ref_name)
    onto = str(values.get("onto") or repository.default_branch)
    parent = await repository.git.branch(onto) or await repository.git.resolve(onto)
    if parent is None:
        raise ApiError(422, f"No commit found for SHA: {onto}")
    files = values.get("files") or {"NOTES.md": f"Rewritten by {user.login}.\n"}
    message = str(values.get("message") or f"Rewrite by {user.login}")
    sha = await repository.git.write_files(parent, files, message, signature(user))
    await move_branch(forge, repository, user, branch, sha)
    return {"sha": sha, "branch": branch}


async def archive(forge: Forge, repository: Repository, user: User, values: dict[str, Any]) -> dict[str, Any]:
    """Archive the repository, or make it writable again with ``archived: false``."""
    return await configure(forge, repository, user, {"archived": values.get("archived", True)})


async def remove_permission(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Take all permission from ``of`` (login)."""
    return await configure(forge, repository, user, {"permissions": {str(values.get("of")): None}})


async def configure(
    forge: Forge, repository: Repository, user: User, values: dict[str, Any]
) -> dict[str, Any]:
    """Change settings: ``archived``, ``private``, ``fork`` (whether it is one), ``has_issues``, ``delete_branch_on_merge``, ``auto_merge_allowed``, the merge
    methods (``squash_merge_allowed`` …), ``permissions`` ({login: permission or null}) and ``rules``
    ({branch: what :func:`branch_rules` reads, or null}).
    """
    for key in ("archived", "private", "fork"):
        if key in values:
            setattr(repository, f"is_{key}", bool(values[key]))
    if "has_issues" in values:
        repository.has_issues = bool(values["has_issues"])
    for key in (
        "delete_branch_on_merge",
        "auto_merge_allowed",
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
        if rules is None:
            repository.rules.pop(branch, None)
        else:
            repository.rules[branch] = branch_rules(rules)
    names = sorted(set(values) - {"as", "do", "repository"})
    forge.mutations.record("repository.configured", repository.full_name, actor=user.login, settings=names)
    return {"repository": repository.full_name}


def branch_rules(values: dict[str, Any]) -> BranchRules:
    """Read the rules of a branch from JSON: any of the fields of :class:`~demo.github.state.BranchRules`.

    :raises ApiError: 422 for another name, or a merge method that there is none of.
    """
    known = {field.name: field.default for field in fields(BranchRules)}
    if unknown := sorted(set(values) - set(known)):
        raise ApiError(422, f"{unknown[0]!r} is no rule. Rules are {', '.join(known)}.")
    chosen = {name: value for name, value in values.items() if value is not None}
    if chosen.get("queue_method", "merge") not in METHODS:
        raise ApiError(422, f"'queue_method' is one of {', '.join(METHODS)}.")
    if "required_checks" in chosen:
        chosen["required_checks"] = tuple(chosen["required_checks"])
    return BranchRules(**chosen)


ACTS: dict[str, Act] = {
    "push_commit": push_commit,
    "reset_branch": reset_branch,
    "delete_branch": delete_branch,
    "open_pull": open_pull,
    "review": review,
    "merge": merge_pull,
    "close": close,
    "reopen": reopen,
    "edit": edit,
    "configure": configure,
    "remove_permission": remove_permission,
    "archive": archive,
    "force_push": force_push,
    "dismiss": dismiss,
    "approve": approve,
    "label": label,
    "unlabel": unlabel,
    "ready": ready,
    "draft": draft,
    "retarget": retarget,
    **act_checks.ACTS,
    **act_conversation.ACTS,
    **act_forks.ACTS,
    **act_issues.ACTS,
    **act_landing.ACTS,
}
