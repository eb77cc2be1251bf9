"""The endpoints of the API server."""

from __future__ import annotations

from types import SimpleNamespace

from fastapi import FastAPI
from fastapi.testclient import TestClient

from airflow_provider_agents.plugins.agents_plugin import AgentsPlugin


def test_without_a_user_nothing_is_served(monkeypatch) -> None:
    (served,) = AgentsPlugin().fastapi_apps
    server = FastAPI()
    server.mount(served["url_prefix"], served["app"])
    monkeypatch.setattr(
        "airflow.api_fastapi.core_api.security.get_auth_manager",
        lambda: SimpleNamespace(get_url_login=lambda **_: "/login"),
    )
    answer = TestClient(server).get("/agents/request-schema")
    assert answer.status_code == 401
    assert "properties" not in answer.text
