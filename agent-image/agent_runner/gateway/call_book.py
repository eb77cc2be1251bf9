"""The accounts of model calls: each is admitted, written ahead, and charged once when it ends."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from agent_runner.contract import Tokens
from agent_runner.gateway.budget import Amount, BudgetSpentError
from agent_runner.gateway.forecast import Forecaster
from agent_runner.gateway.metering import Reading, Usage
from agent_runner.gateway.pricing import cost_usd
from agent_runner.gateway.push_request import printable
from agent_runner.gateway.relay import while_connected
from agent_runner.gateway.totals import total

if TYPE_CHECKING:
    from aiohttp import web

    from agent_runner.gateway.budget import Admission, BudgetGate
    from agent_runner.gateway.forecast import CallForecast
    from agent_runner.gateway.journal import Journal
    from agent_runner.gateway.metering import Meter
    from agent_runner.gateway.model_api import Asked, ModelApi
    from agent_runner.gateway.pricing import PriceBook

log = logging.getLogger(__name__)


class LedgerError(Exception):
    """The ledger cannot be written, so that nothing may be spent."""


class CallBook:
    """Opens the accounts of the calls of one API.

    :param gate: the budget; the APIs of a pod share it.
    """

    def __init__(self, api: ModelApi, prices: PriceBook, gate: BudgetGate, journal: Journal) -> None:
        self._api = api
        self._prices = prices
        self._gate = gate
        self._journal = journal
        self._forecaster = Forecaster(api, prices)

    @property
    def fault(self) -> str | None:
        """Why nothing may be spent: the ledger cannot be written."""
        return self._journal.fault

    def refuse(self, text: str) -> None:
        """Note a request that is not served."""
        self._journal.refusal(f"model: {text}")

    def require_rest(self) -> None:
        """Check that something is left of the budget.

        :raises BudgetSpentError: if nothing is.
        """
        if (part := self._gate.used_up) is not None:
            error = BudgetSpentError(part, self._gate.message(part))
            self._note(error)
            raise error

    async def open(self, request: web.Request, asked: Asked, size: int) -> Account:
        """Wait for the call's turn and write it down; then it may be sent.

        :param request: the client's; when that goes away, its turn goes to the next.
        :param size: bytes of the request's body.
        :raises BudgetSpentError: if too little of the budget is left.
        :raises ClientGoneError: if the client went away.
        :raises LedgerError: if the call could not be written down.
        """
        guess = self._forecaster.forecast(asked, size)
        try:
            admission = await while_connected(request, self._gate.enter(guess.forecast))
        except BudgetSpentError as error:
            self._note(error)
            raise
        account = Account(self, asked, size, guess, admission)
        try:
            await self._journal.sync()
        except BaseException:
            account.close()
            raise
        if (fault := self._journal.fault) is not None:
            account.close()
            raise LedgerError(fault)
        return account

    def _note(self, error: BudgetSpentError) -> None:
        log.warning("model: refused: %s", error)
        self._journal.budget_refusal(error.part, str(error))

    def begin(self, asked: Asked, guess: CallForecast) -> str:
        """Write down that a call begins; return its id."""
        priced = self._prices.price_of(asked.model, guess.tokens.input, self._api.fallback)
        return self._journal.model_call_begun(
            model=asked.model,
            tokens=guess.tokens,
            usd=guess.forecast.estimate.usd,
            unpriced=not priced.known,
        )

    def end(self, account: Account) -> None:
        """Charge a call for what it used, as far as that is known."""
        reading = account.meter.finish() if account.meter is not None else Reading.NOTHING
        usage = account.meter.usage if account.meter is not None else Usage()
        charge = self._charge(account, reading, usage)
        if charge.model is not None and not charge.estimated:
            self._forecaster.learn(account.asked, account.size, charge.tokens, charge.usd)
        self._journal.model_call(
            account.id,
            model=charge.model,
            status=account.status,
            tokens=charge.tokens,
            usd=charge.usd,
            unpriced=charge.unpriced,
            estimated=charge.estimated,
        )
        self._gate.leave(account.admission, Amount(charge.usd, total(charge.tokens)))
        log.info(
            "model: %s %d %.1f s, tokens %d in %d out %d cache read %d cache write, %.4f USD%s",
            printable(charge.model or account.asked.model or "-", 60),
            account.status,
            time.monotonic() - account.started,
            charge.tokens.input,
            charge.tokens.output,
            charge.tokens.cache_read,
            charge.tokens.cache_write,
            charge.usd,
            " (estimated)" if charge.estimated else "",
        )

    def _charge(self, account: Account, reading: Reading, usage: Usage) -> _Charge:
        # Whatever else than 200 answers a request costs nothing; no answer at all may have cost all of it.
        if not account.sent or account.status not in (0, 200) or reading is Reading.FAILED:
            return _Charge()
        model = usage.model or account.asked.model or "unknown"
        if reading is Reading.NOTHING:
            guess = account.guess
            priced = self._prices.price_of(model, guess.tokens.input, self._api.fallback)
            more = Tokens(output=max(0, usage.output - guess.tokens.output))
            tokens = guess.tokens + more
            usd = guess.forecast.estimate.usd + cost_usd(priced.price, more)
        else:
            priced = self._prices.price_of(model, usage.prompt, self._api.fallback)
            tokens = usage.tokens
            usd = cost_usd(
                priced.price,
                tokens,
                cache_write_1h=usage.cache_write_1h,
                web_searches=usage.web_searches,
            )
        return _Charge(
            model=model,
            tokens=tokens,
            usd=usd,
            unpriced=not priced.known,
            estimated=reading is not Reading.WHOLE,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Charge:
    """What a call costs; by default nothing."""

    model: str | None = None
    tokens: Tokens = field(default_factory=Tokens)
    usd: float = 0.0
    unpriced: bool = False
    estimated: bool = False


class Account:
    """One call that is admitted and written down. To be closed, however it ends."""

    def __init__(
        self, book: CallBook, asked: Asked, size: int, guess: CallForecast, admission: Admission
    ) -> None:
        self._book = book
        self._closed = False
        self.asked = asked
        self.size = size
        """Bytes of the request's body."""
        self.guess = guess
        self.admission = admission
        self.started = time.monotonic()
        self.sent = False
        """Whether the request may have reached the API."""
        self.status = 0
        """HTTP status of the answer; 0: none came."""
        self.meter: Meter | None = None
        """What reads the answer, once that comes."""
        self.id = book.begin(asked, guess)

    def close(self) -> None:
        """Charge the call; only the first time counts."""
        if not self._closed:
            self._closed = True
            self._book.end(self)
