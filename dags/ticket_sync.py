"""One DAG for each source of tickets: ``tickets/*.yaml`` below ``[agents] config_path``."""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 (Airflow looks for this word before it parses a file)

from airflow_provider_agents.operators.ticket_sources import definition_files
from airflow_provider_agents.task_groups.ticket_sync import ticket_sync_dag

for file in definition_files():
    globals()[f"ticket_sync__{file.name}"] = ticket_sync_dag(file)
