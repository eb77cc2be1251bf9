"""``agent-runner run``: one step of the pipeline, from its specification to its result."""

from __future__ import annotations

import dataclasses
import errno
import os
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runner import console
from agent_runner.agent_step import run_agent_step
from agent_runner.checkout import prepare
from agent_runner.contract import (
    ENV_TERMINATION_LOG,
    ContractError,
    Failure,
    Outcome,
    StepResult,
    StepSpec,
    TerminationMessage,
    failure,
)
from agent_runner.deadline import Deadline
from agent_runner.draft import Draft
from agent_runner.environment import Environment
from agent_runner.failure import StepCancelled, StepFailed, failed
from agent_runner.gateway_address import GatewayAddress
from agent_runner.git import Git
from agent_runner.lfs import use_lfs
from agent_runner.package_caches import open_caches
from agent_runner.process import Supervision
from agent_runner.reaper import Reaper
from agent_runner.set_up import set_up
from agent_runner.stop import StopRequest
from agent_runner.test_step import run_test_step

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_RESULT = 0
"""A result was written, whatever it says."""
EXIT_NO_RESULT = 70
_SETUP_SECONDS = 60.0


def main() -> int:
    """Run the step that the environment describes; return 0 where a result was written, else 70."""
    stop = StopRequest()
    stop.install()
    reaper = Reaper()
    reaper.adopt()
    console.configure()
    draft = Draft()
    try:
        result = run(os.environ, stop, reaper, draft)
        return _deliver(result, os.environ)
    except Exception as error:
        # What could not be written as a result may be in the draft; a bare one says so at least.
        _show_traceback()
        try:
            return _deliver(Draft(draft.started).finish("failed", _unexpected(error)), os.environ)
        except Exception:
            _show_traceback()
            return EXIT_NO_RESULT


def run(variables: Mapping[str, str], stop: StopRequest, reaper: Reaper, draft: Draft) -> StepResult:
    """Run one step and return its result; every failure of the step is in the result.

    :param variables: the container's environment.
    :param draft: filled in on the way.
    """
    try:
        return draft.finish(_step(variables, stop, reaper, draft))
    except StepCancelled as cancelled:
        console.say(f"stopped: {cancelled}")
        return draft.finish("cancelled", cancelled.failure)
    except StepFailed as stopped:
        why = stopped.failure
        console.say(f"failed: {why.category}/{why.code}: {why.message} {why.remedy}")
        return draft.finish("failed", why)
    except Exception as error:
        _show_traceback()
        return draft.finish("failed", _unexpected(error))


def _step(variables: Mapping[str, str], stop: StopRequest, reaper: Reaper, draft: Draft) -> Outcome:
    environment = Environment.read(variables)
    spec = _read_spec(environment.spec_file)
    console.say(f"step {spec.step} of {spec.repository}, {spec.work_branch} on {spec.base_branch}")
    deadline = Deadline(draft.started + spec.limits.seconds)
    supervision = Supervision(stop=stop, reaper=reaper, deadline=deadline)
    for folder in (environment.home, environment.workspace, environment.temporary):
        folder.mkdir(parents=True, exist_ok=True)
    gateway = GatewayAddress(environment.gateway_url_file, stop)
    gateway.wait(deadline, _SETUP_SECONDS)
    draft.start_up.reached("gateway")
    git = Git(environment, supervision, gateway, spec.repository)
    checkout = prepare(git, spec)
    draft.base_sha, draft.head_sha = checkout.base_sha, checkout.start_sha
    checkout = dataclasses.replace(checkout, lfs=use_lfs(git, console.say, content=spec.lfs))
    if spec.submodules and (checkout.path / ".gitmodules").is_file():
        from agent_runner.submodules import checkout_submodules

        checkout_submodules(git, gateway.refresh(), console.say)
    draft.start_up.reached("checkout")
    # The locks on what the step uses of the cache are held to its end.
    with open_caches(spec, environment, checkout.path, stop) as caches:
        environment = dataclasses.replace(environment, added=caches.variables)
        environment = set_up(spec, environment, supervision, git, checkout, caches)
        draft.start_up.reached("set-up")
        if spec.step == "test":
            console.say(draft.start_up.line())
            return run_test_step(spec, environment, supervision, checkout, draft)
        return run_agent_step(spec, environment, supervision, gateway, git, checkout, draft)


def _read_spec(file: Path) -> StepSpec:
    try:
        return StepSpec.from_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise failed("spec_unreadable", f"The step's specification cannot be read: {error}.") from error
    except ContractError as error:
        raise failed("spec_invalid", str(error)) from error


def _deliver(result: StepResult, variables: Mapping[str, str]) -> int:
    """Write the termination message, then the marked line.

    The message goes first: it is what control flow reads, and time may be short.
    """
    message = TerminationMessage.of(result).to_json()
    delivered = False
    path = variables.get(ENV_TERMINATION_LOG)
    if path:
        try:
            # In place: the file may be a mount, which nothing can be renamed over.
            Path(path).write_text(message, encoding="utf-8")
            delivered = True
        except OSError as error:
            console.say(f"the termination message cannot be written: {error}")
    try:
        console.announce(result)
        delivered = delivered or not path
    except OSError:
        console.discard()
    return EXIT_RESULT if delivered else EXIT_NO_RESULT


def _unexpected(error: Exception) -> Failure:
    """Return the failure for an exception that no part of the runner foresaw."""
    message = console.one_line(f"{type(error).__name__}: {error}", 800)
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return failure("disk_full", message)
    if isinstance(error, MemoryError):
        return failure("out_of_memory", message)
    return failure("runner_error", message)


def _show_traceback() -> None:
    for line in traceback.format_exc().splitlines()[-30:]:
        console.say_output(line)
