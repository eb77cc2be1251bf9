"""What earlier pods of the task spent, where nobody could read their ledger yet: they were lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from agent_runner.contract import Settled
from agent_runner.gateway.budget import Amount, Limit
from agent_runner.gateway.journal import ledger_file
from agent_runner.gateway.totals import Totals, read

if TYPE_CHECKING:
    from pathlib import Path

    from agent_runner.contract import Budget, Reserve
    from agent_runner.gateway.journal import Journal

log = logging.getLogger(__name__)


def settle(budget: Budget, directory: Path, journal: Journal) -> Limit:
    """Settle the lost pods of ``budget`` and return what is left for this one.

    What was found once stays so after a restart. Calls that a lost pod began and did not end count at their
    estimate.

    :param directory: where the ledgers of the run's pods are.
    :param journal: gets the findings.
    """
    for reserve in budget.unsettled:
        if reserve.pod not in journal.settled:
            found = _found(reserve, directory)
            log.info(
                "pod %s, which was lost, spent %.4f USD and %d tokens%s",
                found.pod,
                found.usd,
                found.tokens,
                "" if found.known else " at most: it left no readable ledger",
            )
            journal.settle(found)
    spent = Amount(
        sum(each.usd for each in journal.settled.values()),
        sum(each.tokens for each in journal.settled.values()),
    )
    return Limit(usd=budget.usd, tokens=budget.tokens).less(spent)


def _found(reserve: Reserve, directory: Path) -> Settled:
    totals = Totals()
    try:
        with ledger_file(directory, reserve.pod).open("rb") as file:
            good, bad = read(file, totals)
    except OSError as error:
        log.warning("ledger of pod %s: %s", reserve.pod, error.strerror or error)
        return Settled(pod=reserve.pod, usd=reserve.usd, tokens=reserve.tokens, known=False)
    spent = totals.spent
    if bad and not good:
        return Settled(pod=reserve.pod, usd=reserve.usd, tokens=reserve.tokens, known=False)
    return Settled(pod=reserve.pod, usd=spent.usd, tokens=spent.tokens, known=True)
