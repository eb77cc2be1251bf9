"""The manifests in ``deploy/``, as they are written; kustomize renders them in the contract tests."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[3] / "deploy"
BASE = DEPLOY / "base"
COMPONENTS = DEPLOY / "components"

Json = dict[str, Any]


def objects(*files: Path) -> list[Json]:
    """Return the objects in files, in their order."""
    return copy.deepcopy([item for file in files for item in _read(file)])


@functools.cache
def _read(file: Path) -> list[Json]:
    return [item for item in yaml.safe_load_all(file.read_text()) if item]


def base() -> list[Json]:
    """Return the objects of the base."""
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    return objects(*(BASE / name for name in listed))


def one(items: list[Json], kind: str, name: str) -> Json:
    """Return the one object of a kind and name."""
    (found,) = [item for item in items if item["kind"] == kind and item["metadata"]["name"] == name]
    return found


def added_rules(component: str) -> list[Json]:
    """Return the rules that a component adds to the role."""
    patches = yaml.safe_load((COMPONENTS / component / "kustomization.yaml").read_text())["patches"]
    (patch,) = patches
    operations = yaml.safe_load(patch["patch"])
    assert patch["target"] == {"kind": "Role", "name": "airflow-agents"}
    assert all(each["op"] == "add" and each["path"] == "/rules/-" for each in operations)
    return [each["value"] for each in operations]


def rights(rules: list[Json]) -> set[tuple[str, str]]:
    """Return what rules allow, as verb and resource (``secrets/NAME`` where they name one object)."""
    found = set()
    for rule in rules:
        for resource in rule["resources"]:
            for name in rule.get("resourceNames") or [""]:
                found |= {(verb, f"{resource}={name}" if name else resource) for verb in rule["verbs"]}
    return found
