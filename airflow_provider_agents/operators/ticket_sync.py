"""The task ``look`` of a ticket sync: says which runs start now."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from airflow_provider_agents.operators.forge import FORGE_RETRY_POLICY

if TYPE_CHECKING:
    from airflow.sdk import Context

LINE_KEY = "line"
"""XCom: who waits, first to last, with place and estimate; the first of them only."""


class LookForTicketsOperator(BaseOperator):
    """Look at one source of tickets, and claim those whose turn it is.

    Every look is complete in itself: it may be repeated, cut off at any point, or run beside another one, and
    each ask still leads to one run. A source that cannot be read fails the task; from the fifth time in a row
    on the next looks are skipped for longer and longer, up to an hour.

    :param source: name of the definition, ``tickets/<source>.yaml``.
    :param dag_id_to_start: DAG that works on a ticket.
    :return: for each run that starts now, ``trigger_run_id`` and ``conf``: arguments of
        ``StartRunOperator``.
    :raises InvalidInputError: the definition has faults, each named with file and line.
    :raises ForgeError: the source could not be read.
    """

    ui_color = "#e6e0f8"

    def __init__(self, *, source: str, dag_id_to_start: str = "coding_task", **kwargs: Any) -> None:
        kwargs.setdefault("retries", 1)
        kwargs.setdefault("retry_delay", timedelta(seconds=10))
        kwargs.setdefault("retry_policy", FORGE_RETRY_POLICY)
        super().__init__(**kwargs)
        self.source = source
        self.dag_id_to_start = dag_id_to_start

    def execute(self, context: Context) -> list[dict[str, Any]]:
        # Not at import: every parse of the DAGs would pay for it.
        from airflow_provider_agents.operators.ticket_look import TicketLook

        return TicketLook(self, context).run()
