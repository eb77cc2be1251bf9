"""Finds out before any pod starts whether the pods' credentials will do."""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_runner.contract import (
    SECRET_KEY_ANTHROPIC,
    SECRET_KEY_FORGE,
    SECRET_KEY_OPENAI,
    mcp_secret_key,
)
from airflow_provider_agents import settings
from airflow_provider_agents.exceptions import ForgeAccessError, ForgeError, InvalidInputError
from airflow_provider_agents.operators.mcp_credentials import mcp_access
from airflow_provider_agents.operators.step_credentials import (
    MODEL_KEYS,
    model_secrets,
    permissions_of,
    source_of_credentials,
    token_repositories,
)
from airflow_provider_agents.operators.verdict_cache import VerdictCache

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.tool_servers import McpServer
    from airflow_provider_agents.hooks.github import GitHubCredential

_URLS = {
    "claude": ("anthropic_url", "https://api.anthropic.com", SECRET_KEY_ANTHROPIC),
    "codex": ("openai_url", "https://api.openai.com", SECRET_KEY_OPENAI),
}

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class CredentialCheck:
    """The credentials that the pods of one run will have.

    Only what is certainly wrong is a fault. What cannot be known from here, since Airflow may not read the
    secret or does not reach the model's API, is logged, and the pods find out.

    :param repository: ``owner/name`` that the pods read and push to.
    :param read_repositories: further repositories that they fetch.
    :param program: agent program, which decides the model's credential. That of a program which is not
        known here is not checked.
    :param mcp_servers: that the agents may use, by name. Whether one accepts its credential is not tried: it may be
        reached from the pods alone.
    """

    repository: str
    program: str
    github_conn_id: str
    read_repositories: Sequence[str] = ()
    mcp_servers: Mapping[str, McpServer] = field(default_factory=dict)
    cache: VerdictCache = field(default_factory=VerdictCache)

    def run(self) -> None:
        """Check.

        :raises InvalidInputError: a credential is missing or refused; each with its place and the remedy.
        """
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        source = source_of_credentials()
        github = AgentsGitHubHook(self.github_conn_id).get_conn()
        faults: list[str] = []
        try:
            mcp_access(self.mcp_servers, settings.text("secret", "agent-secrets"))
        except InvalidInputError as error:
            faults += error.faults
        if github.app is not None:
            faults += self._app(github)
        if source == "connections":
            # The connection's own token is what the task was looked up with: it is good.
            model, place = model_secrets(self.program), "of the Airflow connections"
        else:
            name, namespace = (
                settings.text("secret", "agent-secrets"),
                settings.text("namespace", "agent-system"),
            )
            found = self._secret(name, namespace, forge=github.app is None)
            if found is None:
                if faults:
                    raise InvalidInputError(faults)
                return
            model, place = found, f"of secret {name} in namespace {namespace}"
            if github.app is None:
                faults += self._forge_token(github, found, place, name, namespace)
            faults += self._missing_model_key(found, name, namespace)
            faults += self._missing_mcp_keys(found, name, namespace)
        faults += self._model(model, place)
        if faults:
            raise InvalidInputError(faults)

    def _app(self, github: GitHubCredential) -> list[str]:
        """Have a token made as an implementing step would: that shows what the App lacks."""
        from airflow_provider_agents.hooks.github import AgentsGitHubHook

        assert github.app is not None
        repositories = token_repositories(self.repository, self.read_repositories)
        parts = ("app", github.urls.rest_url, github.app.identity, *repositories)
        if self.cache.accepted(*parts):
            return []
        try:
            AgentsGitHubHook(self.github_conn_id).mint(repositories, permissions_of("implement"))
        except InvalidInputError as error:
            return error.faults
        except ForgeAccessError as error:
            return [str(error)]
        except ForgeError as error:
            log.warning("Whether the App's tokens will do is not known: %s", error)
            return []
        self.cache.remember(*parts)
        return []

    def _secret(self, name: str, namespace: str, *, forge: bool) -> dict[str, str] | None:
        """Return the values of the installation's secret; ``None`` where it cannot be read from here.

        :raises InvalidInputError: there is no such secret.
        """
        from kubernetes.client.exceptions import ApiException

        from airflow_provider_agents.hooks.unlogged import unlogged_bodies
        from airflow_provider_agents.operators.kubernetes_objects import REQUEST_SECONDS, cluster_client, told

        conn_id = settings.text("kubernetes_conn_id", "kubernetes_default")
        try:
            client = cluster_client(conn_id)
            with unlogged_bodies():
                read = client.read_namespaced_secret(name, namespace, _request_timeout=REQUEST_SECONDS)
        except ApiException as error:
            if error.status == 404:
                keys = [SECRET_KEY_FORGE] if forge else []
                keys += [_URLS[self.program][2]] if self.program in _URLS else []
                raise InvalidInputError(
                    [
                        (
                            f"there is no secret {name!r} in namespace {namespace!r}: the pods need its keys "
                            f"{' and '.join(keys)}. {_kubectl(name, namespace, keys)}"
                        )
                    ]
                ) from None
            log.info(
                "Secret %s/%s is not checked: Airflow may not read it here (%s).",
                namespace,
                name,
                told(error),
            )
            return None
        except Exception as error:
            log.warning("Secret %s/%s is not checked: %s: %s", namespace, name, type(error).__name__, error)
            return None
        return _decoded(read.data or {})

    def _missing_model_key(self, found: Mapping[str, str], name: str, namespace: str) -> list[str]:
        wanted = MODEL_KEYS.get(self.program, ())
        if not wanted or any(found.get(key) for key in wanted):
            return []
        return [
            f"secret {name!r} in namespace {namespace!r} lacks {' or '.join(wanted)}, which {self.program} needs. "
            + _kubectl(name, namespace, [*sorted(found), wanted[0]])
        ]

    def _missing_mcp_keys(self, found: Mapping[str, str], name: str, namespace: str) -> list[str]:
        wanted = [mcp_secret_key(server) for server, declared in self.mcp_servers.items() if declared.secret]
        missing = [key for key in wanted if not found.get(key)]
        if not missing:
            return []
        return [
            f"secret {name!r} in namespace {namespace!r} lacks {', '.join(missing)}, the credential of an MCP server. "
            + _kubectl(name, namespace, [*sorted(found), *missing])
        ]

    def _forge_token(
        self, github: GitHubCredential, found: Mapping[str, str], place: str, name: str, namespace: str
    ) -> list[str]:
        token = found.get(SECRET_KEY_FORGE)
        if not token:
            return [
                (
                    f"secret {name!r} in namespace {namespace!r} lacks {SECRET_KEY_FORGE}, with which the pods fetch and "
                    f"push. {_kubectl(name, namespace, [*sorted(found), SECRET_KEY_FORGE])}"
                )
            ]
        parts = ("forge", github.urls.rest_url, token, self.repository, *self.read_repositories)
        known = token == github.token and not self.read_repositories  # the task was looked up with it
        if known or self.cache.accepted(*parts):
            return []
        try:
            faults = asyncio.run(self._read_repositories(github, token, f"key {SECRET_KEY_FORGE} {place}"))
        except ForgeError as error:
            log.warning("Whether key %s %s will do is not known: %s", SECRET_KEY_FORGE, place, error)
            return []
        if not faults:
            self.cache.remember(*parts)
        return faults

    async def _read_repositories(self, github: GitHubCredential, token: str, place: str) -> list[str]:
        from airflow_provider_agents.hooks.github_errors import Operation
        from airflow_provider_agents.hooks.github_transport import open_transport

        faults = []
        async with open_transport(github.urls, token) as transport:
            for repository in (self.repository, *self.read_repositories):
                operation = Operation(f"read repository {repository}", "Contents: read, Metadata: read")
                try:
                    answer = await transport.read(f"/repos/{repository}", operation)
                except ForgeAccessError as error:
                    faults.append(f"{place}: {error}")
                    continue
                rights = answer.get("permissions") if isinstance(answer, Mapping) else None
                # Absent for some kinds of token, whose rights show only when they act.
                if (
                    repository == self.repository
                    and isinstance(rights, Mapping)
                    and rights.get("push") is False
                ):
                    faults.append(
                        f"{place} may read {repository} but not push to it; give it the permission Contents: write"
                    )
        return faults

    def _model(self, values: Mapping[str, str], place: str) -> list[str]:
        from airflow_provider_agents.hooks.model_api import ModelCredential, check

        key = next((key for key in MODEL_KEYS.get(self.program, ()) if values.get(key)), None)
        if key is None:
            return []
        option, default, _ = _URLS[self.program]
        url = settings.text(option, default)
        if self.cache.accepted("model", url, key, values[key]):
            return []
        verdict = asyncio.run(check(url, ModelCredential(key, values[key])))
        if verdict.state == "accepted":
            self.cache.remember("model", url, key, values[key])
        elif verdict.state == "refused":
            return [f"{url} refuses the model's credential, {key} {place}: {verdict.detail}. Replace it"]
        else:
            log.warning("Whether %s accepts %s %s is not known: %s", url, key, place, verdict.detail)
        return []


def _decoded(data: Mapping[str, str]) -> dict[str, str]:
    """Return the values of a secret as the gateway reads them; one that is no text is left out."""
    values = {}
    for key, encoded in data.items():
        try:
            values[key] = base64.b64decode(encoded).decode("ascii").strip()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return values


def _kubectl(name: str, namespace: str, keys: Sequence[str]) -> str:
    values = " ".join(f"--from-literal={key}=…" for key in dict.fromkeys(keys))
    return (
        f"Create it: kubectl create secret generic {name} --namespace {namespace} {values} "
        "--dry-run=client --output yaml | kubectl apply --filename -"
    )
