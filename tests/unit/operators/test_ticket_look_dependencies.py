"""What a ticket waits for besides room: tickets that it depends on, and the order of an epic."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from ticket_world import World

from airflow_provider_agents.domain.tickets import LinkedTicket


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def link(key: str, **more: Any) -> LinkedTicket:
    return LinkedTicket(key=key, **more)


def test_a_ticket_waits_for_the_one_it_depends_on_and_says_so_once(world: World) -> None:
    source = world.source()
    id_ = source.add(1)
    source.change(id_, links=(link("acme/shop#9", relation="depends_on", state="open"),))
    assert world.look() == []
    assert world.look() == []
    assert "It depends on acme/shop#9" in source.statuses[id_]
    assert source.writes == [id_]
    source.change(id_, links=(link("acme/shop#9", relation="depends_on", state="done"),))
    assert len(world.look()) == 1


def test_two_that_depend_on_each_other_are_refused_with_the_circle_named(world: World) -> None:
    source = world.source()
    first, second = source.add(1), source.add(2)
    source.change(first, links=(link("acme/shop#2", relation="depends_on", state="open"),))
    source.change(second, links=(link("acme/shop#1", relation="depends_on", state="open"),))
    assert world.look() == []
    assert "acme/shop#1 → acme/shop#2 → acme/shop#1" in source.statuses[first]


def test_the_steps_of_an_epic_are_done_in_order(world: World) -> None:
    source = world.source()
    epic, first, second = source.add(1), source.add(2), source.add(3)
    children = [link(f"acme/shop#{n}", relation="child", state="open", order=n) for n in (2, 3)]
    source.change(epic, body="children: step", links=tuple(children))
    for child in (first, second):
        source.change(child, links=(link("acme/shop#1", relation="parent"),))
    world.look()
    assert [each["conf"]["ticket_id"] for each in world.arguments] == [first]
    world.end_runs()
    done = dataclasses.replace(children[0], state="done")
    source.change(epic, links=(done, children[1]))
    source.change(first, entry={"actionable": False})
    world.look()
    assert [each["conf"]["ticket_id"] for each in world.arguments] == [second]
    world.end_runs()
    source.change(epic, links=(done, dataclasses.replace(children[1], state="done")))
    source.change(second, entry={"actionable": False})
    world.look()
    assert [each["conf"]["ticket_id"] for each in world.arguments] == [epic]


def test_a_circle_through_tickets_that_nobody_asked_for_is_named(world: World) -> None:
    source = world.source()
    first = source.add(1)
    for number in (2, 3):
        source.add(number, actionable=False)
    for number, other in ((1, 2), (2, 3), (3, 1)):
        named = (link(f"acme/shop#{other}", relation="depends_on", state="open"),)
        source.change(f"I_{number}", links=named)
    assert world.look() == []
    assert "acme/shop#1 → acme/shop#2 → acme/shop#3 → acme/shop#1" in source.statuses[first]
    source.reads.clear()
    world.look()
    source.reads.clear()
    world.look()
    assert source.reads == [first]
