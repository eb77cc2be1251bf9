"""JSON schemas of the files that people write, for their editors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from airflow_provider_agents.domain.merge_rules import MEANINGS, NEVER, RULES, UNLIMITED
from airflow_provider_agents.domain.pr_rule import PullRequestRule
from airflow_provider_agents.domain.repository_settings import AgentsFile, Repositories
from airflow_provider_agents.domain.rollback_definition import RollbackDefinition
from airflow_provider_agents.domain.source_definition import SourceDefinition

if TYPE_CHECKING:
    from pydantic import BaseModel

SCHEMAS: dict[str, tuple[type[BaseModel], str]] = {
    "repositories": (Repositories, "Settings of repositories: repositories.yaml"),
    "agents": (AgentsFile, "Settings of a repository of its own: .agents.yaml"),
    "ticket-source": (SourceDefinition, "A source of tickets: tickets/<name>.yaml"),
    "pull-request-rule": (PullRequestRule, "A rule for pull requests: rules/<name>.yaml"),
    "rollback": (RollbackDefinition, "A rollback: rollbacks/<name>.yaml"),
}
"""Name of a schema: its model and its title."""

_OF_THE_FORM = ("section", "unset", "format")


def schema_text(name: str) -> str:
    """Return the JSON schema of a file.

    :param name: one of :data:`SCHEMAS`.
    """
    model, title = SCHEMAS[name]
    schema = model.model_json_schema()
    for part in (schema, *schema.get("$defs", {}).values()):
        _tidy(part)
    if "Limits" in schema.get("$defs", {}):
        _without(schema["$defs"]["Limits"], UNLIMITED)
    if model is AgentsFile:
        _without(schema, NEVER)
        for key, described in schema["properties"].items():
            described["description"] += f" Merged with repositories.yaml: {MEANINGS[RULES[key]]}."
        _drop_unused(schema)
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _tidy(part: dict[str, Any]) -> None:
    for key, described in part.get("properties", {}).items():
        for word in _OF_THE_FORM:
            described.pop(word, None)
        if key == "thinking":
            described["anyOf"] = [
                *described["anyOf"],
                {"type": "integer", "minimum": 1_000, "maximum": 999_999},
            ]


def _without(part: dict[str, Any], keys: tuple[str, ...]) -> None:
    part["properties"] = {key: value for key, value in part["properties"].items() if key not in keys}


def _drop_unused(schema: dict[str, Any]) -> None:
    """Drop the definitions that nothing refers to any more."""
    while True:
        text = json.dumps(schema)
        unused = [name for name in schema.get("$defs", {}) if f'"#/$defs/{name}"' not in text]
        if not unused:
            break
        for name in unused:
            del schema["$defs"][name]
    if not schema.get("$defs"):
        schema.pop("$defs", None)
