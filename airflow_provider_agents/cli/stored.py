"""Where init keeps what it is told: Airflow connections, a Kubernetes secret, and ``repositories.yaml``."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.cli.deployment import REQUEST_SECONDS
from airflow_provider_agents.domain.yaml_edit import put_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kubernetes.client import CoreV1Api


def put_connection(
    conn_id: str, conn_type: str, *, host: str = "", password: str = "", extra: str = ""
) -> None:
    """Store a connection in Airflow's metadata database, encrypted, in the place of one of that name."""
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    made = Connection(
        conn_id=conn_id,
        conn_type=conn_type,
        host=host or None,
        password=password or None,
        extra=extra or None,
        description="Made by `airflow agents init`.",
    )
    with create_session() as session:
        session.execute(delete(Connection).where(Connection.conn_id == conn_id))
        session.add(made)


def put_secret(client: CoreV1Api, namespace: str, name: str, values: Mapping[str, str]) -> None:
    """Put keys into a Kubernetes secret, which is made if there is none; its other keys stay.

    :raises kubernetes.client.exceptions.ApiException: Airflow may not, or there is no such namespace.
    """
    from airflow_provider_agents.hooks.unlogged import unlogged_bodies
    from airflow_provider_agents.operators.kubernetes_objects import request_errors, status_of

    data = {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
    body: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": data,
    }
    with unlogged_bodies():
        try:
            client.create_namespaced_secret(namespace, body, _request_timeout=REQUEST_SECONDS)
        except request_errors() as error:
            if status_of(error) != 409:
                raise
            client.patch_namespaced_secret(name, namespace, {"data": data}, _request_timeout=REQUEST_SECONDS)


SCHEMA_LINE = (
    "# yaml-language-server: $schema=repositories.schema.json\n"
    "# The schema: airflow agents schema repositories > repositories.schema.json\n"
)


def put_repository(file: Path, repository: str, values: Mapping[str, Any]) -> None:
    """Write a repository and its settings into ``repositories.yaml``, and let the trigger form start with it.

    Whatever else is in the file stays as it is, comments too.

    :raises OSError: the file cannot be written.
    """
    text = file.read_text(encoding="utf-8") if file.exists() else SCHEMA_LINE
    text = put_yaml(text, ("defaults", "repository"), repository)
    for key, value in values.items():
        text = put_yaml(text, ("repositories", repository, key), value)
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_name(f".{file.name}.{os.getpid()}.new")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(file)
