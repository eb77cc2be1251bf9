"""An Airflow Variable that says which pull requests changed, so that nobody has to wait for the next poll.

Whoever learns of a change early, e.g. from a webhook, sets the Variable; each poll reads it every few seconds.
Its value is a JSON object from ``owner/name#7``, or ``owner/name`` for all of a repository, to any mark that
is another one each time: a counter or a moment. What is new or has another mark is looked at.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from airflow_provider_agents import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow_provider_agents.triggers.pull_request_watch import Watchlist

log = logging.getLogger(__name__)

SHORTEST_SECONDS = 1.0
READ_SECONDS = 30.0
"""Time after which a reading that Airflow does not answer is given up."""
MOST_CHARACTERS = 65_536
MOST_NAMES = 1_000


async def read_variable(name: str) -> str | None:
    """Return the Variable's text; ``None`` where there is none, or Airflow cannot give it now.

    It is read from Airflow's database, through the triggerer's supervisor and without holding up the loop.
    Backends for secrets and the environment are not asked: nobody sets a Variable there at run time.
    """
    from airflow.sdk.execution_time.secrets import ExecutionAPISecretsBackend

    found: str | None = await ExecutionAPISecretsBackend().aget_variable(name)
    return found


@asynccontextmanager
async def wakened(members: Watchlist) -> AsyncIterator[None]:
    """Wake ``members`` by the option ``wake_variable`` while the block runs; without the option, do nothing.

    The option ``wake_seconds`` is the time between two readings.
    """
    name = settings.text("wake_variable")
    if not name:
        yield
        return
    seconds = max(SHORTEST_SECONDS, settings.amount("wake_seconds", 5.0))
    following = asyncio.create_task(follow(name, seconds, members))
    try:
        yield
    finally:
        following.cancel()
        await asyncio.wait({following})


async def follow(name: str, seconds: float, members: Watchlist) -> None:
    """Read the Variable again and again, and wake whom a changed mark names; until it is cancelled.

    A value that cannot be read is told once, and leaves what is known as it is.
    """
    known: Mapping[str, object] = {}
    text: str | None = None
    fault = ""
    while True:
        try:
            async with asyncio.timeout(READ_SECONDS):
                found = await read_variable(name)
            if found is not None and found != text:
                text, marks = found, marks_of(found)
                changed = [key for key, mark in marks.items() if key not in known or known[key] != mark]
                known = marks
                members.wake(*filter(None, map(pull_request_of, changed)))
            fault = ""
        except Exception as error:  # it is a hint only: the poll goes on without it
            told = f"{type(error).__name__}: {error}"
            if told != fault:
                log.warning("The Variable %r wakes nobody now: %s", name, told)
            fault = told
        await asyncio.sleep(seconds)


def marks_of(text: str) -> dict[str, object]:
    """Return the marks by name.

    :raises ValueError: it is no JSON object, or too large.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_CHARACTERS} characters; leave out what changed long ago")
    marks = json.loads(text)
    if not isinstance(marks, dict):
        raise ValueError('it must be a JSON object like {"owner/name#7": 1}')
    if len(marks) > MOST_NAMES:
        raise ValueError(f"it has more than {MOST_NAMES} names; leave out what changed long ago")
    return marks


def pull_request_of(name: str) -> tuple[str, int | None] | None:
    """Return repository and number that ``owner/name#7`` names; ``None`` where it names nothing."""
    repository, mark, number = name.partition("#")
    if not mark:
        return repository, None
    return (repository, int(number)) if number.isascii() and number.isdecimal() else None
