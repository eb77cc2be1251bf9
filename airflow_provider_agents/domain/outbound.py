"""Text that a model wrote, made fit to be posted under our name.

A mention in such a text would call people or bots (two bots that mention each other loop), and a closing
keyword would close issues that nobody meant. Both are defused by an invisible word joiner, so that the
text reads the same.
"""

from __future__ import annotations

import re

from airflow_provider_agents.domain.untrusted import clean, clip, one_line

_WORD_JOINER = "\u2060"
_MENTION = re.compile(r"(?<![\w`/.])@(?=[A-Za-z0-9])")
# Keywords of docs.github.com, "Linking a pull request to an issue using a keyword".
_CLOSING = re.compile(
    r"\b((?:close|fix|resolve)(?:s|d|ed|es)?:?\s+)(?=#\d|https?://|[\w.-]+/[\w.-]+#\d)", re.IGNORECASE
)

MAX_TITLE = 120
MAX_BODY_BYTES = 30_000


def outbound(text: str, most_bytes: int = MAX_BODY_BYTES) -> str:
    """Return ``text`` cleaned, cut, and without mentions and closing keywords that work."""
    text = clip(clean(text), most_bytes)
    text = _MENTION.sub(f"@{_WORD_JOINER}", text)
    return _CLOSING.sub(rf"\1{_WORD_JOINER}", text)


def outbound_title(text: str, fallback: str) -> str:
    """Return one line that can be a title, or ``fallback`` where nothing is left of ``text``."""
    return one_line(outbound(text), MAX_TITLE) or one_line(outbound(fallback), MAX_TITLE)


def pull_request_body(description: str, *, closes: int | None, footer: str) -> str:
    """Return the body of the pull request: what the agent says, what it closes, where it comes from."""
    parts = [outbound(description)]
    if closes is not None:
        parts.append(f"Closes #{closes}")
    parts.append(f"<sub>{footer}</sub>")
    return "\n\n".join(part for part in parts if part)
