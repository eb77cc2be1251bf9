"""Text that a model wrote, made fit to be posted under our name.

A mention in such a text would call people or bots (two bots that mention each other loop), and a closing
keyword would close issues that nobody meant. Both are defused by an invisible word joiner, so that the
text reads the same.
"""

from __future__ import annotations

import re

from airflow_provider_agents.domain.untrusted import clean, clip, one_line

_WORD_JOINER = "\u2060"
# In code too: GitHub mentions nobody there, but what is code depends on every backtick before it. Only
# after a letter or digit, as in an e-mail address, GitHub never sees a mention.
_MENTION = re.compile(r"(?<![A-Za-z0-9])@(?=[A-Za-z0-9])")
# `@` and `#` written as HTML entities, which GitHub reads as the characters.
_ENTITY = re.compile(r"&(?=(?:#0*(?:64|35)|#x0*(?:40|23)|commat|num);)", re.IGNORECASE)
# Keywords of docs.github.com, "Linking a pull request to an issue using a keyword".
_CLOSING = re.compile(
    r"\b((?:close|fix|resolve)(?:s|d|ed|es)?:?\s+)(?=#\d|GH-\d|https?://|[\w.-]+/[\w.-]+#\d)", re.IGNORECASE
)
_TICKS = re.compile(r"`+")

MAX_TITLE = 120
MAX_BODY_BYTES = 30_000


def outbound(text: str, most_bytes: int = MAX_BODY_BYTES) -> str:
    """Return ``text`` cleaned, cut, and without mentions and closing keywords that work."""
    return _defused(clip(clean(text), most_bytes))


def outbound_title(text: str, fallback: str) -> str:
    """Return one line that can be a title, or ``fallback`` where nothing is left of ``text``."""
    return _defused(one_line(text, MAX_TITLE) or one_line(fallback, MAX_TITLE))


def code_span(text: str, most: int = MAX_TITLE) -> str:
    """Return ``text`` on one line as Markdown's inline code: no link, heading or mention in it works.

    Airflow's pages, too, show it as it is; of a block of code they may join the lines.

    :param most: characters.
    """
    line = _defused(one_line(text, most))
    ticks = "`" * (max(map(len, _TICKS.findall(line)), default=0) + 1)
    edge = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{ticks}{edge}{line}{edge}{ticks}" if line else ""


def pull_request_body(description: str, *, closes: int | None, footer: str) -> str:
    """Return the body of the pull request: what the agent says, what it closes, where it comes from."""
    parts = [outbound(description)]
    if closes is not None:
        parts.append(f"Closes #{closes}")
    parts.append(f"<sub>{footer}</sub>")
    return "\n\n".join(part for part in parts if part)


def _defused(text: str) -> str:
    """Last of all: cleaning takes the word joiner away again."""
    text = _ENTITY.sub("&amp;", text)
    text = _MENTION.sub(f"@{_WORD_JOINER}", text)
    return _CLOSING.sub(rf"\1{_WORD_JOINER}", text)
