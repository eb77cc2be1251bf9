"""What all REST endpoints share: the call, its body, its pages and its answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from demo.github.errors import ApiError, not_found
from demo.github.forge import Forge, repository_of

if TYPE_CHECKING:
    from demo.github.job_logs import JobLogs
    from demo.github.limits import RateLimits
    from demo.github.state import EntityT, Issue, PullRequest, Repository, User

PREFIX = "/api/v3"
PAGE_SIZE = 30
MAX_PAGE_SIZE = 100

T = TypeVar("T")
Endpoint = Callable[["Call"], Awaitable[web.StreamResponse]]


class Call:
    """One request to the REST API by a known user."""

    def __init__(
        self, forge: Forge, request: web.Request, user: User, limits: RateLimits, logs: JobLogs
    ) -> None:
        self.forge = forge
        self.request = request
        self.user = user
        self.limits = limits
        self.logs = logs

    @property
    def repository(self) -> Repository:
        """The repository in the path.

        :raises ApiError: 404, none that the user may see.
        """
        info = self.request.match_info
        return self.forge.repository(info["owner"], info["repo"], self.user)

    def number(self, name: str = "number") -> int:
        """Return a number from the path."""
        return int(self.request.match_info[name])

    @property
    def subject(self) -> Issue | PullRequest:
        """The issue or pull request in the path; 404 where there is none."""
        subject = self.repository.subject(self.number())
        if subject is None:
            raise not_found()
        return subject

    @property
    def pull(self) -> PullRequest:
        """The pull request in the path; 404 where there is none."""
        pull = self.repository.pulls.get(self.number())
        if pull is None:
            raise not_found()
        return pull

    def entity(self, kind: type[EntityT], name: str = "id") -> EntityT:
        """Return the ``kind`` whose number stands in the path; 404 where it is not of this repository."""
        repository = self.repository
        entity = self.forge.store.find(kind, self.number(name))
        if entity is None or repository_of(entity) is not repository:
            raise not_found()
        return entity

    async def body(self) -> dict[str, Any]:
        """Return the JSON object of the request.

        :raises ApiError: 400, it is none.
        """
        data = await self.request.read()
        if not data:
            return {}
        try:
            body = json.loads(data)
        except ValueError:
            raise ApiError(400, "Problems parsing JSON") from None
        if not isinstance(body, dict):
            raise ApiError(400, "Body should be a JSON object")
        return body

    def query(self, name: str, default: str = "") -> str:
        return self.request.query.get(name, default)

    def page(self, items: Sequence[T]) -> tuple[Sequence[T], dict[str, str]]:
        """Return the page that the query asks for, and the ``Link`` header that leads to the others."""
        size = min(max(self._positive("per_page", PAGE_SIZE), 1), MAX_PAGE_SIZE)
        page = max(self._positive("page", 1), 1)
        last = max((len(items) + size - 1) // size, 1)
        links = []
        for word, number in (("next", page + 1), ("last", last)):
            if page < last:
                links.append(f'<{self._address(number, size)}>; rel="{word}"')
        for word, number in (("first", 1), ("prev", page - 1)):
            if page > 1:
                links.append(f'<{self._address(number, size)}>; rel="{word}"')
        headers = {"Link": ", ".join(links)} if links else {}
        return items[(page - 1) * size : page * size], headers

    def _positive(self, name: str, default: int) -> int:
        text = self.query(name)
        return int(text) if text.isdecimal() and len(text) < 10 else default

    def _address(self, page: int, size: int) -> str:
        query = {**self.request.query, "page": str(page), "per_page": str(size)}
        return f"{self.forge.url}{self.request.rel_url.with_query(query)}"


def answer(data: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """Return ``data`` as JSON."""
    return web.json_response(data, status=status, headers=headers)


def nothing() -> web.Response:
    """Return the empty answer of a deletion."""
    return web.Response(status=204)


def pages(call: Call, items: Sequence[T], view: Callable[[T], Any]) -> web.Response:
    """Return one page of ``items``, each through ``view``."""
    chosen, headers = call.page(items)
    return answer([view(item) for item in chosen], headers=headers)


def strings(values: Iterable[Any] | None) -> list[str]:
    """Return the names in a list of strings or of objects with a ``name``, as labels may be given."""
    names = [value.get("name") if isinstance(value, dict) else value for value in values or []]
    return [name for name in names if isinstance(name, str) and name]
