"""``airflow agents init``: from nothing to a deployment that doctor finds in order."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from airflow.utils import cli as cli_utils

from airflow_provider_agents.cli.answers import Answers, MissingAnswerError, RefusedAnswerError
from airflow_provider_agents.cli.doctor import EXIT_USAGE, as_server, examine
from airflow_provider_agents.cli.init_steps import InitSteps

if TYPE_CHECKING:
    from argparse import Namespace

EXIT_REFUSED = 1


@cli_utils.action_cli(check_db=True)  # type: ignore[no-untyped-call, untyped-decorator]
def init(args: Namespace) -> None:
    """Ask for what is missing, store it, and end with doctor's exit code."""
    as_server()
    interactive = not args.non_interactive and sys.stdin.isatty()
    steps = InitSteps(args, Answers(interactive=interactive, say=_say), _say)
    try:
        steps.run()
    except MissingAnswerError as error:
        _stop(f"{error}", EXIT_USAGE)
    except RefusedAnswerError as error:
        _stop(f"{error}", EXIT_REFUSED)
    except KeyboardInterrupt:
        _stop("interrupted; what was stored so far stays, and the next run goes on from there", 130)
    if not steps.changed:
        _say("Nothing was changed: everything was there already.")
    if steps.settings:
        _say("Set these in the environment of every Airflow component, or in airflow.cfg:")
        for name, value in steps.settings.items():
            _say(f"  AIRFLOW__AGENTS__{name.upper()}={value}")
            os.environ[f"AIRFLOW__AGENTS__{name.upper()}"] = value
    if args.no_doctor:
        raise SystemExit(0)
    _say("")
    raise SystemExit(examine())


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _stop(message: str, code: int) -> None:
    sys.stderr.write(f"airflow agents init: {message}\n")
    raise SystemExit(code)
