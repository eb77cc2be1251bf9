"""A remark of a review at a line of the code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRemark:
    """What is to be said at one line of the new side of the diff."""

    path: str
    line: int
    body: str
