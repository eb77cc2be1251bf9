"""Serves the shipped DAGs from the installed package, so that ``pip install`` is enough.

``[dag_processor] dag_bundle_config_list``::

    [{"name": "agents", "classpath": "airflow_provider_agents.bundles.AgentsDagBundle", "kwargs": {}}]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.base import BaseDagBundle


class AgentsDagBundle(BaseDagBundle):
    """The DAGs that ship with this provider. Not versioned: they change when the package is upgraded."""

    supports_versioning = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        package = Path(__file__).parent
        # In a wheel the folder lies inside the package, in a checkout beside it.
        self._path = next(
            folder for folder in (package / "_dags", package.parent / "dags") if folder.is_dir()
        )

    @property
    def path(self) -> Path:
        return self._path

    def get_current_version(self) -> str | None:
        return None

    def refresh(self) -> None:
        """Do nothing: an upgrade of the package is the only way that these files change."""
