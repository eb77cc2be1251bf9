"""What Airflow is told about this provider (``airflow/provider_info.schema.json``)."""

from __future__ import annotations

from typing import Any

_INTEGRATION = "AI coding agents"


def _option(
    description: str, *, example: str | None, default: str | None, kind: str = "string"
) -> dict[str, Any]:
    return {
        "description": description,
        "version_added": "0.1.0",
        "type": kind,
        "example": example,
        "default": default,
    }


def get_provider_info() -> dict[str, Any]:
    """Return the provider's metadata. The connection type ``github`` is that of the GitHub provider."""
    package = "airflow_provider_agents"
    return {
        "package-name": "airflow-provider-agents",
        "name": "Coding agents",
        "description": "Takes a coding ticket to a merged pull request with AI coding agents in Kubernetes pods.",
        "versions": ["0.1.0"],
        "integrations": [
            {
                "integration-name": _INTEGRATION,
                "tags": ["ai"],
            }
        ],
        "operators": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    f"{package}.operators.steps",
                    f"{package}.operators.accept",
                    f"{package}.operators.open_pull_request",
                    f"{package}.operators.landing_gate",
                ],
            }
        ],
        "sensors": [
            {"integration-name": _INTEGRATION, "python-modules": [f"{package}.sensors.pull_request"]}
        ],
        "hooks": [{"integration-name": _INTEGRATION, "python-modules": [f"{package}.hooks.github"]}],
        "triggers": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [f"{package}.triggers.agent_pod", f"{package}.triggers.pull_request"],
            }
        ],
        "bundles": [{"integration-name": _INTEGRATION, "python-modules": [f"{package}.bundles"]}],
        "extra-links": [f"{package}.links.AgentPodLink", f"{package}.links.PullRequestLink"],
        "plugins": [{"name": "agents", "plugin-class": f"{package}.plugins.agents_plugin.AgentsPlugin"}],
        "config": {"agents": {"description": "Coding agents.", "options": _options()}},
    }


def _options() -> dict[str, Any]:
    return {
        "installation": _option(
            "Name of this Airflow, put on every object that is made, so that several may share a cluster.",
            example="team-a",
            default="default",
        ),
        "namespace": _option(
            "Kubernetes namespace of the agents' pods.", example=None, default="agent-system"
        ),
        "service_account": _option(
            "Service account of the agents' pods. It needs no right, and no token of it is mounted.",
            example=None,
            default="agent-runner",
        ),
        "image": _option(
            "Image of the agents' pods, see agent-image/Dockerfile.",
            example="registry.example.com/airflow-agents/agent:0.1.0",
            default="airflow-agents/agent:latest",
        ),
        "secret": _option(
            "Kubernetes secret with the keys `github-token` and `anthropic-api-key`. Only the gateway "
            "container of a pod mounts it.",
            example=None,
            default="agent-secrets",
        ),
        "kubernetes_conn_id": _option(
            "Airflow connection of the cluster.", example=None, default="kubernetes_default"
        ),
        "github_conn_id": _option(
            "Airflow connection of type `github`: token in the password, and for GitHub Enterprise Server the "
            "REST URL in the host.",
            example=None,
            default="github_default",
        ),
        "anthropic_url": _option(
            "Base URL of the Anthropic API, as the gateway reaches it.",
            example="https://llm-proxy.example.com",
            default="https://api.anthropic.com",
        ),
        "model": _option(
            "Model of every step that does not name one. Empty: the agent program's default.",
            example="claude-sonnet-4-5",
            default="",
        ),
        "max_attempts": _option(
            "Most implement-and-test attempts of a task: how many the graph has. Runs may ask for fewer.",
            example=None,
            default="3",
            kind="integer",
        ),
        "max_rounds": _option(
            "Most fix rounds of a task: how many the graph has. Runs may ask for fewer.",
            example=None,
            default="5",
            kind="integer",
        ),
        "poll_interval": _option(
            "Seconds between two readings of a pull request that is waited for.",
            example=None,
            default="30",
            kind="integer",
        ),
        "pod_url_template": _option(
            "Where a person can look at a pod, with {namespace} and {name}. Empty: no link.",
            example="https://dashboard.example.com/#/pod/{namespace}/{name}",
            default="",
        ),
        "config_path": _option(
            "Folder with this installation's own files. `coding_task.yaml` in it sets the defaults of the "
            "trigger form; the shipped DAGs are never edited.",
            example="/opt/airflow/agents",
            default="",
        ),
    }
