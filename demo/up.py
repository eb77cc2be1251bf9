"""``python -m demo.up``: the embedded system on this machine, with your own GitHub and model, until Ctrl-C."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import sys
import time
from typing import TYPE_CHECKING

from demo.environment import REPOSITORY_ROOT
from demo.http_json import HttpError
from demo.local_stack import LocalStack
from demo.options import OptionsError, bubblewrap_fault
from demo.processes import PartFailedError
from demo.signals import InterruptedBySignal, interrupted_by_signals, stopped_at_the_end
from demo.terminal import Terminal
from demo.up_options import read_up_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from demo.up_options import UpOptions

DAG_ID = "coding_task"
FOLDER_VARIABLE = "AGENTS_HOME"
"""Where the data is kept, in place of ``.agents``."""
CHECK_SECONDS = 1.0


class InUseError(RuntimeError):
    """Another one runs on the same data."""


def main() -> int:
    """Start everything and stay; return the exit code."""
    terminal = Terminal(sys.stdout)
    try:
        options = read_up_options(os.environ, bubblewrap_fault)
    except OptionsError as error:
        print(error, file=sys.stderr)
        return 2
    root = os.environ.get(FOLDER_VARIABLE)
    with interrupted_by_signals():
        try:
            with kept_folder(REPOSITORY_ROOT / (root or ".agents")) as folder:
                _run(folder, options, terminal)
        except InterruptedBySignal as interrupt:
            terminal.line("Everything is stopped; the data stays.")
            return 0 if interrupt.number == signal.SIGINT else 128 + interrupt.number
        except (InUseError, PartFailedError, HttpError, TimeoutError, OSError, ValueError) as error:
            terminal.line(f"{terminal.style.mark('failed')} {error}")
            return 1
    return 0


@contextlib.contextmanager
def kept_folder(folder: Path) -> Iterator[Path]:
    """Make the folder of the data, closed to others and unknown to git, and hold it for this process alone.

    :raise InUseError: another process holds it.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    (folder / ".gitignore").write_text("*\n")
    with (folder / "in-use").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUseError(f"Another `make up` runs on {folder}; end it first.") from None
        yield folder


def _run(folder: Path, options: UpOptions, terminal: Terminal) -> None:
    began = time.monotonic()
    terminal.line(terminal.style.bold("From tickets to merged pull requests, with your own GitHub and model"))
    for text in _introduction(options):
        terminal.line(f"  {text}")
    stack = LocalStack(
        folder,
        hosts=options.hosts,
        sandbox=options.sandbox,
        api_port=options.port,
        login=True,
        fast=False,
        extra_env={"AIRFLOW__AGENTS__AGENT": options.agent},
        progress=lambda part: terminal.line(f"  {part} (after {time.monotonic() - began:.0f} s)"),
    )
    with stopped_at_the_end(stack.stop):
        stack.start()
        stack.wait_for_dag(DAG_ID)
        for text in _directions(stack):
            terminal.line(text)
        while True:
            stack.check()
            time.sleep(CHECK_SECONDS)


def _introduction(options: UpOptions) -> Iterator[str]:
    yield f"Agent program of runs that name none: {options.agent}. Runs SPEND MONEY on your account."
    if options.sandbox == "none":
        yield "Agents run WITHOUT a sandbox, as asked: what they start can read your credentials and your files."
    else:
        yield "Agents run under bubblewrap."


def _directions(stack: LocalStack) -> Iterator[str]:
    login = stack.login
    yield ""
    yield f"  Airflow  {stack.airflow_url}/dags/{DAG_ID}"
    if login is not None:
        yield f"  Login    {login.user} / {login.password}"
    yield f"  Data     {stack.folder}"
    yield ""
    yield "Trigger the DAG there with a repository and an issue number, or from a shell:"
    if login is not None:
        yield (
            f"  TOKEN=$(curl -s {stack.airflow_url}/auth/token -H 'Content-Type: application/json' "
            f'-d \'{{"username": "{login.user}", "password": "{login.password}"}}\' '
            "| python3 -c 'import json, sys; print(json.load(sys.stdin)[\"access_token\"])')"
        )
    yield (
        f'  curl {stack.airflow_url}/api/v2/dags/{DAG_ID}/dagRuns -H "Authorization: Bearer $TOKEN" '
        "-H 'Content-Type: application/json' "
        '-d \'{"logical_date": null, "conf": {"repository": "owner/name", "issue_number": 1}}\''
    )
    yield ""
    yield f"Tickets that start runs by themselves: {stack.folder}/agents/tickets/NAME.yaml (docs/tickets-github.md);"
    yield f"settings of repositories: {stack.folder}/agents/repositories.yaml (docs/settings.md)."
    yield ""
    yield "Ctrl-C ends it; the data stays."


if __name__ == "__main__":
    sys.exit(main())
