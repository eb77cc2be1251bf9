"""Takes a ticket, or a prompt, to a merged pull request. Trigger it from the UI or with JSON conf."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_agents import settings
from airflow_provider_agents.task_groups.coding_task import coding_task_group
from airflow_provider_agents.task_groups.coding_task_form import (
    installed_bounds,
    installed_defaults,
    request_params,
)

DOC = """\
### Coding task

A coding agent plans the change, implements it and tests it in Kubernetes pods; the pull request is opened,
failing checks, conflicts and reviews go back to the agent, and what passes is merged.

**The run is green exactly if the pull request was merged** (and the issue closed). Otherwise `finish` is red
and says why. Unused attempts and rounds end skipped.

* `plan` … how it will be done
* `build` … attempts of implement and test; a failing test leads to the next attempt
* `land` … rounds of waiting for the pull request and fixing what stands against it
* `report` … outcome, rounds, cost and links, in its log
"""

BOUNDS = installed_bounds()

with DAG(
    "coding_task",
    dag_display_name="Coding task",
    description="A ticket becomes a merged pull request",
    doc_md=DOC,
    schedule=None,
    catchup=False,
    # Those that wait for their place and those whose pull request waits are active too; `admit` limits the work.
    max_active_runs=1000,
    max_active_tasks=1000,
    tags=["agents"],
) as dag:
    coding_task_group(group_id=None, bounds=BOUNDS, poll_interval=float(settings.number("poll_interval", 30)))

# Only now: every task that is made later copies them all, several times, which took half of the parse time.
# A task is given the params of its DAG when it runs, in any case.
dag.params.update(request_params(BOUNDS, installed_defaults()))
