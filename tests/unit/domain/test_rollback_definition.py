"""Definitions of rollbacks as files: what they default to, and how each fault is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
from airflow_provider_agents.domain.rollback_files import RollbackFile, rollback_files

EXAMPLES = Path(__file__).resolve().parents[3] / "dags"
LEAST = "application: shop-staging\nrepository: acme/shop\n"


def read(folder: Path, text: str, name: str = "shop.yaml") -> RollbackFile:
    (folder / "rollbacks").mkdir(exist_ok=True)
    (folder / "rollbacks" / name).write_text(text)
    return next(one for one in rollback_files(folder) if one.path.name == name)


def test_the_example_loads_and_does_nothing_yet() -> None:
    (found,) = rollback_files(EXAMPLES)
    assert found.faults == ()
    assert found.definition is not None
    assert found.definition.dry_run
    assert found.definition.model_copy(update={"dry_run": False}) == RollbackDefinition(
        application="shop-staging", repository="acme/shop"
    )


def test_the_figures_are_those_of_the_specification() -> None:
    timings = RollbackDefinition(application="shop-staging", repository="acme/shop").timings
    assert (timings.poll, timings.readings, timings.candidate, timings.checks) == (10, 3, 120, 300)
    assert (timings.approval, timings.restored, timings.recovery) == (3600, 60, 600)
    limits = RollbackDefinition(application="shop-staging", repository="acme/shop").limits
    assert (limits.merges_per_hour, limits.pull_requests_per_hour) == (5, 10)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("repository: acme/shop\n", "rollbacks/shop.yaml:1: application"),
        (f"{LEAST}path: ../other\n", "rollbacks/shop.yaml:3: path"),
        (f"{LEAST}path: deploy/./shop\n", "rollbacks/shop.yaml:3: path"),
        (f"{LEAST}path: /deploy\n", "rollbacks/shop.yaml:3: path"),
        (f"{LEAST}path: deploy/\n", "rollbacks/shop.yaml:3: path"),
        (f"{LEAST}aproval: auto\n", "did you mean `approval`"),
        (f"{LEAST}environment: production\n", "nothing is taken back in production"),
        (f"{LEAST}environment: production\nenvironments: [production]\n", "approval: person"),
        (f"{LEAST}timings:\n  restored: 700\n", "recovery"),
        (f"{LEAST}timings:\n  readings: 1\n", "rollbacks/shop.yaml:4: timings.readings"),
        (f"{LEAST}guards:\n  freeze: [always]\n", "rollbacks/shop.yaml:4: guards.freeze"),
        ("application: '{{repository}}-staging'\nrepository: acme/shop\n", "is no name of an application"),
        ("application: Shop\nrepository: acme/shop\n", "is no name of an application"),
        ("application: shop\nrepository: shop\n", "rollbacks/shop.yaml:2: repository"),
        ("- a list\n", "rollbacks/shop.yaml:1"),
    ],
)
def test_a_fault_names_its_place(tmp_path: Path, text: str, fault: str) -> None:
    found = read(tmp_path, text)
    assert found.definition is None
    assert fault in "\n".join(found.faults)


def test_production_needs_to_be_named_and_a_person(tmp_path: Path) -> None:
    text = f"{LEAST}environment: production\nenvironments: [production]\napproval: person\n"
    found = read(tmp_path, text)
    assert found.definition is not None
    assert found.definition.allowed


@pytest.mark.parametrize("path", ["", "deploy", "apps/shop/overlays/staging"])
def test_folders(tmp_path: Path, path: str) -> None:
    found = read(tmp_path, f"{LEAST}path: '{path}'\n")
    assert found.definition is not None
    assert found.definition.path == path


def test_one_application_has_one_rollback(tmp_path: Path) -> None:
    read(tmp_path, LEAST)
    read(tmp_path, LEAST, "twin.yaml")
    read(tmp_path, f"{LEAST}argocd: argocd_other\n", "elsewhere.yaml")
    found = {one.name: one for one in rollback_files(tmp_path)}
    assert "rollbacks/twin.yaml" in found["shop"].faults[0]
    assert "rollbacks/shop.yaml" in found["twin"].faults[0]
    assert found["elsewhere"].definition is not None


@pytest.mark.parametrize("name", ["shop.yml", "Shop!.yaml"])
def test_the_name_of_the_file(tmp_path: Path, name: str) -> None:
    found = read(tmp_path, LEAST, name)
    assert found.definition is None
    assert found.faults


def test_without_the_folder_there_are_none(tmp_path: Path) -> None:
    assert rollback_files(tmp_path) == []
