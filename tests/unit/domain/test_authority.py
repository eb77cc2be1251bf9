"""Who may object, approve, command."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from airflow_provider_agents.domain.authority import (
    PERMISSIONS,
    approves,
    asks,
    at_least,
    is_bot,
    may_command,
    may_write,
    objects,
)
from airflow_provider_agents.domain.pull_request import Comment, Review, ReviewThread

OURS = frozenset({"agents-review"})


def test_the_order_of_permissions() -> None:
    assert PERMISSIONS == ("READ", "TRIAGE", "WRITE", "MAINTAIN", "ADMIN")
    for at, permission in enumerate(PERMISSIONS):
        assert [at_least(other, permission) for other in PERMISSIONS] == [i >= at for i in range(5)]


@pytest.mark.parametrize(
    ("permission", "writes"),
    [("READ", False), ("TRIAGE", False), ("WRITE", True), ("maintain", True), ("ADMIN", True), (None, False), ("", False), ("NONE", False), ("OWNER", False)],
)  # fmt: skip
def test_may_write(permission: str | None, writes: bool) -> None:
    assert may_write(permission) is writes


@pytest.mark.parametrize(
    ("login", "bot"),
    [("mona", False), ("renovate[bot]", True), ("Evil[BOT]", True), ("dependabot", True), ("ghost", True), ("", True), ("robot", False)],
)  # fmt: skip
def test_is_bot(login: str, bot: bool) -> None:
    assert is_bot(login) is bot


@pytest.mark.parametrize(
    ("values", "allowed"),
    [
        ({}, True),
        ({"can_write": False}, False),
        ({"own": True}, False),
        ({"author": "Agents-Review"}, False),
        ({"author": "helper[bot]"}, False),
        ({"author": "ghost"}, False),
    ],
)
def test_may_command(values: dict[str, Any], allowed: bool) -> None:
    comment = Comment(author="mona", body="/stop", can_write=True)
    assert may_command(dataclasses.replace(comment, **values), OURS) is allowed


@pytest.mark.parametrize(
    ("values", "object_", "approve"),
    [
        ({}, True, True),
        ({"can_write": False}, False, False),
        ({"own": True}, False, False),
        ({"author": "agents-review"}, False, False),
        # An app's objection is the safe direction; its approval is not.
        ({"author": "lint[bot]"}, True, False),
    ],
)
def test_objects_and_approves(values: dict[str, Any], object_: bool, approve: bool) -> None:
    review = dataclasses.replace(Review(author="mona", state="APPROVED", can_write=True), **values)
    assert approves(review, OURS) is approve
    assert objects(review, OURS) is False
    against = dataclasses.replace(review, state="CHANGES_REQUESTED")
    assert objects(against, OURS) is object_
    assert approves(against, OURS) is False


@pytest.mark.parametrize("state", ["COMMENTED", "DISMISSED", "PENDING"])
def test_other_reviews_say_neither(state: Any) -> None:
    review = Review(author="mona", state=state, can_write=True)
    assert not objects(review)
    assert not approves(review)


@pytest.mark.parametrize(
    ("values", "counts"),
    [({}, True), ({"can_write": False}, False), ({"own": True}, False), ({"author": "agents-review"}, False)],
)
def test_asks(values: dict[str, Any], counts: bool) -> None:
    first = dataclasses.replace(Comment(author="mona", body="Why?", can_write=True), **values)
    later = Comment(author="mona", body="Still", can_write=True)
    thread = ReviewThread(node_id="T", path="a.py", line=1, comments=(first, later))
    assert asks(thread, OURS) is counts
    assert not asks(dataclasses.replace(thread, comments=()), OURS)
