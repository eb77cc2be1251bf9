"""The example of the README, word for word but for the repository and the schedule."""

from airflow.sdk import DAG

from airflow_provider_agents.operators.open_pull_request import OpenPullRequestOperator
from airflow_provider_agents.operators.steps import AgentImplementOperator
from airflow_provider_agents.sensors.pull_request import PullRequestSensor

REPOSITORY, BRANCH = "acme/widgets", "ai/refresh-{{ ts_nodash }}"

with DAG("refresh_docs", schedule="@weekly"):
    change = AgentImplementOperator(
        task_id="change",
        repository=REPOSITORY,
        work_branch=BRANCH,
        prompt="Bring docs/cli.md up to date with --help.",
    )
    opened = OpenPullRequestOperator(
        task_id="open", repository=REPOSITORY, head_branch=BRANCH, step_results=[change.output]
    )
    merged = PullRequestSensor(
        task_id="merged",
        repository=REPOSITORY,
        pull_request_number=opened.output["pull_request_number"],
        until="merged",
    )
