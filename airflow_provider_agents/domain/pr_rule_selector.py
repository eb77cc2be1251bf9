"""Which open pull requests a rule is for, and what of their listing the rule can see."""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_agents.domain.open_pull_request import OpenPullRequest
    from airflow_provider_agents.domain.pr_rule import Selector

BOT_SUFFIX = "[bot]"
GHOST = "ghost"
"""GitHub's account that stands in for deleted ones: nobody's login."""
MOST_TITLE_CHARACTERS = 256
"""As long as GitHub lets a title be; a pattern sees no more of it."""
_CORE_DIGITS = 12
_MERGE_DIGITS = 4


def fits(entry: OpenPullRequest, selector: Selector) -> bool:
    """Tell whether a rule with ``selector`` is for the pull request."""
    return not unfit_reason(entry, selector)


def unfit_reason(entry: OpenPullRequest, selector: Selector) -> str:
    """Return why a rule with ``selector`` is not for the pull request; empty where it is.

    The pattern of the title must be a valid regular expression, which is checked where the rule is read.
    """
    labels = {label.casefold() for label in entry.labels}
    if lacking := [name for name in selector.labels.include if name.casefold() not in labels]:
        return f"it lacks the label {_quoted(lacking)}"
    if excluded := [name for name in selector.labels.exclude if name.casefold() in labels]:
        return f"it has the label {_quoted(excluded)}"
    if selector.base_branch and entry.base_branch != selector.base_branch:
        return f"it goes into {entry.base_branch!r}, not {selector.base_branch!r}"
    if selector.authors and not is_author(entry.author, selector.authors, bot=entry.author_is_bot):
        return f"{entry.author or 'a deleted account'} is none of its authors"
    if selector.title_pattern and not _pattern(selector.title_pattern).match(
        entry.title[:MOST_TITLE_CHARACTERS]
    ):
        return f"its title does not begin with {selector.title_pattern!r}"
    return ""


def is_author(login: str, authors: Iterable[str], *, bot: bool) -> bool:
    """Tell whether an account is one of a rule's authors.

    ``renovate[bot]`` is the bot, ``renovate`` the person, and neither stands for the other: whether the name of one
    is free for the other is not ours to say. The account of a deleted author is no author at all.

    :param login: with or without ``[bot]``, which GraphQL leaves out and REST does not.
    :param bot: whether GitHub says that it is one.
    """
    name = login.casefold()
    is_bot = bot or name.endswith(BOT_SUFFIX)
    name = name.removesuffix(BOT_SUFFIX)
    if not name or (name == GHOST and not is_bot):
        return False
    for author in authors:
        wanted = author.strip().casefold()
        if wanted.removesuffix(BOT_SUFFIX) == name and wanted.endswith(BOT_SUFFIX) is is_bot:
            return True
    return False


def visible(entry: OpenPullRequest) -> str:
    """Return a digest of what a rule can see of a pull request in the listing.

    It has two parts with a colon between: all but the mergeability, and that. GitHub works out mergeability anew
    after each push to the base; while it is unknown nobody is asked, so the second part is empty then, and
    :func:`differs` takes it for unchanged.
    """
    core = (
        entry.head_sha,
        entry.base_branch,
        entry.title,
        entry.author,
        entry.author_is_bot,
        sorted(label.casefold() for label in entry.labels),
        entry.draft,
        entry.fork,
        entry.review_decision,
        entry.checks_state,
        entry.updated_at.isoformat(),
    )
    known = entry.mergeable != "UNKNOWN"
    merge = _digest((entry.mergeable, entry.merge_state), _MERGE_DIGITS) if known else ""
    return f"{_digest(core, _CORE_DIGITS)}:{merge}"


def differs(before: str | None, now: str) -> bool:
    """Tell whether a rule sees something else now than ``before``, both of :func:`visible`; ``None``: never seen."""
    if before is None:
        return True
    (core, _, merge), (core_now, _, merge_now) = before.partition(":"), now.partition(":")
    return core != core_now or (bool(merge_now) and merge != merge_now)


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text)


def _digest(values: tuple[object, ...], digits: int) -> str:
    return hashlib.sha256(repr(values).encode(errors="replace")).hexdigest()[:digits]


def _quoted(names: list[str]) -> str:
    return ", ".join(repr(name) for name in names)
