"""REST: branches, commits, files, checks and commit statuses."""

from __future__ import annotations

import base64
from typing import Any

from aiohttp import web

from demo.github import reruns, rest_git_data
from demo.github.check_state import CheckRun, CheckSuite, Status
from demo.github.errors import ApiError, invalid, not_found
from demo.github.forge import require
from demo.github.git_values import ZERO
from demo.github.pushes import move_branch
from demo.github.rest import Call, Endpoint, answer, nothing, pages
from demo.github.rest_check_views import (
    annotation_json,
    check_run_json,
    job_json,
    status_json,
    workflow_run_json,
)
from demo.github.rest_views import api, commit_json, file_json

COMPARED_FILES = 300
"""Files that a comparison lists."""


async def get_ref(call: Call) -> web.StreamResponse:
    repository, branch = call.repository, call.request.match_info["branch"]
    sha = await repository.git.branch(branch)
    if sha is None:
        raise not_found()
    return answer(_ref(call, branch, sha))


async def create_ref(call: Call) -> web.StreamResponse:
    repository, body = call.repository, await call.body()
    ref, sha = body.get("ref"), body.get("sha")
    require(repository, call.user, "write")
    if not isinstance(ref, str) or not ref.startswith("refs/heads/"):
        raise ApiError(422, "Reference name must start with 'refs/heads/'.")
    branch = ref.removeprefix("refs/heads/")
    if not isinstance(sha, str) or await repository.git.resolve(sha) != sha:
        raise ApiError(422, "Object does not exist")
    if await repository.git.branch(branch) is not None:
        raise ApiError(422, "Reference already exists")
    await move_branch(call.forge, repository, call.user, branch, sha)
    return answer(_ref(call, branch, sha), 201)


async def delete_ref(call: Call) -> web.StreamResponse:
    branch = call.request.match_info["branch"]
    await move_branch(call.forge, call.repository, call.user, branch, ZERO)
    return nothing()


def _ref(call: Call, branch: str, sha: str) -> dict[str, Any]:
    name = call.repository.full_name
    return {
        "ref": f"refs/heads/{branch}",
        "url": api(call.forge, "repos", name, "git", "refs", "heads", branch),
        "object": {
            "type": "commit",
            "sha": sha,
            "url": api(call.forge, "repos", name, "git", "commits", sha),
        },
    }


async def get_branch(call: Call) -> web.StreamResponse:
    repository, branch = call.repository, call.request.match_info["branch"]
    sha = await repository.git.branch(branch)
    if sha is None:
        raise ApiError(404, "Branch not found", kind="NOT_FOUND")
    checks = list(repository.rules_of(branch).required_checks)
    protected = branch in repository.rules
    commit = await repository.git.commit(sha)
    facts = {
        "name": branch,
        "commit": commit_json(call.forge, repository, commit),
        "protected": protected,
        "protection": {
            "enabled": protected,
            "required_status_checks": {
                "enforcement_level": "everyone" if checks else "off",
                "contexts": checks,
                "checks": [{"context": name, "app_id": None} for name in checks],
            },
        },
    }
    return answer(facts)


async def get_commit(call: Call) -> web.StreamResponse:
    sha = await _commit(call)
    if "sha" in call.request.headers.get("Accept", ""):
        return web.Response(text=sha, content_type="application/vnd.github.sha", charset="utf-8")
    return answer(commit_json(call.forge, call.repository, await call.repository.git.commit(sha)))


async def _commit(call: Call) -> str:
    """Return the commit that the path names, by SHA, branch or tag; 422 as on GitHub where there is none."""
    ref = call.request.match_info["ref"]
    git = call.repository.git
    sha = await git.branch(ref) or await git.resolve(ref)
    if sha is None:
        raise ApiError(422, f"No commit found for SHA: {ref}")
    return sha


