"""What all pods of one runtime share."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_agents.local.scheduling import Scheduling

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_agents.local.api_errors import Json
    from airflow_provider_agents.local.claims import Claims
    from airflow_provider_agents.local.events import EventRecorder
    from airflow_provider_agents.local.images import ImageTable
    from airflow_provider_agents.local.objects import ObjectStore
    from airflow_provider_agents.local.sandbox import Sandbox


@dataclass(frozen=True, slots=True)
class Timing:
    """Pauses of the runtime, in seconds. The defaults are what was seen of a real node."""

    first_restart: float = 1.0
    next_restart: float = 10.0
    """Pause before the second restart of a sidecar; doubles from then on."""
    longest_restart: float = 300.0
    image_back_off: float = 1.0
    """How long a missing image shows ``ErrImagePull`` before it shows ``ImagePullBackOff``."""
    retry: float = 0.5
    """Pause before a missing secret, config map or claim is looked for again."""
    least_sidecar_grace: float = 2.0
    """What a sidecar gets after SIGTERM even if the grace period of its pod is used up."""
    shutdown_grace: float = 5.0
    """Longest grace period when the runtime itself is stopped."""

    def restart_pause(self, restarts: int) -> float:
        """Return the pause before the next restart of a container that was restarted so many times."""
        if restarts == 0:
            return self.first_restart
        return min(self.next_restart * 2.0 ** min(restarts - 1, 30), self.longest_restart)


@dataclass(frozen=True, slots=True)
class Services:
    """What all pods of one runtime share.

    :param folder: where the folders of the pods are.
    """

    folder: Path
    store: ObjectStore
    events: EventRecorder
    images: ImageTable
    sandbox: Sandbox
    claims: Claims
    timing: Timing = field(default_factory=Timing)
    scheduling: Scheduling = field(default_factory=Scheduling)

    def pod_folder(self, pod: Json) -> Path:
        """Return the folder of a pod."""
        return self.folder / str(pod["metadata"]["uid"])
