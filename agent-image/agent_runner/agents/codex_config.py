"""Codex's configuration file, written anew for each run."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from agent_runner.mcp_servers import CALL_SECONDS, START_SECONDS, server_url

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from agent_runner.contract import AgentSettings

KEY_VARIABLE = "AGENT_GATEWAY_KEY"
"""Environment variable with the key that the program sends; the gateway puts the real one in its place."""
PROVIDER = "gateway"
MAX_REQUEST_RETRIES = 4
MAX_STREAM_RETRIES = 5
STREAM_IDLE_MS = 300_000
"""How long an answer may be silent before it is asked for again."""

_FEATURES_OFF = (
    # Without end, the program would go on to ask for an address where nobody listens.
    "unbounded_connection_retries",
    # What asks hosts other than the gateway.
    "apps",
    "plugins",
    "remote_plugin",
    "skill_mcp_dependency_install",
    # What carries commands or notes from one run to the next.
    "hooks",
    "memories",
    "goals",
)


def config_toml(gateway_url: str, checkout: Path, settings: AgentSettings, instructions: str) -> str:
    """Return the text of ``config.toml``.

    :param gateway_url: root of the pod's gateway.
    :param checkout: nothing below it configures the program.
    :param instructions: added to the program's own system prompt; a session that goes on keeps its first ones.
    """
    # A run without approvals and sandbox trusts the folder it works in, unless it is told otherwise: then the
    # checkout's .codex/config.toml would choose the model and start programs.
    untrusted = dict.fromkeys((str(checkout), str(checkout.resolve())))
    return "\n".join(
        [
            f"model_provider = {_toml(PROVIDER)}",
            f"developer_instructions = {_toml(instructions)}",
            *([f"model_reasoning_effort = {_toml(settings.effort)}"] if settings.effort else []),
            "check_for_update_on_startup = false",
            # A login shell would set PATH anew and lose the image's toolchain.
            "allow_login_shell = false",
            # The repository's files are in the instructions already.
            "project_doc_max_bytes = 0",
            # It is the model's side that would fetch pages: past the pod's network policy.
            'web_search = "disabled"',
            *_table("analytics", ["enabled = false"]),
            *_table("history", ['persistence = "none"']),
            *_table("skills", ["include_instructions = false"]),
            *_table("skills.bundled", ["enabled = false"]),
            *_table("features", [f"{name} = false" for name in _FEATURES_OFF]),
            *_table("shell_environment_policy", ['inherit = "all"', f"exclude = [{_toml(KEY_VARIABLE)}]"]),
            *_table(
                f"model_providers.{PROVIDER}",
                [
                    'name = "gateway of the pod"',
                    f"base_url = {_toml(f'{gateway_url}/openai/v1')}",
                    f"env_key = {_toml(KEY_VARIABLE)}",
                    'wire_api = "responses"',
                    f"request_max_retries = {MAX_REQUEST_RETRIES}",
                    f"stream_max_retries = {MAX_STREAM_RETRIES}",
                    f"stream_idle_timeout_ms = {STREAM_IDLE_MS}",
                ],
            ),
            *(
                line
                for server in settings.mcp_servers
                for line in _table(
                    f"mcp_servers.{_toml(server)}",
                    [
                        f"url = {_toml(server_url(gateway_url, server))}",
                        f"startup_timeout_sec = {START_SECONDS}",
                        f"tool_timeout_sec = {CALL_SECONDS}",
                    ],
                )
            ),
            *(
                line
                for folder in untrusted
                for line in _table(f"projects.{_toml(folder)}", ['trust_level = "untrusted"'])
            ),
            "",
        ]
    )


def _table(name: str, lines: Iterable[str]) -> list[str]:
    return ["", f"[{name}]", *lines]


def _toml(text: str) -> str:
    """Return ``text`` as a TOML string: JSON's form, but for one control character and lone surrogates."""
    clean = text.encode(errors="replace").decode()
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007f")
