"""The configuration file by which Kubernetes clients find the API and its token."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_provider_agents.local.api_errors import Json

KUBECONFIG_FILE = "kubeconfig"

_NAME = "local"


def make_kubeconfig(url: str, token: str, namespace: str) -> Json:
    """Return a kubeconfig with one cluster, one user and one context.

    :param namespace: of the requests that name none.
    """
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": _NAME,
        "clusters": [{"name": _NAME, "cluster": {"server": url}}],
        "users": [{"name": _NAME, "user": {"token": token}}],
        "contexts": [{"name": _NAME, "context": {"cluster": _NAME, "user": _NAME, "namespace": namespace}}],
    }
