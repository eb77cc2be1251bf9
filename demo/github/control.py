"""``/_demo``: what tests and demonstrations see and steer, and GitHub has not.

It needs no credential. It answers only to loopback names and JSON bodies, so that no web page that is open
in a browser of this machine can use it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from demo.github.acts import act, branch_rules
from demo.github.control_levers import Levers, json_object
from demo.github.errors import ApiError

if TYPE_CHECKING:
    from demo.github.forge import Forge
    from demo.github.server import StandInGitHub

LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})


class Control:
    """The endpoints below ``/_demo``."""

    def __init__(self, server: StandInGitHub) -> None:
        self._server = server
        self._forge: Forge = server.forge

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_demo/mutations", self._mutations),
            web.get("/_demo/requests", self._requests),
            web.delete("/_demo/requests", self._clear_requests),
            web.get("/_demo/faults", self._list_faults),
            web.post("/_demo/faults", self._add_fault),
            web.delete("/_demo/faults", self._clear_faults),
            web.post("/_demo/act", self._act),
            web.post("/_demo/users", self._add_user),
            web.post("/_demo/repositories", self._seed),
            web.post("/_demo/issues", self._create_issue),
            *Levers(self._server).routes(),
        ]

    async def _mutations(self, request: web.Request) -> web.StreamResponse:
        after = request.query.get("after", "0")
        entries = self._forge.mutations.entries
        return web.json_response(entries[int(after) :] if after.isdecimal() else entries)

    async def _requests(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._server.requests.describe())

    async def _clear_requests(self, request: web.Request) -> web.StreamResponse:
        self._server.requests.clear()
        return web.Response(status=204)

    async def _list_faults(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._server.faults.describe())

    async def _add_fault(self, request: web.Request) -> web.StreamResponse:
        self._server.faults.add(await json_object(request))
        return web.json_response(self._server.faults.describe(), status=201)

    async def _clear_faults(self, request: web.Request) -> web.StreamResponse:
        self._server.faults.clear()
        return web.Response(status=204)

    async def _act(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(await act(self._forge, await json_object(request)))

    async def _add_user(self, request: web.Request) -> web.StreamResponse:
        """Make a user: ``login``, ``name``, and a ``token`` if they shall use the API."""
        values = await json_object(request)
        user = self._server.add_user(str(values["login"]), name=values.get("name"))
        if values.get("token"):
            self._server.add_token(user.login, str(values["token"]))
        return web.json_response({"login": user.login, "id": user.database_id}, status=201)

    async def _seed(self, request: web.Request) -> web.StreamResponse:
        """Make a repository: ``name`` (owner/name), ``folder`` or, for one in memory, ``files`` ({path: text}),
        and as wished ``permissions``, ``default_branch``, ``private`` and ``rules`` ({branch: rules}).
        """
        values = await json_object(request)
        if isinstance(values.get("files"), dict):
            repository = await self._server.seed_synthetic(
                str(values["name"]), values["files"], permissions=values.get("permissions")
            )
        else:
            repository = await self._server.seed_repository(
                str(values["name"]),
                Path(str(values["folder"])),
                permissions=values.get("permissions"),
                default_branch=str(values.get("default_branch") or "main"),
                private=values.get("private") is not False,
            )
        for branch, rules in (values.get("rules") or {}).items():
            repository.rules[branch] = branch_rules(rules)
        tip = await repository.git.branch(repository.default_branch)
        facts = {
            "name": repository.full_name,
            "sha": tip,
            "clone_url": self._forge.link(f"{repository.full_name}.git"),
            "html_url": self._forge.link(repository.full_name),
        }
        return web.json_response(facts, status=201)

    async def _create_issue(self, request: web.Request) -> web.StreamResponse:
        """Open an issue: ``repository``, ``title``, and as wished ``body``, ``labels`` and ``author``."""
        values = await json_object(request)
        issue = self._server.create_issue(
            str(values["repository"]),
            str(values["title"]),
            str(values.get("body") or ""),
            author=values.get("author"),
            labels=values.get("labels") or (),
        )
        address = self._forge.link(issue.repository.full_name, "issues", issue.number)
        return web.json_response(
            {"number": issue.number, "node_id": issue.id, "html_url": address}, status=201
        )


def loopback_only(request: web.Request) -> None:
    """Hold that the request was addressed to this machine by a loopback name.

    :raises ApiError: 403, it was not.
    """
    host = (request.host or "").rsplit(":", 1)[0] if not (request.host or "").endswith("]") else request.host
    if host not in LOOPBACK:
        raise ApiError(403, "This part of the stand-in is for this machine only.")
