"""How the demo was asked for, and whether that may be done on this machine."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Model = Literal["scripted", "real"]
Sandbox = Literal["none", "bubblewrap"]


class OptionsError(ValueError):
    """The demo cannot be run as asked; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to do."""

    model: Model = "scripted"
    keep: bool = False
    """Leave everything running after the run, until Ctrl-C."""
    sandbox: Sandbox = "none"
    anthropic_api_key: str = field(default="", repr=False)


def read_options(
    arguments: Sequence[str], environment: Mapping[str, str], sandbox_fault: Callable[[], str | None]
) -> Options:
    """Read the command line, and for what it leaves open the environment, as ``make demo`` sets it.

    :param arguments: command line without the program.
    :param environment: ``KEEP``, ``MODEL``, ``UNSANDBOXED``, ``ANTHROPIC_API_KEY``.
    :param sandbox_fault: says why bubblewrap cannot be used here, ``None`` if it can; asked only if needed.
    :raise OptionsError: the real model was asked for, and something that it needs is missing.
    """
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Take the sample repository's issue to a merged pull request: a real Airflow and the real "
        "agent program, with stand-ins for GitHub, the model and Kubernetes on this machine.",
    )
    parser.add_argument(
        "--model",
        choices=("scripted", "real"),
        default=environment.get("MODEL") or "scripted",
        help="real: Anthropic's API; costs money",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        default=environment.get("KEEP", "") not in ("", "0"),
        help="leave everything running afterwards, until Ctrl-C",
    )
    asked = parser.parse_args(arguments)
    if asked.model not in ("scripted", "real"):
        raise OptionsError(f"MODEL={asked.model}: write MODEL=scripted or MODEL=real.")
    if asked.model == "scripted":
        return Options(keep=asked.keep)
    key = environment.get("ANTHROPIC_API_KEY", "").strip()
    if not key:
        raise OptionsError(
            "MODEL=real needs a key of Anthropic's API in the environment variable ANTHROPIC_API_KEY."
        )
    if environment.get("UNSANDBOXED") == "1":
        sandbox: Sandbox = "none"
    elif fault := sandbox_fault():
        raise OptionsError(
            "MODEL=real puts your key into a process of this machine, and processes of one user can read each "
            f"other's environment. So the agent is run under bubblewrap, which cannot be used here: {fault}.\n"
            "Set it up, or accept that the agent could read the key: make demo MODEL=real UNSANDBOXED=1"
        )
    else:
        sandbox = "bubblewrap"
    return Options(model="real", keep=asked.keep, sandbox=sandbox, anthropic_api_key=key)


def bubblewrap_fault() -> str | None:
    """Say why bubblewrap cannot be used on this machine, ``None`` if it can."""
    from airflow_provider_agents.local.sandbox import BubblewrapSandbox, SandboxUnavailableError

    try:
        BubblewrapSandbox(hidden=(), readable=())
    except SandboxUnavailableError as error:
        return str(error)
    return None
