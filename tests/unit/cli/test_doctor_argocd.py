"""What doctor says of Argo CD."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.cli.checks import argocd
from airflow_provider_agents.domain.argocd_application import ApplicationReading, ApplicationSource
from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOW = datetime(2026, 5, 1, tzinfo=UTC)


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rules: list[Any] = []
        self.rollbacks: list[Any] = []
        self.types = {"argo": True}
        self.answer = (True, "Argo CD accepts the token of 'airflow'")
        self.verify = True
        self.readings: dict[str, ApplicationReading] = {}
        self.fault: InvalidInputError | None = None
        monkeypatch.setattr(argocd, "rule_files", lambda: self.rules)
        monkeypatch.setattr(argocd, "rollback_files", lambda folder: self.rollbacks)
        monkeypatch.setattr(argocd.settings, "config_folder", lambda: Path("/agents"))
        monkeypatch.setattr(argocd, "checked_type", self._type)
        monkeypatch.setattr(argocd, "ArgoCdHook", lambda name, timeout_seconds: self)

    def _type(self, name: str, wanted: str, how: str) -> Iterator[Any]:
        assert wanted == "argocd"
        assert how
        yield from ()
        return self.types.get(name, False)

    def test_connection(self) -> tuple[bool, str]:
        return self.answer

    def get_conn(self) -> Any:
        return SimpleNamespace(verify=self.verify)

    def applications(self, names: Iterable[str]) -> dict[str, ApplicationReading]:
        if self.fault:
            raise self.fault
        return {name: self.readings[name] for name in names}

    def add_rule(self, **values: Any) -> None:
        made = PullRequestRule.model_validate(
            {"instruction": "x", "argocd": {"connection": "argo", **values}}
        )
        self.rules.append(SimpleNamespace(rule=made))

    def add_rollback(self, application: str, *, enabled: bool = True, fault: str = "") -> None:
        found = SimpleNamespace(
            argocd="argo", application=application, repository="acme/shop", enabled=enabled
        )
        self.rollbacks.append(SimpleNamespace(definition=found))
        source = ApplicationSource(repo_url="https://github.com/acme/shop")
        self.readings[application] = ApplicationReading(
            name=application, observed_at=NOW, sources=() if fault else (source,), fault=fault
        )

    def findings(self) -> list[tuple[str, str]]:
        return [(one.status, one.message) for one in argocd.argocd(None)]  # type: ignore[arg-type]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_without_argo_cd_all_is_well(world: World) -> None:
    world.add_rule(enabled=False)
    world.rules.append(SimpleNamespace(rule=None))
    world.rollbacks.append(SimpleNamespace(definition=None))
    world.add_rollback("off", enabled=False)
    assert world.findings() == [("ok", "no rule and no rollback looks at Argo CD")]


def test_each_connection_is_checked_once(world: World) -> None:
    world.add_rule(enabled=True)
    world.add_rule(enabled=True)
    world.add_rollback("shop-staging")
    assert world.findings() == [
        ("ok", "connection argo: Argo CD accepts the token of 'airflow'"),
        ("ok", "the application shop-staging is Unknown, Unknown"),
    ]


def test_a_missing_connection_is_told_of_once(world: World) -> None:
    world.add_rule(enabled=True, connection="other")
    assert world.findings() == []


def test_a_token_that_is_not_accepted(world: World) -> None:
    world.add_rollback("shop-staging")
    world.answer = (False, "Argo CD does not accept the token")
    assert world.findings() == [("failed", "connection argo: Argo CD does not accept the token")]


def test_certificates_that_are_not_checked(world: World) -> None:
    world.add_rule(enabled=True)
    world.verify = False
    assert ("warning", "connection argo does not check the certificate of Argo CD") in world.findings()


def test_an_application_of_a_rollback_that_is_not_there(world: World) -> None:
    world.add_rollback("gone", fault="Argo CD has nothing to read the application gone")
    assert world.findings()[1:] == [("failed", "Argo CD has nothing to read the application gone")]


def test_an_application_of_another_repository(world: World) -> None:
    world.add_rollback("shop-staging")
    world.rollbacks[0].definition.repository = "acme/other"
    assert world.findings()[1:] == [
        ("failed", "the application shop-staging is not deployed from acme/other")
    ]


def test_a_connection_that_cannot_be_opened(world: World) -> None:
    world.add_rollback("shop-staging")
    world.fault = InvalidInputError(["the certificate authority cannot be read"])
    assert world.findings()[-1][0] == "failed"
