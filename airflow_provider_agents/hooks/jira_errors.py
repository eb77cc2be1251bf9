"""From what Jira answered to the exception that says what the caller may do.

Pure functions of status, headers and body; the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeConflictError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)

DEFAULT_WAIT = timedelta(seconds=60)
"""After a rate limit whose answer names no time."""
LONGEST_WAIT = timedelta(hours=2)
"""Keeps a nonsense header from stopping a source for years."""


class JiraAbsentError(ForgeAccessError):
    """There is no such thing, or the connection's user may not see it."""


_DENIED_LOGINS = ("AUTHENTICATED_FAILED", "AUTHENTICATION_DENIED")


def answer_error(
    what: str, status: int, headers: Mapping[str, str], body: Any, now: datetime
) -> ForgeError | None:
    """Return the exception of an answer; ``None`` where it is a success.

    :param what: what the call was for, in the infinitive: ``read SHOP-7``.
    :param headers: by any case of their names.
    :param body: the decoded JSON where the body was JSON, else its text.
    :param now: present time, timezone-aware.
    """
    login = headers.get("X-Seraph-LoginReason", "")
    if any(reason in login for reason in _DENIED_LOGINS):
        # Jira goes on as if nobody had logged in: with status 200, and without what only we may see.
        return ForgeAccessError(
            f"Jira did not {what}: it does not accept the login of the connection ({login.strip()}). Make a new "
            "token; on Data Center, log in once in a browser where it asks for a CAPTCHA"
        )
    if 200 <= status < 300:
        return None
    said = _said(headers, body)
    detail = f"HTTP {status}" + (f", {said!r}" if said else "")
    if status == 429 or (status == 503 and headers.get("Retry-After")):
        retry_at = _retry_at(headers, now)
        return ForgeRateLimitedError(
            f"Jira limits the rate of requests; it did not {what}: {detail}. "
            f"Next attempt not before {retry_at:%Y-%m-%d %H:%M:%S} UTC",
            retry_at=retry_at,
        )
    if status >= 500:
        return ForgeUnavailableError(f"Jira could not {what}: {detail}")
    if 300 <= status < 400:
        return ForgeAccessError(
            f"Jira did not {what}: {detail}, it sends to another address. Put the address that Jira itself names as "
            "its base URL into the connection's host, and use a token, not a single sign-on"
        )
    if status in (401, 403):
        return ForgeAccessError(
            f"Jira refused to {what}: {detail}. Check login and token of the connection, and that its user has the "
            "right in the project"
        )
    if status in (404, 410):
        return JiraAbsentError(
            f"Jira has nothing to {what}: {detail}. It was deleted, or the connection's user may not see it"
        )
    if status == 409:
        return ForgeConflictError(f"Jira did not {what}: {detail}")
    return ForgeError(f"Jira did not {what}: {detail}")


def not_json(what: str) -> ForgeAccessError:
    """Return the exception for a page where JSON was asked for: a login page, or another program's host."""
    return ForgeAccessError(
        f"Jira could not {what}: the answer is no JSON. Check that the connection's host is the base URL of Jira, "
        "and that no login page stands before it"
    )


def _retry_at(headers: Mapping[str, str], now: datetime) -> datetime:
    value = headers.get("Retry-After", "").strip()
    if value.isdecimal():
        wanted = now + timedelta(seconds=min(int(value), LONGEST_WAIT.total_seconds()))
    else:
        try:
            moment = parsedate_to_datetime(value)
            wanted = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        except (TypeError, ValueError, IndexError):
            wanted = now + DEFAULT_WAIT
    return min(max(wanted, now + timedelta(seconds=1)), now + LONGEST_WAIT)


def _said(headers: Mapping[str, str], body: Any) -> str:
    """Return Jira's own words, cut."""
    if reason := headers.get("X-Authentication-Denied-Reason", ""):
        return reason[:300]
    if not isinstance(body, Mapping):
        return " ".join(str(body or "").split())[:200]
    words = [body.get("message"), body.get("errorMessage")]
    messages, errors = body.get("errorMessages"), body.get("errors")
    words += messages if isinstance(messages, list) else []
    words += [f"{name}: {word}" for name, word in errors.items()] if isinstance(errors, Mapping) else []
    return "; ".join(str(word) for word in words if word)[:500]
