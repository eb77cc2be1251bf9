"""The objects that are served, kept as JSON files so that they outlive the server."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import os
import time
import uuid
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.local import clock
from airflow_provider_agents.local.api_errors import KINDS, Json, already_exists, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

HISTORY = 1_000
"""Changes that a watch may start from; an older start is answered with 410 Expired."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an object.

    :param type: ``ADDED``, ``MODIFIED`` or ``DELETED``.
    :param item: the object after the change; for ``DELETED`` its last state.
    :param previous: the object before the change.
    """

    type: str
    resource: str
    version: int
    item: Json
    previous: Json | None


def write_atomically(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


class ObjectStore:
    """Objects by resource, namespace and name.

    A stored object is never changed in place: every change stores a new one with a higher resource version,
    so that an object once read stays as it was. Events are kept in memory only.

    :param folder: where the JSON files are.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._items: dict[str, dict[tuple[str, str], Json]] = {resource: {} for resource in KINDS}
        # Starting at the clock keeps versions rising over restarts, deleted objects included.
        self._version = time.time_ns() // 1_000_000
        self._history: deque[Change] = deque(maxlen=HISTORY)
        self._listeners: list[Callable[[Change], None]] = []

    @property
    def version(self) -> int:
        """The resource version of the latest change."""
        return self._version

    def load(self) -> None:
        """Read the objects that an earlier server left. A file that is no object is set aside."""
        for resource in KINDS:
            folder = self._folder / resource
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            for path in sorted(folder.glob("*.json")):
                try:
                    item = json.loads(path.read_text(encoding="utf-8"))
                    metadata = item["metadata"]
                    self._items[resource][metadata["namespace"], metadata["name"]] = item
                    self._version = max(self._version, int(metadata["resourceVersion"]))
                except (ValueError, KeyError, TypeError) as error:
                    log.warning("Setting aside %s, which is not an object: %s", path, error)
                    path.rename(path.with_suffix(".broken"))

    def create(self, resource: str, namespace: str, item: Json) -> Json:
        """Store a new object and return it with its uid, creation time and version.

        :raises ApiError: 409, if the name is taken.
        """
        item = copy.deepcopy(item)
        metadata = item["metadata"]
        if (namespace, metadata["name"]) in self._items[resource]:
            raise already_exists(resource, metadata["name"])
        item["apiVersion"], item["kind"] = "v1", KINDS[resource]
        metadata.update(namespace=namespace, uid=str(uuid.uuid4()), creationTimestamp=clock.now())
        return self._store("ADDED", resource, item, None)

    def find(self, resource: str, namespace: str, name: str, uid: str | None = None) -> Json | None:
        """Return an object, or ``None`` if it does not exist or has another uid than the one given."""
        item = self._items[resource].get((namespace, name))
        return item if item and uid in (None, item["metadata"]["uid"]) else None

    def get(self, resource: str, namespace: str, name: str) -> Json:
        """Return an object.

        :raises ApiError: 404, if it does not exist.
        """
        if (item := self.find(resource, namespace, name)) is None:
            raise not_found(resource, name)
        return item

    def items(self, resource: str, namespace: str | None = None) -> Iterator[Json]:
        """Yield the objects of a namespace, or of all, by namespace and name."""
        for (owner, _), item in sorted(self._items[resource].items()):
            if namespace in (None, owner):
                yield item

    def update(
        self, resource: str, namespace: str, name: str, change: Callable[[Json], None], uid: str | None = None
    ) -> Json | None:
        """Apply ``change`` to a copy of an object and store it. An object that stays equal keeps its version.

        :param uid: only if the object still is the one with this uid.
        :return: the object as it is now, or ``None`` if there is none.
        """
        if (current := self.find(resource, namespace, name, uid)) is None:
            return None
        changed = copy.deepcopy(current)
        change(changed)
        if changed == current:
            return current
        return self._store("MODIFIED", resource, changed, current)

    def remove(self, resource: str, namespace: str, name: str, uid: str | None = None) -> Json | None:
        """Remove an object and return its last state; ``None`` if there is none (with this uid)."""
        if (current := self.find(resource, namespace, name, uid)) is None:
            return None
        del self._items[resource][namespace, name]
        with contextlib.suppress(FileNotFoundError):
            self._path(resource, current).unlink()
        last = copy.deepcopy(current)
        self._version += 1
        last["metadata"]["resourceVersion"] = str(self._version)
        self._tell(Change("DELETED", resource, self._version, last, current))
        return last

    def _store(self, kind: str, resource: str, item: Json, previous: Json | None) -> Json:
        self._version += 1
        metadata = item["metadata"]
        metadata["resourceVersion"] = str(self._version)
        if resource != "events":
            write_atomically(self._path(resource, item), json.dumps(item))
        self._items[resource][metadata["namespace"], metadata["name"]] = item
        self._tell(Change(kind, resource, self._version, item, previous))
        return item

    def _path(self, resource: str, item: Json) -> Path:
        # By uid: a name of 253 characters and an ending would be too long for a file name.
        return self._folder / resource / f"{item['metadata']['uid']}.json"

    def subscribe(self, listener: Callable[[Change], None]) -> Callable[[], None]:
        """Call ``listener`` on every change from now on; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def changes_since(self, version: int) -> list[Change] | None:
        """Return the changes after a version, or ``None`` if they are no longer known."""
        oldest = self._history[0].version if self._history else self._version + 1
        if version < oldest - 1:
            return None
        return [change for change in self._history if change.version > version]

    def _tell(self, change: Change) -> None:
        self._history.append(change)
        for listener in list(self._listeners):
            listener(change)
