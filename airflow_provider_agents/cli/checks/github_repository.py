"""Each repository: what every identity may do there, how it merges, and its branch rules."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from agent_runner.contract import REPOSITORY_PATTERN
from airflow_provider_agents.cli.checks.github_access import Answer, ask, session
from airflow_provider_agents.cli.deployment import one_line
from airflow_provider_agents.cli.github_permissions import FEATURES
from airflow_provider_agents.cli.report import Finding, failed, ok, skipped, warning
from airflow_provider_agents.exceptions import ForgeAccessError
from airflow_provider_agents.hooks.github_app import OPERATOR_PERMISSIONS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_agents.cli.deployment import Deployment, Identity

MERGE_METHODS = {
    "squash": "allow_squash_merge",
    "merge": "allow_merge_commit",
    "rebase": "allow_rebase_merge",
}
_NONE = "no repository is named"
_NAME_ONE = "Name one: --repository owner/name, or `repository` below `defaults` in repositories.yaml."


def access(deployment: Deployment) -> Iterator[Finding]:
    """Check that each identity may do in each repository what it is there for."""
    if not deployment.repositories:
        yield skipped(_NONE, _NAME_ONE)
    for repository in deployment.repositories:
        if not REPOSITORY_PATTERN.fullmatch(repository):
            yield failed(f"{repository!r} is no repository", "Write it as owner/name.", repository)
            continue
        for identity in deployment.identities():
            try:
                yield from asyncio.run(_access(identity, repository))
            except ForgeAccessError as error:
                yield failed(
                    f"{repository}, {identity.name}: {one_line(error)}",
                    "Install the App on the repository and grant what is missing (docs/credentials.md).",
                    repository,
                )


async def _access(identity: Identity, repository: str) -> list[Finding]:
    app = identity.credential.app is not None
    async with session(identity.credential, [repository]) as transport:
        found = await ask(transport, f"/repos/{repository}", f"read repository {repository}")
        if found.status != 200 or not isinstance(found.body, dict):
            return [_unseen(identity, repository, found)]
        findings = _of_repository(identity, repository, found.body)
        # What an App may do is told by its installation; of a token only trying shows it.
        branch = quote(str(found.body.get("default_branch") or "main"), safe="")
        for feature in FEATURES if not app else ():
            if not feature.probe or (identity.reviews_only and not feature.reviewer):
                continue
            path = f"/repos/{repository}{feature.probe.format(branch=branch)}"
            answer = await ask(transport, path, f"read {feature.shown} of {repository}")
            if answer.status == 403:
                make = failed if feature.required else warning
                findings.append(
                    make(
                        f"the token of {identity.name} may not read {feature.shown} of {repository}: HTTP 403, "
                        f"{answer.said!r}; needed to {feature.feature}",
                        f"Give it {feature.shown}: {feature.reviewer if identity.reviews_only else feature.level} "
                        "(docs/doctor.md has all permissions).",
                        f"{repository} {feature.permission}",
                    )
                )
    return findings or [ok(f"{identity.name} may work in {repository}", repository)]


def _unseen(identity: Identity, repository: str, answer: Answer) -> Finding:
    said = f"HTTP {answer.status}" + (f", {answer.said!r}" if answer.said else "")
    return failed(
        f"{identity.name} does not see {repository}: {said}",
        "Correct the name, or give this identity access: add its account to the repository, or select the repository in "
        "the token's or the App's settings; an organisation may have to approve the token (SSO).",
        repository,
    )


def _of_repository(identity: Identity, repository: str, facts: dict[str, Any]) -> list[Finding]:
    findings = []
    if facts.get("archived"):
        findings.append(
            failed(f"{repository} is archived: nothing can be changed in it", "Unarchive it.", repository)
        )
    rights = facts.get("permissions")
    # Absent for some kinds of token, whose rights show only when they act.
    may_not_push = isinstance(rights, dict) and rights.get("push") is False
    if may_not_push and not identity.reviews_only and identity.credential.app is None:
        findings.append(
            failed(
                f"{identity.name} may read {repository} but not push to it",
                "Give its account the role Write in the repository, and a fine-grained token Contents: write.",
                repository,
            )
        )
    return findings


def merging(deployment: Deployment) -> Iterator[Finding]:
    """Check that each repository allows what its settings ask for at the merge."""
    if not deployment.repositories:
        yield skipped(_NONE, _NAME_ONE)
    for repository in deployment.repositories:
        wanted = deployment.settings_of(repository)
        method = str(wanted.get("merge_method") or "squash")
        wants_auto = bool(wanted.get("github_auto_merge"))
        facts = asyncio.run(_facts(deployment, repository))
        if facts is None:
            yield skipped(f"{repository} cannot be read", subject=repository)
            continue
        allowed = [name for name, key in MERGE_METHODS.items() if facts.get(key)]
        told = any(key in facts for key in MERGE_METHODS.values())
        bad = False
        if told and method not in allowed:
            bad = True
            yield failed(
                f"{repository} does not allow merge_method {method} (it allows "
                f"{', '.join(allowed) or 'none'})",
                f"Set merge_method: {(allowed or ['squash'])[0]} in repositories.yaml, or allow it in the repository's "
                "settings.",
                repository,
            )
        if wants_auto and facts.get("allow_auto_merge") is False:
            bad = True
            yield warning(
                f"{repository} does not allow auto-merge, which github_auto_merge asks for",
                "Allow auto-merge in the repository's settings (General, Pull Requests).",
                repository,
            )
        if not bad:
            yield ok(f"{repository} allows merge_method {method}", repository)


def branch_rules(deployment: Deployment) -> Iterator[Finding]:
    """Check that the base branch is there, and that rules keep an unchecked change out of it."""
    if not deployment.repositories:
        yield skipped(_NONE, _NAME_ONE)
    for repository in deployment.repositories:
        facts = asyncio.run(_facts(deployment, repository))
        if facts is None:
            yield skipped(f"{repository} cannot be read", subject=repository)
            continue
        branch = str(
            deployment.settings_of(repository).get("base_branch") or facts.get("default_branch") or "main"
        )
        answer = asyncio.run(_branch(deployment, repository, branch))
        if answer.status == 404:
            yield failed(
                f"{repository} has no branch {branch}",
                f"Set base_branch in repositories.yaml to a branch that is there: {facts.get('default_branch')}.",
                f"{repository} {branch}",
            )
        elif answer.status != 200 or not isinstance(answer.body, dict):
            yield skipped(
                f"the rules of {branch} in {repository} cannot be read: HTTP {answer.status}, {answer.said!r}",
                subject=f"{repository} {branch}",
            )
        elif not answer.body.get("protected"):
            yield warning(
                f"{branch} of {repository} has no rules: what the task itself checks is all that stands before a merge",
                "Protect the branch or add a ruleset, with the checks that must pass.",
                f"{repository} {branch}",
            )
        else:
            yield ok(f"{branch} of {repository} is protected", f"{repository} {branch}")


async def _facts(deployment: Deployment, repository: str) -> dict[str, Any] | None:
    # For an App the methods of merging are shown only to tokens that may write contents.
    wanted = {"contents": OPERATOR_PERMISSIONS["contents"], "metadata": "read"}
    try:
        async with session(deployment.github, [repository], wanted) as transport:
            answer = await ask(transport, f"/repos/{repository}", f"read repository {repository}")
    except ForgeAccessError:
        return None
    return answer.body if answer.status == 200 and isinstance(answer.body, dict) else None


async def _branch(deployment: Deployment, repository: str, branch: str) -> Answer:
    async with session(
        deployment.github, [repository], {"contents": "read", "metadata": "read"}
    ) as transport:
        path = f"/repos/{repository}/branches/{quote(branch, safe='')}"
        return await ask(transport, path, f"read branch {branch} of {repository}")
