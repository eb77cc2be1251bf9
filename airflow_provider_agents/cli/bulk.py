"""What the commands that change several runs have in common."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.api_client import ApiError
from airflow_provider_agents.cli.command import EXIT_FAILED, FailedError
from airflow_provider_agents.cli.output import as_table, say, show

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable, Sequence

    from airflow_provider_agents.cli.agent_runs import Run


def of_repository(runs: Iterable[Run], repository: str | None) -> list[Run]:
    """Return the runs of a repository; of all, where none is named."""
    return [run for run in runs if not repository or run.repository.lower() == repository.lower()]


def confirmed(args: Namespace, runs: Sequence[Run], verb: str) -> bool:
    """Ask a person before several runs are changed; tell what to do where nobody is there."""
    if args.dry_run or args.yes or not runs:
        return True
    say(as_table(("RUN", "TICKET", "STATE"), [(run.run_id, run.ticket, run.state) for run in runs]).rstrip())
    if not sys.stdin.isatty():
        say(f"airflow agents: to {verb} these {len(runs)} runs give --yes; --dry-run only tells")
        return False
    sys.stderr.write(f"{verb.capitalize()} these {len(runs)} runs? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say("nothing was changed")
    return False


def each_run(args: Namespace, runs: Sequence[Run], act: Callable[[Run], str]) -> int:
    """Do something to each run, whatever becomes of the others, and show it.

    :param act: returns what was done to a run, in words.
    """
    rows: list[tuple[str, str, str]] = []
    code = 0
    for run in runs:
        try:
            done = act(run)
        except (ApiError, FailedError) as error:
            done, code = f"failed: {error}", EXIT_FAILED
        rows.append((run.run_id, run.ticket, done))
    document = [{"run": run_id, "ticket": ticket, "result": done} for run_id, ticket, done in rows]
    show(document, as_table(("RUN", "TICKET", "RESULT"), rows) if rows else "There are none.\n", args.output)
    return code
