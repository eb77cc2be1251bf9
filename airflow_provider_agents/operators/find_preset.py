"""Which image an installation with several has for a repository, found from the repository's files."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.domain.image_preset import FALLBACK, PLACEHOLDER, detect_preset
from airflow_provider_agents.exceptions import ForgeError

if TYPE_CHECKING:
    from airflow_provider_agents.domain.image_preset import ImagePreset
    from airflow_provider_agents.hooks.github_client import GitHubClient

log = logging.getLogger(__name__)


def has_presets() -> bool:
    """Say whether this installation has an image for each preset, rather than one for all."""
    return PLACEHOLDER in settings.text("image")


async def find_preset(client: GitHubClient, repository: str, sha: str) -> ImagePreset:
    """Return the preset that a repository needs; where its files cannot be read, the one that has everything.

    :param sha: the commit whose files count.
    """
    try:
        return detect_preset(await client.root_files(repository, sha))
    except ForgeError as error:
        log.warning(
            "Which toolchains %s needs could not be read from its files, so the image has all of them: %s",
            repository, error,
        )  # fmt: skip
        return FALLBACK
