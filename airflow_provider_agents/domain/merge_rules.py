"""How ``.agents.yaml`` may change a setting, and how ``limits:`` hold one: a rule for each key.

Both only tighten. What a rule calls tighter merges less by itself, spends less, or lets the agent do less. What the
review agent may spend is the operators' alone: one that is cut short objects to nothing, and that lets more through.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from airflow_provider_agents.domain.quantity import size

if TYPE_CHECKING:
    from collections.abc import Mapping

Rule = Literal["min", "max", "and", "or", "union", "intersection", "set", "never"]

MEANINGS: dict[Rule, str] = {
    "min": "the lower value holds",
    "max": "the higher value holds",
    "and": "on only where both say so",
    "or": "on where one says so",
    "union": "both lists together",
    "intersection": "what both lists have",
    "set": "taken where `repositories.yaml` says nothing",
    "never": "refused",
}

RULES: dict[str, Rule] = {
    "base_branch": "never",
    "read_repositories": "intersection",
    "submodules": "and",
    "lfs": "and",
    "agent": "never",
    "plan_model": "never",
    "implement_model": "never",
    "fix_model": "never",
    "effort": "min",
    "plan_effort": "min",
    "implement_effort": "min",
    "fix_effort": "min",
    "context_window": "min",
    "thinking": "min",
    "plan_turns": "min",
    "implement_turns": "min",
    "fix_turns": "min",
    "budget_usd": "min",
    "budget_tokens": "min",
    "run_setup": "and",
    "run_tests": "or",
    "test_command": "set",
    "max_attempts": "min",
    "draft": "or",
    "auto_merge": "and",
    "merge_method": "set",
    "github_auto_merge": "and",
    "auto_merge_max_risk": "min",
    "update_branch": "and",
    "hold_labels": "union",
    "freeze": "union",
    "delete_branch": "set",
    "settle_seconds": "max",
    "no_checks_grace_seconds": "max",
    "rerun_flaky": "and",
    "max_rounds_per_reason": "min",
    "resolve_threads": "min",
    "review": "never",
    "review_agent": "never",
    "review_model": "never",
    "review_effort": "never",
    "review_turns": "never",
    "review_budget_usd": "never",
    "review_prompt": "never",
    "escalate": "set",
    "plan_approval": "or",
    "plan_rounds": "min",
    "max_rounds": "min",
    "no_checks": "min",
    "land_timeout": "min",
    "image": "never",
    "image_preset": "set",
    "cpu": "min",
    "memory": "min",
    "workspace_size": "min",
    "step_timeout": "min",
    "stall_timeout": "min",
    "paused": "or",
    "max_runs": "min",
    "runs_per_day": "min",
    "usd_per_day": "min",
    "off_peak": "union",
    "protected_paths": "union",
    "labels": "never",
    "mcp_servers": "intersection",
    "skills": "intersection",
    "prompts": "never",
    "authority": "never",
    "limits": "never",
}
"""What ``.agents.yaml`` may do with every setting of a repository. A test holds that none is missing."""

LIMITS: dict[str, Rule] = {
    **{key: rule for key, rule in RULES.items() if rule not in ("set", "never")},
    **dict.fromkeys(("review_effort", "review_turns", "review_budget_usd"), "min"),
}
"""How ``limits:`` hold a setting."""

NEVER = tuple(key for key, rule in RULES.items() if rule == "never")
"""Keys that ``.agents.yaml`` may not have."""

UNLIMITED = tuple(key for key in RULES if key not in LIMITS)
"""Keys that have no tighter value, so that ``limits:`` may not have them."""

EFFORT_OF_STEPS = ("plan_effort", "implement_effort", "fix_effort", "review_effort")
"""Where one of them is empty, ``effort`` counts."""

ORDERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("effort", *EFFORT_OF_STEPS), ("low", "medium", "high", "xhigh", "max")),
    "context_window": ("200k", "1m"),
    "resolve_threads": ("never", "answered"),
    "no_checks": ("wait", "escalate", "merge"),
}
"""Values of a choice, the tightest first."""

_BY_PROGRAM = frozenset({"effort", *EFFORT_OF_STEPS, "context_window", "thinking"})
"""Keys that are the program's own default where they are empty: nobody here knows how much that is."""


def tighter(
    key: str,
    now: Any,
    wanted: Any,
    *,
    installed: Mapping[str, Any] | None = None,
    default_is_most: bool = False,
) -> Any:
    """Return the tighter of two values of a setting, by its rule.

    :param key: one of :data:`LIMITS`.
    :param now: what counts so far; ``None``: nobody set it.
    :param wanted: what would count.
    :param installed: values of the installation, for keys that mean them where they are ``None``.
    :param default_is_most: take the unknown default of a program for the most, not for the least.
    """
    if wanted is None:
        return now
    rule = LIMITS.get(key)
    if rule == "and":
        return now and wanted
    if rule == "or":
        return now or wanted
    if rule == "union":
        return tuple(dict.fromkeys((*(now or ()), *wanted)))
    if rule == "intersection":
        both = {name.lower() for name in wanted}
        return None if now is None else tuple(name for name in now if name.lower() in both)
    if rule not in ("min", "max"):
        raise ValueError(f"{key}: no value of it is tighter than another")
    if key in _BY_PROGRAM and now is None:
        least = rank(key, wanted) <= (0 if key == "thinking" else rank(key, ORDERS[key][0]))
        return wanted if default_is_most or least else None
    known = (installed or {}).get(key) if now is None else now
    if rule == "max":
        return wanted if rank(key, wanted) > rank(key, known) else now
    return wanted if rank(key, wanted) < rank(key, known) else now


def rank(key: str, value: Any) -> float:
    """Return a number by which the values of a ``min`` or ``max`` key are compared; ``None`` is without end."""
    if value is None:
        return math.inf
    if key in ORDERS:
        return ORDERS[key].index(value)
    if key == "thinking":
        return {"off": 0.0, "on": math.inf}.get(value) if value in ("off", "on") else float(value)  # type: ignore[return-value]
    if key == "cpu":
        return float(value[:-1]) / 1000 if value.endswith("m") else float(value)
    if key in ("memory", "workspace_size"):
        return size(value)
    return float(value)
