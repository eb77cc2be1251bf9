from __future__ import annotations

import pytest

from demo.options import Options, OptionsError, read_options

KEY = {"ANTHROPIC_API_KEY": "sk-ant-secret"}


def usable() -> str | None:
    return None


def unusable() -> str | None:
    return "bwrap is not installed"


def never() -> str | None:
    raise AssertionError("the sandbox was asked for")


def test_by_default_there_is_no_account_and_no_sandbox():
    assert read_options([], {}, never) == Options()


@pytest.mark.parametrize("keep", ["1", "yes"])
def test_keep_from_the_environment_or_the_command_line(keep: str):
    assert read_options([], {"KEEP": keep, "MODEL": ""}, never).keep
    assert read_options(["--keep"], {"KEEP": ""}, never).keep
    assert not read_options([], {"KEEP": "0"}, never).keep


def test_a_key_alone_is_not_consent():
    options = read_options([], KEY, never)
    assert options.model == "scripted"
    assert options.anthropic_api_key == ""


def test_the_real_model_needs_a_key():
    with pytest.raises(OptionsError, match="ANTHROPIC_API_KEY"):
        read_options([], {"MODEL": "real", "ANTHROPIC_API_KEY": " "}, usable)


def test_the_real_model_runs_in_a_sandbox_where_there_is_one():
    options = read_options([], {"MODEL": "real", **KEY}, usable)
    assert (options.model, options.sandbox, options.anthropic_api_key) == (
        "real",
        "bubblewrap",
        "sk-ant-secret",
    )


def test_the_other_agent_program_needs_its_own_key():
    assert read_options([], {"AGENT": "codex"}, never) == Options(agent="codex")
    with pytest.raises(OptionsError, match=r"Codex needs a key of OpenAI's API in .* OPENAI_API_KEY"):
        read_options(["--agent", "codex"], {"MODEL": "real", **KEY}, usable)
    options = read_options([], {"AGENT": "codex", "MODEL": "real", **KEY, "OPENAI_API_KEY": "sk-o"}, usable)
    assert (options.anthropic_api_key, options.openai_api_key) == ("", "sk-o")


@pytest.mark.parametrize("variable", ["AGENT", "MODEL"])
def test_an_unknown_value_is_refused_with_those_there_are(variable: str):
    with pytest.raises(OptionsError, match=f"{variable}=other: write {variable}="):
        read_options([], {variable: "other"}, never)


def test_without_a_sandbox_the_real_model_must_be_asked_for_twice():
    with pytest.raises(OptionsError, match=r"(?s)bwrap is not installed.*UNSANDBOXED=1"):
        read_options(["--model", "real"], KEY, unusable)
    options = read_options(["--model", "real"], {**KEY, "UNSANDBOXED": "1"}, unusable)
    assert (options.model, options.sandbox) == ("real", "none")


def test_the_key_is_not_in_the_representation():
    assert "secret" not in repr(read_options([], {"MODEL": "real", **KEY}, usable))


def test_another_model_is_refused():
    with pytest.raises(OptionsError, match="MODEL=scripted or MODEL=real"):
        read_options([], {"MODEL": "cheap"}, never)
