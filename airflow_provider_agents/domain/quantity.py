"""Kubernetes quantities of memory and processors, as far as the pods of steps need them."""

from __future__ import annotations

_UNITS = {
    "": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
    "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40,
}  # fmt: skip
_SMALLER = {"Ti": "Gi", "Gi": "Mi", "Mi": "Ki", "T": "G", "G": "M", "M": "k"}


def half(quantity: str) -> str:
    """Return half of a quantity: ``4`` → ``2000m``, ``8Gi`` → ``4Gi``, ``7Gi`` → ``3584Mi``."""
    number, unit = _split(quantity)
    value = float(number) / 2
    if unit == "m" or (unit and value.is_integer()):
        return f"{max(1, int(value))}{unit}"
    if not unit:
        return f"{max(1, int(value * 1000))}m"
    smaller = _SMALLER.get(unit)
    if smaller is None:
        return f"{max(1, int(value))}{unit}"
    return f"{max(1, int(value * (1024 if unit.endswith('i') else 1000)))}{smaller}"


def raised(memory: str, ceiling: str) -> str | None:
    """Return twice ``memory``, at most ``ceiling``; ``None`` where that would be no more than now.

    :raises ValueError: if one of them is no quantity of bytes.
    """
    if size(memory) >= size(ceiling):
        return None
    number, unit = _split(memory)
    doubled = f"{float(number) * 2:.3f}".rstrip("0").rstrip(".") + unit
    return doubled if size(doubled) <= size(ceiling) else ceiling


def size(memory: str) -> float:
    """Return a quantity of memory in bytes.

    :raises ValueError: if it is none.
    """
    number, unit = _split(memory)
    if unit not in _UNITS:
        raise ValueError(f"{memory!r} is not a quantity of memory, like 8Gi")
    return float(number) * _UNITS[unit]


def _split(quantity: str) -> tuple[str, str]:
    number = quantity.rstrip("kKMGTim")
    return number, quantity[len(number) :]
