"""Typed access to the fields of a decoded JSON answer: the wrong type counts as absent."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, get_args

GHOST = "ghost"
"""GitHub's own name for the author whose account was deleted."""


def mapping(value: Any) -> Mapping[str, Any]:
    """Return an object, empty where ``value`` is none."""
    return value if isinstance(value, Mapping) else {}


def text(value: Any) -> str:
    """Return a string, empty where ``value`` is none."""
    return value if isinstance(value, str) else ""


def integer(value: Any) -> int | None:
    """Return an integer, ``None`` where ``value`` is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def flag(value: Any) -> bool | None:
    """Return a boolean, ``None`` where ``value`` is none."""
    return value if isinstance(value, bool) else None


def moment(value: Any) -> datetime | None:
    """Return a point in time with its offset from UTC, ``None`` where ``value`` is none."""
    try:
        found = datetime.fromisoformat(text(value))
    except ValueError:
        return None
    return found if found.tzinfo else None


def login(node: Mapping[str, Any]) -> str:
    """Return the login of a node's author in GraphQL."""
    return text(mapping(node.get("author")).get("login")) or GHOST


def is_bot(node: Mapping[str, Any]) -> bool:
    """Return whether a node's author in GraphQL is an App."""
    return mapping(node.get("author")).get("__typename") == "Bot"


def is_fork(pull: Mapping[str, Any]) -> bool | None:
    """Return whether a pull request's head is in another repository, or its repository is gone.

    ``None`` where the answer does not tell.
    """
    across = flag(pull.get("isCrossRepository"))
    if "headRepository" in pull and pull["headRepository"] is None:
        return True
    return across


def edited_by(node: Mapping[str, Any]) -> str:
    """Return who edited a comment last in GraphQL; empty where nobody did but its author."""
    editor = text(mapping(node.get("editor")).get("login"))
    return "" if editor == login(node) else editor


def one_of(literal: Any, value: Any) -> Any:
    """Return ``value`` where it is a member of the ``Literal``, else ``None``."""
    return value if isinstance(value, str) and value in get_args(literal) else None
