"""Any program as an agent: a shell command line of the image.

The least that a program has to do, and so the example of ``docs/agent-programs.md``: it reads the task from
standard input, changes the files in its working directory, and ends with exit code 0.
"""

from __future__ import annotations

import json
import os
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent_runner.agents.base import AgentProgram, AgentReport, AgentTask, AgentTranscript, Invocation
from agent_runner.agents.output_schema import faults
from agent_runner.console import say
from agent_runner.contract import failure
from agent_runner.failure import failed
from agent_runner.files import read_small, remove
from agent_runner.untrusted_json import read_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from agent_runner.process import Ended

ENV_COMMAND = "AGENT_COMMAND"
"""Variable of the image with the command line."""
ENV_OUTPUT_FILE = "AGENT_OUTPUT_FILE"
ENV_OUTPUT_SCHEMA = "AGENT_OUTPUT_SCHEMA"
"""What the command finds in its environment: where structured output goes, and the JSON schema it must fit."""
SUMMARY_LINES = 20
MAX_OUTPUT_BYTES = 1024 * 1024
MAX_SCHEMA_BYTES = 120_000
"""Linux takes at most 128 KiB for one variable."""


class Command(AgentProgram):
    """The command line in :data:`ENV_COMMAND`, run by ``sh``."""

    title = "The agent command"

    def has_session(self, session_id: str) -> bool:
        return False

    def prepare(self, task: AgentTask, gateway_url: str) -> Invocation:
        command = os.environ.get(ENV_COMMAND, "")
        if not command.strip():
            raise failed(
                "agent_missing", f"{ENV_COMMAND} is not set in the image.", f"Set {ENV_COMMAND} in the image."
            )
        schema = json.dumps(task.output_schema or {})
        if len(schema) > MAX_SCHEMA_BYTES:
            raise failed(
                "schema_too_large",
                f"The output schema has {len(schema):,} bytes; there is room for {MAX_SCHEMA_BYTES:,}.",
            )
        output = self.environment.home / "agent-output.json"
        remove(output)
        env = {
            **self.environment.program(),
            "ANTHROPIC_BASE_URL": f"{gateway_url}/anthropic",
            "OPENAI_BASE_URL": f"{gateway_url}/openai/v1",
            # Programs want to see a key; the gateway puts the real one in its place.
            "ANTHROPIC_API_KEY": "held-by-the-gateway",
            "OPENAI_API_KEY": "held-by-the-gateway",
            "AGENT_MODEL": task.settings.model or "",
            ENV_OUTPUT_FILE: str(output),
            ENV_OUTPUT_SCHEMA: schema,
        }
        prompt = f"{task.instructions}\n{task.prompt}"
        argv = ("sh", "-c", command)
        return Invocation(argv=argv, env=env, stdin=prompt.encode(errors="replace"), resumed=False)

    def transcript(self, invocation: Invocation) -> CommandTranscript:
        return CommandTranscript(
            Path(invocation.env[ENV_OUTPUT_FILE]), json.loads(invocation.env[ENV_OUTPUT_SCHEMA])
        )


class CommandTranscript(AgentTranscript):
    """Shows each line; the last ones are the summary, the exit code is the verdict."""

    session_id = None
    busy = False

    def __init__(self, output: Path, schema: Mapping[str, Any]) -> None:
        self._output = output
        self._schema = schema
        self._last: deque[str] = deque(maxlen=SUMMARY_LINES)

    def read(self, line: bytes) -> list[str]:
        self._last.append(line[:2_000].decode(errors="replace"))
        return [self._last[-1]]

    def report(self, ended: Ended, errors: str) -> AgentReport:
        summary = "\n".join(self._last).strip()
        if ended.returncode == 0:
            return AgentReport(summary=summary, output=self._structured_output(), turns=1)
        message = (
            f"The agent command ended with code {ended.returncode}. {errors.strip()[-600:] or summary[-600:]}"
        )
        return AgentReport(failure=failure("agent_error", message), summary=summary, turns=1)

    def _structured_output(self) -> dict[str, Any] | None:
        output = read_object(read_small(self._output, MAX_OUTPUT_BYTES))
        for fault in faults(self._schema, output) if output is not None else ():
            say(f"the command's output does not fit the schema: {fault}")
            output = None
        return output
