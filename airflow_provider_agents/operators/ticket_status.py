"""Keeps the one comment on the ticket of a run up to date, and moves the ticket along.

A notifier and not a task: the graph stays what it is about, and a tracker that is away fails no run. The
comment is made of what the tasks left by then, so that a word that was lost is told by the next one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.sdk import BaseNotifier

from airflow_provider_agents.operators.read_report import read_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.run_report import RunReport
    from airflow_provider_agents.domain.ticket_comment import RunStatus
    from airflow_provider_agents.domain.tickets import RunState, Stage, TicketReading
    from airflow_provider_agents.hooks.ticket_source import TicketSource
    from airflow_provider_agents.operators.read_report import RunTasks
    from airflow_provider_agents.operators.ticket_sources import TicketPlace

TELL_SECONDS = 15.0
"""Airflow ends the process of a task 20 s after its success (``[core] task_success_overtime``), without a word."""


class TicketStatusNotifier(BaseNotifier):
    """Tells the ticket where its run is. Does nothing for a run without a ticket.

    :param tasks: where the values of the run are.
    :param headline: what happens now, one sentence; empty: made from how the run ended.
    :param stage: state to move the ticket to, where its source has states.
    :param github_conn_id: Airflow connection of a ticket that no source's definition brought.
    """

    def __init__(
        self,
        *,
        tasks: RunTasks,
        headline: str = "",
        stage: Stage | None = None,
        github_conn_id: str | None = None,
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.headline = headline
        self.stage = stage
        self.github_conn_id = github_conn_id

    def notify(self, context: Context) -> None:
        from airflow_provider_agents.exceptions import ForgeError, InvalidInputError

        place, asks = self._place(context)
        if place is None:
            return
        report = read_report(context, self.tasks)
        ended = not self.headline
        if report.outcome == "merged" and not ended:
            return  # the end is told in a moment, and this could come after it
        try:
            status = self._status(context, report, ended=ended)
            self._tell(place, status, self._stage(report, ended=ended), asks, ended=ended)
        except (ForgeError, InvalidInputError, TimeoutError) as error:
            told = str(error) or f"its tracker did not answer in {TELL_SECONDS:.0f} s"
            self.log.warning("The ticket could not be told: %s", told)

    def _place(self, context: Context) -> tuple[TicketPlace | None, Sequence[str]]:
        """Return where the ticket is, and the asks that the run answers."""
        from airflow_provider_agents.domain.coding_task import CodingTask
        from airflow_provider_agents.operators.ticket_sources import TicketPlace, place_of

        if accepted := context["ti"].xcom_pull(task_ids=self.tasks.accept):
            task = CodingTask.model_validate(accepted)
            return place_of(task), task.request.ticket_asks
        # `accept` failed: whoever asked for it is to know why all the same.
        params = context["params"]
        if not params.get("ticket_source"):
            return None, ()
        place = TicketPlace(
            repository=str(params["repository"]),
            source=params["ticket_source"],
            named=str(params["ticket_id"]),
        )
        return place, tuple(params.get("ticket_asks") or ())

    def _stage(self, report: RunReport, *, ended: bool) -> Stage | None:
        if not ended:
            return self.stage
        return "done" if report.outcome == "merged" else "stopped"

    def _status(self, context: Context, report: RunReport, *, ended: bool) -> RunStatus:
        from airflow_provider_agents.domain.ticket_comment import RunStatus, ended_headline, stages_of
        from airflow_provider_agents.operators.pulled import values_of
        from airflow_provider_agents.operators.ticket_runs import run_url

        ti = context["ti"]
        prefix = self.tasks.prefix
        states: Mapping[str, str | None] = (
            ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id) or {}
        )
        states = {
            name.removeprefix(prefix): state for name, state in states.items() if name.startswith(prefix)
        }
        plans = [step for step in self.tasks.steps if step.endswith(".plan")]
        outputs = [
            value.get("output") for value in values_of(context, plans).values() if isinstance(value, dict)
        ]
        outcome = report.outcome if ended else ""
        return RunStatus(
            run_id=ti.run_id,
            run_url=run_url(ti.dag_id, ti.run_id),
            stages=stages_of(states, outcome=outcome),
            headline=ended_headline(outcome, report.reason) if ended else self.headline,
            plan=outputs[-1] if outputs else None,
            pull_request_url=report.pull_request_url or "",
            attempts=report.attempts,
            rounds=report.rounds,
            cost_usd=report.cost_usd,
            unknown_usd=report.unknown_usd,
            merged=outcome == "merged",
        )

    def _tell(
        self, place: TicketPlace, status: RunStatus, stage: Stage | None, asks: Sequence[str], *, ended: bool
    ) -> None:
        from airflow_provider_agents.domain.intake import mark_run
        from airflow_provider_agents.domain.ticket_comment import run_comment
        from airflow_provider_agents.operators.forge import connection_id
        from airflow_provider_agents.operators.ticket_sources import with_ticket

        state: RunState = "ended" if ended else "started"

        async def tell(source: TicketSource, reading: TicketReading) -> None:
            claim = mark_run(reading.claim, status.run_id, asks, state, at=datetime.now(UTC))
            await source.write_status(reading, claim, run_comment(status))
            if stage is not None:
                await source.move(reading, stage)

        with_ticket(place, connection_id(self.github_conn_id), tell, seconds=TELL_SECONDS)
