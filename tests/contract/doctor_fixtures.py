"""Fixtures of the tests of doctor and init, as a plugin that they name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from doctor_world import World

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def metadata(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A metadata database with tables, that Airflow in this process uses."""
    from airflow import models, settings
    from airflow.models.base import Base
    from airflow.utils.db import _get_alembic_config
    from alembic import command

    file = tmp_path_factory.mktemp("metadata") / "airflow.db"
    address = f"sqlite:///{file}"
    before = os.environ.get("AIRFLOW__DATABASE__SQL_ALCHEMY_CONN")
    os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = address
    settings.configure_vars()
    settings.configure_orm()
    models.import_all_models()
    Base.metadata.create_all(settings.engine)
    command.stamp(_get_alembic_config(), "heads")
    yield address
    settings.dispose_orm()
    if before is None:
        del os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    else:
        os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"] = before
    settings.configure_vars()
    settings.configure_orm()


@pytest.fixture(scope="module")
def shared_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(tmp_path_factory.mktemp("doctor"))
    world.start()
    yield world
    world.stop()
