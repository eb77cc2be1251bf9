"""``python -m demo.model`` as a process."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
COMMAND = [sys.executable, "-m", "demo.model"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_when_it_is_ready_and_ends_when_told(tmp_path: Path, number: signal.Signals) -> None:
    ready = tmp_path / "ready.json"
    with subprocess.Popen([*COMMAND, "--ready-file", str(ready)], cwd=ROOT) as process:
        try:
            deadline = time.monotonic() + 30
            while not ready.exists():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            url = json.loads(ready.read_text())["url"]
            with urllib.request.urlopen(f"{url}/_demo/requests", timeout=10) as answer:
                assert json.load(answer) == {"count": 0, "requests": []}
            assert list(tmp_path.iterdir()) == [ready]
            process.send_signal(number)
            assert process.wait(timeout=10) == 0
        finally:
            process.kill()


def refused(*arguments: str) -> str:
    done = subprocess.run(
        [*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    return done.stderr


def test_a_bad_script_is_said_in_a_line(tmp_path: Path) -> None:
    script = tmp_path / "bad.yaml"
    script.write_text("scenes: 3")
    said = refused("--ready-file", str(tmp_path / "ready"), "--script", str(script))
    assert said == f"stand-in model: {script}: scenes: a list with at least one entry is needed\n"


def test_a_taken_port_is_said_in_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = refused("--ready-file", str(tmp_path / "ready"), "--port", str(taken.getsockname()[1]))
    assert "address already in use" in said
    assert list(tmp_path.iterdir()) == []
