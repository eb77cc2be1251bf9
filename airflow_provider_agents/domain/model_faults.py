"""What is wrong with values that a model refuses, in words of the file that they are written in."""

from __future__ import annotations

import re
import types
from typing import TYPE_CHECKING, Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pydantic import ValidationError

Path = tuple[str | int, ...]
"""Keys and indexes that lead to a value."""

_MOST_KEYS_NAMED = 16

_PLAIN = {
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "set_type": "should be a list",
    "frozen_set_type": "should be a list",
    "dict_type": "should be a mapping",
    "model_type": "should be a mapping",
    "model_attributes_type": "should be a mapping",
    "string_type": "should be text (put it in quotes)",
    "finite_number": "should be a finite number",
}


def fault_lines(
    model: type[BaseModel], value: Any, error: ValidationError, *, above: Path = ()
) -> list[tuple[Path, str]]:
    """Return each fault with the path of the value, or of the closest one around it that exists.

    :param value: what was validated.
    :param above: path of ``value`` itself, for the texts.
    """
    grouped: dict[tuple[Path, str], list[str]] = {}
    for fault in error.errors(include_url=False):
        path, missing = _path_in(value, fault)
        name = ".".join(str(part) for part in (*above, *path, *missing))
        grouped.setdefault((path, name), []).append(_message(model, path, fault))
    return [
        (path, f"{name}: {text}" if name else text)
        for (path, name), messages in grouped.items()
        for text in [", or ".join(dict.fromkeys(messages))]
    ]


def known_keys(model: type[BaseModel], path: Path) -> list[str]:
    """Return the keys of the mapping at ``path`` of a value of ``model``; empty: any."""
    annotations: list[Any] = [model]
    for part in path:
        annotations = [inner for one in annotations for inner in _inside(one, part)]
    return list(dict.fromkeys(key for one in annotations for found in _models(one) for key in _keys(found)))


def nearest(key: str, known: Sequence[str]) -> str | None:
    """Return the known key that ``key`` most resembles, or ``None``: none does."""
    import difflib

    plain = {re.sub(r"[-_ ]", "", name).lower(): name for name in known}
    wanted = re.sub(r"[-_ ]", "", key).lower()
    found = difflib.get_close_matches(wanted, list(plain), n=1, cutoff=0.6)
    longer = [name for name in plain if len(wanted) >= 3 and name.startswith(wanted)]
    return plain[found[0]] if found else plain[longer[0]] if len(longer) == 1 else None


def unknown_key(key: str, known: Sequence[str]) -> str:
    """Return the message about a key that is not one of ``known``."""
    if close := nearest(key, known):
        return f"unknown key; did you mean `{close}`?"
    if not known:
        return "unknown key"
    named = ", ".join(sorted(known)[:_MOST_KEYS_NAMED])
    return f"unknown key; known keys are {named}{' …' if len(known) > _MOST_KEYS_NAMED else ''}"


def _path_in(value: Any, fault: Any) -> tuple[Path, Path]:
    """Split a fault's place into what is in the value and what is missing from it.

    A place names the branches of unions, too; they are left out.
    """
    path: list[str | int] = []
    missing: list[str | int] = []
    for part in fault["loc"]:
        listed = isinstance(value, list) and isinstance(part, int) and part < len(value)
        if listed or (isinstance(value, dict) and part in value):
            value = value[part]
            path.append(part)
    if fault["type"] == "missing":
        missing.append(fault["loc"][-1])
    return tuple(path), tuple(missing)


def _message(model: type[BaseModel], path: Path, fault: Any) -> str:
    kind = fault["type"]
    if kind == "extra_forbidden":
        return unknown_key(str(path[-1]) if path else "", known_keys(model, path[:-1]))
    if kind == "missing":
        return "is missing"
    message = _PLAIN.get(kind) or re.sub(
        r"^(Value error, |Input |Tuple |List |Dictionary |String )", "", fault["msg"]
    )
    given = fault["input"]
    if isinstance(given, dict | list | tuple | BaseModel) or kind == "string_too_long":
        return message
    shown = "nothing" if given is None else repr(given)
    return f"{message} (given: {shown})" if len(shown) <= 80 else message


def _inside(annotation: Any, part: str | int) -> Iterator[Any]:
    """Yield the types that the value at ``part`` of a value of type ``annotation`` may have."""
    for model in _models(annotation):
        for name, info in model.model_fields.items():
            if part in (name, info.alias):
                yield info.annotation
    for one in _branches(annotation):
        origin, arguments = get_origin(one), get_args(one)
        if isinstance(origin, type) and issubclass(origin, dict) and len(arguments) == 2:
            yield arguments[1]
        elif isinstance(origin, type) and issubclass(origin, list | tuple | set | frozenset) and arguments:
            yield arguments[0]


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    for one in _branches(annotation):
        if isinstance(one, type) and issubclass(one, BaseModel):
            yield one


def _branches(annotation: Any) -> Iterator[Any]:
    origin = get_origin(annotation)
    if origin is Annotated:
        yield from _branches(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from _branches(one)
    else:
        yield annotation


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, info in model.model_fields.items():
        yield info.alias or name
