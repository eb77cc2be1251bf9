"""Under which keys the tasks of a landing round leave what the next ones read, and which tasks those are."""

from __future__ import annotations

import dataclasses

HISTORY_KEY = "history"
"""XCom of a gate: the history when it handed on."""
FEEDBACK_KEY = "feedback"
"""XCom of a gate or a review step: what the fix step has to answer."""
DECISION_KEY = "decision"
"""XCom of a gate: its last decision."""
MAY_FIX_KEY = "may_fix"
"""XCom of a gate that asks for a review: whether a fix may answer its objections at once."""
REVIEW_KEY = "review"
"""XCom of a review step: its verdict on a head."""
COMMANDS_KEY = "commands_done"
"""Task state of a gate: commands that were carried out. It survives a clear: a ``/merge`` was meant once."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RoundTasks:
    """Task ids of one landing round."""

    gate: str
    review: str | None = None
    fix: str | None = None
