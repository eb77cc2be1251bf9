"""The Airflow Variable that says what changed, so that nobody has to wait for the next poll.

Whoever learns of a change early sets it: the provider's webhook endpoints, or a program of your own. One reader
in each triggerer reads it every few seconds for all who listen. Its value is a JSON object from ``owner/name#7``,
``owner/name`` for all of a repository, or ``tickets:<source>``, to any mark that is another one each time.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol
from weakref import WeakKeyDictionary

from airflow_provider_agents import settings
from airflow_provider_agents.domain.webhook_marks import changed, read_marks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    Listener = Callable[[Mapping[str, object]], None]

log = logging.getLogger(__name__)

SHORTEST_SECONDS = 1.0
READ_SECONDS = 30.0
"""Time after which a reading that Airflow does not answer is given up."""


class Wakeable(Protocol):
    """Those who wait for pull requests."""

    def wake(self, *named: tuple[str, int | None]) -> None:
        """Look at once at pull requests, or at all of a repository; repositories in any case."""


async def read_variable(name: str) -> str | None:
    """Return the Variable's text; ``None`` where there is none, or Airflow cannot give it now.

    It is read from Airflow's database, through the triggerer's supervisor and without holding up the loop.
    Backends for secrets and the environment are not asked: nobody sets a Variable there at run time.
    """
    from airflow.sdk.execution_time.secrets import ExecutionAPISecretsBackend

    found: str | None = await ExecutionAPISecretsBackend().aget_variable(name)
    return found


class WakeReader:
    """Reads the Variable while somebody listens, and tells all who do.

    :param name: of the Variable.
    :param seconds: between two readings.
    """

    def __init__(self, name: str, seconds: float) -> None:
        self._name = name
        self._seconds = seconds
        self._listeners: list[Listener] = []
        self._marks: Mapping[str, object] | None = None
        self._reading: asyncio.Task[None] | None = None

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Call ``listener`` with all marks, now where they are known, and whenever the text changed."""
        self._listeners.append(listener)
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
        elif self._marks is not None:
            listener(self._marks)
        try:
            yield
        finally:
            self._listeners.remove(listener)
            if not self._listeners:
                self._reading.cancel()
                self._reading = self._marks = None

    async def _read(self) -> None:
        """Read again and again; a value that cannot be read is told once, and leaves what is known as it is."""
        text: str | None = None
        fault = ""
        while True:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    found = await read_variable(self._name)
                if found is not None and found != text:
                    text, self._marks = found, read_marks(found)
                    for listener in tuple(self._listeners):
                        listener(self._marks)
                fault = ""
            except Exception as error:  # it is a hint only: those who wait look by themselves, too
                told = f"{type(error).__name__}: {error}"
                if told != fault:
                    log.warning("The Variable %r wakes nobody now: %s", self._name, told)
                fault = told
            await asyncio.sleep(self._seconds)


_readers: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, float], WakeReader]] = (
    WeakKeyDictionary()
)


def wake_reader() -> WakeReader | None:
    """Return the reader that all in this event loop share; ``None`` where ``wake_variable`` is empty.

    The option ``wake_seconds`` is the time between two readings.
    """
    name = settings.text("wake_variable", "agents_wake")
    if not name:
        return None
    seconds = max(SHORTEST_SECONDS, settings.amount("wake_seconds", 2.0))
    readers = _readers.setdefault(asyncio.get_running_loop(), {})
    return readers.setdefault((name, seconds), WakeReader(name, seconds))


@asynccontextmanager
async def wakened(members: Wakeable) -> AsyncIterator[None]:
    """Have ``members`` look at once at what a changed mark names, while the block runs."""
    reader = wake_reader()
    if reader is None:
        yield
        return
    known: Mapping[str, object] = {}

    def wake(marks: Mapping[str, object]) -> None:
        nonlocal known
        named, known = changed(known, marks), marks
        members.wake(*filter(None, map(pull_request_of, named)))

    with reader.listening(wake):
        yield


def pull_request_of(name: str) -> tuple[str, int | None] | None:
    """Return repository and number that ``owner/name#7`` names; ``None`` where it names nothing."""
    if ":" in name:
        return None
    repository, mark, number = name.partition("#")
    if not mark:
        return repository, None
    return (repository, int(number)) if number.isascii() and number.isdecimal() else None
