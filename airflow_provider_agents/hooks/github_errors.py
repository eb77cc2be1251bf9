"""From what GitHub answered to the exception that says what the caller may do.

Pure functions of status, headers and body; the clock is an argument.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from airflow_provider_agents.hooks.github_models import RateLimit

SECONDARY_LIMIT_WAIT = timedelta(seconds=60)
"""GitHub's advice for a secondary rate limit whose answer names no time."""
LONGEST_WAIT = timedelta(hours=2)
"""No limit of GitHub lasts longer; keeps a nonsense header from stopping a wait for years."""

_ACCESS_STATUSES = frozenset({401, 403, 404, 410, 451})
_CONFLICT_STATUSES = frozenset({405, 409, 422})
_RIGHT_TYPES = frozenset({"FORBIDDEN", "INSUFFICIENT_SCOPES", "UNAUTHORIZED"})
_ACCESS_TYPES = _RIGHT_TYPES | {"NOT_FOUND"}


@dataclass(frozen=True, slots=True)
class Operation:
    """What a call is for: the words of its error messages."""

    what: str
    """In the infinitive, with the repository's name: ``merge acme/shop#7``."""
    needs: str
    """Fine-grained permissions that the credential needs: ``Pull requests: write``."""


def response_error(
    operation: Operation, status: int, headers: Mapping[str, str], body: Any, now: datetime
) -> ForgeError:
    """Return the exception of an answer that is no success.

    :param body: the decoded JSON where the body was JSON, else its text.
    :param now: present time, timezone-aware.
    """
    said = error_message(body)
    detail = f"HTTP {status}" + (f", {said!r}" if said else "")
    if status in (403, 429) and (retry_at := _retry_at(status, headers, said, now)):
        return rate_limited(operation, detail, retry_at)
    if status in _ACCESS_STATUSES:
        return access_denied(operation, detail)
    if status in _CONFLICT_STATUSES:
        return ForgeConflictError(f"GitHub did not {operation.what}: {detail}")
    if status >= 500:
        return ForgeUnavailableError(f"GitHub could not {operation.what}: {detail}")
    return ForgeError(f"GitHub could not {operation.what}: unexpected answer {detail}")


def graphql_error(
    operation: Operation,
    data: Any,
    errors: Sequence[Mapping[str, Any]],
    headers: Mapping[str, str],
    now: datetime,
) -> ForgeError | None:
    """Return the exception of a GraphQL answer, or ``None`` where it holds data to work with."""
    if any(error.get("type") in ("RATE_LIMITED", "RATE_LIMIT") for error in errors):
        said = _said(errors)
        return rate_limited(operation, said, _retry_at(429, headers, said, now) or now + SECONDARY_LIMIT_WAIT)
    if isinstance(data, Mapping):
        return None
    return absent(operation, errors)


def absent(operation: Operation, errors: Sequence[Mapping[str, Any]]) -> ForgeError:
    """Return the exception for an object that a GraphQL answer lacks.

    :param errors: the errors that may explain the absence; empty where GitHub gave none.
    """
    if not errors:
        return access_denied(operation, "there is no such object, or the credential may not see it")
    # A refused field beside a broken one does not make the object unreachable for ever.
    if all(error.get("type") in _ACCESS_TYPES for error in errors):
        return access_denied(operation, _said(errors))
    if any(
        isinstance(error.get("extensions"), Mapping) and error["extensions"].get("code") for error in errors
    ):
        return ForgeAccessError(
            f"GitHub could not {operation.what}: this server does not know the query: {_said(errors)}. "
            "A GitHub Enterprise Server must be a supported release"
        )
    return ForgeUnavailableError(f"GitHub could not {operation.what}: {_said(errors)}")


