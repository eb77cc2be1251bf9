"""A GitHub App: requests that it signs, and tokens whose repositories, permissions and expiry are enforced."""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.github.access import token_of
from demo.github.errors import ApiError, forbidden, not_found
from demo.github.grants import GRANT, Grant, reaches
from demo.github.requests_log import FACTS
from demo.github.rest import PREFIX
from demo.github.rest_views import moment, repository_json, user_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from demo.github.faults import Handler
    from demo.github.forge import Forge
    from demo.github.state import Repository, User

LONGEST_SIGNATURE_SECONDS = 600
SKEW_SECONDS = 5

PERMISSIONS: Mapping[str, str] = {
    "actions": "write",
    "checks": "read",
    "contents": "write",
    "issues": "write",
    "metadata": "read",
    "pull_requests": "write",
    "statuses": "read",
}
"""What an installation has where nothing else is said."""

_REST = re.compile(re.escape(PREFIX) + r"/repos/(?P<name>[^/]+/[^/]+)(?:/(?P<rest>.*))?")
_GIT = re.compile(
    r"/(?P<name>[^/]+/[^/]+?)(?:\.git)?/(?P<service>info/refs|git-upload-pack|git-receive-pack)"
)

_NEEDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"commits/[^/]+/check-runs", ("checks",)),
    (r"commits/[^/]+/status", ("statuses",)),
    (r"pulls/\d+/merge", ("contents",)),
    (r"(git|branches|commits|contents)(/.*)?", ("contents",)),
    (r"check-runs/.*", ("checks",)),
    (r"actions/.*", ("actions",)),
    (r"statuses/.*", ("statuses",)),
    (r"pulls(/.*)?", ("pull_requests",)),
    (r"issues(/.*)?", ("issues", "pull_requests")),
)
"""Path below a repository → permissions of which one is needed; all else needs ``metadata``."""


@dataclass(kw_only=True)
class AppRegistration:
    """One App with one installation.

    :param public_key: PEM; the App signs with the private one.
    :param repositories: ``owner/name`` that it is installed on; ``None``: all.
    :param token_seconds: how long its tokens live.
    """

    app_id: str
    public_key: str
    installation_id: int = 1
    slug: str = "agents-app"
    permissions: Mapping[str, str] = field(default_factory=lambda: dict(PERMISSIONS))
    repositories: Iterable[str] | None = None
    token_seconds: float = 3600.0

    @property
    def login(self) -> str:
        """Login of its bot."""
        return f"{self.slug}[bot]"


