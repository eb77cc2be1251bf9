"""Applications of pull requests, as the acts of a run read them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.argocd_application import ApplicationReading
from airflow_provider_agents.domain.pr_rule import ArgoCd, PullRequestRule
from airflow_provider_agents.operators import pr_rule_application
from airflow_provider_agents.operators.pr_rule_application import Applications

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

RULE = PullRequestRule(instruction="Merge.", repositories=("acme/shop",), argocd=ArgoCd(enabled=True))


@pytest.mark.parametrize(("fault_kind", "asked"), [("unavailable", 1), ("missing", 2), ("", 2)])
def test_an_argo_cd_that_is_away_is_waited_for_once_in_a_run(
    monkeypatch: pytest.MonkeyPatch, fault_kind: Any, asked: int
) -> None:
    names: list[str] = []

    class Hook:
        def __init__(self, conn_id: str) -> None:
            assert conn_id == "argocd_default"

        def applications(self, wanted: Sequence[str]) -> Mapping[str, ApplicationReading]:
            names.extend(wanted)
            return {
                name: ApplicationReading(
                    name=name, observed_at=datetime.now(UTC), fault=fault_kind, fault_kind=fault_kind
                )
                for name in wanted
            }

    monkeypatch.setattr(pr_rule_application, "ArgoCdHook", Hook)
    applications = Applications(RULE)
    for environment in ("staging", "production"):
        assert applications.reading(("acme/shop", environment)).fault_kind == fault_kind
    assert names == ["shop-staging", "shop-production"][:asked]
