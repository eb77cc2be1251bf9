from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

from agent_runner.contract import Budget, Reserve, Settled, Tokens
from agent_runner.gateway.budget import Limit
from agent_runner.gateway.journal import Journal, ledger_file
from agent_runner.gateway.settlement import settle

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = Budget(
    usd=5.0,
    tokens=1_000,
    unsettled=(Reserve(pod="lost-1", usd=2.0, tokens=500), Reserve(pod="lost-2", usd=1.0, tokens=100)),
)


@pytest.fixture
def journal(tmp_path: Path) -> Journal:
    return Journal(ledger_file(tmp_path, "own"))


def lost(folder: Path, pod: str = "lost-1") -> None:
    """The ledger of a pod that ended one call and was lost in another."""
    other = Journal(ledger_file(folder, pod))
    estimate = Tokens(input=30, output=10)
    for number in range(2):
        begun = other.model_call_begun(model="m", tokens=estimate, usd=0.25, unpriced=False)
        if number == 0:
            other.model_call(
                begun,
                model="m",
                status=200,
                tokens=Tokens(cache_read=50, output=5),
                usd=0.5,
                unpriced=False,
                estimated=False,
            )


def test_a_ledger_tells_what_a_lost_pod_spent(tmp_path: Path, journal: Journal) -> None:
    lost(tmp_path)
    left = settle(BUDGET, tmp_path, journal)
    assert journal.ledger.settled == (
        Settled(pod="lost-1", usd=0.75, tokens=95, known=True),
        Settled(pod="lost-2", usd=1.0, tokens=100, known=False),
    )
    assert left == Limit(usd=3.25, tokens=805)


def test_what_was_settled_stays_so_after_a_restart(tmp_path: Path, journal: Journal) -> None:
    lost(tmp_path)
    left = settle(BUDGET, tmp_path, journal)
    ledger_file(tmp_path, "lost-1").unlink()
    lost(tmp_path, "lost-2")
    again = Journal(ledger_file(tmp_path, "own"))
    assert settle(BUDGET, tmp_path, again) == left
    assert again.ledger == journal.ledger


@pytest.mark.parametrize(
    ("content", "found"),
    [
        # A pod that came as far as its ledger and asked for nothing.
        (b"", Settled(pod="lost-1", usd=0.0, tokens=0, known=True)),
        (b"\0\0\0\0", Settled(pod="lost-1", usd=2.0, tokens=500, known=False)),
        (b"not a ledger\n{}\n", Settled(pod="lost-1", usd=2.0, tokens=500, known=False)),
        (None, Settled(pod="lost-1", usd=2.0, tokens=500, known=False)),
    ],
)
def test_without_a_readable_ledger_the_whole_reserve_counts(
    tmp_path: Path, journal: Journal, content: bytes | None, found: Settled, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = ledger_file(tmp_path, "lost-1")
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    settle(BUDGET, tmp_path, journal)
    assert journal.ledger.settled[0] == found
    assert "pod lost-1, which was lost, spent" in caplog.text
    assert ("it left no readable ledger" in caplog.text.split("pod lost-2")[0]) is not found.known


def test_a_torn_last_line_is_no_loss(tmp_path: Path, journal: Journal) -> None:
    lost(tmp_path)
    path = ledger_file(tmp_path, "lost-1")
    path.write_bytes(path.read_bytes() + b'{"event":"model_ca')
    settle(BUDGET, tmp_path, journal)
    assert journal.ledger.settled[0] == Settled(pod="lost-1", usd=0.75, tokens=95, known=True)


def test_lost_pods_may_have_spent_it_all(tmp_path: Path, journal: Journal) -> None:
    budget = Budget(usd=1.0, tokens=10_000, unsettled=BUDGET.unsettled)
    assert settle(budget, tmp_path, journal) == Limit(usd=0.0, tokens=9_400)


def test_without_a_limit_pods_are_settled_all_the_same(tmp_path: Path, journal: Journal) -> None:
    lost(tmp_path)
    assert settle(Budget(unsettled=BUDGET.unsettled[:1]), tmp_path, journal) == Limit()
    assert journal.ledger.settled[0].usd == 0.75
