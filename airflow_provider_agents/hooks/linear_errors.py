"""What Linear's refusals mean: from an HTTP answer and its GraphQL errors to the exception that says what to do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.exceptions import (
    ForgeAccessError,
    ForgeError,
    ForgeRateLimitedError,
    ForgeUnavailableError,
)
from airflow_provider_agents.hooks.github_fields import mapping, text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_WAIT = timedelta(minutes=1)
"""After a rate limit that does not say when it ends."""
LONGEST_WAIT = timedelta(hours=1)
"""Linear's limits are refilled within an hour."""

_BUDGETS = ("Requests", "Complexity", "Endpoint-Requests")
_CREDENTIAL_TYPES = frozenset({"authentication error", "forbidden", "feature not accessible"})
_REQUEST_TYPES = frozenset({"invalid input", "user error", "usage limit exceeded"})


class LinearCredentialError(ForgeAccessError):
    """Linear does not know the credential, or it lacks a right."""


class LinearRefusalError(ForgeAccessError):
    """Linear refused what was asked: there is no such thing, or the values do not fit."""


def answer_error(
    what: str, status: int, headers: Mapping[str, str], body: Any, now: datetime
) -> ForgeError | None:
    """Return the exception of an answer, or ``None`` where it holds data to work with.

    Data with errors beside it is data: the caller decides what to do about its holes.

    :param what: what was asked for, in the infinitive: ``list the tickets of ENG``.
    :param body: the decoded JSON where the body was JSON, else its text.
    :param now: present time, timezone-aware.
    """
    errors = errors_of(body)
    # Linear says a used-up limit with status 400 and this code; a proxy in between with status 429.
    if status == 429 or any(_kind(error) == "ratelimited" for error in errors):
        retry_at = _retry_at(headers, now)
        return ForgeRateLimitedError(
            f"Linear's rate limit is used up; it did not {what}: {_said(errors) or f'HTTP {status}'}. "
            f"Next attempt not before {retry_at:%Y-%m-%d %H:%M:%S} UTC",
            retry_at=retry_at,
        )
    if status == 200 and isinstance(mapping(body).get("data"), dict):
        return None
    return _refusal(what, status, errors, body)


def refused(what: str, errors: Sequence[Mapping[str, Any]]) -> ForgeError:
    """Return the exception for something that an answer with data lacks.

    :param errors: the errors that may explain the absence; empty where Linear gave none.
    """
    return _refusal(what, 200, errors, None)


def errors_of(body: Any) -> tuple[Mapping[str, Any], ...]:
    """Return the GraphQL errors in an answer."""
    listed = mapping(body).get("errors")
    return tuple(e for e in listed if isinstance(e, dict)) if isinstance(listed, list) else ()


def _refusal(what: str, status: int, errors: Sequence[Mapping[str, Any]], body: Any) -> ForgeError:
    kinds = {_kind(error) for error in errors}
    detail = _said(errors) or _short(body) or ("an answer without data" if status == 200 else "")
    said = f"HTTP {status}{f', {detail!r}' if detail else ''}" if status != 200 else detail
    if status in (401, 403) or kinds & _CREDENTIAL_TYPES:
        return LinearCredentialError(
            f"Linear refused to {what}: {said}. Check that the API key or token of the connection is valid, "
            "has the scopes read and write, and that its user or app is a member of the team"
        )
    if "graphql error" in kinds:
        return ForgeAccessError(
            f"Linear could not {what}: it does not know the query: {said}. Its API has changed: update this provider"
        )
    if status >= 500 or (kinds and not kinds & _REQUEST_TYPES):
        return ForgeUnavailableError(f"Linear could not {what}: {said}")
    if kinds or status in (400, 404, 410, 422):
        return LinearRefusalError(f"Linear did not {what}: {said}")
    return ForgeUnavailableError(f"Linear could not {what}: unexpected answer, {said}")


def _kind(error: Mapping[str, Any]) -> str:
    """Return the type of an error in Linear's own words; of a code alone, that which it stands for."""
    extensions = mapping(error.get("extensions"))
    kind, code = text(extensions.get("type")).lower(), text(extensions.get("code")).upper()
    if code == "RATELIMITED" or kind == "ratelimited":
        return "ratelimited"
    if kind:
        return kind
    return {
        "AUTHENTICATION_ERROR": "authentication error",
        "UNAUTHENTICATED": "authentication error",
        "FORBIDDEN": "forbidden",
        "INPUT_ERROR": "invalid input",
        "INVALID_INPUT": "invalid input",
        "BAD_USER_INPUT": "invalid input",
        "GRAPHQL_VALIDATION_FAILED": "graphql error",
        "GRAPHQL_PARSE_FAILED": "graphql error",
    }.get(code, "unknown")


def _said(errors: Sequence[Mapping[str, Any]]) -> str:
    words = []
    for error in errors[:5]:
        message = text(error.get("message")) or _kind(error)
        shown = text(mapping(error.get("extensions")).get("userPresentableMessage"))
        words.append(f"{message} ({shown})" if shown and shown != message else message)
    return " ".join("; ".join(words).split())[:500].rstrip(". ")


def _short(body: Any) -> str:
    return " ".join(body.split())[:200] if isinstance(body, str) else ""


def _retry_at(headers: Mapping[str, str], now: datetime) -> datetime:
    """Return when to try again: as ``Retry-After`` says, or when the last budget that is used up is refilled."""
    after = headers.get("Retry-After", "").strip()
    if after.isdecimal():
        return now + min(max(timedelta(seconds=int(after[:6])), timedelta(seconds=1)), LONGEST_WAIT)
    ends = [
        end
        for name in _BUDGETS
        if headers.get(f"X-RateLimit-{name}-Remaining", "").strip() == "0"
        and (end := _milliseconds(headers.get(f"X-RateLimit-{name}-Reset", ""))) is not None
    ]
    if not ends:
        return now + DEFAULT_WAIT
    return min(max(max(ends), now + timedelta(seconds=1)), now + LONGEST_WAIT)


def _milliseconds(value: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(int(value.strip()) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None
