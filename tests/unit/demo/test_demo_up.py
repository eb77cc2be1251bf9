"""``make up``: what it needs, what it hands on, and that its data is held by one process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from demo.airflow_stack import AirflowStack
from demo.environment import base_environment
from demo.options import OptionsError
from demo.processes import Parts
from demo.up import InUseError, kept_folder
from demo.up_options import DEFAULT_PORT, read_up_options

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = {"GITHUB_TOKEN": "ghp_secret"}
CLAUDE = {"ANTHROPIC_API_KEY": "sk-ant-secret"}
CODEX = {"OPENAI_API_KEY": "sk-secret"}


def usable() -> str | None:
    return None


def unusable() -> str | None:
    return "bwrap is not installed"


def test_everything_that_is_missing_is_named_at_once():
    with pytest.raises(OptionsError) as caught:
        read_up_options({"GITHUB_TOKEN": " "}, usable)
    for name in ("GITHUB_TOKEN", "ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "OPENAI_API_KEY"):
        assert name in str(caught.value)


def test_the_least_that_is_needed():
    options = read_up_options({**TOKEN, **CLAUDE}, usable)
    assert options.hosts.secret() == {"github-token": "ghp_secret", "anthropic-api-key": "sk-ant-secret"}
    settings = options.hosts.settings()
    assert json.loads(settings["AIRFLOW_CONN_GITHUB_DEFAULT"]) == {
        "conn_type": "github", "host": "https://api.github.com", "password": "ghp_secret",
    }  # fmt: skip
    assert settings["AIRFLOW__AGENTS__ANTHROPIC_URL"] == "https://api.anthropic.com"
    assert (options.agent, options.sandbox, options.port) == ("claude", "bubblewrap", DEFAULT_PORT)
    assert "secret" not in repr(options)


@pytest.mark.parametrize(
    ("environment", "agent"),
    [
        (CODEX, "codex"),
        ({"CLAUDE_CODE_OAUTH_TOKEN": "t"}, "claude"),
        ({**CLAUDE, **CODEX}, "claude"),
        ({**CLAUDE, **CODEX, "AGENT": "codex"}, "codex"),
        ({**CLAUDE, "AGENT": "one-of-the-image"}, "one-of-the-image"),
    ],
)
def test_the_agent_program_is_one_whose_credential_is_there(environment: dict[str, str], agent: str):
    assert read_up_options({**TOKEN, **environment}, usable).agent == agent


def test_a_program_without_its_credential_is_refused():
    with pytest.raises(OptionsError, match=r"AGENT=codex needs OPENAI_API_KEY.*Claude Code"):
        read_up_options({**TOKEN, **CLAUDE, "AGENT": "codex"}, usable)


@pytest.mark.parametrize(
    ("connection", "token"),
    [
        ('{"conn_type": "github", "password": "from-json"}', "from-json"),
        ("github://:from%2Furi@", "from/uri"),
        ('{"conn_type": "github", "extra": {"app_id": "1"}}', ""),
    ],
)
def test_a_connection_of_airflow_is_handed_on_as_it_is(connection: str, token: str):
    hosts = read_up_options({"AIRFLOW_CONN_GITHUB_DEFAULT": connection, **CLAUDE}, usable).hosts
    assert hosts.settings()["AIRFLOW_CONN_GITHUB_DEFAULT"] == connection
    assert hosts.secret().get("github-token", "") == token


def test_addresses_are_roots():
    environment = {
        **TOKEN, **CODEX,
        "GITHUB_API_URL": "https://github.example/api/v3/",
        "OPENAI_BASE_URL": "https://proxy.example/openai/v1",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:1/",
    }  # fmt: skip
    settings = read_up_options(environment, usable).hosts.settings()
    assert json.loads(settings["AIRFLOW_CONN_GITHUB_DEFAULT"])["host"] == "https://github.example/api/v3"
    assert settings["AIRFLOW__AGENTS__OPENAI_URL"] == "https://proxy.example/openai"
    assert settings["AIRFLOW__AGENTS__ANTHROPIC_URL"] == "http://127.0.0.1:1"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OPENAI_BASE_URL": "proxy.example"}, "OPENAI_BASE_URL=proxy.example"),
        ({"PORT": "eighty"}, "PORT=eighty"),
        ({"PORT": "70000"}, "PORT=70000"),
        ({"AIRFLOW_CONN_GITHUB_DEFAULT": "{", "GITHUB_TOKEN": ""}, "AIRFLOW_CONN_GITHUB_DEFAULT is not JSON"),
    ],
)
def test_what_is_wrong_is_named(environment: dict[str, str], said: str):
    with pytest.raises(OptionsError, match=said):
        read_up_options({**TOKEN, **CLAUDE, **environment}, usable)


def test_without_a_sandbox_it_must_be_asked_for_twice():
    with pytest.raises(OptionsError, match=r"(?s)bwrap is not installed.*make up UNSANDBOXED=1"):
        read_up_options({**TOKEN, **CLAUDE}, unusable)
    assert read_up_options({**TOKEN, **CLAUDE, "UNSANDBOXED": "1"}, unusable).sandbox == "none"


def test_the_data_is_closed_to_others_unknown_to_git_and_held_once(tmp_path: Path):
    with kept_folder(tmp_path / "data") as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / ".gitignore").read_text() == "*\n"
        with pytest.raises(InUseError, match="end it first"), kept_folder(folder):
            raise AssertionError("held twice")
        (folder / "kept").touch()
    with kept_folder(folder):
        assert (folder / "kept").exists()


def test_keys_and_login_are_made_once(tmp_path: Path):
    def airflow(**more: bool) -> AirflowStack:
        return AirflowStack(Parts(tmp_path), tmp_path / "airflow", base_environment(tmp_path), **more)

    first, second, open_to_all = airflow(login=True), airflow(login=True), airflow()
    assert first.login
    assert first.login == second.login
    assert first.login.password not in repr(first.login)
    assert open_to_all.login is None
    assert (tmp_path / "airflow/kept-secrets.json").stat().st_mode & 0o777 == 0o600
