"""What the decisions of one run of a rule count for, as metrics. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from airflow_provider_agents.domain.pr_rule_after import error_type
from airflow_provider_agents.domain.pr_rule_audit import is_worth_keeping

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision
    from airflow_provider_agents.domain.pr_rule_state import Pass

PROCESSED = "agents.prs_processed"
ACTIONS = "agents.actions"
ERRORS = "agents.errors"
COST = "agents.rule_cost_usd"
PASSES = "agents.rule_passes"
PASS_SECONDS = "agents.rule_pass_seconds"
RULES = "agents.rules"
RULES_BROKEN = "agents.rules_broken"


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One number to send."""

    name: str
    value: float
    tags: Mapping[str, str] = field(default_factory=dict)
    kind: Literal["counter", "gauge"] = "counter"

    @property
    def dotted(self) -> str:
        """Return the name with the tags' values in it, for a backend that knows no tags."""
        return ".".join((self.name, *(value.replace(".", "__") for value in self.tags.values())))


def decision_metrics(
    rule: str, decisions: Iterable[PullRequestDecision], errors: Mapping[str, int] | None = None
) -> Iterator[Metric]:
    """Yield what decisions count for; what is zero is left out.

    :param errors: by type, where the run knows of more than the decisions tell; else theirs are counted.
    """
    every = list(decisions)
    counted = [each for each in every if is_worth_keeping(each) and (each.asked or each.outcome != "failed")]
    if counted:
        yield Metric(name=PROCESSED, value=len(counted), tags={"rule": rule})
    for action, count in sorted(Counter(each.action for each in counted).items()):
        yield Metric(name=ACTIONS, value=count, tags={"rule": rule, "action": action})
    if errors is None:
        errors = Counter(str(kind) for each in every if (kind := error_type(each)))
    for type_, count in sorted(errors.items()):
        if count:
            yield Metric(name=ERRORS, value=count, tags={"rule": rule, "type": type_})
    if usd := sum(each.usd for each in every if each.asked):
        yield Metric(name=COST, value=round(usd, 6), tags={"rule": rule})


def pass_metrics(rule: str, one_pass: Pass) -> Iterator[Metric]:
    """Yield how a run went."""
    yield Metric(name=PASSES, value=1, tags={"rule": rule})
    if one_pass.ended_at is not None:
        seconds = max(0.0, (one_pass.ended_at - one_pass.at).total_seconds())
        yield Metric(name=PASS_SECONDS, value=round(seconds, 3), tags={"rule": rule}, kind="gauge")


def rules_metrics(*, good: int, broken: int) -> Iterator[Metric]:
    """Yield how many rules there are."""
    yield Metric(name=RULES, value=good, kind="gauge")
    yield Metric(name=RULES_BROKEN, value=broken, kind="gauge")
