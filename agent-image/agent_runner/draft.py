"""The result of a step while it is being found out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from agent_runner.contract import Failure, Outcome, StepResult, TestRun, Tokens
from agent_runner.start_up import StartUp

if TYPE_CHECKING:
    from agent_runner.agents.base import AgentReport

MAX_FILES = 1_000
"""Most names of changed files in a result."""


@dataclass
class Draft:
    """Filled in as the step goes, so that a step that fails or is stopped still reports what is known."""

    started: float = field(default_factory=time.monotonic)
    start_up: StartUp = field(default_factory=StartUp)
    summary: str = ""
    session_id: str | None = None
    session_key: str | None = None
    resumed: bool = False
    base_sha: str | None = None
    head_sha: str | None = None
    commits: int = 0
    files_changed: tuple[str, ...] = ()
    cost_usd: float = 0.0
    tokens: Tokens = field(default_factory=Tokens)
    turns: int = 0
    model: str | None = None
    agent_version: str | None = None
    test: TestRun | None = None
    output: dict[str, Any] | None = None

    def add(self, report: AgentReport) -> None:
        """Take in a run of the agent program; cost, tokens and turns of several runs add up."""
        self.summary = report.summary or self.summary
        self.session_id = report.session_id or self.session_id
        self.cost_usd += report.cost_usd
        self.tokens += report.tokens
        self.turns += report.turns
        self.model = report.model or self.model
        self.agent_version = report.version or self.agent_version
        self.output = report.output or self.output

    def finish(self, outcome: Outcome, failure: Failure | None = None) -> StepResult:
        """Return the result."""
        return StepResult(
            outcome=outcome,
            failure=failure,
            summary=self.summary,
            session_id=self.session_id,
            session_key=self.session_key,
            resumed=self.resumed,
            base_sha=self.base_sha,
            head_sha=self.head_sha,
            commits=self.commits,
            files_changed=self.files_changed[:MAX_FILES],
            cost_usd=self.cost_usd,
            tokens=self.tokens,
            turns=self.turns,
            seconds=round(time.monotonic() - self.started, 3),
            model=self.model,
            agent_version=self.agent_version,
            test=self.test,
            output=self.output,
        )
