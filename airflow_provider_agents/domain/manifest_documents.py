"""The documents of a manifest file: a file may hold several, apart by lines of ``---``."""

from __future__ import annotations

import re

from airflow_provider_agents.domain.yaml_source import Document, load_yaml

MAX_DOCUMENTS = 100
"""Most documents of one file."""

_SEPARATOR = re.compile(r"^---(?=\s|$)")
_END = re.compile(r"^\.\.\.\s*$")
_NOTHING = re.compile(r"^\s*(#.*)?$")


def split_documents(text: str, file: str) -> list[Document]:
    """Return the documents of a file in order, those left out that are empty; each knows its lines in the file.

    :param file: name of the file for people.
    :return: the documents; one with a fault where there are too many.
    """
    # In YAML, `---` at the start of a line ends a document wherever it stands, also within a block of text.
    parts: list[dict[int, str]] = [{}]
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines()):
        if _SEPARATOR.match(line):
            # What may follow on the line, a comment above all, stays where it is.
            parts.append({number: f"   {line[3:]}"})
        elif _END.match(line):
            parts.append({})
        else:
            parts[-1][number] = line
    filled = [part for part in parts if not all(_without_content(line) for line in part.values())]
    if len(filled) > MAX_DOCUMENTS:
        fault = f"{file}:{min(filled[MAX_DOCUMENTS]) + 1}: more than {MAX_DOCUMENTS} documents in one file"
        return [Document(file=file, faults=(fault,))]
    return [_document(part, file) for part in filled]


def _without_content(line: str) -> bool:
    return bool(_NOTHING.match(line)) or line.startswith("%")


def _document(part: dict[int, str], file: str) -> Document:
    # Empty lines in the place of the documents before it keep the numbers of its lines right.
    lines = [
        "" if part.get(number, "").startswith("%") else part.get(number, "")
        for number in range(max(part) + 1)
    ]
    return load_yaml("\n".join(lines) + "\n", file)
