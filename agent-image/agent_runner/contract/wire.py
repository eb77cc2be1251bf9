"""How messages become JSON and are read again: strictly typed, every fault named."""

from __future__ import annotations

import dataclasses
import json
import math
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

_MAX_DEPTH = 100
"""Deepest nesting of a structured output: what copies and stores it does so by recursion."""


class ContractError(ValueError):
    """A message does not fit the contract. The text names each fault and where it stands."""


M = TypeVar("M")


def dump(message: Any) -> str:
    """Return a message as one line of JSON."""
    return to_line(dataclasses.asdict(message))


def to_line(value: Any) -> str:
    """Return ``value`` as one line of JSON that can be encoded as UTF-8, whatever texts are in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    # Line ends to str.splitlines(), though not to JSON: a log line must stay one.
    for end in "\x85\u2028\u2029":
        text = text.replace(end, f"\\u{ord(end):04x}")
    # Lone surrogates, of file names that are no UTF-8 or of text that a program cut, have no encoding.
    return text.encode(errors="replace").decode()


def parse(text: str, what: str) -> Any:
    """Read JSON; raise :class:`ContractError` where it is none."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{what}: not JSON: {error}") from None


def _finite(text: str) -> float:
    """Read a number of a message; what is none in JSON, or too large, could not be stored as JSON again."""
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is not a finite number")
    return value


def load(cls: type[M], value: Any, where: str, *, strict: bool) -> M:
    """Build the dataclass ``cls`` from parsed JSON, checking types; every fault is named in one error."""
    if not isinstance(value, Mapping):
        raise ContractError(f"{where}: an object is needed, not {type(value).__name__}")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    faults = [f"unknown key {key!r}" for key in value if key not in fields] if strict else []
    arguments = {}
    for name, definition in fields.items():
        if name not in value:
            if (
                definition.default is dataclasses.MISSING
                and definition.default_factory is dataclasses.MISSING
            ):
                faults.append(f"{name} is missing")
            continue
        try:
            arguments[name] = _convert(hints[name], value[name], f"{where}.{name}", strict=strict)
        except ContractError as error:
            faults.append(str(error))
    if faults:
        raise ContractError(f"{where}: " + "; ".join(faults))
    return cls(**arguments)


def _convert(hint: Any, value: Any, where: str, *, strict: bool) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        (hint,) = [a for a in arguments if a is not type(None)]
        return _convert(hint, value, where, strict=strict)
    if origin is Literal:
        if value not in arguments:
            raise ContractError(f"{where}: {value!r} is none of {', '.join(map(str, arguments))}")
        return value
    if dataclasses.is_dataclass(hint):
        return load(typing.cast("type[Any]", hint), value, where, strict=strict)
    if origin is tuple:
        if not isinstance(value, list):
            raise ContractError(f"{where}: a list is needed, not {type(value).__name__}")
        return tuple(_convert(arguments[0], v, f"{where}[{i}]", strict=strict) for i, v in enumerate(value))
    wanted: Any = {dict: Mapping, float: (int, float)}.get(origin or hint, origin or hint)
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise ContractError(f"{where}: {getattr(hint, '__name__', hint)} is needed, not {value!r}"[:300])
    if hint in (int, float) and not 0 <= value <= sys.float_info.max:
        raise ContractError(f"{where}: {str(value)[:40]} is not a finite number of zero or more")
    if isinstance(value, Mapping) and _deeper_than(_MAX_DEPTH, value):
        raise ContractError(f"{where}: nested deeper than {_MAX_DEPTH} levels")
    if origin is dict and dataclasses.is_dataclass(arguments[1]):
        return {key: _convert(arguments[1], v, f"{where}.{key}", strict=strict) for key, v in value.items()}
    return float(value) if hint is float else value


def _deeper_than(levels: int, value: Any) -> bool:
    level = [value]
    for _ in range(levels + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)
