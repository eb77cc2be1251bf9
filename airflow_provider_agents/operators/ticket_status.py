"""Keeps the one comment on the ticket of a run up to date, and moves the ticket along.

While the run goes on by a notifier and not by tasks: the graph stays what it is about, and a tracker that is away
fails no run. The comment is made of what the tasks left by then, so that a word that was lost is told by the
next one. The last word is the report's (:func:`tell_end`), which tries again.
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

END_SECONDS = 60.0
TELL_SECONDS = 15.0
"""Airflow ends the process of a task 20 s after its success (``[core] task_success_overtime``), without a word."""


class TicketStatusNotifier(BaseNotifier):
    """Tells the ticket where its run is, while that goes on. Does nothing for a run without a ticket.

    :param tasks: where the values of the run are.
    :param headline: what happens now, one sentence.
    :param stage: state to move the ticket to, where its source has states.
    :param github_conn_id: Airflow connection of a ticket that no source's definition brought.
    """

    def __init__(
        self, *, tasks: RunTasks, headline: str, stage: Stage, github_conn_id: str | None = None
    ) -> None:
        super().__init__()
        self.tasks = tasks
        self.headline = headline
        self.stage: Stage = stage
        self.github_conn_id = github_conn_id

    def notify(self, context: Context) -> None:
        from airflow_provider_agents.exceptions import ForgeError, InvalidInputError

        place, asks = _place(context, self.tasks)
        if place is None:
            return
        report = read_report(context, self.tasks)
        if report.outcome == "merged":
            return  # the end is told in a moment, and this could come after it
        status = _status(context, self.tasks, report, self.headline)
        try:
            _tell(place, status, self.stage, asks, "started", self.github_conn_id, TELL_SECONDS)
        except (ForgeError, InvalidInputError, TimeoutError) as error:
            told = str(error) or f"its tracker did not answer in {TELL_SECONDS:.0f} s"
            self.log.warning("The ticket could not be told: %s", told)


def tell_end(context: Context, tasks: RunTasks, report: RunReport, github_conn_id: str | None) -> None:
    """Tell the ticket how the run ended. Does nothing for a run without a ticket.

    :raises InvalidInputError: the definition of its source is gone, or has faults.
    :raises ForgeError: the tracker did not do what was asked.
    :raises TimeoutError: it did not answer in time.
    """
    from airflow_provider_agents.domain.ticket_comment import ended_headline

    place, asks = _place(context, tasks)
    if place is None:
        return
    status = _status(context, tasks, report, ended_headline(report.outcome, report.reason), report.outcome)
    stage: Stage = "done" if report.outcome == "merged" else "stopped"
    _tell(place, status, stage, asks, "ended", github_conn_id, END_SECONDS)


def _place(context: Context, tasks: RunTasks) -> tuple[TicketPlace | None, Sequence[str]]:
    """Return where the ticket is, and the asks that the run answers."""
    from airflow_provider_agents.domain.coding_task import CodingTask
    from airflow_provider_agents.operators.ticket_sources import TicketPlace, place_of

    if accepted := context["ti"].xcom_pull(task_ids=tasks.accept):
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


def _status(
    context: Context, tasks: RunTasks, report: RunReport, headline: str, outcome: str = ""
) -> RunStatus:
    from airflow_provider_agents.domain.ticket_comment import RunStatus, stages_of
    from airflow_provider_agents.operators.pulled import values_of
    from airflow_provider_agents.operators.ticket_runs import run_url

    ti = context["ti"]
    prefix = tasks.prefix
    states: Mapping[str, str | None] = (
        ti.get_task_states(dag_id=ti.dag_id, run_ids=[ti.run_id]).get(ti.run_id) or {}
    )
    states = {name.removeprefix(prefix): state for name, state in states.items() if name.startswith(prefix)}
    plans = [step for step in tasks.steps if step.endswith(".plan")]
    outputs = [value.get("output") for value in values_of(context, plans).values() if isinstance(value, dict)]
    return RunStatus(
        run_id=ti.run_id,
        run_url=run_url(ti.dag_id, ti.run_id),
        stages=stages_of(states, outcome=outcome),
        headline=headline,
        plan=outputs[-1] if outputs else None,
        pull_request_url=report.pull_request_url or "",
        attempts=report.attempts,
        rounds=report.rounds,
        cost_usd=report.cost_usd,
        unknown_usd=report.unknown_usd,
        merged=outcome == "merged",
    )


def _tell(
    place: TicketPlace,
    status: RunStatus,
    stage: Stage,
    asks: Sequence[str],
    state: RunState,
    github_conn_id: str | None,
    seconds: float,
) -> None:
    from airflow_provider_agents.domain.intake import mark_run
    from airflow_provider_agents.domain.ticket_comment import run_comment
    from airflow_provider_agents.operators.forge import connection_id
    from airflow_provider_agents.operators.ticket_sources import with_ticket

    async def tell(source: TicketSource, reading: TicketReading) -> None:
        claim = mark_run(reading.claim, status.run_id, asks, state, at=datetime.now(UTC))
        await source.write_status(reading, claim, run_comment(status))
        await source.move(reading, stage)

    with_ticket(place, connection_id(github_conn_id), tell, seconds=seconds)
