"""What the model is shown beside the facts, where the rule's ``context`` asks for it; and how much that may be."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.pr_rule_facts import name_of
from airflow_provider_agents.domain.pr_rule_prompt import (
    MAX_COMMENTS_BYTES,
    MAX_DIFF_BYTES,
    MAX_PATH,
    MOST_FILES,
    Material,
)
from airflow_provider_agents.hooks.github_owners import run_with_owners
from airflow_provider_agents.hooks.github_rule_material import read_changes
from airflow_provider_agents.hooks.github_scope import rule_scope

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.pr_rule import ContextPart, PullRequestRule
    from airflow_provider_agents.domain.pr_rule_item import RuleItem
    from airflow_provider_agents.domain.risk import ChangedFile
    from airflow_provider_agents.hooks.github_owners import OwnersClient

MAX_FILES_BYTES = 16_000
"""Of the names of changed files: :data:`.pr_rule_prompt.MOST_FILES` of usual length fit."""
_LINE = 60
"""Bytes of a file's line beside its names."""
_DEFUSED = 1.5
"""By how much a text grows at the most in a prompt when what looks like a marker in it is defused."""
_AROUND = 2_000
"""Bytes of the markers and notices around a part."""

_MOST: dict[ContextPart, int] = {
    "files": MAX_FILES_BYTES,
    "diff": MAX_DIFF_BYTES,
    "comments": MAX_COMMENTS_BYTES,
}


def most_bytes(rule: PullRequestRule) -> int:
    """Return how many bytes the material of a question makes in its prompt at the most."""
    return sum(int(size * _DEFUSED) + _AROUND for part, size in _MOST.items() if part in rule.context)


def read_material(rule: PullRequestRule, item: RuleItem) -> Material:
    """Return what the rule's ``context`` asks for; for workers, outside an event loop.

    :raises ForgeError: it cannot be read.
    :raises InvalidInputError: the connection of GitHub is missing or unusable.
    """
    if not _MOST.keys() & set(rule.context):
        return Material()
    repository, number = item.entry.repository, item.entry.number

    async def read(owners: OwnersClient) -> Material:
        client = await owners.of(repository.partition("/")[0])
        changes = None
        if {"files", "diff"} & set(rule.context):
            changes = await read_changes(client, repository, number)
        comments = None
        if "comments" in rule.context:
            comments = (await client.snapshot(repository, number)).comments
        return Material(
            files=_bounded(changes.files) if changes else None,
            diff=changes.diff if changes else None,
            comments=comments,
        )

    return run_with_owners(rule_scope(rule).connection, read)


def _bounded(files: Sequence[ChangedFile]) -> tuple[ChangedFile, ...]:
    """Return the first files, by name, whose names fit."""
    room, found = MAX_FILES_BYTES, []
    for file in sorted(files, key=lambda each: each.path)[:MOST_FILES]:
        room -= _LINE + sum(_bytes(name) for name in (file.path, file.previous_path) if name)
        if room < 0:
            break
        found.append(file)
    return tuple(found)


def _bytes(name: str) -> int:
    return len(json.dumps(name_of(name, MAX_PATH), ensure_ascii=False).encode(errors="replace"))
