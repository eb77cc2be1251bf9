"""The ledger of acts as a task reads and writes it: an Airflow Variable. Only for tasks in the pool ``agents_rules``."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from airflow_provider_agents.domain.pr_rule_ledger import LEDGER_VARIABLE, RuleLedger
from airflow_provider_agents.triggers.capacity import text_of

log = logging.getLogger(__name__)

_DESCRIPTION = "What rules did to pull requests lately; written by tasks in the pool agents_rules."


def read_ledger(now: datetime | None = None) -> RuleLedger:
    """Return the ledger as it is; a damaged one is replaced by one that holds merges for an hour, which is logged.

    Not by ``Variable.get``: to it an Airflow that does not answer is a Variable that is not there.

    :raises AirflowRuntimeError: Airflow cannot give it now.
    """
    from airflow.sdk.execution_time.comms import GetVariable
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    text = text_of(SUPERVISOR_COMMS.send(GetVariable(key=LEDGER_VARIABLE)))
    if text is None:
        return RuleLedger()
    try:
        return RuleLedger.from_text(text)
    except ValueError as error:
        lost = RuleLedger.lost(now or datetime.now(UTC))
        log.error(
            "The Variable %s is damaged: %s. It begins anew: what people chose has to be chosen again, and nothing is "
            "merged before %s, because nobody knows what the last hour saw.",
            LEDGER_VARIABLE,
            error,
            lost.hold_until,
        )
        write_ledger(lost)
        return lost


def write_ledger(ledger: RuleLedger, now: datetime | None = None) -> None:
    """Write the ledger, without what is too old in it."""
    from airflow.sdk import Variable

    tidied = ledger.tidied(now or datetime.now(UTC))
    Variable.set(LEDGER_VARIABLE, tidied.to_text(), description=_DESCRIPTION)
