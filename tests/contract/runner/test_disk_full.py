"""Disks that fill up, each where the runner writes: the step always leaves a result that says so."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_runner.contract import TerminationMessage

if TYPE_CHECKING:
    from pod import Pod, Ran

WORK = "agent/t-1"
FILL = """
def fill(folder):
    for size in (65536, 4096, 1):
        try:
            with open(folder + "/fill", "ab", buffering=0) as file:
                for _ in range(100_000):
                    file.write(b"x" * size)
        except OSError:
            pass
"""
UNSHARE = shutil.which("unshare")


@pytest.fixture(scope="module", autouse=True)
def _mounts() -> None:
    probe = 'd=$(mktemp -d) && mount -t tmpfs -o size=1m none "$d"'
    if UNSHARE is None or subprocess.run([UNSHARE, "-m", "sh", "-c", probe], check=False).returncode:
        pytest.skip("file systems cannot be mounted here")


def run(pod: Pod, folder: Path, *, size: str = "1m", then: str = "", step: str = "implement") -> Ran:
    """Run a step with ``folder`` on a small disk of its own."""
    script = f'mount -t tmpfs -o size={size} none "$0" && {then or "true"} && exec "$@"'
    launcher = (str(UNSHARE), "-m", "sh", "-c", script, str(folder))
    ran = pod.finish(pod.start(pod.spec(step, session_key="build"), launcher))
    assert ran.returncode == 0
    return ran


def test_in_a_commit(pod: Pod) -> None:
    pod.claude(FILL + "write('a', 'x' * 9000); fill('..'); result()")
    ran = run(pod, pod.root / "workspace")
    assert ran.failure == ("storage", "disk_full"), ran.log
    assert ran.result.failure
    assert ran.result.failure.retryable
    assert ran.result.cost_usd == 0.5


def test_in_the_commit_of_unfinished_work(pod: Pod) -> None:
    """The reason why the agent failed is not hidden by it."""
    pod.claude(FILL + "write('a', 'x' * 9000); fill('..'); sys.exit(1)")
    ran = run(pod, pod.root / "workspace")
    assert ran.failure == ("agent", "agent_crashed"), ran.log
    assert "was not published" in ran.result.summary


def test_in_the_checkout(pod: Pod) -> None:
    pod.claude()
    ran = run(pod, pod.root / "workspace", size="16k")
    assert ran.failure == ("storage", "disk_full"), ran.log
    assert pod.calls() == []


def test_where_the_agents_files_go(pod: Pod) -> None:
    pod.claude()
    ran = run(pod, pod.root / "home", size="64k", then='{ cat /dev/zero > "$0/fill" 2> /dev/null || true; }')
    assert ran.failure == ("storage", "disk_full"), ran.log


def test_where_the_session_is_kept(pod: Pod) -> None:
    """The agent filled its home while it worked: what it did is published all the same."""
    pod.claude(FILL + "commit('a', '1'); fill(os.environ['HOME']); session = session[:-1] + 'f'\nresult()")
    ran = run(pod, pod.root / "home")
    assert ran.result.outcome == "succeeded", ran.log
    assert ran.result.head_sha == pod.head(WORK)


def test_of_the_log(pod: Pod) -> None:
    """The termination message is on another disk than the log."""
    pod.claude("commit('a', '1'); result()")
    with Path("/dev/full").open("w") as full:
        process = pod.start(pod.spec(), stdout=full)
        assert process.wait(30) == 0
    message = TerminationMessage.from_json((pod.root / "termination").read_text())
    assert message.result.outcome == "succeeded"
    assert message.result.head_sha == pod.head(WORK)
