"""Webhooks of several API servers on PostgreSQL: what waits for a lock, is refused one, or comes twice."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from compose_world import postgres_programs, tools

from demo.processes import free_port
from tests.contract import webhook_world  # noqa: F401  (sets AIRFLOW_HOME)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Engine

WAKE = "agents_wake"
START_SECONDS = 30.0
SERVERS, DELIVERIES = 8, 25


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Return the URL of a database of a PostgreSQL that runs for this module."""
    programs, folder = postgres_programs(), Path(tempfile.mkdtemp(prefix="webhooks-postgres-"))
    as_user: list[str] = []
    if os.geteuid() == 0:  # it refuses to run as root
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        shutil.chown(folder, "postgres", "postgres")
    data, port = folder / "data", free_port()
    command = [
        *as_user,
        str(programs / "initdb"),
        "-D",
        str(data),
        "-U",
        "airflow",
        "-A",
        "trust",
        "--no-sync",
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=START_SECONDS, cwd=folder)
    command = [*as_user, str(programs / "postgres"), "-D", str(data), "-h", "127.0.0.1", "-p", str(port)]
    command += ["-c", "unix_socket_directories=", "-c", "fsync=off"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
    try:
        yield f"postgresql+psycopg2://airflow@127.0.0.1:{port}/postgres"
    finally:
        process.terminate()
        process.wait(START_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def engine(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty metadata database, as far as it is needed."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(tools())])
    from airflow import settings
    from airflow.models import Variable
    from sqlalchemy import create_engine
    from sqlalchemy.exc import OperationalError
    from sqlalchemy.orm import sessionmaker

    made = create_engine(server, isolation_level="READ COMMITTED", pool_size=SERVERS)
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            made.connect().close()
            break
        except OperationalError:
            assert time.monotonic() < end, "PostgreSQL did not start"
            time.sleep(0.05)
    tables = [Variable.metadata.tables["team"], Variable.metadata.tables["variable"]]
    Variable.metadata.create_all(made, tables=tables)
    monkeypatch.setattr(settings, "NonScopedSession", sessionmaker(made))
    yield made
    Variable.metadata.drop_all(made, tables=tables)
    made.dispose()


def value(engine: Engine, key: str = WAKE) -> Any:
    from airflow.models import Variable
    from sqlalchemy import select
    from sqlalchemy.orm import Session

    with Session(engine) as session:
        return json.loads(session.scalars(select(Variable).where(Variable.key == key)).one().val)


def test_nothing_is_lost_and_nothing_counts_twice(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_agents.plugins import webhook_store

    monkeypatch.setattr(webhook_store, "TRY_SECONDS", 60.0)
    woken: list[bool] = []
    start = threading.Barrier(SERVERS)

    def serve(number: int) -> None:
        start.wait(10)
        for delivery in range(DELIVERIES):
            # Every second delivery comes to all of the servers at about the same time.
            own = f"{delivery}" if delivery % 2 else f"{number}-{delivery}"
            woken.append(webhook_store.wake(WAKE, [f"a/b{number}#{delivery + 1}"], [own]))

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(SERVERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    expected = SERVERS * (DELIVERIES // 2 + 1) + DELIVERIES // 2
    assert len(woken) == SERVERS * DELIVERIES
    assert woken.count(True) == len(value(engine)) == len(value(engine, f"{WAKE}_seen")) == expected


def test_a_row_that_stays_locked_is_waited_for_and_then_given_up(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    from airflow_provider_agents.plugins import webhook_store

    assert webhook_store.wake(WAKE, ["a/b"], ["first"])
    monkeypatch.setattr(webhook_store, "TRY_SECONDS", 0.3)
    with engine.connect() as other:
        other.execute(text("SELECT * FROM variable FOR UPDATE"))
        begun = time.monotonic()
        with pytest.raises(OperationalError, match="could not obtain lock"):
            webhook_store.wake(WAKE, ["c/d"], ["second"])
        assert 0.3 <= time.monotonic() - begun < 3
        monkeypatch.setattr(webhook_store, "TRY_SECONDS", 10.0)
        release = threading.Timer(0.3, other.rollback)
        release.start()
        assert webhook_store.wake(WAKE, ["c/d"], ["second"])
        release.join()
    assert set(value(engine)) == {"a/b", "c/d"}
