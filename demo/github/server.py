"""The stand-in as one HTTP server on loopback: :class:`StandInGitHub`."""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
import shutil
import time
from email.utils import format_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web

from demo.github import acts, graphql, issues, rest_code, rest_issues, rest_labels, rest_pulls
from demo.github.api import Api
from demo.github.app_tokens import AppTokens
from demo.github.control import Control, loopback_only
from demo.github.errors import ApiError
from demo.github.faults import Fault, Faults, Handler
from demo.github.forge import Forge, Settings
from demo.github.git_http import GitService
from demo.github.job_logs import JobLogs
from demo.github.limits import RateLimits
from demo.github.pages import Pages
from demo.github.persistence import STATE_FILE, Keeper, reconcile
from demo.github.request_subject import GRAPHQL_PATH
from demo.github.requests_log import FACTS, RequestFacts, RequestLog
from demo.github.rest import PREFIX
from demo.github.staleness import Replica
from demo.github.state import BranchRules, Issue, Permission, Repository, User
from demo.github.webhooks import Webhooks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from demo.github.app_tokens import AppRegistration
    from demo.github.clock import Clock
    from demo.github.webhooks import Sender

HOST = "127.0.0.1"
MARKER = ".stand-in-github"
SHUTDOWN_SECONDS = 2.0
DEFAULT_LOGIN = "agent"

_logger = logging.getLogger(__name__)


