"""How the demo was asked for, and whether that may be done on this machine."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from demo.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Model = Literal["scripted", "real"]
Sandbox = Literal["none", "bubblewrap"]
Agent = Literal["claude", "codex"]

TITLES: dict[Agent, str] = {"claude": "Claude Code", "codex": "Codex"}
_KEYS: dict[Agent, tuple[str, str]] = {
    "claude": ("ANTHROPIC_API_KEY", "Anthropic"),
    "codex": ("OPENAI_API_KEY", "OpenAI"),
}
"""Agent program → the variable with the key that it needs, and whose key it is."""


class OptionsError(ValueError):
    """The demo cannot be run as asked; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to do."""

    model: Model = "scripted"
    keep: bool = False
    """Leave everything running after the run, until Ctrl-C."""
    sandbox: Sandbox = "none"
    agent: Agent = "claude"
    scenario: str | None = None
    """Name of one of :data:`demo.scenarios.SCENARIOS`; ``None``: the plain story."""
    anthropic_api_key: str = field(default="", repr=False)
    openai_api_key: str = field(default="", repr=False)


def read_options(
    arguments: Sequence[str], environment: Mapping[str, str], sandbox_fault: Callable[[], str | None]
) -> Options:
    """Read the command line, and for what it leaves open the environment, as ``make demo`` sets it.

    :param arguments: command line without the program.
    :param environment: ``AGENT``, ``KEEP``, ``MODEL``, ``SCENARIO``, ``UNSANDBOXED``, ``ANTHROPIC_API_KEY``, ``OPENAI_API_KEY``.
    :param sandbox_fault: says why bubblewrap cannot be used here, ``None`` if it can; asked only if needed.
    :raise OptionsError: an option is none of its values, or something that the real model needs is missing.
    """
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Take the sample repository's issue to a merged pull request: a real Airflow and the real "
        "agent program, with stand-ins for GitHub, the model and Kubernetes on this machine.",
    )
    parser.add_argument(
        "--agent",
        default=environment.get("AGENT") or "claude",
        help="agent program: claude (default) or codex",
    )
    parser.add_argument(
        "--model",
        default=environment.get("MODEL") or "scripted",
        help="scripted (default), or real: the API of Anthropic, or of OpenAI for codex; costs money",
    )
    parser.add_argument(
        "--keep",
        action="store_true",
        default=environment.get("KEEP", "") not in ("", "0"),
        help="leave everything running afterwards, until Ctrl-C",
    )
    parser.add_argument(
        "--scenario",
        default=environment.get("SCENARIO") or None,
        help=f"one more turn in the story: {', '.join(SCENARIOS)}; for the scripted model and claude",
    )
    asked = parser.parse_args(arguments)
    if asked.agent not in TITLES:
        raise OptionsError(f"AGENT={asked.agent}: write {' or '.join(f'AGENT={name}' for name in TITLES)}.")
    if asked.model not in ("scripted", "real"):
        raise OptionsError(f"MODEL={asked.model}: write MODEL=scripted or MODEL=real.")
    if asked.scenario is not None:
        _check_scenario(asked)
    if asked.model == "scripted":
        return Options(agent=asked.agent, keep=asked.keep, scenario=asked.scenario)
    variable, whose = _KEYS[asked.agent]
    key = environment.get(variable, "").strip()
    if not key:
        raise OptionsError(
            f"MODEL=real with {TITLES[asked.agent]} needs a key of {whose}'s API in the environment variable "
            f"{variable}."
        )
    sandbox = chosen_sandbox(environment, sandbox_fault, "make demo MODEL=real UNSANDBOXED=1")
    return Options(
        agent=asked.agent,
        model="real",
        keep=asked.keep,
        sandbox=sandbox,
        anthropic_api_key=key if asked.agent == "claude" else "",
        openai_api_key=key if asked.agent == "codex" else "",
    )


def _check_scenario(asked: argparse.Namespace) -> None:
    if asked.scenario not in SCENARIOS:
        names = ", ".join(f"SCENARIO={name}" for name in SCENARIOS)
        raise OptionsError(f"SCENARIO={asked.scenario}: there are {names}.")
    if asked.model != "scripted" or asked.agent != "claude":
        raise OptionsError("A scenario is a play with fixed roles: leave MODEL and AGENT out.")


def chosen_sandbox(
    environment: Mapping[str, str], sandbox_fault: Callable[[], str | None], command: str
) -> Sandbox:
    """Return how containers are shielded from each other where real credentials are used.

    :param environment: ``UNSANDBOXED=1`` gives up the shield.
    :param sandbox_fault: says why bubblewrap cannot be used here, ``None`` if it can.
    :param command: how to ask for no shield, for the message.
    :raise OptionsError: there is no shield, and none was asked for.
    """
    if environment.get("UNSANDBOXED") == "1":
        return "none"
    if fault := sandbox_fault():
        raise OptionsError(
            "Your credentials are put into a process of this machine, and processes of one user can read each "
            f"other's environment and files. So the agent is run under bubblewrap, which cannot be used here: "
            f"{fault}.\nSet it up, or accept that the agent could read the credentials: {command}"
        )
    return "bubblewrap"


def bubblewrap_fault() -> str | None:
    """Say why bubblewrap cannot be used on this machine, ``None`` if it can."""
    from airflow_provider_agents.local.sandbox import BubblewrapSandbox, SandboxUnavailableError

    try:
        BubblewrapSandbox(hidden=(), readable=())
    except SandboxUnavailableError as error:
        return str(error)
    return None
