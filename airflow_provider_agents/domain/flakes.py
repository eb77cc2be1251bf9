"""Signs of a flake."""
from __future__ import annotations

from airflow_provider_agents.domain.feedback import FailingCheck


def suspicion(failing: FailingCheck) -> str | None:
    return None
