"""Shows what is wrong with rules for pull requests on Airflow's page of import errors; it makes no DAG.

The rules' DAGs come from ``pr_rules.py``. This file is apart from it, so that its error is nobody else's.
"""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 (Airflow looks for this word before it parses a file)

from airflow_provider_agents.operators.pr_rule_sources import rule_files
from airflow_provider_agents.task_groups.pr_rule import raise_faults

raise_faults(rule_files())
