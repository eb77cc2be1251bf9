"""Claude Code: how it is started.

Nothing of the repository configures it: a checkout's ``.claude/settings.json`` could run hooks or send the
model traffic elsewhere, its ``.mcp.json`` could start programs.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import uuid
from typing import TYPE_CHECKING

from agent_runner.agents.base import AgentProgram, AgentTask, Invocation
from agent_runner.agents.claude_events import ClaudeTranscript
from agent_runner.failure import failed
from agent_runner.files import make_folder, remove, write_fresh
from agent_runner.mcp_servers import CALL_SECONDS, START_SECONDS, mcp_json
from agent_runner.skills import write_skills

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.contract import AgentSettings

API_KEY = "held-by-the-gateway"
"""What the program is given as its key; the gateway puts the real one in its place."""
MAX_API_RETRIES = 6
API_TIMEOUT_MS = 300_000
MAX_ARGUMENT_BYTES = 120_000
"""Linux takes at most 128 KiB for one argument."""
_EDITING_TOOLS = ("Write", "Edit", "NotebookEdit")
_SERVER_TOOLS = ("WebSearch",)
"""What the model's side does, past the pod's network policy: the gateway refuses the request."""
_LONG = "[1m]"
"""What the program takes at the end of a model's name for its variant with a context window of 1m."""
_SHORT_WINDOW = 200_000
_SESSION_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


class Claude(AgentProgram):
    """Claude Code, ``claude -p``."""

    title = "Claude Code"

    @property
    def config_dir(self) -> Path:
        return self.environment.home / ".claude"

    def prepare(self, task: AgentTask, gateway_url: str) -> Invocation:
        program = shutil.which(self.environment.claude_program, path=self.environment.search_path)
        if program is None:
            raise failed(
                "agent_missing",
                f"Claude Code ({self.environment.claude_program}) is not on the PATH of the image.",
            )
        self._clear_configuration()
        write_skills(task.settings.skills, self.config_dir / "skills")
        session_id = task.session_id or str(uuid.uuid4())
        instructions = self.environment.home / "instructions.md"
        write_fresh(instructions, task.instructions)
        return Invocation(
            argv=(
                program,
                *_arguments(task, gateway_url),
                "--resume" if task.session_id else "--session-id",
                session_id,
                "--append-system-prompt-file",
                str(instructions),
            ),
            env={**self._variables(gateway_url), **_model_variables(task.settings)},
            stdin=task.prompt.encode(errors="replace"),
            session_id=session_id,
            resumed=task.session_id is not None,
        )

    def transcript(self, invocation: Invocation) -> ClaudeTranscript:
        return ClaudeTranscript(invocation.session_id or "")

    def has_session(self, session_id: str) -> bool:
        if not _SESSION_ID.fullmatch(session_id):
            return False
        return any(self.config_dir.glob(f"projects/*/{session_id}.jsonl"))

    def _variables(self, gateway_url: str) -> dict[str, str]:
        variables = {
            **self.environment.program(),
            "CLAUDE_CONFIG_DIR": str(self.config_dir),
            "CLAUDE_CODE_TMPDIR": str(self.environment.temporary),
            "ANTHROPIC_BASE_URL": f"{gateway_url}/anthropic",
            "ANTHROPIC_API_KEY": API_KEY,
            "API_TIMEOUT_MS": str(API_TIMEOUT_MS),
            "CLAUDE_CODE_MAX_RETRIES": str(MAX_API_RETRIES),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "CLAUDE_CODE_DISABLE_BACKGROUND_TASKS": "1",
            "CLAUDE_CODE_PROVIDER_MANAGED_BY_HOST": "1",
            "DISABLE_AUTOUPDATER": "1",
        }
        if os.getuid() == 0:
            # The program refuses to skip permissions as root unless it is told that the pod confines it.
            variables["IS_SANDBOX"] = "1"
        return variables

    def _clear_configuration(self) -> None:
        """Keep nothing but transcripts: an earlier step's agent may have left settings, hooks or memories."""
        make_folder(self.config_dir)
        for entry in self.config_dir.iterdir():
            if entry.name != "projects" or entry.is_symlink():
                remove(entry)
        for memory in self.config_dir.glob("projects/*/memory"):
            remove(memory)


def _arguments(task: AgentTask, gateway_url: str) -> list[str]:
    arguments = [
        "-p",
        "--output-format",
        "stream-json",
        "--verbose",
        # Signs of life while the model writes one long block.
        "--include-partial-messages",
        "--setting-sources",
        "user",
        "--strict-mcp-config",
        "--permission-mode",
        "bypassPermissions",
    ]
    disallowed = (*_SERVER_TOOLS, *(_EDITING_TOOLS if task.read_only else ()))
    arguments += ["--disallowedTools", ",".join(disallowed)]
    if task.images is not None:
        arguments += ["--add-dir", str(task.images)]
    if task.settings.max_turns is not None:
        arguments += ["--max-turns", str(task.settings.max_turns)]
    if task.settings.model is not None:
        arguments += ["--model", _model_name(task.settings.model, task.settings.context_window)]
    if task.settings.effort is not None:
        arguments += ["--effort", task.settings.effort]
    if task.settings.mcp_servers:
        arguments += ["--mcp-config", mcp_json(task.settings.mcp_servers, gateway_url)]
    if task.settings.thinking in ("on", "off"):
        arguments += ["--thinking", "adaptive" if task.settings.thinking == "on" else "disabled"]
    if task.output_schema is not None:
        schema = json.dumps(task.output_schema, separators=(",", ":"))
        if len(schema.encode()) > MAX_ARGUMENT_BYTES:
            raise failed(
                "schema_too_large",
                f"The output schema has {len(schema.encode()):,} bytes, at most {MAX_ARGUMENT_BYTES:,}.",
            )
        arguments += ["--json-schema", schema]
    return arguments


def _model_name(model: str, context_window: str | None) -> str:
    return f"{model}{_LONG}" if context_window == "1m" and not model.lower().endswith(_LONG) else model


def _model_variables(settings: AgentSettings) -> dict[str, str]:
    variables = {}
    if settings.context_window == "200k":
        # The first holds for models that have more on request, the second for those that always have more.
        variables["CLAUDE_CODE_DISABLE_1M_CONTEXT"] = "1"
        variables["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] = str(_SHORT_WINDOW)
    if settings.mcp_servers:
        # Their tools are in each request, so that no search of the model's side is needed to find them.
        variables["ENABLE_TOOL_SEARCH"] = "false"
        variables["MCP_TIMEOUT"] = str(START_SECONDS * 1_000)
        variables["MCP_TOOL_TIMEOUT"] = str(CALL_SECONDS * 1_000)
    if settings.thinking is not None and settings.thinking.isdecimal():
        variables["MAX_THINKING_TOKENS"] = settings.thinking
    return variables
