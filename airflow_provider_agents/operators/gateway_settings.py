"""What the gateway of a step's pod is told: the task's own limits, and those of the installation."""

from __future__ import annotations

import dataclasses
import json

from agent_runner.contract import (
    DEFAULT_PROTECTED_PATHS,
    Budget,
    ContractError,
    GatewayConfig,
    ImageAccess,
    McpServer,
    StepSpec,
)
from airflow_provider_agents import settings
from airflow_provider_agents.domain.settings_layers import AGENTS_FILE
from airflow_provider_agents.exceptions import InvalidInputError


def gateway_config(
    spec: StepSpec,
    *,
    budget: Budget,
    forge_url: str,
    push: bool,
    read_repositories: tuple[str, ...],
    secret_name: str,
    protected_paths: tuple[str, ...] = (),
    images: ImageAccess | None = None,
    mcp_servers: tuple[McpServer, ...] = (),
) -> GatewayConfig:
    """Return the configuration for the pod of ``spec``.

    :param budget: what the pod may spend.
    :param forge_url: root that git remotes are below.
    :param push: whether the step may push.
    :param read_repositories: further repositories that may be fetched.
    :param secret_name: of the secret that is named where a credential is missing.
    :param protected_paths: that no push may change, beside those of the installation and ``.agents.yaml``, whose
        limits no agent is to loosen.
    :param images: of the ticket, that the gateway gets for the runner.
    :param mcp_servers: that the agent may speak to.
    :raises InvalidInputError: an option of ``[agents]`` is no value for its purpose.
    """
    protected = settings.text("protected_paths", ",".join(DEFAULT_PROTECTED_PATHS))
    values = {
        "repository": spec.repository,
        "work_branch": spec.work_branch,
        "expected_head": spec.expected_head,
        "forge_url": forge_url,
        "push": push,
        "read_repositories": list(read_repositories),
        "protected_paths": list(dict.fromkeys([*_listed(protected), AGENTS_FILE, *protected_paths])),
        "anthropic_url": settings.text("anthropic_url", "https://api.anthropic.com").rstrip("/"),
        "openai_url": settings.text("openai_url", "https://api.openai.com").rstrip("/"),
        "prices": _prices(),
        "secret_name": secret_name,
    }
    try:
        config = GatewayConfig.from_json(json.dumps(values))
    except ContractError as error:
        raise InvalidInputError([f"[agents]: {error}"]) from None
    return dataclasses.replace(config, budget=budget, images=images or ImageAccess(), mcp_servers=mcp_servers)


def _listed(text: str) -> list[str]:
    return [path for item in text.split(",") if (path := item.strip())]


def _prices() -> object:
    text = settings.text("prices")
    try:
        return json.loads(text) if text else {}
    except ValueError as error:
        raise InvalidInputError([f"[agents] prices: not JSON: {error}"]) from None
