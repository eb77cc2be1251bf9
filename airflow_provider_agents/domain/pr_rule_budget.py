"""What a rule may still spend on its model today: set aside before the question, settled after it.

What was set aside and never settled, because something crashed in between, counts as spent.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.pr_rule_state import KEEP_DAYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_agents.domain.pr_rule_state import RuleState

_TOLERANCE = 1e-9
"""USD by which sums of floats may miss the limit."""
_ROUNDED = 1e-5
"""USD that are no more than what rounding leaves."""


def day_of(moment: datetime) -> str:
    """Return the UTC day of a moment, ISO 8601."""
    return moment.astimezone(UTC).date().isoformat()


def next_day(moment: datetime) -> datetime:
    """Return the beginning of the next UTC day."""
    today = moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today + timedelta(days=1)


def affordable(prices: Sequence[float], spent: float, limit: float) -> list[bool]:
    """Return for each question, in the order of turns, whether it may be asked today.

    The first that does not fit ends it for all behind it, or the dear ones would never come; one that is dearer
    than a whole day is passed over, or nobody behind it would ever come.

    :param prices: USD that each may cost at the most.
    :param spent: USD of today, with what is set aside.
    :param limit: USD of a day.
    """
    room = limit - spent + _TOLERANCE
    found: list[bool] = []
    ended = False
    for price in prices:
        fits = not ended and price <= room
        if fits:
            room -= price
        elif price <= limit:
            ended = True
        found.append(fits)
    return found


def reserve(state: RuleState, run_id: str, usd: float, now: datetime) -> RuleState:
    """Set USD aside for the questions of a run, on top of what it set aside before: an earlier try may have asked."""
    if usd <= 0:
        return state
    key = f"{day_of(now)}/{run_id}"
    return dataclasses.replace(
        state, reserved={**state.reserved, key: round(state.reserved.get(key, 0.0) + usd, 6)}
    )


def settle(state: RuleState, run_id: str, day: str, usd: float, now: datetime, *, aside: float) -> RuleState:
    """Put what the questions of a run cost in the place of what was set aside for them; drop days that are long over.

    What an earlier look of the run set aside, before a clear, stays: nobody tells any more what came of it.

    :param day: on which it was set aside.
    :param usd: what they cost.
    :param aside: what was set aside for them.
    """
    key = f"{day}/{run_id}"
    left = state.reserved.get(key, 0.0) - aside
    reserved = {**state.reserved, key: round(left, 6)}
    if left < _ROUNDED:
        del reserved[key]
    spent = {**state.usd, day: round(state.usd.get(day, 0.0) + usd, 6)} if usd else dict(state.usd)
    oldest = day_of(now - timedelta(days=KEEP_DAYS - 1))
    return dataclasses.replace(
        state,
        usd={key: value for key, value in spent.items() if key >= oldest},
        reserved={key: value for key, value in reserved.items() if key.partition("/")[0] >= oldest},
    )
