"""The applications that a rule's pull requests are deployed to: their names, and how they are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_provider_agents.domain.argocd_application import ApplicationReading
from airflow_provider_agents.domain.argocd_names import application_name, needs_environment
from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.hooks.argocd import ArgoCdHook

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_agents.domain.pr_rule import Environment, PullRequestRule

Place = tuple[str, "Environment"]
"""Where a pull request goes: ``owner/name`` and environment."""


def application_names(
    rule: PullRequestRule, places: Iterable[Place]
) -> dict[Place, str | ApplicationReading]:
    """Return the name of the application of each place; where there can be none, a reading that says why."""
    found: dict[Place, str | ApplicationReading] = {}
    for place in places:
        repository, environment = place
        if environment == "unknown" and needs_environment(rule.argocd.application):
            found[place] = _unnamed(f"no label of a pull request in {repository} names its environment")
            continue
        try:
            found[place] = application_name(rule.argocd.application, repository, environment)
        except ValueError as error:
            found[place] = _unnamed(str(error))
    return found


def application_readings(rule: PullRequestRule, places: Iterable[Place]) -> dict[Place, ApplicationReading]:
    """Return how the applications of the places are, each application read once; for workers.

    Empty where the rule has Argo CD switched off. What could not be read, for whatever reason, is a reading whose
    health is ``Unknown``, with the fault: no pull request stops another one.
    """
    if not rule.argocd.enabled:
        return {}
    named = application_names(rule, places)
    names = sorted({name for name in named.values() if isinstance(name, str)})
    try:
        readings = ArgoCdHook(rule.argocd.connection).applications(names) if names else {}
    except InvalidInputError as error:
        fault = "; ".join(error.faults)
        readings = {
            name: ApplicationReading(name=name, observed_at=_now(), fault=fault, fault_kind="denied")
            for name in names
        }
    return {place: readings[name] if isinstance(name, str) else name for place, name in named.items()}


class Applications:
    """Reads applications one at a time during a run; an Argo CD that was away once is not waited for again in it."""

    def __init__(self, rule: PullRequestRule) -> None:
        self._rule = rule
        self._away: ApplicationReading | None = None

    def reading(self, place: Place) -> ApplicationReading:
        """Return how the application of a place is."""
        if self._away is not None:
            return self._away
        found = application_readings(self._rule, [place])[place]
        if found.fault_kind == "unavailable":
            self._away = found
        return found


def _unnamed(fault: str) -> ApplicationReading:
    return ApplicationReading(name="", observed_at=_now(), fault=fault, fault_kind="unnamed")


def _now() -> datetime:
    return datetime.now(UTC)