class StandInGitHub:
    """A GitHub Enterprise Server in small: REST, GraphQL, git, checks and pages.

    :param data_dir: folder for repositories and the mutation log; must be new, empty, or an earlier one of
        ours, which is emptied. ``None``: all is in memory, for :meth:`seed_synthetic` alone.
    :param host: address to listen on.
    :param port: 0 for a free one.
    :param url: root address as others reach it, for where they are on another machine; by default that of
        ``host`` and the port.
    :param mergeability_delay: seconds that ``mergeable`` is ``UNKNOWN`` after a head or a base moved.
    :param check_timeout: limit of one workflow job, in seconds.
    :param parallel_checks: workflow jobs that run at once.
    :param keep: write every change to the folder before it is answered, and go on from what an earlier
        stand-in saved there, however that ended.
    :param clock: its time; by default the machine's.
    :param on_crash: kills the stand-in when a fault says so; by default a crash only drops the connection.
    :param webhook_sender: how webhooks are delivered; by default over HTTP.
    :param seed: of all that happens by chance: faults and losses.
    """

    def __init__(
        self,
        data_dir: Path | str | None,
        *,
        host: str = HOST,
        port: int = 0,
        url: str = "",
        mergeability_delay: float = 1.0,
        check_timeout: float = 120.0,
        parallel_checks: int = 2,
        keep: bool = False,
        clock: Clock | None = None,
        on_crash: Callable[[], None] | None = None,
        webhook_sender: Sender | None = None,
        seed: int = 0,
    ) -> None:
        folder = prepare(Path(data_dir).absolute(), keep=keep) if data_dir is not None else None
        self._address = (host, port)
        self._known_as = url.rstrip("/")
        settings = Settings(
            mergeability_delay=mergeability_delay,
            check_timeout=check_timeout,
            parallel_checks=parallel_checks,
        )
        self.forge = Forge(folder, settings, clock)
        self._app_tokens = AppTokens(self.forge)
        self.limits = RateLimits(clock=self.forge.clock)
        self._keeper = Keeper(self.forge, folder / STATE_FILE) if folder is not None else None
        self._keeping = keep
        self._resumed = self._resume() if keep else False
        self.replica = Replica(self.forge)
        self.faults = Faults(
            self.forge, ordered=self._fault_ordered, crash=on_crash or (lambda: None), seed=seed
        )
        self.requests = RequestLog()
        self.webhooks = Webhooks(
            self.forge, installation=self._installation, sender=webhook_sender, seed=seed
        )
        self._logs = JobLogs(self.forge)
        self._api = Api(self.forge, self.limits, self.replica, self._logs)
        self._runner: web.AppRunner | None = None
        if self._keeper is not None:
            self._keeper.keep("grants", self._app_tokens.grants)
        if keep:
            self.forge.mutations.listen(lambda _: self.save())

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
        self._runner = await self.set_up()
        host, port = self._address
        await web.TCPSite(self._runner, host, port).start()
        self.forge.url = self._known_as or f"http://{host}:{self._runner.addresses[0][1]}"
        if self._resumed:
            await reconcile(self.forge)
            await self.forge.checks.resume()

    async def set_up(self) -> web.AppRunner:
        """Return the application ready to serve, with no address yet; :meth:`start` does both."""
        graphql.load_schema()
        # Bodies of git stay as they are encoded: git http-backend decodes them itself.
        runner = web.AppRunner(
            self._application(), access_log=None, auto_decompress=False, shutdown_timeout=SHUTDOWN_SECONDS
        )
        await runner.setup()
        return runner

    async def stop(self) -> None:
        """Stop listening, and end all checks with their processes."""
        if self._runner is not None:
            await self._runner.cleanup()
        await self.forge.checks.stop()
        await self.webhooks.stop()
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

    async def seed_synthetic(
        self,
        full_name: str,
        files: Mapping[str, str],
        *,
        permissions: Mapping[str, Permission] | None = None,
        rules: Mapping[str, BranchRules] | None = None,
    ) -> Repository:
        """Make ``owner/name`` of files (text by path) in memory: no git program, no workflow.

        :raises ApiError: 422 when the name is taken or wrong.
        """
        granted = permissions if permissions is not None else self._writers()
        return await self.forge.seed_synthetic(full_name, files, permissions=granted, rules=rules)

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

    def save(self) -> None:
        """Write the state to the folder, for a later start with ``keep``.

        :raises ApiError: 422, there is no folder.
        """
        if self._keeper is None:
            raise ApiError(422, "This stand-in has no folder to save its state in.")
        self._keeper.save()

    def _application(self) -> web.Application:
        application = web.Application(
            middlewares=[self._log, self._refuse, self._remember, self._app_tokens.guard, self._inject],
            client_max_size=16 << 20,
        )
        served = (rest_issues, rest_labels, rest_pulls, rest_code)
        for method, path, endpoint in (route for module in served for route in module.ROUTES):
            application.router.add_route(method, PREFIX + path, self._api.rest(endpoint))
        application.add_routes(self._app_tokens.routes())
        application.router.add_post(GRAPHQL_PATH, self._api.graphql)
        application.router.add_route("*", "/api/{rest:.*}", _no_such_endpoint)
        application.add_routes(Control(self).routes())
        application.add_routes(self._logs.routes())
        application.add_routes(GitService(self.forge).routes())
        application.add_routes(Pages(self.forge).routes())
        return application

    def _fault_ordered(self, fault: Fault) -> None:
        if isinstance(fault.action, dict) and "stale_seconds" in fault.action:
            self.replica.start(float(fault.action["stale_seconds"]))

    def _installation(self) -> int | None:
        app = self._app_tokens.registration
        return app.installation_id if app else None

    def _resume(self) -> bool:
        """Go on from what an earlier stand-in left; return whether there was one."""
        if self._keeper is None:
            return False
        kept = self._keeper.load()
        if kept is not None:
            self._app_tokens.grants.update(kept["grants"])
        return kept is not None

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
            if user is not None and request.path.startswith("/api/"):
                resource = "core" if request.path.startswith(PREFIX) else "graphql"
                response.headers.update(self.limits.headers(user, resource))
            response.headers.update(error.headers)
        except web.HTTPException:
            raise
        except Exception:
            _logger.exception("%s %s", request.method, request.path)
            response = web.json_response({"message": "Server Error"}, status=500)
        if not response.prepared:
            response.headers.update(headers)
            response.headers["Date"] = format_datetime(self.forge.clock.now(), usegmt=True)
        return response

    @web.middleware
    async def _remember(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Keep the state before and after a request, for stale reads and for a restart."""
        await self.replica.keep()
        response = await handler(request)
        if request.method not in ("GET", "HEAD"):
            await self.replica.keep()
            if self._keeping:
                self.save()
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


def prepare(folder: Path, *, keep: bool = False) -> Path:
    """Return ``folder``, made and emptied of an earlier run.

    :param keep: leave what an earlier run left.
    :raises FileExistsError: something else is in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    marker = folder / MARKER
    if any(folder.iterdir()) and not marker.exists():
        raise FileExistsError(f"{folder} holds other files. Give the stand-in a folder of its own.")
    marker.touch()
    if not keep:
        shutil.rmtree(folder / "repositories", ignore_errors=True)
        (folder / STATE_FILE).unlink(missing_ok=True)
    return folder
