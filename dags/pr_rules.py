"""One DAG for each rule for pull requests: ``rules/*.yaml`` below ``[agents] config_path``; and the one that asks people.

What is wrong with a rule is shown as the import error of ``pr_rules_faults.py``: Airflow takes all DAGs of a file that
raises out of service, and a broken rule is not to take the others along.
"""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 (Airflow looks for this word before it parses a file)

from airflow_provider_agents.operators.pr_rule_sources import rule_files
from airflow_provider_agents.task_groups.pr_rule import rule_dags
from airflow_provider_agents.task_groups.pr_rule_escalation import pr_rule_escalation_dag

escalation = pr_rule_escalation_dag()
globals().update(rule_dags(rule_files())[0])
