"""The identities at GitHub: accepted, and with the permission that each feature needs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from airflow_provider_agents.cli.checks.github_access import Account, account
from airflow_provider_agents.cli.deployment import one_line
from airflow_provider_agents.cli.github_permissions import CLASSIC_SCOPE, UNNEEDED, lacking
from airflow_provider_agents.cli.report import Finding, failed, ok, warning
from airflow_provider_agents.exceptions import ForgeAccessError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment, Identity


def credential(deployment: Deployment) -> Iterator[Finding]:
    """Check that GitHub accepts each credential, and say whose it is."""
    for identity in deployment.identities():
        try:
            found = _account(deployment, identity)
        except ForgeAccessError as error:
            yield _refused(identity, error)
            continue
        until = f", until {found.expires_at}" if found.expires_at else ""
        yield ok(f"{identity.name} is {found.login}{until}", identity.name)


def permissions(deployment: Deployment) -> Iterator[Finding]:
    """Check scopes and permissions, feature by feature.

    Of a fine-grained token GitHub tells nothing; ``github.repository`` tries what it may read.
    """
    for identity in deployment.identities():
        try:
            found = _account(deployment, identity)
        except ForgeAccessError:
            continue  # github.credential has said it
        if found.permissions is not None:
            yield from _of_app(identity, found)
        elif found.scopes is not None:
            yield from _of_classic(identity, found)
        else:
            yield ok(
                f"{identity.name} is a fine-grained token: what it may do shows at each repository",
                identity.name,
            )


def _account(deployment: Deployment, identity: Identity) -> Account:
    repository = deployment.repositories[0] if deployment.repositories else None
    return asyncio.run(account(identity.credential, repository))


def _refused(identity: Identity, error: ForgeAccessError) -> Finding:
    said = one_line(error)
    if identity.credential.app is not None:
        return failed(
            f"{identity.name}: {said}",
            "Correct the App's settings at GitHub or the connection's extra, as the message says (docs/credentials.md).",
            identity.name,
        )
    return failed(
        f"GitHub does not accept the token of {identity.name}: {said}",
        "Make a new token (docs/doctor.md has its permissions) and put it there; `airflow agents init --force` does.",
        identity.name,
    )


def _of_app(identity: Identity, found: Account) -> Iterator[Finding]:
    missing = False
    for feature, level in lacking(found.permissions or {}, reviews_only=identity.reviews_only):
        missing = True
        make = failed if feature.required else warning
        yield make(
            f"the App of {identity.name} lacks {feature.shown}: {level}, needed to {feature.feature}",
            f"Grant it in the App's settings (Permissions & events), then accept it in those of the installation "
            f"{found.settings_url}".rstrip()
            + "; token_permissions of the connection must have it too, if set.",
            f"{feature.permission}: {level}",
        )
    if "workflows" in (found.permissions or {}):
        yield _unneeded(identity, "the permission Workflows")
    if not missing:
        yield ok(f"the App of {identity.name} has every permission", identity.name)


def _of_classic(identity: Identity, found: Account) -> Iterator[Finding]:
    scopes = found.scopes or frozenset()
    if CLASSIC_SCOPE not in scopes:
        has = ", ".join(sorted(scopes)) or "none"
        yield failed(
            f"the classic token of {identity.name} lacks the scope {CLASSIC_SCOPE} (it has {has}), which every feature needs",
            f"Give it the scope {CLASSIC_SCOPE}: github.com/settings/tokens, or the same page of your server.",
            CLASSIC_SCOPE,
        )
    else:
        yield ok(f"the classic token of {identity.name} has the scope {CLASSIC_SCOPE}", identity.name)
    if UNNEEDED in scopes:
        yield _unneeded(identity, f"the scope {UNNEEDED}")


def _unneeded(identity: Identity, what: str) -> Finding:
    return warning(
        f"{identity.name} has {what}, which nothing here needs: without it GitHub itself refuses a push that changes CI",
        "Take it away.",
        UNNEEDED,
    )
