"""The GitHub and the models that a stack works with, and the credentials for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

ANTHROPIC_URL = "https://api.anthropic.com"
OPENAI_URL = "https://api.openai.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hosts:
    """Where they are, and what opens them. Credentials are left out of the representation."""

    github_connection: Mapping[str, Any] | str = field(repr=False)
    """Airflow connection: its fields, or the whole as one text, as ``AIRFLOW_CONN_…`` takes both."""
    github_token: str = field(default="", repr=False)
    """For the pods' gateways. Empty: the connection is one that makes a token for each step."""
    anthropic_url: str = ANTHROPIC_URL
    anthropic_api_key: str = field(default="", repr=False)
    anthropic_oauth_token: str = field(default="", repr=False)
    openai_url: str = OPENAI_URL
    openai_api_key: str = field(default="", repr=False)

    def secret(self) -> dict[str, str]:
        """Return the entries of the secret that the pods' gateways mount: what there is."""
        values = {
            "github-token": self.github_token,
            "anthropic-api-key": self.anthropic_api_key,
            "anthropic-oauth-token": self.anthropic_oauth_token,
            "openai-api-key": self.openai_api_key,
        }
        return {name: value for name, value in values.items() if value}

    def settings(self) -> dict[str, str]:
        """Return the environment of Airflow that names them."""
        connection = self.github_connection
        # For rules about pull requests, which ask the model from a worker and not from a pod.
        anthropic = {"conn_type": "anthropic", "host": self.anthropic_url, "password": self.anthropic_api_key}
        return {
            "AIRFLOW_CONN_GITHUB_DEFAULT": connection
            if isinstance(connection, str)
            else json.dumps(dict(connection)),
            **({"AIRFLOW_CONN_ANTHROPIC_DEFAULT": json.dumps(anthropic)} if self.anthropic_api_key else {}),
            "AIRFLOW__AGENTS__ANTHROPIC_URL": self.anthropic_url,
            "AIRFLOW__AGENTS__OPENAI_URL": self.openai_url,
        }
