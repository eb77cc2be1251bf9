"""As many waits as the run asks for, each for a pull request of its own."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_agents.sensors.pull_request import PullRequestSensor

with DAG("many_waits", schedule=None, params={"repository": "acme/many", "count": 1}):

    @task
    def numbers(params: Any = None) -> list[int]:
        return list(range(1, params["count"] + 1))

    PullRequestSensor.partial(
        task_id="closed", repository="{{ params.repository }}", until="closed", poke_interval=30
    ).expand(pull_request_number=numbers())
