"""YAML as people write it: read safely, with the line of every key, so that faults can name file and line.

Values follow YAML 1.2: ``on``, ``no`` and ``12:30`` are text, ``010`` is, too (a field of type ``bool`` or ``int``
takes them for what they say). Aliases, tags and several documents in a file are refused.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError

from airflow_provider_agents.domain.model_faults import Path, fault_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ModelT = TypeVar("ModelT", bound=BaseModel)

MAX_BYTES = 256 * 1024
"""Largest file, in bytes of UTF-8."""

MAX_DEPTH = 32
"""Most mappings and lists inside each other."""

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,15}")
_OCTAL = re.compile(r"0o[0-7]{1,20}")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")
_TEXT_TAGS = frozenset({"!", "tag:yaml.org,2002:str"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A YAML file as read: its mapping and where each key is written."""

    file: str
    """Name that faults carry, e.g. ``tickets/shop.yaml``."""
    value: dict[str, Any] = field(default_factory=dict)
    """Empty where the file is, or where it has faults."""
    lines: Mapping[Path, int] = field(default_factory=dict)
    """Line, from 1, of each key and of each item of a list, by its path."""
    start: int = 1
    """Line that it begins in."""
    above: Path = ()
    """Where it stands in its file, if it is only a part of it."""
    faults: tuple[str, ...] = ()
    """What is wrong with the file as YAML; each names file and line."""

    def line(self, path: Path) -> int:
        """Return the line of the value at ``path``, or of the closest thing around it that is there."""
        return next(
            (self.lines[path[:n]] for n in range(len(path), 0, -1) if path[:n] in self.lines), self.start
        )

    def place(self, path: Path) -> str:
        """Return where the value at ``path`` is written: ``repositories.yaml:12``."""
        return f"{self.file}:{self.line(path)}"

    def part(self, *path: str | int) -> Document:
        """Return the mapping at ``path`` as a document of its own, in the same file, with the same lines.

        What is no mapping there is an empty one.
        """
        value: Any = self.value
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                value = None
        size = len(path)
        inner = {where[size:]: line for where, line in self.lines.items() if where[:size] == path}
        return Document(
            file=self.file,
            value=value if isinstance(value, dict) else {},
            lines=inner,
            start=self.line(path),
            above=(*self.above, *path),
            faults=self.faults,
        )


def load_yaml(text: str, file: str) -> Document:
    """Read a YAML file whose top is a mapping; an empty file is an empty mapping.

    :param file: name of the file for people, relative to where they keep it.
    :return: the document; with :attr:`Document.faults` where it cannot be read. Nothing is raised.
    """
    first, *more = load_documents(text, file) or [Document(file=file)]
    if more and not first.faults:
        return Document(
            file=file, faults=(f"{file}:{more[0].start}: a second document (`---`); the file holds one",)
        )
    return first


def load_documents(text: str, file: str) -> list[Document]:
    """Read a YAML file of several documents, each a mapping; those that are empty are left out.

    :return: the documents; one, with :attr:`Document.faults`, where the file cannot be read. Nothing is raised.
    """
    if len(text.encode(errors="surrogatepass")) > MAX_BYTES:
        return [Document(file=file, faults=(f"{file}:1: is larger than {MAX_BYTES // 1024} KB",))]
    from yaml import YAMLError

    builders: list[_Builder] = []
    try:
        for event in _events(text):
            _take(event, builders)
    except _RefusedError as refused:
        return [Document(file=file, faults=(f"{file}:{refused.line}: {refused.reason}",))]
    except YAMLError as error:
        return [Document(file=file, faults=(_syntax_fault(error, text, file),))]
    if faults := [f"{file}:{line}: {fault}" for builder in builders for line, fault in builder.faults]:
        return [Document(file=file, faults=tuple(faults))]
    return [
        Document(file=file, value=one.top, lines=one.lines, start=one.start)
        for one in builders
        if one.top is not None
    ]


def validate(model: type[ModelT], document: Document, context: Any = None) -> tuple[ModelT | None, list[str]]:
    """Make a value of ``model`` from a document.

    :param context: handed to the model's validators.
    :return: the value, or ``None`` and every fault: ``tickets/shop.yaml:12: repositoris: unknown key; did you
        mean `repositories`?``.
    """
    if document.faults:
        return None, list(document.faults)
    try:
        return model.model_validate(document.value, context=context), []
    except ValidationError as error:
        found = fault_lines(model, document.value, error, above=document.above)
        placed = sorted((document.line(path), text) for path, text in found)
        return None, [f"{document.file}:{line}: {text}" for line, text in placed]


class _RefusedError(Exception):
    def __init__(self, line: int, reason: str) -> None:
        super().__init__(reason)
        self.line = line
        self.reason = reason


@dataclass(slots=True)
class _Open:
    """A mapping or list whose end has not been read."""

    path: Path
    value: dict[str, Any] | list[Any]
    key: str | None = None
    skip: bool = False
    """Of a mapping: the value that comes belongs to a key that is refused."""


