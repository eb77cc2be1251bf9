"""One line of what ``check-image`` reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "fault"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that a step relies on, and how it was found."""

    name: str
    state: State
    found: str
    """What is there; never a value that may be secret."""
    remedy: str = ""
    """What to do; empty where nothing is to be done."""


def passed(name: str, found: str) -> Check:
    return Check(name, "ok", found)


def warned(name: str, found: str, remedy: str) -> Check:
    return Check(name, "warning", found, remedy)


def faulted(name: str, found: str, remedy: str) -> Check:
    return Check(name, "fault", found, remedy)
