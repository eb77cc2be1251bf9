"""What doctor says of sources of tickets."""

from __future__ import annotations

from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.cli.checks import sources
from airflow_provider_agents.domain.config_files import DefinitionFile
from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.sync_state import SyncState
from airflow_provider_agents.exceptions import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


class World:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.files: list[DefinitionFile] = []
        self.fault: Exception | None = None
        self.state = SyncState(looked_at=NOW)
        monkeypatch.setattr(sources, "definition_files", lambda: self.files)
        monkeypatch.setattr(sources, "source_for", lambda definition: self)
        monkeypatch.setattr(sources, "_last_look", lambda name: self.state)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[World]:
        if self.fault:
            raise self.fault
        yield self

    def add(self, *faults: str, **definition: Any) -> None:
        values = {"source": "github", "repositories": ["acme/shop"]} | definition
        found = None if faults else SourceDefinition.model_validate(values)
        self.files.append(
            DefinitionFile(name="shop", path=Path("tickets/shop.yaml"), definition=found, faults=faults)
        )

    def findings(self) -> list[tuple[str, str]]:
        found = sources.sources(None)  # type: ignore[arg-type]
        return [(finding.status, finding.message) for finding in found]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_without_sources_all_is_well(world: World) -> None:
    assert [status for status, _ in world.findings()] == ["ok"]


def test_each_fault_of_a_definition_is_named(world: World) -> None:
    world.add("tickets/shop.yaml:2: repositoris: unknown key", "tickets/shop.yaml:3: every: too small")
    assert world.findings() == [
        ("failed", "tickets/shop.yaml:2: repositoris: unknown key"),
        ("failed", "tickets/shop.yaml:3: every: too small"),
    ]


def test_a_connection_that_cannot_be_used(world: World) -> None:
    world.add()
    world.fault = InvalidInputError(["there is no connection 'linear_default'"])
    ((status, message),) = world.findings()
    assert status == "failed"
    assert message.startswith("tickets/shop.yaml: ")
    assert "there is no connection 'linear_default'" in message


def test_a_tracker_that_hangs(world: World) -> None:
    world.add()
    world.fault = TimeoutError()
    assert world.findings() == [("failed", "tickets/shop.yaml: no answer in 20 s")]


@pytest.mark.parametrize(
    ("state", "status", "words"),
    [
        (SyncState(looked_at=NOW), "ok", "was looked at 2026-05-01 12:00 UTC"),
        (SyncState(), "warning", "never looked at"),
        (SyncState(failures=5, fault="GitHub is away"), "warning", "last 5 looks failed: GitHub is away"),
    ],
)
def test_how_the_last_look_went(world: World, state: SyncState, status: str, words: str) -> None:
    world.add()
    world.state = state
    ((found, message),) = world.findings()
    assert (found, words in message) == (status, True)


def test_one_that_is_switched_off_is_not_asked(world: World) -> None:
    world.add(enabled=False)
    world.fault = TimeoutError()
    assert world.findings() == [("ok", "tickets/shop.yaml is switched off")]
