"""What the runner takes before the agent program starts, beside what git takes in that time.

``python -m tests.bench.runner_start [--rounds 10]``
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "contract/runner"))

import pod as stand_ins

from agent_runner.contract import AgentSettings
from tests.bench.table import Row, seconds, show

MOST_SECONDS = 0.5
"""Most that the runner may take for itself."""

_TIMED_GIT = """#!/bin/bash
begun=$EPOCHREALTIME
{git} "$@"
code=$?
echo "$begun $EPOCHREALTIME" >> {log}
exit $code
"""


def measure(rounds: int = 10) -> list[Row]:
    """Return the rows for a first checkout and for one that is used again.

    :param rounds: runs of the runner each.
    """
    first: list[tuple[float, float]] = []
    again: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        forge = stand_ins.make_forge(folder / "template")
        for number in range(rounds + 1):
            pod = stand_ins.make_pod(folder / f"pod-{number}", forge)
            fresh, used = _run(pod), _run(pod)
            pod.git_server.shutdown()
            pod.git_server.server_close()
            if number:  # the first one warms the caches
                first.append(fresh)
                again.append(used)
    return [
        _row("runner to agent, first checkout", first),
        _row("runner to agent, checkout used again", again),
    ]


def _run(pod: stand_ins.Pod) -> tuple[float, float]:
    """Return the seconds from the runner's start to the agent's, and how many of them git ran."""
    programs, log, started = pod.root / "programs", pod.root / "git-times", pod.root / "started"
    programs.mkdir(exist_ok=True)
    log.write_text("")
    git = programs / "git"
    git.write_text(
        _TIMED_GIT.format(git=shlex.quote(shutil.which("git") or "git"), log=shlex.quote(str(log)))
    )
    git.chmod(0o755)
    pod.variables["PATH"] = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    pod.variables["AGENT_COMMAND"] = f"exec bash -c 'echo $EPOCHREALTIME > {started}'"
    begun = time.time()
    ran = pod.run(pod.spec("plan", agent=AgentSettings(program="command")))
    assert ran.result.outcome == "succeeded", ran.log
    agent = float(started.read_text())
    times = [tuple(map(float, line.split())) for line in log.read_text().splitlines()]
    return agent - begun, sum(end - start for start, end in times if end <= agent)


def _row(name: str, taken: list[tuple[float, float]]) -> Row:
    own = [total - git for total, git in taken]
    return Row(
        name=name,
        direct=f"{seconds([git for _, git in taken])} git",
        ours=f"{seconds([total for total, _ in taken])} in all",
        measured=statistics.median(own),
        unit="s its own",
        at_most=MOST_SECONDS,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    show(measure(parser.parse_args().rounds))


if __name__ == "__main__":
    main()
