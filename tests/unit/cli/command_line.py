"""Command lines in this process, as a shell would call them."""

from __future__ import annotations

import argparse
import contextlib
import io
from dataclasses import dataclass

from airflow_provider_agents.cli.definition_runs import get_run_commands


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


def call_line(*line: str) -> Ended:
    """Run ``airflow agents`` with these arguments."""
    parser = argparse.ArgumentParser("airflow agents")
    commands = parser.add_subparsers(required=True)
    for command in get_run_commands():
        sub = commands.add_parser(command.name)
        for arg in command.args:
            arg.add_to_parser(sub)
        sub.set_defaults(func=command.func)
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            args = parser.parse_args(line)
            args.func(args)
        except SystemExit as ended:
            return Ended(int(ended.code or 0), out.getvalue(), err.getvalue())
    raise AssertionError("a command ends with an exit code")
