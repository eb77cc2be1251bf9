from __future__ import annotations

import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from agent_runner import mirror_request
from agent_runner.deadline import Deadline
from agent_runner.failure import StepCancelled
from agent_runner.gateway_address import GatewayAddress
from agent_runner.mirror_request import MirrorRequest, NoMirrorError
from agent_runner.stop import StopRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "g-0123456789abcdef"
REFS = {"refs/heads/main": "1" * 40}


class Gateway(HTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[Any] = []
        self.asked: list[tuple[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.asked.append((self.path, json.loads(body)))
        answers = self.server.answers
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def stop() -> Iterator[StopRequest]:
    stop = StopRequest()
    yield stop
    stop.close()


@pytest.fixture
def request_(gateway: Gateway, stop: StopRequest, tmp_path: Path) -> MirrorRequest:
    (tmp_path / "url").write_text(f"http://127.0.0.1:{gateway.server_port}/nonce")
    (tmp_path / "mirror" / NAME / "objects").mkdir(parents=True)
    return MirrorRequest(tmp_path / "mirror", GatewayAddress(tmp_path / "url", stop), REFS)


def test_ready_after_a_while(
    gateway: Gateway, request_: MirrorRequest, stop: StopRequest, tmp_path: Path
) -> None:
    gateway.answers = [{"state": "waiting"}, {"state": "ready", "generation": NAME, "warning": ""}]
    mirror = request_.wait(Deadline.after(10), stop)
    assert mirror.objects == tmp_path / "mirror" / NAME / "objects"
    assert gateway.asked == [("/nonce/mirror", {"refs": REFS})] * 2


def test_progress_is_said(
    gateway: Gateway,
    request_: MirrorRequest,
    stop: StopRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(mirror_request, "_PROGRESS_SECONDS", -1.0)
    gateway.answers = [{"state": "waiting"}, {"state": "ready", "generation": NAME, "warning": "old"}]
    request_.wait(Deadline.after(10), stop)
    assert capsys.readouterr().out.splitlines() == [
        "checkout: waiting for the mirror, 0 s so far",
        "checkout: the mirror is not fresh, which takes longer: old",
    ]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"state": "unavailable", "reason": "the claim\nis full"}, "^the claim is full$"),
        ({"state": "ready", "generation": "../elsewhere"}, "does not see"),
        ({"state": "ready", "generation": "g-ffffffffffffffff"}, "does not see"),
        ({"state": "ready"}, "does not see"),
        ({}, "does not say why"),
        ([], "of another form"),
        (b"not found\n", "did not answer: JSONDecodeError"),
    ],
)
def test_no_mirror(
    gateway: Gateway, request_: MirrorRequest, stop: StopRequest, answer: Any, words: str
) -> None:
    gateway.answers = [answer]
    with pytest.raises(NoMirrorError, match=words):
        request_.wait(Deadline.after(10), stop)


def test_the_wait_ends(gateway: Gateway, request_: MirrorRequest, stop: StopRequest) -> None:
    gateway.answers = [{"state": "waiting"}]
    with pytest.raises(NoMirrorError, match="not ready after 0 s"):
        request_.wait(Deadline.after(0.1), stop)


def test_a_stop_ends_it(gateway: Gateway, request_: MirrorRequest, stop: StopRequest) -> None:
    gateway.answers = [{"state": "waiting"}]
    stop.request(signal.SIGTERM)
    with pytest.raises(StepCancelled):
        request_.wait(Deadline.after(10), stop)


def test_no_gateway(stop: StopRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "url").write_text("http://127.0.0.1:1/nonce")
    request = MirrorRequest(tmp_path, GatewayAddress(tmp_path / "url", stop), REFS)
    with pytest.raises(NoMirrorError, match="ConnectionRefusedError"):
        request.wait(Deadline.after(10), stop)
    request.suspect()
    assert "the gateway was not told" in capsys.readouterr().out


def test_suspicion(gateway: Gateway, request_: MirrorRequest) -> None:
    gateway.answers = [{"state": "accepted"}]
    request_.suspect()
    assert gateway.asked == [("/nonce/mirror/suspect", {"refs": REFS})]
