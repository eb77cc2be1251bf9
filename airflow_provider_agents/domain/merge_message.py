"""The message of the commit that a merge makes: :func:`merge_message`, a pure function.

GitHub's own default differs by repository and by method, and lists every commit of the fix rounds. Ours is
the pull request's title and text, and whoever had a part in it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.outbound import outbound, outbound_title
from airflow_provider_agents.domain.untrusted import clean, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from airflow_provider_agents.domain.commits import CommitRef

MOST_BODY_BYTES = 20_000
MOST_CO_AUTHORS = 50

_CO_AUTHOR = re.compile(
    r"^[ \t]*co-authored-by:[ \t]*([^<>\n]*?)[ \t]*<([^<>\s]+)>[ \t]*$", re.IGNORECASE | re.M
)
_NUMBER_AT_END = re.compile(r"\s*\(#\d+\)$")
_CLOSING_LINE = re.compile(r"^(?:close|fix|resolve)(?:s|d|ed|es)?:? (#\d+)\.?$", re.IGNORECASE | re.M)
_FOOTER = re.compile(r"^<sub>.*</sub>$", re.M)
_EMAIL = re.compile(r"[^<>\s@]*[A-Za-z0-9_\]]@[A-Za-z0-9.-]+")
_GITHUB_ITSELF = "noreply@github.com"
"""Author of merges that GitHub's pages make."""


def merge_message(
    snapshot_title: str, number: int, body: str, commits: Sequence[CommitRef]
) -> tuple[str, str]:
    """Return title and body of the commit: ``Title (#7)``, the pull request's text, and its co-authors.

    Mentions and closing keywords do not work in it: what the pull request closes, GitHub closes from the
    pull request's own text. A line such as ``Closes #7`` becomes ``Refs: #7``, and a footer is left out.

    Co-authors are those that the text and the messages of the commits name, and the authors of commits other
    than the first one's, who is the author of what is merged; each once, by e-mail address.

    :param snapshot_title: title of the pull request.
    :param body: its text.
    :param commits: its commits, oldest first.
    """
    title = outbound_title(_NUMBER_AT_END.sub("", one_line(snapshot_title, 1_000)), f"Pull request {number}")
    text = clean(body)
    trailers = _co_authors(text, commits)
    plain = _FOOTER.sub("", _CLOSING_LINE.sub(r"Refs: \1", _CO_AUTHOR.sub("", text)))
    plain = outbound(re.sub(r"\n{3,}", "\n\n", plain), MOST_BODY_BYTES)
    return f"{title} (#{number})", "\n\n".join(part for part in (plain, "\n".join(trailers)) if part)


def _co_authors(body: str, commits: Sequence[CommitRef]) -> list[str]:
    left_out = {_GITHUB_ITSELF} | ({commits[0].author_email.casefold()} if commits else set())
    known: dict[str, str] = {}
    for name, email in _people(body, commits):
        shown = outbound_title(re.sub(r"[<>]", "", name), "")
        if shown and _EMAIL.fullmatch(email) and email.casefold() not in left_out:
            known.setdefault(email.casefold(), f"Co-authored-by: {shown} <{email}>")
    return list(known.values())[:MOST_CO_AUTHORS]


def _people(body: str, commits: Sequence[CommitRef]) -> Iterable[tuple[str, str]]:
    """Yield name and address of everybody who had a part in it."""
    for commit in commits:
        yield commit.author_name, commit.author_email
        yield from _CO_AUTHOR.findall(clean(commit.message))
    yield from _CO_AUTHOR.findall(body)
