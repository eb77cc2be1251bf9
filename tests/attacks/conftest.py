"""Each attack has a world of its own; what attackers got is counted over all of them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from attack_world import TOTALS, open_attack_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from attack_world import AttackWorld


@pytest.fixture
async def world(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> AsyncIterator[AttackWorld]:
    """A world in which, at the end, nothing is lost, unless the test has opened a door itself."""
    caplog.set_level("DEBUG", logger="agent_runner")
    async with open_attack_world(tmp_path) as world:
        world.logs = lambda: "\n".join(record.getMessage() for record in caplog.get_records("call"))
        yield world
        if world.open_door:
            return
        breaches = await world.breaches()
        TOTALS["worlds"] += 1
        TOTALS["refs"] += sum(breach.startswith("ref ") for breach in breaches)
        TOTALS["traps"] += sum(breach.startswith("trap: ") for breach in breaches)
        TOTALS["canaries"] += sum(" in " in breach for breach in breaches if not breach.startswith("trap: "))
        assert breaches == []


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Sum up."""
    if TOTALS["worlds"]:
        terminalreporter.write_line(
            "attacks: {worlds} worlds, {canaries} canaries found, {refs} refs written beside the work branch, "
            "{traps} traps sprung".format(**TOTALS)
        )
