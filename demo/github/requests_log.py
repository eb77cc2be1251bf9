"""What was asked of the stand-in: counts, and the last lines. No credential is in it."""

from __future__ import annotations

from collections import Counter, deque
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from demo.github import clock

if TYPE_CHECKING:
    from aiohttp import web

    from demo.github.state import User


KEPT_LINES = 500


@dataclass
class RequestFacts:
    """What is found out about a request while it is answered."""

    operation: str = ""
    """Name of the GraphQL operation."""
    user: User | None = None
    points: int = 0
    """GraphQL points that it cost."""
    stale_seconds: float = 0.0
    """How old the state shall be that it reads."""
    limit_spent: bool = False
    """Whether it shall be refused as if the hour's points were spent."""


FACTS: ContextVar[RequestFacts] = ContextVar("facts of the request being answered")


class RequestLog:
    """Counts requests by route or GraphQL operation, and keeps the last lines."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._points: Counter[str] = Counter()
        """GraphQL points by operation."""

    def add(self, request: web.Request, facts: RequestFacts, status: int | None, seconds: float) -> None:
        """Note one request; ``status`` is ``None`` where the connection was dropped."""
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        is_graphql = request.path == "/api/graphql"
        key = f"graphql {facts.operation or 'anonymous'}" if is_graphql else f"{request.method} {route}"
        self._counts[key] += 1
        line = {
            "at": clock.active().now().isoformat(timespec="milliseconds"),
            "method": request.method,
            "path": request.path_qs,
            "user": facts.user.login if facts.user else None,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
        }
        if is_graphql:
            line["operation"] = facts.operation
            line["points"] = facts.points
            self._points[facts.operation or "anonymous"] += facts.points
        self._lines.append(line)

    def describe(self) -> dict[str, Any]:
        """Return the counts, the GraphQL points spent, also by operation, and the last lines."""
        return {
            "total": self._counts.total(),
            "graphql_points": self._points.total(),
            "points": dict(self._points.most_common()),
            "counts": dict(self._counts.most_common()),
            "requests": list(self._lines),
        }

    def clear(self) -> None:
        self._counts.clear()
        self._lines.clear()
        self._points.clear()
