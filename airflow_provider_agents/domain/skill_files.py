"""Skills as they lie below ``[agents] config_path``: ``skills/<name>/SKILL.md``, and small texts beside it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from agent_runner import contract
from agent_runner.contract import (
    MAX_SKILL_DESCRIPTION,
    MAX_SKILL_FILES,
    MAX_SKILLS_BYTES,
    SKILL_FILE,
    SKILL_PATH_PATTERN,
)
from airflow_provider_agents.domain.tool_servers import AgentStep, Skill  # noqa: TC001 (read at run time)
from airflow_provider_agents.domain.yaml_source import load_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

SKILLS_FOLDER = "skills"
_HEAD = re.compile(r"---[ \t]*\n(.*?\n)---[ \t]*(?:\n|\Z)", re.DOTALL)
_ALLOWED = "letters, digits, `.`, `_` and `-`, at most three folders deep"


class LoadedSkill(BaseModel):
    """A skill with its texts."""

    model_config = ConfigDict(frozen=True)

    description: str
    """When to use it, as its ``SKILL.md`` says."""
    files: dict[str, str]
    """Path below the skill's folder → text."""
    steps: tuple[AgentStep, ...]
    """Steps whose agents are given it."""

    def to_contract(self, name: str) -> contract.Skill:
        """Return it as a step's specification has it."""
        files = tuple(contract.SkillFile(path=path, text=text) for path, text in sorted(self.files.items()))
        return contract.Skill(name=name, description=self.description, files=files)


def read_skills(
    folder: Path | None, declared: Mapping[str, Skill], names: Iterable[str]
) -> tuple[dict[str, LoadedSkill], list[str]]:
    """Read skills.

    :param folder: ``[agents] config_path``.
    :param declared: what ``repositories.yaml`` says of them.
    :param names: of those that are wanted, each declared.
    :return: the skills by name, and every fault. Nothing is raised.
    """
    found: dict[str, LoadedSkill] = {}
    faults: list[str] = []
    for name in names:
        skill, wrong = _read_skill(folder, name, declared[name])
        faults += wrong
        if skill is not None:
            found[name] = skill
    if (
        size := contract.skills_bytes(skill.to_contract(name) for name, skill in found.items())
    ) > MAX_SKILLS_BYTES:
        faults.append(
            f"skills: {', '.join(found)} have {size:,} bytes together, at most {MAX_SKILLS_BYTES:,} can travel to the "
            "pods; shorten them, or give the repository fewer"
        )
    return found, faults


def _read_skill(folder: Path | None, name: str, declared: Skill) -> tuple[LoadedSkill | None, list[str]]:
    place = f"{SKILLS_FOLDER}/{name}"
    if folder is None:
        return None, [f"{place}: `[agents] config_path` is not set"]
    top = folder / SKILLS_FOLDER / name
    if not (top / SKILL_FILE).is_file():
        known = ", ".join(_known(folder)) or "none"
        return None, [f"{place}/{SKILL_FILE}: there is no such file; skills in the folder: {known}"]
    files: dict[str, str] = {}
    faults = []
    size = 0
    for path in _files(top):
        named = path.relative_to(top).as_posix()
        text, fault = _read(path, top, named)
        size += len(text.encode())
        if fault is not None:
            faults.append(f"{place}/{named}: {fault}")
        elif size > MAX_SKILLS_BYTES:
            return None, [f"{place}: has more than {MAX_SKILLS_BYTES:,} bytes"]
        files[named] = text
        if len(files) > MAX_SKILL_FILES:
            return None, [f"{place}: has more than {MAX_SKILL_FILES} files"]
    description = ""
    if not faults:
        description, fault = _description(files[SKILL_FILE], f"{place}/{SKILL_FILE}")
        faults += [fault] if fault else []
    if faults:
        return None, faults
    skill = LoadedSkill(description=description, files=files, steps=declared.steps)
    faults = [f"{SKILLS_FOLDER}: {fault}" for fault in contract.skill_faults([skill.to_contract(name)])]
    return (None, faults) if faults else (skill, [])


def _files(top: Path) -> Iterator[Path]:
    """Yield the files of a folder, without hidden ones; not those behind a link to a folder."""
    for path in sorted(top.iterdir()):
        if path.name.startswith("."):
            continue
        if path.is_dir() and not path.is_symlink():
            yield from _files(path)
        else:
            yield path


def _read(path: Path, top: Path, named: str) -> tuple[str, str | None]:
    if not SKILL_PATH_PATTERN.fullmatch(named):
        return "", f"cannot be a file of a skill: its name may have {_ALLOWED}"
    try:
        if not path.resolve(strict=True).is_relative_to(top.resolve()) or not path.is_file():
            return "", "is a link out of the skill's folder, or no file"
        with path.open("rb") as stream:
            data = stream.read(MAX_SKILLS_BYTES + 1)
    except (OSError, RuntimeError) as error:
        return "", f"cannot be read: {getattr(error, 'strerror', None) or error}"
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = "\0"
    return ("", "is no text in UTF-8") if "\0" in text else (text, None)


def _description(text: str, place: str) -> tuple[str, str | None]:
    """Return what a ``SKILL.md`` says of itself in its head, and what is wrong with that."""
    head = _HEAD.match(text.replace("\r\n", "\n"))
    if head is None:
        return "", f"{place}:1: begins with no head: `---`, `description: …`, `---`"
    document = load_yaml(head.group(1), place)
    if document.faults:
        return "", document.faults[0]
    value: Any = document.value.get("description")
    description = " ".join(str(value).split()) if isinstance(value, str) else ""
    if not description:
        return "", f"{place}:1: its head has no `description`, by which an agent knows when to use it"
    if len(description) > MAX_SKILL_DESCRIPTION:
        return "", f"{place}:1: `description` has more than {MAX_SKILL_DESCRIPTION:,} characters"
    return description, None


def _known(folder: Path) -> list[str]:
    try:
        entries = sorted((folder / SKILLS_FOLDER).iterdir())
    except OSError:
        return []
    return [entry.name for entry in entries if (entry / SKILL_FILE).is_file()]
