"""Makes what Airflow's services and the cluster are started with: keys, passwords, connections, ``airflow.cfg``.

Run once at each start, before everything else. What is random is made at the first start and kept; what comes
from the environment is written anew. Nothing secret is printed.
"""

from __future__ import annotations

import argparse
import base64
import configparser
import io
import json
import os
import secrets
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

USER = "admin"
GITHUB_API_URL = "https://api.github.com"
ANTHROPIC_URL = "https://api.anthropic.com"
OPENAI_URL = "https://api.openai.com"
DEMO_MODEL_KEY = "sk-ant-stand-in"
ANSWER_SECONDS = 3.0

MODEL_KEYS = {
    "ANTHROPIC_API_KEY": "anthropic-api-key",
    "CLAUDE_CODE_OAUTH_TOKEN": "anthropic-oauth-token",
    "OPENAI_API_KEY": "openai-api-key",
}
"""Environment variable → key of the Kubernetes secret that the gateways mount."""

_OWNER_ONLY = 0o600
_ROOTS_GROUP = 0o640
"""The user of Airflow's image is in group 0, whatever its number is."""
_WRITABLE = 0o660


class SettingsError(Exception):
    """The services cannot be started as asked; the message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outside:
    """The GitHub and the models to work with, and the credentials for them."""

    mode: str
    """``demo`` or ``real``; the cluster's network policy depends on it."""
    github_url: str
    """Root of the REST API."""
    github_token: str = field(repr=False)
    model_keys: Mapping[str, str] = field(repr=False)
    """Key of the Kubernetes secret → value."""
    anthropic_url: str = ANTHROPIC_URL
    openai_url: str = OPENAI_URL
    poll_interval: int = 30
    """Seconds between two looks at a pull request."""


