"""FIDELITY.md says what the stand-in serves and where it differs: held to the code where that can be done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import demo.github
from demo.github import graphql, rest_code, rest_issues, rest_labels, rest_pulls
from demo.github.app_tokens import AppTokens
from demo.github.rest import PREFIX
from demo.github.server import StandInGitHub
from demo.github.webhook_payloads import EVENTS

DOCUMENT = Path(demo.github.__file__).with_name("FIDELITY.md")
TEXT = DOCUMENT.read_text()


def section(title):
    found = re.search(rf"^## {re.escape(title)}$(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"FIDELITY.md has no section {title!r}"
    return found[1]


def listed(title):
    return re.findall(r"^- `([^`]+)`", section(title), re.MULTILINE)


def rows(title):
    lines = [line for line in section(title).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


async def served_rest():
    async with StandInGitHub(None) as server:
        app = [(route.method, route.path) for route in AppTokens(server.forge).routes()]
    own = [
        (m, PREFIX + p)
        for m, p, _ in (*rest_issues.ROUTES, *rest_labels.ROUTES, *rest_pulls.ROUTES, *rest_code.ROUTES)
    ]
    # A pattern of a placeholder, as in {id:\d+}, is of no interest to readers.
    return {
        f"{m} {re.sub(r':[^{}]*(?:{[^}]*})?[^{}]*}', '}', p.removeprefix(PREFIX))}" for m, p in [*app, *own]
    }


async def test_rest_endpoints_are_all_listed_and_no_others():
    names = listed("REST endpoints")
    assert names == sorted(set(names), key=lambda name: name.partition(" ")[::-1])
    assert set(names) == await served_rest()


def test_mutations_are_all_listed_and_no_others():
    served = graphql.load_schema().mutation_type.fields
    assert listed("GraphQL mutations") == sorted(served)


def test_webhook_events_are_all_listed_and_no_others():
    assert listed("Webhook events") == sorted(EVENTS)


@pytest.mark.parametrize("title", ["Differences", "Taken from memory"])
def test_every_row_names_a_source(title):
    table = rows(title)
    assert len(table) > 5
    for row in table:
        assert len(row) == 4, row
        assert re.search(r"https://docs\.github\.com/|schema|memory|seen|of ours", row[3]), row


def test_what_is_from_memory_is_not_among_what_is_known():
    assert not [row for row in rows("Differences") if "memory" in row[3]]
    assert all("memory" in row[3] for row in rows("Taken from memory"))
