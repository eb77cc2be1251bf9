"""The targets, held by ``make bench``; not part of ``make test``, because they want a machine at rest."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.bench import gateway_git, gateway_stream, runner_start
from tests.bench.table import show

if TYPE_CHECKING:
    from tests.bench.table import Row

pytestmark = pytest.mark.timeout(600)


def hold(rows: list[Row]) -> None:
    print()
    show(rows)
    assert [row.name for row in rows if not row.met] == []


def test_git_through_the_gateway() -> None:
    hold(asyncio.run(gateway_git.measure()))


def test_streams_through_the_gateway() -> None:
    hold(asyncio.run(gateway_stream.measure()))


def test_start_of_the_runner() -> None:
    hold(runner_start.measure())
