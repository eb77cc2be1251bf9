"""Where the credentials of MCP servers come from, and that they reach the gateway's secret and nothing else."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from agent_steps import Step, github  # noqa: F401 (a fixture)
from airflow.sdk import BaseHook, Connection
from airflow.sdk.exceptions import AirflowNotFoundException
from fakes import coding_task

from agent_runner.contract import GatewayConfig, Ledger, McpUse, StepResult, StepSpec
from agent_runner.contract import McpServer as ToldServer
from airflow_provider_agents.domain.tool_servers import McpServer
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.mcp_credentials import mcp_access
from airflow_provider_agents.operators.pod_parts import SPEC_ANNOTATION
from airflow_provider_agents.operators.step_credentials import resolve
from airflow_provider_agents.operators.step_outcome import StepOutcome
from airflow_provider_agents.operators.steps import AgentPlanOperator, AgentTestOperator

URL = "https://docs.example.com/mcp"
CANARY = "mcp_canary_1"


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {
        "docs_mcp": {"password": f" {CANARY}\n"},
        "gh": {"password": "ghp_canary"},
        "anthropic_default": {"password": "sk-ant-canary"},
    }

    def get(conn_id: str) -> Connection:
        if conn_id not in known:
            raise AirflowNotFoundException(conn_id)
        return Connection(conn_id=conn_id, conn_type="generic", **known[conn_id])

    monkeypatch.setattr(BaseHook, "get_connection", staticmethod(get))
    return known


def server(**values: Any) -> McpServer:
    return McpServer(url=URL, **{"connection": "docs_mcp", **values})


def told(one: McpServer) -> tuple[ToldServer, dict[str, str]]:
    (found,), credentials = mcp_access({"docs": one}, "agent-secrets")
    return found, credentials


def test_of_a_connection(connections: Any) -> None:
    found, credentials = told(server(tools=("search",)))
    assert found == ToldServer(
        name="docs", url=URL, tools=("search",), header="Authorization",
        credential="the password of connection docs_mcp",
    )  # fmt: skip
    assert credentials == {"mcp-docs": CANARY}
    assert CANARY not in repr(found)


def test_the_header_is_of_the_declaration_else_of_the_connection(connections: Any) -> None:
    connections["docs_mcp"]["extra"] = json.dumps({"header": "X-Api-Key"})
    assert told(server())[0].header == "X-Api-Key"
    assert told(server(header="Api-Token"))[0].header == "Api-Token"


def test_of_the_secret_of_the_installation(connections: Any) -> None:
    found, credentials = told(McpServer(url=URL, secret=True, header="X-Key"))
    assert (found.header, found.credential) == ("X-Key", "the key mcp-docs of secret agent-secrets")
    assert credentials == {}
    assert told(McpServer(url=URL, secret=True))[0].header == "Authorization"


def test_without_one(connections: Any) -> None:
    found, credentials = told(McpServer(url=URL))
    assert (found.header, found.credential, credentials) == (None, None, {})


@pytest.mark.parametrize(
    ("connection", "words"),
    [
        (None, "does not exist: airflow connections add docs_mcp"),
        ({}, "has no password"),
        ({"password": " "}, "has no password"),
        ({"password": "mcp canary"}, "is not one line of ASCII without spaces"),
        ({"password": "mcp_canary\nX: y"}, "is not one line of ASCII"),
        ({"password": "mcp_canäry"}, "is not one line of ASCII"),
        ({"password": "x", "extra": '{"header": "Host"}'}, "`header` of its extra Host is a header that"),
        ({"password": "x", "extra": '{"header": "a: b"}'}, "`header` of its extra is no name"),
        ({"password": "x", "extra": '{"header": ["a"]}'}, "`header` of its extra is no text"),
    ],
)
def test_connections_that_are_no_use(connections: Any, connection: Any, words: str) -> None:
    del connections["docs_mcp"]
    if connection is not None:
        connections["docs_mcp"] = connection
    with pytest.raises(InvalidInputError) as caught:
        mcp_access({"docs": server(), "wiki": server()}, "s")
    assert len(caught.value.faults) == 2, "each is named"
    assert words in caught.value.faults[0]
    assert "of the MCP server docs" in caught.value.faults[0]
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("source", ["secret", "connections"])
def test_what_the_pod_mounts(connections: Any, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__CREDENTIALS", source)
    found = resolve(
        "plan",
        "acme/shop",
        pod_name="p",
        namespace="n",
        github_conn_id="gh",
        secret="agent-secrets",
        mcp_servers={"docs": server(), "db": McpServer(url=URL, secret=True), "open": McpServer(url=URL)},
    )
    assert [each.name for each in found.mcp_servers] == ["docs", "db", "open"]
    assert found.data["mcp-docs"] == CANARY
    assert found.secret_name == "p-credentials"
    assert found.installation_secret == "agent-secrets"
    assert found.installation_keys[-1] == "mcp-db"
    assert "mcp-open" not in {*found.data, *found.installation_keys}
    assert "canary" not in repr(found)
    sources = found.volume().projected.sources
    keys = {each.secret.name: {item.key for item in each.secret.items} for each in sources}
    assert "mcp-docs" in keys["p-credentials"]
    assert "mcp-db" in keys["agent-secrets"]


@pytest.mark.usefixtures("github")
@pytest.mark.parametrize("operator", [AgentPlanOperator, AgentTestOperator])
def test_the_pod_of_a_step(operator: Any) -> None:
    servers = {"docs": McpServer(url=URL, secret=True), "fixer": McpServer(url=URL, steps=("fix",))}
    task = coding_task().model_copy(update={"mcp_servers": servers})
    step = Step(operator, coding_task=task.model_dump(mode="json"))
    step.deferred()
    pod = step.kubernetes.pods[step.kubernetes.only]
    spec = StepSpec.from_json(pod["metadata"]["annotations"][SPEC_ANNOTATION])
    containers = [*pod["spec"].get("initContainers", ()), *pod["spec"]["containers"]]
    texts = {
        each["name"]: {entry["name"]: entry.get("value") for entry in each["env"]} for each in containers
    }
    config = GatewayConfig.from_json(texts["gateway"]["AGENT_GATEWAY_CONFIG"] or "")
    wanted = ("docs",) if operator is AgentPlanOperator else ()
    assert spec.agent.mcp_servers == wanted
    assert tuple(each.name for each in config.mcp_servers) == wanted
    items = [
        item["key"]
        for volume in pod["spec"]["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        for item in source["secret"]["items"]
    ]
    assert items.count("mcp-docs") == len(wanted)
    assert URL not in json.dumps(texts["base"])
    assert URL not in pod["metadata"]["annotations"][SPEC_ANNOTATION]


def test_the_log_of_a_step_says_what_was_asked() -> None:
    ledger = Ledger(
        mcp=(McpUse(server="docs", calls=3, failed=1, refused=2), McpUse(server="wiki", calls=1)),
        refusals=(
            "push refused",
            "mcp docs: the MCP server docs refused the password of connection docs_mcp",
        ),
    )
    outcome = StepOutcome(result=StepResult(outcome="succeeded"), ledger=ledger, pod_name="p")
    assert outcome.summary("plan").endswith(
        "pod p. MCP server docs: 3 calls, 1 failed, 2 refused. MCP server wiki: 1 calls. mcp docs: the MCP server docs "
        "refused the password of connection docs_mcp."
    )
    assert dataclasses.replace(outcome, ledger=None).summary("plan").endswith("pod p.")
