"""Sessions with GitHub for the checks, and what a credential is: whose, with which scopes or permissions."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.cli.deployment import REQUEST_SECONDS
from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks.github_errors import Operation, response_error

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from airflow_provider_agents.hooks.github import GitHubCredential
    from airflow_provider_agents.hooks.github_transport import GitHubTransport


@dataclass(frozen=True, slots=True)
class Account:
    """Who a credential is."""

    login: str
    scopes: frozenset[str] | None = None
    """Of a classic token; ``None``: it is of another kind."""
    permissions: Mapping[str, str] | None = None
    """Of an App's installation, within what its connection allows; ``None``: it is a token."""
    expires_at: str = ""
    """When a token expires, as GitHub says it; empty: never, or not told."""
    settings_url: str = ""
    """Where an installation's permissions are accepted."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What GitHub answered, whatever it was."""

    status: int
    headers: Mapping[str, str]
    body: Any = field(repr=False)

    @property
    def said(self) -> str:
        """GitHub's own words."""
        return str(self.body.get("message") or "") if isinstance(self.body, dict) else ""


@asynccontextmanager
async def session(
    found: GitHubCredential, repositories: Sequence[str] = (), permissions: Mapping[str, str] | None = None
) -> AsyncIterator[GitHubTransport]:
    """Open a session; an App's with a token of its own that may only read.

    :param repositories: that an App's token is for.
    :param permissions: of that token.
    """
    from airflow_provider_agents.hooks.github_app_tokens import new_token
    from airflow_provider_agents.hooks.github_transport import open_transport

    token = found.token
    if found.app is not None:
        made = await new_token(
            found.urls,
            found.app,
            repositories,
            permissions or {"metadata": "read"},
            timeout_seconds=REQUEST_SECONDS,
        )
        token = made.token
    async with open_transport(found.urls, token, timeout_seconds=REQUEST_SECONDS) as transport:
        yield transport


async def ask(transport: GitHubTransport, path: str, what: str) -> Answer:
    """Return GitHub's answer to a read.

    :param what: for the message where GitHub cannot be reached.
    :raises ForgeUnavailableError: GitHub could not be reached, or answered with a server error.
    """
    path, _, query = path.partition("?")
    operation = Operation(what, "none")
    status, headers, body = await transport.answer("GET", path + (f"?{query}" if query else ""), operation)
    if status == 429 or (status == 403 and headers.get("X-RateLimit-Remaining") == "0"):
        raise response_error(operation, status, headers, body, datetime.now(UTC))
    return Answer(status, headers, body)


async def account(found: GitHubCredential, repository: str | None) -> Account:
    """Return who a credential is.

    :param repository: that an App has to be installed on; ``None``: any.
    :raises ForgeError: GitHub refuses it; the message says what to do.
    """
    if found.app is not None:
        return await _of_app(found, repository)
    async with session(found) as transport:
        answer = await ask(transport, "/user", "read the token's account")
    if answer.status != 200 or not isinstance(answer.body, dict):
        raise ForgeAccessError(f"HTTP {answer.status}" + (f", {answer.said!r}" if answer.said else ""))
    listed = answer.headers.get("X-OAuth-Scopes")
    scopes = None if listed is None else frozenset(part.strip() for part in listed.split(",") if part.strip())
    expires = answer.headers.get("GitHub-Authentication-Token-Expiration", "")
    return Account(str(answer.body.get("login") or "?"), scopes=scopes, expires_at=expires)


async def _of_app(found: GitHubCredential, repository: str | None) -> Account:
    from airflow_provider_agents.hooks import github_app
    from airflow_provider_agents.hooks.github_transport import open_transport

    app = found.app
    assert app is not None
    skew = timedelta()

    async def signed() -> str:
        return app.sign(datetime.now(UTC) + skew)

    async with open_transport(found.urls, signed, timeout_seconds=REQUEST_SECONDS) as transport:
        try:
            number = app.installation_id or await github_app.find_installation(transport, app, repository)
        except ForgeAccessError:
            skew = github_app.tolerable(transport.clock_ahead)
            if not skew:
                raise
            number = app.installation_id or await github_app.find_installation(transport, app, repository)
        path = f"/app/installations/{number}"
        answer = await ask(transport, path, "read the App's installation")
        if answer.status == 401 and (skew := github_app.tolerable(transport.clock_ahead)):
            answer = await ask(transport, path, "read the App's installation")
    if answer.status != 200 or not isinstance(answer.body, dict):
        raise ForgeAccessError(
            f"GitHub does not show installation {number} of App {app.app_id}: HTTP {answer.status}"
            + (f", {answer.said!r}" if answer.said else "")
        )
    if answer.body.get("suspended_at"):
        raise ForgeAccessError(f"installation {number} of App {app.app_id} is suspended")
    granted = {"metadata": "read", **(answer.body.get("permissions") or {})}
    if app.token_permissions is not None:
        granted = {
            name: level for name, level in granted.items() if name in {"metadata", *app.token_permissions}
        }
        granted |= {name: _lower(level, granted.get(name)) for name, level in app.token_permissions.items()}
    slug = str(answer.body.get("app_slug") or app.app_id)
    return Account(f"{slug}[bot]", permissions=granted, settings_url=str(answer.body.get("html_url") or ""))


def _lower(level: str, granted: str | None) -> str:
    """Return the lower of two levels; what is not granted is empty."""
    from airflow_provider_agents.hooks.github_app import LEVELS

    if granted not in LEVELS:
        return ""
    return LEVELS[min(LEVELS.index(level), LEVELS.index(granted))]


async def clock_ahead(found: GitHubCredential) -> timedelta:
    """Return how far GitHub's clock is ahead of this machine's.

    :raises ForgeUnavailableError: GitHub could not be reached.
    """
    from airflow_provider_agents.hooks.github_transport import open_transport

    async with open_transport(
        found.urls, found.token or "none", timeout_seconds=REQUEST_SECONDS
    ) as transport:
        # Also an answer that refuses the credential tells the time.
        await transport.answer("GET", "/rate_limit", Operation("read GitHub's time", "none"))
        return transport.clock_ahead
