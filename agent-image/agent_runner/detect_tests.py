"""Which command runs a repository's tests, found from its files."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_MAX_BYTES = 1024 * 1024
_PYTHON_FILES = ("pytest.ini", "tox.ini", "setup.cfg", "pyproject.toml")


def detect_tests(checkout: Path, has_pytest: Callable[[], bool]) -> str | None:
    """Return the shell command line that runs the repository's tests, or ``None`` where none is found.

    :param checkout: root of the repository.
    :param has_pytest: says whether ``python -m pytest`` works in the image.
    """
    if _makefile_has_test(checkout):
        return "make test"
    if _is_python(checkout):
        return "python -m pytest" if has_pytest() else "python -m unittest"
    if _package_has_test(checkout):
        return "npm test"
    for name, command in (
        ("go.mod", "go test ./..."),
        ("Cargo.toml", "cargo test"),
        ("pom.xml", "mvn -q test"),
    ):
        if (checkout / name).is_file():
            return command
    return None


def _makefile_has_test(checkout: Path) -> bool:
    # The order in which GNU make looks for them.
    for name in ("GNUmakefile", "makefile", "Makefile"):
        if (checkout / name).is_file():
            return re.search(r"^test[ \t]*:(?![:=]*=)", _text(checkout / name), re.MULTILINE) is not None
    return False


def _is_python(checkout: Path) -> bool:
    return any((checkout / name).is_file() for name in _PYTHON_FILES) or any(
        path.is_file() for folder in ("tests", "test") for path in (checkout / folder).glob("*.py")
    )


def _package_has_test(checkout: Path) -> bool:
    try:
        package = json.loads(_text(checkout / "package.json") or "null")
    except (ValueError, RecursionError):
        return False
    scripts = package.get("scripts") if isinstance(package, dict) else None
    command = scripts.get("test") if isinstance(scripts, dict) else None
    # What `npm init` writes into every new package is no test.
    return isinstance(command, str) and bool(command.strip()) and "no test specified" not in command


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES).decode(errors="replace")
    except OSError:
        return ""
