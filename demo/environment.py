"""What the demo's programs find in their environment: nothing that the caller did not mean to give."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).resolve().parent.parent

_PASSED_ON = frozenset(
    {"LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TMPDIR", "TZ", "USER"}
)

_AGENT_PACKAGES = {"claude_agent_sdk": ("_bundled",), "codex_cli_bin": ("bin", "codex-path")}
"""Python package that brings an agent program → its folders of programs."""


def base_environment(folder: Path) -> dict[str, str]:
    """Return the environment that all parts share.

    A short list is passed on. Everything else stays outside: settings of another Airflow, credentials,
    proxies, and ``PYTHONDONTWRITEBYTECODE``, which would make every start compile Airflow anew.

    :param folder: folder of this demo; its ``home`` is the home of every part.
    """
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    passed = {
        name: value for name, value in os.environ.items() if name in _PASSED_ON or name.startswith("LC_")
    }
    return passed | {
        "HOME": str(home),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), passed.get("PATH") or os.defpath]),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY_ROOT), str(REPOSITORY_ROOT / "agent-image")]),
        "PYTHONUNBUFFERED": "1",
    }


def image_folders() -> list[Path]:
    """Return the folders whose programs stand for the agent image: ours and those of the agent programs."""
    folders = [Path(sys.executable).parent]
    for name, below in _AGENT_PACKAGES.items():
        package = importlib.util.find_spec(name)
        if package and package.origin:
            folders += [Path(package.origin).parent / folder for folder in below]
    return [folder for folder in folders if folder.is_dir()]


def runtime_folders() -> list[Path]:
    """Return the folders that those programs read: Python, its packages and the runner's source."""
    return [Path(sys.base_prefix), Path(sys.prefix), REPOSITORY_ROOT / "agent-image"]
