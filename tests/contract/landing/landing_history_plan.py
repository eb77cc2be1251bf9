"""A history as data: what is set up, what machines and agents do, and what happens when.

Everything has a ``repr`` that makes it again: a history that hypothesis found is kept as it prints.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class CI:
    """One check of a head."""

    name: str = "tests"
    ends: str | None = "success"
    """Conclusion; ``None``: it never ends."""
    appears: int = 0
    """Seconds after the push at which it appears."""
    takes: int = 10
    """Seconds that it then runs."""
    log: str = ""
    again: str = "success"
    """Conclusion of its second run."""
    actions: bool = True
    """Whether it is a job of a workflow; else a check of another app."""


@dataclass(frozen=True)
class Event:
    """Something that happens.

    :param after: seconds since the one before.
    :param do: a method of :class:`landing_people.People`.
    :param who: login of who does it.
    :param ambush: with the so many-th exchange of the gate with GitHub from then on, just before it; 0: at once.
    """

    after: int
    do: str
    value: Any = None
    who: str = "olga"
    ambush: int = 0


@dataclass(frozen=True)
class History:
    """One history of one pull request."""

    events: tuple[Event, ...] = ()
    request: dict[str, Any] = field(default_factory=dict)
    """What the run's conf says about landing."""
    rules: dict[str, Any] = field(default_factory=dict)
    """Of the base branch, see :class:`demo.github.state.BranchRules`."""
    ci: tuple[tuple[CI, ...], ...] = ()
    """Checks of each head in the order of their appearance; of all further ones: one check that passes."""
    queue: tuple[str | None, ...] = ()
    """Conclusions of the merge queue's own runs; further ones pass."""
    fixes: tuple[str, ...] = ()
    """What each fix step does, see :class:`landing_agent.Agent`; further ones push a good commit."""
    reviews: tuple[str, ...] = ()
    """Verdict of each step of the review agent; further ones approve."""
    mergeability: int = 0
    """Seconds for which mergeability is unknown after each push."""
    auto_merge_allowed: bool = False


GOOD = (CI(),)
