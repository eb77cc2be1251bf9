"""Keeps the decisions of rules: as events of an Airflow asset, and as numbers in Airflow's own metrics."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.sdk import Asset, AssetAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow.sdk import Context

    from airflow_provider_agents.domain.pr_rule_decision import PullRequestDecision
    from airflow_provider_agents.domain.pr_rule_metrics import Metric
    from airflow_provider_agents.domain.pr_rule_state import Pass

log = logging.getLogger(__name__)

ALIAS = "agents_decisions"
"""Asset alias that all tasks which record decisions have as an outlet."""


def decisions_outlet() -> AssetAlias:
    """Return the outlet that a task needs which records decisions.

    An alias, not the rule's asset: Airflow makes an event of each success for an asset, also where nothing was
    decided, and for an alias one for each record.
    """
    return AssetAlias(ALIAS)


def decisions_asset(rule: str) -> Asset:
    """Return the asset whose events are the decisions of a rule."""
    from airflow_provider_agents.domain.pr_rule_audit import decisions_asset_name

    return Asset(name=decisions_asset_name(rule), uri=f"agents-decisions://{rule}/")


def record_decisions(
    context: Context,
    rule_name: str,
    decisions: Sequence[PullRequestDecision],
    one_pass: Pass | None = None,
    *,
    errors: Mapping[str, int] | None = None,
) -> None:
    """Record what became of decisions: an event of the rule's asset for each that tells something new, and metrics.

    Airflow takes the events with the task's success, and only then: a try that fails leaves none, so that a repeated
    try records nothing twice. The task needs :func:`decisions_outlet` among its outlets.

    :param decisions: with their outcomes.
    :param one_pass: of a run of the rule; ``None``: one decision of a person.
    :param errors: of this run by type (``github``, ``ai``, ``kubernetes``, ``argocd``); ``None``: those of the decisions.
    """
    # Not at import: every parse of the DAGs would pay for it.
    from airflow_provider_agents.domain.pr_rule_audit import event_extras
    from airflow_provider_agents.domain.pr_rule_metrics import decision_metrics, pass_metrics

    alias, asset = decisions_outlet(), decisions_asset(rule_name)
    declared = {each.name for each in context["task"].outlets if isinstance(each, AssetAlias)}
    if alias.name not in declared:
        log.error(
            "The task %s has no outlet %r, so Airflow keeps no record of its decisions.",
            context["task"].task_id,
            alias.name,
        )
    events = context["outlet_events"][alias]
    for extra in event_extras(decisions):
        events.add(asset, extra=extra)
    send(decision_metrics(rule_name, decisions, errors))
    if one_pass is not None:
        send(pass_metrics(rule_name, one_pass))
        _count_rules()


def count_error(rule_name: str, kind: str) -> None:
    """Count an error of a run that came to no decision at all.

    :param kind: ``github``, ``ai``, ``kubernetes`` or ``argocd``.
    """
    from airflow_provider_agents.domain.pr_rule_metrics import decision_metrics

    send(decision_metrics(rule_name, (), {kind: 1}))


def send(metrics: Iterable[Metric]) -> None:
    """Send metrics through Airflow's own statistics; a fault there is logged and stops nothing.

    As Airflow's own, each has a name with tags, and, unless ``[metrics] legacy_names_on`` says no, a second one with
    the tags' values in it.
    """
    from airflow.sdk.configuration import conf
    from airflow.sdk.observability.stats import Stats

    try:
        dotted = conf.getboolean("metrics", "legacy_names_on", fallback=True)
        for metric in metrics:
            if metric.kind == "gauge":
                Stats.gauge(metric.name, metric.value, tags=dict(metric.tags))
                if dotted and metric.tags:
                    Stats.gauge(metric.dotted, metric.value)
            else:
                # Airflow says `int`; each of its backends adds a fraction as well, which USD are.
                Stats.incr(metric.name, metric.value, tags=dict(metric.tags))  # type: ignore[arg-type]
                if dotted and metric.tags:
                    Stats.incr(metric.dotted, metric.value)  # type: ignore[arg-type]
    except Exception as error:  # whatever a backend does, the decisions stand
        log.warning("Metrics could not be sent: %s", error)


def _count_rules() -> None:
    from airflow_provider_agents.domain.pr_rule_metrics import rules_metrics
    from airflow_provider_agents.operators.pr_rule_sources import rule_files

    files = rule_files()
    good = sum(file.rule is not None for file in files)
    send(rules_metrics(good=good, broken=len(files) - good))
