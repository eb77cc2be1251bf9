"""The cache claim of the installation, as far as a pod can use it: a cache that is away costs time, not the run."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.domain.cache import CachePlace, cache_place
from airflow_provider_agents.exceptions import AgentsError
from airflow_provider_agents.operators.workspace_claim import find_claim

if TYPE_CHECKING:
    from kubernetes.client import CoreV1Api

log = logging.getLogger(__name__)


def usable_cache(client: CoreV1Api, namespace: str, forge_url: str, repository: str) -> CachePlace | None:
    """Return the repository's folders on the cache claim; ``None`` where there is no claim that a pod can mount.

    A pod that names a claim which is not there would wait for it for ever; it runs without a cache instead, and
    the log says so.

    :param forge_url: root that git remotes are below.
    """
    name = settings.text("cache_claim")
    if not name:
        return None
    try:
        claim = find_claim(client, namespace, name)
    except AgentsError as error:
        log.warning("The step runs without a cache: %s", error)
        return None
    if claim is None or claim.metadata.deletion_timestamp or (claim.status and claim.status.phase == "Lost"):
        log.warning(
            "The step runs without a cache: there is no claim %s in namespace %s, or it is being deleted. Make "
            "it (docs/deploy.md), or empty `[agents] cache_claim`.",
            name, namespace,
        )  # fmt: skip
        return None
    if set(claim.spec.access_modes or ()) == {"ReadOnlyMany"}:
        # Kubernetes makes the repository's folders on it before a container starts.
        log.warning(
            "The step runs without a cache: the claim %s can only be read (ReadOnlyMany). Make it ReadWriteMany.",
            name,
        )
        return None
    return cache_place(name, forge_url, repository)
