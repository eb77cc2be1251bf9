"""From the trigger of a run to its agent's first model request, phase by phase; held by ``make bench``."""

from __future__ import annotations

import statistics

import pytest

from tests.bench import start_up

HIDDEN = 2.0
"""Most that lies between gateway and runner, in terms of what the gateway itself takes to start.

The agent's container waits for a probe. One that is only repeated each second would cost that second.
"""


@pytest.mark.timeout(900)
def test_start_up() -> None:
    starts = start_up.measure()
    print()
    print(start_up.table(starts))
    medians = {name: statistics.median(start.seconds[name] for start in starts) for name in start_up.PHASES}
    assert all(seconds >= 0 for start in starts for seconds in start.seconds.values())
    assert medians["gateway to runner"] <= HIDDEN * medians["pod to gateway"]
