"""Init leads from nothing to a deployment that doctor finds in order, changes nothing twice, and shows no secret."""

from __future__ import annotations

import argparse
import base64
import getpass
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from doctor_world import (
    ANTHROPIC,
    CANARIES,
    FORGE,
    NAMESPACE,
    REPOSITORY,
    World,
    fill_metadata,
)

from airflow_provider_agents.cli.answers import Answers, MissingAnswerError, RefusedAnswerError
from airflow_provider_agents.cli.definition import get_agents_cli_commands
from airflow_provider_agents.cli.init import init
from airflow_provider_agents.cli.registry import CHECKS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytest_plugins = ["doctor_fixtures"]

SECRET = f"/api/v1/namespaces/{NAMESPACE}/secrets/agent-secrets"


@pytest.fixture
def empty(shared_world: World, metadata: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """Services that are there, and an Airflow that knows nothing of them."""
    shared_world.restore()
    shared_world.cluster.change("secrets/agent-secrets", None)
    for name in [name for name in os.environ if name.startswith(("AIRFLOW__AGENTS__", "AIRFLOW_CONN_"))]:
        monkeypatch.delenv(name)
    for name in ("AGENTS_INIT_GITHUB_TOKEN", "AGENTS_INIT_MODEL_CREDENTIAL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AIRFLOW__AGENTS__ANTHROPIC_URL", shared_world.model.url)
    monkeypatch.setenv("AIRFLOW__AGENTS__NAMESPACE", NAMESPACE)
    monkeypatch.setenv("AIRFLOW__AGENTS__IMAGE", "registry.example.com/agent:1")
    # Init sets these for its own run of doctor; here they must not outlive the test.
    for option in ("CONFIG_PATH", "CREDENTIALS", "AGENT"):
        monkeypatch.setenv(f"AIRFLOW__AGENTS__{option}", "x")
        monkeypatch.delenv(f"AIRFLOW__AGENTS__{option}")
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "server")
    fill_metadata()
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(json.dumps(shared_world.kubeconfig()))
    return shared_world


