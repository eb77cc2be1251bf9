"""Where the credentials of a step's pod come from, and what is made for it.

Two ways, ``[agents] credentials``:

``secret``
    The pod mounts the installation's own Kubernetes secret.
``connections``
    The pod gets a secret of its own, made from Airflow connections and owned by the pod: it goes with it.

A GitHub App always means a secret of the pod's own for the forge token, which is made for this one step and
repository; the model's key comes from where ``[agents] credentials`` says.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Self

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from agent_runner.contract import (
    SECRET_KEY_ANTHROPIC,
    SECRET_KEY_ANTHROPIC_OAUTH,
    SECRET_KEY_FORGE,
    SECRET_KEY_OPENAI,
    McpServer,
    Step,
    mcp_secret_key,
)
from airflow_provider_agents import settings
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators import step_secrets
from airflow_provider_agents.operators.mcp_credentials import mcp_access
from airflow_provider_agents.operators.step_secrets import delete_leftovers as delete_leftovers
from airflow_provider_agents.triggers.credential_renewal import RenewalSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from kubernetes.client import CoreV1Api
    from kubernetes.client import models as k8s

    from airflow_provider_agents.domain.tool_servers import McpServer as DeclaredServer

Source = Literal["secret", "connections"]

READ_PERMISSIONS: Mapping[str, str] = {"contents": "read", "metadata": "read"}
WRITE_PERMISSIONS: Mapping[str, str] = {"contents": "write", "metadata": "read"}
"""Never ``workflows``: without it GitHub itself refuses a push that changes what CI runs."""
WRITING_STEPS: frozenset[Step] = frozenset({"implement", "fix"})

MODEL_KEYS: Mapping[str, tuple[str, ...]] = {
    "claude": (SECRET_KEY_ANTHROPIC, SECRET_KEY_ANTHROPIC_OAUTH),
    "codex": (SECRET_KEY_OPENAI,),
}
"""Agent program → keys of which it needs one, the first one that is there. Other programs may use any."""
OAUTH_PREFIX = "sk-ant-oat"
"""How the token of a subscription begins, unlike an API key."""

_CONNECTIONS = (
    ("anthropic_conn_id", "anthropic_default", "anthropic", MODEL_KEYS["claude"]),
    ("openai_conn_id", "openai_default", "openai", MODEL_KEYS["codex"]),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCredentials:
    """The credentials of one pod: what to create for it, and what it mounts."""

    namespace: str
    pod_name: str
    secret_name: str | None = None
    """Short-lived secret to create; ``None``: none is needed."""
    data: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of the short-lived secret; the token of an App joins them in :meth:`create_secret`."""
    expires_at: datetime | None = None
    """When the first of them expires; ``None``: never, or not made yet."""
    renewal: RenewalSpec | None = None
    """For the pod's trigger, as ``renewal.to_dict()``; ``None``: nothing expires."""
    installation_secret: str | None = None
    """Secret of the installation; ``None``: nothing of it is mounted."""
    installation_keys: tuple[str, ...] = ()
    mcp_servers: tuple[McpServer, ...] = ()
    """MCP servers of the step, as the gateway is told of them; their credentials are among the others."""

    def volume(self, name: str = "credentials") -> k8s.V1Volume:
        """Return the volume that the gateway alone mounts: one file a credential, readable by its group."""
        from kubernetes.client import models as k8s

        sources = []
        if self.installation_secret:
            # Optional: without it the gateway starts all the same and names what is missing.
            sources.append(_projection(self.installation_secret, self.installation_keys, optional=True))
        if self.secret_name:
            keys = sorted({*self.data, *((SECRET_KEY_FORGE,) if self.renewal else ())})
            sources.append(_projection(self.secret_name, keys, optional=False))
        projected = k8s.V1ProjectedVolumeSource(default_mode=0o440, sources=sources)
        return k8s.V1Volume(name=name, projected=projected)

    def create_secret(self, client: CoreV1Api, labels: Mapping[str, str]) -> Self:
        """Create the short-lived secret, right before its pod; return the credentials with their expiry.

        Where it is there already, left by an earlier attempt to create the same pod, its values are replaced.

        :param labels: of the pod; they go onto the secret, so that the sweeper knows whose it is.
        :raises InvalidInputError: Airflow may not create secrets, or the connection is unusable.
        :raises ForgeError: GitHub made no token; the message says why.
        :raises StepInfrastructureError: the cluster does not answer.
        """
        if self.secret_name is None:
            return self
        made, data = self, dict(self.data)
        if self.renewal is not None:
            from airflow_provider_agents.hooks.github import AgentsGitHubHook

            hook = AgentsGitHubHook(self.renewal.github_conn_id)
            token = hook.mint(self.renewal.repositories, self.renewal.permissions)
            data[SECRET_KEY_FORGE] = token.token
            renewal = self.renewal.after(token)
            made = dataclasses.replace(self, renewal=renewal, expires_at=renewal.expires_at)
        step_secrets.put(client, self.namespace, self.secret_name, self.pod_name, data, labels)
        return made

    def adopt(self, client: CoreV1Api) -> None:
        """Let the pod, once it exists, own its secret, so that the secret goes with it.

        A failure is only logged: the pod can work, and the sweeper sees to secrets without an owner.
        """
        if self.secret_name is not None:
            step_secrets.adopt(client, self.namespace, self.secret_name, self.pod_name)

    def delete_secret(self, client: CoreV1Api) -> None:
        """Delete the short-lived secret of a pod that could not be created. A failure is only logged."""
        if self.secret_name is not None:
            step_secrets.delete(client, self.namespace, self.secret_name)

    def of_pod(self, pod_name: str) -> Self:
        """Return these credentials as those of a pod that an earlier try created: with that pod's own secret.

        When its token expires is not known here, so the pod's trigger renews it at once.
        """
        if self.secret_name is None:
            return dataclasses.replace(self, pod_name=pod_name)
        name = step_secrets.name_of(pod_name)
        renewal = self.renewal and dataclasses.replace(
            self.renewal, secret_name=name, pod_name=pod_name, expires_at=None, renew_at=None
        )
        return dataclasses.replace(self, pod_name=pod_name, secret_name=name, renewal=renewal)


