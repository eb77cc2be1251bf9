"""All checks of doctor, in the order in which they run. Their ids are stable: scripts name them."""

from __future__ import annotations

from airflow_provider_agents.cli.checks import (
    airflow_config,
    airflow_parts,
    argocd,
    clock,
    cluster,
    connections,
    github_identity,
    github_repository,
    image,
    model_key,
    network,
    pools,
    rollbacks,
    rules,
    secret,
    sources,
    storage,
)
from airflow_provider_agents.cli.runner import Check

_API = "kubernetes.api"
_GITHUB = "github.connection"

CHECKS = (
    Check("airflow.version", "Airflow's version", airflow_config.version),
    Check("airflow.config", "Options of [agents]", airflow_config.options),
    Check("airflow.form", "Defaults of the trigger form", airflow_config.form),
    Check("airflow.pod_template", "Template of the pods", airflow_config.pod_template),
    Check("airflow.database", "Metadata database", airflow_parts.database),
    Check("airflow.scheduler", "Scheduler", airflow_parts.component("scheduler"), ("airflow.database",)),
    Check("airflow.triggerer", "Triggerer", airflow_parts.component("triggerer"), ("airflow.database",)),
    Check(
        "airflow.dag_processor",
        "DAG processor",
        airflow_parts.component("dag_processor"),
        ("airflow.database",),
    ),
    Check("airflow.dags", "DAGs", airflow_parts.dags, ("airflow.database",)),
    Check("airflow.pools", "Pools", pools.pools, ("airflow.database",)),
    Check("kubernetes.connection", "Connection of the cluster", connections.kubernetes),
    Check(_API, "Kubernetes API", cluster.api, ("kubernetes.connection",)),
    Check("kubernetes.permissions", "Airflow's rights", cluster.permissions, (_API,)),
    Check("kubernetes.namespace", "Namespace", cluster.namespace, (_API,)),
    Check(
        "kubernetes.service_account",
        "Service account of the pods",
        cluster.service_account,
        ("kubernetes.namespace",),
    ),
    Check("kubernetes.network_policy", "NetworkPolicies", network.policies, ("kubernetes.namespace",)),
    Check("kubernetes.quota", "Quota", storage.quota, ("kubernetes.namespace",)),
    Check("kubernetes.storage_class", "Storage class", storage.storage_class, (_API,)),
    Check("kubernetes.cache_claim", "Cache claim", storage.cache_claim, ("kubernetes.namespace",)),
    Check("kubernetes.image", "Image", image.image, ("kubernetes.namespace",)),
    Check("kubernetes.clock", "Clock of the cluster", clock.of_kubernetes, (_API,)),
    Check(_GITHUB, "Connection of GitHub", connections.github),
    Check("credentials.secret", "Secret of the pods", secret.keys, (_GITHUB, "kubernetes.namespace")),
    Check("github.clock", "GitHub's clock", clock.of_github, (_GITHUB,)),
    Check("github.credential", "GitHub accepts the credential", github_identity.credential, (_GITHUB,)),
    Check("github.permissions", "Permissions at GitHub", github_identity.permissions, ("github.credential",)),
    Check(
        "github.repository", "Access to the repositories", github_repository.access, ("github.credential",)
    ),
    Check("github.merging", "Ways to merge", github_repository.merging, ("github.repository",)),
    Check(
        "github.branch_rules",
        "Rules of the base branch",
        github_repository.branch_rules,
        ("github.repository",),
    ),
    Check("tickets.sources", "Sources of tickets", sources.sources, ("airflow.database",)),
    Check("rules.files", "Rules for pull requests", rules.files, ("airflow.database",)),
    Check("rollbacks.files", "Rollbacks", rollbacks.files, ("airflow.database",)),
    Check("rules.argocd", "Argo CD", argocd.argocd, ("airflow.database",)),
    Check("credentials.connections", "Connections of the model", connections.model),
    Check("model.key", "Key of the model", model_key.accepted),
)
