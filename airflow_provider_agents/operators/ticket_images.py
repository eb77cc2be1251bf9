"""Which of a ticket's images a step's pod gets, and from where its gateway may fetch them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from agent_runner.contract import FilePlaces, FileRefusedError, ImageAccess, TicketImage, place_of
from airflow_provider_agents.exceptions import AgentsError
from airflow_provider_agents.operators.ticket_reading import connection_of
from airflow_provider_agents.operators.ticket_sources import load_definition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_runner.contract import Step
    from airflow_provider_agents.domain.coding_task import CodingTask, Ticket
    from airflow_provider_agents.domain.ticket_content import TicketPicture
    from airflow_provider_agents.hooks.github_urls import GitHubUrls

log = logging.getLogger(__name__)

_STEPS: frozenset[Step] = frozenset({"plan", "implement", "fix"})
"""Steps whose prompt is the ticket."""
_SIGNING_SECONDS = 60.0


def image_names(task: CodingTask, step: Step) -> tuple[str, ...]:
    """Return the names of the images for the specification of a step; empty: it has none."""
    return tuple(image.stem for image in _images(task, step))


def image_access(task: CodingTask, step: Step, urls: GitHubUrls) -> ImageAccess:
    """Return what the gateway of a step's pod is told of the images; for workers, outside an event loop.

    Linear signs their addresses anew for each pod; where it does not, the agent is told that they are missing.

    :param urls: of the forge.
    """
    images, ticket = _images(task, step), task.ticket
    if not images or ticket is None:
        return ImageAccess()
    source = ticket.content.image_source
    signed = _signed(ticket, [image.url for image in images]) if source.how == "signed" else {}
    forge = place_of(urls.git_url)
    return ImageAccess(
        images=tuple(
            TicketImage(
                url=signed.get(image.url, image.url),
                auth="github" if source.how == "github" and _place(image.url) == forge else "none",
            )
            for image in images
        ),
        places=FilePlaces(listed=source.listed, own=source.own),
        api_url=urls.rest_url if source.how == "github" else "",
    )


def _images(task: CodingTask, step: Step) -> tuple[TicketPicture, ...]:
    return task.ticket.content.images if task.ticket is not None and step in _STEPS else ()


def _signed(ticket: Ticket, urls: Sequence[str]) -> dict[str, str]:
    from airflow_provider_agents.hooks.linear_files import sign_files

    async def sign() -> dict[str, str]:
        async with asyncio.timeout(_SIGNING_SECONDS):
            return await sign_files(connection_of(load_definition(ticket.source)), ticket.id, urls)

    try:
        return asyncio.run(sign())
    except (AgentsError, TimeoutError) as error:
        log.warning("The images of %s will be missing: they could not be signed: %s", ticket.key, error)
        return {}


def _place(url: str) -> str:
    try:
        return place_of(url)
    except FileRefusedError:
        return ""
