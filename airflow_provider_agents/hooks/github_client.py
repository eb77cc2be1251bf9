"""What this project asks of GitHub and does there, as typed calls on one open session."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeUnavailableError,
    InvalidInputError,
)
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_models import CommentRef, MergeResult
from airflow_provider_agents.hooks.github_parse_objects import (
    parse_annotations,
    parse_issue,
    parse_pull_request_ref,
    parse_repository,
)
from airflow_provider_agents.hooks.github_queries import BRANCH_HEAD, COMMENTS, REPOSITORY
from airflow_provider_agents.hooks.github_snapshot import read_snapshot

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing import MergeMethod
    from airflow_provider_agents.domain.pull_request import Annotation, PullRequestSnapshot
    from airflow_provider_agents.hooks.github_models import Issue, PullRequestRef, RepositoryInfo
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

MOST_COMMENT_PAGES = 10
"""Pages of 100 comments, newest first, in which :meth:`GitHubClient.comment_once` looks for its marker."""

_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:_[A-Za-z0-9]+)?/[A-Za-z0-9._-]+")
_MARKER = re.compile(r"[A-Za-z0-9._:/#@=+ -]{1,200}")


class GitHubClient:
    """Calls to one GitHub; open one with :meth:`AgentsGitHubHook.client`.

    Every method takes the repository as ``owner/name`` and raises
    :class:`~airflow_provider_agents.exceptions.ForgeError`: ``ForgeUnavailableError`` and
    ``ForgeRateLimitedError`` pass by themselves, ``ForgeAccessError`` needs a person, and
    ``ForgeConflictError`` a fresh reading. Reads are tried again when GitHub is unavailable, writes never:
    after a write's ``ForgeUnavailableError`` it may have happened, so read before you repeat it.
    """

    def __init__(self, transport: GitHubTransport) -> None:
        self._transport = transport

    async def repository(self, repository: str) -> RepositoryInfo:
        """Return the facts about a repository."""
        operation = Operation(f"read repository {repository}", "Metadata: read, Contents: read")
        answer = await self._transport.query(REPOSITORY, _owner_and_name(repository), operation)
        if answer.data.get("repository") is None:
            raise absent(operation, answer.errors)
        return parse_repository(answer.data, repository)

    async def branch_head(self, repository: str, branch: str) -> str | None:
        """Return the SHA that ``branch`` points to, or ``None`` where there is no such branch."""
        operation = Operation(f"read branch {branch} of {repository}", "Contents: read")
        variables = {**_owner_and_name(repository), "ref": f"refs/heads/{branch}"}
        answer = await self._transport.query(BRANCH_HEAD, variables, operation)
        node = answer.data.get("repository")
        if node is None or answer.errors:
            raise absent(operation, answer.errors)
        if node.get("ref") is None:
            return None
        try:
            return str(node["ref"]["target"]["oid"])
        except (KeyError, TypeError):
            raise ForgeUnavailableError(
                f"GitHub's answer about branch {branch} of {repository} is incomplete"
            ) from None

    async def issue(self, repository: str, number: int) -> Issue:
        """Return an issue; a pull request is one too."""
        what = f"{repository}#{number}"
        operation = Operation(f"read issue {what}", "Issues: read")
        return parse_issue(await self._transport.read(_path(repository, f"issues/{number}"), operation), what)

    async def snapshot(self, repository: str, number: int) -> PullRequestSnapshot:
        """Return a full reading of a pull request: see :func:`.github_snapshot.read_snapshot`."""
        _owner_and_name(repository)
        return await read_snapshot(self._transport, repository, number)

    async def find_pull_request(
        self, repository: str, head_branch: str, base: str | None = None
    ) -> PullRequestRef | None:
        """Return the pull request of a branch of this repository: an open one, else the most recent.

        :param base: only pull requests into this branch.
        """
        owner = _owner_and_name(repository)["owner"]
        operation = Operation(
            f"list pull requests of branch {head_branch} of {repository}", "Pull requests: read"
        )
        params = {"head": f"{owner}:{head_branch}", "state": "all", "sort": "created", "direction": "desc"}
        params |= {"per_page": "100"} | ({"base": base} if base else {})
        answer = await self._transport.read(_path(repository, "pulls"), operation, params)
        found = [
            parse_pull_request_ref(node, f"the pull requests of {repository}")
            for node in (answer if isinstance(answer, list) else [])
        ]
        # GitHub ignores a head filter that it does not understand.
        found = [ref for ref in found if ref.head_branch == head_branch and base in (None, ref.base_branch)]
        return min(found, key=lambda ref: (ref.state != "OPEN", -ref.number), default=None)

    async def create_pull_request(
        self, repository: str, head: str, base: str, title: str, body: str, *, draft: bool = False
    ) -> PullRequestRef:
        """Open a pull request; where the branch has an open one already, return that.

        :raises ForgeConflictError: GitHub sees nothing to merge, or no such branch.
        """
        operation = Operation(f"open a pull request for {head} in {repository}", "Pull requests: write")
        values = {"title": title, "head": head, "base": base, "body": body, "draft": draft}
        try:
            answer = await self._transport.write("POST", _path(repository, "pulls"), operation, values)
        except ForgeConflictError as conflict:
            existing = await self.find_pull_request(repository, head, base)
            if existing is None or existing.state != "OPEN":
                raise conflict from None
            return existing
        return parse_pull_request_ref(answer, f"the new pull request of {repository}")

    async def merge_pull_request(
        self,
        repository: str,
        number: int,
        head_sha: str,
        method: MergeMethod,
        title: str | None = None,
        message: str | None = None,
    ) -> MergeResult:
        """Merge a pull request if its head still is ``head_sha``.

        :param title: title of the commit; GitHub's default without.
        :param message: body of the commit; GitHub's default without.
        :raises ForgeConflictError: the head moved, or GitHub says that it cannot be merged now.
        :raises ForgeUnavailableError: the answer was lost; the merge may have happened.
        """
        operation = Operation(f"merge {repository}#{number}", "Pull requests: write, Contents: write")
        values = {"sha": head_sha, "merge_method": method}
        values |= {"commit_title": title} if title is not None else {}
        values |= {"commit_message": message} if message is not None else {}
        path = _path(repository, f"pulls/{number}/merge")
        answer = await self._transport.write("PUT", path, operation, values)
        sha = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(sha, str) or answer.get("merged") is not True:
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} does not say that it is merged")
        return MergeResult(sha=sha)

    async def comment(self, repository: str, number: int, body: str) -> CommentRef:
        """Write a comment on an issue or a pull request."""
        operation = Operation(f"comment on {repository}#{number}", "Issues: write or Pull requests: write")
        path = _path(repository, f"issues/{number}/comments")
        answer = await self._transport.write("POST", path, operation, {"body": body})
        return CommentRef(url=str(answer.get("html_url", "")) if isinstance(answer, dict) else "")

    async def comment_once(self, repository: str, number: int, marker: str, body: str) -> CommentRef:
        """Write a comment unless this credential already wrote one with ``marker``.

        The marker is kept in the comment as a hidden HTML comment. The same marker in the comment of
        somebody else does not count.

        :param marker: e.g. ``run=coding_task/manual_1 step=finish``; letters, digits and ``._:/#@=+ -``.
        """
        if not _MARKER.fullmatch(marker) or "--" in marker:
            raise ValueError(f"not a marker for a hidden comment: {marker!r}")
        hidden = f"<!-- agents {marker} -->"
        existing = await self._own_comment(repository, number, hidden)
        return existing or await self.comment(repository, number, f"{body}\n\n{hidden}")

    async def _own_comment(self, repository: str, number: int, text: str) -> CommentRef | None:
        operation = Operation(
            f"read the comments of {repository}#{number}", "Issues: read, Pull requests: read"
        )
        variables: dict[str, Any] = {**_owner_and_name(repository), "number": number, "before": None}
        for _ in range(MOST_COMMENT_PAGES):
            answer = await self._transport.query(COMMENTS, variables, operation)
            try:
                comments = answer.data["repository"]["issueOrPullRequest"]["comments"]
                for node in reversed(comments["nodes"]):
                    if node["viewerDidAuthor"] is True and text in node["body"]:
                        return CommentRef(url=str(node.get("url", "")), created=False)
                page = comments["pageInfo"]
                if not page["hasPreviousPage"]:
                    return None
                variables["before"] = page["startCursor"]
            except (KeyError, TypeError):
                raise absent(operation, answer.errors) from None
        return None

    async def close_issue(
        self, repository: str, number: int, reason: Literal["completed", "not_planned"] = "completed"
    ) -> None:
        """Close an issue; one that is closed stays closed."""
        operation = Operation(f"close {repository}#{number}", "Issues: write")
        values = {"state": "closed", "state_reason": reason}
        await self._transport.write("PATCH", _path(repository, f"issues/{number}"), operation, values)

    async def delete_branch(self, repository: str, branch: str) -> None:
        """Delete a branch; one that is gone already is fine."""
        operation = Operation(f"delete branch {branch} of {repository}", "Contents: write")
        path = _path(repository, f"git/refs/heads/{quote(branch, safe='/')}")
        try:
            await self._transport.write("DELETE", path, operation)
        except (ForgeAccessError, ForgeConflictError):
            # 422 and 404 both may mean that it is gone, and both may mean that we may not.
            if await self.branch_head(repository, branch) is not None:
                raise

    async def check_summary(self, repository: str, check_run_id: int) -> str:
        """Return the summary and text (Markdown) that a check run wrote, empty where it wrote none."""
        operation = Operation(f"read check run {check_run_id} of {repository}", "Checks: read")
        answer = await self._transport.read(_path(repository, f"check-runs/{check_run_id}"), operation)
        output = answer.get("output") if isinstance(answer, dict) else None
        parts = (output.get(key) for key in ("summary", "text")) if isinstance(output, dict) else ()
        return "\n\n".join(part for part in parts if isinstance(part, str) and part)

    async def check_annotations(
        self, repository: str, check_run_id: int, limit: int = 20
    ) -> tuple[Annotation, ...]:
        """Return the first annotations of a check run.

        :param limit: most annotations to return, up to 100.
        """
        operation = Operation(f"read annotations of check run {check_run_id} of {repository}", "Checks: read")
        path = _path(repository, f"check-runs/{check_run_id}/annotations")
        answer = await self._transport.read(path, operation, {"per_page": str(limit)})
        return parse_annotations(answer)[:limit]

    async def check_log(self, repository: str, job_id: int, max_bytes: int = 8192) -> str | None:
        """Return the end of the log of a GitHub Actions job, or ``None`` where there is none to read.

        :param job_id: the job's number; a check run of GitHub Actions has the number of its job.
        :param max_bytes: most bytes of UTF-8 to return; the last ones are kept.
        """
        operation = Operation(f"read the log of job {job_id} of {repository}", "Actions: read")
        path = _path(repository, f"actions/jobs/{job_id}/logs")
        try:
            data = await self._transport.tail(path, operation, max_bytes)
        except ForgeAccessError:
            return None
        return data.decode(errors="ignore")


def _owner_and_name(repository: str) -> dict[str, str]:
    if not _REPOSITORY.fullmatch(repository) or repository.endswith(("/.", "/..")):
        raise InvalidInputError([f"repository: must be owner/name, not {repository!r}"])
    owner, name = repository.split("/")
    return {"owner": owner, "name": name}


def _path(repository: str, rest: str) -> str:
    _owner_and_name(repository)
    return f"/repos/{repository}/{rest}"
