"""The eight invariants of a rollback: nothing is merged unless all of them hold at that moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from airflow_provider_agents.domain.rollback_definition import Timings
    from airflow_provider_agents.domain.rollback_facts import Facts

    Invariant = Callable[[Facts, Timings], bool]


def environment(facts: Facts, timings: Timings) -> bool:
    """I1: the application is of an environment in which rollbacks are allowed: staging."""
    return facts.environment_allowed


def degraded(facts: Facts, timings: Timings) -> bool:
    """I2: Argo CD calls it Degraded now. A failed reading does not."""
    return facts.health == "Degraded"


def replicas_missing(facts: Facts, timings: Timings) -> bool:
    """I3: fewer replicas are available than are wanted. Not known is no."""
    return facts.short is True


def persistent(facts: Facts, timings: Timings) -> bool:
    """I4: it was Degraded in several readings in a row, of what is deployed now."""
    return facts.readings >= timings.readings and facts.same_deployment


def target_proven(facts: Facts, timings: Timings) -> bool:
    """I5: what it goes back to was healthy for 99 % of a day, or its checks passed."""
    return facts.candidate is not None and facts.candidate.proven


def checks_passed(facts: Facts, timings: Timings) -> bool:
    """I6: the checks of the pull request passed."""
    return facts.pull is not None and facts.pull.checks == "passed"


def only_one(facts: Facts, timings: Timings) -> bool:
    """I7: no other rollback of the application is open. Not known is no."""
    return facts.other == ""


def mergeable(facts: Facts, timings: Timings) -> bool:
    """I8: it can be merged, at the head that was made for it, and nothing of the landing stands against that.

    In the merge queue it was let through before, and that it waits there is no fault.
    """
    pull = facts.pull
    return (
        pull is not None
        and pull.state == "OPEN"
        and pull.ours
        and pull.fresh
        and pull.mergeable == "MERGEABLE"
        and ((pull.queued and pull.verdict == "wait") or pull.verdict in ("merge", "enqueue"))
    )


INVARIANTS: Mapping[str, tuple[Invariant, str]] = {
    "I1": (environment, "the application is of no environment in which rollbacks are allowed"),
    "I2": (degraded, "Argo CD does not call it Degraded now"),
    "I3": (replicas_missing, "no replica is known to be missing"),
    "I4": (persistent, "it was not Degraded in enough readings in a row"),
    "I5": (target_proven, "what it goes back to is not known to be good"),
    "I6": (checks_passed, "the checks of the pull request did not all pass"),
    "I7": (only_one, "another rollback of the application may be open"),
    "I8": (mergeable, "the pull request cannot be merged now"),
}
"""Number → whether it holds, and what it means if not."""


def broken(facts: Facts, timings: Timings) -> list[str]:
    """Return the invariants that do not hold, each with its number and in words."""
    return [f"{name}: {words}" for name, (holds, words) in INVARIANTS.items() if not holds(facts, timings)]
