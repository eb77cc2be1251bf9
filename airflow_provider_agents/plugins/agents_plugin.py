"""What the provider adds to Airflow's API server: the request of a coding task as JSON schema, and webhooks.

A program that triggers runs with conf (a chat bot, a form of its own) can check the conf, and offer its
fields, without knowing this version of the provider. And the pools are made when Airflow starts.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.plugins_manager import AirflowPlugin

from airflow_provider_agents.plugins import pools


class AgentsPlugin(AirflowPlugin):
    """Endpoints below ``/agents`` of the API server."""

    name = "agents"
    listeners = [pools]  # noqa: RUF012 (as declared by Airflow)

    @cached_property
    def fastapi_apps(self) -> list[Any]:  # type: ignore[override]
        """Build the app on first use: plugins are loaded in every process of Airflow, apps in one."""
        return [{"app": _app(), "url_prefix": "/agents", "name": "agents"}]


def _app() -> Any:
    from airflow.api_fastapi.core_api.security import requires_authenticated
    from fastapi import Depends, FastAPI

    from airflow_provider_agents import __version__
    from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest
    from airflow_provider_agents.plugins.webhook_endpoints import add_webhooks

    app = FastAPI(title="Coding agents", version=__version__)

    @app.get("/request-schema", dependencies=[Depends(requires_authenticated())])
    def request_schema() -> dict[str, Any]:
        """Return the JSON schema of the conf of a `coding_task` run."""
        return CodingTaskRequest.model_json_schema()

    add_webhooks(app)
    return app
