"""How a repository, the path of a REST resource and a hidden marker are written."""

from __future__ import annotations

import re

from airflow_provider_agents.exceptions import InvalidInputError

_OWNER = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*(?:_[A-Za-z0-9]+)?")
_REPOSITORY = re.compile(_OWNER.pattern + r"/[A-Za-z0-9._-]+")
_MARKER = re.compile(r"[A-Za-z0-9._:/#@=+ -]{1,200}")


def owner_and_name(repository: str) -> dict[str, str]:
    """Return ``owner`` and ``name`` of ``owner/name``, the variables of most GraphQL documents.

    :raises InvalidInputError: it is no such name.
    """
    if not _REPOSITORY.fullmatch(repository) or repository.endswith(("/.", "/..")):
        raise InvalidInputError([f"repository: must be owner/name, not {repository!r}"])
    owner, name = repository.split("/")
    return {"owner": owner, "name": name}


def is_owner(login: str) -> bool:
    """Tell whether ``login`` can be that of an organisation or a user."""
    return _OWNER.fullmatch(login) is not None


def repository_path(repository: str, rest: str) -> str:
    """Return the REST path of something in a repository.

    :param rest: already percent-encoded: ``pulls/7``.
    :raises InvalidInputError: ``repository`` is no ``owner/name``.
    """
    owner_and_name(repository)
    return f"/repos/{repository}/{rest}"


def hidden_marker(marker: str) -> str:
    """Return the HTML comment that makes a text of ours known again; nobody sees it.

    :param marker: e.g. ``run=coding_task/manual_1 step=finish``; letters, digits and ``._:/#@=+ -``.
    :raises ValueError: it has other characters, or would end the comment.
    """
    if not _MARKER.fullmatch(marker) or "--" in marker:
        raise ValueError(f"not a marker for a hidden comment: {marker!r}")
    return f"<!-- agents {marker} -->"
