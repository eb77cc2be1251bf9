"""MCP servers and skills as the operators of a platform declare them, at the top of ``repositories.yaml``."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from agent_runner.contract import HEADER_PATTERN

AgentStep = Literal["plan", "implement", "fix", "review"]
AGENT_STEPS: tuple[AgentStep, ...] = get_args(AgentStep)
"""Steps that run an agent."""

BEARER_HEADER = "Authorization"
"""Header of a credential that a declaration names no other for; it has ``Bearer`` before it."""

_RESERVED_HEADERS = frozenset(
    {"accept", "accept-encoding", "connection", "content-length", "content-type", "cookie", "host", "last-event-id",
     "te", "trailer", "transfer-encoding", "upgrade", "user-agent"}
)  # fmt: skip
_MCP_HEADERS = "mcp-"
_INSIDE = (".svc", ".svc.cluster.local", ".internal", ".local", ".localhost")
"""How names end that stand for hosts of a private network."""
_STDIO = frozenset({"command", "args", "env", "stdio"})

Steps = Annotated[tuple[AgentStep, ...], Field(min_length=1, max_length=len(AGENT_STEPS))]
ToolName = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[\x21-\x7e]+$")]


class _Declaration(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class McpServer(_Declaration):
    """An MCP server that agents reach through the gateway of their pod, by streamable HTTP."""

    url: str = Field(
        min_length=1,
        max_length=500,
        description="Its address: `https`, or `http` inside the cluster. Nothing else of the host is reached.",
    )
    connection: str | None = Field(
        default=None,
        min_length=1,
        max_length=250,
        pattern=r"^[\w.-]+$",
        description="Airflow connection whose password is its credential; its extra may name the `header`.",
    )
    secret: bool = Field(
        default=False,
        description="Its credential is the key `mcp-<name>` of the secret `[agents] secret`.",
    )
    header: str | None = Field(
        default=None,
        description="Header that the credential goes into as it is. Empty: `Authorization`, with `Bearer` before it.",
    )
    tools: tuple[ToolName, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="Tools that agents may use; nothing else of the server then. Empty: all that it has.",
    )
    steps: Steps = Field(default=AGENT_STEPS, description="Steps whose agents may use it.")

    @model_validator(mode="before")
    @classmethod
    def _no_program(cls, value: Any) -> Any:
        if isinstance(value, dict) and (_STDIO & set(value) or value.get("type") == "stdio"):
            raise PydanticCustomError(
                "stdio",
                "a server that is a program (stdio) would run beside the agent, with its rights and its credential in "
                "the agent's reach; run it as a service of its own with streamable HTTP, and give its `url`",
            )
        return value

    @field_validator("url")
    @classmethod
    def _address(cls, value: str) -> str:
        if fault := url_fault(value):
            raise PydanticCustomError("url", "{fault}", {"fault": fault})
        return value

    @field_validator("header")
    @classmethod
    def _header(cls, value: str | None) -> str | None:
        if value is not None and (fault := header_fault(value)):
            raise PydanticCustomError("header", "{fault}", {"fault": fault})
        return value

    @model_validator(mode="after")
    def _one_credential(self) -> McpServer:
        if self.connection and self.secret:
            raise PydanticCustomError(
                "credential", "has `connection` and `secret`; its credential is in one place"
            )
        if self.header and not self.takes_credential:
            raise PydanticCustomError(
                "credential", "`header` is for a credential; name its `connection` or set `secret`"
            )
        return self

    @property
    def takes_credential(self) -> bool:
        """Whether the gateway adds a credential to its requests."""
        return self.secret or self.connection is not None


class Skill(_Declaration):
    """A skill: the folder `skills/<name>` below `[agents] config_path`, with a `SKILL.md`."""

    steps: Steps = Field(default=AGENT_STEPS, description="Steps whose agents are given it.")


def url_fault(text: str) -> str | None:
    """Say why ``text`` cannot be the address of an MCP server, or ``None``."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        return "is not a URL"
    if re.search(r"[\s\x00-\x1f\x7f-\uffff\\]", text) or url.scheme not in ("http", "https") or not host:
        return "is not an http or https URL"
    if url.username is not None or url.password is not None:
        return "holds a credential; put it into a `connection`"
    if url.query or url.fragment or text.endswith(("?", "#")):
        return "a URL without a query or a fragment is needed"
    if port == 0:
        return "is not a URL"
    if url.scheme == "http" and not _is_inside(host):
        return "is http to a host outside the cluster, where anyone on the way could read along; use https"
    return None


def header_fault(name: str) -> str | None:
    """Say why a credential cannot go into the header ``name``, or ``None``."""
    if not HEADER_PATTERN.fullmatch(name):
        return "is no name of a header"
    if name.lower() in _RESERVED_HEADERS or name.lower().startswith(_MCP_HEADERS):
        return f"{name} is a header that the gateway sets itself"
    return None


def _is_inside(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith(_INSIDE)
    return address.is_private or address.is_loopback
