"""The budget of a pod: which model call may run now.

The cost of a call is known when it has ended, so each is admitted on two guesses: its *estimate*, what it
probably costs, and its *worst case*, what it costs at most. A call is admitted when what is spent and what may
still be spent fits the limit, where all calls that run count at their worst case, except the one whose two
guesses are furthest apart: it counts at its estimate. So

- the limit is passed by one call's excess over its estimate at most, however many run at once;
- with plenty left, calls run side by side; near the end they run one by one;
- with nothing running, a call needs no more than its estimate, so that the budget can be used up.

Calls are admitted in the order in which they came. One whose estimate does not fit what is left is refused at
once, since what is spent never comes back.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Amount:
    """Money and tokens; the two are limited alike."""

    usd: float = 0.0
    tokens: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.usd + other.usd, self.tokens + other.tokens)

    def __sub__(self, other: Amount) -> Amount:
        return Amount(self.usd - other.usd, self.tokens - other.tokens)


@dataclass(frozen=True, slots=True)
class Limit:
    """What may be spent. ``None``: no limit."""

    usd: float | None = None
    tokens: int | None = None

    def less(self, spent: Amount) -> Limit:
        """Return what is left of the limit; never less than nothing."""
        return Limit(
            usd=None if self.usd is None else max(0.0, self.usd - spent.usd),
            tokens=None if self.tokens is None else max(0, self.tokens - spent.tokens),
        )

    def passed_by(self, amount: Amount) -> str | None:
        """Return which part ``amount`` is more than: ``USD``, ``tokens``, or ``None``."""
        if self.usd is not None and amount.usd > self.usd:
            return "USD"
        if self.tokens is not None and amount.tokens > self.tokens:
            return "tokens"
        return None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a call probably costs, and what it costs at most."""

    estimate: Amount
    worst: Amount

    @property
    def spread(self) -> Amount:
        """How much more than estimated it may cost."""
        more = self.worst - self.estimate
        return Amount(max(0.0, more.usd), max(0, more.tokens))


def fits(limit: Limit, spent: Amount, running: Iterable[Forecast]) -> bool:
    """Whether calls of these forecasts may run at once, when ``spent`` is spent already."""
    forecasts = list(running)
    spreads = [each.spread for each in forecasts]
    usd = math.fsum(
        [
            spent.usd,
            *(each.estimate.usd for each in forecasts),
            *(each.usd for each in spreads),
            -max((each.usd for each in spreads), default=0.0),
        ]
    )
    tokens = (
        spent.tokens
        + sum(each.estimate.tokens for each in forecasts)
        + sum(each.tokens for each in spreads)
        - max((each.tokens for each in spreads), default=0)
    )
    return limit.passed_by(Amount(usd, tokens)) is None


class BudgetSpentError(Exception):
    """What is left of the budget is less than a call probably costs.

    :ivar part: which part of the budget: ``USD`` or ``tokens``.
    """

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


@dataclass(slots=True, eq=False)
class Admission:
    """A call that may run. To be given back to :meth:`BudgetGate.leave`."""

    forecast: Forecast


@dataclass(slots=True, eq=False)
class _Waiting:
    forecast: Forecast
    admitted: asyncio.Future[Admission] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )


class BudgetGate:
    """Admits calls while the budget lasts.

    :param limit: what this pod may spend.
    :param spent: what it has spent already, before a restart.
    """

    def __init__(self, limit: Limit, spent: Amount) -> None:
        self._limit = limit
        self._spent = spent
        self._running: set[Admission] = set()
        self._waiting: deque[_Waiting] = deque()

    @property
    def spent(self) -> Amount:
        """What ended calls cost."""
        return self._spent

    @property
    def waiting(self) -> int:
        """How many calls wait for others to end."""
        return len(self._waiting)

    @property
    def used_up(self) -> str | None:
        """Which part of the budget is spent to the last: ``USD``, ``tokens``, or ``None``."""
        if self._limit.usd is not None and self._spent.usd >= self._limit.usd:
            return "USD"
        if self._limit.tokens is not None and self._spent.tokens >= self._limit.tokens:
            return "tokens"
        return None

    async def enter(self, forecast: Forecast) -> Admission:
        """Wait until a call may run. A caller that is cancelled leaves the queue.

        :raises BudgetSpentError: if too little is left for it.
        """
        if (refusal := self._refused(forecast)) is not None:
            raise refusal
        waiting = _Waiting(forecast)
        self._waiting.append(waiting)
        try:
            self._advance()
            return await waiting.admitted
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                self._advance()
            elif not waiting.admitted.cancelled() and waiting.admitted.exception() is None:
                # Admitted in the moment of the cancellation.
                self.leave(waiting.admitted.result(), Amount())
            raise

    def leave(self, admission: Admission, cost: Amount) -> None:
        """Say that a call has ended and what it cost."""
        self._running.remove(admission)
        self._spent += cost
        self._advance()

    def message(self, part: str, needed: Amount | None = None) -> str:
        """Say that the budget is spent, and what would help.

        :param needed: the estimate of the call that is refused.
        """
        if part == "USD":
            allowed, spent = f"{_usd(self._limit.usd or 0.0)} USD", _usd(self._spent.usd)
            wanted = "" if needed is None else f", and this call needs about {_usd(needed.usd)}"
        else:
            allowed, spent = f"{self._limit.tokens or 0:,} tokens", f"{self._spent.tokens:,}"
            wanted = "" if needed is None else f", and this call needs about {needed.tokens:,}"
        setting = "budget_usd" if part == "USD" else "budget_tokens"
        return (
            f"the budget of this task is spent: {allowed} allowed to this step, {spent} spent{wanted}; "
            f"raise {setting}"
        )

    def _advance(self) -> None:
        """Admit and refuse from the head of the queue."""
        while self._waiting:
            first = self._waiting[0]
            if first.admitted.done():
                self._waiting.popleft()
            elif (refusal := self._refused(first.forecast)) is not None:
                self._waiting.popleft()
                first.admitted.set_exception(refusal)
            elif self._has_room(first.forecast):
                self._waiting.popleft()
                first.admitted.set_result(self._admit(first.forecast))
            else:
                return

    def _refused(self, forecast: Forecast) -> BudgetSpentError | None:
        part = self._limit.passed_by(self._spent + forecast.estimate)
        return None if part is None else BudgetSpentError(part, self.message(part, forecast.estimate))

    def _has_room(self, forecast: Forecast) -> bool:
        return fits(self._limit, self._spent, [*(each.forecast for each in self._running), forecast])

    def _admit(self, forecast: Forecast) -> Admission:
        admission = Admission(forecast)
        self._running.add(admission)
        return admission


def _usd(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.4f}"
