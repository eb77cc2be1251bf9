"""Our Markdown as Linear shows it: it knows no HTML, has sections of its own, and mentions people by address."""

from __future__ import annotations

import re

from airflow_provider_agents.domain.untrusted import clip

MOST_BYTES = 50_000
"""Longest text of a comment."""

_WORD_JOINER = "\u2060"
_FENCE = re.compile(r"^(?=\+\+\+)", re.MULTILINE)
_SECTION = re.compile(r"^<details><summary>([^<>\n]*)</summary>[ \t]*$", re.MULTILINE)
_SECTION_END = re.compile(r"^</details>[ \t]*$", re.MULTILINE)
_SMALL = re.compile(r"</?su[bp]>")
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
# The address of a person's page, wherever it stands, is a mention, of which that person is told.
_PROFILE = re.compile(r"(linear\.app/[^\s/]+/)(?=profiles/)", re.IGNORECASE)


def linear_markdown(text: str) -> str:
    """Return ``text`` with ``<details>`` as Linear's section, without other HTML of ours and without mentions."""
    text = _COMMENT.sub("", clip(text, MOST_BYTES))
    text = _FENCE.sub(r"\\", text)  # or else a plan could end the section that it stands in
    text = _SECTION_END.sub("+++", _SECTION.sub(r"+++ \1", text))
    return _PROFILE.sub(rf"\1{_WORD_JOINER}", _SMALL.sub("", text)).strip()
