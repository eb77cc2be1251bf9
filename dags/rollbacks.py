"""One DAG for each rollback: ``rollbacks/*.yaml`` below ``[agents] config_path``.

What is wrong with a definition is shown as the import error of ``rollbacks_faults.py``: Airflow takes all DAGs of a file
that raises out of service, and a broken definition is not to take the others along.
"""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 (Airflow looks for this word before it parses a file)

from airflow_provider_agents.operators.rollback_sources import rollback_files
from airflow_provider_agents.task_groups.rollback import rollback_dags

globals().update(rollback_dags(rollback_files())[0])
