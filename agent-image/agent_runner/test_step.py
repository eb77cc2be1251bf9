"""The ``test`` step: the repository's own test command, and its exit code as the verdict. No model."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from agent_runner.agent_step import git_config
from agent_runner.console import output_line, plain, say, say_output
from agent_runner.contract import Outcome, StepSpec, TestRun
from agent_runner.detect_tests import detect_tests
from agent_runner.failure import StepCancelled, failed
from agent_runner.files import write_fresh
from agent_runner.process import LineSplitter, Supervision, Tail, run_process

if TYPE_CHECKING:
    from agent_runner.checkout import Checkout
    from agent_runner.draft import Draft
    from agent_runner.environment import Environment

TAIL_BYTES = 16 * 1024
"""How much of the output is kept for the next attempt."""
_MAX_LINE_BYTES = 64 * 1024
_COMMAND_NOT_FOUND = 127
_NOT_EXECUTABLE = 126


def run_test_step(
    spec: StepSpec, environment: Environment, supervision: Supervision, checkout: Checkout, draft: Draft
) -> Outcome:
    """Run the tests.

    :param draft: gets the command, its exit code and the end of its output.
    :raises StepFailed: the tests failed, were not found, or took too long.
    """
    draft.head_sha = checkout.start_sha
    write_fresh(environment.git_config, git_config(environment, lfs=checkout.lfs))
    variables = {**environment.program(), "CI": "1"}
    command = (spec.test_command or "").strip() or detect_tests(
        checkout.path, lambda: _has_pytest(variables, supervision, checkout)
    )
    if command is None:
        raise failed("no_test_command", "No test command is set, and the repository's files do not tell one.")
    say(f"tests: {command}")
    exit_code, tail, cause = _run(command, variables, supervision, checkout)
    draft.test = TestRun(command=command, exit_code=exit_code, tail=tail)
    if cause == "stopped" and supervision.stop.received is not None:
        raise StepCancelled(supervision.stop.received)
    if cause == "deadline":
        raise failed("test_timeout", f"The tests were stopped: the step may take {spec.limits.seconds} s.")
    say(f"tests: exit code {exit_code}")
    if exit_code == 0:
        return "succeeded"
    if exit_code in (_COMMAND_NOT_FOUND, _NOT_EXECUTABLE):
        raise failed(
            "test_command_not_found",
            f"The test command could not be run (exit code {exit_code}): {output_line(tail[-300:])}",
        )
    raise failed("tests_failed", f"The tests failed with exit code {exit_code}.")


def _run(
    command: str, variables: dict[str, str], supervision: Supervision, checkout: Checkout
) -> tuple[int, str, str]:
    lines = LineSplitter(_MAX_LINE_BYTES)
    # Terminal escapes are taken out of the tail later, so that more is kept at first.
    tail = Tail(2 * TAIL_BYTES)

    def on_output(chunk: bytes) -> None:
        tail.feed(chunk)
        for line in lines.feed(chunk):
            say_output(line.decode(errors="replace"))

    shell = "bash" if shutil.which("bash", path=variables["PATH"]) else "sh"
    ended = run_process(
        [shell, "-c", command],
        cwd=checkout.path,
        env=variables,
        supervision=supervision,
        on_output=on_output,
    )
    for line in lines.flush():
        say_output(line.decode(errors="replace"))
    # A shell reports a killed command in the same way.
    exit_code = ended.returncode if ended.returncode >= 0 else 128 - ended.returncode
    kept = plain(tail.text()).encode()[-TAIL_BYTES:].decode(errors="ignore")
    return exit_code, kept, ended.cause


def _has_pytest(variables: dict[str, str], supervision: Supervision, checkout: Checkout) -> bool:
    ended = run_process(
        ["sh", "-c", "exec python -c 'import pytest'"],
        cwd=checkout.path,
        env=variables,
        supervision=supervision,
        on_output=lambda _: None,
    )
    return ended.returncode == 0
