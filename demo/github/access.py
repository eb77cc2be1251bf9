"""Who is calling, and how much they have left."""

from __future__ import annotations

import base64
import binascii
import hmac
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.github.errors import ApiError

if TYPE_CHECKING:
    from demo.github.state import Store, User

POINTS_PER_HOUR = 5000
WINDOW_SECONDS = 3600


def user_of_token(store: Store, token: str) -> User | None:
    """Return whose token it is; compared in constant time."""
    for known, user in store.tokens.items():
        if hmac.compare_digest(known.encode(), token.encode(errors="replace")):
            return user
    return None


def api_user(store: Store, header: str | None, *, documentation_url: str) -> User:
    """Return who sends an ``Authorization`` header to the API.

    :raises ApiError: 401, nobody known.
    """
    if not header:
        raise ApiError(401, "Requires authentication", documentation_url=documentation_url)
    scheme, _, token = header.partition(" ")
    user = (
        user_of_token(store, token.strip())
        if scheme.lower() in ("bearer", "token")
        else git_user(store, header)
    )
    if user is None:
        raise ApiError(401, "Bad credentials", documentation_url=documentation_url)
    return user


def git_user(store: Store, header: str | None) -> User | None:
    """Return who sends a Basic ``Authorization`` header: the password is the token, any name will do."""
    if (header or "").partition(" ")[0].lower() != "basic":
        return None
    token = token_of(header)
    return None if token is None else user_of_token(store, token)


def token_of(header: str | None) -> str | None:
    """Return the token in an ``Authorization`` header, ``None`` where there is none."""
    scheme, _, value = (header or "").partition(" ")
    if scheme.lower() in ("bearer", "token"):
        return value.strip()
    if scheme.lower() != "basic":
        return None
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return pair.partition(":")[2]


@dataclass
class _Window:
    reset: float
    used: int = 0


class RateLimits:
    """Points that each user has spent this hour, apart for REST (``core``) and ``graphql``."""

    def __init__(self) -> None:
        self._windows: dict[tuple[str, str], _Window] = {}

    def spend(self, user: User, resource: str, points: int) -> None:
        """Take ``points`` from what ``user`` has left.

        :raises ApiError: 403, nothing is left until the hour ends.
        """
        window = self._window(user, resource)
        if window.used >= POINTS_PER_HOUR:
            raise ApiError(
                403, f"API rate limit exceeded for user ID {user.database_id}.", kind="RATE_LIMITED"
            )
        window.used += points

    def refund(self, user: User, resource: str) -> None:
        """Give a point back, for an answer that GitHub does not charge."""
        self._window(user, resource).used -= 1

    def describe(self, user: User, resource: str) -> dict[str, Any]:
        """Return limit, use, remainder and the end of the hour in seconds since the epoch."""
        window = self._window(user, resource)
        remaining = max(POINTS_PER_HOUR - window.used, 0)
        return {
            "limit": POINTS_PER_HOUR,
            "used": window.used,
            "remaining": remaining,
            "reset": int(window.reset),
            "resource": resource,
        }

    def headers(self, user: User, resource: str) -> dict[str, str]:
        """Return the ``x-ratelimit-*`` headers."""
        return {f"x-ratelimit-{key}": str(value) for key, value in self.describe(user, resource).items()}

    def _window(self, user: User, resource: str) -> _Window:
        key = (user.login, resource)
        window = self._windows.get(key)
        if window is None or window.reset <= time.time():
            window = self._windows[key] = _Window(reset=time.time() + WINDOW_SECONDS)
        return window
