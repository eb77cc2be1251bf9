"""What the platform gives an agent beside its own tools: MCP servers and skills that are part of the image."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from agent_runner.failure import failed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_runner.contract import McpServer, Skill

SKILL_FILE = "SKILL.md"


def check_servers(servers: Iterable[McpServer], search_path: str) -> None:
    """Look for the programs of MCP servers: agent programs go on silently without one that does not start.

    :param search_path: ``PATH`` of the agent.
    :raises StepFailed: one is not in the image.
    """
    for server in servers:
        if shutil.which(server.command[0], path=search_path) is None:
            raise failed(
                "agent_missing",
                f"{server.command[0]} of the MCP server {server.name} is not on the PATH of the image.",
                "Add the program to the image, or take the server out of repositories.yaml.",
            )


def link_skills(skills: Iterable[Skill], folder: Path) -> None:
    """Make the skills the only ones in ``folder``, which does not exist yet.

    :raises StepFailed: one is not in the image.
    """
    for skill in skills:
        if not Path(skill.path, SKILL_FILE).is_file():
            raise failed(
                "agent_missing",
                f"{skill.path} of the skill {skill.name} has no {SKILL_FILE} in the image.",
                "Add the folder to the image, or take the skill out of repositories.yaml.",
            )
        folder.mkdir(exist_ok=True)
        (folder / skill.name).symlink_to(skill.path, target_is_directory=True)
