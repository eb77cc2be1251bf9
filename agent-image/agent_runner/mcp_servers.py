"""Where an agent program finds the MCP servers that the platform gives it: at the pod's gateway, and only there.

No credential, and no address but the gateway's, is in what the program is told.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

START_SECONDS = 60
"""How long a server may take until it has told its tools."""
CALL_SECONDS = 900
"""How long one call of a tool may take; the gateway ends it a little later."""


def server_url(gateway_url: str, server: str) -> str:
    """Return the address of an MCP server for the agent.

    :param gateway_url: root of the pod's gateway.
    """
    return f"{gateway_url}/mcp/{server}"


def mcp_json(servers: Iterable[str], gateway_url: str) -> str:
    """Return the servers in the form that Claude Code and others read: an object ``mcpServers``."""
    entries = {server: {"type": "http", "url": server_url(gateway_url, server)} for server in servers}
    return json.dumps({"mcpServers": entries}, separators=(",", ":"))
