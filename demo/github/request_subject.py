"""What a request is about: the repositories, issues and pull requests that its path or its variables name."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from demo.github.forge import repository_of
from demo.github.state import Issue, PullRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from demo.github.state import Entity, Repository, Store

GRAPHQL_PATH = "/api/graphql"

_PATH = re.compile(r"/repos/(?P<repository>[^/]+/[^/]+)(?:/(?:pulls|issues)/(?P<number>\d+))?")
_GIT = re.compile(r"^/(?P<repository>[^/]+/[^/]+?)(?:\.git)?/(?:info/refs|git-(?:upload|receive)-pack)$")


@dataclass
class Subject:
    """What one request names."""

    repositories: set[str] = field(default_factory=set)
    """Full names in lower case."""
    items: list[Issue | PullRequest] = field(default_factory=list)

    @property
    def numbers(self) -> set[int]:
        return {item.number for item in self.items}

    def add(self, entity: Entity | None) -> None:
        repository = repository_of(entity)
        if repository is not None:
            self.repositories.add(repository.full_name.lower())
        while entity is not None and not isinstance(entity, Issue | PullRequest):
            parents = (getattr(entity, name, None) for name in ("pull_request", "subject", "thread"))
            entity = next((parent for parent in parents if parent is not None), None)
        if entity is not None:
            self.items.append(entity)


async def subject_of(store: Store, request: web.Request) -> Subject:
    """Return what a request names, by path or by GraphQL variables: node ids, and owner, name and number
    (each with the same ending, e.g. ``owner3``, where there are several).
    """
    subject = Subject()
    if match := _PATH.search(request.path) or _GIT.match(request.path):
        repository = store.repository(match["repository"])
        number = match.groupdict().get("number")
        _add_numbered(subject, repository, int(number) if number else None)
    if request.path == GRAPHQL_PATH:
        variables = (await json_body(request)).get("variables") or {}
        for leaf in _leaves(variables):
            subject.add(store.nodes.get(leaf))
        for key in variables:
            if key.startswith("owner"):
                end = key.removeprefix("owner")
                name = variables.get(f"name{end}") or variables.get(f"repo{end}")
                named = store.repository(f"{variables[key]}/{name}")
                _add_numbered(subject, named, variables.get(f"number{end}"))
    return subject


async def json_body(request: web.Request) -> dict[str, Any]:
    """Return the JSON object of a request, an empty one where it has none."""
    try:
        body = json.loads(await request.read())
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _add_numbered(subject: Subject, repository: Repository | None, number: object) -> None:
    if repository is not None:
        item = repository.subject(number) if isinstance(number, int) else None
        subject.add(item or repository)


def _leaves(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _leaves(item)
    elif isinstance(value, str):
        yield value
