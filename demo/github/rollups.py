"""One word for all checks of a commit, and what of the required ones is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from demo.github.state import PullRequest, Repository


def rollup_state(repository: Repository, sha: str) -> str | None:
    """Return GitHub's ``StatusState`` over all checks of ``sha``; ``None`` where it has none."""
    runs, statuses = repository.check_runs(sha), repository.latest_statuses(sha)
    if not runs and not statuses:
        return None
    words = {status.state for status in statuses}
    if any(run.status == "COMPLETED" and not run.passed for run in runs) or "FAILURE" in words:
        return "FAILURE"
    if "ERROR" in words:
        return "ERROR"
    if any(run.status != "COMPLETED" for run in runs) or words & {"PENDING", "EXPECTED"}:
        return "PENDING"
    return "SUCCESS"


def is_required(pull: PullRequest | None, name: str) -> bool:
    """Say whether the rules of the pull request's base branch require the check ``name``."""
    return pull is not None and name in pull.repository.rules_of(pull.base_ref_name).required_checks


def failing_requirements(pull: PullRequest) -> list[str]:
    """Return a sentence for each required check that has not passed on the head."""
    repository, sha = pull.repository, pull.head_ref_oid
    outcomes: dict[str, list[bool | None]] = {}
    for run in repository.check_runs(sha):
        outcomes.setdefault(run.name, []).append(run.passed if run.status == "COMPLETED" else None)
    for status in repository.latest_statuses(sha):
        verdict = {"SUCCESS": True, "FAILURE": False, "ERROR": False}.get(status.state)
        outcomes.setdefault(status.context, []).append(verdict)
    said = []
    for name in repository.rules_of(pull.base_ref_name).required_checks:
        seen = outcomes.get(name)
        if seen is None:
            said.append(f'Required status check "{name}" is expected.')
        elif False in seen:
            said.append(f'Required status check "{name}" is failing.')
        elif None in seen:
            said.append(f'Required status check "{name}" is in progress.')
    return said
