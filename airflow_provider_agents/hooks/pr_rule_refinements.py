"""What a request to a model is sent with unless the model takes none, and which models were found not to."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Refinement = Literal["temperature", "structured output"]

_NO_TEMPERATURE = (
    "claude-fable-5", "claude-mythos-5", "claude-opus-4-7", "claude-opus-4-8", "claude-opus-5", "claude-sonnet-5",
    "claude-haiku-5-5",
)  # fmt: skip
"""Families that refuse a temperature, so that no question begins with a refusal; others are found out."""

_WORDS: Mapping[Refinement, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "structured output": (
        "output_config",
        "output_format",
        "output format",
        "structured output",
        "json_schema",
    ),
}
"""Words of a refusal that is about a refinement."""
_REFUSING = (400, 422)
"""HTTP statuses of APIs, and of what stands in front of them, for a field that they do not take."""


class Refinements:
    """What models take, by connection and model, for as long as the process lives."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._refused: dict[tuple[str, str], frozenset[Refinement]] = {}

    def of(self, connection: str, model: str) -> frozenset[Refinement]:
        """Return what a request to ``model`` may be sent with."""
        with self._lock:
            refused = self._refused.get((connection, model), frozenset())
        if any(family in model.lower() for family in _NO_TEMPERATURE):
            refused |= {"temperature"}
        return frozenset(_WORDS) - refused

    def refused(
        self, connection: str, model: str, status: int, words: str, among: frozenset[Refinement]
    ) -> bool:
        """Remember which refinement a refusal is about; return whether the request is worth sending without it.

        :param status: HTTP status of the refusal.
        :param words: the API's own.
        :param among: what the request was sent with.
        """
        text = words.lower()
        found = next((name for name in sorted(among) if any(mark in text for mark in _WORDS[name])), None)
        if status not in _REFUSING or found is None:
            return False
        with self._lock:
            self._refused[connection, model] = self._refused.get((connection, model), frozenset()) | {found}
        return True


KNOWN = Refinements()