def resolve(
    step: Step,
    repository: str,
    *,
    pod_name: str,
    namespace: str,
    program: str = "claude",
    read_repositories: Sequence[str] = (),
    github_conn_id: str,
    kubernetes_conn_id: str | None = None,
    secret: str,
    mcp_servers: Mapping[str, DeclaredServer] | None = None,
) -> StepCredentials:
    """Decide where the credentials of a pod come from. Reads connections; asks no other host.

    :param repository: ``owner/name`` that the step works on.
    :param program: agent program, which decides the model's key; a ``test`` step gets none.
    :param read_repositories: further repositories that the pod may fetch; a token of an App reaches those of
        the same owner, with the same rights.
    :param secret: name of the installation's own Kubernetes secret.
    :param mcp_servers: of the step, by name. A credential of a connection always means a secret of the pod's own.
    :raises InvalidInputError: a connection is missing or has no secret; the message names each.
    """
    from airflow_provider_agents.hooks.github import AgentsGitHubHook

    source = source_of_credentials()
    github = AgentsGitHubHook(github_conn_id).get_conn()
    data: dict[str, str] = {}
    installation_keys: list[str] = []
    renewal = None
    own_name = step_secrets.name_of(pod_name)
    if github.app is not None:
        renewal = RenewalSpec(
            github_conn_id=github_conn_id,
            repositories=token_repositories(repository, read_repositories),
            permissions=github.app.permissions(permissions_of(step)),
            namespace=namespace,
            secret_name=own_name,
            pod_name=pod_name,
            kubernetes_conn_id=kubernetes_conn_id,
        )
    elif source == "connections":
        data[SECRET_KEY_FORGE] = github.token
    else:
        installation_keys.append(SECRET_KEY_FORGE)
    if step != "test":
        if source == "connections":
            data |= model_secrets(program)
        else:
            installation_keys += model_keys(program)
    servers, credentials = mcp_access(mcp_servers or {}, secret)
    data |= credentials
    installation_keys += [
        mcp_secret_key(name) for name, server in (mcp_servers or {}).items() if server.secret
    ]
    return StepCredentials(
        namespace=namespace,
        pod_name=pod_name,
        secret_name=own_name if data or renewal else None,
        data=data,
        renewal=renewal,
        installation_secret=secret if installation_keys else None,
        installation_keys=tuple(installation_keys),
        mcp_servers=servers,
    )


def source_of_credentials() -> Source:
    """Return what ``[agents] credentials`` says.

    :raises InvalidInputError: it is neither.
    """
    found = settings.text("credentials", "secret")
    if found == "secret":
        return "secret"
    if found == "connections":
        return "connections"
    raise InvalidInputError([f"[agents] credentials: must be secret or connections, not {found!r}"])


def permissions_of(step: Step) -> Mapping[str, str]:
    """Return all that the token of an App may do in a step."""
    return WRITE_PERMISSIONS if step in WRITING_STEPS else READ_PERMISSIONS


def token_repositories(repository: str, read_repositories: Sequence[str]) -> tuple[str, ...]:
    """Return the repositories that one token can reach: those of one owner, the step's own first."""
    owner = repository.partition("/")[0].lower()
    same = [name for name in read_repositories if name.partition("/")[0].lower() == owner]
    return tuple(dict.fromkeys([repository, *same]))


def model_keys(program: str) -> tuple[str, ...]:
    """Return the keys of a secret that hold what ``program`` may use."""
    every = [key for keys in MODEL_KEYS.values() for key in keys]
    return MODEL_KEYS.get(program, tuple(every))


def model_secrets(program: str) -> dict[str, str]:
    """Return the model credentials of the Airflow connections that ``program`` may use, by key.

    :raises InvalidInputError: the one that it needs is missing or has no password.
    """
    found: dict[str, str] = {}
    for option, default, provider, keys in _CONNECTIONS:
        if set(keys).isdisjoint(model_keys(program)):
            continue
        conn_id = settings.text(option, default)
        value = _password(conn_id)
        if value:
            oauth = SECRET_KEY_ANTHROPIC_OAUTH in keys and value.startswith(OAUTH_PREFIX)
            found[SECRET_KEY_ANTHROPIC_OAUTH if oauth else keys[0]] = value
        elif program in MODEL_KEYS:
            what = "does not exist" if value is None else "has no password"
            fault = (
                f"connection {conn_id!r} ([agents] {option}) {what}; {program} needs the {provider} key there: "
                f"airflow connections add {conn_id} --conn-type generic --conn-password KEY"
            )
            raise InvalidInputError([fault])
    return found


def _password(conn_id: str) -> str | None:
    """Return the password of a connection, ``None`` where there is no such connection."""
    try:
        return (BaseHook.get_connection(conn_id).password or "").strip()
    except AirflowNotFoundException:
        return None


def _projection(secret: str, keys: Sequence[str], *, optional: bool) -> k8s.V1VolumeProjection:
    from kubernetes.client import models as k8s

    items = [k8s.V1KeyToPath(key=key, path=key) for key in keys]
    return k8s.V1VolumeProjection(
        secret=k8s.V1SecretProjection(name=secret, items=items, optional=optional or None)
    )
