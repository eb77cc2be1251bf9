"""What was asked of the stand-in: counts, and the last lines. No credential is in it."""

from __future__ import annotations

from collections import Counter, deque
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

KEPT_LINES = 500


class RequestLog:
    """Counts requests by route or GraphQL operation, and keeps the last lines."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._lines: deque[dict[str, Any]] = deque(maxlen=KEPT_LINES)
        self._graphql_points = 0

    def add(self, request: web.Request, operation: str, status: int | None, seconds: float) -> None:
        """Note one request; ``status`` is ``None`` where the connection was dropped."""
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "unknown"
        is_graphql = request.path == "/api/graphql"
        key = f"graphql {operation or 'anonymous'}" if is_graphql else f"{request.method} {route}"
        self._counts[key] += 1
        user = request.get("user")
        line = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "method": request.method,
            "path": request.path_qs,
            "user": user.login if user else None,
            "status": status,
            "milliseconds": round(seconds * 1000, 1),
        }
        if is_graphql:
            line["operation"] = operation
            line["points"] = request.get("points", 0)
            self._graphql_points += request.get("points", 0)
        self._lines.append(line)

    def describe(self) -> dict[str, Any]:
        """Return the counts, the GraphQL points spent and the last lines."""
        return {
            "total": self._counts.total(),
            "graphql_points": self._graphql_points,
            "counts": dict(self._counts.most_common()),
            "requests": list(self._lines),
        }

    def clear(self) -> None:
        self._counts.clear()
        self._lines.clear()
        self._graphql_points = 0
