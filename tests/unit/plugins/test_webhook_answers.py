"""The table of answers in ``docs/webhooks.md`` has every answer of the endpoints, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from airflow_provider_agents.domain.webhook_events import GITHUB_EVENTS, LINEAR_TYPES
from airflow_provider_agents.plugins import webhook_endpoints
from airflow_provider_agents.plugins.webhook_endpoints import BODY_SECONDS, MOST_BYTES
from airflow_provider_agents.plugins.webhook_limits import BURST, MOST_AT_ONCE, PER_SECOND

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/webhooks.md").read_text()
SOURCE = Path(webhook_endpoints.__file__).read_text()
BY_FASTAPI = {405}


def test_each_status_has_its_rows() -> None:
    answers = PAGE.partition("\n## Answers\n")[2].partition("\n## ")[0]
    rows = {int(status) for status in re.findall(r"^\| (\d{3})\b", answers, re.MULTILINE)}
    refusals = {int(status) for status in re.findall(r"RefusedError\(\s*(\d{3})\b", SOURCE)}
    assert rows == refusals | BY_FASTAPI | {200, 202}


def test_the_limits_are_those_of_the_code() -> None:
    assert MOST_BYTES == 1024 * 1024
    assert "more than 1 MiB" in PAGE
    assert f"did not come within {BODY_SECONDS:g} s" in PAGE
    assert f"within {webhook_endpoints.ANSWER_SECONDS:g} s" in PAGE
    assert f"More than {PER_SECOND:g} requests a second for long, or {BURST} at once" in PAGE
    assert f"({MOST_AT_ONCE} bodies or calls at once)" in PAGE


def test_each_event_that_wakes_is_to_be_subscribed_to() -> None:
    """The services' pages write them in words: ``check_run`` is *Check runs*."""
    words = PAGE.lower()
    for event in GITHUB_EVENTS:
        word = event.replace("_", " ")
        assert re.search(rf"\b{word.removesuffix('s')}", words), event
    for kind in LINEAR_TYPES:
        word = re.sub(r"(?<!^)([A-Z])", r" \1", kind).lower()
        assert f"*{word}s*" in words, kind
