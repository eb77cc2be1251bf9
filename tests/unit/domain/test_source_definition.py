"""What a definition of a source of tickets has to say, and what nobody could mean."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from airflow_provider_agents.domain.source_definition import SourceDefinition
from airflow_provider_agents.domain.yaml_source import load_yaml, validate

WORKS_IN = [{"repository": "acme/shop"}]
TRACKERS: list[dict[str, Any]] = [
    {"source": "linear", "teams": ["ENG"], "works_in": WORKS_IN},
    {"source": "jira", "jql": "project = SHOP", "works_in": WORKS_IN},
]
trackers = pytest.mark.parametrize("tracker", TRACKERS, ids=["linear", "jira"])


@trackers
@pytest.mark.parametrize(
    "rules",
    [
        None,
        {},
        {"merge": {"users": ["lead"]}},
        {"start": {}},
        {"start": {"permission": "write"}},
        {"start": {"association": ["owner", "collaborator"]}},
    ],
)
def test_a_tracker_has_to_say_who_may_ask(tracker: dict[str, Any], rules: dict[str, Any] | None) -> None:
    """It knows no right to a repository, so that the default would let nobody in, in silence."""
    values = tracker if rules is None else {**tracker, "authority": rules}
    document = load_yaml(yaml.safe_dump(values), "tickets/eng.yaml")
    made, (fault,) = validate(SourceDefinition, document)
    assert made is None
    assert "authority.start" in fault
    assert "association: [member]" in fault


@trackers
@pytest.mark.parametrize("start", [{"teams": ["ENG"]}, {"users": ["a@b.c"]}, {"association": ["Member"]}])
def test_whoever_of_a_tracker_may_ask(tracker: dict[str, Any], start: dict[str, Any]) -> None:
    made = SourceDefinition.model_validate({**tracker, "authority": {"start": start}})
    assert made.authority.merge.permission == "write"


@trackers
@pytest.mark.parametrize("action", ["approve", "steer", "merge"])
@pytest.mark.parametrize("who", [{"users": ["lead@example.com"]}, {"teams": ["developers"]}])
def test_what_is_done_at_the_pull_request_is_not_for_names_of_a_tracker(
    tracker: dict[str, Any], action: str, who: dict[str, Any]
) -> None:
    rules = {"start": {"association": ["member"]}, action: who}
    with pytest.raises(ValidationError, match=f"authority.{action}.*GitHub"):
        SourceDefinition.model_validate({**tracker, "authority": rules})
    fitting = {"users": ["mona"], "teams": ["acme/leads"], "permission": "maintain"}
    SourceDefinition.model_validate({**tracker, "authority": {**rules, action: fitting}})


def test_github_needs_no_rules_of_its_own() -> None:
    SourceDefinition.model_validate({"source": "github", "repositories": ["acme/shop"]})
    nobody = {"source": "github", "repositories": ["acme/shop"], "authority": {"start": {}}}
    assert not SourceDefinition.model_validate(nobody).authority.start.users
