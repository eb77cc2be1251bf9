"""Shows what is wrong with rollbacks on Airflow's page of import errors; it makes no DAG.

The rollbacks' DAGs come from ``rollbacks.py``. This file is apart from it, so that its error is nobody else's.
"""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 (Airflow looks for this word before it parses a file)

from airflow_provider_agents.operators.rollback_sources import rollback_files
from airflow_provider_agents.task_groups.rollback import raise_faults

raise_faults(rollback_files())
