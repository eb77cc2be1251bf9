"""What the platform gives an agent beside the tools of its program: MCP servers, through the gateway, and skills."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

TOOL_NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
"""Name of an MCP server or a skill: part of a path, of a key of a secret, and of a tool's name for the model."""
SKILL_PATH_PATTERN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}(?:/[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}){0,3}")
"""A file of a skill, relative to its folder: nothing hidden, nothing above, no more than three folders deep."""
HEADER_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")
"""A header that a credential goes into."""
SKILL_FILE = "SKILL.md"
MAX_SKILL_FILES = 50
"""Of one skill."""
MAX_SKILLS_BYTES = 50_000
"""Of all files of all skills of a step together, in UTF-8: they travel in its specification."""
MAX_SKILL_DESCRIPTION = 1_024
"""Characters."""

_SECRET_KEY_PREFIX = "mcp-"


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """An MCP server that the gateway passes requests on to, by streamable HTTP."""

    name: str
    """It is at ``/mcp/<name>`` of the gateway, and nowhere else for the agent."""
    url: str
    tools: tuple[str, ...] | None = None
    """Tools that the agent may use; with them it can use nothing else of the server. ``None``: all that it has."""
    header: str | None = None
    """Header of the credential, :func:`mcp_secret_key`; ``Authorization`` has ``Bearer`` before it. ``None``: it takes
    none."""
    credential: str | None = None
    """Where a person sets the credential, for messages, e.g. ``the password of connection docs_mcp``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillFile:
    """A text of a skill."""

    path: str
    """Relative to the skill's folder."""
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Skill:
    """What tells an agent how to do something: a ``SKILL.md``, and files that it names."""

    name: str
    description: str
    """When to use it, in a sentence or two."""
    files: tuple[SkillFile, ...]


def mcp_secret_key(server: str) -> str:
    """Return the key of the secret with the credential of an MCP server: its file name in the secret volume."""
    return f"{_SECRET_KEY_PREFIX}{server}"


def skills_bytes(skills: Iterable[Skill]) -> int:
    """Return how many bytes all files of the skills have."""
    return sum(len(file.text.encode(errors="replace")) for skill in skills for file in skill.files)


def name_faults(names: Iterable[str], what: str) -> Iterator[str]:
    """Yield what is wrong with names of MCP servers or skills.

    :param what: the names are of, for messages.
    """
    for name, times in Counter(names).items():
        if not TOOL_NAME_PATTERN.fullmatch(name):
            yield f"{name!r} is no name of {what}"
        elif times > 1:
            yield f"{name} is there twice"


def skill_faults(skills: Iterable[Skill]) -> Iterator[str]:
    """Yield what is wrong with skills."""
    skills = tuple(skills)
    yield from name_faults((skill.name for skill in skills), "a skill")
    for skill in skills:
        paths = [file.path for file in skill.files]
        if SKILL_FILE not in paths:
            yield f"{skill.name} has no {SKILL_FILE}"
        if len(paths) > MAX_SKILL_FILES:
            yield f"{skill.name} has {len(paths)} files, at most {MAX_SKILL_FILES}"
        if len({path.lower() for path in paths}) < len(paths):
            yield f"{skill.name} has a file twice"
        wrong = [path for path in paths if not SKILL_PATH_PATTERN.fullmatch(path)]
        # A file where another one needs a folder.
        wrong += [
            path for path in paths if any(other.lower().startswith(f"{path.lower()}/") for other in paths)
        ]
        if wrong:
            yield f"{skill.name}: {', '.join(map(repr, wrong))} cannot be a file of a skill"
    if (size := skills_bytes(skills)) > MAX_SKILLS_BYTES:
        yield f"all skills together have {size:,} bytes, at most {MAX_SKILLS_BYTES:,}"
