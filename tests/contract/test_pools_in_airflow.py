"""The pools in Airflow's own database, and what Airflow counts in them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.pools import ADMISSION_POOL, RULES_POOL, STEP_POOL

if TYPE_CHECKING:
    from collections.abc import Iterator

pytest_plugins = ["doctor_fixtures"]

PODS_POOLS = (STEP_POOL, ADMISSION_POOL, RULES_POOL)


@pytest.fixture(autouse=True)
def _empty(metadata: str) -> Iterator[None]:
    yield
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    with create_session() as session:
        session.execute(delete(TaskInstance))
        session.execute(delete(Pool))


def start_a_component() -> None:
    """Make the record that a scheduler, triggerer or DAG processor makes of itself when it starts."""
    from airflow.jobs.job import Job

    Job()


def pools() -> dict[str, tuple[int, bool]]:
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return {
            str(row.pool): (row.slots, row.include_deferred)
            for row in session.scalars(select(Pool).where(Pool.pool.in_(PODS_POOLS)))
        }


def change(name: str, **values: Any) -> None:
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        session.execute(update(Pool).where(Pool.pool == name).values(**values))


def test_a_component_that_starts_makes_the_pools() -> None:
    assert pools() == {}
    start_a_component()
    assert pools() == {STEP_POOL: (5, True), ADMISSION_POOL: (1, False), RULES_POOL: (1, False)}


def test_the_option_counts_until_a_person_changes_the_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    start_a_component()
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_STEPS", "8")
    start_a_component()
    assert pools()[STEP_POOL] == (8, True)
    for slots in (12, 3):
        change(STEP_POOL, slots=slots)
        start_a_component()
        assert pools()[STEP_POOL] == (slots, True)


def test_the_admission_is_mended_but_may_be_held(monkeypatch: pytest.MonkeyPatch) -> None:
    start_a_component()
    change(ADMISSION_POOL, slots=3, include_deferred=True)
    start_a_component()
    assert pools()[ADMISSION_POOL] == (1, False)
    change(ADMISSION_POOL, slots=0)
    start_a_component()
    assert pools()[ADMISSION_POOL] == (0, False)


def test_an_option_that_is_no_number_does_not_keep_airflow_from_starting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_STEPS", "some")
    start_a_component()
    assert pools() == {}


def test_a_database_that_does_not_answer_does_not_either(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow.utils import session
    from sqlalchemy.exc import OperationalError

    def refuse(**_: Any) -> Any:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr(session, "create_session", refuse)
    start_a_component()


def test_two_components_that_start_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The other one's pool appears after this one looked."""
    from airflow_provider_agents.domain import pools as decision
    from airflow_provider_agents.plugins.pools import ensure_pools

    honest = decision.mended

    def slow(wanted: Any, found: Any) -> Any:
        monkeypatch.setattr(decision, "mended", honest)
        ensure_pools()
        return honest(wanted, found)

    monkeypatch.setattr(decision, "mended", slow)
    ensure_pools()
    assert pools() == {STEP_POOL: (5, True), ADMISSION_POOL: (1, False), RULES_POOL: (1, False)}


def add_tasks(pool: str, **states: int) -> None:
    """Add task instances of a pool, so many in each state."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import insert, text

    with create_session() as session:
        session.execute(text("PRAGMA foreign_keys=OFF"))
        for state, number in states.items():
            for index in range(number):
                session.execute(
                    insert(TaskInstance).values(
                        id=uuid.uuid4(),
                        dag_id="coding_task",
                        task_id=f"{pool}_{state}_{index}",
                        run_id="r",
                        map_index=-1,
                        pool=pool,
                        pool_slots=1,
                        state=state,
                        try_number=1,
                        max_tries=1,
                        hostname="",
                        unixname="airflow",
                        queue="default",
                        priority_weight=1,
                        executor_config={},
                        updated_at=datetime.now(UTC),
                    )
                )


def test_a_pod_that_runs_holds_a_slot_and_a_task_that_is_resumed_has_to_get_one_again() -> None:
    """What the sizes of the pools rest on: a resumed task is ``scheduled``, which holds no slot."""
    from airflow.models.pool import Pool

    start_a_component()
    add_tasks(STEP_POOL, deferred=3, running=1, scheduled=2)
    stats = Pool.slots_stats()[STEP_POOL]
    assert (stats["total"], stats["open"], stats["scheduled"]) == (5, 1, 2)


def test_those_that_wait_hold_no_slot_of_the_admission() -> None:
    from airflow.models.pool import Pool

    start_a_component()
    add_tasks(ADMISSION_POOL, deferred=300)
    assert Pool.slots_stats()[ADMISSION_POOL]["open"] == 1
    add_tasks(ADMISSION_POOL, running=1)
    assert Pool.slots_stats()[ADMISSION_POOL]["open"] == 0


def findings() -> dict[str, tuple[str, str]]:
    from airflow_provider_agents.cli.checks.pools import pools as check

    found = list(check(None))  # type: ignore[arg-type]
    assert len(found) == len(PODS_POOLS)
    return {
        name: (str(finding.status), finding.message) for name, finding in zip(PODS_POOLS, found, strict=True)
    }


def test_doctor_tells_of_pools_that_are_missing_or_wrong() -> None:
    assert {status for status, _ in findings().values()} == {"failed"}
    start_a_component()
    assert {status for status, _ in findings().values()} == {"ok"}
    change(ADMISSION_POOL, slots=2)
    assert findings()[ADMISSION_POOL][0] == "failed"
    assert "the same place" in findings()[ADMISSION_POOL][1]
    change(RULES_POOL, slots=2)
    assert "two rules could act" in findings()[RULES_POOL][1]
    change(STEP_POOL, slots=0)
    assert findings()[STEP_POOL][0] == "warning"
