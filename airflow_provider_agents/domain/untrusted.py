"""Text that people outside wrote, made fit for a prompt.

Cleaning takes away what a person would not see but a model would read (the way of most known attacks);
fencing says where the text begins and ends and that it is data. Neither is the boundary that protects
anything: that is the pod, which holds no credential.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata

_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_HTML_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_FENCE = re.compile(r"<(?=\s*/?\s*untrusted)", re.IGNORECASE)

# Formatting characters that carry meaning in ordinary writing and emoji.
_KEPT = {"\t", "\n", "\u200d", "\ufe0f"}
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Co"}
# Variation selectors (two sets of them can spell out any bytes) and characters that are drawn as nothing.
_BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u3164\ufe00-\ufe0e\uffa0\U000e0100-\U000e01ef]"
)


def clean(text: str, *, html: bool = True) -> str:
    """Return ``text`` without what is invisible to its reader.

    Removed: HTML comments, ANSI escape sequences, control characters except tab and newline, Unicode
    formatting characters (zero-width, bidirectional, tags), variation selectors, fillers, lone surrogates.
    Everything else stays as it was written, template markers too.

    :param html: whether the text is shown as Markdown or HTML, where comments are invisible; not so for a
        log, of which an unclosed ``<!--`` would take away the rest.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = _ANSI.sub("", text)
    if hidden := "".join(c for c in set(text) if _is_hidden(c)):
        text = re.sub(f"[{re.escape(hidden)}]+", "", text)
    # What is left around a comment may be another one in pieces: `<!-<!-- -->- … -->`.
    return (_HTML_COMMENT.sub("", text).replace("<!--", "&lt;!--") if html else text).strip()


def _is_hidden(character: str) -> bool:
    if character in _KEPT:
        return False
    return unicodedata.category(character) in _HIDDEN_CATEGORIES or _BLANK.match(character) is not None


def clip(text: str, most_bytes: int, *, keep: str = "start") -> str:
    """Cut ``text`` to ``most_bytes`` of UTF-8 with a notice that says how much is missing.

    :param keep: ``start``, or ``end`` for logs, whose last lines matter.
    """
    data = text.encode(errors="ignore")
    if len(data) <= most_bytes:
        return text
    cut = data[:most_bytes] if keep == "start" else data[len(data) - most_bytes :]
    part = cut.decode(errors="ignore")
    notice = f"[{len(data) - most_bytes:,} of {len(data):,} bytes left out]"
    return f"{part}\n{notice}" if keep == "start" else f"{notice}\n{part}"


def fence(text: str, source: str, *, most_bytes: int = 40_000, log: bool = False) -> str:
    """Clean and cut ``text`` and put it between markers that it cannot close.

    The markers carry a digest of the text, so that a text would have to contain its own digest to end
    them early; and markers inside it are defused.

    :param log: a program's output: its end matters, and it is no HTML.
    :param source: what it is and who wrote it, in our words, e.g. ``issue #7, written by mona``.
    """
    body = _FENCE.sub("&lt;", clip(clean(text, html=not log), most_bytes, keep="end" if log else "start"))
    mark = hashlib.sha256(body.encode()).hexdigest()[:12]
    label = re.sub(r"[^\w #@.,:;/()+-]", "", clean(source))[:200]
    return f'<untrusted id="{mark}" source="{label}">\n{body}\n</untrusted id="{mark}">'


def one_line(text: str, most: int = 200) -> str:
    """Return ``text`` cleaned, as one line of at most ``most`` characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= most else line[: most - 1] + "…"
