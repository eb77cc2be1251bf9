"""The facts about a pull request that a rule's text and its model see, and what tells two states of them apart.

All that is in the facts is shown, and nothing else is: so the model is asked again exactly when something that it would
read has changed. Lists are sorted; in which order GitHub gives them does not matter.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pr_rule import ENVIRONMENTS
from airflow_provider_agents.domain.pr_rule_language import used_fields
from airflow_provider_agents.domain.pr_rule_variables import (
    MOST_CHECKS,
    MOST_IMAGES,
    MOST_LABELS,
    MOST_REVIEWS,
)
from airflow_provider_agents.domain.untrusted import clean, clip, one_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from airflow_provider_agents.domain.argocd_application import ApplicationReading
    from airflow_provider_agents.domain.pr_rule import Environment, PullRequestRule
    from airflow_provider_agents.domain.pull_request import Comment, PullRequestSnapshot

MAX_TITLE = 256
MAX_NAME = 100
"""Characters of a label, a login or the name of a check."""
MAX_BRANCH = 250
MAX_BODY_BYTES = 8_000
MOST_COMMENTS = 10
"""The last ones of the conversation, without those that this project wrote."""

GHOST = "ghost"
"""What GitHub's pages call a deleted account."""
BOT_SUFFIX = "[bot]"
REPLACED = "\ufffd"
"""Stands for what nobody sees in a name, so that a name with it is never equal to one without."""

_RUNNING = frozenset({"pending", "expected"})
_STATES = ("failed", "expected", "pending", "passed")


def facts_of(
    snapshot: PullRequestSnapshot,
    rule: PullRequestRule,
    *,
    application: ApplicationReading | None,
    now: datetime,
) -> dict[str, Any]:
    """Return the facts as JSON-ready values.

    :param application: the pull request's application in Argo CD; ``None``: the rule does not ask Argo CD, or it has
        no name for it.
    :param now: timezone-aware; ages count from it.
    """
    used = used_fields(rule.instruction)
    pr: dict[str, Any] = {
        "number": snapshot.number,
        "title": one_line(snapshot.title, MAX_TITLE),
        "author": _author(snapshot),
        "authorKnown": bool(snapshot.author),
        "labels": sorted({name_of(label) for label in snapshot.labels}, key=_by_name)[:MOST_LABELS],
        "ciStatus": ci_status(snapshot),
        "mergeable": snapshot.mergeable,
        "reviews": _reviews(snapshot),
        "draft": snapshot.draft,
        "base": name_of(snapshot.base_branch, MAX_BRANCH),
        "head": name_of(snapshot.head_branch, MAX_BRANCH),
        "headSha": snapshot.head_sha,
        "url": snapshot.url,
        "reviewDecision": snapshot.review_decision or "",
        "unresolvedThreads": len(snapshot.threads),
        "fork": snapshot.fork,
        "additions": snapshot.additions,
        "deletions": snapshot.deletions,
        "changedFiles": snapshot.changed_files,
    }
    checks = _checks(snapshot)
    pr |= {
        "checks": checks[:MOST_CHECKS],
        "moreChecks": max(0, len(checks) - MOST_CHECKS),
        "checksRunning": sum(each["state"] in _RUNNING for each in checks),
    }
    if "body" in rule.context or "pr.body" in used:
        pr["body"] = clip(clean(snapshot.body), MAX_BODY_BYTES)
    for field, since in (("ageDays", snapshot.created_at), ("idleDays", snapshot.updated_at)):
        if "age" in rule.context or f"pr.{field}" in used:
            pr[field] = max(0, (now - since).days) if since else None
    if "comments" in rule.context:
        pr["commentsDigest"] = comments_digest(snapshot.comments)
    return {
        "repository": snapshot.repository,
        "environment": environment_of(snapshot.labels, rule),
        "argocd": _argocd(application, rule, used),
        "pr": pr,
        "unread": _parts(snapshot.missing),
        "refused": _parts(snapshot.refused),
    }


def environment_of(labels: Iterable[str], rule: PullRequestRule) -> Environment:
    """Return the environment that a pull request is for: the rule's, else the first that is one of its labels."""
    if rule.environment is not None:
        return rule.environment
    there = {label.casefold() for label in labels}
    return next((each for each in ENVIRONMENTS if each in there), "unknown")


def ci_status(snapshot: PullRequestSnapshot) -> str:
    """Return the state of all checks of the head in one word: the one that GitHub's rollup has for them.

    ``UNKNOWN`` where there is no check, or they could not be read.
    """
    if "checks" in _parts((*snapshot.missing, *snapshot.refused)):
        return "UNKNOWN"
    checks = _checks(snapshot)
    states = {check["state"] for check in checks}
    if "failed" in states:
        failed = snapshot.checks_in("failed")
        return "ERROR" if all(check.conclusion == "ERROR" for check in failed) else "FAILURE"
    if states & _RUNNING:
        return "PENDING"
    return "SUCCESS" if states else "UNKNOWN"


def unsettled(facts: Mapping[str, Any], *, checks: bool = True) -> str:
    """Return why nobody is asked about a pull request yet, in a sentence; empty: these facts stay for a while.

    :param checks: whether the end of the checks is waited for. Mergeability always is: GitHub forgets that of all
        pull requests at each push to their base, and knows it again in moments.
    """
    pr = facts["pr"]
    if facts["unread"]:
        return f"GitHub did not give: {', '.join(facts['unread'])}."
    if checks and (count := pr["checksRunning"]):
        names = [check["name"] for check in pr["checks"] if check["state"] in _RUNNING][:5]
        named = ", ".join(names) + (" …" if count > len(names) else "")
        return f"Checks run: {named}."
    if pr["mergeable"] == "UNKNOWN":
        return "GitHub has not said yet whether it can be merged."
    return ""


