"""Commands in comments: what is one, whose counts, which are pending."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from fakes import HEAD, NEXT_HEAD, NOW, snapshot
from hypothesis import given
from hypothesis import strategies as st
from landing_cases import AN_HOUR_AGO, JUST_NOW, MINUTES_AGO, RETRY, SEEN, STOP, a_round

from airflow_provider_agents.domain.authority_rules import AuthorityRules, Standing, Who
from airflow_provider_agents.domain.commands import (
    COMMANDS,
    command_action,
    parse_command,
    pending_commands,
)


@pytest.mark.parametrize(
    ("body", "name", "text"),
    [
        ("/retry", "retry", ""),
        ("/retry with the other API", "retry", "with the other API"),
        ("/tell first line\nsecond line\n", "tell", "first line\nsecond line"),
        ("/tell\nsecond line", "tell", "second line"),
        ("\n /stop\n\nthanks", "stop", "thanks"),
        ("/merge", "merge", ""),
        ("/review", "review", ""),
        ("/explain", "explain", ""),
    ],
)
def test_commands(body: str, name: str, text: str) -> None:
    command = parse_command(dataclasses.replace(STOP, body=body))
    assert command is not None
    assert (command.name, command.text, command.author, command.key) == (name, text, "mona", STOP.node_id)


@pytest.mark.parametrize(
    "body",
    ["", "stop", "please /stop", "> /stop", "`/stop`", "/stopp", "/stop-all", "/stop.", "/STOP", "//stop", "/ stop", "/tell", "/tell  \n", "/approve", "/usr/bin/merge", "<!-- -->/merge"],
)  # fmt: skip
def test_no_commands(body: str) -> None:
    assert parse_command(dataclasses.replace(STOP, body=body)) is None


def test_whose_commands_count() -> None:
    assert parse_command(dataclasses.replace(STOP, can_write=False)) is None
    assert parse_command(dataclasses.replace(STOP, own=True)) is None
    assert parse_command(dataclasses.replace(STOP, author="helper[bot]")) is None
    assert parse_command(dataclasses.replace(STOP, node_id="")) is None
    assert parse_command(STOP, frozenset({"MONA"})) is None


@given(st.text(max_size=200))
def test_any_comment_is_taken(body: str) -> None:
    command = parse_command(dataclasses.replace(STOP, body=body))
    assert command is None or (command.name in COMMANDS and body.lstrip().startswith(f"/{command.name}"))


def test_pending_are_those_that_no_one_carried_out() -> None:
    s = snapshot(comments=(RETRY, STOP))
    assert [c.name for c in pending_commands(s, SEEN)] == ["retry", "stop"]
    assert [
        c.name for c in pending_commands(s, dataclasses.replace(SEEN, commands=frozenset({"C_stop"})))
    ] == ["retry"]
    answered = dataclasses.replace(SEEN, rounds=(a_round(answered=("C_retry",)),))
    assert [c.name for c in pending_commands(s, answered)] == ["stop"]


def test_commands_of_an_earlier_run_are_not_ours() -> None:
    s = snapshot(comments=(STOP,))
    assert not pending_commands(s, dataclasses.replace(SEEN, since=MINUTES_AGO + timedelta(seconds=1)))
    assert pending_commands(s, dataclasses.replace(SEEN, since=MINUTES_AGO))
    undated = snapshot(comments=(dataclasses.replace(STOP, created_at=None),))
    assert pending_commands(undated, dataclasses.replace(SEEN, since=NOW))


@pytest.mark.parametrize(
    ("seen", "about"),
    [
        ({}, True),
        ({HEAD: JUST_NOW}, True),
        ({HEAD: AN_HOUR_AGO}, True),
        ({HEAD: MINUTES_AGO, NEXT_HEAD: AN_HOUR_AGO}, True),
        ({HEAD: JUST_NOW, NEXT_HEAD: AN_HOUR_AGO}, False),
        ({HEAD: AN_HOUR_AGO, NEXT_HEAD: MINUTES_AGO}, False),
        ({HEAD: AN_HOUR_AGO, NEXT_HEAD: JUST_NOW}, True),
        ({NEXT_HEAD: AN_HOUR_AGO}, False),
    ],
)
def test_which_head_a_command_was_written_about(seen: dict[str, object], about: bool) -> None:
    history = dataclasses.replace(SEEN, heads_first_seen=seen)
    (command,) = pending_commands(snapshot(comments=(STOP,)), history)
    assert command.about_head is about
    (undated,) = pending_commands(snapshot(comments=(dataclasses.replace(STOP, created_at=None),)), history)
    assert undated.about_head is (set(seen) <= {HEAD})


def test_rules_of_the_run_decide_what_counts() -> None:
    rules = AuthorityRules(merge=Who(permission="admin"), steer=Who(users=("mona",)))
    merge = dataclasses.replace(STOP, body="/merge", author="mona")
    assert parse_command(merge, rules=rules) is None
    assert parse_command(dataclasses.replace(merge, body="/stop"), rules=rules) is not None
    admin = dataclasses.replace(merge, author="ada", standing=Standing(login="ada", permission="admin"))
    assert parse_command(admin, rules=rules) is not None
    assert parse_command(dataclasses.replace(admin, body="/stop"), rules=rules) is None


@pytest.mark.parametrize(
    ("body", "action"),
    [
        ("/merge", "merge"),
        ("/tell do it", "steer"),
        ("/tell", None),
        ("/stop now", "steer"),
        ("/explain", "steer"),
        ("please /merge", None),
        ("    /merge", None),
        ("/agent", None),
    ],
)
def test_what_a_command_does(body: str, action: str | None) -> None:
    assert command_action(body) == action
