"""The stand-in's heart: its state, its log and its settings, which every operation is handed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.github.checks import CheckRunner
from demo.github.clock import Clock, activate
from demo.github.errors import ApiError, forbidden, not_found
from demo.github.git_values import ZERO, Signature
from demo.github.mutations import MutationLog
from demo.github.repositories import BareRepository
from demo.github.state import BranchRules, Entity, EntityT, Permission, Repository, Store, User
from demo.github.synthetic import SyntheticRepository

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How the stand-in behaves in time; all in seconds."""

    mergeability_delay: float = 1.0
    """How long ``mergeable`` is ``UNKNOWN`` after a push to the head or the base, where no repository has a
    delay of its own (:attr:`Forge.mergeability_delays`).
    """
    check_timeout: float = 120.0
    """Limit of one workflow job."""
    parallel_checks: int = 2
    """Workflow jobs that run at once."""


class Forge:
    """State, log and settings.

    :param data_dir: existing folder for the bare repositories and the mutation log; ``None``: all is in
        memory, for :meth:`seed_synthetic` alone.
    :param time: its clock, which becomes that of this process; by default the machine's time.
    """

    def __init__(self, data_dir: Path | None, settings: Settings, time: Clock | None = None) -> None:
        self.data_dir = data_dir
        self.settings = settings
        self.clock = time or Clock()
        activate(self.clock)
        self.mergeability_delays: dict[str, float] = {}
        """Seconds by full name in lower case, for repositories that have a delay of their own."""
        self.url = ""
        self.store = Store()
        self.mutations = MutationLog(data_dir / "mutations.jsonl" if data_dir else None)
        self.checks = CheckRunner(self)
        self._seeding = asyncio.Lock()

    def link(self, *parts: object) -> str:
        """Return the address of a page of the stand-in."""
        return "/".join([self.url, *(str(part) for part in parts)])

    def repository(self, owner: str, name: str, user: User | None) -> Repository:
        """Return a repository that ``user`` may see.

        :raises ApiError: 404, also for one that exists but is hidden from ``user``.
        """
        repository = self.store.repository(f"{owner}/{name}")
        if repository is None or repository.permission_of(user) is None:
            raise not_found()
        return repository

    def node(self, node_id: str, kind: type[EntityT], user: User) -> EntityT:
        """Return the ``kind`` with that node id which ``user`` may see.

        :raises ApiError: there is none.
        """
        entity = self.store.nodes.get(node_id)
        repository = repository_of(entity)
        hidden = repository is not None and repository.permission_of(user) is None
        if not isinstance(entity, kind) or hidden:
            raise ApiError(
                404, f"Could not resolve to a node with the global id of '{node_id}'", kind="NOT_FOUND"
            )
        return entity

    async def seed(
        self,
        full_name: str,
        folder: Path,
        *,
        permissions: Mapping[str, Permission],
        default_branch: str = "main",
        private: bool = True,
        rules: Mapping[str, BranchRules] | None = None,
    ) -> Repository:
        """Make the repository ``owner/name`` from the files of a folder, and run its checks.

        :raises ApiError: 422 when the name is taken or wrong, or the folder is not there.
        """
        owner, name = self._split(full_name)
        if self.data_dir is None:
            raise ApiError(422, "This stand-in has no folder: it takes synthetic repositories only.")
        if not await asyncio.to_thread(folder.is_dir):
            raise ApiError(422, f"{folder} is not a folder.")
        async with self._seeding:
            self._must_be_new(full_name)
            git = BareRepository(self.data_dir / "repositories" / owner.lower() / f"{name.lower()}.git")
            git.path.parent.mkdir(parents=True, exist_ok=True)
            await git.create(default_branch)
            first = await git.import_folder(folder, "Initial commit", signature(self.store.user(owner)))
            repository = await self._add(
                full_name, git, first, default_branch, permissions=permissions, private=private, rules=rules
            )
        await self.checks.on_push(repository, default_branch, first)
        return repository

    async def seed_synthetic(
        self,
        full_name: str,
        files: Mapping[str, str],
        *,
        permissions: Mapping[str, Permission],
        default_branch: str = "main",
        private: bool = True,
        rules: Mapping[str, BranchRules] | None = None,
    ) -> Repository:
        """Make the repository ``owner/name`` of ``files`` (text by path), in memory; its workflows never run.

        :raises ApiError: 422 when the name is taken or wrong.
        """
        owner, _ = self._split(full_name)
        self._must_be_new(full_name)
        git = SyntheticRepository(default_branch)
        first = await git.import_files(files, "Initial commit", signature(self.store.user(owner)))
        return await self._add(
            full_name, git, first, default_branch, permissions=permissions, private=private, rules=rules
        )

    async def _add(
        self,
        full_name: str,
        git: BareRepository,
        first: str,
        default_branch: str,
        *,
        permissions: Mapping[str, Permission],
        private: bool,
        rules: Mapping[str, BranchRules] | None,
    ) -> Repository:
        await git.update_ref(f"refs/heads/{default_branch}", first, ZERO)
        owner, name = self._split(full_name)
        repository = self.store.add(
            Repository(
                owner=self.store.user(owner),
                name=name,
                git=git,
                default_branch=default_branch,
                is_private=private,
                permissions=dict(permissions),
                rules=dict(rules or {}),
            )
        )
        self.store.repositories[full_name.lower()] = repository
        for login in permissions:
            self.store.user(login)
        self.mutations.record("repository.created", full_name, actor=owner, sha=first)
        return repository

    def _must_be_new(self, full_name: str) -> None:
        if full_name.lower() in self.store.repositories:
            raise ApiError(422, f"{full_name} exists already.")

    @staticmethod
    def _split(full_name: str) -> tuple[str, str]:
        owner, _, name = full_name.partition("/")
        for part in (owner, name):
            if (
                not part
                or part.startswith((".", "-", "_"))
                or not part.replace("-", "").replace("_", "").replace(".", "").isalnum()
            ):
                raise ApiError(422, f"{full_name!r} is not an owner/name.")
        return owner, name


def repository_of(entity: Entity | None) -> Repository | None:
    """Return the repository that an entity lives in, where it lives in one."""
    if isinstance(entity, Repository):
        return entity
    for attribute in ("repository", "pull_request", "subject", "comment", "thread", "suite", "issue"):
        parent = getattr(entity, attribute, None)
        if isinstance(parent, Entity):
            return repository_of(parent)
    return None


def signature(user: User) -> Signature:
    """Return the identity that commits of ``user`` carry."""
    return Signature(name=user.name or user.login, email=user.email)


def require(repository: Repository, user: User | None, permission: Permission) -> None:
    """Hold that ``user`` may do what needs ``permission``.

    :raises ApiError: 404 when the repository is hidden from them, 403 when they may not, or when it is
        archived and ``permission`` is one to change something.
    """
    if repository.permission_of(user) is None:
        raise not_found()
    if permission != "read":
        writable(repository)
    if not repository.allows(user, permission):
        raise forbidden()


def writable(repository: Repository) -> None:
    """Hold that the repository is not archived.

    :raises ApiError: 403, it is.
    """
    if repository.is_archived:
        raise forbidden("Repository was archived so is read-only.")
