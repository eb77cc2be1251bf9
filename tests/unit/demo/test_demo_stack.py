"""The stack without Airflow's start: what it gives to its parts, and how it ends."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from demo import airflow_stack
from demo.airflow_stack import AirflowStack
from demo.environment import base_environment, image_folders
from demo.processes import PartFailedError, Parts
from demo.stack import DemoStack

if TYPE_CHECKING:
    from pathlib import Path

FOREIGN = {
    "AIRFLOW_HOME": "/somewhere/else",
    "AIRFLOW__CORE__EXECUTOR": "CeleryExecutor",
    "AIRFLOW_CONN_GITHUB_DEFAULT": "of-the-caller",
    "ANTHROPIC_API_KEY": "sk-ant-secret",
    "GITHUB_TOKEN": "ghp_secret",
    "HTTPS_PROXY": "http://proxy.example",
    "PYTHONDONTWRITEBYTECODE": "1",
}


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)


def test_nothing_of_the_callers_environment_comes_through(foreign: None, tmp_path: Path):
    environment = base_environment(tmp_path)
    assert not FOREIGN.keys() & environment.keys()
    assert environment["HOME"] == str(tmp_path / "home")
    assert (tmp_path / "home").is_dir()


def test_the_programs_of_this_environment_come_first(tmp_path: Path):
    first = base_environment(tmp_path)["PATH"].split(":")[0]
    assert first == str(image_folders()[0]) == sys.executable.rpartition("/")[0]


# Stands for Airflow: shows what it was given; each component behaves as BEHAVIOUR says.
FAKE_AIRFLOW = """#!/bin/sh
echo "$@" >> "$AIRFLOW_HOME/commands"
env > "$AIRFLOW_HOME/env"
{behaviour}
"""


def fake_airflow(tmp_path: Path, behaviour: str) -> str:
    program = tmp_path / "fake-python"
    program.write_text(FAKE_AIRFLOW.format(behaviour=behaviour))
    program.chmod(0o755)
    return str(program)


def stack(tmp_path: Path, parts: Parts, behaviour: str, **more) -> AirflowStack:
    return AirflowStack(
        parts,
        tmp_path / "airflow",
        base_environment(tmp_path),
        python=fake_airflow(tmp_path, behaviour),
        **more,
    )


def test_settings_reach_airflow_and_everything_is_on_loopback(foreign: None, tmp_path: Path):
    parts = Parts(tmp_path)
    airflow = stack(tmp_path, parts, "", dags_folders={"mine": tmp_path / "dags"})
    airflow.prepare()
    parts["db-migrate"].wait_exit(20)
    seen = dict(
        line.split("=", 1) for line in (tmp_path / "airflow" / "env").read_text().splitlines() if "=" in line
    )
    assert seen["AIRFLOW_HOME"] == str(tmp_path / "airflow")
    assert seen["AIRFLOW__CORE__EXECUTOR"] == "LocalExecutor"
    assert seen["AIRFLOW__API__HOST"] == "127.0.0.1"
    assert len(seen["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64
    assert "AIRFLOW_CONN_GITHUB_DEFAULT" not in seen
    bundles = json.loads(seen["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"])
    assert [(bundle["name"], bundle["kwargs"]) for bundle in bundles] == [
        ("agents", {}),
        ("mine", {"path": str(tmp_path / "dags")}),
    ]
    assert (tmp_path / "airflow" / "commands").read_text() == "-m airflow db migrate\n"
    parts.stop()


def test_a_component_that_ends_at_its_start_is_named(tmp_path: Path):
    parts = Parts(tmp_path)
    airflow = stack(
        tmp_path, parts, 'case "$3" in db) ;; triggerer) echo "no greenlet"; exit 7;; *) exec sleep 60;; esac'
    )
    try:
        with pytest.raises(PartFailedError, match=r"(?s)triggerer: ended with exit code 7.*no greenlet"):
            airflow.start({})
    finally:
        parts.stop(0.5)


def test_a_database_that_cannot_be_made_is_told(tmp_path: Path):
    parts = Parts(tmp_path)
    airflow = stack(tmp_path, parts, "echo 'disk full'; exit 1")
    with pytest.raises(PartFailedError, match=r"(?s)db-migrate: ended with exit code 1.*disk full"):
        airflow.start({})
    parts.stop()


def test_an_airflow_that_does_not_get_healthy_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(airflow_stack, "START_SECONDS", 0.5)
    parts = Parts(tmp_path)
    airflow = stack(tmp_path, parts, 'test "$3" = db || exec sleep 60')
    try:
        with pytest.raises(PartFailedError, match="api-server: not healthy within"):
            airflow.start({})
    finally:
        parts.stop(0.5)


def test_a_lost_port_is_chosen_again_unless_it_was_asked_for(tmp_path: Path):
    behaviour = (
        'case "$3" in db) ;; api-server) echo "address already in use"; exit 1;; *) exec sleep 60;; esac'
    )
    tries = {}
    for port in (0, 1):
        folder = tmp_path / str(port)
        folder.mkdir()
        parts = Parts(folder)
        airflow = stack(folder, parts, behaviour, port=port)
        try:
            with pytest.raises(PartFailedError, match="address already in use"):
                airflow.start({})
        finally:
            parts.stop(0.5)
        tries[port] = (folder / "airflow" / "commands").read_text().count("airflow api-server")
    assert tries == {0: airflow_stack.START_TRIES, 1: 1}


def test_when_one_part_does_not_start_all_others_are_ended(tmp_path: Path):
    stack = DemoStack(
        tmp_path,
        airflow_python=fake_airflow(tmp_path, "exec sleep 60"),
        forge_arguments=("--no-such-option",),
    )
    with pytest.raises(PartFailedError, match=r"(?s)github: ended with exit code 2.*--no-such-option"):
        stack.start()
    processes = stack.processes.values()
    assert len(processes) >= 2
    assert not [part.name for part in processes if part.running]
