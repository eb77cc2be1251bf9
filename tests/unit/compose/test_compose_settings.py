"""``deploy/compose/settings.py``: what is made once, what is written anew, and what is refused."""

from __future__ import annotations

import configparser
import http.server
import importlib.util
import json
import stat
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRIPT = Path(__file__).resolve().parents[3] / "deploy" / "compose" / "settings.py"
REAL = {"GITHUB_TOKEN": "ghp_real", "ANTHROPIC_API_KEY": "sk-ant-real"}
MODEL = "http://172.30.98.11:4000"


@pytest.fixture(scope="module")
def settings() -> Any:
    spec = importlib.util.spec_from_file_location("compose_settings", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Run:
    """Runs the script on one set of volumes."""

    def __init__(self, module: Any, folder: Path) -> None:
        self._module = module
        self.folder = folder

    def __call__(self, **environment: str) -> int:
        folder = self.folder
        arguments = {
            "settings": folder / "settings",
            "kept": folder / "kept" / "random.json",
            "database-password": folder / "database" / "password",
            "credentials": folder / "credentials",
            "demo-github": folder / "stand-ins" / "github.json",
            "demo-model": MODEL,
            "database": "postgres:5432/airflow",
        }
        return int(self._module.main([f"--{name}={value}" for name, value in arguments.items()], environment))

    def text(self, name: str) -> str:
        return (self.folder / name).read_text()

    @property
    def keys(self) -> dict[str, str]:
        return {file.name: file.read_text() for file in (self.folder / "credentials" / "keys").iterdir()}

    @property
    def config(self) -> configparser.ConfigParser:
        parser = configparser.ConfigParser(interpolation=None)
        parser.read_string(self.text("settings/airflow.cfg"))
        return parser

    @property
    def connection(self) -> dict[str, str]:
        return dict(json.loads(self.text("settings/connections.json"))["github_default"])


@pytest.fixture
def run(settings: Any, tmp_path: Path) -> Run:
    return Run(settings, tmp_path)


@pytest.fixture
def stand_in(run: Run) -> Iterator[str]:
    """A server in the place of the stand-in for GitHub, with its ready file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(401)

        def log_message(self, *_: Any) -> None: ...

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        (run.folder / "stand-ins").mkdir()
        ready = {"url": url, "token": "ghp_demo"}
        (run.folder / "stand-ins" / "github.json").write_text(json.dumps(ready))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield url
        server.shutdown()
        thread.join()


def test_everything_that_is_missing_is_named_at_once(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run() == 1
    said = capsys.readouterr().err
    assert "GITHUB_TOKEN" in said
    assert "ANTHROPIC_API_KEY" in said
    assert "--profile demo" in said
    assert not (run.folder / "settings").exists()


@pytest.mark.parametrize(
    ("given", "missing"),
    [({"GITHUB_TOKEN": "ghp_x"}, "one of ANTHROPIC_API_KEY"), ({"OPENAI_API_KEY": "sk-x"}, "GITHUB_TOKEN:")],
)
def test_one_of_two_is_not_enough(
    run: Run, given: dict[str, str], missing: str, capsys: pytest.CaptureFixture[str]
):
    assert run(**given) == 1
    said = capsys.readouterr().err
    assert [part in said for part in ("one of ANTHROPIC_API_KEY", "GITHUB_TOKEN:")].count(True) == 1
    assert missing in said


def test_blanks_are_no_credential(run: Run):
    assert run(GITHUB_TOKEN=" ", ANTHROPIC_API_KEY="\n") == 1


def test_a_real_start(run: Run):
    assert run(**REAL) == 0
    assert run.connection == {
        "conn_type": "github",
        "host": "https://api.github.com",
        "password": "ghp_real",
    }
    assert run.keys == {"github-token": "ghp_real", "anthropic-api-key": "sk-ant-real"}
    assert run.text("credentials/mode") == "real"
    password = run.text("database/password")
    url = run.config["database"]["sql_alchemy_conn"]
    assert url == f"postgresql+psycopg2://airflow:{password}@postgres:5432/airflow"
    assert run.config["agents"]["anthropic_url"] == "https://api.anthropic.com"
    assert len(bytes.fromhex(run.config["api_auth"]["jwt_secret"])) >= 64


def test_addresses_of_ones_own(run: Run):
    own = {"GITHUB_API_URL": "https://ghe.example/api/v3/", "ANTHROPIC_BASE_URL": "https://llm.example/v1"}
    assert run(**REAL, **own) == 0
    assert run.connection["host"] == "https://ghe.example/api/v3"
    assert run.config["agents"]["anthropic_url"] == "https://llm.example"


def test_an_address_without_a_scheme_is_refused(run: Run, capsys: pytest.CaptureFixture[str]):
    assert run(**REAL, GITHUB_API_URL="ghe.example") == 1
    assert "https://" in capsys.readouterr().err


def test_what_is_random_stays_and_what_is_given_changes(run: Run):
    run(**REAL)
    before = {
        name: run.text(name) for name in ("settings/passwords.json", "database/password", "kept/random.json")
    }
    fernet_key = run.config["core"]["fernet_key"]
    assert run(GITHUB_TOKEN="ghp_new", CLAUDE_CODE_OAUTH_TOKEN="sk-ant-oat") == 0
    assert {name: run.text(name) for name in before} == before
    assert run.config["core"]["fernet_key"] == fernet_key
    assert run.connection["password"] == "ghp_new"
    assert run.keys == {"github-token": "ghp_new", "anthropic-oauth-token": "sk-ant-oat"}


def test_two_installations_share_nothing(settings: Any, tmp_path: Path):
    runs = [Run(settings, tmp_path / name) for name in "ab"]
    for one in runs:
        one(**REAL)
    kept = [json.loads(one.text("kept/random.json")) for one in runs]
    assert all(kept[0][name] != kept[1][name] for name in kept[0])


def test_damaged_keys_are_not_replaced(run: Run, capsys: pytest.CaptureFixture[str]):
    run(**REAL)
    file = run.folder / "kept" / "random.json"
    file.write_text(file.read_text()[:40])
    damaged = file.read_text()
    assert run(**REAL) == 1
    assert "down --volumes" in capsys.readouterr().err
    assert file.read_text() == damaged


def test_a_start_that_was_cut_short_is_made_good(run: Run):
    run(**REAL)
    (run.folder / "settings" / "airflow.cfg.new").write_text("[core")
    assert run(**REAL) == 0
    assert run.config["core"]["fernet_key"]


def test_only_those_who_need_them_can_read_the_files(run: Run):
    run(**REAL)
    modes = {
        str(path.relative_to(run.folder)): stat.S_IMODE(path.stat().st_mode)
        for path in run.folder.rglob("*")
        if path.is_file()
    }
    assert modes == {
        "settings/airflow.cfg": 0o640,
        "settings/connections.json": 0o640,
        "settings/passwords.json": 0o660,
        "kept/random.json": 0o600,
        "database/password": 0o600,
        "credentials/mode": 0o600,
        "credentials/keys/github-token": 0o600,
        "credentials/keys/anthropic-api-key": 0o600,
    }


def test_nothing_secret_is_printed(run: Run, capsys: pytest.CaptureFixture[str]):
    run(**REAL)
    said = "".join(capsys.readouterr())
    secret = [*REAL.values(), *json.loads(run.text("kept/random.json")).values()]
    assert not [value for value in secret if value in said]
    assert "passwords.json" in said


def test_the_demo_never_uses_real_credentials(run: Run, stand_in: str):
    assert run(**REAL) == 0
    assert run.connection == {"conn_type": "github", "host": f"{stand_in}/api/v3", "password": "ghp_demo"}
    assert run.keys == {"github-token": "ghp_demo", "anthropic-api-key": "sk-ant-stand-in"}
    assert run.config["agents"]["anthropic_url"] == MODEL
    assert run.text("credentials/mode") == "demo"


def test_the_demo_needs_no_credential(run: Run, stand_in: str):
    assert run() == 0


def test_what_an_earlier_demo_left_is_no_demo(run: Run):
    (run.folder / "stand-ins").mkdir()
    ready = {"url": "http://127.0.0.1:1", "token": "ghp_demo"}
    (run.folder / "stand-ins" / "github.json").write_text(json.dumps(ready))
    assert run(**REAL) == 0
    assert run.text("credentials/mode") == "real"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"url": "http://127.0.0.1:1"'])
def test_a_ready_file_that_is_none(run: Run, text: str):
    (run.folder / "stand-ins").mkdir()
    (run.folder / "stand-ins" / "github.json").write_text(text)
    assert run(**REAL) == 0
    assert run.text("credentials/mode") == "real"
