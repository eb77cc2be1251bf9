"""A fake Airflow, and the commands as a shell would call them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from airflow_provider_agents.cli import api_access, api_client
from tests.unit.cli.command_line import Ended, call_line
from tests.unit.cli.fake_airflow import TOKEN, FakeAirflow

Call = Callable[..., Ended]


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeAirflow]:
    with FakeAirflow() as fake:
        monkeypatch.setenv(api_access.URL, fake.url)
        monkeypatch.setenv(api_access.TOKEN, TOKEN)
        for name in (api_access.USERNAME, api_access.PASSWORD):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr(api_client, "_PAUSES", (0.0, 0.0))
        yield fake


@pytest.fixture
def call() -> Call:
    """Run a command line."""
    return call_line