def main(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> int:
    """Write all files; return the exit code."""
    given = _parse(arguments)
    try:
        outside = demo_outside(given.demo_github, given.demo_model) or real_outside(environment)
        kept = keep_random(given.kept)
        write_all(given, outside, kept)
    except (SettingsError, OSError) as error:
        sys.stderr.write(f"\n{error}\n\n")
        return 1
    sys.stdout.write(
        f"Works with {outside.github_url} ({outside.mode}).\n"
        f"Log in as {USER}; the password: docker compose exec api-server cat {given.settings}/passwords.json\n"
    )
    return 0


def demo_outside(github: Path, model_url: str) -> Outside | None:
    """Return the stand-ins where they are up, ``None`` where this is no demo.

    The ready file alone says nothing: it stays in its volume after the stand-ins are gone.

    :param github: ready file of the stand-in for GitHub, with ``url`` and ``token``.
    :param model_url: root of the stand-in for the models.
    """
    try:
        ready = json.loads(github.read_text())
        url, token = str(ready["url"]), str(ready["token"])
    except (OSError, ValueError, LookupError, TypeError):
        return None
    if not _answers(f"{url}/api/v3/meta"):
        return None
    return Outside(
        mode="demo",
        github_url=f"{url}/api/v3",
        github_token=token,
        model_keys={"anthropic-api-key": DEMO_MODEL_KEY},
        anthropic_url=model_url,
        openai_url=model_url,
        poll_interval=5,
    )


def real_outside(environment: Mapping[str, str]) -> Outside:
    """Return what the environment names.

    :raise SettingsError: a credential is missing.
    """

    def given(name: str) -> str:
        return environment.get(name, "").strip()

    model_keys = {key: given(name) for name, key in MODEL_KEYS.items() if given(name)}
    missing = []
    if not given("GITHUB_TOKEN"):
        missing.append(
            "GITHUB_TOKEN: opens the repositories to work in; docs/doctor.md lists its permissions"
        )
    if not model_keys:
        missing.append(f"one of {', '.join(MODEL_KEYS)}: pays for the model")
    if missing:
        raise SettingsError(
            "Missing in the environment of `docker compose`, or in a file .env beside docker-compose.yaml:\n"
            + "\n".join(f"  {line}" for line in missing)
            + "\nThen start again. Without any account: docker compose --profile demo up --build"
        )
    return Outside(
        mode="real",
        github_url=_root(given("GITHUB_API_URL")) or GITHUB_API_URL,
        github_token=given("GITHUB_TOKEN"),
        model_keys=model_keys,
        anthropic_url=_root(given("ANTHROPIC_BASE_URL")) or ANTHROPIC_URL,
        openai_url=_root(given("OPENAI_BASE_URL")) or OPENAI_URL,
    )


def keep_random(file: Path) -> dict[str, str]:
    """Return keys and passwords, made at the first start.

    :raise SettingsError: the file is damaged. It is not replaced: what the keys encrypted would be lost.
    """
    try:
        kept = json.loads(file.read_text())
    except FileNotFoundError:
        kept = {
            "fernet_key": base64.urlsafe_b64encode(os.urandom(32)).decode(),
            "secret_key": secrets.token_hex(32),
            # Of at least 64 bytes, and the same for all services.
            "jwt_secret": secrets.token_hex(64),
            "database_password": secrets.token_hex(24),
            "user_password": secrets.token_urlsafe(15),
        }
        _write(file, json.dumps(kept), _OWNER_ONLY)
    except ValueError:
        raise SettingsError(
            f"{file} is damaged. Without its keys nobody can read the connections in Airflow's database: restore the "
            "volume, or begin anew with `docker compose down --volumes`, which deletes all data."
        ) from None
    return dict(kept)


def airflow_config(
    outside: Outside,
    kept: Mapping[str, str],
    *,
    database: str,
    passwords: Path,
    connections: Path,
    agents: Path,
) -> str:
    """Return ``airflow.cfg`` with all that is secret or depends on what is outside.

    :param database: ``HOST:PORT/NAME`` of PostgreSQL.
    :param passwords: file with the login.
    :param connections: file with Airflow's connections.
    :param agents: folder of ``[agents] config_path``.
    """
    config = configparser.ConfigParser(interpolation=None)
    backend = "airflow.secrets.local_filesystem.LocalFilesystemBackend"
    config.read_dict(
        {
            "core": {
                "fernet_key": kept["fernet_key"],
                "simple_auth_manager_users": f"{USER}:admin",
                "simple_auth_manager_passwords_file": str(passwords),
            },
            "api": {"secret_key": kept["secret_key"]},
            "api_auth": {"jwt_secret": kept["jwt_secret"]},
            "database": {
                "sql_alchemy_conn": f"postgresql+psycopg2://airflow:{kept['database_password']}@{database}"
            },
            "secrets": {
                "backend": backend,
                "backend_kwargs": json.dumps({"connections_file_path": str(connections)}),
            },
            "agents": {
                "anthropic_url": outside.anthropic_url,
                "openai_url": outside.openai_url,
                "poll_interval": str(outside.poll_interval),
                "config_path": str(agents),
            },
        }
    )
    text = io.StringIO()
    config.write(text)
    return text.getvalue()


def write_all(given: argparse.Namespace, outside: Outside, kept: Mapping[str, str]) -> None:
    """Write the files of Airflow, of PostgreSQL and of the cluster, each only where it is needed."""
    settings: Path = given.settings
    agents = settings / "agents"
    connections = settings / "connections.json"
    passwords = settings / "passwords.json"
    github = {"conn_type": "github", "host": outside.github_url, "password": outside.github_token}
    settings.mkdir(parents=True, exist_ok=True)
    settings.chmod(0o770)
    agents.mkdir(exist_ok=True)
    agents.chmod(0o770)
    _write(connections, json.dumps({"github_default": github}), _ROOTS_GROUP)
    # Airflow opens this one for writing, too.
    _write(passwords, json.dumps({USER: kept["user_password"]}) + "\n", _WRITABLE)
    config = airflow_config(
        outside, kept, database=given.database, passwords=passwords, connections=connections, agents=agents
    )
    _write(settings / "airflow.cfg", config, _ROOTS_GROUP)
    _write(given.database_password, kept["database_password"], _OWNER_ONLY)
    _write_credentials(given.credentials, outside)


def _write_credentials(folder: Path, outside: Outside) -> None:
    """Write one file for each key of the gateways' secret, and no other one."""
    keys = folder / "keys"
    keys.mkdir(parents=True, exist_ok=True)
    values = {"github-token": outside.github_token, **outside.model_keys}
    for old in keys.iterdir():
        if old.name not in values:
            old.unlink()
    for name, value in values.items():
        _write(keys / name, value, _OWNER_ONLY)
    _write(folder / "mode", outside.mode, _OWNER_ONLY)


def _write(file: Path, text: str, mode: int) -> None:
    """Write a file as a whole, with its mode from its first byte on."""
    file.parent.mkdir(parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(text)
    new.chmod(mode)
    new.replace(file)


def _root(url: str) -> str:
    """Return an address without its end: ``/v1`` is often part of such a variable.

    :raise SettingsError: it is no address.
    """
    if url and not url.startswith(("https://", "http://")):
        raise SettingsError(f"{url!r} is no address: write one that starts with https://.")
    return url.rstrip("/").removesuffix("/v1")


def _answers(url: str) -> bool:
    """Say whether a server answers, whatever it says."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=ANSWER_SECONDS):
            return True
    except urllib.error.HTTPError as error:
        error.close()
        return True
    except OSError:
        return False


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="settings", description=__doc__)
    for name, what in (
        ("--settings", "folder of the files that Airflow reads"),
        ("--kept", "file with the random keys and passwords"),
        ("--database-password", "file that PostgreSQL reads"),
        ("--credentials", "folder of the files for the agents' cluster"),
        ("--demo-github", "ready file of the stand-in for GitHub, there or not"),
    ):
        parser.add_argument(name, type=Path, required=True, help=what)
    parser.add_argument("--demo-model", required=True, help="root address of the stand-in for the models")
    parser.add_argument("--database", required=True, help="HOST:PORT/NAME of PostgreSQL")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
