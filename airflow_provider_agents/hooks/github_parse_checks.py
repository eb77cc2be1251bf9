"""From GitHub's check runs and commit statuses to :class:`Check` values; pure functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.pull_request import Check, CheckState
from airflow_provider_agents.hooks.github_fields import flag, integer, mapping, moment, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_agents.hooks.github_parse_parts import Parts

_PASSED = frozenset({"SUCCESS", "NEUTRAL", "SKIPPED"})
_FAILED = frozenset({"FAILURE", "ACTION_REQUIRED", "CANCELLED", "STARTUP_FAILURE", "STALE", "TIMED_OUT"})
_STATUS_STATES: Mapping[str, CheckState] = {
    "SUCCESS": "passed",
    "FAILURE": "failed",
    "ERROR": "failed",
    "PENDING": "pending",
    "EXPECTED": "pending",
}

_Workflow = tuple[str, str, str]
"""What makes check runs: app, workflow and event."""
_Origin = tuple[_Workflow, int]
"""What made a check run, and in which of its suites, newer ones having higher ids."""


def parse_checks(parts: Parts) -> tuple[Check, ...]:
    """Return the checks of the head commit, each only in its newest run, and those that are still to come."""
    if parts.pull.get("statusCheckRollup", ...) is None and not parts.error("statusCheckRollup"):
        return ()
    nodes = list(parts.nodes("checks", "statusCheckRollup", "contexts"))
    if any(_check(node) is None for node in nodes):
        parts.doubt("checks", "an entry could not be understood")
    return newest_checks(nodes)


def newest_checks(nodes: Iterable[Mapping[str, Any]]) -> tuple[Check, ...]:
    """Return the checks among the entries of one commit's rollup, each only in its newest run.

    A newer suite of the same workflow that ran a check again takes the older verdict away; one that skipped it
    does not: re-triggered workflows often skip their jobs.

    A workflow that has not ended although all its shown jobs have gives one more check, which is pending:
    jobs that need others are created only when those have ended.
    """
    found = [(check, _origin(node), node) for node in nodes if (check := _check(node))]
    newest: dict[tuple[str, _Workflow], int] = {}
    for check, origin, _ in found:
        if origin and check.conclusion != "SKIPPED":
            key = (check.name, origin[0])
            newest[key] = max(newest.get(key, 0), origin[1])
    kept = [
        (check, origin, node)
        for check, origin, node in found
        if origin is None or newest.get((check.name, origin[0]), 0) <= origin[1]
    ]
    return (*(check for check, _, _ in kept), *_jobs_to_come(kept))


def _check(node: Mapping[str, Any]) -> Check | None:
    return _check_run(node) if node.get("__typename") == "CheckRun" else _status(node)


def _check_run(node: Mapping[str, Any]) -> Check | None:
    name, status, conclusion = text(node.get("name")), node.get("status"), text(node.get("conclusion"))
    state: CheckState
    if not name or not isinstance(status, str):
        return None
    if status != "COMPLETED":
        state, conclusion = "pending", ""
    elif conclusion in _PASSED:
        state = "passed"
    elif conclusion in _FAILED:
        state = "failed"
    else:
        return None
    return Check(
        name=name,
        state=state,
        kind="check_run",
        conclusion=conclusion,
        required=flag(node.get("isRequired")),
        url=text(node.get("detailsUrl")) or text(node.get("permalink")),
        title=text(node.get("title")),
        node_id=text(node.get("id")),
        database_id=integer(node.get("databaseId")),
        started_at=moment(node.get("startedAt")),
        completed_at=None if state == "pending" else moment(node.get("completedAt")),
    )


def _status(node: Mapping[str, Any]) -> Check | None:
    name, word = text(node.get("context")), text(node.get("state"))
    state = _STATUS_STATES.get(word)
    if not name or state is None:
        return None
    # A status does not change: each further state of a context is a status of its own.
    created_at = moment(node.get("createdAt"))
    return Check(
        name=name,
        state=state,
        kind="status",
        conclusion="" if state == "pending" else word,
        required=flag(node.get("isRequired")),
        url=text(node.get("targetUrl")),
        title=text(node.get("description")),
        node_id=text(node.get("id")),
        started_at=created_at,
        completed_at=None if state == "pending" else created_at,
    )


def _origin(node: Mapping[str, Any]) -> _Origin | None:
    """Return where a check run comes from, or ``None`` where that is not known for certain."""
    suite = mapping(node.get("checkSuite"))
    app, run = text(mapping(suite.get("app")).get("slug")), mapping(suite.get("workflowRun"))
    number = integer(suite.get("databaseId"))
    workflow = text(mapping(run.get("workflow")).get("name"))
    if not app or number is None or (app == "github-actions" and not workflow):
        return None
    return (app, workflow, text(run.get("event"))), number


def _jobs_to_come(found: Sequence[tuple[Check, _Origin | None, Mapping[str, Any]]]) -> Iterable[Check]:
    """Yield a pending check for each workflow of GitHub Actions whose suite goes on after its shown jobs."""
    suites: dict[_Origin, list[Check]] = {}
    going_on: set[_Origin] = set()
    for check, origin, node in found:
        if origin is None or origin[0][0] != "github-actions":
            continue
        suites.setdefault(origin, []).append(check)
        status = text(mapping(node.get("checkSuite")).get("status"))
        if status and status != "COMPLETED":
            going_on.add(origin)
    # Only the newest suite of a workflow: an older one may stay open for ever.
    newest: dict[_Workflow, int] = {}
    for workflow, number in suites:
        newest[workflow] = max(newest.get(workflow, 0), number)
    for workflow, number in newest.items():
        origin = (workflow, number)
        if origin in going_on and all(check.state != "pending" for check in suites[origin]):
            yield Check(
                name=f"{workflow[1]}: further jobs",
                state="pending",
                kind="check_run",
                title="The workflow has not ended: jobs that need others are to come.",
            )
