"""The rules of an installation: ``rules/*.yaml`` below ``[agents] config_path``, read and checked.

A file holds one rule in this project's form, named after the file, or any number of ``PRReconciliationRule`` manifests,
apart by lines of ``---``, each named by its metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.config_files import definition_paths, read_text
from airflow_provider_agents.domain.manifest_documents import split_documents
from airflow_provider_agents.domain.pr_rule import MOST_INSTRUCTION, NAME_PATTERN, PullRequestRule
from airflow_provider_agents.domain.pr_rule_manifest import is_manifest, read_rule_manifest, unpacked
from airflow_provider_agents.domain.yaml_source import MAX_BYTES, validate

if TYPE_CHECKING:
    from pathlib import Path

    from airflow_provider_agents.domain.yaml_source import Document

RULES_FOLDER = "rules"

_UNFIT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff]")
_PLACED = re.compile(r".+?\.ya?ml:(\d+): ")
_LITERAL = re.compile(r"^[^#]*:\s+\|[0-9+-]*\s*(#.*)?$")
"""Line of a key whose text stands below it, line for line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleFile:
    """One rule as written down."""

    name: str
    """Of the rule; empty where a fault leaves it unknown."""
    path: Path
    file: str
    """For people: ``rules/staging.yaml``."""
    line: int = 1
    """Where it begins in the file."""
    rule: PullRequestRule | None = None
    """``None``: it has faults, and nothing is done by it."""
    faults: tuple[str, ...] = ()
    """Every fault, each with file and line."""

    @property
    def place(self) -> str:
        """Return where it is written: ``rules/staging.yaml:1``."""
        return f"{self.file}:{self.line}"


def rule_files(folder: Path) -> list[RuleFile]:
    """Return the rules below a folder, by file and place in it, those with faults too. Nothing is raised.

    Rules of the same name are all faulty: which one is meant cannot be told, and a rule may merge.

    :param folder: ``[agents] config_path``.
    """
    if fault := _folder_fault(folder):
        return [RuleFile(name="", path=folder, file=RULES_FOLDER, faults=(fault,))]
    found = [rule for path in definition_paths(folder / RULES_FOLDER) for rule in read_rules(path)]
    return _without_twins(found)


def _folder_fault(folder: Path) -> str:
    """Return why rules that may be there cannot be seen: without a word, all of them would be out of service."""
    rules = folder / RULES_FOLDER
    try:
        if not folder.is_dir():
            return (
                f"[agents] config_path: the folder {folder} is not here; put it where scheduler, DAG processor, workers "
                "and triggerer see it, or leave the option out"
            )
        if rules.is_dir():
            next(rules.iterdir(), None)
    except OSError as error:
        return f"{RULES_FOLDER}/: cannot be read: {error.strerror}"
    return ""


def read_rules(path: Path) -> list[RuleFile]:
    """Return the rules of one file; a file that holds none is a fault."""
    file = _UNFIT.sub("\ufffd", f"{RULES_FOLDER}/{path.name}")
    known = path.stem if re.fullmatch(NAME_PATTERN, path.stem) else ""
    if path.suffix != ".yaml":
        return [RuleFile(name="", path=path, file=file, faults=(f"{file}:1: name it {path.stem}.yaml",))]
    text, fault = read_text(path, file)
    if not fault and len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        fault = f"{file}:1: is larger than {MAX_BYTES // 1024} KB"
    if fault:
        return [RuleFile(name=known, path=path, file=file, faults=(fault,))]
    documents = [one for document in split_documents(text, file) for one in unpacked(document)]
    if not documents:
        return [RuleFile(name=known, path=path, file=file, faults=(f"{file}:1: holds no rule",))]
    several = len(documents) > 1
    lines = text.splitlines()
    return [_rule(document, path, several=several, lines=lines) for document in documents]


def _rule(document: Document, path: Path, *, several: bool, lines: list[str]) -> RuleFile:
    manifest = is_manifest(document)
    name = "" if several or manifest or not re.fullmatch(NAME_PATTERN, path.stem) else path.stem
    rule: PullRequestRule | None = None
    if document.faults:
        faults = list(document.faults)
    elif unfit := _unfit_characters(document):
        faults = unfit
    elif manifest:
        name, rule, faults = read_rule_manifest(document)
    elif several:
        fault = "kind: is missing; several documents in a file are manifests, a rule without it has a file of its own"
        faults = [f"{document.file}:{document.start}: {fault}"]
    elif not name:
        fault = "its name may have small letters, digits, `-` and `_`, 63 at the most, no other characters"
        faults = [f"{document.file}:1: {fault}"]
    else:
        rule, faults = validate(PullRequestRule, document)
    if not document.faults:
        faults = sorted([*faults, *_instruction_faults(document, lines)], key=_line_of)
    return RuleFile(
        name=name,
        path=path,
        file=document.file,
        line=document.start,
        rule=None if faults else rule,
        faults=tuple(_UNFIT.sub("\ufffd", fault) for fault in faults),
    )


def _unfit_characters(document: Document) -> list[str]:
    """Return where a text holds characters that not every database keeps: one such DAG would fail them all."""
    faults = []
    left: list[tuple[tuple[str | int, ...], Any]] = [((), document.value)]
    while left:
        path, value = left.pop()
        if isinstance(value, dict):
            left += [((*path, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            left += [((*path, number), inner) for number, inner in enumerate(value)]
        elif isinstance(value, str) and (found := _UNFIT.search(value)):
            shown = ".".join(map(str, path))
            faults.append(
                (document.line(path), f"{shown}: holds the control character U+{ord(found[0]):04X}")
            )
    return [f"{document.file}:{line}: {text}" for line, text in sorted(faults)]


def _instruction_faults(document: Document, lines: list[str]) -> list[str]:
    # Jinja's parser is worth its time only where there is a text.
    from airflow_provider_agents.domain.pr_rule_language import instruction_faults

    where = ("spec", "instruction") if is_manifest(document) else ("instruction",)
    written = document.part(*where[:-1]).value.get(where[-1])
    if not isinstance(written, str) or not 0 < len(written) <= MOST_INSTRUCTION:
        return []
    key = document.line(where)
    literal = key <= len(lines) and _LITERAL.match(lines[key - 1])
    faults = []
    for number, text in instruction_faults(written):
        if literal:
            faults.append(f"{document.file}:{key + number}: {'.'.join(where)}: {text}")
        else:
            shown = f" (line {number} of the text)" if number > 1 else ""
            faults.append(f"{document.file}:{key}: {'.'.join(where)}: {text}{shown}")
    return faults


def _line_of(fault: str) -> int:
    """Return the line that a fault names after its file."""
    found = _PLACED.match(fault)
    return int(found[1]) if found else 0


def _without_twins(found: list[RuleFile]) -> list[RuleFile]:
    by_name: dict[str, list[RuleFile]] = {}
    for one in found:
        by_name.setdefault(one.name, []).append(one)
    return [
        _twin(one, by_name[one.name]) if one.name and len(by_name[one.name]) > 1 else one for one in found
    ]


def _twin(one: RuleFile, same: list[RuleFile]) -> RuleFile:
    others = ", ".join(other.place for other in same if other is not one)
    fault = f"{one.place}: the name `{one.name}` is also given at {others}; give each rule a name of its own"
    return replace(one, rule=None, faults=(fault, *one.faults))
