"""Rate limits: points an hour (primary), and those that GitHub calls secondary.

Primary limits are per user, or per installation for the tokens of an App, apart for REST (``core``) and
``graphql``. Secondary limits are off until they are set.

See https://docs.github.com/en/rest/using-the-rest-api/rate-limits-for-the-rest-api.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from demo.github.clock import Clock, active
from demo.github.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from demo.github.state import User

MINUTE_SECONDS = 60.0
KEPT_TOKENS = 1000
SECONDARY_MESSAGE = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."
)
SECONDARY_PLACE = (
    "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"
)


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """How much each user may ask; ``None`` switches a limit off."""

    core: int = 5000
    """REST requests in a window."""
    graphql: int = 5000
    """GraphQL points in a window."""
    window_seconds: float = 3600.0
    primary_status: int = 403
    """403 or 429: GitHub documents both for REST; GraphQL answers 200 with an error."""
    core_per_minute: int | None = None
    """REST points a minute, 900 on GitHub; a read counts 1, a change 5."""
    graphql_per_minute: int | None = None
    """GraphQL points a minute, 2,000 on GitHub; a query counts 1, a mutation 5."""
    concurrent: int | None = None
    """Requests at once, 100 on GitHub, REST and GraphQL together."""
    content_per_minute: int | None = None
    """Requests that create content, 80 on GitHub."""
    secondary_status: int = 403
    """403 or 429."""
    retry_after: int | None = 60
    """Seconds that a secondary refusal names; ``None``: it names none."""


@dataclass
class _Window:
    reset: float
    used: int = 0


class RateLimits:
    """What each user has spent.

    :param clock: decides when windows end; by default the stand-in's.
    """

    def __init__(self, settings: LimitSettings | None = None, clock: Clock | None = None) -> None:
        self.settings = settings or LimitSettings()
        self._clock = clock or active()
        self._windows: dict[tuple[str, str], _Window] = {}
        self._minutes: dict[tuple[str, str], deque[tuple[float, int]]] = {}
        self._running: Counter[str] = Counter()
        self._tokens: dict[str, Counter[str]] = {}
        self.refused: Counter[str] = Counter()
        """Refusals by the limit that they were for."""

    def configure(self, values: dict[str, Any]) -> None:
        """Change settings by name; what is spent stays spent.

        :raises ApiError: 422 for a name that is none, or a value that is no number.
        """
        names = {field.name for field in fields(LimitSettings)}
        if unknown := set(values) - names:
            raise ApiError(
                422, f"No limit is called {', '.join(sorted(unknown))}: {', '.join(sorted(names))}."
            )
        for name, value in values.items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
            if not number and not (value is None and getattr(LimitSettings(), name, 0) in (None, 60)):
                raise ApiError(422, f"{name!r} takes a number, not {value!r}.")
        self.settings = replace(self.settings, **values)

    def spend(self, user: User, resource: str, points: int) -> None:
        """Take ``points`` from what ``user`` has left.

        :raises ApiError: 403 or 429, nothing is left until the window ends.
        """
        window = self._window(user, resource)
        if window.used >= self._limit(resource):
            raise self.exhausted(user, resource)
        window.used += points

    def exhausted(self, user: User, resource: str) -> ApiError:
        """Return the refusal of one who has spent all, whether they have or not."""
        self.refused[resource] += 1
        window = _Window(reset=self._window(user, resource).reset, used=self._limit(resource))
        whose = "installation" if user.is_bot else "user"
        return ApiError(
            self.settings.primary_status,
            f"API rate limit exceeded for {whose} ID {user.database_id}.",
            kind="RATE_LIMITED",
            headers=_headers(self._describe(window, resource)),
        )

    def refund(self, user: User, resource: str) -> None:
        """Give a point back, for an answer that GitHub does not charge."""
        window = self._window(user, resource)
        window.used = max(window.used - 1, 0)

    def set_used(self, user: User, resource: str, used: int) -> None:
        """Let ``user`` have spent that much of the present window."""
        self._window(user, resource).used = used

    @contextmanager
    def admit(self, user: User, resource: str, points: int, *, creates: bool) -> Iterator[None]:
        """Hold the secondary limits while a request runs.

        :param points: that it counts in its minute.
        :param creates: whether it makes content.
        :raises ApiError: one of them is exceeded.
        """
        limits, login = self.settings, user.login
        per_minute = limits.core_per_minute if resource == "core" else limits.graphql_per_minute
        if limits.concurrent is not None and self._running[login] >= limits.concurrent:
            raise self._secondary("concurrent")
        if not self._fits(login, resource, points, per_minute):
            raise self._secondary(f"{resource}_per_minute")
        if creates and not self._fits(login, "content", 1, limits.content_per_minute):
            raise self._secondary("content_per_minute")
        self._running[login] += 1
        try:
            yield
        finally:
            self._running[login] -= 1

    def count(self, token: str | None, resource: str, points: int) -> None:
        """Add one request to what is known of its token; the token itself is not kept."""
        if token:
            mark = hashlib.sha256(token.encode()).hexdigest()[:12]
            while mark not in self._tokens and len(self._tokens) >= KEPT_TOKENS:
                self._tokens.pop(next(iter(self._tokens)))
            counted = self._tokens.setdefault(mark, Counter())
            counted[f"{resource}_requests"] += 1
            counted[f"{resource}_points"] += points

    def describe(self, user: User, resource: str) -> dict[str, Any]:
        """Return limit, use, remainder and the end of the window in seconds since the epoch."""
        return self._describe(self._window(user, resource), resource)

    def report(self) -> dict[str, Any]:
        """Return settings and counters, JSON-ready; tokens by the start of their SHA-256."""
        now = self._clock.time()
        users: dict[str, dict[str, Any]] = {}
        for (login, resource), window in self._windows.items():
            if window.reset > now:
                users.setdefault(login, {})[resource] = self._describe(window, resource)
        return {
            "settings": asdict(self.settings),
            "users": users,
            "tokens": {mark: dict(counted) for mark, counted in self._tokens.items()},
            "refused": dict(self.refused),
        }

    def headers(self, user: User, resource: str) -> dict[str, str]:
        """Return the ``x-ratelimit-*`` headers."""
        return _headers(self.describe(user, resource))

    def reset(self) -> None:
        """Forget what was spent and counted."""
        self._windows.clear()
        self._minutes.clear()
        self._tokens.clear()
        self.refused.clear()

    def _limit(self, resource: str) -> int:
        return self.settings.core if resource == "core" else self.settings.graphql

    def _describe(self, window: _Window, resource: str) -> dict[str, Any]:
        limit = self._limit(resource)
        return {
            "limit": limit,
            "used": window.used,
            "remaining": max(limit - window.used, 0),
            "reset": int(window.reset),
            "resource": resource,
        }

    def _window(self, user: User, resource: str) -> _Window:
        key = (user.login, resource)
        window, now = self._windows.get(key), self._clock.time()
        if window is None or window.reset <= now:
            window = self._windows[key] = _Window(reset=now + self.settings.window_seconds)
        return window

    def _fits(self, login: str, name: str, points: int, limit: int | None) -> bool:
        """Note ``points`` in the last minute of ``name``, where the limit leaves room for them."""
        if limit is None:
            return True
        now = self._clock.time()
        spent = self._minutes.setdefault((login, name), deque())
        while spent and spent[0][0] <= now - MINUTE_SECONDS:
            spent.popleft()
        if sum(count for _, count in spent) + points > limit:
            return False
        spent.append((now, points))
        return True

    def _secondary(self, name: str) -> ApiError:
        self.refused[name] += 1
        wait = self.settings.retry_after
        return ApiError(
            self.settings.secondary_status,
            SECONDARY_MESSAGE,
            kind="RATE_LIMITED",
            documentation_url=SECONDARY_PLACE,
            headers=None if wait is None else {"retry-after": str(wait)},
        )


def _headers(described: dict[str, Any]) -> dict[str, str]:
    return {f"x-ratelimit-{key}": str(value) for key, value in described.items()}
