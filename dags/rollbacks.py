"""One DAG for each rollback: ``rollbacks/*.yaml`` below ``[agents] config_path``."""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 (Airflow looks for this word before it parses a file)

from airflow_provider_agents.operators.rollback_sources import rollback_files
from airflow_provider_agents.task_groups.rollback import rollback_dag

for file in rollback_files():
    globals()[f"rollback__{file.name}"] = rollback_dag(file)
