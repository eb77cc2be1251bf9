"""From GitHub's rules, merge queue and auto-merge to values; pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pull_request import Check, QueueEntry, QueueRemoval
from airflow_provider_agents.hooks.github_fields import integer, mapping, moment, text

if TYPE_CHECKING:
    from airflow_provider_agents.domain.landing_policy import MergeMethod
    from airflow_provider_agents.hooks.github_parse_parts import Parts

_METHODS: Mapping[str, MergeMethod] = {
    "squashMergeAllowed": "squash",
    "mergeCommitAllowed": "merge",
    "rebaseMergeAllowed": "rebase",
}


def parse_merge_methods(parts: Parts) -> tuple[MergeMethod, ...]:
    """Return the merge methods that the repository allows; empty where they could not all be read."""
    for name in _METHODS:
        if not isinstance(parts.repository.get(name), bool):
            parts.miss_of_repository("merge methods", name)
            return ()
    return tuple(method for name, method in _METHODS.items() if parts.repository[name])


def parse_auto_merge(parts: Parts) -> tuple[bool, bool]:
    """Return whether the credential may turn on auto-merge now, and whether it is on."""
    may, request = parts.pull.get("viewerCanEnableAutoMerge"), parts.pull.get("autoMergeRequest", ...)
    if not isinstance(may, bool):
        parts.miss("auto-merge", "viewerCanEnableAutoMerge")
    if request is ... or (request is None and parts.error("autoMergeRequest")):
        parts.miss("auto-merge", "autoMergeRequest")
    return may is True, isinstance(request, Mapping)


def parse_has_queue(parts: Parts) -> bool:
    """Return whether the base branch has a merge queue; ``False`` where that could not be read."""
    enabled = parts.pull.get("isMergeQueueEnabled")
    if not isinstance(enabled, bool):
        parts.miss("merge queue", "isMergeQueueEnabled")
    return enabled is True


def parse_queue_entry(parts: Parts) -> QueueEntry | None:
    """Return the pull request's place in the merge queue, if it has one."""
    entry = parts.pull.get("mergeQueueEntry", ...)
    if entry is None and not parts.error("mergeQueueEntry"):
        return None
    state, position = text(mapping(entry).get("state")), integer(mapping(entry).get("position"))
    if not state or position is None:
        parts.miss("merge queue", "mergeQueueEntry")
        return None
    return QueueEntry(state=state, position=position)


def parse_queue_removals(parts: Parts) -> tuple[QueueRemoval, ...]:
    """Return the last removals from the merge queue, oldest first."""
    removals = []
    for node in parts.nodes("merge queue", "timelineItems"):
        at = moment(node.get("createdAt"))
        if at is None:
            parts.doubt("merge queue", "a removal is without its time")
            continue
        actor = text(mapping(node.get("actor")).get("login"))
        removals.append(QueueRemoval(at=at, reason=text(node.get("reason")), actor=actor))
    return tuple(sorted(removals, key=lambda removal: removal.at))


def parse_required_checks(parts: Parts, checks: Iterable[Check]) -> frozenset[str] | None:
    """Return the names of the checks that the base branch requires.

    Three sources: what GitHub says of each shown check, the branch protection rule, and the rulesets. Where
    a rule cannot be read, those that are known are returned, ``None`` where none is.
    """
    names = {check.name for check in checks if check.required}
    protection, rules = _protection(parts), _rulesets(parts)
    names |= protection or frozenset()
    names |= rules or frozenset()
    return frozenset(names) if names or (protection is not None and rules is not None) else None


def _protection(parts: Parts) -> frozenset[str] | None:
    """Return what the branch protection rule requires; ``None`` where that could not be read.

    GitHub shows the whole rule to administrators, and ``refUpdateRule`` to those who are none.
    """
    base = mapping(parts.pull.get("baseRef"))
    if not base:
        parts.miss("rules", "baseRef")
        return None
    for name in ("branchProtectionRule", "refUpdateRule"):
        if isinstance(rule := base.get(name), Mapping):
            contexts = rule.get("requiredStatusCheckContexts")
            return frozenset(filter(None, map(text, contexts if isinstance(contexts, list) else [])))
    for name in ("branchProtectionRule", "refUpdateRule"):
        if base.get(name, ...) is ... or parts.error("baseRef", name):
            parts.miss("rules", "baseRef", name)
            return None
    return frozenset()


def _rulesets(parts: Parts) -> frozenset[str] | None:
    rules = mapping(mapping(parts.pull.get("baseRef")).get("rules")).get("nodes")
    if not isinstance(rules, list):
        if parts.pull.get("baseRef") is not None:
            parts.miss("rules", "baseRef", "rules")
        return None
    return frozenset(name for rule in rules for name in _contexts(rule))


def _contexts(rule: Any) -> Iterator[str]:
    required = mapping(mapping(rule).get("parameters")).get("requiredStatusChecks")
    for each in required if isinstance(required, list) else []:
        if name := text(mapping(each).get("context")):
            yield name
