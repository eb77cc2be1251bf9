"""Whether the one node of this runtime takes pods: it always does, but for a fault on request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Scheduling:
    """What the scheduler thinks of new pods."""

    refusal: str = ""
    """Why no node takes a pod, as the scheduler words it; empty: the node takes all."""