async def compare(call: Call) -> web.StreamResponse:
    """Tell what the head has that the merge base has not, as the three dots of the path say."""
    repository, git = call.repository, call.repository.git
    names = call.request.match_info["basehead"].split("...")
    if len(names) != 2:
        raise not_found()
    tips = [await git.branch(name) or await git.resolve(name) for name in names]
    base, head = tips
    root = await git.merge_base(base, head) if base and head else None
    if base is None or head is None or root is None:
        raise not_found()
    ahead, behind = await git.count(base, head), await git.count(head, base)
    word = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    commits = await git.log("--reverse", "--topo-order", head, f"^{base}")
    chosen, headers = call.page(commits)
    # As on GitHub the files come with the first page of commits, three hundred at the most.
    files = await git.changed_files(base, head) if call.query("page", "1") == "1" else []
    facts = {
        "url": api(call.forge, "repos", repository.full_name, "compare", "...".join(names)),
        "base_commit": commit_json(call.forge, repository, await git.commit(base)),
        "merge_base_commit": commit_json(call.forge, repository, await git.commit(root)),
        "status": word.get((ahead > 0, behind > 0), "diverged"),
        "ahead_by": ahead,
        "behind_by": behind,
        "total_commits": ahead,
        "commits": [commit_json(call.forge, repository, commit) for commit in chosen],
        "files": [await file_json(repository, base, head, file) for file in files[:COMPARED_FILES]],
    }
    return answer(facts, headers=headers)


async def get_contents(call: Call) -> web.StreamResponse:
    repository, path = call.repository, call.request.match_info.get("path", "").strip("/")
    ref = call.query("ref") or repository.default_branch
    git = repository.git
    sha = await git.branch(ref) or await git.resolve(ref)
    if sha is None:
        raise ApiError(404, f"No commit found for the ref {ref}", kind="NOT_FOUND")
    if path and (data := await git.blob(sha, path)) is not None:
        if "raw" in call.request.headers.get("Accept", ""):
            return web.Response(body=data, content_type="application/vnd.github.raw+json", charset="utf-8")
        oid = await git.entry(sha, path, "blob") or ""
        facts = _entry(call, "blob", oid, path, len(data))
        return answer({**facts, "encoding": "base64", "content": base64.encodebytes(data).decode()})
    entries = await git.list_tree(sha, path)
    if not entries:
        raise not_found()
    return answer(
        [_entry(call, kind, oid, f"{path}/{name}".strip("/"), size) for kind, oid, name, size in entries]
    )


def _entry(call: Call, kind: str, oid: str, path: str, size: int) -> dict[str, Any]:
    return {
        "type": {"blob": "file", "tree": "dir", "commit": "submodule"}[kind],
        "name": path.rsplit("/", 1)[-1],
        "path": path,
        "sha": oid,
        "size": size,
        "url": api(call.forge, "repos", call.repository.full_name, "contents", path),
    }


async def list_check_runs(call: Call) -> web.StreamResponse:
    runs = call.repository.check_runs(await _commit(call))
    if name := call.query("check_name"):
        runs = [run for run in runs if run.name == name]
    if status := call.query("status"):
        runs = [run for run in runs if run.status == status.upper()]
    chosen, headers = call.page(runs)
    views = [check_run_json(call.forge, run) for run in chosen]
    return answer({"total_count": len(runs), "check_runs": views}, headers=headers)


async def get_check_run(call: Call) -> web.StreamResponse:
    return answer(check_run_json(call.forge, call.entity(CheckRun)))


async def list_annotations(call: Call) -> web.StreamResponse:
    return pages(call, call.entity(CheckRun).annotations, annotation_json)


async def get_job(call: Call) -> web.StreamResponse:
    return answer(job_json(call.forge, _job(call)))


def _job(call: Call) -> CheckRun:
    run = call.entity(CheckRun)
    if run.suite.workflow is None:
        raise not_found()
    return run


async def list_jobs(call: Call) -> web.StreamResponse:
    suite = _workflow_run(call)
    runs = suite.latest_runs()
    chosen, headers = call.page(runs)
    return answer(
        {"total_count": len(runs), "jobs": [job_json(call.forge, r) for r in chosen]}, headers=headers
    )


async def get_job_log(call: Call) -> web.StreamResponse:
    """Lead to the log, which is served without credentials for a short time, as GitHub's storage does."""
    run = _job(call)
    if run.log is None or run.status != "COMPLETED":
        raise not_found()
    address = call.logs.publish(run)
    return web.Response(status=302, headers={"Location": address})


async def rerun_job(call: Call) -> web.StreamResponse:
    run = _job(call)
    reruns.rerun_job(call.forge, run, call.user)
    return answer({}, 201)


async def rerun_failed_jobs(call: Call) -> web.StreamResponse:
    reruns.rerun_failed_jobs(call.forge, _workflow_run(call), call.user)
    return answer({}, 201)


async def rerun_workflow_run(call: Call) -> web.StreamResponse:
    reruns.rerun_all_jobs(call.forge, _workflow_run(call), call.user)
    return answer({}, 201)


