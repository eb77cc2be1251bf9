"""Shows a run of the demo until it has ended, and says whether it did what it promises."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from demo import summary
from demo.http_json import HttpError
from demo.summary import timeline
from demo.verdict import ask_forge

if TYPE_CHECKING:
    from collections.abc import Callable

    from demo.forge_client import ForgeClient
    from demo.scenarios import Scenario
    from demo.terminal import Terminal
    from demo.watch import RunWatcher

LIMIT_SECONDS = 15 * 60.0
POLL_SECONDS = 0.5
MOST_FAILED_POLLS = 20


def _nothing() -> None:
    return


def follow(
    watcher: RunWatcher,
    terminal: Terminal,
    deadline: float,
    *,
    check: Callable[[], None] = _nothing,
    look: Callable[[], None] = _nothing,
) -> str | None:
    """Show the run until it has ended; return what went wrong with following it, if anything did.

    :param watcher: reads the run.
    :param deadline: time of :func:`time.monotonic` at which to give up.
    :param check: called before each reading; raises if the run cannot go on.
    :param look: called after each reading.
    :raise HttpError, OSError: Airflow, or what ``look`` asks, did not answer many times in a row.
    """
    began, failed_polls = time.monotonic(), 0
    while True:
        check()
        try:
            stages = watcher.poll()
            look()
            failed_polls = 0
            terminal.show(stages, seconds=time.monotonic() - began, usd=watcher.usd)
        except (HttpError, OSError):
            failed_polls += 1
            if failed_polls >= MOST_FAILED_POLLS:
                raise
        if watcher.ended:
            return None
        if time.monotonic() > deadline:
            return f"The run did not end within {LIMIT_SECONDS / 60:.0f} minutes."
        time.sleep(POLL_SECONDS)


def conclude(
    forge: ForgeClient,
    repository: str,
    issue_number: int,
    watcher: RunWatcher,
    fault: str | None,
    terminal: Terminal,
    *,
    program: str,
    play: Scenario | None = None,
) -> int:
    """Print what came of the run; return 0 exactly if the issue was closed by a merged pull request.

    :param fault: what :func:`follow` returned.
    :param program: title of the agent program.
    :param play: the scenario that was played, with demands of its own.
    """
    terminal.keep()
    terminal.line()
    verdict = ask_forge(forge, repository, issue_number)
    faults = [*([fault] if fault else []), *verdict.faults]
    faults += play.faults(verdict.mutations) if play else []
    if watcher.state == "failed" and not faults:
        faults.append("The issue was closed by a merged pull request, but Airflow's run failed.")
    if not faults:
        lines = summary.success(
            verdict,
            watcher.stages,
            watcher.results,
            program=program,
            seconds=watcher.seconds,
            style=terminal.style,
        )
    else:
        task = watcher.failed_task()
        log = watcher.log(task) if task else ""
        lines = summary.failure(faults, task, log, style=terminal.style)
    for line in lines:
        terminal.line(line)
    if play:
        terminal.line()
        for line in timeline(verdict.mutations, watcher.decisions()):
            terminal.line(line)
    terminal.line()
    return 1 if faults else 0
