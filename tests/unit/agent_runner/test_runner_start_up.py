from __future__ import annotations

import re
import subprocess
import sys
import time

import pytest

from agent_runner import start_up
from agent_runner.start_up import StartUp, process_seconds


def test_phases_follow_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter((100.0, 100.25, 101.0))
    monkeypatch.setattr(start_up.time, "monotonic", lambda: next(moments))
    monkeypatch.setattr(start_up, "process_seconds", lambda: 0.125)
    phases = StartUp()
    phases.reached("gateway")
    phases.reached("checkout")
    assert phases.phases == {"runner": 0.125, "gateway": 0.25, "checkout": 0.75}
    assert phases.line() == "start-up: runner 0.12 s, gateway 0.25 s, checkout 0.75 s"


def test_a_phase_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second start of the agent program says nothing about the start of the step."""
    moments = iter((100.0, 101.0, 160.0))
    monkeypatch.setattr(start_up.time, "monotonic", lambda: next(moments))
    phases = StartUp()
    phases.reached("agent")
    phases.reached("agent")
    assert phases.phases["agent"] == 1.0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")
def test_the_age_of_the_process_has_the_interpreter_in_it() -> None:
    begun = time.monotonic()
    code = "import time; time.sleep(0.3); from agent_runner.start_up import process_seconds as p; print(p())"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    assert 0.28 <= float(done.stdout) <= time.monotonic() - begun + 0.02


def test_a_system_that_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> str:
        raise FileNotFoundError("/proc/self/stat")

    monkeypatch.setattr(start_up.Path, "read_text", missing)
    assert process_seconds() == 0.0
    assert re.fullmatch(r"start-up: runner 0\.00 s", StartUp().line())
