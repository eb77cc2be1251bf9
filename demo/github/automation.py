"""What GitHub does by itself after a change: merge queues go on, and auto-merge merges."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.github import auto_merge, merge_queue

if TYPE_CHECKING:
    from demo.github.forge import Forge
    from demo.github.state import Repository


class Automation:
    """Looks again at a repository after each change in it, in the background."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self._due: set[str] = set()
        forge.mutations.listen(self._changed)

    def _changed(self, entry: dict[str, Any]) -> None:
        repository = self._forge.store.repository(entry["repository"])
        if repository is not None:
            self.look_again(repository)

    def look_again(self, repository: Repository) -> None:
        """Go on with what waits in a repository, if anything does."""
        if repository.full_name in self._due or not _anything_waits(repository):
            return
        self._due.add(repository.full_name)
        self._forge.checks.spawn(self._go_on(repository), f"automation of {repository.full_name}")

    async def _go_on(self, repository: Repository) -> None:
        # What changes from here on is for another look.
        self._due.discard(repository.full_name)
        async with repository.lock:
            await merge_queue.maintain(self._forge, repository)
        for pull in list(repository.open_pulls()):
            await auto_merge.consider(self._forge, pull)


def _anything_waits(repository: Repository) -> bool:
    return any(queue.entries for queue in repository.queues.values()) or any(
        pull.auto_merge for pull in repository.pulls.values() if pull.state == "OPEN"
    )
