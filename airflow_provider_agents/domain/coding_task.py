"""What a run works on: :class:`CodingTask`, the accepted request with what was looked up once at the start."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from airflow_provider_agents.domain.authority_rules import AuthorityRules
from airflow_provider_agents.domain.coding_task_request import CodingTaskRequest  # noqa: TC001 (read at run time)
from airflow_provider_agents.domain.image_preset import ImagePreset, image_of_preset
from airflow_provider_agents.domain.repository_settings import PlatformSettings
from airflow_provider_agents.domain.skill_files import LoadedSkill  # noqa: TC001 (read at run time)
from airflow_provider_agents.domain.ticket_content import TicketContent
from airflow_provider_agents.domain.tickets import SourceKind  # noqa: TC001 (read at run time)
from airflow_provider_agents.domain.tool_servers import McpServer  # noqa: TC001 (read at run time)


class Ticket(BaseModel):
    """The ticket that a task resolves, as read once at the start. Its text is untrusted."""

    model_config = ConfigDict(frozen=True)

    number: int | None = None
    """Of the issue in the task's own repository; ``None``: the ticket is elsewhere."""
    kind: SourceKind = "github"
    source: str = ""
    """Name of the source's definition, ``tickets/<name>.yaml``; empty: an issue that a person named."""
    id: str = ""
    """The tracker's own id."""
    key: str = ""
    """As people write it: ``acme/shop#7``, ``ENG-12``."""
    title: str
    body: str = ""
    url: str = ""
    author: str = ""
    content: TicketContent = Field(default_factory=TicketContent)
    """What the agent is shown beside title and body."""

    @property
    def named(self) -> str:
        """How a text refers to it: ``issue #7``, ``ticket ENG-12``."""
        return f"issue #{self.number}" if self.number is not None else f"ticket {self.key}"


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
    platform: PlatformSettings = Field(default_factory=PlatformSettings)
    """Settings of the repository that no run can ask for; its prompts are texts, no files."""
    authority: AuthorityRules = Field(default_factory=AuthorityRules)
    """Who may do what."""
    mcp_servers: dict[str, McpServer] = Field(default_factory=dict)
    """Those that the agent may use, by their names."""
    skills: dict[str, LoadedSkill] = Field(default_factory=dict)
    """Those that the agent may use, by their names."""
    settings_origin: dict[str, str] = Field(default_factory=dict)
    """Where each setting comes from: ``default``, ``repositories.yaml:12``, ``.agents.yaml:3``, ``run``."""

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
        name = f"{_slug(ticket)}-{digest}" if ticket else f"task-{digest}"
        return cls(
            name=name,
            request=request,
            work_branch=request.work_branch or f"ai/{name}",
            base_sha=base_sha,
            ticket=ticket,
            image_preset=request.image_preset or image_preset,
        )


def _slug(ticket: Ticket) -> str:
    """Return the part of a task's name that says which ticket it is, fit for a branch and a label."""
    if ticket.number is not None:
        return f"issue-{ticket.number}"
    return re.sub(r"[^a-z0-9]+", "-", ticket.key.lower()).strip("-")[:30] or "ticket"
