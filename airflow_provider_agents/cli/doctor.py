"""``airflow agents doctor``: checks a deployment from the inside."""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING

from airflow.utils import cli as cli_utils

from agent_runner.contract import REPOSITORY_PATTERN
from airflow_provider_agents.cli.deployment import Deployment
from airflow_provider_agents.cli.registry import CHECKS
from airflow_provider_agents.cli.render import as_document, as_table
from airflow_provider_agents.cli.runner import Check, run_checks, unknown_patterns

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence

EXIT_USAGE = 2


@cli_utils.action_cli(check_db=False)  # type: ignore[no-untyped-call, untyped-decorator]
def doctor(args: Namespace) -> None:
    """Run all checks, print what they found, and end with their exit code."""
    patterns = args.skip or []
    if unknown := unknown_patterns(CHECKS, patterns):
        sys.stderr.write(f"--skip {unknown[0]}: there is no such check. Checks are:\n")
        sys.stderr.write("".join(f"  {check.id}\n" for check in CHECKS))
        raise SystemExit(EXIT_USAGE)
    wrong = [name for name in args.repository or () if not REPOSITORY_PATTERN.fullmatch(name)]
    if wrong:
        sys.stderr.write(f"--repository {wrong[0]}: write it as owner/name.\n")
        raise SystemExit(EXIT_USAGE)
    raise SystemExit(examine(tuple(args.repository or ()), skip=patterns, output=args.output))


def examine(repositories: tuple[str, ...] = (), *, skip: Sequence[str] = (), output: str = "table") -> int:
    """Run all checks, print what they found, and return the exit code.

    :param output: ``table``, ``json`` or ``yaml``.
    """
    as_server()
    deployment = Deployment(repositories)
    terminal = sys.stderr.isatty()

    def progress(check: Check) -> None:
        sys.stderr.write(f"\r\x1b[K{check.title} …")
        sys.stderr.flush()

    previous = logging.root.manager.disable
    # Findings say all that is to be known; what hooks log beside would stand between them.
    logging.disable(logging.ERROR)
    try:
        if terminal:
            report = run_checks(CHECKS, deployment, skip=skip, progress=progress)
            sys.stderr.write("\r\x1b[K")
        else:
            report = run_checks(CHECKS, deployment, skip=skip)
    finally:
        logging.disable(previous)
    if output == "table":
        sys.stdout.write(as_table(report, deployment.hide, colour=sys.stdout.isatty()))
    else:
        sys.stdout.write(as_document(report, output, deployment.hide))
    sys.stdout.flush()
    return report.exit_code


def as_server() -> None:
    """Have connections read as Airflow's own commands do: from secrets backends, environment and database."""
    os.environ["_AIRFLOW_PROCESS_CONTEXT"] = "server"
