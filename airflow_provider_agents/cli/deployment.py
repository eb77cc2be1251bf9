"""The deployment that is checked: its settings, connections and clients, each read once and when needed."""

from __future__ import annotations

import base64
import binascii
import threading
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from agent_runner.contract import SECRET_KEY_FORGE
from airflow_provider_agents import settings
from airflow_provider_agents.exceptions import AgentsError, InvalidInputError
from airflow_provider_agents.operators.step_credentials import MODEL_KEYS, source_of_credentials

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kubernetes.client import CoreV1Api

    from airflow_provider_agents.hooks.github import GitHubCredential
    from airflow_provider_agents.operators.step_credentials import Source

REQUEST_SECONDS = 8.0
"""Limit of one request to Kubernetes or GitHub."""
_SHORTEST_SECRET = 6
"""Shorter values are not taken out of texts: they would take words apart."""


@dataclass(frozen=True, slots=True)
class SecretReading:
    """What could be read of the installation's secret."""

    state: str
    """``read``, ``absent`` or ``hidden``: Airflow may not read it here."""
    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    keys: tuple[str, ...] = ()
    """All keys, also of values that are no text."""
    said: str = ""
    """Why it is hidden."""


@dataclass(frozen=True, slots=True)
class Identity:
    """One identity at GitHub, and where its credential is kept."""

    name: str
    """For a person: ``connection github_default``."""
    credential: GitHubCredential = field(repr=False)
    reviews_only: bool = False


class Deployment:
    """Reads what checks look at.

    :param repositories: ``owner/name`` of those to check, beside that of the form's defaults.
    """

    def __init__(self, repositories: tuple[str, ...] = ()) -> None:
        self._wanted = repositories
        self._secrets: set[str] = set()
        self._lock = threading.RLock()

    # What is configured

    @property
    def namespace(self) -> str:
        """Namespace of the pods."""
        return settings.text("namespace", "agent-system")

    @property
    def secret_name(self) -> str:
        """Kubernetes secret of the installation."""
        return settings.text("secret", "agent-secrets")

    @property
    def program(self) -> str:
        """Agent program of runs that name none."""
        return str(self.form_defaults.get("agent") or settings.text("agent", "claude"))

    @property
    def source(self) -> Source:
        """Where the pods' credentials come from.

        :raises InvalidInputError: the option is neither.
        """
        return source_of_credentials()

    @cached_property
    def form_defaults(self) -> dict[str, Any]:
        """Defaults that the installation sets for the trigger form; empty where the file is none.

        The check ``airflow.config`` says what is wrong with the file.
        """
        from airflow_provider_agents.task_groups.coding_task_form import installed_defaults

        try:
            return installed_defaults()
        except Exception:
            return {}

    def settings_of(self, repository: str) -> dict[str, Any]:
        """Return the settings of a repository as ``repositories.yaml`` has them; the defaults where it has faults."""
        from airflow_provider_agents.domain.config_files import repositories_file
        from airflow_provider_agents.domain.settings_layers import Installed, effective

        installed, _ = repositories_file(settings.config_folder())
        found = effective(installed or Installed(), repository)
        return {key: value for key, value in found.values.items() if found.origins[key] != "default"}

    @property
    def repositories(self) -> tuple[str, ...]:
        """Repositories to check, the form's own last."""
        default = self.form_defaults.get("repository")
        return tuple(dict.fromkeys([*self._wanted, *([str(default)] if default else [])]))

    # What is known of credentials

    def keep_secret(self, value: str | None) -> None:
        """Remember a secret, so that :meth:`hide` takes it out of every text."""
        if value and len(value) >= _SHORTEST_SECRET:
            self._secrets.add(value)

    def hide(self, text: str) -> str:
        """Return ``text`` without any secret that was seen."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, "***")
        return text

    @cached_property
    def github(self) -> GitHubCredential:
        """What the connection of GitHub says.

        :raises InvalidInputError: it is missing or unusable.
        """
        return self._github(settings.text("github_conn_id", "github_default"))

    def _github(self, conn_id: str) -> GitHubCredential:
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        found = AgentsGitHubHook(conn_id).get_conn()
        self.keep_secret(found.token)
        if found.app is not None:
            for line in found.app.private_key.splitlines():
                if not line.startswith("-----"):
                    self.keep_secret(line)
        return found

    def identities(self) -> list[Identity]:
        """Return the identities at GitHub: of the operators, of the pods where it is another, of the reviewer.

        :raises InvalidInputError: a connection is missing or unusable.
        """
        import dataclasses

        conn_id = settings.text("github_conn_id", "github_default")
        found = [Identity(f"connection {conn_id}", self.github)]
        if self.github.app is None and self.source == "secret":
            token = self.installation_secret.values.get(SECRET_KEY_FORGE)
            if token and token != self.github.token:
                pods = dataclasses.replace(self.github, token=token)
                found.append(Identity(f"key {SECRET_KEY_FORGE} of secret {self.secret_name}", pods))
        if review := settings.text("review_conn_id"):
            found.append(Identity(f"connection {review}", self._github(review), reviews_only=True))
        return found

    def model_values(self) -> dict[str, str]:
        """Return the model's credentials that the pods would have, by key; empty where they cannot be read.

        :raises InvalidInputError: the connection that is needed is missing or has no password.
        """
        if self.source == "connections":
            from airflow_provider_agents.operators.step_credentials import model_secrets

            values = model_secrets(self.program)
            for value in values.values():
                self.keep_secret(value)
            return values
        every = {key for keys in MODEL_KEYS.values() for key in keys}
        return {
            key: value for key, value in self.installation_secret.values.items() if key in every and value
        }

    # What is in the cluster

    @cached_property
    def core(self) -> CoreV1Api:
        """Client of the cluster, which tries each request once.

        :raises InvalidInputError: the connection leads to no cluster.
        """
        from airflow_provider_agents.operators.kubernetes_objects import cluster_client

        client = cluster_client(settings.text("kubernetes_conn_id", "kubernetes_default"))
        client.api_client.rest_client.pool_manager.connection_pool_kw["retries"] = False
        return client

    @cached_property
    def installation_secret(self) -> SecretReading:
        """The installation's secret, as far as it can be read; its values are kept out of every text."""
        from airflow_provider_agents.hooks.unlogged import unlogged_bodies
        from airflow_provider_agents.operators.kubernetes_objects import request_errors, status_of, told

        try:
            with unlogged_bodies():
                read = self.core.read_namespaced_secret(
                    self.secret_name, self.namespace, _request_timeout=REQUEST_SECONDS
                )
        except request_errors() as error:
            return SecretReading("absent" if status_of(error) == 404 else "hidden", said=told(error))
        except AgentsError as error:
            return SecretReading("hidden", said=one_line(error))
        values = {}
        for key, encoded in (read.data or {}).items():
            try:
                values[key] = base64.b64decode(encoded).decode("ascii").strip()
            except (binascii.Error, UnicodeDecodeError):
                continue
            self.keep_secret(values[key])
        return SecretReading("read", values, tuple(sorted(read.data or {})))


def one_line(error: Exception) -> str:
    """Return what an exception says, as one line."""
    text = "; ".join(error.faults) if isinstance(error, InvalidInputError) else str(error)
    return " ".join(text.split())
