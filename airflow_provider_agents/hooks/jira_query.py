"""The JQL of a source: the operator's own, and around it what its definition asks for.

Names of the definition are quoted as JQL's strings; the operator's JQL stands in parentheses. Times are
relative to Jira's clock (``updated >= "-7m"``): an absolute one would be read in the time zone that the
connection's user has set in Jira, and to the minute only.
"""

from __future__ import annotations

import hashlib
import json
import math
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_agents.domain.source_definition import SourceDefinition

OVERLAP = timedelta(minutes=5)
"""How far a listing goes back behind the last one: JQL's minutes, and an index that lags behind."""
ORDER = "ORDER BY created ASC, key ASC"
"""Creation never changes, so that what is updated meanwhile does not move between pages."""
COMMAND_WORD = 'comment ~ "agent"'
"""Finds what may be ``/agent``: the index knows no slash, so some are read that say something else."""


def quoted(text: str) -> str:
    """Return ``text`` as a string of JQL."""
    printable = "".join(" " if ord(c) < 32 else c for c in text)
    return '"' + printable.replace("\\", "\\\\").replace('"', '\\"') + '"'


def open_query(definition: SourceDefinition) -> str:
    """Return the JQL of all open tickets that somebody may have asked for."""
    asked = [*_asked(definition), COMMAND_WORD]
    return f"({definition.jql}) AND statusCategory != Done AND ({' OR '.join(asked)}) {ORDER}"


def changed_query(definition: SourceDefinition, age: timedelta) -> str:
    """Return the JQL of all that changed, whether asked for or not.

    :param age: how long ago the last listing began, by Jira's clock.
    """
    return f"({definition.jql}) AND updated >= {_ago(age)} {ORDER}"


def commanded_query(definition: SourceDefinition, age: timedelta) -> str:
    """Return the JQL of those of :func:`changed_query` that may hold a command."""
    return f"({definition.jql}) AND updated >= {_ago(age)} AND {COMMAND_WORD} {ORDER}"


def children_query(parent: str) -> str:
    """Return the JQL of an epic's children, in the order in which they were made.

    :param parent: the epic's key.
    """
    return f"parent = {quoted(parent)} {ORDER}"


def scope_of(definition: SourceDefinition) -> str:
    """Return a digest of all that decides what is listed, and as what: a cursor of another scope is worth nothing."""
    parts = definition.model_dump(mode="json", include={"jql", "ask", "works_in", "priority"})
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


def _asked(definition: SourceDefinition) -> list[str]:
    rules = definition.ask
    return [
        f"{field} in ({_list(names)})"
        for field, names in (
            ("labels", rules.labels),
            ("assignee", rules.assignees),
            ("status", rules.states),
        )
        if names
    ]


def _list(names: Iterable[str]) -> str:
    return ", ".join(quoted(name) for name in names)


def _ago(age: timedelta) -> str:
    minutes = math.ceil((max(age, timedelta()) + OVERLAP).total_seconds() / 60)
    return quoted(f"-{minutes}m")
