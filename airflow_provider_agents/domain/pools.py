"""The Airflow pools that the provider needs, and what is to be done about those that are there."""

from __future__ import annotations

import re
from dataclasses import dataclass

STEP_POOL = "agents"
"""Of all steps that run in a pod. It counts deferred tasks: a step is deferred while its pod runs."""
ADMISSION_POOL = "agents_admission"
"""Of the task ``admit``: one slot, so that no two admissions run at the same time. It does not count deferred
tasks: those wait for their turn."""
RULES_POOL = "agents_rules"
"""Of all tasks that change pull requests for rules and rollbacks: one slot, so that they share one ledger of acts. It
does not count deferred tasks: those wait for people, checks or a time."""
ONE_AT_A_TIME: dict[str, str] = {
    ADMISSION_POOL: "two runs could be given the same place",
    RULES_POOL: "two rules could act on the same pull request, and pass their limits",
}
"""Pools that need exactly one slot and no deferred tasks in it, and what happens otherwise."""

_MADE_WITH = re.compile(r"\[made with (\d+) slots?\]$")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSpec:
    """A pool."""

    name: str
    slots: int
    """-1: without bound."""
    include_deferred: bool
    description: str = ""

    @property
    def made_with(self) -> int | None:
        """Return with how many slots it was made, as its description says."""
        found = _MADE_WITH.search(self.description)
        return int(found[1]) if found else None


def wanted_pools(max_steps: int) -> tuple[PoolSpec, ...]:
    """Return the pools as they are made.

    :param max_steps: ``[agents] max_steps``, at least 1.
    """
    slots = max(1, max_steps)
    steps = f"Steps of coding agents, from [agents] max_steps; change the slots as you like [made with {slots} slot"
    return (
        PoolSpec(
            name=STEP_POOL,
            slots=slots,
            include_deferred=True,
            description=f"{steps}{'' if slots == 1 else 's'}]",
        ),
        PoolSpec(
            name=ADMISSION_POOL,
            slots=1,
            include_deferred=False,
            description="Admission of coding tasks, one at a time: leave it at one slot, without deferred tasks",
        ),
        PoolSpec(
            name=RULES_POOL,
            slots=1,
            include_deferred=False,
            description="Acts of rules on pull requests, one at a time: leave it at one slot, without deferred tasks",
        ),
    )


def mended(wanted: PoolSpec, found: PoolSpec | None) -> tuple[PoolSpec | None, str]:
    """Return the pool as it is to be written, and why; ``None``: it stays as it is.

    What a person changed stays, but for what would break the pools of :data:`ONE_AT_A_TIME`: several slots, or
    deferred tasks that hold one. No slot at all is a person's way to hold them.

    :param found: as it is; ``None``: there is none.
    """
    if found is None:
        return wanted, f"Pool {wanted.name} is made, with {wanted.slots} slots."
    if wanted.name in ONE_AT_A_TIME:
        if found.slots in (0, 1) and not found.include_deferred:
            return None, ""
        slots = found.slots if found.slots in (0, 1) else 1
        changed = PoolSpec(
            name=found.name, slots=slots, include_deferred=False, description=found.description
        )
        return changed, (
            f"Pool {found.name} had {found.slots} slots and {'did' if found.include_deferred else 'did not'} count "
            f"deferred tasks; it has {slots} again and does not: else {ONE_AT_A_TIME[found.name]}."
        )
    if found.slots == found.made_with != wanted.slots:
        changed = PoolSpec(
            name=found.name,
            slots=wanted.slots,
            include_deferred=found.include_deferred,
            description=wanted.description,
        )
        return changed, f"Pool {found.name} has {wanted.slots} slots now, as [agents] max_steps says."
    return None, ""
