"""What this project asks of GitHub and does there, as typed calls on one open session."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_branch_calls import BranchCalls
from airflow_provider_agents.hooks.github_errors import Operation, absent, error_message, response_error
from airflow_provider_agents.hooks.github_landing_calls import LandingCalls
from airflow_provider_agents.hooks.github_models import MergeResult
from airflow_provider_agents.hooks.github_names import owner_and_name, repository_path
from airflow_provider_agents.hooks.github_open_pulls import read_open_pulls
from airflow_provider_agents.hooks.github_organization import read_owned_repositories
from airflow_provider_agents.hooks.github_parse_objects import (
    parse_annotations,
    parse_file_names,
    parse_issue,
    parse_pull_request_ref,
    parse_repository,
    parse_text_file,
)
from airflow_provider_agents.hooks.github_pulse import read_pulses
from airflow_provider_agents.hooks.github_queries import BRANCH_HEAD, REPOSITORY
from airflow_provider_agents.hooks.github_revert_calls import RevertCalls
from airflow_provider_agents.hooks.github_rule_calls import RuleCalls
from airflow_provider_agents.hooks.github_snapshot import read_snapshot, read_snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.landing_policy import MergeMethod
    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pull_request import Annotation, PullRequestPulse, PullRequestSnapshot
    from airflow_provider_agents.exceptions import ForgeError
    from airflow_provider_agents.hooks.github_models import Issue, PullRequestRef, RateLimit, RepositoryInfo
    from airflow_provider_agents.hooks.github_open_labels import LabelMemory
    from airflow_provider_agents.hooks.github_reading import Ref
    from airflow_provider_agents.hooks.github_transport import GitHubTransport


class GitHubClient(LandingCalls, BranchCalls, RevertCalls, RuleCalls):
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
        answer = await self._transport.query(REPOSITORY, owner_and_name(repository), operation)
        if answer.data.get("repository") is None:
            raise absent(operation, answer.errors)
        return parse_repository(answer.data, repository)

    async def branch_head(self, repository: str, branch: str) -> str | None:
        """Return the SHA that ``branch`` points to, or ``None`` where there is no such branch."""
        operation = Operation(f"read branch {branch} of {repository}", "Contents: read")
        variables = {**owner_and_name(repository), "ref": f"refs/heads/{branch}"}
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

    async def root_files(self, repository: str, sha: str) -> frozenset[str]:
        """Return the names of the files in the root of a commit, without folders; at most GitHub's 1,000."""
        operation = Operation(f"list the files of {repository} at {sha[:12]}", "Contents: read")
        answer = await self._transport.read(repository_path(repository, "contents"), operation, {"ref": sha})
        return parse_file_names(answer, f"the files of {repository} at {sha[:12]}")

    async def text_file(self, repository: str, path: str, sha: str, *, most_bytes: int) -> str | None:
        """Return the text of a file at a commit, or ``None`` where there is no such file.

        :param most_bytes: size from which on it is not read.
        :raises ForgeConflictError: it is larger, no file, or not UTF-8.
        """
        what = f"{path} of {repository} at {sha[:12]}"
        operation = Operation(f"read {what}", "Contents: read")
        url = f"{repository_path(repository, 'contents')}/{quote(path)}?ref={quote(sha)}"
        status, headers, answer = await self._transport.answer("GET", url, operation)
        # GitHub has other words for a commit that it does not know (yet): that says nothing about the file.
        if status == 404 and not error_message(answer).startswith("No commit found"):
            return None
        if status != 200:
            raise response_error(operation, status, headers, answer, datetime.now(UTC))
        return parse_text_file(answer, what, most_bytes)

    async def issue(self, repository: str, number: int) -> Issue:
        """Return an issue; a pull request is one too."""
        what = f"{repository}#{number}"
        operation = Operation(f"read issue {what}", "Issues: read")
        return parse_issue(
            await self._transport.read(repository_path(repository, f"issues/{number}"), operation), what
        )

    async def snapshot(self, repository: str, number: int) -> PullRequestSnapshot:
        """Return a full reading of a pull request: see :func:`.github_snapshot.read_snapshots`."""
        owner_and_name(repository)
        return await read_snapshot(self._transport, repository, number)

    async def snapshots(self, refs: Sequence[Ref]) -> dict[Ref, PullRequestSnapshot | ForgeError]:
        """Return a full reading of each pull request, or why it could not be read.

        Ten are read in one query; what goes wrong with one of them is the error of that one.

        :param refs: ``owner/name`` and number of each, of any repositories.
        :raises ForgeError: a rate limit is used up, or nothing could be read.
        """
        for repository, _ in refs:
            owner_and_name(repository)
        return await read_snapshots(self._transport, refs)

    async def pulses(self, node_ids: Sequence[str]) -> dict[str, PullRequestPulse | ForgeError]:
        """Return the small reading of each pull request, or why it could not be read.

        A hundred are read in one query, for one point.

        :param node_ids: of pull requests of any repositories, any number.
        :raises ForgeError: a rate limit is used up, or nothing could be read.
        """
        return await read_pulses(self._transport, node_ids)

    async def open_pull_requests(
        self, repositories: Sequence[str], labels: LabelMemory | None = None
    ) -> dict[str, tuple[OpenPullRequest, ...] | ForgeError]:
        """Return the open pull requests of each repository, or why they could not be read.

        See :func:`.github_open_pulls.read_open_pulls`. Five repositories cost one point, and a hundred pull requests
        whose labels have to be read another one.

        :param labels: what earlier listings of this credential know of labels; kept up to date.
        :raises ForgeError: a rate limit is used up, or nothing could be read.
        """
        for repository in repositories:
            owner_and_name(repository)
        return await read_open_pulls(self._transport, repositories, labels)

    async def organization_repositories(self, organization: str) -> tuple[str, ...]:
        """Return ``owner/name`` of an account's repositories that are neither archived nor forks.

        :param organization: login of an organisation, or of a user.
        """
        return await read_owned_repositories(self._transport, organization)

    @property
    def rate_limit(self) -> RateLimit | None:
        """What is left of GraphQL's budget, as the last answer said; ``None`` before the first, or without a limit."""
        return self._transport.rate_limit

    async def find_pull_request(
        self, repository: str, head_branch: str, base: str | None = None
    ) -> PullRequestRef | None:
        """Return the pull request of a branch of this repository: an open one, else the most recent.

        :param base: only pull requests into this branch.
        """
        owner = owner_and_name(repository)["owner"]
        operation = Operation(
            f"list pull requests of branch {head_branch} of {repository}", "Pull requests: read"
        )
        params = {"head": f"{owner}:{head_branch}", "state": "all", "sort": "created", "direction": "desc"}
        params |= {"per_page": "100"} | ({"base": base} if base else {})
        answer = await self._transport.read(repository_path(repository, "pulls"), operation, params)
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
            answer = await self._transport.write(
                "POST", repository_path(repository, "pulls"), operation, values
            )
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
        path = repository_path(repository, f"pulls/{number}/merge")
        answer = await self._transport.write("PUT", path, operation, values)
        sha = answer.get("sha") if isinstance(answer, dict) else None
        if not isinstance(sha, str) or answer.get("merged") is not True:
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} does not say that it is merged")
        return MergeResult(sha=sha)

    async def close_issue(
        self, repository: str, number: int, reason: Literal["completed", "not_planned"] = "completed"
    ) -> None:
        """Close an issue; one that is closed stays closed."""
        operation = Operation(f"close {repository}#{number}", "Issues: write")
        values = {"state": "closed", "state_reason": reason}
        await self._transport.write(
            "PATCH", repository_path(repository, f"issues/{number}"), operation, values
        )

    async def delete_branch(self, repository: str, branch: str) -> None:
        """Delete a branch; one that is gone already is fine."""
        operation = Operation(f"delete branch {branch} of {repository}", "Contents: write")
        path = repository_path(repository, f"git/refs/heads/{quote(branch, safe='/')}")
        try:
            await self._transport.write("DELETE", path, operation)
        except (ForgeAccessError, ForgeConflictError):
            # 422 and 404 both may mean that it is gone, and both may mean that we may not.
            if await self.branch_head(repository, branch) is not None:
                raise

    async def check_summary(self, repository: str, check_run_id: int) -> str:
        """Return the summary and text (Markdown) that a check run wrote, empty where it wrote none."""
        operation = Operation(f"read check run {check_run_id} of {repository}", "Checks: read")
        answer = await self._transport.read(
            repository_path(repository, f"check-runs/{check_run_id}"), operation
        )
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
        path = repository_path(repository, f"check-runs/{check_run_id}/annotations")
        answer = await self._transport.read(path, operation, {"per_page": str(limit)})
        return parse_annotations(answer)[:limit]
