"""The checkout cache's targets, held by ``make bench``."""

from __future__ import annotations

import asyncio

import pytest

from tests.bench import checkout_cache
from tests.bench.table import show


@pytest.mark.timeout(900)
def test_checkouts_with_the_cache() -> None:
    rows = asyncio.run(checkout_cache.measure())
    print()
    show(rows)
    assert [row.name for row in rows if not row.met] == []
