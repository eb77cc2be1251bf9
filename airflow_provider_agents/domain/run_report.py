"""What a run came to: put together from the values that its tasks left."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Outcome, effort and links of one run."""

    outcome: str
    """``merged`` or ``not merged``."""
    reason: str
    pull_request_url: str | None
    attempts: int
    rounds: int
    cost_usd: float
    agent_seconds: float
    model_calls: int
    agent_version: str | None

    def lines(self) -> list[str]:
        """Return the report as lines for a log."""
        return [
            f"Outcome:      {self.outcome}",
            f"Reason:       {self.reason or '-'}",
            f"Pull request: {self.pull_request_url or '-'}",
            f"Attempts:     {self.attempts}",
            f"Fix rounds:   {self.rounds}",
            f"Cost:         ${self.cost_usd:.4f} in {self.model_calls} model calls",
            f"Agent time:   {self.agent_seconds:.0f} s",
        ]


def run_report(
    steps: Mapping[str, Any], decisions: Mapping[str, Any], failures: Mapping[str, str], pull_request: Any
) -> RunReport:
    """Put a report together.

    :param steps: task id → result of that agent step, where there is one.
    :param decisions: task id → what that gate decided, where it did.
    :param failures: task id → reason, of the tasks that failed.
    :param pull_request: what ``open_pull_request`` returned, or ``None``.
    """
    results = {task_id: result for task_id, result in steps.items() if isinstance(result, Mapping)}
    ends = [d for d in decisions.values() if isinstance(d, Mapping) and d.get("verdict") == "done"]
    reason = (
        str(ends[-1]["message"]) if ends else "; ".join(f"{task}: {why}" for task, why in failures.items())
    )
    return RunReport(
        outcome="merged" if ends else "not merged",
        reason=reason,
        pull_request_url=pull_request.get("url") if isinstance(pull_request, Mapping) else None,
        attempts=sum(task_id.endswith(".implement") for task_id in results),
        rounds=sum(task_id.endswith(".fix") for task_id in results),
        cost_usd=sum(float(result.get("cost_usd") or 0) for result in results.values()),
        agent_seconds=sum(float(result.get("seconds") or 0) for result in results.values()),
        model_calls=sum(
            int((result.get("ledger") or {}).get("model_calls") or 0) for result in results.values()
        ),
        agent_version=next((r["agent_version"] for r in results.values() if r.get("agent_version")), None),
    )
