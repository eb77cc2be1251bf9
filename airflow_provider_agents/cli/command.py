"""What all commands for runs have in common: how they get the API, and how they end."""

from __future__ import annotations

import functools
import logging
import os
import sys
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.api_access import airflow_api
from airflow_provider_agents.cli.api_client import AirflowApi, ApiError
from airflow_provider_agents.cli.output import say

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable

EXIT_FAILED = 1
"""It did not work, or what was asked about ended badly."""
EXIT_USAGE = 2
"""The command line, or a file that it names, is wrong."""
EXIT_UNREACHABLE = 3
"""Airflow does not answer, or not as it should."""
EXIT_INTERRUPTED = 130


class UsageError(Exception):
    """What was asked is wrong; the message says what is right."""


class FailedError(Exception):
    """What was asked cannot be done as things are; the message says why, and what can."""


def command(function: Callable[[Namespace, AirflowApi], int]) -> Callable[[Namespace], None]:
    """Make a command of a function of the arguments and the API that returns an exit code.

    No database is looked at, and nothing is recorded in one: the command may run where there is none.
    """

    @functools.wraps(function)
    def run(args: Namespace) -> None:
        logging.getLogger("httpx").setLevel(logging.WARNING)
        try:
            code = _guarded(function, args)
            sys.stdout.flush()
        except BrokenPipeError:
            # Whoever read the output has seen enough.
            _no_output()
            code = 0
        raise SystemExit(code)

    return run


def _guarded(function: Callable[[Namespace, AirflowApi], int], args: Namespace) -> int:
    try:
        api = airflow_api()
        try:
            return function(args, api)
        finally:
            api.close()
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return EXIT_INTERRUPTED
    except UsageError as error:
        say(f"airflow agents: {error}")
        return EXIT_USAGE
    except FailedError as error:
        say(f"airflow agents: {error}")
        return EXIT_FAILED
    except ApiError as error:
        say(f"airflow agents: {error}")
        passing = error.status is None or error.status >= 500 or error.status == 429
        return EXIT_UNREACHABLE if passing else EXIT_FAILED


def _no_output() -> None:
    """Lead the output nowhere; Python would complain again when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
