"""From what Argo CD answered to the exception that says what the caller may do. Pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)

if TYPE_CHECKING:
    from airflow_provider_agents.domain.argocd_application import FaultKind

NOT_FOUND = 5
"""gRPC's code, which Argo CD puts into the body; HTTP's 404 alone may be that of a proxy."""
DEFAULT_WAIT = timedelta(seconds=60)
LONGEST_WAIT = timedelta(hours=1)


class ArgoCdAbsentError(ForgeAccessError):
    """There is no such application in the project, or the token may not see it."""


class ArgoCdAnswerError(ForgeError):
    """The answer is not what Argo CD's interface says."""


def answer_error(
    what: str, status: int, headers: Mapping[str, str], body: Any, now: datetime
) -> ForgeError | None:
    """Return the exception of an answer; ``None`` where it is a success.

    :param what: what the call was for, in the infinitive: ``read the application shop-staging``.
    :param body: the decoded JSON where the body was JSON, else its text.
    :param now: present time, timezone-aware.
    """
    detail = f"HTTP {status}" + (f", {said!r}" if (said := _said(body)) else "")
    if 300 <= status < 400:
        return ForgeAccessError(
            f"Argo CD did not {what}: {detail}, it sends elsewhere{_where(headers)}. A login page or a proxy stands before "
            "it, or it wants https: put the address at which the API itself answers into the connection's host"
        )
    if 200 <= status < 300:
        return None if isinstance(body, Mapping) else not_json(what, body)
    if status == 429:
        retry_at = now + _wait(headers, now)
        return ForgeRateLimitedError(
            f"Argo CD limits the rate of requests; it did not {what}: {detail}", retry_at=retry_at
        )
    if status >= 500:
        return ForgeUnavailableError(f"Argo CD could not {what}: {detail}")
    if status == 401:
        return ForgeAccessError(
            f"Argo CD refused to {what}: {detail}. The token has expired or was revoked: make a new one (argocd account "
            "generate-token) and put it into the connection's password"
        )
    if status == 403:
        return ForgeAccessError(
            f"Argo CD refused to {what}: {detail}. It answers so, too, where there is no such application. Check the "
            "name; give the token's account or role the right `applications, get`; put the project into the connection's "
            "extra (`project`) to be told which of the two it is"
        )
    if status == 404:
        if isinstance(body, Mapping) and body.get("code") == NOT_FOUND:
            return ArgoCdAbsentError(f"Argo CD has nothing to {what}: {detail}. Check name and project")
        return ForgeAccessError(
            f"Argo CD could not {what}: {detail}. Its API is not at this address: check host and path of the connection"
        )
    return ArgoCdAnswerError(f"Argo CD did not {what}: {detail}")


def not_json(what: str, body: Any) -> ForgeError:
    """Return the exception for an answer without an object: a login page, another program's host, a cut answer."""
    if isinstance(body, str) and body.lstrip()[:1] == "<":
        return ForgeAccessError(
            f"Argo CD could not {what}: the answer is a web page, not JSON. Check host and path of the connection, and that "
            "no login page stands before the API"
        )
    return ArgoCdAnswerError(f"Argo CD could not {what}: the answer is no JSON object")


def fault_kind(error: ForgeError) -> FaultKind:
    """Return the word for an exception in a reading."""
    if isinstance(error, ArgoCdAbsentError):
        return "missing"
    if isinstance(error, ForgeAccessError):
        return "denied"
    return "malformed" if isinstance(error, ArgoCdAnswerError) else "unavailable"


def _wait(headers: Mapping[str, str], now: datetime) -> timedelta:
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        wanted = timedelta(seconds=min(int(value[:9]), LONGEST_WAIT.total_seconds()))
    else:
        try:
            moment = parsedate_to_datetime(value)
            wanted = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - now
        except (TypeError, ValueError, IndexError):
            wanted = DEFAULT_WAIT
    return min(max(wanted, timedelta()), LONGEST_WAIT)


def _where(headers: Mapping[str, str]) -> str:
    """Return where a redirect leads, without its query, which may hold secrets."""
    place = " ".join(headers.get("Location", "").split("?")[0].split())[:200]
    return f" ({place})" if place else ""


def _said(body: Any) -> str:
    """Return Argo CD's own words, cut."""
    if isinstance(body, Mapping):
        words = body.get("message") or body.get("error")
        return " ".join(words.split())[:300] if isinstance(words, str) else ""
    text = body if isinstance(body, str) else ""
    return "" if text.lstrip().startswith("<") else " ".join(text[:2000].split())[:200]
