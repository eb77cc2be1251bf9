"""Where the files of a ticket source are, and what opens them: for GitHub, Linear and Jira."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from airflow.sdk import BaseHook

from agent_runner.contract import FilePlaces
from airflow_provider_agents.domain.attachment_files import FileAccess

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.source_definition import SourceDefinition

GITHUB_FILE_HOSTS = (
    "user-images.githubusercontent.com",
    "private-user-images.githubusercontent.com",
    "raw.githubusercontent.com",
    "objects.githubusercontent.com",
    "github-production-user-asset-6210df.s3.amazonaws.com",
    "github-production-repository-file-5c1aeb.s3.amazonaws.com",
)
"""Where github.com keeps files, or redirects to for them."""
LINEAR_FILE_HOST = "uploads.linear.app"
JIRA_FILE_HOST = "api.media.atlassian.com"
"""Where Jira Cloud redirects to for files."""
_LINEAR_API = "api.linear.app"
_GITHUB = "github.com"


async def open_access(definition: SourceDefinition, connection: str, repository: str) -> FileAccess:
    """Return where files of a source may be fetched from, with the credential that its connection has.

    :param connection: of the source.
    :param repository: ``owner/name``, for which a GitHub App makes a token.
    :raises InvalidInputError: the connection is missing, or incomplete.
    :raises ForgeError: GitHub made no token.
    """
    listed = tuple(host.lower() for host in definition.attachment_hosts)
    match definition.kind:
        case "github":
            return await _github(connection, repository, listed)
        case "linear":
            return await _linear(connection, listed)
        case "jira":
            return await _jira(connection, listed)
        case "custom":
            # Its credential is its own business; what is public may be listed.
            return FileAccess(places=FilePlaces(listed=listed, own=()), images="public")


async def _github(connection: str, repository: str, listed: Sequence[str]) -> FileAccess:
    from airflow_provider_agents.hooks.github import AgentsGitHubHook
    from airflow_provider_agents.hooks.github_app import OPERATOR_PERMISSIONS
    from airflow_provider_agents.hooks.github_app_tokens import token_for

    hook = AgentsGitHubHook(connection, repository=repository)
    found = await hook.aget_conn()
    token = found.token
    if found.app is not None:
        wanted = found.app.token_permissions or OPERATOR_PERMISSIONS
        made = await token_for(
            found.urls, found.app, hook.repositories, wanted, timeout_seconds=hook.timeout_seconds
        )
        token = made.token
    web = urlsplit(found.urls.git_url).netloc.lower()
    known = GITHUB_FILE_HOSTS if web == _GITHUB else ()
    return FileAccess(
        places=FilePlaces(listed=(*known, *listed), own=(web,) if web == _GITHUB else (web, f"media.{web}")),
        credential_place=web,
        authorization=f"Bearer {token}",
        images="github",
    )


async def _linear(connection: str, listed: Sequence[str]) -> FileAccess:
    from airflow_provider_agents.hooks.linear import AgentsLinearHook

    found = await AgentsLinearHook(connection).aget_conn()
    api = urlsplit(found.url).netloc.lower()
    files = LINEAR_FILE_HOST if api == _LINEAR_API else api
    return FileAccess(
        places=FilePlaces(listed=tuple(listed), own=(files,)),
        credential_place=files,
        authorization=found.authorization,
        images="signed",
    )


async def _jira(connection: str, listed: Sequence[str]) -> FileAccess:
    from airflow_provider_agents.hooks.jira_client import jira_credential

    found = jira_credential(await BaseHook.aget_connection(connection))
    place = urlsplit(found.url).netloc.lower()
    basic = base64.b64encode(f"{found.login}:{found.token}".encode()).decode()
    return FileAccess(
        places=FilePlaces(listed=(JIRA_FILE_HOST, *listed), own=(place,)),
        credential_place=place,
        authorization=f"Basic {basic}" if found.login else f"Bearer {found.token}",
    )
