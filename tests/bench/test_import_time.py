"""What the shipped DAG files cost beside one that only imports the pod operator; held by ``make bench``."""

from __future__ import annotations

import pytest

from tests.bench import import_time
from tests.bench.table import show


@pytest.mark.timeout(900)
def test_import_time() -> None:
    rows = import_time.measure()
    print()
    show(rows)
    assert [row.name for row in rows if not row.met] == []
