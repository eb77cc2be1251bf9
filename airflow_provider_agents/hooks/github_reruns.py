"""Runs failed checks a second time, each app's in its own way."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.exceptions import ForgeError, ForgeUnavailableError
from airflow_provider_agents.hooks.github_errors import Operation, response_error
from airflow_provider_agents.hooks.github_fields import mapping, text
from airflow_provider_agents.hooks.github_names import repository_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.pull_request import Check
    from airflow_provider_agents.hooks.github_transport import GitHubTransport

MUTATION_PAUSE_SECONDS = 1.0
"""Between two changes in a row: GitHub's advice against its secondary rate limits."""

_JOB_URL = re.compile(r"/actions/runs/(\d+)/jobs?/(\d+)")


def job_of(check: Check) -> tuple[int, int] | None:
    """Return run and job of GitHub Actions that a check's details are about, ``None`` for other apps."""
    found = _JOB_URL.search(check.url)
    return (int(found[1]), int(found[2])) if found else None


async def rerun_checks(
    transport: GitHubTransport, repository: str, checks: Sequence[Check]
) -> tuple[str, ...]:
    """Ask for a second run of ``checks`` and return the names of those for which it was asked.

    Several jobs of one workflow run are asked for together: a single one would keep the others from being
    run, as a run that is running cannot be started again. Commit statuses cannot be run again. A check
    whose app, or whose credential, does not allow it is left out.

    :raises ForgeError: the first fault, where nothing could be asked for.
    """
    asked: list[str] = []
    fault: ForgeError | None = None
    for index, (path, names) in enumerate(_requests(checks)):
        if index:
            await asyncio.sleep(MUTATION_PAUSE_SECONDS)
        operation = Operation(
            f"run {', '.join(names)} of {repository} again", "Actions: write (GitHub Actions), Checks: write"
        )
        try:
            await _ask(transport, repository_path(repository, path), operation)
        except ForgeUnavailableError as error:
            fault = fault or error
            break
        except ForgeError as error:
            fault = fault or error
        else:
            asked += names
    if fault is not None and not asked:
        raise fault
    return tuple(asked)


async def _ask(transport: GitHubTransport, path: str, operation: Operation) -> None:
    """Ask for one re-run; of Actions again where GitHub is away, as it refuses a second while the first runs."""
    if "/check-runs/" in path:
        await transport.write("POST", path, operation)
        return
    status, headers, answer = await transport.answer("POST", path, operation)
    running = status == 403 and "already running" in text(mapping(answer).get("message")).lower()
    if not 200 <= status < 300 and not running:
        raise response_error(operation, status, headers, answer, datetime.now(UTC))


def _requests(checks: Sequence[Check]) -> list[tuple[str, list[str]]]:
    """Return the path of each request, with the names of the checks that it runs again."""
    jobs: dict[int, dict[int, str]] = {}
    others: dict[int, str] = {}
    for check in checks:
        if check.kind != "check_run":
            continue
        if found := job_of(check):
            jobs.setdefault(found[0], {})[found[1]] = check.name
        elif check.database_id is not None:
            others[check.database_id] = check.name
    requests = []
    for run, names in jobs.items():
        if len(names) == 1:
            requests.append((f"actions/jobs/{next(iter(names))}/rerun", list(names.values())))
        else:
            requests.append((f"actions/runs/{run}/rerun-failed-jobs", list(names.values())))
    requests += [(f"check-runs/{number}/rerequest", [name]) for number, name in others.items()]
    return requests
