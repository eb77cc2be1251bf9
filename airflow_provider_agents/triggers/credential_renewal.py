"""Gives the pod of a long step a new credential before the old one expires."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from agent_runner.contract import SECRET_KEY_FORGE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook

    from airflow_provider_agents.hooks.github_app import InstallationToken

RENEWED_ANNOTATION = "agents.airflow/renewed"
"""Of the pod. Its change makes the kubelet write the volumes within a second, instead of about a minute."""

MARGIN = timedelta(minutes=10)
"""How long before its end a token is renewed; one that lives less than twice as long, at half of its life."""
ATTEMPT_SECONDS = 45.0
"""Bound of one renewal."""
FIRST_PAUSE = timedelta(seconds=10)
"""Before a renewal that failed is tried again; doubled each time."""
LONGEST_PAUSE = timedelta(minutes=2)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalSpec:
    """All that a renewal needs to know. Holds no secret: it is stored with the trigger."""

    github_conn_id: str
    repositories: tuple[str, ...]
    permissions: Mapping[str, str]
    namespace: str
    secret_name: str
    pod_name: str
    kubernetes_conn_id: str | None = None
    """Of the cluster, for who has no hook at hand."""
    expires_at: datetime | None = None
    """``None``: not known; renewed at once."""
    renew_at: datetime | None = None
    """``None``: at once."""

    def after(self, token: InstallationToken) -> Self:
        """Return the specification of the renewal after ``token``."""
        lifetime = token.expires_at - token.minted_at
        renew_at = token.expires_at - min(MARGIN, lifetime / 2)
        return dataclasses.replace(self, expires_at=token.expires_at, renew_at=renew_at)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON."""
        return {
            "github_conn_id": self.github_conn_id,
            "repositories": list(self.repositories),
            "permissions": dict(self.permissions),
            "namespace": self.namespace,
            "secret_name": self.secret_name,
            "pod_name": self.pod_name,
            "kubernetes_conn_id": self.kubernetes_conn_id,
            "expires_at": self.expires_at and self.expires_at.isoformat(),
            "renew_at": self.renew_at and self.renew_at.isoformat(),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Read what :meth:`to_dict` wrote."""
        known = dict(values)
        known["repositories"] = tuple(known["repositories"])
        for name in ("expires_at", "renew_at"):
            known[name] = datetime.fromisoformat(known[name]) if known.get(name) else None
        return cls(**known)


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(slots=True)
class CredentialRenewal:
    """Renews the forge token of one pod, in the triggerer.

    ::

        renewal = CredentialRenewal(self.renewal, self.hook)
        ...
        await renewal.tick()  # at each poll

    :param values: a :class:`RenewalSpec` as a dictionary.
    :param hook: the trigger's own, by default one of the specification's connection; its identity needs the
        right to patch secrets and pods.
    :param clock: returns the present time, timezone-aware.
    """

    values: Mapping[str, Any]
    hook: AsyncKubernetesHook | None = None
    clock: Callable[[], datetime] = _now
    _spec: RenewalSpec = field(init=False)
    _failures: int = field(init=False, default=0)
    _not_before: datetime | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._spec = RenewalSpec.from_dict(self.values)

    @property
    def spec(self) -> dict[str, Any]:
        """The specification as it is now, to be stored with the trigger."""
        return self._spec.to_dict()

    async def tick(self) -> None:
        """Renew the credential if it is time to; else return at once.

        Never raises but when it is cancelled: a failure is logged and tried again, with growing pauses.
        """
        now = self.clock()
        due = max((m for m in (self._spec.renew_at, self._not_before) if m is not None), default=now)
        if now < due:
            return
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await self._renew()
        except Exception as error:
            self._failures += 1
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 10))
            self._not_before = self.clock() + pause
            log.warning(
                "The forge token of pod %s could not be renewed (attempt %d); %s. Next attempt in %.0f s: %s",
                self._spec.pod_name,
                self._failures,
                self._left(now),
                pause.total_seconds(),
                _words(error),
            )
        else:
            self._failures, self._not_before = 0, None
            log.info("Renewed the forge token of pod %s; %s.", self._spec.pod_name, self._left(now))

    async def _renew(self) -> None:
        import base64

        from kubernetes_asyncio.client import CoreV1Api

        from airflow_provider_agents.hooks.github import AgentsGitHubHook
        from airflow_provider_agents.hooks.unlogged import unlogged_bodies

        spec = self._spec
        token = await AgentsGitHubHook(spec.github_conn_id).amint(spec.repositories, spec.permissions)
        value = base64.b64encode(token.token.encode()).decode()
        renewed = {"metadata": {"annotations": {RENEWED_ANNOTATION: self.clock().isoformat()}}}
        async with self._kubernetes().get_conn() as connection:
            core = CoreV1Api(connection)
            with unlogged_bodies():
                await core.patch_namespaced_secret(
                    spec.secret_name, spec.namespace, {"data": {SECRET_KEY_FORGE: value}}
                )
            self._spec = spec.after(token)
            await core.patch_namespaced_pod(spec.pod_name, spec.namespace, renewed)

    def _kubernetes(self) -> AsyncKubernetesHook:
        if self.hook is None:
            from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook

            self.hook = AsyncKubernetesHook(conn_id=self._spec.kubernetes_conn_id)
        return self.hook

    def _left(self, now: datetime) -> str:
        if self._spec.expires_at is None:
            return "when it expires is not known"
        seconds = (self._spec.expires_at - now).total_seconds()
        return f"it expires in {seconds / 60:.0f} min" if seconds > 0 else "it has expired"


def _words(error: Exception) -> str:
    """Return what went wrong in words that hold neither headers nor bodies: these may hold the token."""
    status = getattr(error, "status", None)
    if status is not None:
        what = f"Kubernetes answered {status} {getattr(error, 'reason', '')}".rstrip()
        if status == 403:
            what += "; Airflow's identity needs the right to patch secrets and pods in the namespace"
        return what
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
