"""The runner as a program: it always leaves a result."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from agent_runner import run as runner
from agent_runner.contract import ENV_TERMINATION_LOG, Limits, TerminationMessage
from agent_runner.draft import Draft
from agent_runner.environment import Environment
from agent_runner.failure import StepFailed
from agent_runner.gateway_address import GatewayAddress
from agent_runner.stop import StopRequest

if TYPE_CHECKING:
    from pod import Pod


@pytest.mark.parametrize(
    ("spec", "code"),
    [("{", "spec_invalid"), ('{"step": "fly"}', "spec_invalid"), ('{"version": 2}', "spec_invalid")],
)
def test_bad_specification(pod: Pod, spec: str, code: str) -> None:
    assert pod.run(spec).failure == ("config", code)


def test_missing_specification(pod: Pod) -> None:
    pod.variables["AGENT_SPEC_FILE"] = "/nonexistent"
    assert pod.run("").failure == ("config", "spec_unreadable")


def test_incomplete_environment_names_every_fault(pod: Pod) -> None:
    pod.variables |= {"AGENT_WORKSPACE": "", "AGENT_HOME": ""}
    ran = pod.run(pod.spec())
    assert ran.failure == ("config", "environment")
    assert ran.result.failure
    for name in ("AGENT_WORKSPACE", "AGENT_HOME"):
        assert name in ran.result.failure.message


def test_gateway_that_never_comes(pod: Pod) -> None:
    (pod.root / "gateway-url").unlink()
    ran = pod.run(pod.spec(limits=Limits(seconds=1)))
    assert ran.failure == ("network", "gateway_missing")


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("http://127.0.0.1:8080/n-1\n", "http://127.0.0.1:8080/n-1"),
        ("http://127.0.0.1:8080/n-1/", "http://127.0.0.1:8080/n-1"),
        ("", ""),
        ("http://127.0.0.1:1/x\nhttp://evil", ""),
        ("https://evil.example/x", ""),
        ("http://127.0.0.1:80@evil.example/", ""),
        ("http://127.0.0.1:80/" + "x" * 5_000, ""),
    ],
)
def test_gateway_address_is_checked(tmp_path: Path, text: str, address: str) -> None:
    (tmp_path / "url").write_text(text)
    stop = StopRequest()
    assert GatewayAddress(tmp_path / "url", stop).refresh() == address
    stop.close()


def test_gateway_address_is_kept_while_its_file_is_away(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("http://127.0.0.1:1/x")
    stop = StopRequest()
    gateway = GatewayAddress(tmp_path / "url", stop)
    gateway.refresh()
    (tmp_path / "url").unlink()
    assert gateway.refresh() == "http://127.0.0.1:1/x"
    stop.close()


def test_gateway_that_comes_late(pod: Pod) -> None:
    file = pod.root / "gateway-url"
    address = file.read_text()
    file.unlink()
    timer = threading.Timer(0.5, file.write_text, [address])
    timer.start()
    assert pod.run(pod.spec("test", test_command="true")).result.outcome == "succeeded"
    timer.join()


def test_unforeseen_fault_is_a_result_with_its_traceback_in_the_log(pod: Pod) -> None:
    (pod.root / "workspace").rmdir()
    (pod.root / "workspace").write_text("a file")
    ran = pod.run(pod.spec())
    assert ran.failure == ("unknown", "runner_error")
    assert "Traceback" in ran.log
    assert "FileExistsError" in ran.log


def test_termination_message_is_written_in_place(pod: Pod) -> None:
    """It may be a mount of its own, which nothing can be renamed over."""
    (pod.root / "termination").write_text("")
    inode = (pod.root / "termination").stat().st_ino
    pod.run(pod.spec("test", test_command="true"))
    assert (pod.root / "termination").stat().st_ino == inode


def test_huge_result_still_fits_the_termination_message(pod: Pod) -> None:
    pod.claude(
        "for i in range(1500): write(f'many/{i:04}-' + 'n' * 60, 'x')\n"
        "result(result='ü' * 50_000, structured_output=dict(title='t' * 5000))"
    )
    ran = pod.run(pod.spec())
    assert ran.result.outcome == "succeeded"
    assert len(ran.result.files_changed) == 1_000
    assert len(ran.result.summary) == 20_000
    assert len((pod.root / "termination").read_bytes()) <= 4_096


def test_no_result_no_success(pod: Pod) -> None:
    pod.variables["AGENT_TERMINATION_LOG"] = "/nonexistent/termination"
    process = pod.start(pod.spec("test", test_command="true"))
    log, _ = process.communicate(timeout=20)
    assert process.returncode == 70
    assert "termination message cannot be written" in log


def test_result_that_cannot_be_written_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A fault after the step still ends in a result that says so."""
    whole = Draft.finish

    def broken(self: Draft, outcome: object, failure: object = None) -> object:
        result = whole(self, outcome, failure)  # type: ignore[arg-type]
        if getattr(failure, "code", "") != "runner_error":
            object.__setattr__(result, "output", {"x": float("nan")})
        return result

    monkeypatch.setattr(Draft, "finish", broken)
    monkeypatch.setattr(runner.Reaper, "adopt", lambda _: None)
    monkeypatch.setattr(runner.StopRequest, "install", lambda _: None)
    monkeypatch.setattr(runner.console, "configure", lambda: None)
    monkeypatch.setenv(ENV_TERMINATION_LOG, str(tmp_path / "message"))
    assert runner.main() == 0
    message = TerminationMessage.from_json((tmp_path / "message").read_text())
    assert message.result.failure
    assert message.result.failure.code == "runner_error"
    assert "Traceback" in capsys.readouterr().out


