"""Argo CD, where rules or rollbacks look at it: the connections, their tokens, and the applications that are named."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.cli.checks.connections import checked_type
from airflow_provider_agents.cli.deployment import one_line
from airflow_provider_agents.cli.report import Finding, failed, ok, warning
from airflow_provider_agents.domain.rollback_files import rollback_files
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.argocd import ArgoCdHook
from airflow_provider_agents.operators.pr_rule_sources import rule_files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment

TIMEOUT_SECONDS = 5.0


def argocd(deployment: Deployment) -> Iterator[Finding]:
    """Check every connection that a rule or a rollback names; without one there is nothing to check."""
    wanted = _wanted()
    if not wanted:
        yield ok("no rule and no rollback looks at Argo CD")
    for name, applications in sorted(wanted.items()):
        yield from _connection(name, applications)


def _wanted() -> dict[str, dict[str, str]]:
    """Return the applications of each connection, with the repository that each is to be deployed from.

    Those of rules have no fixed names, so that a connection may have none.
    """
    wanted: dict[str, dict[str, str]] = {}
    for file in rule_files():
        if file.rule is not None and file.rule.argocd.enabled:
            wanted.setdefault(file.rule.argocd.connection, {})
    folder = settings.config_folder()
    for rollback in rollback_files(folder) if folder else []:
        if (found := rollback.definition) is not None and found.enabled:
            wanted.setdefault(found.argocd, {})[found.application] = found.repository
    return wanted


def _connection(name: str, applications: dict[str, str]) -> Iterator[Finding]:
    there = yield from checked_type(
        name,
        "argocd",
        "in the UI, type Argo CD, its address as host and a token as password: docs/rules-argocd.md",
    )
    if not there:
        return
    hook = ArgoCdHook(name, timeout_seconds=TIMEOUT_SECONDS)
    works, words = hook.test_connection()
    if not works:
        yield failed(
            f"connection {name}: {' '.join(words.split())}", "Correct the connection, or its token.", name
        )
        return
    yield ok(f"connection {name}: {words}", name)
    try:
        if not hook.get_conn().verify:
            yield warning(
                f"connection {name} does not check the certificate of Argo CD",
                "Put the certificate of its authority into the extra (ca_file or ca_certificate) and take verify out.",
                name,
            )
        readings = hook.applications(applications) if applications else {}
    except InvalidInputError as error:
        yield failed(one_line(error), "Correct the connection.", name)
        return
    for reading in readings.values():
        repository = applications[reading.name]
        if reading.fault:
            yield failed(
                " ".join(reading.fault.split()),
                "Correct `application` in the rollback's file, or the token's rights.",
                name,
            )
        elif not reading.deploys(repository):
            yield failed(
                f"the application {reading.name} is not deployed from {repository}",
                "Correct `application` or `repository` in the rollback's file.",
                name,
            )
        else:
            yield ok(f"the application {reading.name} is {reading.health}, {reading.sync}", name)
