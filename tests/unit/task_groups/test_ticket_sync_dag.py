"""One DAG for each source of tickets; a broken definition takes no other along."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.sdk import DAG, AssetOrTimeSchedule, DeltaTriggerTimetable
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_agents.exceptions import InvalidInputError
from airflow_provider_agents.operators.ticket_look import TicketLook

if TYPE_CHECKING:
    from collections.abc import Callable

DAGS = Path(__file__).parents[3] / "dags"
SHOP = "source: github\nrepositories: [acme/shop]\nevery: 90\n"


@pytest.fixture
def dags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, DAG]]:
    """Return the DAGs that the file makes of some definitions."""
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path))

    def load(**definitions: str) -> dict[str, DAG]:
        folder = tmp_path / "tickets"
        folder.mkdir(exist_ok=True)
        for name, text in definitions.items():
            (folder / f"{name}.yaml").write_text(text)
        found = runpy.run_path(str(DAGS / "ticket_sync.py"))
        return {name: dag for name, dag in found.items() if isinstance(dag, DAG)}

    return load


def look(dag: DAG) -> Any:
    return dag.get_task("look")


def test_each_definition_has_its_dag(dags: Callable[..., dict[str, DAG]]) -> None:
    found = dags(shop=SHOP, api=SHOP.replace("shop", "api"))
    assert set(found) == {"ticket_sync__shop", "ticket_sync__api"}
    dag = found["ticket_sync__shop"]
    assert dag.max_active_runs == 1
    assert not dag.catchup
    assert isinstance(dag.timetable, AssetOrTimeSchedule)
    assert look(dag).source == "shop"
    assert look(dag).downstream_task_ids == {"start"}
    assert "every 90 s" in str(dag.doc_md)
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert set(again.task_ids) == {"look", "start"}


def test_a_run_that_is_there_already_is_not_started_again(dags: Callable[..., dict[str, DAG]]) -> None:
    start: Any = dags(shop=SHOP)["ticket_sync__shop"].get_task("start")
    assert start.partial_kwargs["skip_when_already_exists"] is True
    assert start.partial_kwargs["trigger_dag_id"] == "coding_task"
    # Airflow refuses a second run of the same moment as one that is there already.
    assert start.partial_kwargs["logical_date"] is None


def test_a_broken_definition_fails_in_its_own_dag_with_file_and_line(
    dags: Callable[..., dict[str, DAG]],
) -> None:
    found = dags(shop=SHOP, broken="source: github\nrepositoris: [a/b]\n")
    assert set(found) == {"ticket_sync__shop", "ticket_sync__broken"}
    assert isinstance(found["ticket_sync__broken"].timetable, DeltaTriggerTimetable)
    with pytest.raises(InvalidInputError, match=r"tickets/broken\.yaml:2: repositoris: .*repositories"):
        TicketLook(look(found["ticket_sync__broken"]), {})  # type: ignore[arg-type]


def test_a_definition_that_is_gone_is_named(dags: Callable[..., dict[str, DAG]], tmp_path: Path) -> None:
    dag = dags(shop=SHOP)["ticket_sync__shop"]
    (tmp_path / "tickets" / "shop.yaml").unlink()
    with pytest.raises(InvalidInputError, match=r"there is no tickets/shop\.yaml"):
        TicketLook(look(dag), {})  # type: ignore[arg-type]


def test_without_definitions_there_is_no_dag(dags: Callable[..., dict[str, DAG]]) -> None:
    assert dags() == {}


@pytest.mark.parametrize("example", sorted(path.name for path in (DAGS / "tickets").glob("*.yaml")))
def test_the_examples_are_sound(dags: Callable[..., dict[str, DAG]], example: str) -> None:
    name = example.removesuffix(".yaml")
    found = dags(**{name: (DAGS / "tickets" / example).read_text()})
    assert isinstance(found[f"ticket_sync__{name}"].timetable, AssetOrTimeSchedule)
