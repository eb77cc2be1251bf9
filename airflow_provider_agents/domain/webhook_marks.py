"""The texts that webhooks are kept in: marks of what changed, and the deliveries that were seen.

The marks are a JSON object from a name to a moment in milliseconds, another one at each change. Those who wait
read it every few seconds and compare it with what they knew. Both texts are bounded: the oldest goes first.
"""

from __future__ import annotations

import hashlib
import json
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MOST_CHARACTERS = 65_536
MOST_NAMES = 1_000
MARK_HOURS = 24
"""How long a mark is kept; whoever did not look for so long looks anyway."""
SEEN_HOURS = 72
"""How long a delivery is remembered: as long as GitHub sends one again when it is asked to."""
MOST_SEEN = 1_000
"""Ids; each delivery has two."""
_ID_BYTES = 12


def read_marks(text: str) -> dict[str, object]:
    """Return the marks by name.

    :raises ValueError: it is no JSON object, or too large.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has more than {MOST_CHARACTERS} characters; leave out what changed long ago")
    marks = json.loads(text)
    if not isinstance(marks, dict):
        raise ValueError('it must be a JSON object like {"owner/name#7": 1}')
    if len(marks) > MOST_NAMES:
        raise ValueError(f"it has more than {MOST_NAMES} names; leave out what changed long ago")
    return marks


def mark(text: str | None, names: Iterable[str], now: float) -> str:
    """Return the text with a new mark for each name; one that cannot be read is begun anew.

    :param now: seconds since 1970. A mark is later than all that are there, whatever the clock says.
    """
    try:
        known = read_marks(text or "{}")
    except (ValueError, RecursionError):
        known = {}
    milliseconds = int(now * 1000)
    moments = {name: at for name, at in known.items() if isinstance(at, int)}
    new = max([milliseconds, *(at + 1 for at in moments.values())])
    oldest = milliseconds - MARK_HOURS * 3_600_000
    kept = {name: at for name, at in known.items() if moments.get(name, new) > oldest}
    for name in names:
        kept.pop(name, None)
        kept[name] = new
    return _bounded(kept, MOST_NAMES)


def is_seen(text: str | None, ids: Iterable[str]) -> bool:
    """Return whether any of the deliveries' ids is remembered."""
    seen = _read_seen(text)
    return any(each in seen for each in ids)


def remember(text: str | None, ids: Iterable[str], now: float) -> str:
    """Return the text with these ids; the oldest and those of long ago are forgotten.

    :param now: seconds since 1970.
    """
    oldest = int(now) - SEEN_HOURS * 3600
    kept = {each: at for each, at in _read_seen(text).items() if at > oldest}
    kept.update(dict.fromkeys(ids, int(now)))
    return _bounded(kept, MOST_SEEN)


def delivery_ids(source: str, delivery: str, body: bytes) -> tuple[str, str]:
    """Return what a delivery is known by: its id, and its body.

    The id is in a header that no signature covers: who replays a body may give it another one.
    """
    return _short(f"{source} {delivery}".encode()), _short(source.encode() + b"\0" + body)


def changed(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Return the names that are new or have another mark."""
    return [name for name, value in now.items() if name not in before or before[name] != value]


def _short(value: bytes) -> str:
    return urlsafe_b64encode(hashlib.sha256(value).digest()[:_ID_BYTES]).decode()


def _read_seen(text: str | None) -> dict[str, int]:
    try:
        seen = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return {key: at for key, at in seen.items() if isinstance(at, int)} if isinstance(seen, dict) else {}


def _bounded(values: dict[str, object] | dict[str, int], most: int) -> str:
    """Write them, the first ones left out until they are few and short enough."""
    kept = list(values.items())[-most:]
    while len(text := json.dumps(dict(kept), separators=(",", ":"))) > MOST_CHARACTERS:
        kept = kept[max(1, len(kept) // 10) :]
    return text
