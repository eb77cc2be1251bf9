"""One child process: how it is stopped, and that nothing of it stays."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pod import wait_for

from agent_runner import process
from agent_runner.deadline import Deadline
from agent_runner.failure import StepCancelled
from agent_runner.process import Ended, Supervision, run_process
from agent_runner.reaper import Reaper
from agent_runner.stop import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

READY = "echo ready; "
WAIT = "while :; do sleep 0.02; done"


@pytest.fixture
def supervision() -> Iterator[Supervision]:
    stop = StopRequest()
    yield Supervision(stop=stop, reaper=Reaper(), deadline=Deadline.after(30))
    stop.close()


@pytest.fixture(autouse=True)
def _short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INTERRUPT_GRACE_SECONDS", "TERM_GRACE_SECONDS", "STOP_GRACE_SECONDS"):
        monkeypatch.setattr(process, name, 0.3)
    monkeypatch.setattr(process, "STOP_INTERRUPT_GRACE_SECONDS", 0.3)


def shell(supervision: Supervision, script: str, **options: Any) -> tuple[Ended, str]:
    """Run a script, and return how it ended and what it wrote."""
    output = bytearray()
    ended = run_process(
        ["/bin/sh", "-c", script],
        cwd=Path("/"),
        env={"PATH": os.environ["PATH"]},
        supervision=supervision,
        on_output=output.extend,
        **options,
    )
    return ended, output.decode()


def test_its_own_end(supervision: Supervision) -> None:
    assert shell(supervision, "echo out; echo err >&2; exit 3") == (Ended(3, "exit"), "out\nerr\n")


def test_standard_input_is_the_prompt_and_then_ends(supervision: Supervision) -> None:
    prompt = b"x" * 1_000_000
    assert shell(supervision, "cat | wc -c; cat | wc -c", stdin=prompt)[1].split() == ["1000000", "0"]
    assert shell(supervision, "cat")[1] == ""


@pytest.mark.parametrize(
    ("traps", "interrupt", "signal_name", "said"),
    [
        ("", False, "SIGTERM", ""),
        ("", True, "SIGINT", ""),
        ("trap 'echo term; exit 5' TERM;", False, None, "term\n"),
        ("trap 'echo int; exit 5' INT;", True, None, "int\n"),
        ("trap '' INT;", True, "SIGTERM", ""),
        ("trap '' INT; trap 'echo term; exit 5' TERM;", True, None, "term\n"),
        ("trap '' INT TERM;", True, "SIGKILL", ""),
        ("trap '' TERM;", False, "SIGKILL", ""),
    ],
)
def test_signals_of_a_stop(
    supervision: Supervision, traps: str, interrupt: bool, signal_name: str | None, said: str
) -> None:
    seen = bytearray()
    ended = run_process(
        ["/bin/sh", "-c", traps + READY + WAIT],
        cwd=Path("/"),
        env={"PATH": os.environ["PATH"]},
        supervision=supervision,
        on_output=seen.extend,
        on_error=lambda _: None,
        halt=lambda: b"ready" in seen,
        interrupt=lambda: interrupt,
    )
    assert ended.cause == "halted"
    assert ended.signal_name == signal_name
    assert seen.decode() == "ready\n" + said


def test_a_stop_request_ends_it(supervision: Supervision) -> None:
    ended, _ = shell(
        supervision,
        READY + WAIT,
        halt=lambda: supervision.stop.request(signal.SIGTERM) or False,  # type: ignore[func-returns-value]
    )
    assert ended == Ended(-signal.SIGTERM, "stopped")
    with pytest.raises(StepCancelled):
        shell(supervision, "echo never")


@pytest.mark.parametrize(("own", "of_the_step"), [(0.2, 30), (30, 0.2)])
def test_the_earlier_limit_counts(own: float, of_the_step: float) -> None:
    stop = StopRequest()
    supervision = Supervision(stop=stop, reaper=Reaper(), deadline=Deadline.after(of_the_step))
    started = time.monotonic()
    ended, _ = shell(supervision, WAIT, deadline=Deadline.after(own))
    stop.close()
    assert ended.cause == "deadline"
    assert time.monotonic() - started < 5


def test_a_limit_that_is_over_still_ends_it() -> None:
    stop = StopRequest()
    supervision = Supervision(stop=stop, reaper=Reaper(), deadline=Deadline.after(-1))
    assert shell(supervision, WAIT)[0].cause == "deadline"
    stop.close()


def test_silence(supervision: Supervision) -> None:
    asked = iter([30.0, *[0.1] * 10_000])
    assert shell(supervision, READY + WAIT, idle_seconds=lambda: next(asked))[0].cause == "idle"


def test_what_it_left_in_its_group_is_gone(supervision: Supervision) -> None:
    ended, output = shell(supervision, "sleep 600 & echo $!")
    assert ended == Ended(0, "exit")
    stat = Path(f"/proc/{output.strip()}/stat")
    wait_for(lambda: not stat.exists() or b") Z" in stat.read_bytes())


def test_a_fault_of_the_reader_leaves_no_process(supervision: Supervision) -> None:
    pids: list[int] = []

    def broken(chunk: bytes) -> None:
        pids.append(int(chunk))
        raise ValueError("as scripted")

    with pytest.raises(ValueError, match="as scripted"):
        run_process(
            ["/bin/sh", "-c", f"echo $$; {WAIT}"],
            cwd=Path("/"),
            env={"PATH": os.environ["PATH"]},
            supervision=supervision,
            on_output=broken,
        )
    assert not Path(f"/proc/{pids[0]}").exists()
