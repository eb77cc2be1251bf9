"""The installation's Kubernetes secret: there, with every key that the pods need."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.contract import SECRET_KEY_FORGE
from airflow_provider_agents.cli.report import Finding, failed, ok, skipped
from airflow_provider_agents.operators.step_credentials import MODEL_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_agents.cli.deployment import Deployment


def keys(deployment: Deployment) -> Iterator[Finding]:
    """Check the secret, where the pods' credentials come from it."""
    name, namespace = deployment.secret_name, deployment.namespace
    if deployment.source == "connections":
        yield ok("no secret of the installation is used: [agents] credentials is connections")
        return
    wanted: list[tuple[str, ...]] = []
    if deployment.github.app is None:
        wanted.append((SECRET_KEY_FORGE,))
    if deployment.program in MODEL_KEYS:
        wanted.append(MODEL_KEYS[deployment.program])
    firsts = [names[0] for names in wanted]
    create = create_command(name, namespace, firsts)
    reading = deployment.installation_secret
    if reading.state == "absent":
        yield failed(
            f"there is no secret {name} in namespace {namespace}", f"airflow agents init, or: {create}"
        )
        return
    if reading.state == "hidden":
        yield skipped(
            f"secret {name} cannot be read from here: {reading.said}",
            f"Look yourself whether it has {' and '.join(firsts)}: kubectl describe secret {name} --namespace {namespace}",
        )
        return
    for names in wanted:
        if not any(reading.values.get(key) for key in names):
            broken = [key for key in names if key in reading.keys]
            what = (
                f"has {' and '.join(broken)}, but no text in it" if broken else f"lacks {' or '.join(names)}"
            )
            yield failed(
                f"secret {name} in namespace {namespace} {what}",
                f"airflow agents init, or: {create}",
                names[0],
            )
        else:
            there = next(key for key in names if reading.values.get(key))
            yield ok(f"secret {name} has {there}", there)


def create_command(name: str, namespace: str, keys: Sequence[str]) -> str:
    """Return the command with which a person makes a secret; it replaces one that is there."""
    values = " ".join(f"--from-literal={key}=…" for key in keys)
    return (
        f"kubectl create secret generic {name} --namespace {namespace} {values} --dry-run=client --output yaml "
        "| kubectl apply --filename -"
    )
