"""Writing to Airflow's database, by several API servers at once."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest
from airflow import settings as airflow_settings
from airflow.models import Variable, crypto
from cryptography.fernet import Fernet
from sqlalchemy import create_engine, event, select, text
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from airflow_provider_agents.plugins import webhook_store
from airflow_provider_agents.plugins.webhook_store import wake

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sqlalchemy import Engine

WAKE = "agents_wake"
SERVERS, DELIVERIES = 6, 15


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    engine = create_engine(
        f"sqlite:///{tmp_path / 'airflow.db'}", connect_args={"check_same_thread": False, "timeout": 0.05}
    )
    Variable.metadata.create_all(engine, tables=[Variable.__table__])
    monkeypatch.setattr(airflow_settings, "NonScopedSession", sessionmaker(engine))
    yield engine
    engine.dispose()


def value(engine: Engine, key: str = WAKE) -> Any:
    with Session(engine) as session:
        found = session.scalar(select(Variable).where(Variable.key == key))
        return None if found is None else json.loads(found.val)


def test_each_delivery_marks_once(engine: Engine) -> None:
    assert wake(WAKE, ["a/b#7"], ["id1", "body1"])
    first = value(engine)
    assert not wake(WAKE, ["a/b#7"], ["id1", "body2"])
    assert not wake(WAKE, ["a/b#7"], ["id2", "body1"])
    assert value(engine) == first
    assert wake(WAKE, ["a/b#7"], ["id3", "body3"])
    assert value(engine)["a/b#7"] > first["a/b#7"]
    assert set(value(engine, f"{WAKE}_seen")) == {"id1", "body1", "id3", "body3"}


def test_nothing_is_lost_where_many_write_at_once(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_store, "TRY_SECONDS", 30.0)
    woken: list[bool] = []
    start = threading.Barrier(SERVERS)

    def serve(server: int) -> None:
        start.wait(10)
        for number in range(DELIVERIES):
            # Every second delivery comes to all of the servers.
            delivery = f"{number}" if number % 2 else f"{server}-{number}"
            woken.append(wake(WAKE, [f"a/b{server}#{number + 1}"], [delivery]))

    threads = [threading.Thread(target=serve, args=(server,)) for server in range(SERVERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alone, shared = SERVERS * (DELIVERIES // 2 + 1), DELIVERIES // 2
    assert woken.count(True) == len(value(engine)) == alone + shared
    assert len(value(engine, f"{WAKE}_seen")) == alone + shared


def test_values_are_encrypted_as_airflow_does(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    key = Fernet.generate_key()
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", key.decode())
    crypto.get_fernet.cache_clear()
    try:
        assert wake(WAKE, ["acme/secret-project"], ["id"])
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT val, is_encrypted FROM variable")).all()
        assert len(rows) == 2
        for stored, encrypted in rows:
            assert encrypted
            assert "secret-project" not in stored
            Fernet(key).decrypt(stored.encode())
        assert list(value(engine)) == ["acme/secret-project"]
        assert not wake(WAKE, ["acme/secret-project"], ["id"])
    finally:
        crypto.get_fernet.cache_clear()


def test_a_database_that_stays_locked_is_given_up(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook_store, "TRY_SECONDS", 0.2)
    with engine.connect() as other:
        other.execute(text("BEGIN IMMEDIATE"))
        with pytest.raises(OperationalError, match="locked"):
            wake(WAKE, ["a/b"], ["id"])
        other.rollback()
    assert value(engine) is None
    assert wake(WAKE, ["a/b"], ["id"])


def test_one_that_is_made_meanwhile_by_another_server_is_used(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = iter([True])

    def first(session: Session, *_: Any) -> None:
        if next(others, False):
            session.rollback()
            assert wake(WAKE, ["c/d"], ["other"])
            session.execute(
                text("INSERT INTO variable (key, val, is_encrypted) VALUES ('agents_wake', '{}', 0)")
            )

    event.listen(Session, "before_flush", first)
    try:
        assert wake(WAKE, ["a/b"], ["id"])
    finally:
        event.remove(Session, "before_flush", first)
    assert set(value(engine)) == {"a/b", "c/d"}


@pytest.mark.parametrize("dialect", [postgresql.dialect(), mysql.dialect()])
def test_rows_are_locked_where_the_database_can(engine: Engine, dialect: Any) -> None:
    locking: list[str] = []

    def note(state: Any) -> None:
        if state.is_select:
            locking.append(str(state.statement.compile(dialect=dialect)))

    event.listen(Session, "do_orm_execute", note)
    try:
        wake(WAKE, ["a/b"], ["id"])
    finally:
        event.remove(Session, "do_orm_execute", note)
    assert len(locking) == 2
    assert all(statement.rstrip().endswith("FOR UPDATE NOWAIT") for statement in locking)
