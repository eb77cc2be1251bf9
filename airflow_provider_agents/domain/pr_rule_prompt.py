"""What a model is asked: the rule, which is the same for all pull requests, and the facts of one of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True)
class RulePrompt:
    """One question."""

    contract: str
    """What we say to every model: what the answer is, that facts are data. The same for all rules."""
    rule: str
    """The rule's text, rendered. No word of an outsider stands in it; for most rules it is the same for all pull
    requests, so that it can be cached."""
    facts: str
    """The pull request: every value that the rule names, fenced where people outside wrote it."""
    schema: Mapping[str, Any]
    """JSON Schema of the answer, with the actions, labels and reviewers that the rule allows."""
