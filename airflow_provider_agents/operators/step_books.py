"""The books of a step: what its pods were allowed and spent, written ahead and never forgotten.

The records are in the task state store, which survives retries and clears, and never expires there. An
XCom of the task shows them to the other tasks of the run; it is pushed anew at each try, because Airflow
wipes a task's XComs before one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from agent_runner.contract import failure
from airflow_provider_agents.domain.budget import (
    LedgerRecord,
    allowance,
    from_values,
    is_spent,
    spent,
    to_values,
)
from airflow_provider_agents.exceptions import StepError
from airflow_provider_agents.operators.task_state import recall, remember

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow.sdk import Context

    from agent_runner.contract import Budget, Ledger, StepSpec

LEDGER_KEY = "ledger"
"""Key of the records, as task state and as XCom."""


class StepBooks:
    """What the agent tasks of a run have spent, as one of them sees it.

    :param others: ids of the run's other agent tasks.
    """

    def __init__(self, context: Context, others: Sequence[str]) -> None:
        self._context = context
        self._others = others
        self._own = from_values(recall(context, LEDGER_KEY))
        self._limits: tuple[float | None, int | None] = None, None
        self._show()

    def budget(self, limit_usd: float | None, limit_tokens: int | None) -> Budget:
        """Return what the next pod may spend; ``None`` is no limit."""
        self._limits = limit_usd, limit_tokens
        return allowance(self._records(), limit_usd=limit_usd, limit_tokens=limit_tokens)

    def require(self, budget: Budget, *, ledgers_kept: bool) -> None:
        """Raise where nothing of ``budget`` is left.

        :param ledgers_kept: whether the run has a claim that keeps the ledgers of lost pods.
        :raises StepFailedError: nothing is left; repeating the step would not change that.
        """
        if is_spent(budget, ledgers_kept=ledgers_kept):
            raise StepError.of(failure("budget_exhausted", _spent(self._records(), *self._limits)))

    def reserve_for(self, pod: str, task: str, spec: StepSpec, budget: Budget, *, ledgers_kept: bool) -> None:
        """Write down what a pod may spend, before there is a pod that can.

        :param task: short name of the coding task.
        :param budget: what :meth:`budget` returned.
        :param ledgers_kept: see :meth:`require`.
        :raises StepFailedError: nothing is left.
        """
        self.require(budget, ledgers_kept=ledgers_kept)
        self.reserve(
            LedgerRecord(
                pod=pod,
                task=task,
                repository=spec.repository,
                step=spec.step,
                program=spec.agent.program,
                day=datetime.now(tz=UTC).date().isoformat(),
                usd=budget.usd or 0.0,
                token_count=budget.tokens or 0,
            )
        )

    def reserve(self, record: LedgerRecord) -> None:
        """Write down a record, in the place of one that the pod has."""
        self._own = [*(kept for kept in self._own if kept.pod != record.pod), record]
        self._keep()

    def drop(self, pod: str) -> None:
        """Forget the reserve of a pod that was never made."""
        self._own = [record for record in self._own if record.pod != pod]
        self._keep()

    def settle(self, pod: str, ledger: Ledger | None) -> None:
        """Write down what a pod has spent. Without a ledger its reserve stands until another pod tells."""
        if ledger is None:
            return
        self._own = [
            record.settled(ledger) if record.pod == pod and record.state == "reserved" else record
            for record in self._own
        ]
        self._keep()

    def _keep(self) -> None:
        remember(self._context, LEDGER_KEY, to_values(self._own))
        self._show()

    def _show(self) -> None:
        self._context["ti"].xcom_push(key=LEDGER_KEY, value=to_values(self._own))

    def _records(self) -> list[LedgerRecord]:
        return [*self._own, *self._of_others()]

    def _of_others(self) -> list[LedgerRecord]:
        ti = self._context["ti"]
        return [
            record
            for task_id in self._others
            if task_id != ti.task_id
            for record in from_values(ti.xcom_pull(task_ids=task_id, key=LEDGER_KEY))
        ]


def _spent(records: list[LedgerRecord], limit_usd: float | None, limit_tokens: int | None) -> str:
    parts = []
    if limit_usd is not None:
        parts.append(f"{limit_usd:.2f} USD were allowed, {spent(records):.4f} are spent")
    if limit_tokens is not None:
        tokens = sum(record.token_count for record in records if record.state == "settled")
        parts.append(f"{limit_tokens:,} tokens were allowed, {tokens:,} are used")
    if lost := allowance(records, limit_usd=None, limit_tokens=None).unsettled:
        usd, names = sum(reserve.usd for reserve in lost), ", ".join(reserve.pod for reserve in lost)
        parts.append(f"up to {usd:.4f} USD more by lost pods whose ledger nobody could read ({names})")
    return "The budget of the task is spent: " + "; ".join(parts) + "."
