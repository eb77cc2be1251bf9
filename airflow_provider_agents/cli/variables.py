"""Airflow Variables, as the API shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents.cli.api_client import ApiError, part

if TYPE_CHECKING:
    from airflow_provider_agents.cli.api_client import AirflowApi


def variable(api: AirflowApi, key: str) -> str:
    """Return the text of a Variable; empty where there is none."""
    answer = api.optional(f"/variables/{part(key)}")
    return str(answer.get("value") or "") if isinstance(answer, dict) else ""


def variables(api: AirflowApi, prefix: str) -> dict[str, str]:
    """Return the texts of all Variables whose key begins so."""
    listed = api.pages("/variables", "variables", variable_key_prefix_pattern=prefix)
    found = {str(each["key"]): str(each.get("value") or "") for each in listed}
    return {key: text for key, text in found.items() if key.startswith(prefix)}


def set_variable(api: AirflowApi, key: str, value: str, description: str) -> None:
    """Write a Variable, and make it where there is none."""
    try:
        api.change("PATCH", f"/variables/{part(key)}", {"key": key, "value": value}, update_mask="value")
    except ApiError as error:
        if error.status != 404:
            raise
        api.change("POST", "/variables", {"key": key, "value": value, "description": description})
