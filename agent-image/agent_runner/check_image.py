"""``agent-runner check-image``: the contract test for an image that is to run agents.

It is run in the image, as a pod would run it: without root, without a writable root folder, without network.
Each thing that a step relies on is one line of the report, and each fault has its remedy.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
from typing import TYPE_CHECKING

from agent_runner import __version__
from agent_runner.check_image_place import place_checks
from agent_runner.check_image_programs import PRESET_PROGRAMS, program_checks, runner_checks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from agent_runner.check_image_report import Check

REPORT_VERSION = 1

_OPTIONAL = ("claude", "codex")


def main(arguments: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> int:
    """Check the image that this runs in, and print what was found.

    :param arguments: the command line after ``check-image``.
    :param variables: the environment; that of the process if not given.
    :return: 0 for an image that steps can run in, 1 for one with a fault, 64 for a wrong command line.
    """
    try:
        options = _parser().parse_args(list(arguments))
    except SystemExit as error:
        return 64 if error.code else 0
    variables = os.environ if variables is None else variables
    checks = [
        *runner_checks(variables),
        *program_checks(variables, preset=options.preset, without=options.without or ()),
        *place_checks(variables),
    ]
    print(_as_json(checks) if options.json else _as_table(checks))  # noqa: T201 - a command line
    return int(any(check.state == "fault" for check in checks))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="agent-runner check-image",
        description="Check that agents' steps can run in this image. Exit code 0: they can; 1: see the faults.",
    )
    parser.add_argument(
        "--preset", choices=PRESET_PROGRAMS, help="require the toolchains of this preset as well"
    )
    parser.add_argument(
        "--without", action="append", choices=_OPTIONAL, metavar="PROGRAM",
        help="an agent program that the image leaves out on purpose: claude or codex",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


def _as_json(checks: Sequence[Check]) -> str:
    ok = not any(check.state == "fault" for check in checks)
    report = {
        "version": REPORT_VERSION,
        "runner": __version__,
        "ok": ok,
        "checks": [dataclasses.asdict(check) for check in checks],
    }
    return json.dumps(report, indent=2)


def _as_table(checks: Sequence[Check]) -> str:
    return "\n".join([*_lines(checks), "", _verdict(checks)])


def _lines(checks: Sequence[Check]) -> Iterator[str]:
    width = max(len(check.name) for check in checks)
    for check in checks:
        yield f"{check.state:<7}  {check.name:<{width}}  {check.found}"
        if check.remedy:
            yield f"{'':<7}  {'':<{width}}  → {check.remedy}"


def _verdict(checks: Sequence[Check]) -> str:
    states = [check.state for check in checks]
    faults, warnings = states.count("fault"), states.count("warning")
    if faults:
        return f"Steps cannot run in this image: {faults} fault(s), {warnings} warning(s)."
    return f"Steps can run in this image: no fault, {warnings} warning(s)."
