"""What ``make up`` works with: read from the environment, and complete or refused."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from demo.hosts import ANTHROPIC_URL, OPENAI_URL, Hosts
from demo.options import TITLES, OptionsError, Sandbox, chosen_sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GITHUB_API_URL = "https://api.github.com"
CONNECTION = "AIRFLOW_CONN_GITHUB_DEFAULT"
DEFAULT_PORT = 8080
_MODEL_KEYS = {
    "claude": ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN"),
    "codex": ("OPENAI_API_KEY",),
}
"""Agent program → variables with credentials, one of which it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpOptions:
    """What to start."""

    hosts: Hosts
    agent: str
    """Agent program of runs that name none."""
    sandbox: Sandbox
    port: int
    """Of Airflow's UI; 0: a free one."""


def read_up_options(environment: Mapping[str, str], sandbox_fault: Callable[[], str | None]) -> UpOptions:
    """Read the environment, as ``make up`` hands it on.

    :param environment: ``GITHUB_TOKEN`` or ``AIRFLOW_CONN_GITHUB_DEFAULT``; ``ANTHROPIC_API_KEY``,
        ``CLAUDE_CODE_OAUTH_TOKEN``, ``OPENAI_API_KEY``; ``GITHUB_API_URL``, ``ANTHROPIC_BASE_URL``,
        ``OPENAI_BASE_URL``; ``AGENT``, ``PORT``, ``UNSANDBOXED``.
    :param sandbox_fault: says why bubblewrap cannot be used here, ``None`` if it can.
    :raise OptionsError: naming everything that is missing.
    """

    def given(name: str) -> str:
        return environment.get(name, "").strip()

    missing = []
    if not given("GITHUB_TOKEN") and not given(CONNECTION):
        missing.append(f"GITHUB_TOKEN, or {CONNECTION}: what opens the repositories to work in")
    if not any(given(name) for names in _MODEL_KEYS.values() for name in names):
        missing.append(
            "ANTHROPIC_API_KEY or CLAUDE_CODE_OAUTH_TOKEN (Claude Code), or OPENAI_API_KEY (Codex): what pays for "
            "the model"
        )
    if missing:
        raise OptionsError("make up needs in its environment:\n" + "\n".join(f"  {line}" for line in missing))
    hosts = Hosts(
        github_connection=_connection(given),
        github_token=given("GITHUB_TOKEN") or _password(given(CONNECTION)),
        anthropic_url=_root(given("ANTHROPIC_BASE_URL"), "ANTHROPIC_BASE_URL") or ANTHROPIC_URL,
        anthropic_api_key=given("ANTHROPIC_API_KEY"),
        anthropic_oauth_token=given("CLAUDE_CODE_OAUTH_TOKEN"),
        openai_url=_root(given("OPENAI_BASE_URL"), "OPENAI_BASE_URL") or OPENAI_URL,
        openai_api_key=given("OPENAI_API_KEY"),
    )
    return UpOptions(
        hosts=hosts,
        agent=_agent(given),
        sandbox=chosen_sandbox(environment, sandbox_fault, "make up UNSANDBOXED=1"),
        port=_port(given("PORT")),
    )


def _agent(given: Callable[[str], str]) -> str:
    """Return the program that was asked for, else the first one whose credential is there."""
    usable = [agent for agent, names in _MODEL_KEYS.items() if any(given(name) for name in names)]
    agent = given("AGENT") or usable[0]
    if agent in _MODEL_KEYS and agent not in usable:
        raise OptionsError(
            f"AGENT={agent} needs {' or '.join(_MODEL_KEYS[agent])} in the environment. "
            f"There is what {' and '.join(TITLES[name] for name in usable if name in TITLES)} needs."
        )
    return agent


def _connection(given: Callable[[str], str]) -> str | dict[str, str]:
    if whole := given(CONNECTION):
        return whole
    host = _root(given("GITHUB_API_URL"), "GITHUB_API_URL") or GITHUB_API_URL
    return {"conn_type": "github", "host": host, "password": given("GITHUB_TOKEN")}


def _password(connection: str) -> str:
    """Return the password of an Airflow connection, which is JSON or a URI; empty: it has none."""
    if connection.startswith("{"):
        try:
            return str(json.loads(connection).get("password") or "")
        except ValueError as error:
            raise OptionsError(f"{CONNECTION} is not JSON: {error}") from None
    return unquote(urlsplit(connection).password or "")


def _root(url: str, name: str) -> str:
    """Return an address without its end: ``/v1`` is often part of such a variable."""
    if url and urlsplit(url).scheme not in ("http", "https"):
        raise OptionsError(f"{name}={url}: write an address that starts with https://.")
    return url.rstrip("/").removesuffix("/v1")


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if not text.isdecimal() or int(text) > 65_535:
        raise OptionsError(f"PORT={text}: write a number from 1 to 65535, or 0 for a free one.")
    return int(text)