def errors_below(errors: Sequence[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    """Return the errors about one field of a GraphQL answer and all within it, their paths beginning below it.

    An error that names no place may be about any field, and is returned as it is.
    """
    found: list[Mapping[str, Any]] = []
    for error in errors:
        path = error.get("path")
        if not isinstance(path, list) or not path:
            found.append(error)
        elif path[0] == name:
            found.append({**error, "path": path[1:]})
    return found


def lacks_right(error: Mapping[str, Any]) -> bool:
    """Tell whether an error of a GraphQL answer says that the credential lacks a right."""
    said = str(error.get("message") or "").lower()
    return error.get("type") in _RIGHT_TYPES or "resource not accessible by" in said


def access_denied(operation: Operation, detail: str) -> ForgeAccessError:
    """Return the exception for a missing permission, a wrong name or an invalid token."""
    return ForgeAccessError(
        f"GitHub refused to {operation.what}: {detail.rstrip('.')}. Check the repository's name, and that the token of "
        f"the connection is valid and has, for this repository, the permissions {operation.needs}"
    )


def rate_limited(operation: Operation, detail: str, retry_at: datetime) -> ForgeRateLimitedError:
    """Return the exception for a used-up rate limit."""
    return ForgeRateLimitedError(
        f"GitHub's rate limit is used up; it did not {operation.what}: {detail.rstrip('.')}. "
        f"Next attempt not before {retry_at:%Y-%m-%d %H:%M:%S} UTC",
        retry_at=retry_at,
    )


def rate_limit_of(headers: Mapping[str, str], now: datetime) -> RateLimit | None:
    """Return the budget that an answer tells of, or ``None`` where it tells of none.

    :param now: present time, timezone-aware; the reset is translated to this clock from GitHub's.
    """
    counts = [
        headers.get(f"X-RateLimit-{name}", "").strip() for name in ("Limit", "Remaining", "Reset", "Used")
    ]
    if not all(count.isdecimal() for count in counts[:3]) or int(counts[0]) == 0:
        return None
    limit, remaining = int(counts[0]), int(counts[1])
    return RateLimit(
        limit=limit,
        remaining=remaining,
        reset_at=_bounded(_from_reset(headers, now), now),
        used=int(counts[3]) if counts[3].isdecimal() else max(limit - remaining, 0),
    )


def _retry_at(status: int, headers: Mapping[str, str], said: str, now: datetime) -> datetime | None:
    """Return when a limit ends, or ``None`` where the answer shows no sign of a limit."""
    if after := headers.get("Retry-After"):
        return _bounded(_from_retry_after(after, now), now)
    if headers.get("X-RateLimit-Remaining") == "0":
        return _bounded(_from_reset(headers, now), now)
    if status == 429 or "rate limit" in said.lower() or "abuse detection" in said.lower():
        return now + SECONDARY_LIMIT_WAIT
    return None


def _from_retry_after(value: str, now: datetime) -> datetime:
    if value.strip().isdecimal():
        return now + timedelta(seconds=min(int(value), LONGEST_WAIT.total_seconds()))
    return _http_date(value) or now + SECONDARY_LIMIT_WAIT


def _from_reset(headers: Mapping[str, str], now: datetime) -> datetime:
    """Translate the reset time from GitHub's clock to ours."""
    value = headers.get("X-RateLimit-Reset", "").strip()
    try:
        reset = datetime.fromtimestamp(int(value), UTC)
    except (ValueError, OverflowError, OSError):
        return now + SECONDARY_LIMIT_WAIT
    return now + (reset - (_http_date(headers.get("Date", "")) or now))


def _bounded(moment: datetime, now: datetime) -> datetime:
    return min(max(moment, now + timedelta(seconds=1)), now + LONGEST_WAIT)


def _http_date(value: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError):
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def error_message(body: Any) -> str:
    """Return GitHub's own words: the message, and those of the single errors behind it."""
    if not isinstance(body, Mapping):
        return " ".join(str(body or "").split())[:200]
    words = [str(body.get("message") or "")]
    errors = body.get("errors")
    for error in errors if isinstance(errors, list) else []:
        words.append(str(error.get("message") or "") if isinstance(error, Mapping) else str(error))
    return "; ".join(word for word in words if word)[:500]


def _said(errors: Sequence[Mapping[str, Any]]) -> str:
    return "; ".join(str(error.get("message") or error.get("type") or "unnamed error") for error in errors)[
        :500
    ]
