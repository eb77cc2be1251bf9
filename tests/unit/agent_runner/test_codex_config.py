"""The configuration file: valid TOML whatever is in it, and closed."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from agent_runner.agents.codex_config import KEY_VARIABLE, PROVIDER, config_toml
from agent_runner.contract import AgentSettings
from agent_runner.mcp_servers import CALL_SECONDS, START_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://127.0.0.1:4711/n0nce"


def test_everything_goes_to_the_gateway_and_ends(tmp_path: Path) -> None:
    settings = AgentSettings(program="codex", effort="high")
    config = tomllib.loads(config_toml(URL, tmp_path / "repo", settings, "Rules."))
    assert config["model_provider"] == PROVIDER
    provider = config["model_providers"][PROVIDER]
    assert provider["base_url"] == f"{URL}/openai/v1"
    assert provider["env_key"] == KEY_VARIABLE
    assert 0 < provider["request_max_retries"] < 10
    assert 0 < provider["stream_max_retries"] < 10
    assert config["features"]["unbounded_connection_retries"] is False
    assert config["developer_instructions"] == "Rules."
    assert config["model_reasoning_effort"] == "high"
    assert KEY_VARIABLE in config["shell_environment_policy"]["exclude"]


def test_without_an_effort_the_programs_own_counts(tmp_path: Path) -> None:
    assert "model_reasoning_effort" not in config_toml(URL, tmp_path, AgentSettings(), "")


def test_mcp_servers_of_the_platform(tmp_path: Path) -> None:
    config = tomllib.loads(config_toml(URL, tmp_path, AgentSettings(mcp_servers=("docs", "b-2")), ""))
    times = {"startup_timeout_sec": START_SECONDS, "tool_timeout_sec": CALL_SECONDS}
    assert config["mcp_servers"] == {name: {"url": f"{URL}/mcp/{name}", **times} for name in ("docs", "b-2")}


def test_the_checkout_is_not_trusted_by_any_of_its_names(tmp_path: Path) -> None:
    real = tmp_path / 'real "folder"'
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to(real)
    config = tomllib.loads(config_toml(URL, link, AgentSettings(), ""))
    assert {name: entry["trust_level"] for name, entry in config["projects"].items()} == {
        str(link): "untrusted", str(real.resolve()): "untrusted",
    }  # fmt: skip


@given(st.text(st.characters(blacklist_categories=())))
def test_any_text_is_a_text_of_the_file(text: str) -> None:
    from pathlib import Path

    config = tomllib.loads(config_toml(URL, Path("/x"), AgentSettings(), text))
    assert config["developer_instructions"] == text.encode(errors="replace").decode()
