"""Whether a webhook's delivery comes from who holds the secret, and is of now."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LINEAR_TOLERANCE_SECONDS = 60.0
"""How far Linear's moment of sending may be from our clock; the same as in Linear's own client."""

_HEX = re.compile(r"[0-9a-f]{64}")
_GITHUB_PREFIX = "sha256="


def github_digest(header: str) -> str | None:
    """Return the SHA-256 digest of ``X-Hub-Signature-256``; ``None`` where that has another form."""
    return _digest(header.removeprefix(_GITHUB_PREFIX)) if header.startswith(_GITHUB_PREFIX) else None


def linear_digest(header: str) -> str | None:
    """Return the SHA-256 digest of ``Linear-Signature``; ``None`` where that has another form."""
    return _digest(header)


def _digest(text: str) -> str | None:
    return text if _HEX.fullmatch(text) else None


def is_signed(body: bytes, digest: str, secrets: Sequence[str]) -> bool:
    """Return whether ``digest`` is the HMAC SHA-256 of the raw ``body`` under one of the secrets.

    It takes as long whichever of them fits, and whether one does. An empty secret fits nothing.
    """
    fits = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        fits |= hmac.compare_digest(expected, digest) and bool(secret)
    return fits


def is_of_now(payload: Mapping[str, object], now: float) -> bool:
    """Return whether a payload of Linear was sent within :data:`LINEAR_TOLERANCE_SECONDS` of ``now``.

    :param now: seconds since 1970. Only the moment in the signed body counts, never that of a header.
    """
    sent = payload.get("webhookTimestamp")
    if isinstance(sent, bool) or not isinstance(sent, int | float):
        return False
    # An integer of hundreds of digits does not fit a float; compared as integers it cannot overflow.
    return abs(sent - now * 1000) <= LINEAR_TOLERANCE_SECONDS * 1000 if abs(sent) < 1e15 else False
