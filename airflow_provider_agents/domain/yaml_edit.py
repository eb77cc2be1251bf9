"""One value put into a YAML text, in block style, that leaves all other lines as they are."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_agents.domain.yaml_source import load_yaml

_INDENT = re.compile(r"^ *")


def put_yaml(text: str, path: tuple[str, ...], value: Any) -> str:
    """Return ``text`` with a plain value at ``path``; mappings on the way are added where they are missing.

    :param text: YAML as :func:`.yaml_source.load_yaml` reads it.
    :raises ValueError: the text is written in a way that cannot be changed by lines, e.g. as ``{…}``, so that a
        person has to put the value in.
    """
    before, edited = load_yaml(text, "before"), "\n".join(_put(text.splitlines(), path, value)) + "\n"
    after = load_yaml(edited, "after")
    if before.faults or after.faults or after.value != _with(before.value, path, value):
        shown = ": ".join(path)
        raise ValueError(f"`{shown}: {_scalar(value)}` cannot be put in without changing other lines")
    return edited


def _with(values: Any, path: tuple[str, ...], value: Any) -> Any:
    if not path:
        return value
    values = dict(values or {})
    key = next((key for key in values if key.lower() == path[0].lower()), path[0])
    values[key] = _with(values.get(key), path[1:], value)
    return values


def _put(lines: list[str], path: tuple[str, ...], value: Any) -> list[str]:
    start, end, indent = 0, len(lines), 0
    for depth, key in enumerate(path):
        last = depth == len(path) - 1
        at = _line_of(lines, start, end, indent, key)
        if at is None:
            added = [
                f"{' ' * (indent + 2 * further)}{_scalar(name)}:" for further, name in enumerate(path[depth:])
            ]
            added[-1] += f" {_scalar(value)}"
            insert = _end_of(lines, start, end)
            return [*lines[:insert], *added, *lines[insert:]]
        below = _end_of_block(lines, at, end, indent)
        if last:
            return [*lines[:at], f"{lines[at].split(':')[0]}: {_scalar(value)}", *lines[below:]]
        start, end = at + 1, below
        indent = _first_indent(lines, start, end, indent + 2)
    return lines


def _scalar(value: Any) -> str:
    import json

    import yaml

    text = yaml.safe_dump(value, allow_unicode=True, width=10_000).strip()
    text = text.removesuffix("...").strip()
    return text if "\n" not in text else json.dumps(value, ensure_ascii=False)


def _line_of(lines: list[str], start: int, end: int, indent: int, key: str) -> int | None:
    for at in range(start, end):
        line = lines[at]
        if not _is_blank(line) and _indent(line) == indent:
            name, colon, _ = line.strip().partition(":")
            if colon and name.strip("\"' ").lower() == key.lower():
                return at
    return None


def _end_of_block(lines: list[str], at: int, end: int, indent: int) -> int:
    """Return the line after the value that begins in line ``at``; blank lines and comments at its end stay out."""
    after = at + 1
    for index in range(at + 1, end):
        line = lines[index]
        if _is_blank(line):
            continue
        if _indent(line) < indent or (_indent(line) == indent and not line.lstrip().startswith("- ")):
            break
        after = index + 1
    return after


def _end_of(lines: list[str], start: int, end: int) -> int:
    while end > start and not lines[end - 1].strip():
        end -= 1
    return end


def _first_indent(lines: list[str], start: int, end: int, otherwise: int) -> int:
    return next((_indent(line) for line in lines[start:end] if not _is_blank(line)), otherwise)


def _is_blank(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _indent(line: str) -> int:
    found = _INDENT.match(line)
    return found.end() if found else 0
