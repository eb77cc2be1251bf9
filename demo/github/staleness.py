"""Stale reads: the state as it was some seconds ago, as a replica that lags behind shows it.

Former states are only kept once a stale read is on order, from then on. A read that is served from one sees
every object, permission and branch of that moment; it can change nothing.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

from demo.github.persistence import pack, unpack
from demo.github.repositories import BareRepository
from demo.github.synthetic import SyntheticRepository

if TYPE_CHECKING:
    from pathlib import Path

    from demo.github.forge import Forge
    from demo.github.mutations import Entry
    from demo.github.state import Store, User

KEPT_VERSIONS = 200


class FrozenRefs(BareRepository):
    """The objects of a repository with its refs as they once were.

    :param refs: by full name.
    """

    def __init__(self, path: Path, refs: dict[str, str]) -> None:
        super().__init__(path)
        self._frozen = refs

    async def refs(self, prefix: str = "refs/heads") -> dict[str, str]:
        start = prefix.rstrip("/") + "/"
        return {name: oid for name, oid in self._frozen.items() if name.startswith(start)}

    async def branch(self, name: str) -> str | None:
        return self._frozen.get(f"refs/heads/{name}")

    async def resolve(self, revision: str) -> str | None:
        for name in (revision, f"refs/heads/{revision}"):
            if name in self._frozen:
                return self._frozen[name]
        return await super().resolve(revision)


@dataclass
class _Version:
    """The state from one moment on."""

    since: float
    """Seconds of the stand-in's clock."""
    length: int
    """Entries of the mutation log by then."""
    data: bytes
    refs: dict[str, dict[str, str]]
    """Of each repository that is not in memory, by full name in lower case."""
    store: Store | None = None


class Replica:
    """Former states of one forge."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._versions: deque[_Version] = deque(maxlen=KEPT_VERSIONS)
        self._longest = 0.0
        self._changed_at = 0.0

    @property
    def keeping(self) -> bool:
        """Whether former states are kept."""
        return self._longest > 0

    def start(self, seconds: float) -> None:
        """Keep the states of the last ``seconds`` from now on."""
        if not self.keeping:
            self._forge.mutations.listen(self._note)
            self._changed_at = self._forge.clock.time()
        self._longest = max(self._longest, seconds)

    async def keep(self) -> None:
        """Note the present state, where it is a new one."""
        length = len(self._forge.mutations.entries)
        if not self.keeping or (self._versions and self._versions[-1].length == length):
            return
        refs = {
            name: await repository.git.refs("refs")
            for name, repository in self._forge.store.repositories.items()
            if not isinstance(repository.git, SyntheticRepository)
        }
        self._versions.append(_Version(self._changed_at, length, pack(self._forge.store), refs))
        oldest = self._forge.clock.time() - self._longest
        while len(self._versions) > 1 and self._versions[1].since <= oldest:
            self._versions.popleft()

    def view(self, seconds: float, user: User) -> tuple[Forge, User]:
        """Return the forge as it was ``seconds`` ago, and ``user`` as that forge knows them.

        The present one is returned where nothing has changed since, or the user was not there yet.
        """
        if not self._versions:
            return self._forge, user
        moment = self._forge.clock.time() - seconds
        known = [version for version in self._versions if version.since <= moment]
        version = known[-1] if known else self._versions[0]
        if version.length == len(self._forge.mutations.entries):
            return self._forge, user
        store = self._open(version)
        if user.login not in store.users:
            return self._forge, user
        stale = copy(self._forge)
        stale.store = store
        return stale, store.users[user.login]

    def _open(self, version: _Version) -> Store:
        if version.store is None:
            store: Store = unpack(version.data)
            for name, refs in version.refs.items():
                repository = store.repositories[name]
                repository.git = FrozenRefs(repository.git.path, refs)
            version.store = store
        return version.store

    def _note(self, _: Entry) -> None:
        self._changed_at = self._forge.clock.time()
