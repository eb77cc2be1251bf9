"""What a benchmark measured, as rows: each a ratio or a difference between two ways in one run."""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison.

    :param measured: the number that the target is about.
    :param at_most: target, where less is better.
    :param at_least: target, where more is better.
    """

    name: str
    direct: str
    ours: str
    measured: float
    unit: str
    at_most: float | None = None
    at_least: float | None = None

    @property
    def met(self) -> bool:
        """Whether the target is met; true where there is none."""
        if self.at_most is not None:
            return self.measured <= self.at_most
        return self.at_least is None or self.measured >= self.at_least

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"≤ {self.at_most:g}"
        return f"≥ {self.at_least:g}" if self.at_least is not None else "-"


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a table, with the load of the machine."""
    head = ("what", "direct", "ours", "measured", "target", "")
    lines = [
        (
            row.name,
            row.direct,
            row.ours,
            f"{row.measured:.2f} {row.unit}",
            row.target,
            "" if row.met else "MISSED",
        )
        for row in rows
    ]
    widths = [max(len(line[n]) for line in (head, *lines)) for n in range(len(head))]
    for line in (head, *lines):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"load {load} on {os.cpu_count()} processors")


def seconds(values: Sequence[float]) -> str:
    """Return the median of some durations in words."""
    value = statistics.median(values)
    return f"{value * 1_000:.2f} ms" if value < 0.5 else f"{value:.2f} s"
