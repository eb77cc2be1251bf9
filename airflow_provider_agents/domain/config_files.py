"""The installation's own files below ``[agents] config_path``, and what they say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.repository_settings import MAX_PROMPT_CHARACTERS, PromptFile
from airflow_provider_agents.domain.run_settings import RunSettings
from airflow_provider_agents.domain.settings_layers import REPOSITORIES_FILE, Installed, read_repositories
from airflow_provider_agents.domain.source_definition import NAME_PATTERN, SourceDefinition
from airflow_provider_agents.domain.yaml_source import MAX_BYTES, Document, load_yaml, validate

if TYPE_CHECKING:
    from pathlib import Path

TICKETS_FOLDER = "tickets"
FORMER_FILE = "coding_task.yaml"
"""What :data:`~.settings_layers.REPOSITORIES_FILE` took the place of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DefinitionFile:
    """A file ``tickets/<name>.yaml``, read."""

    name: str
    path: Path
    definition: SourceDefinition | None
    """``None``: the file has faults."""
    faults: tuple[str, ...] = ()


def read_text(path: Path, file: str) -> tuple[str, str]:
    """Read a file of text, of at most :data:`~.yaml_source.MAX_BYTES`.

    :param file: its name in faults, relative to the configuration's folder.
    :return: the text and what is wrong, one of them empty. Of a file that is too long a text that is, too.
    """
    try:
        with path.open("rb") as stream:
            return stream.read(MAX_BYTES + 1).decode("utf-8"), ""
    except UnicodeDecodeError as error:
        if error.start < MAX_BYTES:
            return "", f"{file}:1: is not UTF-8"
        return " " * (MAX_BYTES + 1), ""
    except OSError as error:
        return "", f"{file}:1: cannot be read: {error.strerror}"


def read_document(path: Path, file: str) -> Document:
    """Read a YAML file.

    :param file: its name in faults, relative to the configuration's folder.
    :return: the document, with faults where it cannot be read. Nothing is raised.
    """
    text, fault = read_text(path, file)
    return Document(file=file, faults=(fault,)) if fault else load_yaml(text, file)


def definition_paths(folder: Path) -> list[Path]:
    """Return the YAML files of a folder by name, hidden ones left out; without the folder there are none."""
    try:
        return sorted(
            path
            for path in folder.iterdir()
            if path.suffix in (".yaml", ".yml") and not path.name.startswith(".")
        )
    except OSError:
        return []


def repositories_file(folder: Path | None) -> tuple[Installed | None, list[str]]:
    """Read ``repositories.yaml``.

    :param folder: ``[agents] config_path``; ``None``: there is none.
    :return: what it says (nothing, where there is no such file), or ``None`` and every fault. A folder that is not
        there is one: without it, all limits would be gone.
    """
    if folder is None:
        return Installed(), []
    if not folder.is_dir():
        fault = (
            f"[agents] config_path: the folder {folder} is not here; put it where scheduler, DAG processor, workers and "
            "triggerer see it, or leave the option out"
        )
        return None, [fault]
    if (folder / FORMER_FILE).is_file():
        fault = (
            f"{FORMER_FILE}: is not read any more; put its lines, indented by two spaces, below `defaults:` in "
            f"{REPOSITORIES_FILE}, and remove it"
        )
        return None, [fault]
    if not (folder / REPOSITORIES_FILE).exists():
        return Installed(), []
    return read_repositories(read_document(folder / REPOSITORIES_FILE, REPOSITORIES_FILE))


def read_prompt(folder: Path | None, prompt: PromptFile) -> tuple[str, str | None]:
    """Return the text of a prompt's file, and what is wrong with it.

    :param folder: ``[agents] config_path``.
    """
    if folder is None:
        return "", f"{prompt.file}: `[agents] config_path` is not set"
    path = folder / prompt.file
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            return "", f"{prompt.file}: does not lie below `[agents] config_path`"
        with path.open("rb") as stream:
            text = stream.read(4 * MAX_PROMPT_CHARACTERS + 1).decode("utf-8", errors="strict").strip()
    except UnicodeDecodeError:
        return "", f"{prompt.file}: is not UTF-8, or too long"
    except OSError as error:
        return "", f"{prompt.file}: cannot be read: {error.strerror}"
    if not text:
        return "", f"{prompt.file}: is empty"
    if len(text) > MAX_PROMPT_CHARACTERS:
        return "", f"{prompt.file}: has more than {MAX_PROMPT_CHARACTERS:,} characters"
    return text, None


def source_definitions(folder: Path) -> list[DefinitionFile]:
    """Return the definitions of ticket sources, by name.

    :param folder: ``[agents] config_path``; its ``tickets/*.yaml`` are read. Without them there are none.
    """
    return [_definition(path) for path in definition_paths(folder / TICKETS_FOLDER)]


def _definition(path: Path) -> DefinitionFile:
    file = f"{TICKETS_FOLDER}/{path.name}"
    if path.suffix != ".yaml":
        return DefinitionFile(
            name=path.stem,
            path=path,
            definition=None,
            faults=(f"{file}: name it {path.stem}.yaml",),
        )
    if not re.fullmatch(NAME_PATTERN, path.stem):
        fault = f"{file}: its name may have small letters, digits, `-` and `_`, 40 at the most, no other characters"
        return DefinitionFile(name=path.stem, path=path, definition=None, faults=(fault,))
    document = read_document(path, file)
    definition, faults = validate(SourceDefinition, document)
    if definition is not None:
        # What a form would refuse: found here, and not by each of its runs.
        faults = validate(RunSettings, document.part("task"))[1]
    return DefinitionFile(
        name=path.stem, path=path, definition=None if faults else definition, faults=tuple(faults)
    )