async def get_workflow_run(call: Call) -> web.StreamResponse:
    return answer(workflow_run_json(call.forge, _workflow_run(call)))


def _workflow_run(call: Call) -> CheckSuite:
    suite = call.entity(CheckSuite)
    if suite.workflow is None:
        raise not_found()
    return suite


async def rerequest_check_run(call: Call) -> web.StreamResponse:
    reruns.rerequest(call.forge, call.entity(CheckRun), call.user)
    return answer({}, 201)


async def create_status(call: Call) -> web.StreamResponse:
    repository, body = call.repository, await call.body()
    require(repository, call.user, "write")
    sha, state = call.request.match_info["ref"], body.get("state")
    if await repository.git.resolve(sha) != sha:
        raise ApiError(422, f"No commit found for SHA: {sha}")
    if state not in ("error", "failure", "pending", "success"):
        raise invalid("Status", "state")
    status = Status(
        repository=repository,
        sha=sha,
        context=str(body.get("context") or "default"),
        state=state.upper(),
        description=body.get("description"),
        target_url=body.get("target_url"),
        creator=call.user,
    )
    repository.statuses.append(call.forge.store.add(status))
    call.forge.mutations.record(
        "status.created",
        repository.full_name,
        actor=call.user.login,
        context=status.context,
        state=status.state,
        sha=sha,
    )
    return answer(status_json(call.forge, status), 201)


async def get_combined_status(call: Call) -> web.StreamResponse:
    repository, sha = call.repository, await _commit(call)
    statuses = repository.latest_statuses(sha)
    words = {status.state for status in statuses}
    state = "failure" if words & {"FAILURE", "ERROR"} else "success" if words == {"SUCCESS"} else "pending"
    chosen, headers = call.page(statuses)
    facts = {
        "sha": sha,
        "state": state,
        "total_count": len(statuses),
        "statuses": [status_json(call.forge, status) for status in chosen],
    }
    return answer(facts, headers=headers)


_REPOSITORY = "/repos/{owner}/{repo}"
_COMMITS = _REPOSITORY + "/commits/{ref:.+}"
_ACTIONS = _REPOSITORY + "/actions"

# aiohttp takes the first route that fits, so a reference with slashes comes after its sub-resources.
ROUTES: tuple[tuple[str, str, Endpoint], ...] = (
    *rest_git_data.ROUTES,
    ("GET", _REPOSITORY + "/git/ref/heads/{branch:.+}", get_ref),
    ("GET", _REPOSITORY + "/git/refs/heads/{branch:.+}", get_ref),
    ("POST", _REPOSITORY + "/git/refs", create_ref),
    ("DELETE", _REPOSITORY + "/git/refs/heads/{branch:.+}", delete_ref),
    ("GET", _REPOSITORY + "/branches/{branch:.+}", get_branch),
    ("GET", _COMMITS + "/check-runs", list_check_runs),
    ("GET", _COMMITS + "/status", get_combined_status),
    ("GET", _COMMITS, get_commit),
    ("GET", _REPOSITORY + "/contents", get_contents),
    ("GET", _REPOSITORY + "/contents/{path:.*}", get_contents),
    ("GET", _REPOSITORY + "/check-runs/{id:\\d+}", get_check_run),
    ("GET", _REPOSITORY + "/check-runs/{id:\\d+}/annotations", list_annotations),
    ("POST", _REPOSITORY + "/check-runs/{id:\\d+}/rerequest", rerequest_check_run),
    ("GET", _ACTIONS + "/jobs/{id:\\d+}", get_job),
    ("GET", _ACTIONS + "/jobs/{id:\\d+}/logs", get_job_log),
    ("POST", _ACTIONS + "/jobs/{id:\\d+}/rerun", rerun_job),
    ("GET", _ACTIONS + "/runs/{id:\\d+}", get_workflow_run),
    ("GET", _ACTIONS + "/runs/{id:\\d+}/jobs", list_jobs),
    ("POST", _ACTIONS + "/runs/{id:\\d+}/rerun", rerun_workflow_run),
    ("POST", _ACTIONS + "/runs/{id:\\d+}/rerun-failed-jobs", rerun_failed_jobs),
    ("GET", _REPOSITORY + "/compare/{basehead:.+}", compare),
    ("POST", _REPOSITORY + "/statuses/{ref}", create_status),
)
