"""One word for all checks of a commit, and what of the required ones is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from demo.github.state import PullRequest, Repository

Outcome = Literal["expected", "in progress", "failing", "passed"]


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


def outcomes(repository: Repository, sha: str, names: Iterable[str]) -> dict[str, Outcome]:
    """Return what became of each of the checks ``names`` on the commit ``sha``."""
    seen: dict[str, set[bool | None]] = {}
    for run in repository.check_runs(sha):
        seen.setdefault(run.name, set()).add(run.passed if run.status == "COMPLETED" else None)
    for status in repository.latest_statuses(sha):
        verdict = {"SUCCESS": True, "FAILURE": False, "ERROR": False}.get(status.state)
        seen.setdefault(status.context, set()).add(verdict)
    return {name: _worst(seen.get(name)) for name in names}


def _worst(verdicts: set[bool | None] | None) -> Outcome:
    if verdicts is None:
        return "expected"
    if False in verdicts:
        return "failing"
    return "in progress" if None in verdicts else "passed"


def failing_requirements(pull: PullRequest) -> list[str]:
    """Return a sentence for each required check that has not passed on the head."""
    names = pull.repository.rules_of(pull.base_ref_name).required_checks
    found = outcomes(pull.repository, pull.head_ref_oid, names)
    return [f'Required status check "{name}" is {word}.' for name, word in found.items() if word != "passed"]
