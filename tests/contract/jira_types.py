"""The published types of Jira Cloud's API: those that the npm package ``jira.js`` makes from Atlassian's description."""

from __future__ import annotations

import re
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from fetched import fetched, give_up

PACKAGE = "jira.js@5.4.0"
CACHE = Path(__file__).resolve().parents[2] / ".cache" / "jira-types"
SECONDS = 60

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_INTERFACE = re.compile(r"export interface (\w+)(?: extends ([^{]+))? \{\n(.*?)\n\}", re.DOTALL)
_MEMBER = re.compile(r"^  (\w+)(\?)?:\s(.*?)(?=^  \w+\??:\s|\Z)", re.DOTALL | re.MULTILINE)
_CALL = re.compile(r"url: [`'](/rest/api/3/[^`']*)[`'],\s*method: '(\w+)',(.*?)\n    \};", re.DOTALL)


@dataclass(frozen=True)
class Member:
    type: str
    optional: bool


def types() -> Path:
    """Return the folder ``version3`` of the package's sources; fetched once, with npm."""
    return fetched(CACHE, Path(__file__), _fetch) / "version3"


def _fetch() -> None:
    if shutil.which("npm") is None:
        give_up(f"npm, which fetches the types of {PACKAGE}, is not installed.")
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        try:
            subprocess.run(
                ["npm", "pack", "--silent", PACKAGE],
                cwd=folder,
                check=True,
                timeout=SECONDS,
                capture_output=True,
            )
        except subprocess.TimeoutExpired:
            give_up(f"npm did not fetch {PACKAGE} within {SECONDS} s.")
        except subprocess.CalledProcessError as error:
            give_up(f"npm could not fetch {PACKAGE}: {error.stderr.decode()[-500:]}")
        with tarfile.open(next(Path(folder).glob("*.tgz"))) as package:
            package.extractall(folder, filter="data")
        shutil.rmtree(CACHE / "version3", ignore_errors=True)
        (Path(folder) / "package" / "src" / "version3").rename(CACHE / "version3")


@cache
def interface(name: str) -> dict[str, Member] | None:
    """Return the members of a type; ``None``: it is no interface of the package."""
    path = types() / "models" / f"{name[0].lower()}{name[1:]}.ts"
    if not path.exists():
        return None
    for found in _INTERFACE.finditer(_COMMENT.sub("", path.read_text())):
        if found[1] == name:
            members = _MEMBER.findall(found[3] + "\n")
            return {
                one: Member(kind.strip().rstrip(";").strip(), bool(maybe)) for one, maybe, kind in members
            }
    return None


@cache
def calls() -> dict[tuple[str, str], frozenset[str]]:
    """Return all calls of the API, parts of their paths that vary as ``*``, with the names that they take."""
    found: dict[tuple[str, str], frozenset[str]] = {}
    for path in types().glob("*.ts"):
        for url, method, rest in _CALL.findall(path.read_text()):
            names = re.findall(r"^ {8}(\w+)(?::|,)", rest, re.MULTILINE)
            found[(method, re.sub(r"\$\{[^}]*\}", "*", url))] = frozenset(names)
    return found


def misfit(value: Any, kind: str, where: str = "") -> str:
    """Return where a value does not fit a type; empty: it fits. What may be left out may be null, too."""
    where = where or kind
    if value is None or kind in ("any", "unknown") or kind.startswith(("{", "Record<", "Omit<")):
        return ""
    if kind.endswith("[]"):
        if not isinstance(value, list):
            return f"{where} is no list"
        return next((fault for one in value if (fault := misfit(one, kind[:-2], f"{where}[]"))), "")
    if "|" in kind:
        parts = [part.strip() for part in kind.split("|") if part.strip() and part.strip() != "null"]
        faults = [misfit(value, part, where) for part in parts]
        return "" if "" in faults else faults[0]
    simple = {"string": str, "number": int, "boolean": bool}
    if kind in simple:
        fits = isinstance(value, simple[kind]) and (kind != "number" or not isinstance(value, bool))
        return "" if fits else f"{where} is no {kind}: {value!r}"
    if kind.startswith("'"):
        return "" if value == kind.strip("'") else f"{where} is not {kind}"
    members = interface(kind)
    if members is None:
        return f"{where}: there is no type {kind}"
    if not isinstance(value, dict):
        return f"{where} is no object"
    for name, one in value.items():
        if name not in members:
            return f"{where} has no {name!r}"
        if fault := misfit(one, members[name].type, f"{where}.{name}"):
            return fault
    return ""
