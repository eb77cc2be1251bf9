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


def _field(
    label: str, description: str, kind: list[str] | None = None, default: Any = None
) -> dict[str, Any]:
    """Return a field of a connection's form, kept in its extra."""
    schema: dict[str, Any] = {"type": kind or ["string", "null"]}
    if default is not None:
        schema["default"] = default
    return {"label": label, "description": description, "schema": schema}


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
                    f"{package}.operators.admit",
                    f"{package}.operators.open_pull_request",
                    f"{package}.operators.landing_gate",
                    f"{package}.operators.workspace",
                    f"{package}.operators.sweep",
                    f"{package}.operators.stale_branches",
                    f"{package}.operators.sweep_cache",
                    f"{package}.operators.housekeeping_report",
                ],
            }
        ],
        "sensors": [
            {"integration-name": _INTEGRATION, "python-modules": [f"{package}.sensors.pull_request"]}
        ],
        "hooks": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    f"{package}.hooks.github",
                    f"{package}.hooks.linear",
                    f"{package}.hooks.argocd",
                ],
            }
        ],
        "triggers": [
            {
                "integration-name": _INTEGRATION,
                "python-modules": [
                    f"{package}.triggers.agent_pod",
                    f"{package}.triggers.pull_request",
                    f"{package}.triggers.pr_rule_watch",
                    f"{package}.triggers.ticket_wake",
                ],
            }
        ],
        "bundles": [{"integration-name": _INTEGRATION, "python-modules": [f"{package}.bundles"]}],
        "extra-links": [f"{package}.links.AgentPodLink", f"{package}.links.PullRequestLink"],
        "plugins": [{"name": "agents", "plugin-class": f"{package}.plugins.agents_plugin.AgentsPlugin"}],
        "connection-types": [
            {
                "connection-type": "linear",
                "hook-class-name": f"{package}.hooks.linear.AgentsLinearHook",
                "hook-name": "Linear",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port", "extra"],
                    "relabeling": {"host": "API URL", "password": "API key or OAuth token"},
                    "placeholders": {"host": "https://api.linear.app/graphql", "password": "lin_api_…"},
                },
            },
            {
                "connection-type": "argocd",
                "hook-class-name": f"{package}.hooks.argocd.ArgoCdHook",
                "hook-name": "Argo CD",
                "ui-field-behaviour": {
                    "hidden-fields": ["schema", "login", "port", "extra"],
                    "relabeling": {"host": "Address", "password": "Token"},
                    "placeholders": {"host": "https://argocd.example.com"},
                },
                "conn-fields": {
                    "verify": _field(
                        "Check the certificate",
                        "Off only where nobody else can answer.",
                        ["boolean", "null"],
                        True,
                    ),
                    "ca_file": _field(
                        "Authority's certificate", "File in PEM, there for workers and triggerer alike."
                    ),
                    "ca_certificate": _field("The same as text", "PEM, in the place of a file."),
                    "namespace": _field("Namespace", "Of the applications, where it is not Argo CD's own."),
                    "project": _field(
                        "Project",
                        "Of the applications. With it Argo CD tells an absent application from a forbidden one.",
                    ),
                },
            },
        ],
        "cli": [f"{package}.cli.definition.get_agents_cli_commands"],
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
            "Image of the agents' pods, see agent-image/Dockerfile. `{preset}` in it stands for the preset of a "
            "run (`base`, `node`, `python`, `go`, `rust` or `full`), found from the repository's files.",
            example="registry.example.com/airflow-agents/agent:0.1.0-{preset}",
            default="airflow-agents/agent:latest",
        ),
        "secret": _option(
            "Kubernetes secret with the keys `github-token`, and `anthropic-api-key` or "
            "`anthropic-oauth-token` or `openai-api-key`. Only the gateway container of a pod mounts it.",
            example=None,
            default="agent-secrets",
        ),
        "credentials": _option(
            "Where the pods' credentials come from: `secret`, the Kubernetes secret above; or `connections`, "
            "the Airflow connections below: then each pod gets a short-lived secret of its own. A GitHub App "
            "connection always does: its tokens are made for one step each.",
            example="connections",
            default="secret",
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
        "anthropic_conn_id": _option(
            "Airflow connection whose password is the Anthropic API key: of rules for pull requests that name none, and of steps "
            "where `credentials` is `connections`.",
            example=None,
            default="anthropic_default",
        ),
        "openai_conn_id": _option(
            "Airflow connection whose password is the OpenAI API key, where `credentials` is `connections`.",
            example=None,
            default="openai_default",
        ),
        "anthropic_url": _option(
            "Base URL of the Anthropic API, as the gateway reaches it.",
            example="https://llm-proxy.example.com",
            default="https://api.anthropic.com",
        ),
        "openai_url": _option(
            "Base URL of the OpenAI API, as the gateway reaches it.",
            example="https://llm-proxy.example.com",
            default="https://api.openai.com",
        ),
        "agent": _option(
            "Agent program of runs that name none: `claude`, `codex`, `command`, or one that the image adds.",
            example="codex",
            default="claude",
        ),
        "model": _option(
            "Model of every step that does not name one. Empty: the agent program's default.",
            example="claude-sonnet-4-5",
            default="",
        ),
        "prices": _option(
            "JSON: model family to USD per million tokens, as `input`, `output` and optionally `cache_read` and "
            "`cache_write`. Wins over the built-in price table.",
            example='{"my-model": {"input": 1, "output": 4}}',
            default="",
        ),
        "budget_usd": _option(
            "Most that a run of `coding_task` without a budget of its own may spend on model calls, in USD; 0: no "
            "limit.",
            example=None,
            default="20",
            kind="float",
        ),
        "protected_paths": _option(
            "Paths that no push of an agent may change, separated by commas: `**` stands for any folders, `*` "
            "and `?` for parts of one name. Empty: none.",
            example=".github/workflows/**, deploy/**",
            default=".github/workflows/**",
        ),
        "workspace": _option(
            "Where a run keeps checkout and session between its pods: `claim`, a persistent volume claim; or "
            "`ephemeral`: nowhere, each pod starts with a fresh checkout and a digest of what was done.",
            example="ephemeral",
            default="claim",
        ),
        "workspace_size": _option("Size of a run's claim.", example=None, default="10Gi"),
        "storage_class": _option(
            "Storage class of the claims. Empty: the cluster's default.", example=None, default=""
        ),
        "workspace_expiry_hours": _option(
            "How long the claim of a run that failed is kept, so that a cleared task can go on with it.",
            example=None,
            default="168",
            kind="integer",
        ),
        "cache_claim": _option(
            "Persistent volume claim in the agents' namespace that keeps a mirror of each repository, its package "
            "caches and its set-up results from run to run; deploy/ has one. Empty: nothing is kept.",
            example="agents-cache",
            default="",
        ),
        "memory_ceiling": _option(
            "Most memory that a step is given when it is repeated, once, after it ran out of memory.",
            example=None,
            default="16Gi",
        ),
        "max_attempts": _option(
            "Most implement-and-test attempts of a task: how many the graph has. Runs may ask for fewer.",
            example=None,
            default="3",
            kind="integer",
        ),
        "max_runs": _option(
            "Most runs at work at a time; others wait for their turn. A run is at work until its pull request is open.",
            example=None,
            default="5",
            kind="integer",
        ),
        "max_runs_per_repository": _option(
            "The same in each repository; `max_runs` of a repository in `repositories.yaml` takes its place.",
            example=None,
            default="2",
            kind="integer",
        ),
        "runs_per_day": _option(
            "Most runs that start on one UTC day. Empty: no limit.", example="50", default="", kind="integer"
        ),
        "usd_per_day": _option(
            "Most USD that runs may cost on one UTC day; a run at work counts with its whole budget. Empty: no limit.",
            example="200",
            default="",
            kind="float",
        ),
        "max_steps": _option(
            "Slots of the pool `agents`, in which all steps run: most pods at a time. At least `max_runs`, or steps of "
            "runs at work wait for those of others.",
            example=None,
            default="5",
            kind="integer",
        ),
        "max_rounds": _option(
            "Most fix rounds of a task: how many the graph has. Runs may ask for fewer.",
            example=None,
            default="5",
            kind="integer",
        ),
        "granted_rounds": _option(
            "Fix rounds that the graph has beyond those, for what people ask for when the landing is stuck.",
            example=None,
            default="2",
            kind="integer",
        ),
        "review_conn_id": _option(
            "Connection of type `github` of the identity that the review agent posts as. Empty: that of the "
            "task, which then only comments on what it wrote itself.",
            example="github_reviewer",
            default="",
        ),
        "poll_interval": _option(
            "Seconds between two readings of a pull request that is waited for.",
            example=None,
            default="30",
            kind="integer",
        ),
        "wake_variable": _option(
            "Airflow Variable that tells who waits for a pull request or for tickets to look at once. The webhook "
            'endpoints write it; another receiver may, too: a JSON object like {"owner/name#7": 3} (without #7: all '
            'of the repository; "tickets:NAME": a source of tickets), of at most 1,000 names; a changed number or '
            "text wakes. Empty: nobody is woken.",
            example=None,
            default="agents_wake",
        ),
        "wake_seconds": _option(
            "Seconds between two readings of that Variable, at least 1; one reading for each triggerer.",
            example=None,
            default="2",
            kind="float",
        ),
        "github_webhook_conn_id": _option(
            "Airflow connection whose password is the secret of GitHub's webhooks to `/agents/webhooks/github`; two "
            "secrets, separated by white space, while one replaces the other. Empty: the endpoint refuses to work.",
            example="github_webhook",
            default="",
        ),
        "linear_webhook_conn_id": _option(
            "The same of Linear's webhooks to `/agents/webhooks/linear`.",
            example="linear_webhook",
            default="",
        ),
        "pod_url_template": _option(
            "Where a person can look at a pod, with {namespace} and {name}. Empty: no link.",
            example="https://dashboard.example.com/#/pod/{namespace}/{name}",
            default="",
        ),
        "pod_keep_hours": _option(
            "Hours that the pod of a step is kept after it succeeded, to be looked at; 0: deleted at once. A pod "
            "does not outlive the workspace claim of its run.",
            example=None,
            default="24",
            kind="float",
        ),
        "failed_pod_keep_hours": _option(
            "The same of a pod that failed.", example=None, default="168", kind="float"
        ),
        "claim_keep_minutes": _option(
            "Minutes that the workspace claim of a run that was merged, closed or stopped is kept after its end, "
            "where the run could not give it back itself. Claims of other runs: workspace_expiry_hours.",
            example=None,
            default="10",
            kind="float",
        ),
        "branch_keep_days": _option(
            "Days that the work branch of a closed pull request is kept before the DAG agents_maintenance deletes "
            "it; only branches that a run of this Airflow made. 0: for ever.",
            example=None,
            default="14",
            kind="float",
        ),
        "cache_max_size": _option(
            "Size that the cache claim is kept below: what was not used for longest goes first.",
            example="200Gi",
            default="50Gi",
        ),
        "cache_repository_max_size": _option(
            "The same of the package caches of one repository.", example=None, default="10Gi"
        ),
        "cache_unused_days": _option(
            "Days after which the caches of a repository that no step has used go.",
            example=None,
            default="30",
            kind="integer",
        ),
        "rules_organization": _option(
            "GitHub organisation, or user, whose repositories the rules for pull requests (`rules/*.yaml`) are for, where "
            "a rule names none.",
            example="acme",
            default="",
        ),
        "rules_repositories": _option(
            "Repositories that these rules are for where a rule names none, separated by commas: `owner/name`, or, with "
            "an organisation, names and patterns of names. Empty: all of the organisation.",
            example="acme/shop, acme/billing",
            default="",
        ),
        "rules_model": _option(
            "Model that decides about pull requests where a rule names none. Empty: that of the connection.",
            example="claude-haiku-4-5",
            default="",
        ),
        "config_path": _option(
            "Folder with this installation's own files. `repositories.yaml` in it has the settings of repositories "
            "(docs/settings.md), `tickets/*.yaml` the sources of tickets, `rules/*.yaml` the rules for pull requests, "
            "`pod_template.yaml` says where agents' pods run (docs/deploy.md); the shipped DAGs are "
            "never edited.",
            example="/opt/airflow/agents",
            default="",
        ),
    }
