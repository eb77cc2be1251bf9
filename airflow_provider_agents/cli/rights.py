"""The rights that Airflow's identity needs in the cluster; ``doctor`` asks the cluster for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator

Need = Literal["always", "claims", "own secrets", "optional"]
"""When a right is needed: always; with workspaces on claims; with secrets that Airflow makes for pods; never, but
something works better with it."""


@dataclass(frozen=True, slots=True)
class Right:
    """One right: some verbs on one resource."""

    resource: str
    """Plural name, with the subresource: ``pods/log``."""
    verbs: tuple[str, ...]
    need: Need
    purpose: str
    group: str = ""
    namespaced: bool = True
    of_installation: bool = False
    """Only for the secret of the installation, by its name."""


RIGHTS = (
    Right("pods", ("get", "list", "create", "patch", "delete"), "always", "the steps"),
    Right("pods/log", ("get",), "always", "task logs, and results that are long"),
    Right(
        "persistentvolumeclaims",
        ("get", "list", "create", "patch", "delete"),
        "claims",
        "the workspace of a run",
    ),
    Right(
        "secrets",
        ("create", "patch", "delete", "list"),
        "own secrets",
        "short-lived credentials of one pod each",
    ),
    Right(
        "secrets", ("get",), "optional", "trying the installation's secret before a run", of_installation=True
    ),
    Right("events", ("list",), "optional", "saying why a pod does not start"),
    Right(
        "storageclasses",
        ("get", "list"),
        "optional",
        "finding a wrong storage class before a pod waits for it",
        group="storage.k8s.io",
        namespaced=False,
    ),
)

UNNEEDED = Right("pods/exec", ("create",), "optional", "nothing")
"""What Airflow's identity should not have: with it, it reads what the gateway of a pod holds."""


def needed(*, claims: bool, own_secrets: bool) -> Iterator[tuple[Right, bool]]:
    """Yield each right with whether it is required.

    :param claims: runs keep their workspace on claims.
    :param own_secrets: Airflow makes secrets for pods.
    """
    for right in RIGHTS:
        required = {"always": True, "claims": claims, "own secrets": own_secrets, "optional": False}[
            right.need
        ]
        if required or right.need == "optional":
            yield right, required
