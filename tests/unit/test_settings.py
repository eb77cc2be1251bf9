from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_agents import settings
from airflow_provider_agents.get_provider_info import get_provider_info

if TYPE_CHECKING:
    import pytest


def test_an_option_that_is_not_set_has_its_documented_default() -> None:
    for name, option in get_provider_info()["config"]["agents"]["options"].items():
        assert settings.text(name) == option["default"], name


def test_text_is_read_without_white_space_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", "  agent:1 \n")
    assert settings.text("image") == "agent:1"


def test_an_unknown_option_has_the_callers_default() -> None:
    assert settings.text("no_such_option", "x") == "x"
    assert settings.text("no_such_option") == ""
    assert settings.number("no_such_option", 3) == 3


def test_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__AGENTS__MAX_ROUNDS", "8")
    assert settings.number("max_rounds", 5) == 8
