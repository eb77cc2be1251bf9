"""Many objects in few queries, without one of them spoiling the answer about the others."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_provider_agents.exceptions import ForgeError, ForgeRateLimitedError, ForgeUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence

    from airflow_provider_agents.hooks.github_errors import Operation

K = TypeVar("K")
V = TypeVar("V")

MOST_FAILURES = 5
"""Queries that may fail in a row before the rest is not asked: then it is GitHub, not one of the objects."""


def check_not_too_much(
    batch: Sequence[object], operation: Operation, errors: Sequence[Mapping[str, Any]]
) -> None:
    """Check that GitHub did not break off a query about several objects; one about a single object passes.

    GitHub bounds the work of one query, beside the points, and leaves out what is over the bound.

    :raises ForgeUnavailableError: it did; smaller batches may succeed.
    """
    if len(batch) > 1 and any(error.get("type") == "RESOURCE_LIMITS_EXCEEDED" for error in errors):
        raise ForgeUnavailableError(f"GitHub could not {operation.what}: it is too much work for one query")


async def in_batches(
    keys: Collection[K], size: int, read: Callable[[Sequence[K]], Awaitable[Mapping[K, V | ForgeError]]]
) -> dict[K, V | ForgeError]:
    """Read objects in batches, one after the other as GitHub advises; return each or why it is absent.

    A batch that GitHub is unavailable for is read again in halves, smaller ones after all others: a query
    fails as a whole when one object makes it too slow, or all together are too much. A refused query and :data:`MOST_FAILURES` failures in
    a row end the reading, and are the error of all that was not read.

    :param keys: what to read; one that stands there twice is read once.
    :param size: most objects in one query.
    :param read: sends one query; a :class:`ForgeError` that it raises concerns all of its objects.
    :raises ForgeRateLimitedError: a rate limit is used up.
    :raises ForgeError: no query succeeded; the first one's error.
    """
    wanted = list(dict.fromkeys(keys))
    queue = deque(wanted[i : i + size] for i in range(0, len(wanted), size))
    found: dict[K, V | ForgeError] = {}
    first_error: ForgeError | None = None
    succeeded, failures = False, 0
    while queue:
        batch = queue.popleft()
        try:
            found.update(await read(batch))
            succeeded, failures = True, 0
        except ForgeRateLimitedError:
            raise
        except ForgeError as error:
            first_error = first_error or error
            failures += 1
            if not isinstance(error, ForgeUnavailableError) or failures >= MOST_FAILURES:
                found.update(dict.fromkeys([*batch, *(key for later in queue for key in later)], error))
                break
            if len(batch) == 1:
                found[batch[0]] = error
            else:
                middle = len(batch) // 2
                queue.extend((batch[:middle], batch[middle:]))
    if first_error is not None and not succeeded:
        raise first_error
    return {key: found[key] for key in wanted}
