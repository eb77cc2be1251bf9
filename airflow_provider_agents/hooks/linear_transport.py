"""One authenticated HTTP session with Linear's GraphQL API: timeouts, bounds, retries of reads, typed errors."""

from __future__ import annotations

import asyncio
import json
import random
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents import __version__
from airflow_provider_agents.exceptions import ForgeRateLimitedError, ForgeUnavailableError
from airflow_provider_agents.hooks.linear_errors import answer_error, errors_of, refused
from airflow_provider_agents.hooks.own_authorization import AUTHORIZATION, own_authorization

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from aiohttp import ClientResponse, ClientSession

    from airflow_provider_agents.hooks.linear import LinearCredential

MOST_BYTES = 16 * 1024 * 1024
"""Longest answer that is taken into memory."""
READ_RETRY_DELAYS = (0.5, 2.0)
"""Seconds before each further attempt at a read that found Linear unavailable."""


@dataclass(frozen=True, slots=True)
class LinearAnswer:
    """Data of a query, and the errors of the fields that are absent from it."""

    data: Mapping[str, Any]
    errors: tuple[Mapping[str, Any], ...]
    at: datetime
    """Linear's clock when it answered; this machine's where the answer does not tell."""


@asynccontextmanager
async def open_linear(
    credential: LinearCredential, *, timeout_seconds: float = 30.0
) -> AsyncIterator[LinearTransport]:
    """Open a session with the Linear of ``credential`` and close it at the end.

    Redirects are not followed, so the credential goes to no other host. Proxies are taken from the usual
    environment variables, a private certificate authority from ``SSL_CERT_FILE``.

    :param timeout_seconds: bound of each HTTP exchange, from connecting to the last byte.
    """
    import aiohttp

    async with aiohttp.ClientSession(
        headers={"User-Agent": f"airflow-provider-agents/{__version__}"},
        timeout=aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=min(10.0, timeout_seconds)),
        middlewares=(own_authorization,),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=True,
    ) as session:
        yield LinearTransport(session, credential)


class LinearTransport:
    """Sends GraphQL documents to one Linear; made by :func:`open_linear`.

    Queries are tried again, at most twice, when Linear is unavailable. Mutations are sent once: a lost answer
    is reported as :class:`~airflow_provider_agents.exceptions.ForgeUnavailableError`.
    """

    def __init__(self, session: ClientSession, credential: LinearCredential) -> None:
        self._session = session
        self._credential = credential

    def __repr__(self) -> str:
        return f"<LinearTransport {self._credential.url}>"

    async def query(
        self,
        document: str,
        variables: Mapping[str, Any],
        what: str,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> LinearAnswer:
        """Return the answer to a query; partial data is an answer, with its errors beside it.

        :param what: what is asked for, in the infinitive, for messages: ``read ticket ENG-12``.
        :param headers: further ones of the request.
        :raises ForgeError: one of its subclasses, see ``exceptions.py``.
        """
        for delay in READ_RETRY_DELAYS:
            try:
                return await self._exchange(document, variables, what, lost="", headers=headers)
            except ForgeRateLimitedError:
                raise
            except ForgeUnavailableError:
                await asyncio.sleep(delay * random.uniform(0.8, 1.2))  # noqa: S311
        return await self._exchange(document, variables, what, lost="", headers=headers)

    async def mutate(self, document: str, variables: Mapping[str, Any], what: str) -> Mapping[str, Any]:
        """Send a mutation, once, and return its data.

        :raises ForgeUnavailableError: the answer was lost or tells of a fault: it may have happened.
        :raises ForgeAccessError: Linear refused it.
        """
        answer = await self._exchange(document, variables, what, lost="; it may have happened all the same")
        if answer.errors:
            raise refused(what, answer.errors)
        return answer.data

    async def _exchange(
        self,
        document: str,
        variables: Mapping[str, Any],
        what: str,
        *,
        lost: str,
        headers: Mapping[str, str] | None = None,
    ) -> LinearAnswer:
        import aiohttp

        try:
            async with self._session.post(
                self._credential.url,
                json={"query": document, "variables": dict(variables)},
                headers={**(headers or {}), AUTHORIZATION: self._credential.authorization},
                allow_redirects=False,
            ) as response:
                status, told = response.status, response.headers
                body = await self._body(response, what)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # Neither its repr nor its cause goes on: those of aiohttp hold the request's headers.
            fault = self._credential.hide(f"{type(error).__name__}: {error}".rstrip(": "))
            raise ForgeUnavailableError(f"Linear could not be reached to {what}: {fault}{lost}") from None
        if problem := answer_error(what, status, told, body, datetime.now(UTC)):
            raise problem
        if not isinstance(body, dict):
            raise ForgeUnavailableError(f"Linear could not {what}: the answer is no object{lost}")
        return LinearAnswer(data=body["data"], errors=errors_of(body), at=_clock(told))

    async def _body(self, response: ClientResponse, what: str) -> Any:
        """Read a body within bounds; JSON is decoded, all else is text."""
        data = bytearray()
        async for chunk in response.content.iter_chunked(65_536):
            data += chunk
            if len(data) > MOST_BYTES:
                raise ForgeUnavailableError(
                    f"Linear could not {what}: the answer is longer than {MOST_BYTES:,} bytes"
                )
        text = self._credential.hide(bytes(data).decode(errors="replace"))
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text


def _clock(headers: Mapping[str, str]) -> datetime:
    try:
        moment = parsedate_to_datetime(headers.get("Date", ""))
    except (TypeError, ValueError, IndexError):
        return datetime.now(UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
