"""The Airflow connections that are used: there, and of the right type."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.cli.checks.airflow_parts import database_fault
from airflow_provider_agents.cli.deployment import one_line
from airflow_provider_agents.cli.report import Finding, failed, ok, warning
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from airflow_provider_agents.cli.deployment import Deployment


def github(deployment: Deployment) -> Iterator[Finding]:
    """Check the connection of GitHub, and that of the reviewer where there is one."""
    names = [settings.text("github_conn_id", "github_default")]
    if review := settings.text("review_conn_id"):
        names.append(review)
    there = True
    for name in names:
        there &= yield from checked_type(
            name,
            "github",
            "airflow agents init, or in the UI, type GitHub, the token as password; for another GitHub than github.com "
            "its REST URL as host",
        )
    if not there:
        return
    for identity in deployment.identities():
        kind = "a GitHub App" if identity.credential.app is not None else "a token"
        yield ok(f"{identity.name} has {kind} for {identity.credential.urls.rest_url}", identity.name)


def kubernetes(deployment: Deployment) -> Iterator[Finding]:
    """Check the connection of the cluster."""
    name = settings.text("kubernetes_conn_id", "kubernetes_default")
    there = yield from checked_type(
        name, "kubernetes", "airflow agents init, with --kubernetes in-cluster or the path of a kubeconfig"
    )
    if not there:
        return
    try:
        host = deployment.core.api_client.configuration.host
    except InvalidInputError as error:
        yield failed(
            one_line(error),
            "Correct the connection: in_cluster where Airflow runs in the cluster, otherwise kube_config_path of a file "
            "that every worker and the triggerer can read.",
            name,
        )
        return
    yield ok(f"connection {name} leads to {host}", name)


def model(deployment: Deployment) -> Iterator[Finding]:
    """Check the connection of the model, where the pods' credentials come from connections."""
    if deployment.source == "secret":
        yield ok(f"the model's key comes from the Kubernetes secret {deployment.secret_name}")
        return
    found = deployment.model_values()
    yield ok(f"the connections have {', '.join(sorted(found)) or 'no model key, and none is needed'}")


def checked_type(name: str, wanted: str, how: str) -> Generator[Finding, None, bool]:
    """Check a connection's type; return whether it is there.

    :param how: it is made.
    """
    from airflow.sdk import BaseHook
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = BaseHook.get_connection(name).conn_type
    except AirflowNotFoundException:
        # Airflow says the same where it could not ask its database.
        if database_fault() is None:
            yield failed(f"there is no connection {name!r}", f"Create it: {how}.", name)
        else:
            yield failed(
                f"connection {name!r} is in neither the environment nor a secrets backend, and the metadata database does "
                "not answer",
                "See airflow.database; then run again.",
                name,
            )
        return False
    if found != wanted:
        yield warning(
            f"connection {name!r} is of type {found!r}, not {wanted!r}",
            f"Make it one of type {wanted}: its form in the UI then has the right fields.",
            name,
        )
    return True