def context_hash(rule: PullRequestRule, facts: Mapping[str, Any]) -> str:
    """Return what changes whenever the rule, or anything that its model would see, does: 16 hexadecimal digits.

    While checks run, one that passes does not count, unless the rule's text goes over them: a push would otherwise
    have the model asked as often as it has checks.
    """
    if facts["pr"]["checksRunning"] and "pr.checks" not in used_fields(rule.instruction):
        failed = [each for each in facts["pr"]["checks"] if each["state"] == "failed"]
        facts = {**facts, "pr": {**facts["pr"], "checks": failed, "checksRunning": True, "moreChecks": 0}}
    return _digest([rule.version, facts])


def part_hashes(facts: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of each part of the facts that an answer can wait for, see :data:`.pr_rule_decision.WaitFor`.

    A push changes ``checks``, too: what they said is about another head.
    """
    pr = facts["pr"]
    parts: dict[str, list[Any]] = {
        "checks": [pr["headSha"], pr["ciStatus"], pr["checks"], pr["checksRunning"], facts["refused"]],
        "review": [
            *(pr[name] for name in ("reviews", "reviewDecision", "unresolvedThreads", "draft")),
            pr.get("commentsDigest", ""),
        ],
        "push": [pr["headSha"], pr["base"], pr["mergeable"]],
        "labels": [pr["labels"], facts["environment"]],
        "deployment": [facts["argocd"]],
    }
    return {name: _digest(values) for name, values in parts.items()}


def shown_comments(comments: Iterable[Comment]) -> tuple[Comment, ...]:
    """Return the comments that the model is shown: the last ones of others, oldest first."""
    return tuple(comment for comment in comments if not comment.own)[-MOST_COMMENTS:]


def comments_digest(comments: Iterable[Comment]) -> str:
    """Return what changes whenever the shown comments do."""
    return _digest(
        [
            [each.author, each.body, each.edited_by, each.can_write, each.association]
            for each in shown_comments(comments)
        ]
    )


def name_of(text: str, most: int = MAX_NAME) -> str:
    """Return a name as one line, with :data:`REPLACED` for what nobody sees, cut to ``most`` characters."""
    line = " ".join(text[: 10 * most].split())
    if clean(line, html=False) != line:
        line = "".join(each if clean(f"a{each}a") == f"a{each}a" else REPLACED for each in line)
    return line if len(line) <= most else line[: most - 1] + "…"


def _author(snapshot: PullRequestSnapshot) -> str:
    if not snapshot.author:
        return GHOST
    name = name_of(snapshot.author)
    return f"{name}{BOT_SUFFIX}" if snapshot.author_is_bot and not name.endswith(BOT_SUFFIX) else name


def _reviews(snapshot: PullRequestSnapshot) -> list[dict[str, Any]]:
    reviews = [
        {
            "author": name_of(review.author) or GHOST,
            "state": review.state,
            "canWrite": review.can_write,
            "current": review.head_sha == snapshot.head_sha,
        }
        for review in snapshot.reviews
        if review.state != "PENDING"  # a draft that only its author sees
    ]
    # Those that count first: a crowd of others must not push them out.
    return sorted(reviews, key=lambda each: (not each["canWrite"], *map(str, each.values())))[:MOST_REVIEWS]


def _checks(snapshot: PullRequestSnapshot) -> list[dict[str, Any]]:
    checks = [
        {"name": name_of(check.name), "state": check.state, "required": check.required}
        for check in snapshot.checks
    ]
    there = {check.name for check in snapshot.checks}
    checks += [
        {"name": name_of(name), "state": "expected", "required": True}
        for name in snapshot.required_checks or ()
        if name not in there
    ]
    return sorted(
        checks, key=lambda each: (_STATES.index(each["state"]), not each["required"], _by_name(each["name"]))
    )


def _argocd(
    application: ApplicationReading | None, rule: PullRequestRule, used: frozenset[str]
) -> dict[str, Any]:
    asked = application if rule.argocd.enabled else None
    facts: dict[str, Any] = {
        "enabled": rule.argocd.enabled,
        "health": asked.health if asked else "Unknown",
    }
    if asked and asked.fault_kind:
        facts["fault"] = asked.fault_kind
    # What changes with each deployment of anything, only where the text asks for it.
    if "argocd.sync" in used:
        facts["sync"] = asked.sync if asked else "Unknown"
    if "argocd.revision" in used:
        facts["revision"] = name_of(asked.revision) if asked else ""
    if "argocd.images" in used:
        images = {name_of(image, MAX_BRANCH) for image in asked.images} if asked else set()
        facts["images"] = sorted(images)[:MOST_IMAGES]
    return facts


def _parts(entries: Iterable[str]) -> list[str]:
    """Return the names of parts from ``part: reason``."""
    return sorted({name_of(entry.partition(":")[0]) for entry in entries})


def _by_name(name: str) -> tuple[str, str]:
    return name.casefold(), name


def _digest(values: Any) -> str:
    text = json.dumps(values, sort_keys=True, ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
