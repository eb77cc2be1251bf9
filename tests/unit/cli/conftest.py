"""A fake Airflow, and the commands as a shell would call them."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from airflow_provider_agents.cli import api_access, api_client
from airflow_provider_agents.cli.definition_runs import get_run_commands
from tests.unit.cli.fake_airflow import TOKEN, FakeAirflow


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


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
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """Run a command line."""

    def run(*line: str) -> Ended:
        parser = argparse.ArgumentParser("airflow agents")
        commands = parser.add_subparsers(required=True)
        for command in get_run_commands():
            sub = commands.add_parser(command.name)
            for arg in command.args:
                arg.add_to_parser(sub)
            sub.set_defaults(func=command.func)

        def main() -> None:
            args = parser.parse_args(line)
            args.func(args)

        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return Ended(int(ended.value.code or 0), shown.out, shown.err)

    return run
