"""The DAG of one ticket source: looks for tickets, and starts a run for each whose turn it is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, AssetOrTimeSchedule, DeltaTriggerTimetable

from airflow_provider_agents.domain.webhook_events import names_of_source
from airflow_provider_agents.operators.start_run import StartRunOperator
from airflow_provider_agents.operators.ticket_sync import LookForTicketsOperator
from airflow_provider_agents.triggers.ticket_wake import wake_asset

if TYPE_CHECKING:
    from airflow_provider_agents.domain.config_files import DefinitionFile

DAG_PREFIX = "ticket_sync__"
RUN_DAG = "coding_task"
BROKEN_EVERY_SECONDS = 300.0

DOC = """\
### Tickets of `{name}`

Looks for tickets that somebody with authority asked an agent for, and starts one run of `{dag}` for each,
when there is room. Each ask is answered once, whatever is repeated or lost on the way.

* `look` … what is new, who asked, whose turn it is; its log shows the line, its XCom `line` too
* `start` … one run for each ticket that starts now; skipped where the run is there already

Definition: `tickets/{name}.yaml`. A webhook makes it look at once; without, it looks every {every:.0f} s.
"""


def ticket_sync_dag(file: DefinitionFile) -> DAG:
    """Return the DAG of a source.

    One whose definition has faults has its DAG too: `look` fails and names them, and no other source is
    taken along, which an import error of the file that all share would do.

    :param file: its definition, as read.
    """
    definition = file.definition
    every = definition.every if definition else BROKEN_EVERY_SECONDS
    timetable = DeltaTriggerTimetable(timedelta(seconds=every))
    schedule: Any = timetable
    if definition is not None:
        asset = wake_asset(file.name, names_of_source(file.name, definition))
        schedule = AssetOrTimeSchedule(timetable=timetable, assets=[asset])
    with DAG(
        f"{DAG_PREFIX}{file.name}",
        dag_display_name=f"Tickets: {file.name}",
        description=f"Starts runs for the tickets of tickets/{file.name}.yaml",
        doc_md=DOC.format(name=file.name, dag=RUN_DAG, every=every),
        schedule=schedule,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1,
        dagrun_timeout=timedelta(minutes=30),
        tags=["agents", "tickets"],
    ) as dag:
        look = LookForTicketsOperator(
            task_id="look", source=file.name, dag_id_to_start=RUN_DAG, execution_timeout=timedelta(minutes=20)
        )
        StartRunOperator.partial(
            task_id="start",
            trigger_dag_id=RUN_DAG,
            # To Airflow two runs of the same moment would be the same run, and the second be skipped.
            logical_date=None,
            skip_when_already_exists=True,
            retries=2,
            retry_delay=timedelta(seconds=10),
            map_index_template="{{ task.trigger_run_id }}",
        ).expand_kwargs(look.output)
    return dag
