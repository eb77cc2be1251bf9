"""What a run works on: :class:`CodingTask`, the accepted request with what was looked up once at the start."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import BaseModel, ConfigDict

from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest  # noqa: TC001 (read at run time)
from airflow_provider_agents.domain.image_preset import ImagePreset, image_of_preset


class Ticket(BaseModel):
    """The issue that a task resolves, as read once at the start. Its text is untrusted."""

    model_config = ConfigDict(frozen=True)

    number: int
    title: str
    body: str = ""
    url: str = ""
    author: str = ""


class CodingTask(BaseModel):
    """An accepted request: the value that every later task of the run reads."""

    model_config = ConfigDict(frozen=True)

    name: str
    """Short unique name: part of the work branch, and a label."""
    request: CodingTaskRequest
    work_branch: str
    base_sha: str
    """Commit of the base branch when the task was accepted."""
    ticket: Ticket | None = None
    image_preset: ImagePreset | None = None
    """Preset of the image, where the installation has images of several."""

    @property
    def title(self) -> str:
        """One line that names the task to a person."""
        if self.ticket:
            return self.ticket.title
        return (self.request.prompt or "").strip().splitlines()[0][:100]

    def image(self, installed: str) -> str:
        """Return the image of the task's pods.

        :param installed: ``[agents] image``, for a request that names no image.
        """
        return self.request.image or image_of_preset(installed, self.image_preset)

    def with_request(self, **changes: Any) -> CodingTask:
        """Return the task with other values in its request."""
        return self.model_copy(update={"request": self.request.model_copy(update=changes)})

    @classmethod
    def accept(
        cls,
        request: CodingTaskRequest,
        *,
        run_key: str,
        base_sha: str,
        ticket: Ticket | None,
        image_preset: ImagePreset | None = None,
    ) -> CodingTask:
        """Name the task and its branch. The name has no text of the ticket in it: that is untrusted.

        :param run_key: what tells this run from every other, e.g. DAG id and run id.
        :param image_preset: found from the repository's files, for a request that names none.
        """
        digest = hashlib.sha256(run_key.encode()).hexdigest()[:8]
        name = f"issue-{ticket.number}-{digest}" if ticket else f"task-{digest}"
        return cls(
            name=name,
            request=request,
            work_branch=request.work_branch or f"ai/{name}",
            base_sha=base_sha,
            ticket=ticket,
            image_preset=request.image_preset or image_preset,
        )