@pytest.fixture
def run(empty: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Run the command as Airflow's parser calls it; return exit code and all that it printed."""

    def call(*flags: str) -> tuple[int, str]:
        (group,) = get_agents_cli_commands()
        command = next(c for c in group.subcommands if c.name == "init")
        parser = argparse.ArgumentParser()
        for arg in command.args:
            arg.add_to_parser(parser)
        with pytest.raises(SystemExit) as ended:
            init(parser.parse_args(list(flags)))
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out + printed.err

    return call


@pytest.fixture
def flags(empty: World, tmp_path: Path) -> list[str]:
    """All that is needed but secrets."""
    return [
        "--non-interactive", "--github-host", f"{empty.github.url}/api/v3",
        "--kubernetes", str(tmp_path / "kubeconfig"), "--agent-credential", "anthropic-api-key",
        "--repository", REPOSITORY, "--config-path", str(tmp_path / "config"),
    ]  # fmt: skip


@pytest.fixture
def secrets(empty: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AGENTS_INIT_GITHUB_TOKEN", FORGE)
    monkeypatch.setenv("AGENTS_INIT_MODEL_CREDENTIAL", ANTHROPIC)


def connection(name: str) -> Any:
    from airflow.sdk import BaseHook

    return BaseHook.get_connection(name)


def values(world: World) -> dict[str, str]:
    data = world.cluster.objects[SECRET]["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def assert_no_secret(shown: str) -> None:
    assert not [canary for canary in CANARIES if canary in shown]


@pytest.mark.usefixtures("secrets")
def test_from_nothing_to_a_deployment_in_order(
    empty: World, run: Callable[..., tuple[int, str]], flags: list[str], tmp_path: Path
) -> None:
    code, shown = run(*flags)
    assert code == 0, shown
    assert f"{len(CHECKS)} checks" in shown
    assert " failed" not in shown.rpartition("checks:")[2]
    assert connection("github_default").password == FORGE
    assert connection("kubernetes_default").extra_dejson["kube_config_path"] == str(tmp_path / "kubeconfig")
    assert values(empty) == {"github-token": FORGE, "anthropic-api-key": ANTHROPIC}
    defaults = yaml.safe_load((tmp_path / "config" / "repositories.yaml").read_text())
    assert defaults == {
        "defaults": {"repository": REPOSITORY},
        "repositories": {REPOSITORY: {"base_branch": "main", "merge_method": "squash"}},
    }
    assert f"AIRFLOW__AGENTS__CONFIG_PATH={tmp_path / 'config'}" in shown
    assert_no_secret(shown)
    assert_no_secret((tmp_path / "config" / "repositories.yaml").read_text())


@pytest.mark.usefixtures("secrets")
def test_a_second_run_changes_nothing_and_says_so(
    empty: World, run: Callable[..., tuple[int, str]], flags: list[str], tmp_path: Path
) -> None:
    run(*flags, "--no-doctor")
    file = tmp_path / "config" / "repositories.yaml"
    before = (json.dumps(empty.cluster.objects), file.read_bytes(), file.stat().st_mtime_ns)
    code, shown = run(*flags, "--no-doctor")
    assert code == 0
    assert "Nothing was changed" in shown
    assert "stored" not in shown
    assert (json.dumps(empty.cluster.objects), file.read_bytes(), file.stat().st_mtime_ns) == before


@pytest.mark.usefixtures("secrets")
def test_what_is_there_is_kept_but_for_force(
    empty: World,
    run: Callable[..., tuple[int, str]],
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run(*flags, "--no-doctor")
    file = tmp_path / "config" / "repositories.yaml"
    file.write_text("# ours\n" + file.read_text() + "    max_rounds: 2  # few\n")
    new = empty.github.add_token("agent", "ghp_canary_newer_11")
    monkeypatch.setenv("AGENTS_INIT_GITHUB_TOKEN", new)
    _, shown = run(*flags, "--no-doctor", "--merge-method", "rebase")
    assert connection("github_default").password == FORGE
    _, shown = run(*flags, "--no-doctor", "--merge-method", "rebase", "--force")
    assert connection("github_default").password == new
    assert values(empty)["github-token"] == new
    assert file.read_text().startswith("# ours\n")
    assert file.read_text().endswith("    max_rounds: 2  # few\n")
    assert yaml.safe_load(file.read_text()) == {
        "defaults": {"repository": REPOSITORY},
        "repositories": {
            REPOSITORY: {"base_branch": "main", "merge_method": "rebase", "max_rounds": 2},
        },
    }
    assert new not in shown


@pytest.mark.usefixtures("secrets")
def test_credentials_as_connections(
    empty: World, run: Callable[..., tuple[int, str]], flags: list[str]
) -> None:
    code, shown = run(*flags, "--credentials", "connections")
    assert code == 0, shown
    assert connection("anthropic_default").password == ANTHROPIC
    assert SECRET not in empty.cluster.objects
    assert "AIRFLOW__AGENTS__CREDENTIALS=connections" in shown
    assert_no_secret(shown)


def test_an_app_instead_of_a_token(
    empty: World,
    run: Callable[..., tuple[int, str]],
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    key = tmp_path / "app.pem"
    key.write_text(empty.use_app(monkeypatch))
    monkeypatch.delenv("AIRFLOW_CONN_GITHUB_DEFAULT")
    monkeypatch.setenv("AGENTS_INIT_MODEL_CREDENTIAL", ANTHROPIC)
    code, shown = run(*flags, "--github-app-id", "77", "--github-key-path", str(key))
    assert code == 0, shown
    assert "the App agents-app[bot]" in shown
    assert values(empty) == {"anthropic-api-key": ANTHROPIC}


@pytest.mark.parametrize(
    ("variable", "value", "code", "words"),
    [
        ("AGENTS_INIT_GITHUB_TOKEN", "", 2, "AGENTS_INIT_GITHUB_TOKEN"),
        ("AGENTS_INIT_GITHUB_TOKEN", "ghp_canary_wrong_5", 1, "GitHub does not accept it"),
        ("AGENTS_INIT_MODEL_CREDENTIAL", "sk-ant-canary-wrong-6", 1, "refuses anthropic-api-key"),
        ("AGENTS_INIT_MODEL_CREDENTIAL", "", 2, "AGENTS_INIT_MODEL_CREDENTIAL"),
    ],
)
@pytest.mark.usefixtures("secrets")
def test_a_missing_or_refused_secret_stops_it(
    run: Callable[..., tuple[int, str]],
    flags: list[str],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv(variable, value)
    found, shown = run(*flags)
    assert (found, words in shown) == (code, True), shown
    assert not value or value not in shown


@pytest.mark.usefixtures("secrets")
def test_a_namespace_that_is_not_there_is_named_with_its_remedy(
    empty: World, run: Callable[..., tuple[int, str]], flags: list[str]
) -> None:
    empty.cluster.change("", None)
    code, shown = run(*flags)
    assert code == 1
    assert "cannot be stored" in shown
    assert "docs/deploy.md" in shown


@pytest.mark.usefixtures("secrets")
def test_a_secret_that_airflow_may_not_touch_is_left_to_a_person(
    empty: World, run: Callable[..., tuple[int, str]], flags: list[str]
) -> None:
    empty.cluster.forbidden = {SECRET}
    code, shown = run(*flags)
    assert code == 0, shown
    assert "kubectl create secret generic agent-secrets" in shown
    assert_no_secret(shown)


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--repository", "acme/nothing", "does not see acme/nothing"),
        ("--repository", "nothing", "owner/name"),
        ("--kubernetes", "/nonexistent", "leads to no cluster"),
        ("--github-host", "ftp://x", "http(s)"),
    ],
)
def test_a_wrong_answer_is_refused_at_once(
    run: Callable[..., tuple[int, str]], flags: list[str], flag: str, value: str, words: str
) -> None:
    code, shown = run(*flags, flag, value)
    assert (code, words in shown) == (1, True), shown


@pytest.mark.usefixtures("secrets")
def test_the_home_folder_is_written_out(
    run: Callable[..., tuple[int, str]], flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    code, shown = run(*flags, "--kubernetes", "~/kubeconfig", "--no-doctor")
    assert code == 0, shown
    assert connection("kubernetes_default").extra_dejson["kube_config_path"] == str(tmp_path / "kubeconfig")


@pytest.mark.usefixtures("secrets")
@pytest.mark.parametrize("text", ["a: [", "just a text", ""])
def test_a_kubeconfig_that_is_none_is_refused(
    run: Callable[..., tuple[int, str]], flags: list[str], tmp_path: Path, text: str
) -> None:
    (tmp_path / "kubeconfig").write_text(text)
    code, shown = run(*flags)
    assert (code, "leads to no cluster" in shown) == (1, True), shown


@pytest.mark.usefixtures("secrets")
def test_a_connection_that_hides_the_stored_one_is_named(
    empty: World, run: Callable[..., tuple[int, str]], flags: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hiding = empty.github_connection(password="ghp_older")
    monkeypatch.setenv("AIRFLOW_CONN_GITHUB_DEFAULT", json.dumps(hiding))
    code, shown = run(*flags, "--force", "--no-doctor")
    assert (code, "AIRFLOW_CONN_GITHUB_DEFAULT" in shown) == (1, True), shown


# Answers of a person.


def test_a_person_is_led_through_it(
    empty: World, run: Callable[..., tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    typed = {
        "REST URL": f"{empty.github.url}/api/v3", "Number of a GitHub App": "",
        "Where the cluster is": str(tmp_path / "kubeconfig"), "Kind of the model": "",
        "Folder": str(tmp_path / "config"), "First repository": REPOSITORY, "Branch": "", "How": "", "Shell": "",
    }  # fmt: skip
    hidden = {"GitHub token": ["ghp_canary_typo_8", FORGE], "Value of anthropic-api-key": [ANTHROPIC]}

    def read(prompt: str) -> str:
        asked.append(prompt)
        return next(answer for question, answer in typed.items() if prompt.startswith(question))

    def read_hidden(prompt: str) -> str:
        asked.append(prompt)
        return next(answers.pop(0) for question, answers in hidden.items() if prompt.startswith(question))

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr(getpass, "getpass", read_hidden)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    code, shown = run()
    assert code == 0, shown
    assert "GitHub does not accept it" in shown
    assert "ghp_canary_typo_8" not in shown + "".join(asked)
    assert_no_secret(shown + "".join(asked))
    assert values(empty) == {"github-token": FORGE, "anthropic-api-key": ANTHROPIC}

    asked.clear()
    monkeypatch.setenv("AIRFLOW__AGENTS__CONFIG_PATH", str(tmp_path / "config"))
    code, shown = run("--no-doctor")
    assert (code, asked) == (0, [])
    assert "Nothing was changed" in shown


def test_a_person_is_asked_again_after_a_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = iter(["wrong", "right"])
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(typed))
    said: list[str] = []

    def check(value: str) -> None:
        if value != "right":
            raise RefusedAnswerError("not that one")

    answers = Answers(interactive=True, say=said.append)
    assert answers.secret("Key", variable="AGENTS_INIT_NONE", check=check) == "right"
    assert said == ["  not that one"]


def test_a_person_is_not_asked_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(prompt: str) -> str:
        asked.append(prompt)
        return "wrong"

    def refuse(value: str) -> None:
        raise RefusedAnswerError("no")

    monkeypatch.setattr("builtins.input", read)
    with pytest.raises(RefusedAnswerError):
        Answers(interactive=True, say=str).text("Where", flag="--where", given=None, check=refuse)
    assert len(asked) == 3


def test_an_empty_answer_takes_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: "")
    answers = Answers(interactive=True, say=str)
    assert answers.text("Branch", flag="--base-branch", given=None, default="main") == "main"


def test_the_end_of_the_input_names_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    def end(prompt: str) -> str:
        raise EOFError

    monkeypatch.setattr("builtins.input", end)
    with pytest.raises(MissingAnswerError, match="--where"):
        Answers(interactive=True, say=str).text("Where", flag="--where", given=None)
