"""JSON that an agent program wrote, read so that it can always be written again."""

from __future__ import annotations

import json
import math
from typing import Any

_MAX_DEPTH = 100


def read_object(line: bytes) -> dict[str, Any] | None:
    """Return the object that ``line`` holds, or ``None`` where it holds none.

    Lone surrogates are replaced and numbers that are not finite become ``None``: a result that held them
    could not be written as JSON in UTF-8. Nesting beyond a hundred levels is refused.
    """
    try:
        value = json.loads(line.decode(errors="replace"), parse_constant=lambda _: None)
        return _cleaned(value, _MAX_DEPTH) if isinstance(value, dict) else None
    except (ValueError, RecursionError):
        return None


def _cleaned(value: Any, depth: int) -> Any:
    if depth == 0:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_cleaned(item, depth - 1) for item in value]
    if isinstance(value, dict):
        return {_cleaned(key, depth - 1): _cleaned(item, depth - 1) for key, item in value.items()}
    return value
