"""Skills of the platform: written where the agent program looks, outside the checkout, anew for each run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from agent_runner.contract import SKILL_FILE
from agent_runner.files import make_folder, remove, write_fresh

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from agent_runner.contract import Skill


_SKILLS_HEAD = (
    "Skills, each a folder with instructions for one kind of work. Where the task, or a part of it, is what a skill is "
    "for, read its file before you begin and follow it; what else it names lies beside it. Leave the others unread."
)


def write_skills(skills: Iterable[Skill], folder: Path) -> None:
    """Make the skills the only ones in ``folder``: an earlier step's agent may have left others there.

    :param skills: of a specification, so that names and paths are safe.
    """
    remove(folder)
    for skill in skills:
        for file in skill.files:
            path = folder / skill.name / file.path
            make_folder(path.parent)
            write_fresh(path, file.text)


def skills_text(skills: Iterable[Skill], folder: Path) -> str:
    """Return what an agent is told of its skills, whose program does not look for them itself.

    :param folder: where :func:`write_skills` put them.
    :return: nothing, where there are none.
    """
    lines = [
        f"- {skill.name}: {' '.join(skill.description.split())} (file: {folder / skill.name / SKILL_FILE})"
        for skill in skills
    ]
    if not lines:
        return ""
    return "\n".join([_SKILLS_HEAD, *lines])
