"""What the events of a ledger add up to."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent_runner.contract import Ledger, McpUse, ModelUse, Push, Settled, Tokens
from agent_runner.gateway.budget import Amount

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = logging.getLogger(__name__)

MAX_REFUSALS = 20
_MAX_MODELS = 50
"""How many models have a line of their own; further ones are added to the last."""
_OTHER_MODELS = "other models"
_MCP_OUTCOMES = {"answered": "calls", "failed": "failed", "refused": "refused"}
"""Outcome of a call → where it counts."""

UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError)
"""What reading an event raises where it is none."""


@dataclass(frozen=True, slots=True)
class OpenCall:
    """A model call that was begun; what it cost is not known."""

    model: str
    tokens: Tokens
    usd: float
    unpriced: bool


class Totals:
    """Adds up events, one after the other."""

    def __init__(self) -> None:
        self._usd = 0.0
        self._tokens = Tokens()
        self._calls = 0
        self._models: dict[str, ModelUse] = {}
        self._open: dict[str, OpenCall] = {}
        self._settled: dict[str, Settled] = {}
        self._pushes: list[Push] = []
        self._sent: dict[Push, None] = {}
        self._mcp: dict[str, McpUse] = {}
        self._refusals: list[str] = []
        self.budget_refusals = 0

    @property
    def spent(self) -> Amount:
        """What all calls cost; those without an end count at their estimate."""
        return Amount(
            self._usd + sum(call.usd for call in self._open.values()),
            total(self._tokens) + sum(total(call.tokens) for call in self._open.values()),
        )

    @property
    def unsettled_pushes(self) -> tuple[Push, ...]:
        """Pushes sent to the forge whose outcome is not known."""
        return tuple(self._sent)

    @property
    def settled(self) -> Mapping[str, Settled]:
        """What earlier pods spent, by pod."""
        return self._settled

    @property
    def pushes(self) -> tuple[Push, ...]:
        """Pushes that the forge has made."""
        return tuple(self._pushes)

    def ledger(self) -> Ledger:
        """Return the totals. Calls without an end are in them at their estimate."""
        models = dict(self._models)
        usd, tokens = self._usd, self._tokens
        for call in self._open.values():
            usd += call.usd
            tokens += call.tokens
            _add(models, call.model, calls=0, usd=call.usd, tokens=call.tokens, unpriced=call.unpriced)
        by_cost = tuple(sorted(models.values(), key=lambda use: (-use.usd, use.model)))
        return Ledger(
            usd=usd,
            tokens=tokens,
            model_calls=self._calls,
            models=by_cost,
            unpriced_models=tuple(use.model for use in by_cost if use.unpriced),
            budget_refusals=self.budget_refusals,
            settled=tuple(self._settled.values()),
            pushes=tuple(self._pushes),
            mcp=tuple(sorted(self._mcp.values(), key=lambda use: use.server)),
            refusals=tuple(self._refusals),
        )

    def apply(self, line: Mapping[str, Any]) -> None:
        """Add one event. Events of a later version count nothing.

        :raises ValueError: and others of :data:`UNREADABLE`, without having added a part.
        """
        match line["event"]:
            case "model_call_begun":
                self._open[str(line["id"])] = OpenCall(
                    model=str(line["model"]),
                    tokens=_tokens(line["estimate_tokens"]),
                    usd=_money(line["estimate_usd"]),
                    unpriced=bool(line["unpriced"]),
                )
            case "model_call":
                self._end_call(line)
            case "budget_refusal":
                self.budget_refusals += 1
                self._refuse(str(line["text"]))
            case "settled":
                pod = str(line["pod"])
                self._settled[pod] = Settled(
                    pod=pod,
                    usd=_money(line["usd"]),
                    tokens=int(line["tokens"]),
                    known=bool(line["known"]),
                )
            case "push_sent":
                self._sent[_push(line)] = None
            case "push":
                push = _push(line)
                self._sent.pop(push, None)
                self._pushes.append(push)
            case "push_rejected":
                self._sent.pop(_push(line), None)
            case "mcp_call":
                server, field = str(line["server"]), _MCP_OUTCOMES[str(line["outcome"])]
                use = self._mcp.get(server) or McpUse(server=server, calls=0)
                self._mcp[server] = dataclasses.replace(use, **{field: getattr(use, field) + 1})
            case "refusal":
                self._refuse(str(line["text"]))

    def _end_call(self, line: Mapping[str, Any]) -> None:
        tokens, usd, answered = _tokens(line["tokens"]), _money(line["usd"]), line["status"] == 200
        model, unpriced, name = line["model"], bool(line["unpriced"]), str(line["id"])
        self._usd += usd
        self._tokens += tokens
        self._calls += answered
        if model is not None and (answered or usd):
            _add(self._models, str(model), calls=int(answered), usd=usd, tokens=tokens, unpriced=unpriced)
        self._open.pop(name, None)

    def _refuse(self, text: str) -> None:
        self._refusals = [*self._refusals, text][-MAX_REFUSALS:]


def read(lines: Iterable[bytes], totals: Totals) -> tuple[int, int]:
    """Add the lines of a ledger to ``totals``; return how many were events and how many were not.

    A line that is none counts nothing: a crash may leave one torn, and what it would have said is covered by
    what was written before it.
    """
    good = bad = 0
    for number, line in enumerate(lines, start=1):
        try:
            totals.apply(json.loads(line))
            good += 1
        except UNREADABLE:
            bad += 1
            log.warning("ledger line %d is unreadable and not counted", number)
    return good, bad


def total(tokens: Tokens) -> int:
    """Return all tokens, cached ones too."""
    return tokens.input + tokens.output + tokens.cache_read + tokens.cache_write


def _add(
    models: dict[str, ModelUse], model: str, *, calls: int, usd: float, tokens: Tokens, unpriced: bool
) -> None:
    if model not in models and len(models) >= _MAX_MODELS:
        model = _OTHER_MODELS
    use = models.get(model) or ModelUse(model=model, calls=0, usd=0.0, tokens=Tokens())
    models[model] = dataclasses.replace(
        use,
        calls=use.calls + calls,
        usd=use.usd + usd,
        tokens=use.tokens + tokens,
        unpriced=use.unpriced or unpriced,
    )


def _money(value: Any) -> float:
    usd = float(value)
    if not 0 <= usd < 1e12:
        raise ValueError("not an amount of money")
    return usd


def _tokens(value: Any) -> Tokens:
    tokens = Tokens(**value)
    if any(type(part) is not int or part < 0 for part in dataclasses.astuple(tokens)):
        raise ValueError("not counts of tokens")
    return tokens


def _push(line: Mapping[str, Any]) -> Push:
    return Push(ref=str(line["ref"]), old=str(line["old"]), new=str(line["new"]))
