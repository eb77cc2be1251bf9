"""The DAG that asks people about pull requests which rules put before them: one run for a head and a reason."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_agents.operators.pr_rule_audit import decisions_outlet
from airflow_provider_agents.operators.pr_rule_calling import ASK_TASK, ESCALATION_DAG
from airflow_provider_agents.operators.pr_rule_people import (
    AskAboutPullRequestOperator,
    CarryOutChoiceOperator,
)

DOC = """\
### A person decides about a pull request

A rule, or one of its guards, called for a person. Started by the DAGs `pr_rule__…`, once for a head and a reason.

* `ask` … waits for the answer under *Required Actions*: merge this head, close, or leave it to people
* `carry_out` … does it, for that head only. What a person says takes the place of the guards for people (risk,
  protected paths, author …), never of checks, conflicts, requested changes, drafts, freezes and limits

A new head voids the question: its label comes off, and the rule decides anew.
"""


def pr_rule_escalation_dag() -> DAG:
    """Return the DAG. One serves all rules."""
    with DAG(
        ESCALATION_DAG,
        dag_display_name="Rules: a person decides",
        description="Asks people about pull requests that rules put before them, and carries out the answer",
        doc_md=DOC,
        schedule=None,
        start_date=datetime(2026, 1, 1, tzinfo=UTC),
        catchup=False,
        max_active_runs=1000,
        # Whoever starts rules wants their questions asked, too.
        is_paused_upon_creation=False,
        tags=["agents", "rules"],
    ) as dag:
        ask = AskAboutPullRequestOperator(task_id=ASK_TASK)
        carry_out = CarryOutChoiceOperator(
            task_id="carry_out",
            ask_task_id=ASK_TASK,
            outlets=[decisions_outlet()],
            execution_timeout=timedelta(minutes=10),
        )
        ask >> carry_out
    return dag
