"""Declarations of MCP servers and skills."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_agents.domain.settings_layers import read_repositories
from airflow_provider_agents.domain.tool_servers import AGENT_STEPS, McpServer, header_fault, url_fault
from airflow_provider_agents.domain.yaml_source import load_yaml


def faults(text: str) -> list[str]:
    return read_repositories(load_yaml(text, "repositories.yaml"))[1]


def declared(**values: Any) -> list[str]:
    lines = "".join(
        f"    {key}: {value}\n" for key, value in ({"url": "https://d.example.com/mcp"} | values).items()
    )
    return faults(f"mcp_servers:\n  docs:\n{lines}")


def test_what_a_declaration_says() -> None:
    installed, wrong = read_repositories(
        load_yaml(
            "mcp_servers:\n"
            "  docs: {url: https://d/mcp, connection: docs_mcp, tools: [search, fetch], steps: [plan, review]}\n"
            "  db: {url: 'http://db.tools.svc:8080/mcp', secret: true, header: X-Api-Key}\n"
            "skills:\n  sql: {}\n  css: {steps: [implement]}\n"
            "repositories: {acme/shop: {mcp_servers: [docs, db], skills: [sql]}}\n",
            "repositories.yaml",
        )
    )
    assert wrong == []
    assert installed is not None
    servers, skills = installed.repositories.mcp_servers, installed.repositories.skills
    assert servers["docs"].tools == ("search", "fetch")
    assert servers["docs"].steps == ("plan", "review")
    assert (servers["db"].steps, servers["db"].tools) == (AGENT_STEPS, None)
    assert [server.takes_credential for server in servers.values()] == [True, True]
    assert not McpServer(url="https://d").takes_credential
    assert (skills["sql"].steps, skills["css"].steps) == (AGENT_STEPS, ("implement",))


@pytest.mark.parametrize("key", ["command: [docs-mcp]", "args: [x]", "env: {}", "type: stdio"])
def test_a_server_that_is_a_program_is_refused_with_the_reason(key: str) -> None:
    [fault] = faults(f"mcp_servers:\n  docs:\n    {key}\n    url: https://d\n")
    assert fault.startswith(
        "repositories.yaml:2: mcp_servers.docs: a server that is a program (stdio) would run"
    )
    assert "run it as a service of its own with streamable HTTP, and give its `url`" in fault


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"connection": "a", "secret": "true"}, "its credential is in one place"),
        ({"header": "X-Key"}, "`header` is for a credential"),
        ({"secret": "true", "header": "Host"}, "Host is a header that the gateway sets itself"),
        ({"secret": "true", "header": "mcp-session-id"}, "sets itself"),
        ({"secret": "true", "header": "'X: y'"}, "is no name of a header"),
        ({"tools": "[]"}, "mcp_servers.docs.tools"),
        ({"tools": "['a b']"}, "mcp_servers.docs.tools"),
        ({"steps": "[]"}, "mcp_servers.docs.steps"),
        ({"steps": "[test]"}, "mcp_servers.docs.steps"),
        ({"connection": "'a b'"}, "mcp_servers.docs.connection"),
        ({"tool": "[a]"}, "did you mean `tools`?"),
        ({"url": "http://docs.example.com/mcp"}, "http to a host outside the cluster"),
    ],
)
def test_faults_name_the_place(values: dict[str, str], words: str) -> None:
    found = declared(**values)
    assert found
    assert found[0].startswith("repositories.yaml:")
    assert words in found[0]


@pytest.mark.parametrize("name", ["Docs", "../x", "a b", "", "x" * 41, "-a"])
def test_names_of_servers_and_skills(name: str) -> None:
    assert faults(f"mcp_servers: {{{name!r}: {{url: https://d}}}}\n")
    assert faults(f"skills: {{{name!r}: {{}}}}\n")


@pytest.mark.parametrize(
    "url",
    [
        "https://d.example.com", "https://d.example.com:8443/a/b", "http://docs/mcp", "http://docs.tools.svc/mcp",
        "http://docs.tools.svc.cluster.local:80/mcp", "http://10.1.2.3/mcp", "http://127.0.0.1:8/mcp",
        "http://[::1]:8/mcp", "http://x.internal/m",
    ],
)  # fmt: skip
def test_addresses(url: str) -> None:
    assert url_fault(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "ftp://d/x", "d.example.com", "//d/x", "https://", "https:///x", "https://u:p@d/x", "https://u@d/x",
        "https://d/x?key=1", "https://d/x?", "https://d/x#a", "https://d/x#", "https://d/ x", "https://d\\@e/x",
        "https://d:99999/x", "https://d:0/x", "https://[::1/x", "http://d.example.com/x", "http://8.8.8.8/x",
        "http://d.example.com.svc.evil.com/x", "https://d\u2028/x", "javascript:alert(1)", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    assert url_fault(url) is not None


@pytest.mark.parametrize("name", ["Authorization", "X-Api-Key", "api-key", "PRIVATE-TOKEN"])
def test_headers(name: str) -> None:
    assert header_fault(name) is None
