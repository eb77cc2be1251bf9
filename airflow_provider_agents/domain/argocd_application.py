"""What Argo CD says of one application, read at one moment."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.argocd_names import points_to

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_agents.domain.pr_rule import Health

Sync = Literal["Synced", "OutOfSync", "Unknown"]
"""Whether what runs is what the revision in git says."""

FaultKind = Literal["", "unnamed", "missing", "denied", "unavailable", "malformed"]
"""Why there is no reading. ``unnamed``: no name can be made for the application; ``missing``: there is none of that
name; ``denied``: connection, token or right is wrong, a person must act; ``unavailable``: passing; ``malformed``: the
answer is none of Argo CD's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationSource:
    """Where an application's manifests come from."""

    repo_url: str
    path: str = ""
    chart: str = ""
    """Of a Helm repository; empty where the source is in git."""
    target_revision: str = ""
    """Branch, tag, commit or version range that is followed; empty: the default branch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployedRevision:
    """One entry of an application's history of synchronisations."""

    id: int
    revisions: tuple[str, ...]
    """One for each source, in their order."""
    deployed_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What an application runs, in copies."""

    kind: str
    """``Deployment``, ``StatefulSet``, ``DaemonSet``, ``ReplicaSet`` or ``Rollout``."""
    namespace: str
    name: str
    desired: int
    available: int

    @property
    def short(self) -> bool:
        """Return whether fewer copies are available than are wanted."""
        return self.available < self.desired


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplicationReading:
    """An application at one moment; or, with a :attr:`fault`, why it could not be read.

    Without a reading its health is ``Unknown``, which is what a rule without Argo CD sees, too.
    """

    name: str
    observed_at: datetime
    """By the clock of this machine."""
    health: Health = "Unknown"
    health_message: str = ""
    health_since: datetime | None = None
    """When the health last changed, by Argo CD's clock."""
    sync: Sync = "Unknown"
    revisions: tuple[str, ...] = ()
    """What it was compared with last, one for each source."""
    sources: tuple[ApplicationSource, ...] = ()
    project: str = ""
    destination_namespace: str = ""
    images: tuple[str, ...] = ()
    history: tuple[DeployedRevision, ...] = ()
    """Oldest first; Argo CD keeps ten by default."""
    automated: bool = False
    """Whether it follows git by itself."""
    operation_phase: str = ""
    """``Running``, ``Succeeded``, ``Failed``, ``Error`` or ``Terminating``; empty: there never was one."""
    operation_message: str = ""
    conditions: tuple[str, ...] = ()
    """What Argo CD complains about: type and message."""
    reconciled_at: datetime | None = None
    """When Argo CD last compared it with git."""
    fault: str = ""
    """One sentence for people, with the remedy; empty where it was read."""
    fault_kind: FaultKind = ""

    @property
    def revision(self) -> str:
        """Return the revision of the first source; empty where there is none."""
        return self.revisions[0] if self.revisions else ""

    @property
    def source(self) -> ApplicationSource | None:
        """Return the first source."""
        return self.sources[0] if self.sources else None

    @property
    def failed(self) -> bool:
        """Return whether Argo CD, or the way to it, is at fault that there is no reading."""
        return self.fault_kind in ("denied", "unavailable", "malformed")

    def deploys(self, repository: str, host: str = "") -> bool:
        """Return whether one of its sources is in a repository.

        :param repository: ``owner/name``.
        :param host: of the forge, e.g. ``github.com``; empty: any.
        """
        return self._place(repository, host) is not None

    def revision_of(self, repository: str, host: str = "") -> str:
        """Return the revision of the source that is in a repository; empty where none is, or it is not known."""
        place = self._place(repository, host)
        return self.revisions[place] if place is not None and place < len(self.revisions) else ""

    def deployments_of(self, repository: str, host: str = "") -> tuple[tuple[str, datetime | None], ...]:
        """Return the revisions of a repository that were synchronised, oldest first, each with when."""
        place = self._place(repository, host)
        if place is None:
            return ()
        return tuple(
            (one.revisions[place], one.deployed_at)
            for one in self.history
            if place < len(one.revisions) and one.revisions[place]
        )

    def _place(self, repository: str, host: str) -> int | None:
        for place, source in enumerate(self.sources):
            if not source.chart and points_to(source.repo_url, repository, host):
                return place
        return None

    def to_dict(self) -> dict[str, Any]:
        """Return it as JSON-ready values."""
        values = dataclasses.asdict(self)
        for name in ("observed_at", "health_since", "reconciled_at"):
            values[name] = _text(values[name])
        for name in ("revisions", "sources", "images", "conditions"):
            values[name] = list(values[name])
        values["history"] = [
            {"id": one.id, "revisions": list(one.revisions), "deployed_at": _text(one.deployed_at)}
            for one in self.history
        ]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ApplicationReading:
        """Read what :meth:`to_dict` wrote."""
        return cls(
            **{
                **values,
                "observed_at": datetime.fromisoformat(values["observed_at"]),
                "health_since": _moment(values["health_since"]),
                "reconciled_at": _moment(values["reconciled_at"]),
                "revisions": tuple(values["revisions"]),
                "sources": tuple(ApplicationSource(**one) for one in values["sources"]),
                "images": tuple(values["images"]),
                "conditions": tuple(values["conditions"]),
                "history": tuple(
                    DeployedRevision(
                        id=one["id"],
                        revisions=tuple(one["revisions"]),
                        deployed_at=_moment(one["deployed_at"]),
                    )
                    for one in values["history"]
                ),
            }
        )


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
