"""The credentials of MCP servers: from Airflow connections, or from the secret of the installation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from agent_runner.contract import McpServer, mcp_secret_key
from airflow_provider_agents.domain.tool_servers import BEARER_HEADER, header_fault
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.tool_servers import McpServer as DeclaredServer

HEADER_EXTRA = "header"
"""Key of a connection's extra: the header that its password goes into."""
_HEADER_SAFE = re.compile(r"[\x21-\x7e]{1,16384}")


def mcp_access(
    servers: Mapping[str, DeclaredServer], secret: str
) -> tuple[tuple[McpServer, ...], dict[str, str]]:
    """Return the servers as the gateway is told of them, and the credentials of those with a connection.

    :param servers: declarations by name.
    :param secret: name of the installation's own Kubernetes secret, for messages.
    :return: no credential is in the first; the second has them by key of the pod's secret.
    :raises InvalidInputError: a connection is missing, or is no use; each is named.
    """
    found: list[McpServer] = []
    credentials: dict[str, str] = {}
    faults: list[str] = []
    for name, server in servers.items():
        header, place = server.header, None
        key = mcp_secret_key(name)
        if server.secret:
            header, place = header or BEARER_HEADER, f"the key {key} of secret {secret}"
        elif server.connection is not None:
            place = f"the password of connection {server.connection}"
            try:
                header, credentials[key] = _of_connection(name, server)
            except InvalidInputError as error:
                faults += error.faults
        found.append(
            McpServer(name=name, url=server.url, tools=server.tools, header=header, credential=place)
        )
    if faults:
        raise InvalidInputError(faults)
    return tuple(found), credentials


def _of_connection(name: str, server: DeclaredServer) -> tuple[str, str]:
    """Return header and value of a server's credential."""
    conn_id = server.connection or ""
    said = f"connection {conn_id!r} of the MCP server {name}"
    add = f"airflow connections add {conn_id} --conn-type generic --conn-password CREDENTIAL"
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException:
        raise InvalidInputError([f"{said} does not exist: {add}"]) from None
    value = (connection.password or "").strip()
    if not value:
        raise InvalidInputError([f"{said} has no password, where its credential belongs"])
    if not _HEADER_SAFE.fullmatch(value):
        raise InvalidInputError([f"{said}: its password is not one line of ASCII without spaces"])
    header = server.header or connection.extra_dejson.get(HEADER_EXTRA) or BEARER_HEADER
    fault = header_fault(header) if isinstance(header, str) else "is no text"
    if fault is not None:
        raise InvalidInputError([f"{said}: `{HEADER_EXTRA}` of its extra {fault}"])
    return header, value