class AppTokens:
    """The endpoints of an App, and the guard before all others."""

    def __init__(self, forge: Forge) -> None:
        self._forge = forge
        self.grants: dict[str, Grant] = {}
        """By token."""
        self.registration: AppRegistration | None = None

    def routes(self) -> list[web.RouteDef]:
        base = f"{PREFIX}/app/installations"
        return [
            web.get(base, self._list),
            web.get(base + "/{id:\\d+}", self._get),
            web.post(base + "/{id:\\d+}/access_tokens", self._mint),
            web.get(PREFIX + "/repos/{owner}/{repo}/installation", self._find),
            web.get(PREFIX + "/orgs/{org}/installation", self._find_of),
            web.get(PREFIX + "/users/{username}/installation", self._find_of),
        ]

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what the token of an App may not do; other credentials pass."""
        now = self._forge.clock.time()
        for token in [token for token, grant in self.grants.items() if grant.expires_at <= now]:
            del self.grants[token], self._forge.store.tokens[token]
        grant = self.grants.get(token_of(request.headers.get("Authorization")) or "")
        # Requests of one connection share a context: one without a grant must reset it.
        GRANT.set(grant)
        if grant is not None:
            self._admit(request, grant, await _changes(request))
        return await handler(request)

    def _admit(self, request: web.Request, grant: Grant, mutation: bool) -> None:
        reading = request.method in ("GET", "HEAD")
        if match := _REST.fullmatch(request.path):
            if not grant.covers(match["name"]):
                raise not_found()
            rest = match["rest"] or ""
            needs = next((names for pattern, names in _NEEDS if re.fullmatch(pattern, rest)), ("metadata",))
            allowed = any(grant.allows(name, "read" if reading else "write") for name in needs)
        elif request.path.startswith(f"{PREFIX}/orgs/"):
            allowed = grant.allows("members", "read")
        elif match := _GIT.fullmatch(request.path):
            if not grant.covers(match["name"]):
                raise not_found()
            pushing = "receive-pack" in match["service"] + request.query.get("service", "")
            allowed = grant.allows("contents", "write" if pushing else "read")
        else:
            allowed = not mutation or any(
                grant.allows(name, "write") for name in ("issues", "pull_requests", "contents")
            )
        if not allowed:
            raise forbidden("Resource not accessible by integration")

    async def _list(self, request: web.Request) -> web.StreamResponse:
        return web.json_response([self._view(self._signed(request))])

    async def _get(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self._view(self._installation(request)))

    async def _find(self, request: web.Request) -> web.StreamResponse:
        app = self._signed(request)
        name = f"{request.match_info['owner']}/{request.match_info['repo']}".lower()
        if name not in self._reach(app):
            raise not_found()
        return web.json_response(self._view(app))

    async def _find_of(self, request: web.Request) -> web.StreamResponse:
        app = self._signed(request)
        owner = next(iter(request.match_info.values())).lower()
        # Owners are users here, who answer as organisations as well.
        if not any(name.partition("/")[0] == owner for name in self._reach(app)):
            raise not_found()
        return web.json_response(self._view(app))

    async def _mint(self, request: web.Request) -> web.StreamResponse:
        app = self._installation(request)
        body = json.loads(await request.text() or "{}")
        reach = self._reach(app)
        names = body.get("repositories")
        chosen = {full: r for full, r in reach.items() if names is None or r.name in names}
        if names is not None and len(chosen) != len(set(names)):
            raise ApiError(
                422,
                "There is at least one repository that does not exist or is not accessible to the parent installation.",
            )
        granted = {"metadata": "read", **app.permissions}
        wanted: dict[str, str] = body.get("permissions") or granted
        if not all(reaches(granted.get(name), level) for name, level in wanted.items()):
            raise ApiError(422, "The permissions requested are not granted to this installation.")
        # Long, and of a form that nobody should rely on.
        token = f"ghs_{app.app_id}_{secrets.token_urlsafe(210)}"
        grant = Grant(
            login=app.login,
            repositories=frozenset(chosen),
            permissions={"metadata": "read", **wanted},
            expires_at=self._forge.clock.time() + app.token_seconds,
        )
        self.grants[token] = grant
        self._forge.store.tokens[token] = self._bot(app)
        answer: dict[str, Any] = {
            "token": token,
            "expires_at": moment(datetime.fromtimestamp(grant.expires_at, UTC)),
            "permissions": dict(grant.permissions),
            "repository_selection": "all" if names is None and app.repositories is None else "selected",
        }
        if names is not None:
            answer["repositories"] = [repository_json(self._forge, r, r.owner) for r in chosen.values()]
        return web.json_response(answer, status=201)

    def _signed(self, request: web.Request) -> AppRegistration:
        """Return the App that signed a request.

        :raises ApiError: 401, nobody did, or not as GitHub wants it; 404, there is no such App.
        """
        import jwt

        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        app = self.registration
        try:
            claimed = jwt.decode(token, options={"verify_signature": False})
            if scheme.lower() != "bearer":
                raise jwt.InvalidTokenError
            if app is None or str(claimed.get("iss")) != app.app_id:
                raise ApiError(404, "Integration not found")
            claims = jwt.decode(
                token,
                app.public_key,
                algorithms=["RS256"],
                leeway=SKEW_SECONDS,
                options={"require": ["iat", "exp", "iss"]},
            )
        except jwt.ImmatureSignatureError:
            raise ApiError(
                401,
                "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued",
            ) from None
        except jwt.ExpiredSignatureError:
            raise ApiError(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which "
                "the assertion expires",
            ) from None
        except jwt.InvalidTokenError:
            raise ApiError(401, "A JSON web token could not be decoded") from None
        if claims["exp"] > time.time() + LONGEST_SIGNATURE_SECONDS + SKEW_SECONDS:
            raise ApiError(401, "'Expiration time' claim ('exp') is too far in the future")
        FACTS.get().user = self._bot(app)
        return app

    def _installation(self, request: web.Request) -> AppRegistration:
        app = self._signed(request)
        if int(request.match_info["id"]) != app.installation_id:
            raise not_found()
        return app

    def _reach(self, app: AppRegistration) -> dict[str, Repository]:
        """Return the repositories of the installation by full name in lower case."""
        known = self._forge.store.repositories
        if app.repositories is None:
            return dict(known)
        return {name.lower(): known[name.lower()] for name in app.repositories if name.lower() in known}

    def _bot(self, app: AppRegistration) -> User:
        return self._forge.store.user(app.login)

    def _view(self, app: AppRegistration) -> dict[str, Any]:
        owners = [repository.owner for repository in self._reach(app).values()]
        return {
            "id": app.installation_id,
            "account": user_json(self._forge, owners[0]) if owners else None,
            "app_id": int(app.app_id) if app.app_id.isdecimal() else app.app_id,
            "app_slug": app.slug,
            "repository_selection": "all" if app.repositories is None else "selected",
            "permissions": {"metadata": "read", **app.permissions},
            "events": [],
            "html_url": self._forge.link("settings", "installations", app.installation_id),
            "suspended_at": None,
        }


async def _changes(request: web.Request) -> bool:
    """Say whether a request is a GraphQL mutation."""
    if not request.path.endswith("/graphql") or request.method != "POST":
        return False
    try:
        body = json.loads(await request.read())
    except ValueError:
        return False
    return isinstance(body, dict) and str(body.get("query") or "").lstrip().startswith("mutation")
