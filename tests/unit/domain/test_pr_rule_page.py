"""``docs/rules-files.md`` is held to the code: every key is there, with its default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.pr_rule_manifest import RuleManifest
from airflow_provider_agents.domain.yaml_source import load_yaml, validate

PAGE = (Path(__file__).parents[3] / "docs" / "rules-files.md").read_text()


def keys(model: type[BaseModel], before: str = "") -> set[str]:
    found = set()
    for name, info in model.model_fields.items():
        path = f"{before}{info.alias or name}"
        inner = [
            kind for kind in (info.annotation, *getattr(info.annotation, "__args__", ())) if is_model(kind)
        ]
        found |= {key for kind in inner for key in keys(kind, f"{path}.")} or {path}
    return found


def is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def test_the_page_names_every_key_with_its_default() -> None:
    block = PAGE.split("## All keys")[1].split("```yaml\n")[1].split("```")[0]
    document = load_yaml(block, "rules-files.md")
    rule, faults = validate(PullRequestRule, document)
    assert faults == []
    assert rule == PullRequestRule(instruction="Merge what is green.")
    written = {".".join(map(str, path)) for path in document.lines}
    assert keys(PullRequestRule) <= written


def test_the_page_maps_every_key_of_a_manifest() -> None:
    table = PAGE.split("## Manifests of ai-devops-operator")[1]
    named = set(re.findall(r"`((?:metadata|spec|status)[\w.]*)`", table)) | {"spec.selector.labels.exclude"}
    assert keys(RuleManifest) - {"apiVersion", "kind"} == named - {"metadata"}
