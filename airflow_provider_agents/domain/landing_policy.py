"""What the owner of a run asked for about landing: every knob of :func:`.landing.decide`, with its default.

``docs/landing.md`` gives the reason of each default.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

MergeMethod = Literal["squash", "merge", "rebase"]
MERGE_METHODS: tuple[MergeMethod, ...] = ("squash", "merge", "rebase")
"""In the order in which one is taken where the repository does not allow what was asked for."""
NoChecks = Literal["escalate", "merge", "wait"]
ReviewMode = Literal["off", "on_checks_passed", "on_open", "manual"]
ResolveThreads = Literal["never", "answered"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LandingPolicy:
    """The knobs. All times are seconds."""

    auto_merge: bool = True
    """Merge when everything passes. Otherwise a person merges, and we wait for that."""
    merge_method: MergeMethod = "squash"
    github_auto_merge: bool = False
    """Hand the merge to GitHub's own auto-merge while required checks run. Never without required checks:
    GitHub would merge at once."""
    auto_merge_max_risk: int | None = None
    """Highest risk score (0 to 100, see :mod:`.risk`) that is merged without a person; ``None``: any."""
    update_branch: bool = True
    """Bring a branch that is behind up to date where the base branch's rules ask for it."""
    no_checks: NoChecks = "escalate"
    """What a head without any check means, once the grace is over."""
    no_checks_grace_seconds: int = 120
    """Time that the first check of a new head may take to appear."""
    settle_seconds: int = 30
    """Time since the last check of the head appeared or ended, before "all passed" is believed."""
    rerun_flaky: bool = True
    """Run failed checks of a head again, once, where something speaks for a flake."""
    max_rounds: int = 5
    """Fix rounds in all."""
    max_rounds_per_reason: int = 3
    """Fix rounds for one reason among failing checks, conflicts, merge queue and review agent. What people
    ask for counts in all only: they are there to say stop."""
    hold_labels: tuple[str, ...] = ("do-not-merge",)
    """Labels, in any case, that keep a pull request from being merged."""
    freeze: tuple[str, ...] = ()
    """Times in which nothing is merged, see :mod:`.freeze`."""
    review: ReviewMode = "off"
    """When the review agent reads a head. Its verdict gates the merge."""
    resolve_threads: ResolveThreads = "never"
    """Whether review threads are resolved once a fix round answered them."""

    def to_dict(self) -> dict[str, Any]:
        """Return the policy as JSON-ready values, e.g. for a trigger's arguments."""
        values = dataclasses.asdict(self)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LandingPolicy:
        """Read what :meth:`to_dict` wrote."""
        lists = {name: tuple(values[name]) for name in ("hold_labels", "freeze") if name in values}
        return cls(**{**values, **lists})
