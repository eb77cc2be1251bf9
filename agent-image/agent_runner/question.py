"""An agent that asks instead of working, told by its closing words."""

from __future__ import annotations

import re

from agent_runner.console import one_line, plain

MAX_QUESTION = 600
"""Characters of a question that is passed on."""

_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_DECORATION = " \t\n*_`\"'”’»)"
# A polite close asks for nothing that the work waits for.
_COURTESY = re.compile(
    r"\b(?:anything|something) else\b|\bhow can I help\b|\bwhat (?:would you like|should I do) next\b",
    re.IGNORECASE,
)


def question_in(summary: str) -> str | None:
    """Return the question that the last paragraph of an agent's closing words ends with, or ``None``.

    Code, quotations and tables are no questions of the agent's own, and neither is a polite close.
    """
    paragraphs = [part for part in _PARAGRAPHS.split(plain(summary).strip()) if part.strip()]
    if not paragraphs:
        return None
    last = paragraphs[-1].strip()
    if plain(summary).count("```") % 2 or last.endswith("```"):
        return None
    line = last.splitlines()[-1].strip()
    if line.startswith((">", "|")) or not last.rstrip(_DECORATION).endswith("?"):
        return None
    return None if _COURTESY.search(line) else cleaned(last)


def cleaned(question: str) -> str:
    """Return a question as one plain line of at most :data:`MAX_QUESTION` characters, its end kept."""
    text = " ".join(plain(question[-4 * MAX_QUESTION :]).split())
    if len(text) > MAX_QUESTION:
        text = "…" + text[-(MAX_QUESTION - 1) :]
    return one_line(text, MAX_QUESTION)
