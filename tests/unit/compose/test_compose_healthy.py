"""``deploy/compose/healthy.py``: what counts as healthy."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "compose" / "healthy.py"


def check(body: bytes, *, component: str = "scheduler", status: int = 200) -> tuple[int, str]:
    """Run the script against a server with one answer."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/api/v2/monitor/health" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        done = run(component, f"http://127.0.0.1:{server.server_address[1]}/")
        thread.join()
    return done


def run(*arguments: str) -> tuple[int, str]:
    # A proxy of the machine must not come between the services.
    env = {"http_proxy": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-I", "-S", SCRIPT, *arguments],
        capture_output=True,
        text=True,
        timeout=20,
        env=env,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("state", "code"),
    [("healthy", 0), ("unhealthy", 1), (None, 1)],
    ids=["healthy", "unhealthy", "never seen"],
)
def test_the_state_decides(state: str | None, code: int):
    answer = {"scheduler": {"status": state}, "triggerer": {"status": "healthy"}}
    assert check(json.dumps(answer).encode()) == (code, f"scheduler: {state}\n")


@pytest.mark.parametrize(
    "answer", [b'{"metadatabase": {"status": "healthy"}}', b'{"scheduler": null}', b"{}"]
)
def test_a_component_that_is_not_named_is_not_healthy(answer: bytes):
    assert check(answer)[0] == 1


@pytest.mark.parametrize(("body", "status"), [(b"<html>", 200), (b"", 200), (b"{}", 503)])
def test_no_answer_is_not_healthy(body: bytes, status: int):
    code, said = check(body, status=status)
    assert code == 1
    assert said.startswith("the api-server does not answer")


def test_no_server_is_not_healthy():
    assert run("scheduler", "http://127.0.0.1:1")[0] == 1
