"""What a task may still spend, put together from what each of its pods spent, or was allowed and lost.

Money is written ahead: a pod's reserve is recorded before the pod is made, and settled when its ledger is
read. Until then the reserve counts. A pod whose ledger nobody read (its node is gone, a person deleted it)
stays unsettled; the gateway of the task's next pod settles it, from the ledger that it left on the run's
claim.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from agent_runner.contract import Budget, Ledger, ModelUse, Reserve, Settled, Tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerRecord:
    """What one pod spent: the unit that analytics and later caps (per repository and day) read."""

    pod: str
    task: str
    """Short name of the coding task."""
    repository: str
    step: str
    program: str
    day: str
    """UTC date on which the pod was made, ``YYYY-MM-DD``."""
    state: Literal["reserved", "settled"] = "reserved"
    usd: float = 0.0
    """What was spent; while :attr:`state` is ``reserved``, what was allowed."""
    token_count: int = 0
    """All tokens spent or allowed, cached ones included."""
    tokens: Tokens = field(default_factory=Tokens)
    models: tuple[ModelUse, ...] = ()
    settles: tuple[Settled, ...] = ()
    """What this pod's gateway found out about earlier pods."""
    version: int = 1

    def settled(self, ledger: Ledger) -> LedgerRecord:
        """Return the record with what the gateway saw in place of the reserve."""
        return dataclasses.replace(
            self,
            state="settled",
            usd=ledger.usd,
            token_count=count(ledger.tokens),
            tokens=ledger.tokens,
            models=ledger.models,
            settles=ledger.settled,
        )


def count(tokens: Tokens) -> int:
    """Return how many tokens these are for a budget: all of them, cached ones too."""
    return tokens.input + tokens.output + tokens.cache_read + tokens.cache_write


def to_values(records: Iterable[LedgerRecord]) -> list[dict[str, Any]]:
    """Return records as JSON-ready values."""
    return [json.loads(json.dumps(dataclasses.asdict(record))) for record in records]


def from_values(values: Any) -> list[LedgerRecord]:
    """Read what :func:`to_values` gave; what is no record is left out."""
    return [_record(value) for value in values or () if isinstance(value, Mapping) and value.get("pod")]


def _record(value: Mapping[str, Any]) -> LedgerRecord:
    known = {definition.name for definition in dataclasses.fields(LedgerRecord)}
    plain = {name: item for name, item in value.items() if name in known}
    plain["tokens"] = Tokens(**value.get("tokens") or {})
    plain["models"] = tuple(
        ModelUse(**{**use, "tokens": Tokens(**use["tokens"])}) for use in value.get("models") or ()
    )
    plain["settles"] = tuple(Settled(**settled) for settled in value.get("settles") or ())
    return LedgerRecord(**plain)


def allowance(
    records: Iterable[LedgerRecord], *, limit_usd: float | None, limit_tokens: int | None
) -> Budget:
    """Return what the next pod of the task may spend.

    :param records: of all pods of all agent tasks of the run, failed tries and cleared ones included.
    :param limit_usd: budget of the task in USD; ``None``: no limit.
    :param limit_tokens: budget of the task in tokens; ``None``: no limit.
    """
    usd, tokens, unsettled = _sum(records)
    return Budget(
        usd=None if limit_usd is None else max(0.0, limit_usd - usd),
        tokens=None if limit_tokens is None else max(0, limit_tokens - tokens),
        unsettled=unsettled,
    )


def spent(records: Iterable[LedgerRecord]) -> float:
    """Return what is known to be spent, in USD."""
    return _sum(records)[0]


def _sum(records: Iterable[LedgerRecord]) -> tuple[float, int, tuple[Reserve, ...]]:
    """Return USD and tokens that are known to be spent, and the reserves of which nothing is known."""
    records = list(records)
    found = {settled.pod: settled for record in records for settled in record.settles}
    usd, tokens, unsettled = 0.0, 0, []
    for record in records:
        if record.state == "settled":
            usd, tokens = usd + record.usd, tokens + record.token_count
        elif (settled := found.get(record.pod)) is not None:
            usd, tokens = usd + settled.usd, tokens + settled.tokens
        else:
            unsettled.append(Reserve(pod=record.pod, usd=record.usd, tokens=record.token_count))
    return usd, tokens, tuple(unsettled)


def is_spent(budget: Budget, *, ledgers_kept: bool) -> bool:
    """Say whether nothing is left, so that no pod need be made to find that out.

    :param ledgers_kept: whether the ledgers of lost pods survive, so that the gateway may find more than
        the reserves leave.
    """
    lost = () if ledgers_kept else budget.unsettled
    left_usd = None if budget.usd is None else budget.usd - sum(reserve.usd for reserve in lost)
    left_tokens = None if budget.tokens is None else budget.tokens - sum(r.tokens for r in lost)
    return (left_usd is not None and left_usd <= 0) or (left_tokens is not None and left_tokens <= 0)
