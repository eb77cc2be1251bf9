"""Lets people of a scenario act when their time has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from demo.http_json import HttpError
from demo.scenarios import PERSON, Seen

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from demo.scenarios import Deed
    from demo.stack import DemoStack


class Director:
    """Watches for cues; each deed is done once.

    :param say: told of each deed, for whoever watches.
    """

    def __init__(
        self,
        stack: DemoStack,
        dag_id: str,
        run_id: str,
        repository: str,
        deeds: Sequence[Deed],
        say: Callable[[str], None],
    ) -> None:
        self._stack = stack
        self._run = (dag_id, run_id)
        self._repository = repository
        self._waiting = list(deeds)
        self._say = say

    def look(self, tasks: Iterable[Mapping[str, Any]]) -> None:
        """Do what is due.

        :raise HttpError: the stand-in or Airflow refused a deed.
        """
        if not self._waiting:
            return
        mutations = [e for e in self._stack.mutations() if e["repository"] == self._repository]
        seen = Seen(mutations, {task["task_id"]: task for task in tasks})
        for deed in [deed for deed in self._waiting if deed.when(seen)]:
            if self._do(deed, seen):
                self._waiting.remove(deed)
                self._say(f"  ✎ {deed.what}")

    def _do(self, deed: Deed, seen: Seen) -> bool:
        if deed.act is not None:
            self._stack.forge.act(PERSON, deed.act, self._repository, **deed.values(seen))
        if deed.answer is not None:
            task_id, option, fields = deed.answer
            try:
                self._stack.airflow.answer(*self._run, task_id, option, fields)
            except HttpError as error:
                # The question is not there yet.
                if error.status == 404:
                    return False
                raise
        return True
