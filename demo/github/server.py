"""The stand-in as one HTTP server on loopback: :class:`StandInGitHub`."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import secrets
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.github import acts, graphql, issues, rest_code, rest_issues, rest_pulls
from demo.github.access import RateLimits, api_user
from demo.github.app_tokens import AppTokens
from demo.github.control import Control, loopback_only
from demo.github.errors import DOCUMENTATION, ApiError
from demo.github.faults import Faults, Handler
from demo.github.forge import Forge, Settings
from demo.github.git_http import GitService
from demo.github.job_logs import JobLogs
from demo.github.pages import Pages
from demo.github.requests_log import FACTS, RequestFacts, RequestLog
from demo.github.rest import PREFIX, Call, Endpoint
from demo.github.state import BranchRules, Issue, Permission, Repository, User

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from demo.github.app_tokens import AppRegistration

HOST = "127.0.0.1"
GRAPHQL_PATH = "/api/graphql"
MARKER = ".stand-in-github"
SHUTDOWN_SECONDS = 2.0
DEFAULT_LOGIN = "agent"

_logger = logging.getLogger(__name__)


class StandInGitHub:
    """A GitHub Enterprise Server in small: REST, GraphQL, git, checks and pages.

    :param data_dir: folder for repositories and the mutation log; must be new, empty, or an earlier one of
        ours, which is emptied.
    :param port: 0 for a free one.
    :param mergeability_delay: seconds that ``mergeable`` is ``UNKNOWN`` after a head or a base moved.
    :param check_timeout: limit of one workflow job, in seconds.
    :param parallel_checks: workflow jobs that run at once.
    """

    def __init__(
        self,
        data_dir: Path | str,
        *,
        port: int = 0,
        mergeability_delay: float = 1.0,
        check_timeout: float = 120.0,
        parallel_checks: int = 2,
    ) -> None:
        self._data_dir = prepare(Path(data_dir).absolute())
        self._port = port
        settings = Settings(
            mergeability_delay=mergeability_delay,
            check_timeout=check_timeout,
            parallel_checks=parallel_checks,
        )
        self.forge = Forge(self._data_dir, settings)
        self.faults = Faults(self.forge)
        self.limits = RateLimits()
        self.requests = RequestLog()
        self._logs = JobLogs(self.forge)
        self._app_tokens = AppTokens(self.forge)
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Address of the pages and of git, e.g. ``http://127.0.0.1:PORT``; empty before the start."""
        return self.forge.url

    @property
    def mutations(self) -> list[dict[str, Any]]:
        """All changes so far, in order."""
        return self.forge.mutations.entries

    async def start(self) -> None:
        """Listen.

        :raises OSError: the port is taken.
        """
        graphql.load_schema()
        # Bodies of git stay as they are encoded: git http-backend decodes them itself.
        self._runner = web.AppRunner(
            self._application(), access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self._port)
        await site.start()
        self.forge.url = f"http://{HOST}:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening, and end all checks with their processes."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self.forge.checks.stop()
        self.forge.mutations.close()

    async def __aenter__(self) -> StandInGitHub:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def add_user(self, login: str, *, name: str | None = None) -> User:
        """Make a user, or rename one; a login that ends in ``[bot]`` is a bot's."""
        user = self.forge.store.user(login)
        user.name = name or user.name
        return user

    def add_token(self, login: str = DEFAULT_LOGIN, token: str | None = None) -> str:
        """Give a user a token, a random one where none is given, and return it."""
        chosen = token or f"ghp_{secrets.token_hex(18)}"
        self.forge.store.tokens[chosen] = self.add_user(login)
        return chosen

    def add_app(self, app: AppRegistration) -> None:
        """Register and install an App, in the place of an earlier one."""
        self._app_tokens.registration = app

    async def seed_repository(
        self,
        full_name: str,
        folder: Path | str,
        *,
        permissions: Mapping[str, Permission] | None = None,
        default_branch: str = "main",
        private: bool = True,
        required_checks: Iterable[str] = (),
        required_approvals: int = 0,
    ) -> Repository:
        """Make ``owner/name`` from the files of a folder; its checks start as after a push.

        :param permissions: of each login; by default everybody who has a token may write.
        :param required_checks: names that must pass before a merge into the default branch.
        :raises ApiError: 422 when the name is taken or wrong, or the folder is not there.
        """
        granted: Mapping[str, Permission]
        granted = permissions if permissions is not None else self._writers()
        rules = {}
        if (names := tuple(required_checks)) or required_approvals:
            rules[default_branch] = BranchRules(required_checks=names, required_approvals=required_approvals)
        return await self.forge.seed(
            full_name,
            Path(folder),
            permissions=granted,
            default_branch=default_branch,
            private=private,
            rules=rules,
        )

    def _writers(self) -> dict[str, Permission]:
        return {user.login: "write" for user in self.forge.store.tokens.values()}

    def create_issue(
        self,
        repository: str,
        title: str,
        body: str = "",
        *,
        author: str | None = None,
        labels: Iterable[str] = (),
    ) -> Issue:
        """Open an issue, by default as the repository's owner.

        :raises ApiError: 404 for an unknown repository or one that is hidden from the author.
        """
        owner, _, name = repository.partition("/")
        user = self.add_user(author or owner)
        return issues.create_issue(
            self.forge, self.forge.repository(owner, name, user), user, title, body, labels
        )

    async def act(self, login: str, do: str, repository: str, **values: Any) -> dict[str, Any]:
        """Do something as somebody; see :mod:`demo.github.acts`."""
        return await acts.act(self.forge, {"as": login, "do": do, "repository": repository, **values})

    async def checks_settled(self) -> None:
        """Wait until no check is queued or running."""
        await self.forge.checks.settled()

    def _application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._log, self._refuse, self._app_tokens.guard, self._inject],
            client_max_size=16 << 20,
        )
        for method, path, endpoint in (*rest_issues.ROUTES, *rest_pulls.ROUTES, *rest_code.ROUTES):
            application.router.add_route(method, PREFIX + path, self._rest(endpoint))
        application.add_routes(self._app_tokens.routes())
        application.router.add_post(GRAPHQL_PATH, self._graphql)
        application.router.add_route("*", "/api/{rest:.*}", _no_such_endpoint)
        application.add_routes(Control(self).routes())
        application.add_routes(self._logs.routes())
        application.add_routes(GitService(self.forge).routes())
        application.add_routes(Pages(self.forge).routes())
        return application

    def _rest(self, endpoint: Endpoint) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            header = request.headers.get("Authorization")
            user = api_user(self.forge.store, header, documentation_url=DOCUMENTATION)
            FACTS.get().user = user
            free = request.path == f"{PREFIX}/rate_limit"
            if not free:
                self.limits.spend(user, "core", 1)
            response = await endpoint(Call(self.forge, request, user, self.limits, self._logs))
            response = _conditional(request, response)
            if response.status == 304 and not free:
                self.limits.refund(user, "core")
            response.headers.update(self.limits.headers(user, "core"))
            return response

        return handle

    async def _graphql(self, request: web.Request) -> web.StreamResponse:
        place = "https://docs.github.com/graphql"
        user = api_user(self.forge.store, request.headers.get("Authorization"), documentation_url=place)
        FACTS.get().user = user
        try:
            body = json.loads(await request.read())
        except ValueError:
            raise ApiError(400, "Problems parsing JSON", documentation_url=place) from None
        if not isinstance(body, dict):
            raise ApiError(400, "A query attribute must be specified and must be a string.")
        before = self.limits.describe(user, "graphql")["used"]
        try:
            answer = await graphql.perform(self.forge, self.limits, user, body)
        except ApiError as error:
            # GitHub tells a spent limit of GraphQL with status 200.
            answer = {"errors": [{"type": error.kind, "message": error.message}]}
        FACTS.get().points = self.limits.describe(user, "graphql")["used"] - before
        return web.json_response(answer, headers=self.limits.headers(user, "graphql"))

    @web.middleware
    async def _log(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        begun, status = time.monotonic(), None
        facts = RequestFacts(operation=await _operation(request))
        FACTS.set(facts)
        try:
            response = await handler(request)
            dropped = request.transport is None or request.transport.is_closing()
            status = None if dropped else response.status
            return response
        except web.HTTPException as error:
            status = error.status
            raise
        finally:
            if not request.path.startswith("/_demo"):
                self.requests.add(request, facts, status, time.monotonic() - begun)

    @web.middleware
    async def _refuse(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn refusals, and faults of the stand-in itself, into answers of GitHub's form."""
        headers = {
            "x-github-request-id": secrets.token_hex(8).upper(),
            "x-github-enterprise-version": "3.17.0",
        }
        try:
            if request.path.startswith("/_demo"):
                loopback_only(request)
            response = await handler(request)
        except ApiError as error:
            response = web.json_response(error.body(), status=error.status)
            user = FACTS.get().user
            if user is not None and request.path.startswith(PREFIX):
                response.headers.update(self.limits.headers(user, "core"))
        except web.HTTPException:
            raise
        except Exception:
            _logger.exception("%s %s", request.method, request.path)
            response = web.json_response({"message": "Server Error"}, status=500)
        if not response.prepared:
            response.headers.update(headers)
        return response

    @web.middleware
    async def _inject(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.path.startswith("/_demo"):
            return await handler(request)
        return await self.faults.handle(request, FACTS.get().operation, handler)


async def _operation(request: web.Request) -> str:
    """Return the name of the GraphQL operation that a request asks for, or an empty string."""
    if request.path != GRAPHQL_PATH or request.method != "POST":
        return ""
    with contextlib.suppress(ValueError):
        body = json.loads(await request.read())
        return graphql.operation_name(body) if isinstance(body, dict) else ""
    return ""


async def _no_such_endpoint(request: web.Request) -> web.StreamResponse:
    raise ApiError(404, "Not Found")


def _conditional(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Give an answer its ETag, and answer 304 where the client has it already."""
    if request.method != "GET" or response.status != 200 or not isinstance(response, web.Response):
        return response
    body = response.body if isinstance(response.body, bytes) else b""
    etag = f'W/"{hashlib.sha256(body).hexdigest()}"'
    response.headers["ETag"] = etag
    response.headers["Cache-Control"] = "private, max-age=60, s-maxage=60"
    if request.headers.get("If-None-Match") == etag:
        kept = {name: value for name, value in response.headers.items() if not name.startswith("Content-")}
        return web.Response(status=304, headers=kept)
    return response


def prepare(folder: Path) -> Path:
    """Return ``folder``, made and emptied of an earlier run.

    :raises FileExistsError: something else is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / MARKER
    if any(folder.iterdir()) and not marker.exists():
        raise FileExistsError(f"{folder} holds other files. Give the stand-in a folder of its own.")
    marker.touch()
    shutil.rmtree(folder / "repositories", ignore_errors=True)
    return folder
