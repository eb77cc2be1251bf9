"""What taking a deployment back needs of GitHub: trees, one commit, its branch, and what is open already.

The commit is made of objects that the repository has: nothing is checked out, no file is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from airflow_provider_agents.exceptions import ForgeConflictError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_detail_calls import read_pages
from airflow_provider_agents.hooks.github_errors import Operation
from airflow_provider_agents.hooks.github_fields import integer, mapping, text
from airflow_provider_agents.hooks.github_names import repository_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.hooks.github_transport import GitHubTransport

PASSED = frozenset({"success", "neutral", "skipped"})
"""Conclusions of check runs that count as passed."""
MOST_PAGES = 10
_READ = "Contents: read"
_WRITE = "Contents: write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """How far a branch is from a commit."""

    status: Literal["identical", "ahead", "behind", "diverged"]
    """Of the branch's head, seen from the commit; ``ahead``: the commit is an ancestor of it."""
    ahead_by: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnPull:
    """An open pull request, as far as it tells whose it is and what for."""

    number: int
    url: str
    author: str
    """Login; an App's ends in ``[bot]``."""
    head_branch: str
    head_sha: str
    body: str
    labels: tuple[str, ...]
    same_repository: bool


class RevertCalls:
    """The part of :class:`~.github_client.GitHubClient` that makes and finds rollbacks."""

    _transport: GitHubTransport

    async def tree_of(self, repository: str, sha: str, path: str = "") -> str | None:
        """Return the id of the tree of a commit, or of a folder in it; ``None`` where there is no such folder.

        :param path: ``deploy/shop``; empty: all of it.
        :raises ForgeAccessError: there is no such commit, or it may not be read.
        """
        operation = Operation(f"read the tree of {repository} at {sha[:12]}", _READ)
        commit = await self._transport.read(
            repository_path(repository, f"git/commits/{quote(sha)}"), operation
        )
        tree = text(mapping(mapping(commit).get("tree")).get("sha"))
        if not tree:
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} names no tree")
        return await self._folder(repository, tree, path, operation)

    async def _folder(self, repository: str, tree: str, path: str, operation: Operation) -> str | None:
        for name in path.split("/") if path else ():
            answer = mapping(
                await self._transport.read(repository_path(repository, f"git/trees/{quote(tree)}"), operation)
            )
            entries = answer.get("tree")
            if not isinstance(entries, list) or answer.get("truncated") is True:
                raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
            found = next((e for e in map(mapping, entries) if text(e.get("path")) == name), {})
            if found.get("type") != "tree" or not text(found.get("sha")):
                return None
            tree = text(found.get("sha"))
        return tree

    async def distance(self, repository: str, sha: str, head: str) -> Distance:
        """Return how far ``head`` is from ``sha``.

        :raises ForgeAccessError: one of them is gone, or may not be read.
        """
        operation = Operation(f"compare {sha[:12]} with {head[:12]} in {repository}", _READ)
        path = repository_path(repository, f"compare/{quote(sha)}...{quote(head)}")
        answer = mapping(await self._transport.read(path, operation, {"per_page": "1"}))
        status, ahead = answer.get("status"), integer(answer.get("ahead_by"))
        if status not in ("identical", "ahead", "behind", "diverged") or ahead is None:
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        return Distance(status=status, ahead_by=ahead)

    async def commit_passed(self, repository: str, sha: str) -> bool:
        """Return whether a commit has checks, and all of them have passed.

        One that runs, or more than can be read, is no.
        """
        operation = Operation(
            f"read the checks of {repository} at {sha[:12]}", "Checks: read, Commit statuses: read"
        )
        nodes = await read_pages(
            self._transport,
            repository_path(repository, f"commits/{quote(sha)}/check-runs"),
            operation,
            MOST_PAGES,
            key="check_runs",
        )
        if len(nodes) >= MOST_PAGES * 100 or not all(node.get("conclusion") in PASSED for node in nodes):
            return False
        path = repository_path(repository, f"commits/{quote(sha)}/status")
        combined = mapping(await self._transport.read(path, operation))
        total = integer(combined.get("total_count"))
        if total is None:
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        return combined.get("state") == "success" if total else bool(nodes)

    async def restored_tree(self, repository: str, base_sha: str, path: str, tree: str) -> str:
        """Return the id of a commit's tree with another folder in its place; it is made where there is none yet.

        :param path: the folder; empty: the whole tree.
        :param tree: id of the tree that is to stand there.
        :raises ForgeConflictError: GitHub made something else.
        """
        if not path:
            return tree
        operation = Operation(f"make a tree in {repository}", _WRITE)
        entry = {"path": path, "mode": "040000", "type": "tree", "sha": tree}
        values = {"base_tree": await self.tree_of(repository, base_sha), "tree": [entry]}
        made = await self._transport.write(
            "POST", repository_path(repository, "git/trees"), operation, values
        )
        found = _sha(made, operation)
        # Files that only the other folder had must be gone.
        if await self._folder(repository, found, path, operation) != tree:
            raise ForgeConflictError(f"GitHub made another tree than the one that {path} was to get")
        return found

    async def make_commit(self, repository: str, tree: str, parent: str, message: str) -> str:
        """Make a commit and return its SHA; no branch moves."""
        operation = Operation(f"make a commit in {repository}", _WRITE)
        values: dict[str, Any] = {"message": message, "tree": tree, "parents": [parent]}
        made = await self._transport.write(
            "POST", repository_path(repository, "git/commits"), operation, values
        )
        return _sha(made, operation)

    async def parents_of(self, repository: str, sha: str) -> tuple[str, ...]:
        """Return the parents of a commit."""
        operation = Operation(f"read commit {sha[:12]} of {repository}", _READ)
        commit = await self._transport.read(
            repository_path(repository, f"git/commits/{quote(sha)}"), operation
        )
        nodes = mapping(commit).get("parents")
        if not isinstance(nodes, list):
            raise ForgeUnavailableError(f"GitHub's answer to {operation.what} is incomplete")
        return tuple(text(mapping(node).get("sha")) for node in nodes)

    async def create_branch(self, repository: str, branch: str, sha: str) -> None:
        """Make a branch.

        :raises ForgeConflictError: there is one of that name.
        """
        operation = Operation(f"make branch {branch} of {repository}", _WRITE)
        values = {"ref": f"refs/heads/{branch}", "sha": sha}
        await self._transport.write("POST", repository_path(repository, "git/refs"), operation, values)

    async def reset_branch(self, repository: str, branch: str, sha: str) -> None:
        """Point a branch of ours at another commit, whatever it was at.

        :raises ForgeConflictError: it is gone, or a rule protects it.
        """
        operation = Operation(f"move branch {branch} of {repository}", _WRITE)
        path = repository_path(repository, f"git/refs/heads/{quote(branch, safe='/')}")
        await self._transport.write("PATCH", path, operation, {"sha": sha, "force": True})

    async def open_pulls_into(self, repository: str, base: str) -> tuple[OwnPull, ...]:
        """Return all open pull requests into a branch.

        :raises ForgeConflictError: there are more than a thousand; nothing may be concluded from a part of them.
        """
        operation = Operation(f"list the open pull requests of {repository}", "Pull requests: read")
        path = repository_path(repository, "pulls")
        found: list[OwnPull] = []
        for page in range(1, MOST_PAGES + 1):
            params = {"state": "open", "base": base, "per_page": "100", "page": str(page)}
            answer = await self._transport.read(path, operation, params)
            if not isinstance(answer, list):
                raise ForgeUnavailableError(f"GitHub could not {operation.what}: the answer is no list")
            found += [_pull(mapping(node), repository) for node in answer]
            if len(answer) < 100:
                return tuple(found)
        raise ForgeConflictError(f"{repository} has more than {MOST_PAGES * 100} open pull requests")


def _pull(node: Mapping[str, Any], repository: str) -> OwnPull:
    number, head = integer(node.get("number")), mapping(node.get("head"))
    if number is None or not text(head.get("sha")):
        raise ForgeUnavailableError(f"GitHub's answer about the pull requests of {repository} is incomplete")
    labels = node.get("labels")
    where = text(mapping(head.get("repo")).get("full_name"))
    return OwnPull(
        number=number,
        url=text(node.get("html_url")),
        author=text(mapping(node.get("user")).get("login")),
        head_branch=text(head.get("ref")),
        head_sha=text(head.get("sha")),
        body=text(node.get("body")),
        labels=tuple(
            name
            for each in (labels if isinstance(labels, list) else [])
            if (name := text(mapping(each).get("name")))
        ),
        same_repository=where.casefold() == repository.casefold(),
    )


def _sha(answer: Any, operation: Operation) -> str:
    if not (sha := text(mapping(answer).get("sha"))):
        raise ForgeUnavailableError(f"GitHub's answer to {operation.what} names no object")
    return sha
