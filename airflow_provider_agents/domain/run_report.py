"""What a run came to: put together from the values that its tasks left."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_agents.domain.budget import LedgerRecord, allowance, spent


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
    """Of all agent steps, failed tries and superseded ones included."""
    unknown_usd: float
    """What pods that were lost were allowed to spend: the cost may be this much higher."""
    agent_seconds: float
    model_calls: int
    agent_version: str | None
    head_sha: str | None = None
    """Head that was merged."""
    risk: int | None = None
    """Risk score of the last head that was weighed, 0 to 100."""

    def lines(self) -> list[str]:
        """Return the report as lines for a log."""
        return [
            f"Outcome:      {self.outcome}",
            f"Reason:       {self.reason or '-'}",
            f"Pull request: {self.pull_request_url or '-'}",
            f"Attempts:     {self.attempts}",
            f"Fix rounds:   {self.rounds}",
            f"Cost:         ${self.cost_usd:.4f} in {self.model_calls} model calls" + self._unknown(),
            f"Agent time:   {self.agent_seconds:.0f} s",
            f"Risk:         {'-' if self.risk is None else f'{self.risk} of 100'}",
        ]

    def _unknown(self) -> str:
        return f", and up to ${self.unknown_usd:.4f} in pods that were lost" if self.unknown_usd else ""


def run_report(
    *,
    steps: Mapping[str, Any],
    decisions: Mapping[str, Any],
    failures: Mapping[str, str],
    books: Iterable[LedgerRecord],
    pull_request: Any,
) -> RunReport:
    """Put a report together.

    :param steps: task id → result of that agent step, where there is one.
    :param decisions: task id → what that gate decided, where it did.
    :param books: what every pod of the run spent.
    :param failures: task id → reason, of the tasks that failed.
    :param pull_request: what ``open_pull_request`` returned, or ``None``.
    """
    records = list(books)
    left = allowance(records, limit_usd=None, limit_tokens=None)
    results = {task_id: result for task_id, result in steps.items() if isinstance(result, Mapping)}
    ends = [d for d in decisions.values() if isinstance(d, Mapping) and d.get("verdict") == "done"]
    risks = [d["risk"] for d in decisions.values() if isinstance(d, Mapping) and d.get("risk") is not None]
    reason = (
        str(ends[-1]["message"]) if ends else "; ".join(f"{task}: {why}" for task, why in failures.items())
    )
    return RunReport(
        outcome="merged" if ends else "not merged",
        reason=reason,
        pull_request_url=pull_request.get("url") if isinstance(pull_request, Mapping) else None,
        attempts=sum(task_id.endswith(".implement") for task_id in results),
        rounds=sum(task_id.endswith(".fix") for task_id in results),
        cost_usd=spent(records),
        unknown_usd=sum(reserve.usd for reserve in left.unsettled),
        agent_seconds=sum(float(result.get("seconds") or 0) for result in results.values()),
        model_calls=sum(use.calls for record in records for use in record.models),
        agent_version=next((r["agent_version"] for r in results.values() if r.get("agent_version")), None),
        head_sha=ends[-1].get("head_sha") if ends else None,
        risk=risks[-1] if risks else None,
    )
