"""Codex: how it is started.

Nothing of the repository configures it: a checkout's ``.codex/config.toml`` could choose the model and start
programs.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_runner.agents.base import AgentProgram, AgentTask, Invocation
from agent_runner.agents.codex_config import KEY_VARIABLE, config_toml
from agent_runner.agents.codex_events import CodexTranscript
from agent_runner.agents.codex_rollout import Rollout, rollout_file
from agent_runner.agents.codex_schema import strict
from agent_runner.failure import failed
from agent_runner.files import make_folder, remove, write_fresh
from agent_runner.skills import skills_text, write_skills

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PROGRAM = "codex"
API_KEY = "held-by-the-gateway"
"""What the program is given as its key; the gateway puts the real one in its place."""
_SESSIONS = "sessions"
_SKILLS = "platform-skills"
"""No folder that the program itself searches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CodexInvocation(Invocation):
    """Also says what the transcript has to know of the task."""

    rollout: Rollout
    """The session's record, read up to where this run begins."""
    max_turns: int | None = None
    output_schema: Mapping[str, Any] | None = field(default=None)


class Codex(AgentProgram):
    """Codex, ``codex exec``."""

    title = "Codex"

    @property
    def config_dir(self) -> Path:
        return self.environment.home / ".codex"

    def has_session(self, session_id: str) -> bool:
        return rollout_file(self.config_dir / _SESSIONS, session_id) is not None

    def prepare(self, task: AgentTask, gateway_url: str) -> CodexInvocation:
        program = shutil.which(PROGRAM, path=self.environment.search_path)
        if program is None:
            raise failed("agent_missing", f"Codex ({PROGRAM}) is not on the PATH of the image.")
        self._clear_configuration()
        skills = self.config_dir / _SKILLS
        write_skills(task.settings.skills, skills)
        # In the instructions, and not by the program's own search, which would find those of the checkout, too.
        instructions = "\n\n".join(
            filter(None, (task.instructions, skills_text(task.settings.skills, skills)))
        )
        session_id = task.session_id if task.session_id and self.has_session(task.session_id) else None
        rollout = Rollout(self.config_dir / _SESSIONS)
        rollout.follow(session_id)
        config = config_toml(gateway_url, task.checkout, task.settings, instructions)
        write_fresh(self.config_dir / "config.toml", config)
        # A session that goes on keeps the instructions that it began with, so new ones must be said.
        prompt = task.prompt if session_id is None else f"{instructions}\n{task.prompt}"
        return CodexInvocation(
            argv=(
                program,
                "exec",
                "--json",
                # The pod is the sandbox. The program's own would not let git commit.
                "--dangerously-bypass-approvals-and-sandbox",
                *(("--model", task.settings.model) if task.settings.model else ()),
                *self._schema_arguments(task),
                *(("resume", session_id) if session_id else ()),
                "-",
            ),
            env={**self.environment.program(), "CODEX_HOME": str(self.config_dir), KEY_VARIABLE: API_KEY},
            stdin=prompt.encode(errors="replace"),
            session_id=session_id,
            resumed=session_id is not None,
            rollout=rollout,
            max_turns=task.settings.max_turns,
            output_schema=task.output_schema,
        )

    def transcript(self, invocation: Invocation) -> CodexTranscript:
        if not isinstance(invocation, CodexInvocation):
            raise TypeError("an invocation of another program")
        return CodexTranscript(
            invocation.rollout,
            session_id=invocation.session_id,
            max_turns=invocation.max_turns,
            output_schema=invocation.output_schema,
        )

    def _schema_arguments(self, task: AgentTask) -> tuple[str, ...]:
        if task.output_schema is None:
            return ()
        file = self.config_dir / "output-schema.json"
        write_fresh(file, json.dumps(strict(task.output_schema)))
        return ("--output-schema", str(file))

    def _clear_configuration(self) -> None:
        """Keep nothing but sessions: an earlier step's agent may have left settings, rules, hooks or skills."""
        make_folder(self.config_dir)
        for entry in self.config_dir.iterdir():
            if entry.name != _SESSIONS or entry.is_symlink():
                remove(entry)
        remove(self.environment.home / ".agents")
