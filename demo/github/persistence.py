"""The state as bytes: for a restart that loses nothing, and for the former states that stale reads show."""

from __future__ import annotations

import asyncio
import io
import os
import pickle
from typing import TYPE_CHECKING, Any

from demo.github.pushes import branches_moved
from demo.github.repositories import BareRepository

if TYPE_CHECKING:
    from pathlib import Path

    from demo.github.forge import Forge
    from demo.github.state import Repository, Store

STATE_FILE = "state.pickle"


class _Pickler(pickle.Pickler):
    """Leaves out what belongs to one process: locks and what was read from git."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, asyncio.Lock):
            return asyncio.Lock, ()
        if type(value) is BareRepository:
            return BareRepository, (value.path,)
        return NotImplemented


def pack(value: Any) -> bytes:
    """Return ``value`` with all that hangs on it, as bytes."""
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=pickle.HIGHEST_PROTOCOL).dump(value)
    return buffer.getvalue()


def unpack(data: bytes) -> Any:
    """Return a copy of what :func:`pack` was given. Only for bytes of our own: they can run code."""
    return pickle.loads(data)


class Keeper:
    """Writes the state to a file whenever something changed, and reads it at the next start.

    :param path: the file; it and a partial one beside it are for this user alone.
    """

    def __init__(self, forge: Forge, path: Path) -> None:
        self._forge = forge
        self._path = path
        self._more: dict[str, Any] = {}

    def keep(self, name: str, value: Any) -> None:
        """Write ``value`` (a mutable one, as it is at the time) with the state from now on."""
        self._more[name] = value

    def save(self) -> None:
        """Write the state: afterwards a kill of the process loses nothing of it."""
        forge = self._forge
        state = {
            "store": forge.store,
            "mutations": forge.mutations.entries,
            "delays": forge.mergeability_delays,
            "clock": forge.clock.describe(),
            "more": self._more,
        }
        partial = self._path.with_suffix(f".{os.getpid()}.partial")
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(pack(state))
        partial.replace(self._path)

    def load(self) -> dict[str, Any] | None:
        """Bring the forge to the saved state; return what else was kept, or ``None`` where nothing is saved."""
        if not self._path.exists():
            return None
        state = unpack(self._path.read_bytes())
        forge = self._forge
        forge.store = state["store"]
        forge.mergeability_delays.update(state["delays"])
        forge.clock.restore(state["clock"])
        forge.mutations.restore(state["mutations"])
        more: dict[str, Any] = state["more"]
        return more


async def reconcile(forge: Forge) -> None:
    """After a restart: let the pull requests follow branches that moved just before the process was killed."""
    store: Store = forge.store
    for repository in store.repositories.values():
        async with repository.lock:
            before, after = await _moved(repository)
            await branches_moved(forge, repository, repository.owner, before, after)


async def _moved(repository: Repository) -> tuple[dict[str, str], dict[str, str]]:
    """Return the branches of open pull requests as their pull requests know them, and as they are."""
    known = {f"refs/heads/{pull.head_ref_name}": pull.head_ref_oid for pull in repository.open_pulls()}
    refs = await repository.git.refs()
    return known, {name: refs[name] for name in known if name in refs}
