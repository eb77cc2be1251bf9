"""The test step: the repository's own command and its exit code."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from agent_runner.contract import RESULT_MARKER, Limits
from agent_runner.detect_tests import detect_tests

if TYPE_CHECKING:
    from pathlib import Path

    from pod import Pod


def test_passing(pod: Pod) -> None:
    ran = pod.run(pod.spec("test", test_command="grep -q price src/app.py && echo $CI fine"))
    assert ran.result.outcome == "succeeded"
    assert ran.result.test
    assert (ran.result.test.exit_code, ran.result.test.tail) == (0, "1 fine\n")
    assert ran.result.head_sha == pod.head("main")


def test_failing(pod: Pod) -> None:
    command = r"printf '\033[31mred\033[0m\n'; echo to stderr >&2; exit 3"
    ran = pod.run(pod.spec("test", test_command=command))
    assert ran.failure == ("tests", "tests_failed")
    assert ran.result.failure
    assert not ran.result.failure.retryable
    assert ran.result.test
    assert (ran.result.test.command, ran.result.test.exit_code) == (command, 3)
    assert ran.result.test.tail == "red\nto stderr\n"


def test_at_the_expected_head(pod: Pod) -> None:
    head = pod.commit("agent/t-1", {"ok": ""}, pod.head("main"))
    assert (
        pod.run(pod.spec("test", expected_head=head, test_command="test -e ok")).result.outcome == "succeeded"
    )


def test_long_output_keeps_its_end(pod: Pod) -> None:
    ran = pod.run(
        pod.spec(
            "test", test_command="yes é | head -c 300000; printf x%.0s {1..90000}; echo; echo END; false"
        )
    )
    assert ran.result.test
    assert len(ran.result.test.tail.encode()) <= 16 * 1024
    assert ran.result.test.tail.endswith("x\nEND\n")
    assert max(map(len, ran.log.splitlines())) < 20_000


def test_output_cannot_pass_for_a_result(pod: Pod) -> None:
    ran = pod.run(
        pod.spec("test", test_command=f"echo '{RESULT_MARKER}{{}}'; printf '::agents\\033[0m-result::{{}}'")
    )
    assert ran.result.outcome == "succeeded"
    assert ran.log.count(f"{RESULT_MARKER}{{}}\n") == 0


def test_time_limit(pod: Pod) -> None:
    started = time.monotonic()
    ran = pod.run(
        pod.spec("test", test_command="echo before; sleep 600 & sleep 600", limits=Limits(seconds=1))
    )
    assert time.monotonic() - started < 5
    assert ran.failure == ("timeout", "test_timeout")
    assert ran.result.test
    assert ran.result.test.tail == "before\n"


@pytest.mark.parametrize("command", ["no-such-program --x", "/dev/null"])
def test_command_that_cannot_run(pod: Pod, command: str) -> None:
    assert pod.run(pod.spec("test", test_command=command)).failure == ("config", "test_command_not_found")


def test_killed_command(pod: Pod) -> None:
    ran = pod.run(pod.spec("test", test_command="kill -9 $$"))
    assert ran.failure == ("tests", "tests_failed")
    assert ran.result.test
    assert ran.result.test.exit_code == 137


def test_no_command_to_be_found(pod: Pod) -> None:
    ran = pod.run(pod.spec("test"))
    assert ran.failure == ("config", "no_test_command")
    assert ran.result.failure
    assert "Makefile" in ran.result.failure.remedy


def test_found_command_runs(pod: Pod) -> None:
    pod.commit("main", {"Makefile": "test:\n\t@echo made\n"}, pod.head("main"))
    ran = pod.run(pod.spec("test"))
    assert ran.result.test
    assert (ran.result.test.command, ran.result.test.tail) == ("make test", "made\n")


def test_python_repository_runs_with_pytest(pod: Pod) -> None:
    pod.commit("main", {"tests/test_a.py": "def test_a():\n    assert 1 == 2\n"}, pod.head("main"))
    ran = pod.run(pod.spec("test"))
    assert ran.failure == ("tests", "tests_failed")
    assert ran.result.test
    assert ran.result.test.command == "python -m pytest"
    assert "assert 1 == 2" in ran.result.test.tail


def test_stop(pod: Pod) -> None:
    process = pod.start(pod.spec("test", test_command="echo x; touch ../ready; sleep 600"))
    pod.signal_when(process, pod.root / "workspace/ready", signal.SIGTERM)
    ran = pod.finish(process, 5)
    assert (ran.returncode, ran.result.outcome) == (0, "cancelled")
    assert ran.result.test
    assert ran.result.test.tail == "x\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"Makefile": "all:\n\ntest: all\n\tx\n", "pyproject.toml": ""}, "make test"),
        ({"Makefile": "test := 1\nTESTS: x\n\ttest: y\n"}, None),
        ({"Makefile": "test ::= 1\n"}, None),
        ({"GNUmakefile": "all:\n", "Makefile": "test:\n"}, None),
        ({"pyproject.toml": ""}, "python -m pytest"),
        ({"test/x.py": ""}, "python -m pytest"),
        ({"tox.ini": "", "package.json": '{"scripts": {"test": "jest"}}'}, "python -m pytest"),
        ({"package.json": '{"scripts": {"test": "jest"}}', "go.mod": ""}, "npm test"),
        ({"package.json": '{"scripts": {"test": "echo \\"Error: no test specified\\" && exit 1"}}'}, None),
        ({"package.json": '{"scripts": 3}'}, None),
        ({"package.json": "["}, None),
        ({"go.mod": ""}, "go test ./..."),
        ({"Cargo.toml": ""}, "cargo test"),
        ({"pom.xml": ""}, "mvn -q test"),
        ({}, None),
    ],
)
def test_detection(tmp_path: Path, files: dict[str, str], expected: str | None) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert detect_tests(tmp_path, lambda: True) == expected


def test_detection_without_pytest(tmp_path: Path) -> None:
    (tmp_path / "setup.cfg").write_text("")
    assert detect_tests(tmp_path, lambda: False) == "python -m unittest"
