"""DAGs of single parts, in which the end-to-end tests injure something while a run is on."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG

from airflow_provider_agents.operators.steps import AgentImplementOperator, AgentPlanOperator
from airflow_provider_agents.sensors.pull_request import PullRequestSensor

PARAMS = {"repository": "acme/widgets", "prompt": "straight", "work_branch": "ai/fault", "number": 1}
REQUEST = {
    "repository": "{{ params.repository }}",
    "prompt": "{{ params.prompt }}",
    "work_branch": "{{ params.work_branch }}",
    "retry_delay": timedelta(seconds=1),
}


class DiesBeforeDeferral(AgentPlanOperator):
    """A worker that is killed after its pod was created and before the task is deferred, once."""

    def invoke_defer_method(self, last_log_time: Any = None, context: Any = None) -> None:
        if context["ti"].try_number == 1:
            os._exit(9)
        super().invoke_defer_method(last_log_time=last_log_time, context=context)


with DAG("fault_worker", schedule=None, params=PARAMS):
    DiesBeforeDeferral(task_id="plan", **REQUEST)

with DAG("fault_step", schedule=None, params=PARAMS):
    AgentImplementOperator(task_id="implement", **REQUEST)

with DAG("fault_wait", schedule=None, params=PARAMS):
    PullRequestSensor(
        task_id="merged",
        repository="{{ params.repository }}",
        pull_request_number="{{ params.number }}",
        until="merged",
        poke_interval=2,
    )

with DAG("fault_secret", schedule=None, params=PARAMS):
    AgentPlanOperator(task_id="plan", secret="no-such-secret", **REQUEST)

with DAG("fault_connection", schedule=None, params=PARAMS):
    AgentPlanOperator(task_id="plan", github_conn_id="no_such_connection", **REQUEST)