class _Builder:
    """Builds values from the parser's events, with a stack of its own, so that depth is bounded."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.top: dict[str, Any] | None = None
        self.lines: dict[Path, int] = {}
        self.faults: list[tuple[int, str]] = []
        self._open: list[_Open] = []

    def mapping(self, tag: str | None, line: int) -> None:
        self._check_tag(tag, line)
        self._start({}, line)

    def sequence(self, tag: str | None, line: int) -> None:
        self._check_tag(tag, line)
        self._start([], line)

    def end(self) -> None:
        self._open.pop()

    def _check_tag(self, tag: str | None, line: int) -> None:
        if tag is not None and tag != "!":
            raise _RefusedError(line, f"tag `{_clip(tag)}` is not supported")

    def _start(self, value: dict[str, Any] | list[Any], line: int) -> None:
        if not self._open:
            if isinstance(value, list):
                raise _RefusedError(line, "the top is a list; a mapping (`key: value`) is expected")
            self.top = value
            self._open.append(_Open(path=(), value=value))
            return
        if len(self._open) >= MAX_DEPTH:
            raise _RefusedError(line, f"more than {MAX_DEPTH} levels deep")
        path = self._put(value, line)
        self._open.append(_Open(path=path, value=value))

    def scalar(self, event: Any, line: int) -> None:
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            raise _RefusedError(line, f"tag `{_clip(event.tag)}` is not supported")
        plain = event.tag is None and event.implicit[0]
        if not self._open:
            if plain and _NULL.fullmatch(event.value):
                return
            raise _RefusedError(line, "the top is a single value; a mapping (`key: value`) is expected")
        parent = self._open[-1]
        if isinstance(parent.value, dict) and parent.key is None:
            self._key(parent, event.value, line)
        else:
            self._put(_plain_value(event.value) if plain else event.value, line)

    def _key(self, parent: _Open, key: str, line: int) -> None:
        assert isinstance(parent.value, dict)
        where = (*parent.path, key)
        parent.key = key
        parent.skip = False
        if key == "<<":
            raise _RefusedError(line, "merge key `<<` is not supported; write the values out")
        if key in parent.value:
            self.faults.append((line, f"{_shown(where)}: is there twice, first in line {self.lines[where]}"))
            parent.skip = True
        else:
            self.lines[where] = line

    def _put(self, value: Any, line: int) -> Path:
        """Add a value to the mapping or list that is open; return its path."""
        parent = self._open[-1]
        if isinstance(parent.value, list):
            path = (*parent.path, len(parent.value))
            self.lines[path] = line
            parent.value.append(value)
            return path
        if parent.key is None:
            raise _RefusedError(line, "a mapping or list as a key")
        path = (*parent.path, parent.key)
        if not parent.skip:
            parent.value[parent.key] = value
        parent.key = None
        return path


def _take(event: Any, builders: list[_Builder]) -> None:
    import yaml

    line = event.start_mark.line + 1
    match event:
        case yaml.DocumentStartEvent():
            builders.append(_Builder(line))
        case yaml.AliasEvent():
            raise _RefusedError(line, f"alias `*{_clip(event.anchor)}` is not supported; write the value out")
        case yaml.MappingStartEvent():
            builders[-1].mapping(event.tag, line)
        case yaml.SequenceStartEvent():
            builders[-1].sequence(event.tag, line)
        case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
            builders[-1].end()
        case yaml.ScalarEvent():
            builders[-1].scalar(event, line)
        case _:
            pass


def _events(text: str) -> Iterator[Any]:
    import yaml

    yield from yaml.parse(text.removeprefix("\ufeff"), Loader=yaml.SafeLoader)


def _plain_value(text: str) -> Any:
    """Return what a scalar without quotes stands for."""
    if _NULL.fullmatch(text):
        return None
    if _TRUE.fullmatch(text):
        return True
    if _FALSE.fullmatch(text):
        return False
    if _INTEGER.fullmatch(text):
        return int(text)
    if _HEXADECIMAL.fullmatch(text) or _OCTAL.fullmatch(text):
        return int(text, 0)
    if len(text) <= 40 and _FLOAT.fullmatch(text) and not _LEADING_ZERO.fullmatch(text):
        number = float(text)
        return number if math.isfinite(number) else text
    return text


def _syntax_fault(error: Exception, text: str, file: str) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be read"
    line = (mark.line if mark else text.count("\n", 0, getattr(error, "position", 0))) + 1
    if "'\\t'" in problem:
        return f"{file}:{line}: a tab in the indentation; use spaces"
    if "special characters" in problem:
        return f"{file}:{line}: a control character"
    return f"{file}:{line}: is not YAML: {problem}"


def _shown(path: Path) -> str:
    return ".".join(str(part) for part in path)


def _clip(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:57]}…"
