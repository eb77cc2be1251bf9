"""A wait for a moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from airflow_provider_agents.triggers.pause import PauseTrigger


@pytest.mark.looptime
async def test_it_fires_once_at_its_moment() -> None:
    until = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    trigger = PauseTrigger(until=until)
    path, values = trigger.serialize()
    assert path == "airflow_provider_agents.triggers.pause.PauseTrigger"
    events = [event.payload async for event in PauseTrigger(**values).run()]
    assert events == [{"until": until}]
    assert 29 < asyncio.get_running_loop().time() <= 30


@pytest.mark.looptime
async def test_a_moment_that_is_over_is_now() -> None:
    until = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert [event.payload async for event in PauseTrigger(until=until).run()] == [{"until": until}]
    assert asyncio.get_running_loop().time() == 0


def test_a_moment_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        PauseTrigger(until="2026-01-02T12:00:00")
