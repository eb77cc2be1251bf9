from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import bundles
from airflow_provider_agents.bundles import AgentsDagBundle

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_shipped_dags_are_served_from_the_package() -> None:
    bundle = AgentsDagBundle(name="agents")
    assert (bundle.path / "coding_task.py").is_file()
    assert bundle.get_current_version() is None
    assert bundle.supports_versioning is False
    bundle.initialize()
    bundle.refresh()


def test_in_a_wheel_they_lie_inside_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "airflow_provider_agents"
    (package / "_dags").mkdir(parents=True)
    (tmp_path / "site-packages" / "dags").mkdir()  # of somebody else
    monkeypatch.setattr(bundles, "__file__", str(package / "bundles.py"))
    assert AgentsDagBundle(name="agents").path == package / "_dags"
