"""Who may object, approve, command."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_agents.domain.authority import (
    PERMISSIONS,
    admits,
    approves,
    asks,
    at_least,
    is_bot,
    may,
    may_command,
    may_write,
    named_teams,
    objects,
    who_may,
)
from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing, Who
from airflow_provider_agents.domain.pull_request import Comment, Review, ReviewThread

if TYPE_CHECKING:
    from airflow_provider_agents.domain.authority_rules import Action

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


# Rules


def standing(**facts: Any) -> Standing:
    return Standing(**({"login": "mona"} | facts))


@pytest.mark.parametrize(
    ("who", "person", "named"),
    [
        (Who(permission="write"), standing(permission="write"), True),
        (Who(permission="write"), standing(permission="admin"), True),
        (Who(permission="Write"), standing(permission="triage"), False),
        (Who(permission="read"), standing(), False),
        (Who(teams=("Acme/Core",)), standing(teams=frozenset({"acme/core"})), True),
        (Who(teams=("acme/core",)), standing(teams=frozenset({"acme/docs"}), permission="admin"), False),
        (Who(association=("member",)), standing(association="member"), True),
        (Who(association=("owner",)), standing(association="member"), False),
        (Who(users=("MONA",)), standing(), True),
        (Who(users=("mona@example.org",)), standing(names=frozenset({"Mona@Example.org"})), True),
        (Who(users=("olga",)), standing(permission="admin"), False),
        (Who(), standing(permission="admin", association="owner"), False),
        # A bot has no right but by its name; a deleted account none at all.
        (Who(permission="read"), standing(is_bot=True, permission="admin"), False),
        (Who(permission="read"), standing(login="x[bot]", permission="admin"), False),
        (Who(users=("x[bot]",)), standing(login="x[bot]", is_bot=True), True),
        (Who(users=("ghost",), permission="read"), standing(login="Ghost", permission="admin"), False),
        (Who(users=("",), permission="read"), standing(login="", permission="admin"), False),
    ],
)
def test_whom_a_rule_names(who: Who, person: Standing, named: bool) -> None:
    assert admits(who, person) is named


def test_each_action_has_its_own_rule() -> None:
    rules = AuthorityRules(start=Who(users=("mona",)), merge=Who(users=("olga",)))
    actions: list[Action] = ["start", "approve", "steer", "merge", "context"]
    assert [may(standing(), action, rules) for action in actions] == [True, False, False, False, False]
    writer = standing(login="wanda", permission="write")
    assert [may(writer, action, rules) for action in actions] == [False, True, True, False, True]


@pytest.mark.parametrize(
    ("who", "words"),
    [
        (Who(permission="write"), "people with write access"),
        (Who(), "nobody"),
        (Who(teams=("a/b", "a/c")), "members of a/b or a/c"),
        (
            Who(permission="admin", association=("owner", "member"), users=("mona",)),
            "people with admin access, the owner, members or mona",
        ),
        (Who(users=tuple(f"u{i}" for i in range(9))), "those whom its settings list"),
    ],
)
def test_rules_in_words(who: Who, words: str) -> None:
    assert who_may("start", AuthorityRules(start=who)) == words


def test_teams_of_all_rules() -> None:
    rules = AuthorityRules(start=Who(teams=("a/b",)), merge=Who(teams=("a/b", "a/c")))
    assert named_teams(rules) == {"a/b", "a/c"}
    assert named_teams(AuthorityRules()) == frozenset()


def test_a_command_is_judged_by_what_it_does() -> None:
    rules = AuthorityRules(merge=Who(permission="admin"))
    comment = Comment(author="mona", body="", standing=standing(permission="write"))
    assert may_command(comment, rules=rules)
    assert not may_command(comment, action="merge", rules=rules)
    assert not may_command(dataclasses.replace(comment, edited_by="olga"), rules=rules)
    # What was asked counts, not what is known without asking.
    assert not may_command(Comment(author="mona", body="", can_write=True, standing=standing()))