@pytest.mark.skipif(not hasattr(os, "unshare") and os.getuid() != 0, reason="needs a PID namespace")
def test_as_pid_1_it_reaps_and_stops(pod: Pod) -> None:
    """In a PID namespace of its own, as in a pod: orphans are collected, and SIGTERM is not ignored."""
    import shutil
    import subprocess

    unshare = shutil.which("unshare")
    probe = [unshare or "false", "--pid", "--fork", "--mount-proc", "true"]
    if subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("PID namespaces are not allowed here")
    pod.claude(
        """
        for _ in range(20):
            subprocess.run(["sh", "-c", "sleep 0.05 &"])
        time.sleep(0.6)
        zombies = [p for p in os.listdir("/proc") if p.isdigit() and ") Z 1 " in open(f"/proc/{p}/stat").read()]
        write("../zombies", repr(zombies)); write("../parent", str(os.getppid())); result()
        """
    )
    launcher = pod.root / "python"
    launcher.write_text(f'#!/bin/sh\nexec {unshare} --pid --fork --mount-proc {sys.executable} "$@"\n')
    launcher.chmod(0o755)
    (pod.root / "spec").write_text(pod.spec().to_json())
    original = sys.executable
    try:
        sys.executable = str(launcher)
        program = Path(pod.variables["AGENT_CLAUDE_PROGRAM"])
        program.write_text(program.read_text().replace(str(launcher), original))
        ran = pod.run(pod.spec())
    finally:
        sys.executable = original
    assert ran.result.outcome == "no_changes", ran.log
    assert (pod.root / "workspace/parent").read_text() == "1"
    assert (pod.root / "workspace/zombies").read_text() == "[]"


def test_environment_for_programs_holds_no_stranger(tmp_path: Path) -> None:
    variables = {
        "AGENT_SPEC_FILE": "a",
        "AGENT_GATEWAY_URL_FILE": "b",
        "AGENT_WORKSPACE": str(tmp_path),
        "AGENT_HOME": str(tmp_path),
        "GOPATH": "/go",
        "GOPATH_TOKEN": "x",
        "KUBERNETES_SERVICE_HOST": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
    }
    program = Environment.read(variables).program()
    assert program["GOPATH"] == "/go"
    assert "x" not in program.values()


def test_environment_fault() -> None:
    with pytest.raises(StepFailed, match="AGENT_SPEC_FILE is not set"):
        Environment.read({})
