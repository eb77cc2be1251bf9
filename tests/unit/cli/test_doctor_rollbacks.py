"""What doctor says of rollbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from airflow_provider_agents.cli.checks import rollbacks
from airflow_provider_agents.cli.report import warning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from airflow_provider_agents.cli.report import Finding

LEAST = "application: shop-staging\nrepository: acme/shop\n"


class World:
    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder / "rollbacks"
        self.folder.mkdir()
        self.paused: set[str] = set()
        self.connections: list[str] = []
        monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(folder))
        monkeypatch.setattr(rollbacks, "checked_type", self.checked)
        monkeypatch.setattr(rollbacks, "_paused", lambda dag_id: dag_id in self.paused)

    def checked(self, name: str, wanted: str, how: str) -> Iterator[Finding]:
        self.connections.append(f"{name} {wanted}")
        if name == "odd":
            yield warning("is odd", how)

    def write(self, name: str, text: str) -> None:
        (self.folder / f"{name}.yaml").write_text(text)

    def findings(self) -> list[tuple[str, str]]:
        found = rollbacks.files(None)  # type: ignore[arg-type]
        return [(finding.status, finding.message) for finding in found]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return World(tmp_path, monkeypatch)


def test_without_rollbacks_all_is_well(world: World) -> None:
    assert world.findings() == [("ok", "no rollback is defined")]


def test_each_fault_is_named(world: World) -> None:
    world.write("shop", f"{LEAST}path: ../x\nmax_commits: 0\n")
    (first, second) = world.findings()
    assert (first[0], second[0]) == ("failed", "failed")
    assert first[1].startswith("rollbacks/shop.yaml:3: path: ")
    assert second[1].startswith("rollbacks/shop.yaml:4: max_commits: ")


def test_each_connection_is_looked_at_once(world: World) -> None:
    world.write("a", LEAST)
    world.write("b", LEAST.replace("shop-staging", "pay") + "connection: odd\n")
    world.write("c", LEAST.replace("shop-staging", "web") + "connection: odd\n")
    assert ("warning", "is odd") in world.findings()
    assert world.connections == ["github_default github", "odd github"]


def test_whether_somebody_watches(world: World) -> None:
    world.write("shop", LEAST)
    assert world.findings() == [("ok", "rollbacks/shop.yaml: rollback shop watches shop-staging")]
    world.paused.add("rollback__shop")
    ((status, message),) = world.findings()
    assert status == "warning"
    assert "nobody watches shop-staging: its DAG is paused" in message
    world.write("shop", f"{LEAST}enabled: false\n")
    assert world.findings() == [("ok", "rollbacks/shop.yaml: rollback shop is switched off")]
