"""Keeps the tokens of GitHub Apps until they are about to expire, and has new ones made."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks import github_app

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_agents.hooks.github_app import GitHubApp, InstallationToken
    from airflow_provider_agents.hooks.github_urls import GitHubUrls

EXPIRY_MARGIN = timedelta(minutes=5)
"""A token that lives no longer than this is not used any more."""

_Key = tuple[str, str, str, tuple[str, ...], tuple[tuple[str, str], ...]]

_tokens: dict[_Key, InstallationToken] = {}
_locks: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[_Key, asyncio.Lock]] = WeakKeyDictionary()


async def token_for(
    urls: GitHubUrls,
    app: GitHubApp,
    repositories: Sequence[str],
    permissions: Mapping[str, str],
    *,
    owner: str = "",
    timeout_seconds: float = 30.0,
) -> InstallationToken:
    """Return a token that this process has already, or a new one.

    Those who ask for the same one at the same time are given one and the same.

    :param owner: as of :func:`new_token`.
    :raises ForgeError: as :func:`new_token`.
    """
    names = tuple(sorted(repositories))
    key = (urls.rest_url, app.identity, owner.casefold(), names, tuple(sorted(permissions.items())))
    locks = _locks.setdefault(asyncio.get_running_loop(), {})
    async with locks.setdefault(key, asyncio.Lock()):
        found = _tokens.get(key)
        if found is None or not _usable(found):
            found = await new_token(
                urls, app, repositories, permissions, owner=owner, timeout_seconds=timeout_seconds
            )
            for old in [other for other, token in _tokens.items() if not _usable(token)]:
                del _tokens[old]
            _tokens[key] = found
    return found


async def new_token(
    urls: GitHubUrls,
    app: GitHubApp,
    repositories: Sequence[str],
    permissions: Mapping[str, str],
    *,
    owner: str = "",
    timeout_seconds: float = 30.0,
) -> InstallationToken:
    """Have GitHub make a token that nobody else has.

    A wrong clock of this machine is made up for: what GitHub refuses is signed once more by its time.

    :param repositories: ``owner/name``, all of one owner; empty: all of the installation.
    :param owner: whose installation it is, where ``repositories`` is empty and the App has several.
    :raises ForgeAccessError: the App may not; the message names what to change.
    :raises ForgeUnavailableError: GitHub did not answer.
    :raises InvalidInputError: the private key is none.
    """
    from airflow_provider_agents.hooks.github_transport import open_transport

    skew = timedelta()

    async def signed() -> str:
        return app.sign(datetime.now(UTC) + skew)

    async with open_transport(urls, signed, timeout_seconds=timeout_seconds) as transport:

        async def attempt() -> InstallationToken:
            number = app.installation_id
            if number is None:
                number = await github_app.find_installation(
                    transport, app, repositories[0] if repositories else None, owner
                )
            return await github_app.mint(transport, app, repositories, permissions, installation_id=number)

        try:
            return await attempt()
        except ForgeAccessError:
            skew = github_app.tolerable(transport.clock_ahead)
            if not skew:
                raise
        return await attempt()


def forget(token: str) -> None:
    """Use ``token`` no more: GitHub refused it before its time."""
    for key in [key for key, kept in _tokens.items() if kept.token == token]:
        del _tokens[key]


def _usable(token: InstallationToken) -> bool:
    return token.expires_at - datetime.now(UTC) > EXPIRY_MARGIN
