"""What the stand-in charged so far: the truth that a gateway's ledger can be held to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from demo.model.usage import Usage


class Bill:
    """Sums by model. An answer is charged when it starts, whether or not its reader stays to the end."""

    def __init__(self) -> None:
        self._models: dict[str, dict[str, int]] = {}

    def charge(self, model: str, usage: Usage) -> None:
        """Add one answer of ``model``."""
        line = self._models.setdefault(
            model, {"calls": 0, "input": 0, "output": 0, "cache_read": 0, "cache_write": 0}
        )
        line["calls"] += 1
        line["input"] += usage.input
        line["output"] += usage.output
        line["cache_read"] += usage.cache_read
        line["cache_write"] += usage.cache_creation

    def as_json(self) -> dict[str, Any]:
        """Return the sums: of all calls, and by model. ``input`` excludes both cache numbers."""
        return {"calls": sum(line["calls"] for line in self._models.values()), "models": self._models}
