"""The details of a pull request that landing asks for now and then: files, commits, permissions, logs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow_provider_agents.domain.commits import CommitRef
from airflow_provider_agents.domain.job_log import JobLogReader
from airflow_provider_agents.domain.risk import ChangedFile
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_authority import read_permission
from airflow_provider_agents.hooks.github_errors import Operation, absent
from airflow_provider_agents.hooks.github_fields import GHOST, integer, mapping, text
from airflow_provider_agents.hooks.github_mutations import VIEWER
from airflow_provider_agents.hooks.github_names import repository_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.job_log import LogExtract
    from airflow_provider_agents.hooks.github_models import RepositoryPermission
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

PAGE = 100
MOST_FILE_PAGES = 30
"""GitHub lists at most 3,000 files of a pull request."""
MOST_COMMIT_PAGES = 3
"""GitHub lists at most 250 commits of a pull request."""


class DetailCalls:
    """The part of :class:`~.github_client.GitHubClient` that reads details of pull requests."""

    _transport: GitHubTransport

    async def changed_files(self, repository: str, number: int) -> tuple[ChangedFile, ...]:
        """Return the files that a pull request changes; at most the 3,000 that GitHub lists."""
        operation = Operation(f"read the files of {repository}#{number}", "Pull requests: read")
        nodes = await read_pages(
            self._transport, repository_path(repository, f"pulls/{number}/files"), operation, MOST_FILE_PAGES
        )
        return tuple(
            ChangedFile(
                path=text(node.get("filename")),
                status=text(node.get("status")),
                additions=integer(node.get("additions")) or 0,
                deletions=integer(node.get("deletions")) or 0,
                previous_path=text(node.get("previous_filename")),
            )
            for node in nodes
        )

    async def pull_request_commits(self, repository: str, number: int) -> tuple[CommitRef, ...]:
        """Return the commits of a pull request, oldest first; at most the 250 that GitHub lists."""
        operation = Operation(f"read the commits of {repository}#{number}", "Pull requests: read")
        path = repository_path(repository, f"pulls/{number}/commits")
        return tuple(
            _commit(node) for node in await read_pages(self._transport, path, operation, MOST_COMMIT_PAGES)
        )

    async def commits_between(self, repository: str, base_sha: str, head_sha: str) -> tuple[CommitRef, ...]:
        """Return the commits that ``head_sha`` has and ``base_sha`` has not, oldest first; at most 250.

        :raises ForgeAccessError: one of them is gone, e.g. after a force-push, or may not be read.
        """
        operation = Operation(
            f"compare {base_sha[:12]} with {head_sha[:12]} in {repository}", "Contents: read"
        )
        path = _comparison(repository, base_sha, head_sha)
        nodes = await read_pages(self._transport, path, operation, MOST_COMMIT_PAGES, key="commits")
        return tuple(_commit(node) for node in nodes)

    async def changed_on_both_sides(self, repository: str, base: str, head: str) -> tuple[str, ...]:
        """Return the paths that both sides changed since they parted: where a conflict can be.

        GitHub names at most 300 files of each side.

        :param base: a SHA or the name of a branch; so is ``head``.
        """
        ours = await self._changed_since_parting(repository, base, head)
        theirs = await self._changed_since_parting(repository, head, base)
        return tuple(sorted(ours & theirs))

    async def _changed_since_parting(self, repository: str, base: str, head: str) -> frozenset[str]:
        operation = Operation(f"compare {base[:40]} with {head[:40]} in {repository}", "Contents: read")
        # The files stand on the first page of commits, all that there are.
        answer = await self._transport.read(_comparison(repository, base, head), operation, {"per_page": "1"})
        files = mapping(answer).get("files")
        if not isinstance(files, list):
            raise ForgeUnavailableError(f"GitHub could not {operation.what}: the answer names no files")
        names = (text(mapping(f).get(key)) for f in files for key in ("filename", "previous_filename"))
        return frozenset(name for name in names if name)

    async def permission(self, repository: str, login: str) -> RepositoryPermission | None:
        """Return what somebody may do in a repository; see :func:`.github_authority.read_permission`."""
        return await read_permission(self._transport, repository, login)

    async def viewer_login(self) -> str:
        """Return the login of the account that the credential speaks for; an App's ends in ``[bot]``."""
        operation = Operation("read whose the credential is", "Metadata: read")
        answer = await self._transport.query(VIEWER, {}, operation)
        if not (login := text(mapping(answer.data.get("viewer")).get("login"))):
            raise absent(operation, answer.errors)
        return login

    async def check_log(self, repository: str, job_id: int) -> LogExtract | None:
        """Return what counts of the log of a GitHub Actions job, or ``None`` where there is none to read.

        :param job_id: the job's number; a check run of GitHub Actions has the number of its job.
        """
        operation = Operation(f"read the log of job {job_id} of {repository}", "Actions: read")
        path = repository_path(repository, f"actions/jobs/{job_id}/logs")
        try:
            reader = await self._transport.stream(path, operation, JobLogReader)
        except ForgeAccessError:
            return None
        return reader.extract()


async def read_pages(
    transport: GitHubTransport, path: str, operation: Operation, most: int, *, key: str | None = None
) -> list[Mapping[str, Any]]:
    """Return the entries of a list, page by page.

    :param most: most pages that are read.
    :param key: where in each answer the list stands.
    :raises ForgeUnavailableError: an answer is no list.
    """
    found: list[Mapping[str, Any]] = []
    for page in range(1, most + 1):
        answer = await transport.read(path, operation, {"per_page": str(PAGE), "page": str(page)})
        nodes = answer if key is None else mapping(answer).get(key)
        if not isinstance(nodes, list):
            raise ForgeUnavailableError(f"GitHub could not {operation.what}: the answer is no list")
        found += [node for node in nodes if isinstance(node, dict)]
        if len(nodes) < PAGE:
            break
    return found


def _comparison(repository: str, base: str, head: str) -> str:
    return repository_path(repository, f"compare/{quote(base, safe='/')}...{quote(head, safe='/')}")


def _commit(node: Mapping[str, Any]) -> CommitRef:
    commit = mapping(node.get("commit"))
    author, message = mapping(commit.get("author")), text(commit.get("message"))
    name, login = text(author.get("name")), text(mapping(node.get("author")).get("login"))
    return CommitRef(
        sha=text(node.get("sha")),
        author=login or name or GHOST,
        title=message.split("\n", 1)[0],
        message=message,
        author_name=name,
        author_email=text(author.get("email")),
        login=login,
        verified=mapping(commit.get("verification")).get("verified") is True,
    )
